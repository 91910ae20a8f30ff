#include "turn/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/logger.h"
#include "base/proc.h"
#include "conf/conf.h"

#define OLD_S     86400
#define FILE_MAX  (64u << 20)       /* an answer of 4 MiB, each byte escaped, and the rest */

/* Members that are text, and where they stand in a row. */
static const struct { const char *name; size_t at; } texts[] = {
    { "id", offsetof(turn_row_t, id) }, { "agent", offsetof(turn_row_t, agent) },
    { "model_used", offsetof(turn_row_t, model_used) }, { "output", offsetof(turn_row_t, output) },
    { "error", offsetof(turn_row_t, error) }, { "error_detail", offsetof(turn_row_t, error_detail) },
    { "message_id", offsetof(turn_row_t, message_id) }, { "finish", offsetof(turn_row_t, finish) },
};

static const struct { const char *name; size_t at; } numbers[] = {
    { "input_tokens", offsetof(turn_row_t, input_tokens) }, { "output_tokens", offsetof(turn_row_t, output_tokens) },
    { "cached_tokens", offsetof(turn_row_t, cached_tokens) }, { "cache_write_tokens", offsetof(turn_row_t, cache_write_tokens) },
    { "reasoning_tokens", offsetof(turn_row_t, reasoning_tokens) }, { "cost_micros", offsetof(turn_row_t, cost) },
    { "first_token_ms", offsetof(turn_row_t, first_token_ms) }, { "duration_ms", offsetof(turn_row_t, duration_ms) },
    { "last_event", offsetof(turn_row_t, last_event) },
};

static bool path_of(char out[512], const char *turn, const char *end)
{
    int n = snprintf(out, 512, "%s/%s%s", proc.conf->journal, turn, end);
    return n > 0 && n < 512;
}

/* What nobody has come for in a day is of turns that ended in another way: it holds message text, so it goes. */
static void forget_old(void)
{
    DIR           *dir = opendir(proc.conf->journal);
    time_t         old = time(NULL) - OLD_S;
    struct dirent *e;
    struct stat    st;

    while (dir && (e = readdir(dir))) {
        if (e->d_name[0] != '.' && fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && st.st_mtime < old) {
            unlinkat(dirfd(dir), e->d_name, 0);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

void journal_init(void)
{
    if (mkdir(proc.conf->journal, 0700) != 0 && errno != EEXIST) {
        log_line(LOG_WARN, "the journal's folder cannot be made", "journal", proc.conf->journal, "error", strerror(errno), NULL);
    } else if (access(proc.conf->journal, W_OK | X_OK) != 0) {
        log_line(LOG_WARN, "the journal's folder cannot be written", "journal", proc.conf->journal, "error", strerror(errno), NULL);
    } else {
        forget_old();
    }
}

static char *to_text(arena_t *a, const turn_row_t *end)
{
    json_t *o = json_own(a, json_object());

    for (size_t i = 0; i < SI_COUNT(texts); i++) {
        const char *z = *(const char *const *) (const void *) ((const char *) end + texts[i].at);
        json_object_set_new(o, texts[i].name, json_string(z ? z : ""));
    }
    for (size_t i = 0; i < SI_COUNT(numbers); i++) {
        int64_t n = *(const int64_t *) (const void *) ((const char *) end + numbers[i].at);
        json_object_set_new(o, numbers[i].name, json_integer(n));
    }
    json_object_set_new(o, "state", json_integer(end->state));
    json_object_set_new(o, "attempt", json_integer(end->attempt));
    json_object_set_new(o, "retryable", json_boolean(end->retryable));
    json_object_set_new(o, "estimated", json_boolean(end->estimated));
    json_object_set_new(o, "cached_answer", json_boolean(end->cached_answer));
    return json_text(a, o);
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);

        if (k < 0 && errno != EINTR) {
            return false;
        }
        if (k > 0) {
            p += k;
            n -= (size_t) k;
        }
    }
    return fsync(fd) == 0;
}

/* The name is durable only when the folder is. */
static bool sync_folder(void)
{
    int  fd = open(proc.conf->journal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

int journal_put(const turn_row_t *end)
{
    char     path[512], temp[512];
    arena_t *a = arena_new(4096);
    char    *text = to_text(a, end);
    bool     ok = path_of(path, end->id, ".json") && path_of(temp, end->id, ".new");
    int      fd = ok ? open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

    ok = fd >= 0 && write_all(fd, text, strlen(text));
    if (fd >= 0) {
        close(fd);
    }
    ok = ok && rename(temp, path) == 0 && sync_folder();
    if (!ok) {
        log_line(LOG_ERROR, "the end of a turn could not be kept on disk", "turn", end->id, "error", strerror(errno), NULL);
    }
    arena_free(a);
    return ok ? 0 : SI_EUNAVAIL;
}

/* The file's text in the arena, or STR_NULL. */
static str_t read_file(arena_t *a, const char *path)
{
    int         fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    str_t       text = STR_NULL;
    char       *p;

    if (fd < 0) {
        return text;
    }
    if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= FILE_MAX) {
        p = arena_alloc(a, (size_t) st.st_size);
        if (read(fd, p, (size_t) st.st_size) == st.st_size) {
            text = (str_t) { p, (size_t) st.st_size };
        }
    }
    close(fd);
    return text;
}

static bool from_json(arena_t *a, const json_t *o, turn_row_t *end)
{
    for (size_t i = 0; i < SI_COUNT(texts); i++) {
        const char *z = json_string_value(json_object_get(o, texts[i].name));
        if (!z) {
            return false;
        }
        *(const char **) (void *) ((char *) end + texts[i].at) = arena_strdup(a, z);
    }
    for (size_t i = 0; i < SI_COUNT(numbers); i++) {
        const json_t *n = json_object_get(o, numbers[i].name);
        if (!json_is_integer(n)) {
            return false;
        }
        *(int64_t *) (void *) ((char *) end + numbers[i].at) = json_integer_value(n);
    }
    end->state = (turn_state_t) json_integer_value(json_object_get(o, "state"));
    end->attempt = (int) json_integer_value(json_object_get(o, "attempt"));
    end->retryable = json_is_true(json_object_get(o, "retryable"));
    end->estimated = json_is_true(json_object_get(o, "estimated"));
    end->cached_answer = json_is_true(json_object_get(o, "cached_answer"));
    return end->state >= TURN_COMPLETED && end->state <= TURN_CANCELLED;
}

int journal_get(arena_t *a, const turn_row_t *turn, turn_row_t *end)
{
    char        path[512];
    const char *err = NULL;
    str_t       text = path_of(path, turn->id, ".json") ? read_file(a, path) : STR_NULL;
    json_t     *o;

    if (!text.p) {
        return SI_ENOENT;
    }
    *end = *turn;
    o = json_own(a, json_parse(a, text, &err));
    if (!o || !from_json(a, o, end) || strcmp(end->id, turn->id) != 0) {
        log_line(LOG_ERROR, "a file of the journal cannot be read", "path", path, "reason", err, NULL);
        return SI_ENOENT;
    }
    return 0;
}

void journal_drop(const char *turn)
{
    char path[512];

    if (path_of(path, turn, ".json")) {
        unlink(path);
    }
}
