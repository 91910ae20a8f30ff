/*
 * Commands with keys in a Redis Cluster. t/66-redis-cluster.t starts one and sets SI_REDIS_URL, and shell commands:
 * SI_TEST_RESHARD moves slots, SI_TEST_SWAP makes a replica the master without loss, SI_TEST_KILL kills a master; all while
 * commands are under way. SI_TEST_ASK leaves the slot of "si:test:{ask}" half moved, SI_TEST_LOOP wholly, but
 * its old node says the new one has it, and the other way round; SI_TEST_ASKED ends that.
 */
#include "io/redis_cluster.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/util.h"
#include "co_test.h"

#define LONG_MS  60000
#define KEYS     400
#define LOADERS  16
#define ARGS(...)  SI_COUNT(((const str_t[]) { __VA_ARGS__ })), (const str_t[]) { __VA_ARGS__ }

static struct {
    int      want[KEYS];        /* INCRs of each key that were answered */
    long     done, failed;
    int      last;              /* of what failed last */
    unsigned running;
    bool     stop;
} load;

static uint64_t soon(void) { return clock_ms() + LONG_MS; }

/* ---- what needs no server ---- */

static void test_slots(void)
{
    arena_t *a = arena_new(1024);

    is_int(redis_slot(STR("123456789")), 0x31C3 % REDIS_SLOTS, "the check value of CRC16/XMODEM");
    is_int(redis_slot(STR("")), 0, "an empty key");
    ok(redis_slot(STR("{user1000}.following")) == redis_slot(STR("user1000")), "a tag");
    ok(redis_slot(STR("foo{}{bar}")) != redis_slot(STR("bar")), "an empty pair of braces is no tag");
    ok(redis_slot(STR("foo{{bar}}zap")) == redis_slot(STR("{bar")), "the first brace begins it, the next closing one ends it");
    ok(redis_slot(STR("foo{bar}{zap}")) == redis_slot(STR("bar")), "the first pair counts");
    ok(redis_slot(STR("foo{bar")) != redis_slot(STR("bar")), "a brace that is not closed begins none");
    is_str(redis_key(a, "budget", STR("acme"), ":day").p, "si:budget:{acme}:day", "a key");
    is_str(redis_key(a, "budget", STR("a}b%7D"), "").p, "si:budget:{a%7Db%257D}", "a tag with a brace is one still");
    is_str(redis_key(a, "budget", STR_NULL, ":x").p, "si:budget:{%}:x", "so is an empty one");
    arena_free(a);
}

/* ---- load ---- */

static str_t key_of(arena_t *a, int i)
{
    return redis_key(a, "test", str_of(arena_printf(a, "key %d", i)), "");
}

static void co_loader(void *arg)
{
    uint32_t seed = (uint32_t) (uintptr_t) arg;

    while (!load.stop) {
        arena_t      *a = arena_new(512);
        redis_reply_t r;
        seed = seed * 1664525u + 1013904223u;
        int   i = (int) (seed >> 8) % KEYS;
        str_t key = key_of(a, i);
        int   rc = co_redis_key(a, &r, soon(), key, ARGS(STR("INCR"), key));
        if (rc == 0 && r.type == REDIS_INTEGER) {
            load.want[i]++;
            load.done++;
        } else {
            load.failed++;
            load.last = rc;
            if (rc == 0) {
                diag("%.*s", STR_ARG(r.str));
            }
        }
        arena_free(a);
        (void) co_sleep(1, "test:pace");
    }
    load.running--;
}

static void co_load(void)
{
    memset(&load, 0, sizeof(load));
    for (load.running = 0; load.running < LOADERS; load.running++) {
        co_spawn("loader", co_loader, (void *) (uintptr_t) (load.running + 1));
    }
    for (uint64_t end = soon(); load.done + load.failed < KEYS && clock_ms() < end; ) {
        (void) co_sleep(5, "test:load");
    }
}

static void co_unload(void)
{
    load.stop = true;
    while (load.running > 0) {
        (void) co_sleep(5, "test:unload");
    }
    load.stop = false;
}

/* Beside what runs here. */
static bool co_shell(const char *name)
{
    int   status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", getenv(name), (char *) NULL);
        _exit(127);
    }
    while (waitpid(pid, &status, WNOHANG) == 0) {
        (void) co_sleep(5, "test:shell");
    }
    return ok(status == 0, "%s", name);
}

static void co_counted(void)
{
    arena_t      *a = arena_new(4096);
    redis_reply_t r;
    int           wrong = 0;

    for (int i = 0; i < KEYS; i++) {
        str_t key = key_of(a, i);
        char  want[16];
        snprintf(want, sizeof(want), "%d", load.want[i]);
        int rc = co_redis_key(a, &r, soon(), key, ARGS(STR("GETDEL"), key));
        wrong += rc != 0 || (load.want[i] > 0 ? !str_is(r.str, want) : r.type != REDIS_NIL);
    }
    is_int(wrong, 0, "each was done, and once");
    arena_free(a);
}

static void co_undisturbed(const char *event)
{
    co_load();
    long before = load.done;
    co_shell(event);
    for (uint64_t end = soon(); load.done < before + KEYS && clock_ms() < end; ) {
        (void) co_sleep(5, "test:more");
    }
    co_unload();
    if (!ok(load.failed == 0 && load.done >= before + KEYS, "%ld commands meanwhile, none failed", load.done)) {
        diag("%ld failed, the last one with %d", load.failed, load.last);
    }
    co_counted();
}

/* ---- the cluster ---- */

static void co_test_scripts(arena_t *a)
{
    redis_reply_t r;
    str_t         one = redis_key(a, "test", STR("both"), ":a"), two = redis_key(a, "test", STR("both"), ":b");

    is_int(co_redis_key(a, &r, soon(), one, ARGS(STR("EVAL"), STR("redis.call('SET', KEYS[1], 'x') return redis.call('APPEND', KEYS[2], 'yz')"),
                                                 STR("2"), one, two)), 0, "a script with two keys of one tag");
    ok(r.type == REDIS_INTEGER && r.integer == 2, "is done");
    is_int(co_redis_key(a, &r, soon(), one, ARGS(STR("MGET"), one, STR("si:test:{other}"))), 0, "two tags");
    ok(r.type == REDIS_ERROR && strncmp(r.str.p, "CROSSSLOT ", 10) == 0, "are refused, as a reply");
}

/* A slot on its way: what has gone is asked for at the new place, what has not at the old one. */
static void co_test_ask(arena_t *a)
{
    redis_reply_t r;
    str_t         there = redis_key(a, "test", STR("ask"), ":new"), here = redis_key(a, "test", STR("ask"), ":old");

    is_int(co_redis_key(a, &r, soon(), here, ARGS(STR("SET"), here, STR("1"))), 0, "a key");
    if (!co_shell("SI_TEST_ASK")) {
        return;
    }
    is_int(co_redis_key(a, &r, soon(), here, ARGS(STR("INCR"), here)), 0, "a key that is not moved yet");
    ok(r.type == REDIS_INTEGER && r.integer == 2, "is at the old place");
    for (int i = 1; i <= 3; i++) {
        is_int(co_redis_key(a, &r, soon(), there, ARGS(STR("INCR"), there)), 0, "one that is not there");
        ok(r.type == REDIS_INTEGER && r.integer == i, "is made at the new place");
    }
    int rc = co_redis_key(a, &r, soon(), here, ARGS(STR("MGET"), here, there));        /* as often as redirects are followed */
    ok(rc == 0 && r.type == REDIS_ERROR && strncmp(r.str.p, "TRYAGAIN ", 9) == 0, "both at once: not before it is over");
    co_shell("SI_TEST_LOOP");
    is_int(co_redis_key(a, &r, soon(), here, ARGS(STR("GET"), here)), 0, "two nodes that send it to each other");
    ok(r.type == REDIS_ERROR && strncmp(r.str.p, "MOVED ", 6) == 0, "do so a number of times only");
    co_shell("SI_TEST_ASKED");
    is_int(co_redis_key(a, &r, soon(), here, ARGS(STR("MGET"), here, there)), 0, "both at once");
    ok(r.type == REDIS_ARRAY && r.n == 2 && str_is(r.items[0].str, "2") && str_is(r.items[1].str, "3"), "when it is over");
}

/* A master dies: its keys come back when another one is elected; those of others are there all the time. */
static void co_test_kill(arena_t *a)
{
    redis_reply_t r;
    uint64_t      end = soon();
    int           good = 0;

    co_load();
    co_shell("SI_TEST_KILL");
    while (good < KEYS && clock_ms() < end) {
        good = 0;
        for (int i = 0; i < KEYS; i++) {
            str_t key = key_of(a, i);
            good += co_redis_key(a, &r, clock_ms() + 500, key, ARGS(STR("EXISTS"), key)) == 0 && r.type == REDIS_INTEGER;
        }
        (void) co_sleep(20, "test:again");
    }
    is_int(good, KEYS, "every key is served again");
    co_unload();
    ok(load.failed > 0 && load.done > load.failed, "%ld commands of the dead master failed, %ld were done", load.failed, load.done);
    while (!redis_ready() && clock_ms() < end) {
        (void) co_sleep(20, "test:command");
    }
    ok(redis_ready(), "commands without keys have found a node that is not in the URL");
}

static void co_waiter(void *arg)
{
    arena_t      *a = arena_new(512);
    redis_reply_t r;
    str_t         key = STR("si:test:{wait}");

    *(int *) arg = co_redis_key(a, &r, soon(), key, ARGS(STR("BLPOP"), key, STR("25")));
    arena_free(a);
}

static void co_test_exit(arena_t *a)
{
    redis_reply_t r;
    int           rc = 1;

    co_spawn("waiter", co_waiter, &rc);
    (void) co_sleep(20, "test:waits");
    redis_exit();
    while (rc == 1 && co_yield() == 0) {
    }
    is_int(rc, SI_EUNAVAIL, "what is under way at the end is unavailable");
    is_int(co_redis_key(a, &r, soon(), STR("k"), ARGS(STR("GET"), STR("k"))), SI_EUNAVAIL, "and so is what comes later");
}

static void co_main(void *arg)
{
    arena_t *a = arg;

    while (!redis_ready()) {
        (void) co_sleep(1, "test:ready");
    }
    co_load();                  /* before there is a map: it is waited for */
    co_unload();
    is_int(load.failed, 0, "keys all over the cluster");
    co_counted();
    co_test_scripts(a);
    co_undisturbed("SI_TEST_RESHARD");
    co_undisturbed("SI_TEST_SWAP");
    co_test_ask(a);
    co_test_kill(a);
    co_test_exit(a);
    loop_stop();
}

int main(void)
{
    const char *url = getenv("SI_REDIS_URL");

    test_slots();
    if (url == NULL || getenv("SI_TEST_KILL") == NULL) {
        return done_testing();
    }
    co_test_begin();
    is_int(redis_init(url), 0, "a URL");
    return co_test_run(co_main);
}
