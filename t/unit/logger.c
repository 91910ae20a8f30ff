/* Logs: one JSON object a line, whatever is in it. */
#include "base/logger.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/proc.h"
#include "tap.h"

static char     path[64], moved[72];
static arena_t *a;

static const char *turn_now(void)
{
    return "turn-1";
}

/* The file's text; "" if there is none. */
static str_t read_file(const char *name)
{
    char *p = arena_alloc(a, 1 << 16);
    int fd = open(name, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, p, 1 << 16) : 0;

    if (fd >= 0) {
        (void) close(fd);
    }
    return (str_t) { p, (size_t) SI_MAX(n, (ssize_t) 0) };
}

/* Parses line number `i` (0 is the first); NULL if it is not there or no JSON. */
static json_t *line(const char *name, size_t i)
{
    str_t text = read_file(name);
    const char *err = NULL;

    for (;; i--) {
        const char *end = text.n ? memchr(text.p, '\n', text.n) : NULL;

        if (end == NULL) {
            return NULL;
        }
        if (i == 0) {
            return json_own(a, json_parse(a, (str_t) { text.p, (size_t) (end - text.p) }, &err));
        }
        text.n -= (size_t) (end + 1 - text.p);
        text.p = end + 1;
    }
}

static bool has(const json_t *o, const char *name, const char *want)
{
    return str_is(json_str(o, name, STR("(missing)")), want);
}

static void test_lines(void)
{
    json_t *o;
    str_t time;

    log_line(LOG_WARN, "with \"quotes\"\n", "key", "v\r\n\xff", "none", NULL, "last", "1", NULL);
    o = line(path, 0);
    ok(has(o, "msg", "with \"quotes\"\n") && has(o, "level", "warn"), "a line is JSON");
    ok(has(o, "key", "v\r\n\xef\xbf\xbd") && has(o, "last", "1"), "values are escaped");
    ok(json_object_get(o, "none") == NULL && json_object_get(o, "worker") == NULL, "what is not there is left out");
    time = json_str(o, "time", STR_NULL);
    ok(time.n == 24 && time.p[10] == 'T' && time.p[23] == 'Z', "it has the time");

    (void) snprintf(proc.instance, sizeof(proc.instance), "0.42");
    logger_turn_source(turn_now);
    log_fmt(LOG_INFO, "%d of %s", 3, "x");
    o = line(path, 1);
    ok(has(o, "msg", "3 of x") && has(o, "worker", "0.42") && has(o, "turn", "turn-1"), "worker and turn");
    log_line(LOG_INFO, "other", "turn", "turn-2", NULL);
    ok(has(line(path, 2), "turn", "turn-2"), "a turn that is given wins");
    logger_turn_source(NULL);

    log_line(LOG_DEBUG, "quiet", NULL);
    ok(line(path, 3) == NULL, "lower levels are not written");
    ok(!log_enabled(LOG_DEBUG) && log_enabled(LOG_INFO), "as can be asked");
}

static void test_long(void)
{
    static char text[5000];
    json_t *o;

    memset(text, '\x01', sizeof(text) - 1);     /* six bytes each when escaped */
    text[sizeof(text) - 1] = '\0';
    log_line(LOG_ERROR, "long", "a", text, "b", "kept", NULL);
    o = line(path, 3);
    ok(has(o, "msg", "long") && has(o, "b", "kept"), "a value that is too long goes, the line stays JSON");
    memset(text, 'x', sizeof(text) - 1);
    log_line(LOG_ERROR, "long", "a", text, NULL);
    o = line(path, 4);
    ok(json_str(o, "a", STR_NULL).n == 2048, "a long value is cut");
}

static void test_reopen(void)
{
    (void) rename(path, moved);
    log_line(LOG_INFO, "into the moved file", NULL);
    is_int(logger_reopen(), 0, "reopened");
    log_line(LOG_INFO, "into the new file", NULL);
    ok(has(line(moved, 5), "msg", "into the moved file") && line(moved, 6) == NULL, "until then the old file");
    ok(has(line(path, 0), "msg", "into the new file"), "then the new one");
    is_int(logger_open("/nonexistent/log", LOG_INFO), SI_EINVAL, "a file that cannot be opened");
    ok(has(line(path, 1), "path", "/nonexistent/log"), "is reported in the old one");
}

static void test_die(void)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        si_die("broken: %d", 7);
    }
    (void) waitpid(pid, &status, 0);
    ok(WIFSIGNALED(status), "si_die() ends the process");
    ok(has(line(path, 2), "msg", "broken: 7") && has(line(path, 2), "level", "alert"), "with a line in the log");
}

int main(void)
{
    int fd;

    a = arena_new(4096);
    (void) snprintf(path, sizeof(path), "/tmp/si-log-XXXXXX");
    fd = mkstemp(path);
    (void) close(fd);
    (void) snprintf(moved, sizeof(moved), "%s.1", path);
    is_int(logger_open(path, LOG_INFO), 0, "opened");
    test_lines();
    test_long();
    test_reopen();
    test_die();
    is_int(logger_level(STR("debug")), LOG_DEBUG, "debug");
    is_int(logger_level(STR("alert")), LOG_ALERT, "alert");
    is_int(logger_level(STR("loud")), -1, "another word");
    (void) unlink(path);
    (void) unlink(moved);
    arena_free(a);
    return done_testing();
}
