/* Of store.c: what is kept of keys that Postgres was asked about. */
#ifndef STORE_VERDICT_H
#define STORE_VERDICT_H

#include "base/proc.h"
#include "conf/conf.h"
#include "store/key.h"
#include "store/verdict.h"
#include "tap.h"

/* As a call asks that brings the key. */
static int co_look_up(arena_t *a, const char *key, identity_t *who)
{
    char hash[65];

    key_hash(str_of(key), hash);
    return co_verdict(a, hash, NULL, who);
}

static uint64_t questions(void) { return verdicts_count().asked; }

/* Asked about by two at once, and forgotten meanwhile: then the first answer does not count. */
typedef struct {
    const char *key;
    int         rc;
    wait_t      done;
} asker_t;

static void co_asker(void *arg)
{
    asker_t   *k = arg;
    arena_t   *a = arena_new(1024);
    identity_t who;

    k->rc = co_look_up(a, k->key, &who);
    arena_free(a);
    wait_wake(&k->done, 0);
}

static void co_test_races(const char *key)
{
    asker_t  two[2] = { { .key = key, .rc = 1 }, { .key = key, .rc = 1 } };
    char     hash[65];
    uint64_t before = questions();

    key_hash(str_of(key), hash);
    verdict_drop(str_of(hash));
    for (int i = 0; i < 2; i++) {
        wait_init(&two[i].done);
        co_spawn("asker", co_asker, &two[i]);
    }
    while (questions() == before) {
        co_yield();
    }
    verdict_drop(str_of(hash));
    for (int i = 0; i < 2; i++) {
        co_wait(&two[i].done, "test", CO_NO_DEADLINE);
        is_int(two[i].rc, 0, "who asks meanwhile gets the answer");
    }
    is_int((int) (questions() - before), 2, "of a second question, since the key was dropped during the first");
}

static void co_test_bounds(arena_t *a, const char *key)
{
    char       other[KEY_LEN + 1], first[KEY_LEN + 1];
    identity_t who;
    uint64_t   before;
    int        wrong = 0;

    key_new(first);
    wrong += co_look_up(a, first, &who) != SI_EDENIED;
    for (int i = 0; i < VERDICTS_BAD_MAX; i++) {
        key_new(other);
        wrong += co_look_up(a, other, &who) != SI_EDENIED;
    }
    is_int(wrong, 0, "unknown keys");
    is_int((int) verdicts_count().bad, VERDICTS_BAD_MAX, "are kept up to the maximum");
    before = questions();
    is_int(co_look_up(a, other, &who), SI_EDENIED, "the last one");
    is_int(co_look_up(a, key, &who), 0, "and a known one");
    is_int((int) (questions() - before), 0, "are known still");
    is_int(co_look_up(a, first, &who), SI_EDENIED, "the first one");
    is_int((int) (questions() - before), 1, "has been forgotten");
}

/* What co_verdict() says to what nginx was told, as if that were from `at`; -1: it was not told anything. */
static int co_bring(arena_t *a, const uint8_t *kept, size_t n, uint64_t at, identity_t *who)
{
    char         hash[65];
    si_verdict_t v;

    if (!si_verdict_get(kept, n, &v)) {
        return -1;
    }
    v.at = at;
    hex_encode(hash, v.digest, SHA256_LEN);
    return co_verdict(a, hash, &v, who);
}

/* A new worker's memory. Those before stay within reach: leaks are looked for. */
static void start_anew(void (*gone)(const char *))
{
    static struct verdicts *before[2];

    before[before[0] != NULL] = proc.verdicts;
    verdicts_init(gone);
}

/* As after a start: a worker that has seen nothing gets it from nginx. */
static void co_test_kept(arena_t *a, const char *key, void (*gone)(const char *))
{
    uint8_t      kept[SI_VERDICT_MAX], told[SI_VERDICT_MAX];
    char         hash[65];
    si_verdict_t v;
    identity_t   who, again;
    uint64_t     before;
    size_t       n;

    key_hash(str_of(key), hash);
    is_int(co_look_up(a, key, &who), 0, "a verdict for nginx");
    n = verdict_put(hash, 0, kept);
    ok(si_verdict_get(kept, n, &v) && v.good && memcmp(v.key_id, who.key_id, UUID_LEN) == 0 && v.life == 1200000, "that it keeps for auth.cache and auth.grace");
    is_int((int) verdict_put(hash, v.at, told), 0, "it is told once");

    start_anew(gone);
    before = v.at;
    is_int(co_bring(a, kept, n, before, &again), 0, "a worker that was not there");
    is_int((int) questions(), 1, "asks all the same");
    ok(verdict_put(hash, before, told) == n, "and tells nginx");

    start_anew(gone);
    before = clock_ms();
    while (clock_ms() == before) {
        co_yield();
    }
    is_int(co_bring(a, kept, n, clock_ms(), &again), 0, "one that listens");
    is_int((int) questions(), 0, "takes its word");
    ok(strcmp(who.user, again.user) == 0 && strcmp(who.key_id, again.key_id) == 0 && strcmp(who.tenant, again.tenant) == 0
       && strcmp(who.scopes, again.scopes) == 0 && who.expires == again.expires, "for the same");
    is_int(co_bring(a, kept, n, clock_ms() + 100000, &again), 0, "one of the future");
    is_int((int) questions(), 0, "changes nothing");
    verdict_drop(str_of(hash));
    is_int(co_bring(a, kept, n, clock_ms(), &again), 0, "what nginx keeps of a key that was revoked");
    is_int((int) questions(), 1, "is asked about");
    verdicts_doubt();
    is_int(co_bring(a, kept, n, clock_ms(), &again), 0, "and what it keeps from before a doubt");
    is_int((int) questions(), 2, "likewise");

    before = clock_ms();
    verdict_drop(str_of(hash));
    for (int i = 0; i < 256; i++) {
        char another[KEY_LEN + 1], nobody[65];
        key_new(another);
        key_hash(str_of(another), nobody);
        verdict_drop(str_of(nobody));
    }
    is_int(co_bring(a, kept, n, before, &again), 0, "when more keys were revoked than can be remembered");
    is_int((int) questions(), 3, "the first one is asked about still");
}

static char was_good[UUID_LEN + 1];
static void gone(const char *key_id) { snprintf(was_good, sizeof(was_good), "%s", key_id); }

static void co_test_verdicts(arena_t *a, const char *keys[4])
{
    static conf_t conf = { .auth_cache = 600000, .auth_negative_cache = 600000, .auth_grace = 600000 };
    conf_t       *was = proc.conf;
    identity_t    who, again;
    char          hash[65];

    proc.conf = &conf;
    verdicts_init(gone);
    is_int(co_look_up(a, keys[0], &who), 0, "a verdict");
    is_int(co_look_up(a, keys[0], &again), 0, "and again");
    ok(strcmp(who.user, again.user) == 0 && strcmp(who.key_id, again.key_id) == 0 && strcmp(who.tenant, again.tenant) == 0, "the same");
    is_int((int) questions(), 1, "asked for once");
    key_hash(str_of(keys[0]), hash);
    verdict_drop(str_of(hash));
    is_int((int) verdicts_count().good, 0, "a dropped one is forgotten");
    is_int(co_look_up(a, keys[0], &who), 0, "and asked for");
    is_int((int) questions(), 2, "again");
    verdicts_doubt();
    is_int(co_look_up(a, keys[0], &who), 0, "in doubt");
    is_int((int) questions(), 3, "all are asked for again");
    verdict_drop(STR("nonsense"));
    verdict_drop(STR_NULL);
    is_int((int) verdicts_count().good, 1, "nonsense drops nothing");
    is_str(was_good, "", "no key was found to have ended");
    co_test_races(keys[0]);
    co_test_bounds(a, keys[0]);
    co_test_kept(a, keys[0], gone);
    proc.conf = was;
}

#endif
