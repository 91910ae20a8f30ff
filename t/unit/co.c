/* Coroutines: order, nesting, cancel, wake, deadline, stacks. */
#include "run/co.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "run/loop.h"
#include "tap.h"

static char   trace[256];
static wait_t shared;
static co_t  *other;
static int    results[8];
static size_t nresults;

static void mark(const char *z)
{
    size_t n = strlen(trace);

    (void) snprintf(trace + n, sizeof(trace) - n, "%s ", z);
}

static void result(int rc)
{
    results[nresults++ % SI_COUNT(results)] = rc;
}

/* Runs the loop until no coroutine is left. */
static void tick(ltimer_t *t)
{
    if (co_count() == 0) {
        loop_stop();
    } else {
        loop_timer(t, 1, tick);
    }
}

static void run_all(void)
{
    ltimer_t t = { 0 };

    loop_timer(&t, 0, tick);
    loop_run();
    loop_timer_del(&t);
}

static void reset(void)
{
    trace[0] = '\0';
    nresults = 0;
    wait_init(&shared);
    other = NULL;
}

/* ---- order and nesting ---- */

static void step_fn(void *arg)
{
    mark(arg);
    (void) co_yield();
    mark(arg);
}

static void parent_fn(void *arg)
{
    (void) arg;
    mark("p1");
    co_spawn("child", step_fn, "c");
    mark("p2");
    (void) co_yield();
    mark("p3");
}

static void test_order(void)
{
    reset();
    co_spawn("a", step_fn, "a");
    co_spawn("b", step_fn, "b");
    ok(co_self() == NULL, "no coroutine on the main stack");
    is_int((long long) co_count(), 2, "two are counted");
    is_str(trace, "", "spawn runs nothing yet");
    run_all();
    is_str(trace, "a b a b ", "they run in turn");

    reset();
    co_spawn("parent", parent_fn, NULL);
    run_all();
    is_str(trace, "p1 p2 c p3 c ", "a child starts after its parent has yielded");
}

/* ---- wake ---- */

static void waiter_fn(void *arg)
{
    (void) arg;
    result(co_wait(&shared, "test:wait", clock_ms() + 30000));
}

static void waker_fn(void *arg)
{
    (void) arg;
    result(wait_wake(&shared, 7));
    result(wait_wake(&shared, 8));
}

static void test_wake(void)
{
    reset();
    co_spawn("waiter", waiter_fn, NULL);
    co_spawn("waker", waker_fn, NULL);
    run_all();
    is_int(results[0], true, "the first wake counts");
    is_int(results[1], false, "the second is refused");
    is_int(results[2], 7, "the waiter gets the first result");

    reset();
    ok(wait_wake(&shared, 5), "a wait can be completed before somebody waits");
    co_spawn("waiter", waiter_fn, NULL);
    run_all();
    is_int(results[0], 5, "and is not waited for then");
}

/* ---- deadlines ---- */

static void timeout_fn(void *arg)
{
    uint64_t from = clock_ms();

    (void) arg;
    result(co_wait(&shared, "test:late", from + 30));
    result(clock_ms() - from >= 30);
    result(wait_wake(&shared, 1));
    result(co_wait(&shared, "test:done", from));
}

static void overall_fn(void *arg)
{
    uint64_t from = clock_ms();
    wait_t w;

    (void) arg;
    result(co_deadline(from + 30) == 0);
    wait_init(&w);
    result(co_wait(&w, "test:overall", from + 60000));
    result(co_sleep(60000, "test:sleep"));
    result(co_deadline(0) == from + 30);
    result(co_sleep(1, "test:sleep"));
    result(clock_ms() - from < 30000);
}

static void sleeper_fn(void *arg)
{
    (void) co_sleep(*(const uint64_t *) arg, "test:sleep");
    mark(*(const uint64_t *) arg == 60 ? "60" : *(const uint64_t *) arg == 30 ? "30" : "1");
}

static void test_deadline(void)
{
    static const uint64_t ms[] = { 60, 1, 30 };

    reset();
    co_spawn("timeout", timeout_fn, NULL);
    run_all();
    is_int(results[0], SI_ETIMEDOUT, "a wait ends at its deadline");
    ok(results[1], "not before it");
    ok(results[2], "a wake afterwards finds nobody");
    is_int(results[3], 1, "a wait that is done returns its result even past the deadline");

    reset();
    co_spawn("overall", overall_fn, NULL);
    run_all();
    ok(results[0], "there is none at first");
    is_int(results[1], SI_ETIMEDOUT, "co_deadline() ends a wait that has a later one");
    is_int(results[2], SI_ETIMEDOUT, "and a sleep");
    ok(results[3], "it gives the former one back");
    is_int(results[4], 0, "0 takes it off");
    ok(results[5], "nobody waited longer");

    reset();
    for (size_t i = 0; i < 3; i++) {
        co_spawn("sleeper", sleeper_fn, (void *) (uintptr_t) &ms[i]);
    }
    run_all();
    is_str(trace, "1 30 60 ", "sleepers wake in order of time");
}

/* ---- cancel ---- */

static void victim_fn(void *arg)
{
    wait_t w;

    (void) arg;
    wait_init(&w);
    result(co_wait(&w, "test:victim", CO_NO_DEADLINE));
    result(co_cancelled(co_self()));
    result(co_sleep(60000, "test:sleep"));
    result(co_yield());
    w.done = true;
    result(co_wait(&w, "test:again", CO_NO_DEADLINE));
    result(co_mask(true));
    result(co_sleep(1, "test:masked"));
    result(co_mask(false));
    mark(co_sleep(60000, "test:sleep") == SI_ECANCELED ? "unmasked" : "?");
}

static void canceller_fn(void *arg)
{
    (void) arg;
    co_cancel(other);
    co_cancel(other);
}

static void masked_fn(void *arg)
{
    (void) arg;
    (void) co_mask(true);
    result(co_wait(&shared, "test:masked", clock_ms() + 30000));
    (void) co_mask(false);
    result(co_wait(&shared, "test:unmasked", clock_ms() + 30000));
}

static void never_fn(void *arg)
{
    (void) arg;
    mark("ran");
    result(co_sleep(60000, "test:sleep"));
}

static void test_cancel(void)
{
    reset();
    other = co_spawn("victim", victim_fn, NULL);
    co_spawn("canceller", canceller_fn, NULL);
    run_all();
    is_int(results[0], SI_ECANCELED, "cancel ends the present wait");
    ok(results[1], "it can be seen");
    is_int(results[2], SI_ECANCELED, "and every later sleep");
    is_int(results[3], SI_ECANCELED, "and yield");
    is_int(results[4], SI_ECANCELED, "and a wait that is done");
    is_int(results[5], false, "it was not masked");
    is_int(results[6], 0, "masked, it sleeps in peace");
    is_int(results[7], true, "it was masked");
    is_str(trace, "unmasked ", "unmasked, it is cancelled again");

    reset();
    other = co_spawn("masked", masked_fn, NULL);
    co_spawn("canceller", canceller_fn, NULL);
    co_spawn("waker", waker_fn, NULL);
    run_all();
    is_int(results[2], 7, "a masked wait outlives the cancellation");
    is_int(results[3], SI_ECANCELED, "which comes when the mask is off");

    reset();
    co_cancel(co_spawn("never", never_fn, NULL));
    run_all();
    is_str(trace, "ran ", "one that is cancelled before it ran still runs");
    is_int(results[0], SI_ECANCELED, "and cannot wait");
}

/* ---- what is seen from outside ---- */

static void labelled_fn(void *arg)
{
    co_label(arg);
    (void) co_wait(&shared, "test:labelled", CO_NO_DEADLINE);
    result(strcmp(co_self_label(), "0123456789012345678901234567890123456789") == 0);
}

static void see(co_t *co, const char *name, const char *label, const char *where, uint64_t since, void *arg)
{
    (void) arg;
    if (co == other) {
        mark(name);
        mark(label);
        mark(where);
        result(since <= clock_ms());
    }
}

static void looker_fn(void *arg)
{
    (void) arg;
    co_each(see, NULL);
    wait_wake(&shared, 0);
    co_each(see, NULL);
}

static void test_seen(void)
{
    reset();
    other = co_spawn("labelled", labelled_fn, "0123456789012345678901234567890123456789-cut");
    co_spawn("looker", looker_fn, NULL);
    run_all();
    is_str(trace, "labelled 0123456789012345678901234567890123456789 test:labelled "
           "labelled 0123456789012345678901234567890123456789 ready ", "co_each tells name, label and place");
    ok(results[2], "the label is cut at 40 bytes");
    ok(co_self_label() == NULL, "there is none on the main stack");
}

/* ---- many ---- */

static size_t alive;

static long resident_kb(void)
{
    char line[128];
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f != NULL) {
        if (fgets(line, sizeof(line), f) != NULL) {
            (void) sscanf(line, "%*s %ld", &pages);
        }
        fclose(f);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void many_fn(void *arg)
{
    volatile double d = (double) (uintptr_t) arg * 1.5;

    alive++;
    (void) co_yield();
    (void) co_wait(arg, "test:many", CO_NO_DEADLINE);
    results[0] += d == (double) (uintptr_t) arg * 1.5;
    alive--;
}

static wait_t many[10000];

static void release_fn(void *arg)
{
    (void) arg;
    while (alive < SI_COUNT(many)) {
        (void) co_yield();
    }
    (void) co_yield();
    diag("%ld KiB resident with %zu parked coroutines", resident_kb(), co_count() - 1);
    for (size_t i = SI_COUNT(many); i > 0; i--) {
        (void) wait_wake(&many[i - 1], 0);
    }
}

static void test_many(void)
{
    reset();
    results[0] = 0;
    diag("%ld KiB resident before", resident_kb());
    for (size_t i = 0; i < SI_COUNT(many); i++) {
        wait_init(&many[i]);
        co_spawn("many", many_fn, &many[i]);
    }
    co_spawn("release", release_fn, NULL);
    run_all();
    is_int(results[0], (long long) SI_COUNT(many), "10,000 coroutines ran, each with its own registers");
    is_int((long long) alive, 0, "and all ended");
    diag("%ld KiB resident after", resident_kb());
}

/* A stack that was used deeply gives its memory back when it is pooled. */
static __attribute__((noinline)) void deep_fn(void *arg)
{
    volatile char page[4000];

    for (size_t i = 0; i < sizeof(page); i += 500) {
        page[i] = 1;
    }
    if (arg != NULL) {
        deep_fn((void *) ((uintptr_t) arg - 1));
    }
    page[0]++;
}

static void test_give_back(void)
{
    long before, after;

    reset();
    for (size_t i = 0; i < 64; i++) {
        co_spawn("shallow", step_fn, "");
    }
    run_all();
    before = resident_kb();
    for (size_t i = 0; i < 64; i++) {
        co_spawn("deep", deep_fn, (void *) (uintptr_t) 80);
        co_spawn("step", step_fn, "");
    }
    run_all();
    after = resident_kb();
    ok(after - before < 64 * 100, "64 stacks used 320 KiB deep are given back (%ld KiB grown)", after - before);
}

/* ---- what must kill ---- */

/* Runs fn in a coroutine of a child; its wait status. */
static int die_in_child(void (*fn)(void *arg))
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        int null = open("/dev/null", O_WRONLY);

        (void) setrlimit(RLIMIT_CORE, &none);
        (void) dup2(null, STDERR_FILENO);
        co_spawn("doomed", fn, NULL);
        run_all();
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0) {
        continue;
    }
    return status;
}

static __attribute__((noinline)) int overrun(int n)
{
    volatile char page[2048];

    page[0] = (char) n;
    page[sizeof(page) - 1] = (char) n;
    return n > 0 ? overrun(n + 1) + page[0] : 0;
}

static void overrun_fn(void *arg)
{
    (void) arg;
    result(overrun(1));
}

static void reenter_fn(void *arg)
{
    (void) arg;
    loop_run();
}

static void second_waiter_fn(void *arg)
{
    (void) arg;
    co_spawn("waiter", waiter_fn, NULL);
    (void) co_yield();
    (void) co_wait(&shared, "test:second", CO_NO_DEADLINE);
}

static void test_deaths(void)
{
    int status;

    reset();
    status = die_in_child(overrun_fn);
    /* The sanitizers catch the signal, report and exit. */
    ok((WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
       || (WIFEXITED(status) && WEXITSTATUS(status) != 0), "an overrun stack hits the guard (status %x)",
       (unsigned) status);
    co_spawn("other", step_fn, "x");    /* ready, so that the nested loop would resume it */
    status = die_in_child(reenter_fn);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "a loop in a coroutine aborts");
    status = die_in_child(second_waiter_fn);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "two waiters of one wait abort");
    run_all();
}

/* ---- exit ---- */

static void polite_fn(void *arg)
{
    (void) arg;
    result(co_sleep(60000, "test:exit"));
}

static void stubborn_fn(void *arg)
{
    (void) arg;
    (void) co_mask(true);
    (void) co_sleep(60000, "test:stubborn");
    mark("not reached");
}

static void stop_fn(void *arg)
{
    (void) arg;
    loop_stop();
}

static void test_exit(void)
{
    reset();
    co_spawn("polite", polite_fn, NULL);
    co_spawn("stubborn", stubborn_fn, NULL);
    co_spawn("stop", stop_fn, NULL);
    loop_run();
    co_exit();
    is_int(results[0], SI_ECANCELED, "co_exit() cancels");
    is_str(trace, "", "and drops what does not end");
    ok(proc.co == NULL, "nothing is left");
}

int main(void)
{
    (void) logger_open("/dev/null", LOG_DEBUG);
    loop_init();
    co_init();
    test_order();
    test_wake();
    test_deadline();
    test_cancel();
    test_seen();
    test_many();
    test_give_back();
    test_deaths();
    test_exit();
    loop_free();
    return done_testing();
}
