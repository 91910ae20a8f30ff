#include "store/keyset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"

#define FILE_MAX  (256u << 10)          /* a set of 60 KiB, each byte escaped, and the rest */

static bool path_of(char out[512], const char *name, const char *end)
{
    int n = snprintf(out, 512, "%s/%s%s", proc.conf->auth_keys, name, end);

    return n > 0 && n < 512;
}

static void throw_away(const char *name, const char *why)
{
    char path[512];

    if (path_of(path, name, ".json")) {
        log_line(LOG_WARN, "a key set that was kept is thrown away", "file", path, "reason", why, NULL);
        unlink(path);
    }
}

static void complain(const char *what, const char *name)
{
    log_line(LOG_WARN, what, "folder", proc.conf->auth_keys, "issuer", name, "error", strerror(errno), NULL);
}

void keyset_init(void)
{
    if (mkdir(proc.conf->auth_keys, 0700) != 0 && errno != EEXIST) {
        complain("the folder of key sets cannot be made", "");
    } else if (access(proc.conf->auth_keys, W_OK | X_OK) != 0) {
        complain("the folder of key sets cannot be written", "");
    }
}

int keyset_lock(const char *name)
{
    char path[512];
    int  fd = path_of(path, name, ".lock") ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1, err;

    if (fd < 0) {
        return SI_EUNAVAIL;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        return fd;
    }
    err = errno;
    close(fd);
    return err == EWOULDBLOCK ? SI_EAGAIN : SI_EUNAVAIL;
}

/* A file that is new has not been tried: its first byte says so. */
uint64_t keyset_tried(int lock)
{
    struct stat st;

    if (fstat(lock, &st) != 0 || st.st_size == 0) {
        return 0;
    }
    return (uint64_t) st.st_mtim.tv_sec * 1000 + (uint64_t) st.st_mtim.tv_nsec / 1000000;
}

void keyset_try(int lock)
{
    if (pwrite(lock, "\n", 1, 0) != 1 || futimens(lock, NULL) != 0) {
        complain("the time of a question to an issuer cannot be kept", "");
    }
}

/* The whole file, or NULL: it is not there, or nobody can vouch for it. */
static char *read_own(arena_t *a, const char *name, size_t *n)
{
    char        path[512];
    struct stat st;
    int         fd = path_of(path, name, ".json") ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    char       *text = NULL;
    ssize_t     got;

    if (fd < 0) {
        if (errno != ENOENT) {
            complain("a key set that was kept cannot be read", name);
        }
        return NULL;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0 || st.st_size > (off_t) FILE_MAX) {
        throw_away(name, "it is not a file of our own that nobody else may touch");
    } else {
        text = arena_alloc(a, (size_t) st.st_size + 1);
        got = read(fd, text, (size_t) st.st_size);
        *n = got > 0 ? (size_t) got : 0;
    }
    close(fd);
    return text;
}

bool keyset_read(arena_t *a, const char *name, const char *source, keyset_t *out)
{
    const char *err;
    size_t      n = 0;
    char       *text = read_own(a, name, &n);
    json_t     *o = text ? json_own(a, json_parse(a, (str_t) { text, n }, &err)) : NULL;
    json_int_t  fetched = json_integer_value(json_object_get(o, "fetched")), age = json_integer_value(json_object_get(o, "age"));

    out->text = o ? json_str(o, "keys", STR_NULL) : STR_NULL;
    if (out->text.n > 0 && fetched > 0 && age >= 0 && str_is(json_str(o, "source", STR_NULL), source)) {
        out->fetched = SI_MIN((uint64_t) fetched, clock_wall_ms());
        out->age = (uint64_t) age;
        return true;
    }
    if (text) {
        throw_away(name, "it is malformed or of another source");
    }
    return false;
}

/* 0 or -1. */
static int write_file(const char *path, const char *text, size_t n)
{
    int fd, rc;

    unlink(path);                       /* of a worker that died; it may have another mode */
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    rc = write(fd, text, n) == (ssize_t) n && fsync(fd) == 0 ? 0 : -1;
    return close(fd) == 0 ? rc : -1;
}

void keyset_write(arena_t *a, const char *name, const char *source, const keyset_t *set)
{
    char    path[512], temp[512];
    json_t *o = json_own(a, json_object());
    char   *text;

    json_object_set_new(o, "source", json_string(source));
    json_object_set_new(o, "fetched", json_integer((json_int_t) set->fetched));
    json_object_set_new(o, "age", json_integer((json_int_t) set->age));
    json_object_set_new(o, "keys", json_stringn(set->text.p, set->text.n));
    text = json_text(a, o);
    if (!path_of(path, name, ".json") || !path_of(temp, name, ".new") || write_file(temp, text, strlen(text)) != 0 || rename(temp, path) != 0) {
        complain("a key set cannot be kept", name);
    }
}
