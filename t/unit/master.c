/* The master with real processes: respawn, reload, drain, stop. Workers report on a pipe. */
#include "run/master.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "run/loop.h"
#include "tap.h"

#define PATIENCE_MS  30000u

typedef struct {
    int   report;           /* write end */
    int   generation;
    bool  refuse;           /* reload() says no */
    bool  stubborn;         /* workers do not stop */
    bool  crash;            /* workers die at once */
    char  dir[64];
} plan_t;

static plan_t plan;

/* ---- in the worker ---- */

static void say(const char *what)
{
    char line[160];
    int n = snprintf(line, sizeof(line), "%s %s\n", what, proc.instance);

    if (write(plan.report, line, (size_t) n) != n) {
        _exit(9);
    }
}

static void on_drain(void)
{
    say("drain");
    loop_stop();
}

static void on_stop(void)
{
    say("stop");
    if (!plan.stubborn) {
        loop_stop();
    }
}

static void on_reopen(void)
{
    (void) logger_reopen();
    say("reopen");
}

static void worker(int slot, const char *died, void *arg)
{
    char line[160];

    (void) arg;
    (void) slot;
    loop_init();
    signals_init(on_drain, on_stop, on_reopen);
    (void) snprintf(line, sizeof(line), "start %d %s", plan.generation, died ? died : "-");
    say(line);
    if (!plan.crash) {
        loop_run();
    }
    signals_exit();
    loop_free();
    _exit(plan.crash ? 3 : 0);
}

static int reload(int *workers, void *arg)
{
    char path[96];
    int fd;

    (void) arg;
    (void) snprintf(path, sizeof(path), "%s/refuse", plan.dir);
    fd = open(path, O_RDONLY);
    if (fd >= 0) {
        (void) close(fd);
        say("refused");
        return SI_EINVAL;
    }
    plan.generation++;
    *workers = 1;
    return 0;
}

/* ---- in the test ---- */

static int   reports = -1;      /* read end */
static char  lines[8192];
static pid_t master_pid;

static void start(int workers)
{
    static char pid_file[96];
    int ends[2];

    if (pipe(ends) != 0) {
        si_die("pipe: %s", strerror(errno));
    }
    lines[0] = '\0';
    (void) snprintf(pid_file, sizeof(pid_file), "%s/pid", plan.dir);
    master_pid = fork();
    if (master_pid == 0) {
        master_spec_t spec = { workers, worker, reload, NULL, pid_file };

        (void) close(ends[0]);
        plan.report = ends[1];
        _exit(master_run(&spec));
    }
    (void) close(ends[1]);
    reports = ends[0];
}

/* Reads what comes within ms; false at the end of the pipe: nobody is left who could write. */
static bool read_some(int ms)
{
    struct pollfd p = { .fd = reports, .events = POLLIN };
    size_t n = strlen(lines);
    ssize_t got;

    if (poll(&p, 1, ms) <= 0) {
        return true;
    }
    got = read(reports, lines + n, sizeof(lines) - n - 1);
    lines[n + (size_t) SI_MAX(got, (ssize_t) 0)] = '\0';
    return got > 0;
}

/* Waits until the reports hold `what` at least n times. */
static bool heard(const char *what, int n)
{
    uint64_t until = clock_ms() + PATIENCE_MS;

    for (;;) {
        int count = 0;

        for (const char *p = lines; (p = strstr(p, what)) != NULL; p++) {
            count++;
        }
        if (count >= n) {
            return true;
        }
        if (clock_ms() >= until || !read_some(20)) {
            diag("waited for %d x '%s' in:\n# %s", n, what, lines);
            return false;
        }
    }
}

/* The pid in the line that begins with `head`, as "start 0 - 1.". */
static pid_t pid_after(const char *head)
{
    const char *p = strstr(lines, head);

    return p ? (pid_t) strtol(p + strlen(head), NULL, 10) : 0;
}

/* The master's exit status; -1 when it does not end. */
static int master_status(void)
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    int status;

    while (clock_ms() < until) {
        if (waitpid(master_pid, &status, WNOHANG) == master_pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        }
        (void) poll(NULL, 0, 10);
    }
    return -1;
}

/* All writers have closed their end: no worker is left. */
static bool all_gone(void)
{
    uint64_t until = clock_ms() + PATIENCE_MS;

    while (read_some(20)) {
        if (clock_ms() >= until) {
            return false;
        }
    }
    (void) close(reports);
    return true;
}

static bool file_there(const char *name)
{
    char path[96];
    struct stat st;

    (void) snprintf(path, sizeof(path), "%s/%s", plan.dir, name);
    return stat(path, &st) == 0;
}

static void test_respawn_and_drain(void)
{
    char want[96];
    pid_t first, second;

    start(2);
    ok(heard("start 0 - 0.", 1) && heard("start 0 - 1.", 1), "two workers start, following nobody");
    ok(file_there("pid"), "the pid file is there");
    first = pid_after("start 0 - 1.");

    (void) kill(first, SIGKILL);
    (void) snprintf(want, sizeof(want), "start 0 1.%d 1.", (int) first);
    ok(heard(want, 1), "a killed worker is respawned and told whom it follows");
    second = pid_after(want);
    ok(second > 0 && second != first, "it is another process");

    (void) kill(second, SIGKILL);
    (void) snprintf(want, sizeof(want), "start 0 1.%d 1.", (int) second);
    ok(heard(want, 1), "again, after the back-off");

    (void) kill(master_pid, SIGUSR1);
    ok(heard("reopen ", 2), "SIGUSR1 reaches all workers");

    (void) kill(master_pid, SIGQUIT);
    ok(heard("drain ", 2), "SIGQUIT drains all workers");
    is_int(master_status(), 0, "then the master leaves");
    ok(all_gone(), "and no worker is left");
    ok(!file_there("pid"), "nor the pid file");
}

static void test_reload(void)
{
    char path[96];
    int fd;

    start(2);
    ok(heard("start 0 - ", 2), "two workers start");
    (void) kill(master_pid, SIGHUP);
    ok(heard("start 1 - 0.", 1), "SIGHUP starts the new generation");
    ok(heard("drain 0.", 1) && heard("drain 1.", 1), "the old one drains");
    ok(strstr(lines, "start 1 - 1.") == NULL, "with the new number of workers");

    (void) snprintf(path, sizeof(path), "%s/refuse", plan.dir);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    (void) close(fd);
    (void) kill(master_pid, SIGHUP);
    ok(heard("refused ", 1), "a reload can be refused");
    (void) unlink(path);
    (void) kill(master_pid, SIGUSR1);
    ok(heard("reopen 0.", 1), "the old generation goes on then");
    ok(strstr(lines, "start 2") == NULL, "and no new one came");

    (void) kill(master_pid, SIGTERM);
    ok(heard("stop 0.", 1), "SIGTERM stops the workers");
    is_int(master_status(), 0, "then the master leaves");
    ok(all_gone(), "and no worker is left");
}

static void test_stubborn(void)
{
    plan.stubborn = true;
    start(1);
    ok(heard("start 0 - 0.", 1), "a worker that does not stop");
    (void) kill(master_pid, SIGINT);
    ok(heard("stop 0.", 1), "is asked to");
    is_int(master_status(), 0, "and killed after 10 s");
    ok(all_gone(), "it is gone");
    plan.stubborn = false;
}

static void test_crashing(void)
{
    uint64_t from = clock_ms();

    plan.crash = true;
    start(1);
    ok(heard("start 0 ", 4), "a worker that dies at once is started again and again");
    ok(clock_ms() - from >= 300, "later each time (0, 100, 200 ms)");
    (void) kill(master_pid, SIGTERM);
    is_int(master_status(), 0, "SIGTERM ends that");
    ok(all_gone(), "it is gone");
    plan.crash = false;
}

static void test_orphans(void)
{
    start(2);
    ok(heard("start 0 - ", 2), "two workers start");
    (void) kill(master_pid, SIGKILL);
    ok(heard("stop ", 2), "when the master is killed they get SIGTERM");
    is_int(master_status(), 1000 + SIGKILL, "the master was killed");
    ok(all_gone(), "no worker is left");
}

static void test_bad_spec(void)
{
    master_spec_t none = { 0, worker, NULL, NULL, NULL };
    master_spec_t nowhere = { 1, worker, NULL, NULL, "/nonexistent/pid" };

    is_int(master_run(&none), 1, "no workers: refused");
    is_int(master_run(&nowhere), 1, "no pid file: refused");
}

int main(void)
{
    char pid_file[96];

    (void) logger_open("/dev/null", LOG_DEBUG);
    (void) snprintf(plan.dir, sizeof(plan.dir), "/tmp/si-master-XXXXXX");
    if (mkdtemp(plan.dir) == NULL) {
        si_die("mkdtemp: %s", strerror(errno));
    }
    test_respawn_and_drain();
    test_reload();
    test_stubborn();
    test_crashing();
    test_orphans();
    test_bad_spec();
    (void) snprintf(pid_file, sizeof(pid_file), "%s/pid", plan.dir);
    (void) unlink(pid_file);        /* of the killed master */
    ok(rmdir(plan.dir) == 0, "nothing else was left behind");
    return done_testing();
}
