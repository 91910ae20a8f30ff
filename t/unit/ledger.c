/* The files that usage lies in until Postgres has it: what a killed process leaves in them, and what is not trusted. */
#include "llm/ledger_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "tap.h"

static char folder[] = "/tmp/si-ledger-XXXXXX";

static size_t count(const char *end)
{
    char           path[128];
    DIR           *dir;
    struct dirent *e;
    size_t         n = 0;

    snprintf(path, sizeof path, "%s/usage", folder);
    dir = opendir(path);
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        n += strlen(e->d_name) > strlen(end) && strcmp(e->d_name + strlen(e->d_name) - strlen(end), end) == 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

static void fill(ledger_slot_t *s, const char *model, slot_state_t state)
{
    snprintf(s->row.tenant, sizeof s->row.tenant, "01936400-0000-7000-8000-000000000000");
    snprintf(s->row.model, sizeof s->row.model, "%s", model);
    s->received = 40;
    slot_set(s, state);
}

/* A process that has entries, and is killed. */
static void die(void)
{
    int   ready[2], status;
    char  c;
    pid_t pid;

    if (pipe(ready) != 0 || (pid = fork()) < 0) {
        printf("Bail out! no process\n");
        exit(1);
    }
    if (pid == 0) {
        ledger_file_t *f = ledger_file_new();

        fill(f->entries[0].slot, "open", SLOT_OPEN);
        fill(f->entries[7].slot, "done", SLOT_DONE);
        fill(f->entries[8].slot, "free", SLOT_FREE);
        fill(f->entries[LEDGER_ENTRIES - 1].slot, "last", SLOT_DONE);
        memset(f->entries[9].slot, 0xff, SLOT_BYTES);
        (void) !write(ready[1], "x", 1);
        pause();
    }
    close(ready[1]);
    ok(read(ready[0], &c, 1) == 1, "a process has written");
    ok(ledger_file_adopt() == NULL, "what a living process has is its own");
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    close(ready[0]);
}

static void adopted(void)
{
    ledger_file_t *f = ledger_file_adopt();

    if (!ok(f != NULL, "what a dead one left is taken over")) {
        return;
    }
    ok(f->adopted && ledger_file_adopt() == NULL, "once");
    ok(f->entries[0].slot->state == SLOT_OPEN && f->entries[0].slot->received == 40, "a call that was under way");
    is_str(f->entries[0].slot->row.model, "open", "its model");
    ok(f->entries[7].slot->state == SLOT_DONE && f->entries[LEDGER_ENTRIES - 1].slot->state == SLOT_DONE, "calls that had ended");
    is_str(f->entries[LEDGER_ENTRIES - 1].slot->row.model, "last", "to the last entry");
    ok(f->entries[8].slot->state == SLOT_FREE && f->entries[100].slot->state == SLOT_FREE, "and nothing else");
    ok(f->entries[9].slot->state == SLOT_FREE, "what is no entry is none");
    is_int((long long) count(".usage"), 1, "its file is there");
    ledger_file_close(f, false);
    f = ledger_file_adopt();
    ok(f != NULL && f->entries[7].slot->state == SLOT_DONE, "also when its heir goes");
    if (f != NULL) {
        ledger_file_close(f, true);
    }
    is_int((long long) count(".usage"), 0, "until nothing of it is needed");
}

/* A file that is ours but for one thing. */
static void refused(const char *what, off_t at, char byte, off_t size, const char *name)
{
    ledger_file_t *f = ledger_file_new();
    char           path[512], to[640];
    int            fd;

    snprintf(path, sizeof path, "%s", f->path);
    snprintf(to, sizeof to, "%s/usage/%s", folder, name);
    ledger_file_close(f, false);
    fd = open(path, O_WRONLY);
    ok(fd >= 0 && pwrite(fd, &byte, 1, at) == 1 && (size == 0 || ftruncate(fd, size) == 0), "a file with %s", what);
    close(fd);
    if (name[0] != '\0') {
        (void) rename(path, to);
    }
    ok(ledger_file_adopt() == NULL, "is left alone");
    (void) unlink(path);
    if (name[0] != '\0') {
        (void) unlink(to);
    }
}

/* A file that was being made at this time. */
static void unfinished(time_t at, size_t stays, const char *what)
{
    struct timespec times[2] = { { .tv_sec = at }, { .tv_sec = at } };
    char            path[128];
    int             fd;

    snprintf(path, sizeof path, "%s/usage/01936400-0000-7000-8000-000000000000.new", folder);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    ok(fd >= 0 && futimens(fd, times) == 0, "%s", what);
    close(fd);
    ledger_folder();
    is_int((long long) count(".new"), (long long) stays, stays > 0 ? "stays" : "goes");
    (void) unlink(path);
}

int main(void)
{
    conf_t         conf = { 0 };
    ledger_file_t *f;
    struct stat    st;
    char           path[128];

    logger_open("/dev/null", LOG_ALERT);
    ok(mkdtemp(folder) != NULL, "a folder");
    conf.journal = folder;
    proc.conf = &conf;
    ledger_folder();
    f = ledger_file_new();
    ok(f->fd >= 0 && stat(f->path, &st) == 0 && (st.st_mode & 077) == 0 && st.st_size == (LEDGER_ENTRIES + 1) * SLOT_BYTES, "a file for nobody else to read");
    ok(st.st_blocks * 512 >= st.st_size, "with room on the disk");
    is_int((long long) count(".new"), 0, "under its name");
    ledger_file_close(f, true);
    is_int((long long) count(".usage"), 0, "it goes");

    die();
    adopted();
    refused("another mark", 0, 'x', 0, "");
    refused("another version", 8, 99, 0, "");
    refused("another length", 0, 's', 4096, "");
    refused("another name", 0, 's', 0, "notes.usage");
    unfinished(time(NULL), 1, "a file that may be in the making");
    unfinished(time(NULL) - 3600, 0, "one that nobody makes any more");

    conf.journal = "/nonexistent/journal";
    f = ledger_file_new();
    ok(f->fd < 0 && f->entries[0].slot->state == SLOT_FREE, "without a disk there is memory");
    ledger_file_close(f, true);
    snprintf(path, sizeof path, "%s/usage", folder);
    ok(rmdir(path) == 0 && rmdir(folder) == 0, "nothing is left");
    return done_testing();
}
