/*
 * The Redis client against a private server. t/01-io.t sets SI_REDIS_URL, and SI_TEST_STOP and
 * SI_TEST_START: shell commands that kill and start the server.
 *
 * Or against several, in t/06-redis.t: SI_TEST_MOVE is a shell command that makes the server at port SI_TEST_FROM unfit,
 * then that at SI_TEST_TO takes over. SI_TEST_ELSEWHERE, in a cluster, publishes "elsewhere" to "early" at a third node.
 */
#include "io/redis.h"

#include <stdio.h>

#include "base/proc.h"
#include "base/util.h"
#include "io/redis_url.h"
#include "co_test.h"

#define LONG_MS  30000
#define FLOOD    2000
#define ARGS(...)  SI_COUNT(((const str_t[]) { __VA_ARGS__ })), (const str_t[]) { __VA_ARGS__ }

static uint64_t soon(void) { return clock_ms() + LONG_MS; }

static bool co_until_ready(bool want)
{
    for (uint64_t end = soon(); clock_ms() < end && redis_ready() != want; ) {
        if (co_sleep(5, "test:ready") != 0) {
            break;
        }
    }
    return redis_ready() == want;
}

/* ---- addresses ---- */

static void check_url(const char *url, int rc, const char *want)
{
    static const char *const kinds[] = { "servers", "cluster", "sentinel" };
    redis_addr_t *a = si_calloc(sizeof(*a));
    char          got[1024] = "";
    size_t        n = 0;

    int r = redis_url_parse(url, a);
    if (r == 0) {
        for (size_t i = 0; i < a->n; i++) {
            n += (size_t) snprintf(got + n, sizeof(got) - n, "%s%s|%d", i > 0 ? "," : "", a->nodes[i].host, a->nodes[i].port);
        }
        snprintf(got + n, sizeof(got) - n, "%s %s:%s %s %s%s%d", a->path, a->user, a->password, kinds[a->kind],
                 a->master, a->master[0] != '\0' ? "/" : "", a->db);
    }
    if (!ok(r == rc && strcmp(got, want) == 0, "%s", url)) {
        diag("  got %d '%s'", r, got);
    }
    free(a);
}

static void test_lists(void)
{
    check_url("redis://h1,h2:7002,[::1]:7003/2", 0, "h1|6379,h2|7002,::1|7003 : servers 2");
    check_url("redis://me:a%2cb@h1:1,h2", 0, "h1|1,h2|6379 me:a,b servers 0");
    check_url("redis+cluster://:pw@h1,h2:7002/0", 0, "h1|6379,h2|7002 :pw cluster 0");
    check_url("redis+cluster://h1", 0, "h1|6379 : cluster 0");
    check_url("redis+sentinel://h1,[::2],h3:7/main", 0, "h1|26379,::2|26379,h3|7 : sentinel main/0");
    check_url("redis+sentinel://me:pw@h1/m%2f1/3", 0, "h1|26379 me:pw sentinel m/1/3");
    check_url("redis://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", 0,
               "1|6379,2|6379,3|6379,4|6379,5|6379,6|6379,7|6379,8|6379,9|6379,10|6379,11|6379,12|6379,13|6379,14|6379,"
               "15|6379,16|6379 : servers 0");

    const char *bad[] = {
        "redis://h1,", "redis://,h1", "redis://h1,,h2", "redis://h1,h2:x", "redis://h1,[::1", "redis+cluster://",
        "redis+cluster://h1/1", "redis+cluster://h1,/0", "redis+sentinel://h1", "redis+sentinel://h1/", "redis+sentinel:///m",
        "redis+sentinel://h1/m/x", "redis+sentinel://h1//1", "redis+other://h1",
        "redis://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
    };
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        check_url(bad[i], SI_EINVAL, "");
    }
}

static void test_urls(void)
{
    check_url("redis://localhost", 0, "localhost|6379 : servers 0");
    check_url("redis://127.0.0.1:7000/", 0, "127.0.0.1|7000 : servers 0");
    check_url("redis://:p%40%3aw@10.0.0.1:7000/15", 0, "10.0.0.1|7000 :p@:w servers 15");
    check_url("redis://me:p:w@h", 0, "h|6379 me:p:w servers 0");
    check_url("redis://[::1]:7001/2", 0, "::1|7001 : servers 2");
    check_url("redis://[::1]", 0, "::1|6379 : servers 0");
    check_url("unix:///run/redis.sock", 0, "/run/redis.sock : servers 0");
    check_url("unix:///run/redis.sock?db=3", 0, "/run/redis.sock : servers 3");
    check_url("unix://:pw@/run/redis.sock?db=3", 0, "/run/redis.sock :pw servers 3");

    const char *bad[] = {
        "", "redis:", "redis://", "redis:///1", "rediss://h", "http://h", "redis://h:0", "redis://h:65536", "redis://h:x",
        "redis://h/x", "redis://h/-1", "redis://h/1/2", "redis://pw@h", "redis://:%4@h", "redis://:%00@h", "redis://:%zz@h",
        "redis://[::1", "redis://[::1]x", "unix://", "unix:///", "unix://run/x", "unix:///x?db=", "unix:///x?foo=1",
    };
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        check_url(bad[i], SI_EINVAL, "");
    }
}

/* ---- commands ---- */

static void co_test_replies(arena_t *a)
{
    static const char binary[] = "a\0b\r\n\xFF";
    redis_reply_t     r;

    is_int(co_redis(a, &r, soon(), ARGS(STR("SET"), STR("k"), { binary, sizeof(binary) - 1 })), 0, "SET");
    ok(r.type == REDIS_STRING && str_is(r.str, "OK"), "its reply");
    is_int(co_redis(a, &r, soon(), ARGS(STR("GET"), STR("k"))), 0, "GET");
    ok(r.type == REDIS_STRING && str_eq(r.str, STR("a\0b\r\n\xFF")), "any bytes come back");
    is_int(co_redis(a, &r, soon(), ARGS(STR("GET"), STR("none"))), 0, "GET of nothing");
    is_int(r.type, REDIS_NIL, "is nil");
    is_int(co_redis(a, &r, soon(), ARGS(STR("SET"), STR("e"), STR_NULL)), 0, "SET to nothing");
    is_int(co_redis(a, &r, soon(), ARGS(STR("GET"), STR("e"))), 0, "GET");
    ok(r.type == REDIS_STRING && r.str.n == 0, "is empty");
    is_int(co_redis(a, &r, soon(), ARGS(STR("INCRBY"), STR("i"), STR("-5"))), 0, "INCRBY");
    ok(r.type == REDIS_INTEGER && r.integer == -5, "an integer");
    is_int(co_redis(a, &r, soon(), ARGS(STR("LPUSH"), STR("k"), STR("x"))), 0, "an error is a reply");
    ok(r.type == REDIS_ERROR && strncmp(r.str.p, "WRONGTYPE", 9) == 0, "of its own type");
    is_int(co_redis(a, &r, soon(), 0, NULL), SI_EUNAVAIL, "no command");

    is_int(co_redis(a, &r, soon(), ARGS(STR("EVAL"), STR("return {1,{'a',{2,{}}},false}"), STR("0"))), 0, "an array");
    ok(r.type == REDIS_ARRAY && r.n == 3 && r.items[0].integer == 1 && r.items[2].type == REDIS_NIL, "three items");
    ok(r.items[1].n == 2 && str_is(r.items[1].items[0].str, "a") && r.items[1].items[1].items[0].integer == 2
       && r.items[1].items[1].items[1].type == REDIS_ARRAY && r.items[1].items[1].items[1].n == 0, "nested");

    is_int(co_redis(a, &r, soon(), ARGS(STR("CLIENT"), STR("INFO"))), 0, "CLIENT INFO");
    ok(memmem(r.str.p, r.str.n, " db=3 ", 6) != NULL, "the database of the URL is selected");
}

static void co_test_bounds(arena_t *a)
{
    static const char nested[] = "local t={} for i=1,20 do t={t} end return t";
    redis_reply_t     r;

    is_int(co_redis(a, &r, soon(), ARGS(STR("SETRANGE"), STR("large"), STR("9000000"), STR("x"))), 0, "9 MB");
    is_int(co_redis(a, &r, soon(), ARGS(STR("GET"), STR("large"))), SI_ENOMEM, "are too large a reply");
    int rc = co_redis(a, &r, soon(), ARGS(STR("EVAL"), STR(nested), STR("0")));
    ok(rc == SI_EPROTO || rc == SI_EUNAVAIL, "too deep a reply");
    ok(co_until_ready(true), "ready again");
    is_int(co_redis(a, &r, soon(), ARGS(STR("PING"))), 0, "PING");
}

static struct {
    size_t left, right, refused;
    wait_t all;
} many;

static void many_start(size_t n)
{
    memset(&many, 0, sizeof(many));
    many.left = n;
}

static void many_end(int rc)
{
    many.right += rc == 0;
    many.refused += rc == SI_EUNAVAIL;
    if (--many.left == 0) {
        wait_wake(&many.all, 0);
    }
}

static void co_incr(void *arg)
{
    redis_reply_t r;

    (void) arg;
    arena_t *a = arena_new(256);
    int      rc = co_redis(a, &r, soon(), ARGS(STR("INCR"), STR("flood")));
    arena_free(a);
    many_end(rc);
}

static void co_test_flood(arena_t *a)
{
    redis_reply_t r;

    many_start(FLOOD);
    for (size_t i = 0; i < FLOOD; i++) {
        co_spawn("incr", co_incr, NULL);
    }
    is_int(co_wait(&many.all, "test:all", soon()), 0, "2,000 commands at once");
    is_int((long long) many.right, 1024, "1,024 are under way");
    is_int((long long) many.refused, FLOOD - 1024, "the others are refused");
    is_int(co_redis(a, &r, soon(), ARGS(STR("GET"), STR("flood"))), 0, "GET");
    is_mem(r.str.p, r.str.n, "1024", "each was done once");
}

/* ---- late replies ---- */

static void co_test_deadline(arena_t *keep)
{
    redis_reply_t r;
    arena_t      *a = arena_new(256);

    is_int(co_redis(a, &r, clock_ms() + 20, ARGS(STR("BLPOP"), STR("never"), STR("0.3"))), SI_ETIMEDOUT, "a deadline passes");
    arena_free(a);
    is_int(co_redis(keep, &r, soon(), ARGS(STR("ECHO"), STR("x"))), 0, "the next command");
    is_mem(r.str.p, r.str.n, "x", "gets its own reply, the late one is dropped");
}

static int blocked_rc;

static void co_blocked(void *arg)
{
    redis_reply_t r;
    arena_t      *a = arena_new(256);

    wait_wake(arg, 0);
    blocked_rc = co_redis(a, &r, soon(), ARGS(STR("BLPOP"), STR("never"), STR("0.2")));
    arena_free(a);
}

static void co_test_cancel(arena_t *a)
{
    redis_reply_t r;
    wait_t        started;

    wait_init(&started);
    blocked_rc = 1;
    co_t *co = co_spawn("blocked", co_blocked, &started);
    is_int(co_wait(&started, "test:started", soon()), 0, "a command that is cancelled");
    co_cancel(co);
    while (blocked_rc == 1 && co_yield() == 0) {
    }
    is_int(blocked_rc, SI_ECANCELED, "says so");
    is_int(co_redis(a, &r, soon(), ARGS(STR("PING"))), 0, "the next command is answered");
}

/* ---- subscriptions ---- */

static struct {
    char   last[64];
    size_t n, begun;
} seen[3];

static void on_message(str_t channel, str_t message, void *arg)
{
    size_t i = (size_t) (uintptr_t) arg;

    if (!message.p) {
        seen[i].begun++;
        return;
    }
    snprintf(seen[i].last, sizeof(seen[i].last), "%.*s:%.*s", STR_ARG(channel), STR_ARG(message));
    seen[i].n++;
}

/* Publishes until the subscriber number i gets it: a subscription takes a moment. */
static bool co_reaches(const char *channel, const char *message, size_t i)
{
    size_t before = seen[i].n;

    for (uint64_t end = soon(); clock_ms() < end && seen[i].n == before; ) {
        if (redis_send(ARGS(STR("PUBLISH"), str_of(channel), str_of(message))) != 0 || co_sleep(10, "test:publish") != 0) {
            (void) co_sleep(10, "test:publish");
        }
    }
    return seen[i].n > before;
}

static void co_test_subscribe(void)
{
    redis_subscribe("late", on_message, (void *) (uintptr_t) 2);
    ok(co_reaches("early", "1", 0), "a subscription made before the connection");
    is_str(seen[0].last, "early:1", "channel and message");
    is_str(seen[1].last, "early:1", "a second one of the same channel");
    is_int((long long) seen[2].n, 0, "not one of another");
    ok(co_reaches("late", "x y", 2), "a subscription made afterwards");
    is_str(seen[2].last, "late:x y", "channel and message");
    ok(seen[0].begun > 0 && seen[1].begun > 0 && seen[2].begun > 0, "each was told that it began");
    redis_unsubscribe("early", on_message, (void *) (uintptr_t) 1);
    redis_unsubscribe("early", on_message, (void *) (uintptr_t) 2);
    ok(co_reaches("early", "2", 0), "one of two subscriptions is taken back: the other stays");
    is_str(seen[1].last, "early:1", "and it alone gets what comes");
    redis_unsubscribe("late", on_message, (void *) (uintptr_t) 2);
    redis_subscribe("late", on_message, (void *) (uintptr_t) 1);
    ok(co_reaches("late", "z", 1), "a channel that is left and taken again at once");
    is_str(seen[2].last, "late:x y", "has forgotten its first subscriber");
    redis_unsubscribe("late", on_message, (void *) (uintptr_t) 1);
    redis_subscribe("late", on_message, (void *) (uintptr_t) 2);
    redis_subscribe("early", on_message, (void *) (uintptr_t) 1);
    is_int(redis_send(ARGS(STR("NOSUCH"))), 0, "an error of a command that is forgotten is logged only");
}

/* ---- the server goes ---- */

static void co_waiter(void *arg)
{
    redis_reply_t r;
    arena_t      *a = arena_new(256);

    (void) arg;
    int rc = co_redis(a, &r, soon(), ARGS(STR("BLPOP"), STR("never"), STR("25")));
    arena_free(a);
    many_end(rc);
}

static void co_test_restart(arena_t *a)
{
    redis_reply_t r;

    many_start(3);
    for (int i = 0; i < 3; i++) {
        co_spawn("waiter", co_waiter, NULL);
    }
    co_sleep(20, "test:spawned");
    ok(system(getenv("SI_TEST_STOP")) == 0, "the server is killed");
    is_int(co_wait(&many.all, "test:all", soon()), 0, "what was under way ends");
    is_int((long long) many.refused, 3, "as unavailable");
    ok(co_until_ready(false), "not ready");
    is_int(co_redis(a, &r, soon(), ARGS(STR("PING"))), SI_EUNAVAIL, "a command fails at once");
    is_int(redis_send(ARGS(STR("PING"))), SI_EUNAVAIL, "so does one that is forgotten");
    ok(system(getenv("SI_TEST_START")) == 0, "the server is started");
    ok(co_until_ready(true), "ready again");
    is_int(co_redis(a, &r, soon(), ARGS(STR("PING"))), 0, "commands are answered");
    ok(co_reaches("early", "2", 0) && co_reaches("late", "2", 2), "messages come again");
    is_str(seen[0].last, "early:2", "the right ones");
}

static void co_test_exit(void)
{
    many_start(1);
    co_spawn("waiter", co_waiter, NULL);
    co_yield();
    redis_exit();
    is_int(co_wait(&many.all, "test:all", soon()), 0, "redis_exit()");
    is_int((long long) many.refused, 1, "ends what is under way as unavailable");
    ok(!redis_ready(), "not ready");
    is_int(redis_send(ARGS(STR("PING"))), SI_EUNAVAIL, "a command afterwards is unavailable");
}

/* ---- several servers ---- */

static bool co_until_port(arena_t *a, const char *port)
{
    redis_reply_t r;

    for (uint64_t end = soon(); clock_ms() < end && co_sleep(20, "test:port") == 0; ) {
        if (co_redis(a, &r, soon(), ARGS(STR("CONFIG"), STR("GET"), STR("port"))) == 0 && r.type == REDIS_ARRAY && r.n == 2
            && str_is(r.items[1].str, port))
        {
            return true;
        }
    }
    return false;
}

/* A command that publishes by another way: again and again until it comes in here. */
static bool co_comes_in(const char *publish)
{
    size_t before = seen[0].n;

    for (uint64_t end = soon(); clock_ms() < end && seen[0].n == before; ) {
        if (system(publish) != 0 || co_sleep(20, "test:publish") != 0) {
            break;
        }
    }
    return seen[0].n > before && strcmp(seen[0].last, "early:elsewhere") == 0;
}

/* Of 100 keys some are another node's, which has to be told, and some this one's. */
static void co_test_keys(arena_t *a)
{
    redis_reply_t r;
    int           done = 0, moved = 0, other = 0;

    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        if (co_redis(a, &r, soon(), ARGS(STR("SET"), str_of(key), STR("v"))) != 0) {
            other++;
        } else if (r.type == REDIS_ERROR && strncmp(r.str.p, "MOVED ", 6) == 0) {
            moved++;
        } else {
            done += r.type == REDIS_STRING;
        }
    }
    ok(done > 0 && moved > 0 && other == 0, "keys of other nodes are answered by MOVED");
}

static void co_moved(void *arg)
{
    arena_t       *a = arg;
    redis_reply_t  r;
    const char    *elsewhere = getenv("SI_TEST_ELSEWHERE");

    ok(co_until_port(a, getenv("SI_TEST_FROM")), "connects to the right server");
    ok(co_reaches("early", "1", 0), "a message comes in");
    if (elsewhere != NULL) {
        ok(co_comes_in(elsewhere), "so does one that another node got");
        co_test_keys(a);
    }
    ok(system(getenv("SI_TEST_MOVE")) == 0, "the server becomes unfit");
    ok(co_until_port(a, getenv("SI_TEST_TO")), "commands go to the one that takes over");
    ok(co_reaches("early", "2", 0), "a message comes in");
    if (elsewhere != NULL) {
        ok(co_comes_in(elsewhere), "so does one that another node got");
    } else {
        is_int(co_redis(a, &r, soon(), ARGS(STR("SET"), STR("k"), STR("v"))), 0, "a write");
        ok(r.type == REDIS_STRING && str_is(r.str, "OK"), "is done");
    }
    redis_exit();
    loop_stop();
}

/* ---- all ---- */

static void co_main(void *arg)
{
    arena_t *a = arg;

    ok(co_until_ready(true), "connects, with password and database");
    co_test_replies(a);
    co_test_bounds(a);
    co_test_flood(a);
    co_test_deadline(a);
    co_test_cancel(a);
    co_test_subscribe();
    co_test_restart(a);
    co_test_exit();
    loop_stop();
}

int main(void)
{
    const char *url = getenv("SI_REDIS_URL");
    bool        move = getenv("SI_TEST_MOVE") != NULL;

    if (url == NULL || (!move && (getenv("SI_TEST_STOP") == NULL || getenv("SI_TEST_START") == NULL))) {
        printf("1..0 # SKIP run by t/01-io.t and t/06-redis.t, which start servers\n");
        return 0;
    }
    co_test_begin();
    if (!move) {
        test_urls();
        test_lists();
    }
    is_int(redis_init("redis://"), SI_EINVAL, "a wrong URL");
    is_int(redis_init(url), 0, "a URL");
    redis_subscribe("early", on_message, (void *) (uintptr_t) 0);
    redis_subscribe("early", on_message, (void *) (uintptr_t) 1);
    return co_test_run(move ? co_moved : co_main);
}
