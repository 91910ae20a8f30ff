/* The counters of budgets in Redis (store/counter.h), against the private server of t/01-io.t: SI_REDIS_URL. */
#include "store/counter.h"

#include <stdio.h>

#include "base/proc.h"
#include "base/util.h"
#include "io/redis.h"
#include "co_test.h"

#define LONG_MS  600000

static uint64_t soon(void) { return clock_ms() + 30000; }

static counter_t window(const char *key, int64_t limit, int64_t want, int64_t base)
{
    return (counter_t) { .kind = COUNTER_WINDOW, .unit = UNIT_CALLS, .key = key, .limit = limit, .want = want, .used = want, .base = base, .doubt_ms = -1,
                         .until = clock_wall_ms() + LONG_MS };
}

static counter_t bucket(const char *key, int64_t limit, int64_t want)
{
    return (counter_t) { .kind = COUNTER_BUCKET, .unit = UNIT_TOKENS, .key = key, .limit = limit, .want = want, .used = want, .base = -1, .doubt_ms = -1 };
}

static int co_reserve(arena_t *a, const char *id, counter_t *list, size_t n)
{
    str_t why;
    int   rc = co_counters_reserve(a, id, LONG_MS, "what", list, n, &why);

    if (why.n > 0) {
        diag("%.*s", STR_ARG(why));
    }
    return rc;
}

static int64_t co_field(arena_t *a, const char *key, const char *name)
{
    redis_reply_t r;
    str_t         args[] = { STR("HGET"), str_of(key), str_of(name) };

    return co_redis(a, &r, soon(), 3, args) != 0 || r.type != REDIS_STRING ? -1 : strtoll(arena_dup(a, r.str.p, r.str.n), NULL, 10);
}

static void co_command(arena_t *a, const char *name, const char *key)
{
    redis_reply_t r;
    str_t         args[] = { str_of(name), str_of(key) };

    is_int(co_redis(a, &r, soon(), key != NULL ? 2 : 1, args), 0, name);
}

static void co_test_window(arena_t *a)
{
    counter_t c[2] = { window("si:{budget}:w1", 3, 1, -1), window("si:{budget}:w2", 100, 1, -1) };

    is_int(co_reserve(a, "a", c, 2), SI_ECONFLICT, "counters that are not known");
    ok(c[0].unknown && c[1].unknown && c[0].version == 0, "want a sum, both");
    c[0].base = 1;
    c[1].base = 0;
    is_int(co_reserve(a, "a", c, 2), 0, "with it they do");
    is_int(c[0].left, 2, "what was left");
    c[0].base = c[1].base = -1;
    is_int(co_reserve(a, "b", c, 2), 0, "the last one");
    is_int(co_reserve(a, "c", c, 2), SI_EDENIED, "no more");
    ok(c[0].over && !c[1].over, "the first one says so");
    is_int(co_field(a, "si:{budget}:w2", "held"), 2, "and nothing is held in the other");
    c[0].used = 0;
    c[1].used = 5;
    is_int(co_counters_settle(a, "a", false, 0, c, 2), 0, "settled: less here, more there");
    is_int(co_counters_settle(a, "a", false, 0, c, 2), 0, "and again");
    is_int(co_reserve(a, "c", c, 2), 0, "so there is one");
    is_int(co_field(a, "si:{budget}:w1", "held"), 2, "held");
    is_int(co_field(a, "si:{budget}:w1", "used"), 1, "used");
    is_int(co_field(a, "si:{budget}:w2", "used"), 5, "once");
    c[0].want = 0;
    is_int(co_reserve(a, "free", c, 1), 0, "what costs nothing passes");
}

static void co_test_loss(arena_t *a)
{
    counter_t c = window("si:{budget}:w3", 10, 1, 4);
    int64_t   version;

    is_int(co_reserve(a, "d", &c, 1), 0, "reserved");
    co_command(a, "FLUSHDB", NULL);
    c.base = -1;
    is_int(co_reserve(a, "e", &c, 1), SI_ECONFLICT, "Redis has forgotten everything");
    c.base = 4;
    version = c.version;
    is_int(co_counters_settle(a, "d", false, 0, &c, 1), SI_ENOENT, "meanwhile a call that it has forgotten ends");
    is_int(co_reserve(a, "e", &c, 1), SI_ECONFLICT, "so a sum from before that is not taken");
    ok(c.version != version, "but one from now");
    c.base = 5;
    is_int(co_reserve(a, "e", &c, 1), 0, "is");
    is_int(co_field(a, c.key, "used"), 5, "as it is");
    is_int(co_counters_settle(a, "d", false, 0, &c, 1), 0, "it ends again");
    is_int(co_field(a, c.key, "used"), 5, "which does not count");
    c.doubt_ms = 60000;
    is_int(co_reserve(a, "x", &c, 1), 0, "what was summed up since is not doubted");
    is_int(co_counters_settle(a, "x", false, 0, &(counter_t) { .kind = COUNTER_WINDOW, .key = c.key, .until = c.until }, 1), 0, "over");
    is_int(co_sleep(5, "test"), 0, "a moment later");
    c.doubt_ms = 0;
    is_int(co_reserve(a, "f", &c, 1), SI_ECONFLICT, "in doubt a sum is wanted, too");
    is_int(co_field(a, c.key, "held"), 1, "what is held stays");
    c.doubt_ms = -1;
    c.base = 10;
    is_int(co_reserve(a, "f", &c, 1), SI_EDENIED, "with it there is nothing left");
}

/* Calls end all the time: the sum is taken in the end. */
static void co_test_unrest(arena_t *a)
{
    counter_t c = window("si:{budget}:w5", 10, 1, -1);

    is_int(co_reserve(a, "n", &c, 1), SI_ECONFLICT, "a counter that is not known");
    is_int(co_counters_settle(a, "p", false, 0, &c, 1), SI_ENOENT, "a call ends of which Redis does not know");
    c.base = 3;
    is_int(co_reserve(a, "n", &c, 1), SI_ECONFLICT, "so that the sum is an old one");
    c.version = -1;
    is_int(co_reserve(a, "n", &c, 1), 0, "it may be taken all the same");
    c.used = 2;
    is_int(co_counters_settle(a, "q", false, 0, &c, 1), SI_ENOENT, "another call ends of which Redis does not know");
    is_int(co_field(a, c.key, "used"), 5, "it counts, and the counter stays known");
    is_int(co_counters_settle(a, "n", false, clock_wall_ms() - 60000, &c, 1), 0, "one that had ended before the sum was made");
    is_int(co_field(a, c.key, "used"), 5, "is in it already");
    is_int(co_field(a, c.key, "held"), 0, "and holds nothing");
    is_int(co_reserve(a, "o", &c, 1), 0, "one more");
    is_int(co_counters_settle(a, "o", false, clock_wall_ms() + 60000, &c, 1), 0, "that ended after it");
    is_int(co_field(a, c.key, "used"), 7, "counts");
}

static void co_test_lapse(arena_t *a)
{
    counter_t c = window("si:{budget}:w4", 10, 2, 0);
    lapsed_t  list[LAPSED_MAX];
    size_t    n = 0;
    str_t     why;

    is_int(co_counters_reserve(a, "g", 1, "g's \"one\"", &c, 1, &why), 0, "one that lapses at once");
    is_int(co_counters_reserve(a, "h", LONG_MS, "h's \"two\"", &c, 1, &why), 0, "one that does not");
    for (uint64_t end = soon(); n == 0 && clock_ms() < end && co_sleep(5, "test") == 0; ) {
        is_int(co_counters_lapsed(a, list, &n), 0, "those that have lapsed");
    }
    is_int((long long) n, 1, "one has");
    ok(n == 1 && strcmp(list[0].id, "g") == 0 && str_is(list[0].what, "g's \"one\""), "it is g");
    c.used = 0;
    is_int(co_counters_settle(a, "g", true, 0, &c, 1), 0, "it is given back");
    is_int(co_field(a, c.key, "held"), 2, "h is still held");
    is_int(co_counters_settle(a, "g", true, 0, &c, 1), 0, "once");
    is_int(co_field(a, c.key, "held"), 2, "only");
    c.used = 3;
    is_int(co_counters_settle(a, "g", false, 0, &c, 1), 0, "it was alive after all");
    is_int(co_field(a, c.key, "used"), 3, "and counts");
    is_int(co_counters_what(a, "h", &list[0]), 0, "what was said of h");
    ok(str_is(list[0].what, "h's \"two\""), "comes back");
    is_int(co_counters_what(a, "nobody", &list[0]), 0, "of what is not known");
    ok(list[0].what.n == 0, "nothing does");
    is_int(co_counters_settle(a, "h", true, 0, &c, 1), 0, "and counts with what it was");
    is_int(co_field(a, c.key, "held"), 0, "nothing is held");
    is_int(co_field(a, c.key, "used"), 6, "all is used");
}

static void co_test_bucket(arena_t *a)
{
    counter_t c = bucket("si:{budget}:b1", 600, 400), large = bucket("si:{budget}:b2", 60, 1000);

    is_int(co_reserve(a, "i", &c, 1), 0, "of a full bucket");
    is_int(c.left, 600, "it was full");
    is_int(co_reserve(a, "j", &c, 1), SI_EDENIED, "no second time");
    ok(c.over && c.wait_ms > 15000 && c.wait_ms <= 20000, "200 more will be there in 20 s");
    c.used = 100;
    is_int(co_counters_settle(a, "i", false, 0, &c, 1), 0, "it took less");
    is_int(co_reserve(a, "j", &c, 1), 0, "so there is enough");
    c.used = 2000;
    is_int(co_counters_settle(a, "j", false, 0, &c, 1), 0, "it took more than there was");
    c.want = 1;
    is_int(co_reserve(a, "k", &c, 1), SI_EDENIED, "which others wait for");
    ok(c.wait_ms > 140000, "for long");
    is_int(co_reserve(a, "l", &large, 1), 0, "more than all of it takes all of it");
    is_int(co_reserve(a, "m", &large, 1), SI_EDENIED, "once");
}

static void co_main(void *arg)
{
    arena_t *a = arg;

    for (uint64_t end = soon(); clock_ms() < end && !redis_ready() && co_sleep(5, "test") == 0; ) { }
    co_command(a, "FLUSHDB", NULL);
    co_test_window(a);
    co_test_loss(a);
    co_test_unrest(a);
    co_test_lapse(a);
    co_test_bucket(a);
    co_command(a, "FLUSHDB", NULL);
    redis_exit();
    loop_stop();
}

int main(void)
{
    const char *url = getenv("SI_REDIS_URL");

    if (url == NULL) {
        printf("1..0 # SKIP run by t/01-io.t, which starts a server\n");
        return 0;
    }
    co_test_begin();
    is_int(redis_init(url), 0, "a URL");
    return co_test_run(co_main);
}
