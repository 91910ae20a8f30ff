#include "base/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/proc.h"

#define LINE_MAX_BYTES   8192u      /* a longer line loses its last pairs */
#define VALUE_MAX_BYTES  2048u      /* of one message or value */

struct logger {
    int          fd;
    log_level_t  level;
    char        *path;              /* NULL: stderr */
    const char *(*turn)(void), *(*trace)(void);
    buf_t        line;              /* its memory is kept, so that logging needs none */
};

static const char *const level_names[] = { "debug", "info", "warn", "error", "alert" };

static struct logger *logger_get(void)
{
    struct logger *lg = proc.logger;

    if (lg == NULL) {
        lg = calloc(1, sizeof(*lg));
        if (lg == NULL) {
            abort();                /* nobody left to tell */
        }
        lg->fd = STDERR_FILENO;
        lg->level = LOG_INFO;
        proc.logger = lg;
        buf_init(&lg->line, LINE_MAX_BYTES);
        (void) buf_reserve(&lg->line, LINE_MAX_BYTES);
    }
    return lg;
}

static int logger_set_file(struct logger *lg, const char *path)
{
    int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640) : STDERR_FILENO;

    if (fd < 0) {
        log_line(LOG_ERROR, "log cannot be opened", "path", path, "reason", strerror(errno), NULL);
        return SI_EINVAL;
    }
    if (lg->fd != STDERR_FILENO) {
        (void) close(lg->fd);
    }
    lg->fd = fd;
    return SI_OK;
}

int logger_open(const char *path, log_level_t level)
{
    struct logger *lg = logger_get();
    char *copy;
    int rc = logger_set_file(lg, path);

    if (rc == SI_OK) {
        copy = path ? si_strdup(path) : NULL;
        free(lg->path);
        lg->path = copy;
        lg->level = level;
    }
    return rc;
}

int logger_reopen(void)
{
    struct logger *lg = logger_get();

    return logger_set_file(lg, lg->path);
}

int logger_level(str_t name)
{
    for (size_t i = 0; i < SI_COUNT(level_names); i++) {
        if (str_is(name, level_names[i])) {
            return (int) i;
        }
    }
    return -1;
}

void logger_turn_source(const char *(*fn)(void))
{
    logger_get()->turn = fn;
}

void logger_trace_source(const char *(*fn)(void))
{
    logger_get()->trace = fn;
}

bool log_enabled(log_level_t level)
{
    return level >= logger_get()->level;
}

/* Appends ,"key":"value"; a pair that does not fit is left out whole. */
static void put_pair(buf_t *b, const char *key, const char *value)
{
    size_t before = b->n;
    str_t v = { value, strnlen(value, VALUE_MAX_BYTES) };

    if (buf_append(b, ",", 1) != SI_OK || buf_json_str(b, str_of(key)) != SI_OK
        || buf_append(b, ":", 1) != SI_OK || buf_json_str(b, v) != SI_OK
        || b->n > LINE_MAX_BYTES - 2)
    {
        b->n = before;
    }
}

static void put_head(struct logger *lg, log_level_t level, const char *turn, const char *msg)
{
    buf_t *b = &lg->line;
    const char *trace;
    struct timespec ts = { 0 };
    struct tm tm = { 0 };

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    (void) gmtime_r(&ts.tv_sec, &tm);
    (void) buf_printf(b, "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\",\"level\":\"%s\"",
                      tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                      tm.tm_sec, ts.tv_nsec / 1000000, level_names[level]);
    if (proc.instance[0] != '\0') {
        put_pair(b, "worker", proc.instance);
    }
    if (turn != NULL) {
        put_pair(b, "turn", turn);
    }
    if (lg->trace != NULL && (trace = lg->trace()) != NULL) {
        put_pair(b, "trace", trace);
    }
    put_pair(b, "msg", msg);
}

static void write_line(struct logger *lg)
{
    buf_t *b = &lg->line;
    size_t done = 0;

    (void) buf_append(b, "}\n", 2);
    while (done < b->n) {
        ssize_t n = write(lg->fd, b->p + done, b->n - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;          /* a log that takes nothing must not stop the work */
        }
        done += (size_t) n;
    }
    buf_consume(b, b->n);
}

/* The turn of this line, unless the pairs name one themselves. */
static const char *own_turn(struct logger *lg, va_list ap)
{
    const char *key;

    while ((key = va_arg(ap, const char *)) != NULL) {
        if (strcmp(key, "turn") == 0) {
            return NULL;
        }
        (void) va_arg(ap, const char *);
    }
    return lg->turn ? lg->turn() : NULL;
}

void log_line(log_level_t level, const char *msg, ...)
{
    struct logger *lg = logger_get();
    const char *key, *value, *turn;
    va_list ap, scan;

    if (level < lg->level) {
        return;
    }
    va_start(ap, msg);
    va_copy(scan, ap);
    turn = own_turn(lg, scan);
    va_end(scan);
    put_head(lg, level, turn, msg);
    while ((key = va_arg(ap, const char *)) != NULL) {
        value = va_arg(ap, const char *);
        if (value != NULL) {
            put_pair(&lg->line, key, value);
        }
    }
    va_end(ap);
    write_line(lg);
}

void log_fmt(log_level_t level, const char *fmt, ...)
{
    char msg[1024];
    va_list ap;

    if (!log_enabled(level)) {
        return;
    }
    va_start(ap, fmt);
    (void) vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    log_line(level, msg, NULL);
}
