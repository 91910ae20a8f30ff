/* Shared logs: ATTACH, publishing, DETACH and its race, the end, a slow edge. */
#include "edge.h"

static evlog_t *current;                /* the log that calls attach to */
static size_t   idle;                   /* how often on_idle() was called */
static bool     free_when_idle, attached;

static void on_idle(void *arg)
{
    ok(arg == &idle, "on_idle gets its argument");
    idle++;
    if (free_when_idle) {
        evlog_free(current);
        current = NULL;
    }
}

static void co_handler(call_t *call)
{
    if (str_is(call->path, "/early")) {
        attached = call_attach(call, current);
        return;
    }
    call_head(call, &(call_head_t) { .status = 200, .length = -1, .stream = true, .type = "text/event-stream" });
    co_call_write(call, ": si\n\n", 6, soon());
    attached = call_attach(call, current);
}

static void publish(const char *id, const char *wire)
{
    evlog_publish(current, str_of(id), str_of(wire));
}

/* Opens a call that attaches. Returns the seq, 0 on failure; *log is the log's id. */
static uint32_t co_attach(edge_t *e, uint64_t id, uint64_t *log)
{
    co_edge_open(e, id, 0, "GET", "/log");
    if (co_edge_next(e) != SI_F_HEAD || co_edge_next(e) != SI_F_DATA || co_edge_next(e) != SI_F_ATTACH
        || e->f.id != id || e->f.length != 12 + 3 || memcmp(e->p + 12, "c:1", 3) != 0)
    {
        return 0;
    }
    *log = si_get64(e->p);
    return si_get32(e->p + 8);
}

static bool co_event(edge_t *e, uint64_t log, const char *want)
{
    if (co_edge_next(e) != SI_F_DATA || e->f.flags != SI_FL_LOG || e->f.id != log) {
        return false;
    }
    return e->f.length == strlen(want) && memcmp(e->p, want, e->f.length) == 0;
}

static void co_detach(edge_t *e, uint64_t log, uint32_t seq) { co_edge_send32(e, SI_F_DETACH, log, seq); }

static void co_readers(edge_t *e, uint64_t log, uint32_t seq, uint32_t count)
{
    uint8_t p[8];

    si_put32(p, seq);
    si_put32(p + 4, count);
    co_edge_send(e, SI_F_READERS, 0, log, p, sizeof p);
}

static bool was_idle(void) { return idle > 0; }

static void begin(void)
{
    idle = 0;
    free_when_idle = false;
    current = evlog_new("c:1", on_idle, &idle);
}

static void co_test_two_links(void)
{
    edge_t   a, b;
    uint64_t log = 0, log2 = 0;
    uint32_t seq_a, seq_b;

    begin();
    co_edge_up(&a);
    co_edge_up(&b);
    publish("1.1", "nobody");
    seq_a = co_attach(&a, 1, &log);
    ok(seq_a > 0 && log != 0, "ATTACH with log, seq and key");
    ok(attached, "call_attach is true");
    ok(co_edge_quiet(&a), "nothing from before");
    publish("1.2", "only a");
    ok(co_event(&a, log, "\0031.2only a"), "the reader gets an event");
    seq_b = co_attach(&b, 1, &log2);
    ok(seq_b > 0 && log2 == log, "a second link attaches to the same log");
    is_int((long long) evlog_readers(current), 2, "two links have readers");
    publish("1.3", "x");
    publish("1.40", "yy");
    ok(co_event(&a, log, "\0031.3x") && co_event(&a, log, "\0041.40yy"), "events in order on one");
    ok(co_event(&b, log, "\0031.3x") && co_event(&b, log, "\0041.40yy"), "and on the other");
    ok(co_edge_quiet(&a) && co_edge_quiet(&b), "each once");

    co_detach(&a, log, seq_a);
    ok(co_edge_quiet(&a), "DETACH");
    is_int((long long) evlog_readers(current), 1, "one link is left");
    publish("1.5", "only b");
    ok(co_event(&b, log, "\0031.5only b") && co_edge_quiet(&a), "only it gets events");
    is_int((long long) idle, 0, "not idle");
    edge_close(&b);
    ok(co_until(was_idle), "idle when the last link dies");
    evlog_free(current);
    ok(co_edge_quiet(&a), "freeing a log without readers sends nothing");
    edge_close(&a);
}

static void co_test_detach_race(void)
{
    edge_t   e;
    uint64_t log = 0;
    uint32_t first, second, third;

    begin();
    co_edge_up(&e);
    first = co_attach(&e, 1, &log);
    second = co_attach(&e, 2, &log);
    ok(second > first, "each ATTACH has a newer seq");
    is_int((long long) evlog_readers(current), 1, "two readers on a link are one");
    publish("1.1", "once");
    ok(co_event(&e, log, "\0031.1once") && co_edge_quiet(&e), "and get events once");
    co_detach(&e, log, first);
    ok(co_edge_quiet(&e), "a DETACH older than the last ATTACH");
    publish("1.2", "still");
    ok(co_event(&e, log, "\0031.2still"), "is ignored");
    co_detach(&e, log, second);
    ok(co_until(was_idle) && idle == 1, "the newest one counts");
    publish("1.3", "nobody");
    ok(co_edge_quiet(&e), "then nothing comes");
    co_detach(&e, log, second);
    co_detach(&e, 999999, 1);
    ok(co_edge_quiet(&e), "a DETACH of what is not read is ignored");
    third = co_attach(&e, 3, &log);
    ok(third > second, "attached again");
    publish("1.4", "again");
    ok(co_event(&e, log, "\0031.4again"), "events again");
    co_detach(&e, log, third + 1);
    ok(co_edge_closed(&e), "a DETACH from the future closes the link");
    ok(co_until(was_idle), "and leaves the log idle");
    edge_close(&e);
    evlog_free(current);
}

static void co_test_readers(void)
{
    edge_t   a, b;
    uint64_t log = 0;
    uint32_t first, second;

    begin();
    co_edge_up(&a);
    co_edge_up(&b);
    is_int((long long) evlog_cursors(current), 0, "a log without readers");
    first = co_attach(&a, 1, &log);
    is_int((long long) evlog_cursors(current), 1, "a link that attaches has one");
    co_attach(&b, 1, &log);
    co_readers(&a, log, first, 7);
    ok(co_edge_quiet(&a) && evlog_cursors(current) == 8, "READERS says how many; all links are added up");
    second = co_attach(&a, 2, &log);
    is_int((long long) evlog_cursors(current), 8, "a further ATTACH changes nothing by itself");
    co_readers(&a, log, first, 6);
    ok(co_edge_quiet(&a) && evlog_cursors(current) == 7, "READERS that crossed it counts");
    co_detach(&a, log, first);
    ok(co_edge_quiet(&a) && evlog_cursors(current) == 2, "DETACH that crossed it: a new mirror, which has one");
    edge_close(&b);
    for (uint64_t until = soon(); evlog_readers(current) > 1 && clock_ms() < until; ) {
        co_sleep(1, "test");
    }
    is_int((long long) evlog_cursors(current), 1, "a dead link has none");
    co_detach(&a, log, second);
    ok(co_edge_quiet(&a) && evlog_cursors(current) == 0, "nor has one that has detached");
    co_readers(&a, log, second, 3);
    co_readers(&a, 999999, 1, 3);
    ok(co_edge_quiet(&a) && evlog_cursors(current) == 0, "READERS of what is not read is ignored");
    co_attach(&a, 3, &log);
    co_readers(&a, log, second, 3);
    ok(co_edge_quiet(&a) && evlog_cursors(current) == 1, "also that of an earlier mirror");
    evlog_end(current, true);
    ok(co_edge_next(&a) == SI_F_END && evlog_cursors(current) == 0, "a log that has ended has none");
    first = co_attach(&a, 4, &log);
    co_readers(&a, log, first + 1, 3);
    ok(co_edge_closed(&a), "READERS from the future closes the link");
    edge_close(&a);
    ok(co_until(was_idle), "and leaves the log idle");
    evlog_free(current);
}

static void co_test_ends(void)
{
    edge_t   e;
    uint64_t log = 0, other = 0;

    begin();
    co_edge_up(&e);
    co_attach(&e, 1, &log);
    publish("1.1", "x");
    evlog_end(current, true);
    ok(co_event(&e, log, "\0031.1x") && co_edge_next(&e) == SI_F_END && e.f.id == log
       && e.f.flags == (SI_FL_LOG | SI_FL_ABORT), "evlog_end with abort, after what was published");
    ok(evlog_readers(current) == 0 && idle == 0, "no links, no on_idle");
    co_attach(&e, 2, &other);
    ok(other == log, "it can be read again");
    evlog_free(current);
    ok(co_edge_next(&e) == SI_F_END && e.f.flags == SI_FL_LOG, "evlog_free ends it without abort");
    begin();
    co_attach(&e, 3, &other);
    ok(other != log && other != 0, "another log, another id");
    free_when_idle = true;
    edge_close(&e);
    ok(co_until(was_idle) && current == NULL, "on_idle may free the log");

    begin();
    co_edge_up(&e);
    attached = true;
    co_edge_open(&e, 4, 0, "GET", "/early");
    ok(co_edge_next(&e) == SI_F_HEAD && edge_status(&e) == 500 && !attached, "attaching before the head is refused");
    edge_close(&e);
    evlog_free(current);
}

/* Reads events of 1 MiB; true when `n` have come. */
static bool co_drink(edge_t *e, size_t n, size_t size)
{
    while (n > 0) {
        int type = co_edge_next(e);

        if (type == 0) {
            return false;
        }
        n -= type == SI_F_DATA && e->f.length == size;
    }
    return true;
}

static void co_test_slow(void)
{
    edge_t   slow, quick;
    uint64_t log = 0;
    size_t   n = (1u << 20) + 100;
    char    *wire = si_calloc(n);
    bool     good = true;

    begin();
    co_edge_up(&slow);
    co_edge_up(&quick);
    co_attach(&slow, 1, &log);
    co_attach(&quick, 1, &log);
    for (int i = 0; i < 70 && good; i++) {
        evlog_publish(current, STR("1.1"), (str_t) { wire, n });
        good = co_drink(&quick, 1, n + 4);
    }
    ok(good, "a quick edge gets 70 MiB");
    is_int((long long) evlog_readers(current), 1, "a slow one is let go at 64 MiB");
    ok(co_edge_closed(&slow), "its link is closed");
    is_int((long long) idle, 0, "the log is not idle");
    evlog_publish(current, STR("1.2"), (str_t) { wire, (size_t) SI_FRAME_MAX });
    ok(co_edge_next(&quick) == SI_F_END && quick.f.flags == SI_FL_LOG, "an event too long for a frame ends the readers: no silent gap");
    edge_close(&slow);
    edge_close(&quick);
    evlog_free(current);
    free(wire);
}

static struct { int events, ends; char last[8]; } heard;

static void on_tap(evlog_tap_t *from, str_t id, str_t wire)
{
    (void) from;
    heard.ends += id.p == NULL;
    heard.events += id.p != NULL;
    snprintf(heard.last, sizeof heard.last, "%.*s", STR_ARG(wire));
}

static void co_test_taps(void)
{
    evlog_tap_t a = { 0 }, b = { 0 };

    begin();
    evlog_tap(current, &a, on_tap);
    evlog_tap(current, &b, on_tap);
    is_int((long long) evlog_readers(current), 2, "readers in this process count as links do");
    publish("1.1", "x");
    ok(heard.events == 2 && strcmp(heard.last, "x") == 0, "each hears of an event");
    evlog_untap(&a);
    ok(idle == 0 && evlog_readers(current) == 1, "one has gone");
    evlog_untap(&a);
    publish("1.2", "y");
    ok(heard.events == 3 && evlog_readers(current) == 1, "it hears no more, and going twice is harmless");
    evlog_end(current, true);
    ok(heard.ends == 1 && b.log == NULL && idle == 0, "the end takes the other off, which is told");
    evlog_tap(current, &b, on_tap);
    evlog_untap(&b);
    is_int((long long) idle, 1, "idle when the last one goes by itself");
    evlog_free(current);
}

static void co_tests(void)
{
    co_test_taps();
    co_test_two_links();
    co_test_detach_race();
    co_test_readers();
    co_test_ends();
    co_test_slow();
}

int main(void)
{
    return edge_run(16, co_handler, co_tests);
}
