/* The loop: descriptors, stale events, timers, deferred functions. */
#include "run/loop.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "tap.h"

static char     trace[256];
static watch_t  watches[2];
static int      pairs[2][2];
static int      calls;

static void mark(const char *z)
{
    size_t n = strlen(trace);

    (void) snprintf(trace + n, sizeof(trace) - n, "%s ", z);
}

static void stop_timer(ltimer_t *t)
{
    (void) t;
    loop_stop();
}

/* Runs the loop for some ms, at least one batch. */
static void run_for(uint64_t ms)
{
    ltimer_t t = { 0 };

    loop_timer(&t, ms, stop_timer);
    loop_run();
    loop_timer_del(&t);
}

static void reset(void)
{
    trace[0] = '\0';
    calls = 0;
}

static void open_pairs(void)
{
    for (int i = 0; i < 2; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]) != 0) {
            si_die("socketpair");
        }
    }
}

static void close_pairs(void)
{
    for (int i = 0; i < 2; i++) {
        loop_unwatch(&watches[i]);
        (void) close(pairs[i][0]);
        (void) close(pairs[i][1]);
    }
}

static void poke(int i)
{
    if (write(pairs[i][1], "x", 1) != 1) {
        si_die("write");
    }
}

/* ---- descriptors ---- */

static void on_read(watch_t *w, uint32_t events)
{
    char c[16];

    mark(events & EPOLLIN ? "in" : "?");
    if (read(w->fd, c, sizeof(c)) <= 0) {
        mark("eof");
        loop_unwatch(w);
    }
}

static void on_write(watch_t *w, uint32_t events)
{
    mark(events & EPOLLOUT ? "out" : "?");
    (void) loop_watch(w, w->fd, EPOLLIN, on_read);
}

/* Whoever comes first takes the other off. */
static void on_rival(watch_t *w, uint32_t events)
{
    (void) events;
    calls++;
    loop_unwatch(w == &watches[0] ? &watches[1] : &watches[0]);
    loop_stop();
}

/* Whoever comes first closes the other, and gives its number to a new socket. */
static void on_closer(watch_t *w, uint32_t events)
{
    int i = w == &watches[0] ? 1 : 0;

    (void) events;
    calls++;
    loop_unwatch(&watches[i]);
    (void) close(pairs[i][0]);
    (void) close(pairs[i][1]);
    (void) socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]);
    (void) loop_watch(&watches[i], pairs[i][0], EPOLLIN, on_closer);
    loop_unwatch(w);
    loop_stop();
}

static void test_watch(void)
{
    reset();
    open_pairs();
    is_int(loop_watch(&watches[0], pairs[0][0], EPOLLIN | EPOLLOUT, on_write), 0, "watched");
    run_for(0);
    is_str(trace, "out ", "it can be written, and the watch is changed at once");
    poke(0);
    (void) close(pairs[0][1]);
    run_for(0);
    run_for(0);
    is_str(trace, "out in in eof ", "it can be read, then it ends");
    is_int(watches[0].fd, -1, "not watched any more");
    loop_unwatch(&watches[0]);
    is_int(loop_watch(&watches[0], 9999, EPOLLIN, on_read), SI_EINVAL, "a descriptor that is none");
    is_int(loop_watch(&watches[0], -1, EPOLLIN, on_read), SI_EINVAL, "less than none");
    close_pairs();
}

static void test_stale(void)
{
    reset();
    open_pairs();
    (void) loop_watch(&watches[0], pairs[0][0], EPOLLIN, on_rival);
    (void) loop_watch(&watches[1], pairs[1][0], EPOLLIN, on_rival);
    poke(0);
    poke(1);
    loop_run();
    is_int(calls, 1, "an unwatched event of the same batch is not delivered");
    close_pairs();

    reset();
    open_pairs();
    (void) loop_watch(&watches[0], pairs[0][0], EPOLLIN, on_closer);
    (void) loop_watch(&watches[1], pairs[1][0], EPOLLIN, on_closer);
    poke(0);
    poke(1);
    loop_run();
    run_for(5);
    is_int(calls, 1, "nor is it to the new owner of its number");
    close_pairs();
}

/* A library may close a descriptor before it tells; its number may have a new owner by then. */
static void test_closed_early(void)
{
    int fd;

    reset();
    open_pairs();
    (void) loop_watch(&watches[0], pairs[0][0], EPOLLIN, on_read);
    fd = pairs[0][0];
    (void) close(fd);
    is_int(dup2(pairs[1][0], fd), fd, "the number is used again");
    is_int(loop_watch(&watches[1], fd, EPOLLIN, on_read), 0, "by another watch");
    loop_unwatch(&watches[0]);
    poke(1);
    run_for(0);
    is_str(trace, "in ", "which outlives the end of the first");
    close_pairs();
}

/* ---- timers ---- */

static ltimer_t timers[4];

static void on_timer(ltimer_t *t)
{
    static const char *const names[] = { "0", "1", "2", "3" };

    mark(names[t - timers]);
    if (t == &timers[1]) {
        loop_timer_del(&timers[2]);
    }
}

static void on_busy(ltimer_t *t)
{
    calls++;
    loop_timer(t, 0, on_busy);
}

static void test_timers(void)
{
    uint64_t from = clock_ms();

    reset();
    loop_timer(&timers[3], 30, on_timer);
    loop_timer(&timers[0], 60000, on_timer);
    loop_timer(&timers[2], 20, on_timer);
    loop_timer(&timers[1], 10, on_timer);
    loop_timer(&timers[0], 1, on_timer);
    run_for(31);
    is_str(trace, "0 1 3 ", "in order of time; one was moved, one taken off");
    ok(clock_ms() - from >= 31, "not early");
    ok(timers[0].at == 0 && timers[2].at == 0, "they are not set any more");
    loop_timer_del(&timers[0]);

    reset();
    open_pairs();
    (void) loop_watch(&watches[0], pairs[0][0], EPOLLIN, on_read);
    loop_timer(&timers[0], 0, on_busy);
    poke(0);
    run_for(5);
    is_str(trace, "in ", "a timer of 0 ms does not keep events waiting");
    ok(calls > 1, "though it fires each time");
    loop_timer_del(&timers[0]);
    close_pairs();
}

/* ---- deferred ---- */

static void on_deferred(void *arg)
{
    mark(arg);
    if (strcmp(arg, "a") == 0) {
        loop_defer(on_deferred, "c");
    }
}

static void deferring(ltimer_t *t)
{
    (void) t;
    loop_defer(on_deferred, "a");
    loop_defer(on_deferred, "b");
    mark("timer");
    loop_stop();
}

static void on_endless(void *arg)
{
    calls++;
    loop_defer(on_endless, arg);
}

static void test_deferred(void)
{
    reset();
    loop_timer(&timers[0], 0, deferring);
    loop_run();
    is_str(trace, "timer a b c ", "deferred functions run after the batch, those they defer as well");

    reset();
    loop_defer(on_endless, NULL);
    run_for(2);
    ok(calls > 2, "one that always defers itself does not stop the loop");
}

static bool hook_pending(void)
{
    return calls < 3;
}

static void hook_run(void)
{
    if (++calls == 3) {
        loop_stop();
    }
}

static void test_hook(void)
{
    reset();
    loop_hook(hook_run, hook_pending);
    loop_run();
    is_int(calls, 3, "the loop does not sleep while something is ready");
    loop_hook(NULL, NULL);
}

int main(void)
{
    (void) logger_open("/dev/null", LOG_DEBUG);
    loop_init();
    ok(loop_now() > 0, "the loop knows the time before it runs");
    test_watch();
    test_stale();
    test_closed_early();
    test_timers();
    test_hook();
    test_deferred();
    loop_free();
    ok(proc.loop == NULL, "nothing is left");
    return done_testing();
}
