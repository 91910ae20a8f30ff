#include "run/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"

#define BACKOFF_FIRST_MS  100u
#define BACKOFF_MAX_MS    5000u
#define SOUND_MS          10000u    /* who lives this long starts without back-off again */
#define STOP_MS           10000u    /* SIGTERM to SIGKILL */
#define FORK_RETRY_MS     1000u
#define OLD_MAX           1024u     /* workers of former generations that still drain */

typedef struct {
    pid_t    pid;               /* 0: none, to be started at `due` */
    uint64_t started, due;      /* clock_ms() */
    uint64_t backoff;           /* ms before the next respawn */
    char     died[64];          /* the instance that crashed here last, or "" */
} slot_t;

typedef enum { RUNNING, DRAINING, STOPPING } phase_t;

typedef struct {
    const master_spec_t *spec;
    slot_t  *slots;
    int      workers;
    pid_t    old[OLD_MAX];      /* have got SIGQUIT */
    size_t   nold;
    phase_t  phase;
    uint64_t kill_at;           /* clock_ms(); 0: not stopping, or killed already */
    sigset_t signals;
} master_t;

static void log_worker(log_level_t level, const char *msg, int slot, pid_t pid, const char *key, const char *value)
{
    char instance[64];

    (void) snprintf(instance, sizeof(instance), "%d.%d", slot, (int) pid);
    log_line(level, msg, "instance", instance, value ? key : NULL, value, NULL);
}

/* ---- start ---- */

/* The child's side of spawn(). Signals stay blocked until it is ready for them, so that none gets lost or kills it. */
static _Noreturn void worker_main(master_t *m, int slot, pid_t master)
{
    const char *died = m->slots[slot].died[0] ? m->slots[slot].died : NULL;
    sigset_t child;

    (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != master) {
        _exit(0);           /* it died before the line above */
    }
    (void) sigemptyset(&child);
    (void) sigaddset(&child, SIGCHLD);
    (void) sigprocmask(SIG_UNBLOCK, &child, NULL);
    proc.slot = slot;
    (void) snprintf(proc.instance, sizeof(proc.instance), "%d.%d", slot, (int) getpid());
    m->spec->worker(slot, died, m->spec->arg);
    si_die("the worker function returned");
}

static void spawn(master_t *m, int slot)
{
    slot_t *s = &m->slots[slot];
    pid_t self = getpid(), pid = fork();

    if (pid == 0) {
        worker_main(m, slot, self);
    }
    if (pid < 0) {
        log_fmt(LOG_ERROR, "worker %d cannot be started: %s", slot, strerror(errno));
        s->due = clock_ms() + FORK_RETRY_MS;
        return;
    }
    s->pid = pid;
    s->started = clock_ms();
    log_worker(LOG_INFO, "worker started", slot, pid, "after", s->died[0] ? s->died : NULL);
    s->died[0] = '\0';
}

static void spawn_due(master_t *m)
{
    uint64_t now = clock_ms();

    for (int i = 0; m->phase == RUNNING && i < m->workers; i++) {
        if (m->slots[i].pid == 0 && m->slots[i].due <= now) {
            spawn(m, i);
        }
    }
}

/* ---- end ---- */

static const char *how_it_ended(int status, char *out, size_t cap)
{
    if (WIFSIGNALED(status)) {
        (void) snprintf(out, cap, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else {
        (void) snprintf(out, cap, "exit status %d", WEXITSTATUS(status));
    }
    return out;
}

static void slot_ended(master_t *m, int slot, int status)
{
    slot_t *s = &m->slots[slot];
    uint64_t now = clock_ms();
    char how[64];

    (void) how_it_ended(status, how, sizeof(how));
    if (m->phase != RUNNING) {
        log_worker(status == 0 ? LOG_INFO : LOG_ERROR, "worker ended", slot, s->pid, "how", how);
        s->pid = 0;
        return;
    }
    log_worker(LOG_ERROR, "worker died", slot, s->pid, "how", how);
    (void) snprintf(s->died, sizeof(s->died), "%d.%d", slot, (int) s->pid);
    s->pid = 0;
    if (now - s->started >= SOUND_MS) {
        s->backoff = 0;
    }
    s->due = now + s->backoff;
    s->backoff = s->backoff ? SI_MIN(s->backoff * 2, (uint64_t) BACKOFF_MAX_MS) : BACKOFF_FIRST_MS;
}

static bool old_ended(master_t *m, pid_t pid, int status)
{
    char how[64];

    for (size_t i = 0; i < m->nold; i++) {
        if (m->old[i] == pid) {
            m->old[i] = m->old[--m->nold];
            log_fmt(status == 0 ? LOG_INFO : LOG_ERROR, "drained worker %d ended: %s", (int) pid,
                    how_it_ended(status, how, sizeof(how)));
            return true;
        }
    }
    return false;
}

static void reap(master_t *m)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (old_ended(m, pid, status)) {
            continue;
        }
        for (int i = 0; i < m->workers; i++) {
            if (m->slots[i].pid == pid) {
                slot_ended(m, i, status);
                break;
            }
        }
    }
}

static size_t alive(const master_t *m)
{
    size_t n = m->nold;

    for (int i = 0; i < m->workers; i++) {
        n += m->slots[i].pid != 0;
    }
    return n;
}

/* ---- signals ---- */

static void signal_all(master_t *m, int sig)
{
    for (int i = 0; i < m->workers; i++) {
        if (m->slots[i].pid != 0) {
            (void) kill(m->slots[i].pid, sig);
        }
    }
    for (size_t i = 0; i < m->nold; i++) {
        (void) kill(m->old[i], sig);
    }
}

/* The present workers become old ones and are asked to leave once the new ones have been started. */
static void generation_change(master_t *m, int workers)
{
    size_t first_old = m->nold;

    for (int i = 0; i < m->workers; i++) {
        if (m->slots[i].pid != 0) {
            m->old[m->nold++] = m->slots[i].pid;
        }
    }
    free(m->slots);
    m->slots = si_calloc((size_t) workers * sizeof(*m->slots));
    m->workers = workers;
    spawn_due(m);
    for (size_t i = first_old; i < m->nold; i++) {
        (void) kill(m->old[i], SIGQUIT);
    }
}

static void on_reload(master_t *m)
{
    int workers = m->workers;

    if (m->phase != RUNNING) {
        return;
    }
    if (m->nold + (size_t) m->workers > OLD_MAX) {
        log_fmt(LOG_ERROR, "reload refused: %zu workers still drain", m->nold);
        return;
    }
    if (m->spec->reload != NULL && m->spec->reload(&workers, m->spec->arg) < 0) {
        log_line(LOG_ERROR, "reload refused: the old configuration stays", NULL);
        return;
    }
    if (workers < 1 || workers > MASTER_WORKERS_MAX) {
        log_fmt(LOG_ERROR, "reload refused: %d workers", workers);
        return;
    }
    log_fmt(LOG_INFO, "reload: %d workers start, %d drain", workers, m->workers);
    generation_change(m, workers);
}

static void set_phase(master_t *m, phase_t phase)
{
    if (phase <= m->phase) {
        return;             /* there is no way back */
    }
    log_line(LOG_INFO, phase == DRAINING ? "draining" : "stopping", NULL);
    m->phase = phase;
    if (phase == STOPPING) {
        m->kill_at = clock_ms() + STOP_MS;
    }
    signal_all(m, phase == DRAINING ? SIGQUIT : SIGTERM);
}

static void handle(master_t *m, int sig)
{
    switch (sig) {
    case SIGCHLD:
        reap(m);
        break;
    case SIGHUP:
        on_reload(m);
        break;
    case SIGQUIT:
        set_phase(m, DRAINING);
        break;
    case SIGTERM:
    case SIGINT:
        set_phase(m, STOPPING);
        break;
    case SIGUSR1:
        (void) logger_reopen();
        signal_all(m, SIGUSR1);
        break;
    default:
        break;
    }
}

/* When something is to be done even if no signal comes. */
static uint64_t next_due(const master_t *m)
{
    uint64_t due = m->kill_at ? m->kill_at : UINT64_MAX;

    for (int i = 0; m->phase == RUNNING && i < m->workers; i++) {
        if (m->slots[i].pid == 0) {
            due = SI_MIN(due, m->slots[i].due);
        }
    }
    return due;
}

static void wait_signal(master_t *m)
{
    uint64_t due = next_due(m), now = clock_ms(), ms = due > now ? SI_MIN(due - now, (uint64_t) 60000) : 0;
    struct timespec ts = { .tv_sec = (time_t) (ms / 1000), .tv_nsec = (long) (ms % 1000) * 1000000 };
    int sig = sigtimedwait(&m->signals, NULL, &ts);

    if (sig > 0) {
        handle(m, sig);
    } else if (errno != EAGAIN && errno != EINTR) {
        si_die("sigtimedwait: %s", strerror(errno));
    }
    if (m->kill_at != 0 && clock_ms() >= m->kill_at) {
        log_fmt(LOG_WARN, "%zu workers did not stop in time and are killed", alive(m));
        m->kill_at = 0;
        signal_all(m, SIGKILL);
    }
}

/* ---- life ---- */

static int write_pid_file(const char *path)
{
    char tmp[1024], text[32];
    int n = snprintf(tmp, sizeof(tmp), "%s.tmp", path), fd;
    bool good;

    if (n < 0 || (size_t) n >= sizeof(tmp)) {
        log_line(LOG_ERROR, "name of the pid file is too long", NULL);
        return SI_EINVAL;
    }
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    n = snprintf(text, sizeof(text), "%d\n", (int) getpid());
    good = fd >= 0 && write(fd, text, (size_t) n) == n;
    good = (fd < 0 || close(fd) == 0) && good;
    if (!good || rename(tmp, path) != 0) {      /* renamed: nobody reads half a number */
        log_line(LOG_ERROR, "pid file cannot be written", "path", path, "reason", strerror(errno), NULL);
        return SI_EINVAL;
    }
    return SI_OK;
}

static void block_signals(master_t *m)
{
    static const int all[] = { SIGHUP, SIGQUIT, SIGTERM, SIGINT, SIGUSR1, SIGCHLD };

    (void) signal(SIGPIPE, SIG_IGN);
    (void) signal(SIGCHLD, SIG_DFL);            /* ignored by the parent, it would lose the dead */
    (void) sigemptyset(&m->signals);
    for (size_t i = 0; i < SI_COUNT(all); i++) {
        (void) sigaddset(&m->signals, all[i]);
    }
    (void) sigprocmask(SIG_BLOCK, &m->signals, NULL);
}

int master_run(const master_spec_t *spec)
{
    master_t *m;

    if (spec->workers < 1 || spec->workers > MASTER_WORKERS_MAX) {
        log_fmt(LOG_ERROR, "%d workers: 1 to %d can be run", spec->workers, MASTER_WORKERS_MAX);
        return 1;
    }
    proc.slot = -1;
    (void) snprintf(proc.instance, sizeof(proc.instance), "master.%d", (int) getpid());
    if (spec->pid_file != NULL && write_pid_file(spec->pid_file) != SI_OK) {
        return 1;
    }
    m = si_calloc(sizeof(*m));
    m->spec = spec;
    m->workers = spec->workers;
    m->slots = si_calloc((size_t) m->workers * sizeof(*m->slots));
    block_signals(m);
    log_fmt(LOG_INFO, "master started with %d workers", m->workers);

    for (spawn_due(m); m->phase == RUNNING || alive(m) > 0; spawn_due(m)) {
        wait_signal(m);
    }

    log_line(LOG_INFO, "master ended", NULL);
    if (spec->pid_file != NULL) {
        (void) unlink(spec->pid_file);
    }
    free(m->slots);
    free(m);
    return 0;
}
