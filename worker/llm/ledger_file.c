#include "llm/ledger_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"

#define FILE_BYTES    ((size_t) SLOT_BYTES * (LEDGER_ENTRIES + 1))
#define END           ".usage"
#define UNFINISHED    ".new"
#define UNFINISHED_S  60        /* s; so old nobody is at work on it */

typedef struct {
    char     magic[8];
    uint32_t version, slot_bytes, row_bytes, entries;
} header_t;

static header_t our_header(void)
{
    return (header_t) { "si-usage", LEDGER_VERSION, SLOT_BYTES, sizeof(usage_row_t), LEDGER_ENTRIES };
}

static int path_to(char *out, size_t cap, const char *name, const char *end)
{
    int n = snprintf(out, cap, "%s/usage%s%s%s", proc.conf->journal, name[0] != '\0' ? "/" : "", name, end);

    return n > 0 && (size_t) n < cap ? 0 : SI_EINVAL;
}

static DIR *folder_open(void)
{
    char path[512];

    return path_to(path, sizeof path, "", "") == 0 ? opendir(path) : NULL;
}

/* The next file of this ending. */
static bool folder_next(DIR *dir, const char *end, char *path, size_t cap)
{
    struct dirent *e;

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        size_t n = strlen(e->d_name);

        if (n == UUID_LEN + strlen(end) && strcmp(e->d_name + UUID_LEN, end) == 0 && path_to(path, cap, e->d_name, "") == 0) {
            return true;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return false;
}

static bool is_ours(int fd)
{
    header_t h, ours = our_header();

    return pread(fd, &h, sizeof h, 0) == (ssize_t) sizeof h && memcmp(&h, &ours, sizeof h) == 0;
}

/* Files that were being made when their process was killed. */
static void remove_unfinished(void)
{
    DIR        *dir = folder_open();
    struct stat st;
    char        path[512];

    while (folder_next(dir, UNFINISHED, path, sizeof path)) {
        if (stat(path, &st) == 0 && st.st_mtime + UNFINISHED_S < time(NULL)) {
            (void) unlink(path);
        }
    }
}

static void tell_of_strangers(void)
{
    DIR *dir = folder_open();
    char path[512];

    while (folder_next(dir, END, path, sizeof path)) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        if (fd >= 0 && !is_ours(fd)) {
            log_line(LOG_WARN, "usage in a file of another version is left alone: a si-worker of that version can store it", "file", path, NULL);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
}

void ledger_folder(void)
{
    char path[512];

    if (path_to(path, sizeof path, "", "") == 0) {
        (void) mkdir(proc.conf->journal, 0700);
        (void) mkdir(path, 0700);
    }
    remove_unfinished();
    tell_of_strangers();
}

static ledger_file_t *file_of(int fd, const char *path, char *map)
{
    ledger_file_t *f = si_calloc(sizeof *f);

    f->fd = fd;
    f->map = map;
    list_init(&f->node);
    (void) snprintf(f->path, sizeof f->path, "%s", path);
    for (size_t i = 0; i < LEDGER_ENTRIES; i++) {
        list_init(&f->entries[i].node);
        f->entries[i].file = f;
        f->entries[i].slot = (ledger_slot_t *) (void *) (map + (i + 1) * SLOT_BYTES);
    }
    return f;
}

/* A locked file with room on the disk (a page without it would kill the process), mapped. -1 with errno. */
static int make(const char *path, const char *temp, char **map)
{
    header_t h = our_header();
    int      fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), error;

    if (fd < 0) {
        return -1;
    }
    error = posix_fallocate(fd, 0, (off_t) FILE_BYTES);
    if (error == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && pwrite(fd, &h, sizeof h, 0) == (ssize_t) sizeof h) {
        *map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (*map != MAP_FAILED && rename(temp, path) == 0) {
            return fd;
        }
    }
    error = error != 0 ? error : errno;
    if (*map != MAP_FAILED) {
        (void) munmap(*map, FILE_BYTES);
    }
    (void) unlink(temp);
    close(fd);
    errno = error;
    return -1;
}

ledger_file_t *ledger_file_new(void)
{
    char  id[UUID_LEN + 1], path[512], temp[512], *map = MAP_FAILED;
    int   fd = -1;

    uuid_new(id);
    errno = ENAMETOOLONG;
    if (path_to(path, sizeof path, id, END) == 0 && path_to(temp, sizeof temp, id, UNFINISHED) == 0) {
        fd = make(path, temp, &map);
    }
    if (fd < 0) {
        log_line(LOG_WARN, "usage is kept in memory alone until Postgres has it", "journal", proc.conf->journal, "error", strerror(errno), NULL);
        map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED) {
            si_die("no memory for the ledger of usage");
        }
        path[0] = '\0';
    }
    return file_of(fd, path, map);
}

/* Whatever lies in a file, texts end and states are states. */
static void tame(ledger_file_t *f)
{
    for (size_t i = 0; i < LEDGER_ENTRIES; i++) {
        ledger_slot_t *s = f->entries[i].slot;
        usage_row_t   *u = &s->row;
        char          *const ends[] = { &u->id[sizeof u->id - 1], &u->tenant[sizeof u->tenant - 1], &u->user[sizeof u->user - 1],
                                        &u->key[sizeof u->key - 1], &u->turn[sizeof u->turn - 1], &u->source[sizeof u->source - 1],
                                        &u->operation[sizeof u->operation - 1], &u->outcome[sizeof u->outcome - 1],
                                        &u->agent[sizeof u->agent - 1], &u->model[sizeof u->model - 1],
                                        &u->provider[sizeof u->provider - 1] };

        for (size_t k = 0; k < SI_COUNT(ends); k++) {
            *ends[k] = '\0';
        }
        if (s->state > SLOT_DONE || (s->state != SLOT_FREE && !uuid_valid(str_of(u->tenant)))) {
            s->state = SLOT_FREE;
        }
    }
}

/* Opens a file if nobody has it (this process neither: its lock is that of another descriptor), and it is what it says. */
static ledger_file_t *try_adopt(const char *path)
{
    struct stat    st;
    char          *map = MAP_FAILED;
    ledger_file_t *f;
    int            fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        return NULL;
    }
    /* Who held the lock before may have removed it. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 1 && st.st_size == (off_t) FILE_BYTES
        && st.st_uid == geteuid() && is_ours(fd)) {
        map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (map == MAP_FAILED) {
        close(fd);
        return NULL;
    }
    f = file_of(fd, path, map);
    f->adopted = true;
    tame(f);
    return f;
}

ledger_file_t *ledger_file_adopt(void)
{
    DIR           *dir = folder_open();
    ledger_file_t *f = NULL;
    char           path[512];

    while (folder_next(dir, END, path, sizeof path)) {
        f = try_adopt(path);
        if (f != NULL) {
            closedir(dir);
            break;
        }
    }
    return f;
}

void ledger_file_close(ledger_file_t *f, bool remove)
{
    (void) munmap(f->map, FILE_BYTES);
    if (f->fd >= 0) {
        if (remove) {
            (void) unlink(f->path);
        }
        close(f->fd);
    }
    free(f);
}
