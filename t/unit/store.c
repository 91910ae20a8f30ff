/*
 * The store against a private Postgres. t/03-store.t starts it and sets SI_TEST_OWNER, SI_TEST_WORKER and SI_TEST_SUPER:
 * connection strings of the tables' owner, of the worker's role and of a superuser.
 */
#include "store/store.h"

#include <signal.h>
#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "io/pg.h"
#include "run/co.h"
#include "run/loop.h"
#include "store/cursor.h"
#include "store_admin.h"
#include "store_verdict.h"

#define LONG_MS  30000
#define ME       "node/0.100"
#define OTHER    "node/1.200"

static identity_t ann, bob, eve;        /* ann and bob of one tenant, eve of another */

static uint64_t expires;                /* of the key that was looked up last */

static uint64_t soon(void) { return clock_ms() + LONG_MS; }

/* --- who is calling --- */

static int co_login(arena_t *a, const char *key, identity_t *out)
{
    char     hash[65];

    key_hash(str_of(key), hash);
    return co_store_key(a, hash, out, &expires);
}

static void co_test_keys(arena_t *a, const char *keys[4])
{
    identity_t again, none;
    char       wrong[KEY_LEN + 1];

    is_int(co_login(a, keys[0], &ann), 0, "ann's key");
    ok(expires == UINT64_MAX, "which never expires");
    is_int(co_login(a, keys[1], &bob), 0, "bob's key");
    is_int(co_login(a, keys[2], &eve), 0, "eve's key");
    is_int(co_login(a, keys[3], &again), 0, "ann's second key");
    is_str(again.user, ann.user, "leads to the same user");
    ok(strcmp(again.key_id, ann.key_id) != 0, "under another id");
    ok(strcmp(ann.tenant, bob.tenant) == 0 && strcmp(ann.user, bob.user) != 0, "two users of one tenant");
    ok(strcmp(ann.tenant, eve.tenant) != 0, "and another tenant");
    is_str(ann.scopes, "", "no scopes yet");
    key_new(wrong);
    is_int(co_login(a, wrong, &none), SI_EDENIED, "an unknown key");
    is_int(co_store_key(a, "", &none, &expires), SI_EDENIED, "no hash");
    is_int(co_login(a, keys[0], &again), 0, "ann's again, on the same connections");

    sql(a, super_db, arena_printf(a, "UPDATE api_key SET revoked_at = now() WHERE key_id = '%s'", ann.key_id));
    is_int(co_login(a, keys[0], &none), SI_EDENIED, "a revoked key");
    sql(a, super_db, arena_printf(a, "UPDATE api_key SET revoked_at = NULL, expires_at = now() - interval '1 s' WHERE key_id = '%s'", ann.key_id));
    is_int(co_login(a, keys[0], &none), SI_EDENIED, "an expired key");
    sql(a, super_db, arena_printf(a, "UPDATE api_key SET expires_at = now() + interval '1 h' WHERE key_id = '%s'", ann.key_id));
    is_int(co_login(a, keys[0], &again), 0, "one that has not expired");
    ok(expires > clock_wall_ms() + 3500000 && expires < clock_wall_ms() + 3700000, "and until when it is good");
    sql(a, super_db, arena_printf(a, "UPDATE app_user SET status = 'disabled' WHERE user_id = '%s'", bob.user));
    is_int(co_login(a, keys[1], &none), SI_EDENIED, "a disabled user");
    sql(a, super_db, arena_printf(a, "UPDATE app_user SET status = 'active' WHERE user_id = '%s'", bob.user));
    sql(a, super_db, arena_printf(a, "UPDATE tenant SET status = 'disabled' WHERE tenant_id = '%s'", eve.tenant));
    is_int(co_login(a, keys[2], &none), SI_EDENIED, "a disabled tenant");
    sql(a, super_db, arena_printf(a, "UPDATE tenant SET status = 'active' WHERE tenant_id = '%s'", eve.tenant));
}

/* By tokens: the same user by the same issuer and subject, in the tenant that is named and in no other. */
static void co_test_identities(arena_t *a)
{
    const char *iss = "https://id.example";
    const char *tenant = sql(a, super_db, arena_printf(a, "SELECT name FROM tenant WHERE tenant_id = '%s'", ann.tenant));
    const char *theirs = sql(a, super_db, arena_printf(a, "SELECT name FROM tenant WHERE tenant_id = '%s'", eve.tenant));
    identity_t  one, again, other, none;

    is_int(co_store_identity(a, tenant, iss, "s'1", &one), 0, "a subject at first sight");
    ok(strcmp(one.tenant, ann.tenant) == 0 && uuid_valid(str_of(one.user)) && strcmp(one.user, ann.user) != 0, "is a new user of the tenant");
    is_int(co_store_identity(a, one.tenant, iss, "s'1", &again), 0, "again, the tenant by its id");
    is_str(again.user, one.user, "is the same user");
    is_int(co_store_identity(a, theirs, iss, "s'1", &other), 0, "in another tenant");
    ok(strcmp(other.tenant, eve.tenant) == 0 && strcmp(other.user, one.user) != 0, "is another user");
    is_int(co_store_identity(a, tenant, "https://other.example", "s'1", &other), 0, "of another issuer");
    ok(strcmp(other.user, one.user) != 0, "is another user, too");
    is_int(co_store_identity(a, "nobody", iss, "s'1", &none), SI_ENOENT, "an unknown tenant");
    is_int(co_store_identity(a, "00000000-0000-0000-0000-000000000000", iss, "s'1", &none), SI_ENOENT, "the nil tenant");
    is_int(co_store_identity(a, "", iss, "s'1", &none), SI_ENOENT, "no tenant");
    sql(a, super_db, arena_printf(a, "UPDATE app_user SET status = 'disabled' WHERE user_id = '%s'", one.user));
    is_int(co_store_identity(a, tenant, iss, "s'1", &none), SI_EDENIED, "a disabled user");
    sql(a, super_db, arena_printf(a, "UPDATE tenant SET status = 'disabled' WHERE tenant_id = '%s'", eve.tenant));
    is_int(co_store_identity(a, theirs, iss, "s'1", &none), SI_ENOENT, "a disabled tenant");
    sql(a, super_db, arena_printf(a, "UPDATE tenant SET status = 'active' WHERE tenant_id = '%s'", eve.tenant));
}

/* One statement under an identity; its first field "n", or the error code. */
static int co_as(arena_t *a, const identity_t *who, const char *text)
{
    pg_batch_t *b = pg_batch(a, who ? who->tenant : NULL, who ? who->user : NULL);
    int         rc;

    pg_add(b, text, 0);
    rc = co_pg(b, "test:as", soon());
    return rc ? rc : pg_get(b, 0, 0, "n") ? atoi(pg_get(b, 0, 0, "n")) : pg_affected(b, 0);
}

/* --- conversations --- */

static const char *co_conversation(arena_t *a, const identity_t *who)
{
    conversation_t c = { .id = "" };
    bool           existed;

    if (co_store_conversation_new(a, who, "", NULL, "h", &c, &existed) != 0) {
        ok(false, "a conversation");
    }
    return c.id;
}

static void co_test_conversation(arena_t *a)
{
    conversation_t c, again;
    bool           existed = true;

    is_int(co_store_conversation_new(a, &ann, "it's \\ \"a\" title \xf0\x9f\x8c\x8d", "key-1", "hash-1", &c, &existed), 0, "a conversation");
    ok(!existed && uuid_valid(str_of(c.id)), "is new, with an id");
    is_str(c.title, "it's \\ \"a\" title \xf0\x9f\x8c\x8d", "its title");
    ok(c.version == 1 && c.last_turn == 0, "version 1, no turns");
    ok(strlen(c.created) == 24 && c.created[10] == 'T' && c.created[19] == '.' && c.created[23] == 'Z', "times as RFC 3339: %s", c.created);
    is_str(c.updated, c.created, "updated when it was created");

    is_int(co_store_conversation_new(a, &ann, "other", "key-1", "hash-1", &again, &existed), 0, "the same key again");
    ok(existed && strcmp(again.id, c.id) == 0 && strcmp(again.title, c.title) == 0, "gives the first one");
    is_int(co_store_conversation_new(a, &ann, "other", "key-1", "hash-2", &again, &existed), SI_ECONFLICT, "but not for another request");
    is_int(co_store_conversation_new(a, &bob, "bob's", "key-1", "hash-2", &again, &existed), 0, "another user's key is another key");
    ok(!existed && strcmp(again.id, c.id) != 0, "and makes a new one");

    is_int(co_store_conversation(a, &ann, c.id, &again), 0, "it can be read");
    is_str(again.title, c.title, "with its title");
    is_int(co_store_conversation(a, &bob, c.id, &again), SI_ENOENT, "not by another user");
    is_int(co_store_conversation(a, &eve, c.id, &again), SI_ENOENT, "not by another tenant");
    is_int(co_store_conversation(a, &ann, "no-uuid", &again), SI_ENOENT, "an id that is none");
    is_int(co_store_conversation(a, &ann, "01890000-0000-7000-8000-000000000000", &again), SI_ENOENT, "an unknown id");

    is_int(co_as(a, &bob, "SELECT count(*) AS n FROM conversation"), 1, "without a predicate a query sees the user's rows only");
    is_int(co_as(a, &eve, "SELECT count(*) AS n FROM conversation"), 0, "of eve there are none");
    is_int(co_as(a, &eve, arena_printf(a, "UPDATE conversation SET title = 'x' WHERE conversation_id = '%s'", c.id)), 0, "nothing to change there");
    is_int(co_as(a, &eve, arena_printf(a, "INSERT INTO conversation (tenant_id, user_id, conversation_id) VALUES"
                                          " ('%s', '%s', gen_random_uuid())", ann.tenant, ann.user)),
           SI_EINTERNAL, "no row can be written for another tenant");
    is_int(co_as(a, NULL, "SELECT count(*) AS n FROM conversation") < 0, 1, "no tenant, no answer");
}

static void co_test_conversations(arena_t *a)
{
    conversation_t *page;
    const char     *ids[7], *cursor = NULL, *bad[] = { "", "x", "!!", "YzpmOg", cursor_encode(a, 'm', "1"), cursor_encode(a, 'c', "1' OR 1") };
    size_t          n, seen = 0;
    int             pages = 0, right = 0;

    for (size_t i = 0; i < SI_COUNT(ids); i++) {
        ids[i] = co_conversation(a, &eve);
    }
    do {
        is_int(co_store_conversations(a, &eve, cursor, 3, &page, &n, &cursor), 0, "a page of three");
        for (size_t i = 0; i < n && seen < SI_COUNT(ids); i++) {
            right += strcmp(page[i].id, ids[SI_COUNT(ids) - ++seen]) == 0;
        }
        pages++;
    } while (cursor && pages < 9);
    ok(seen == 7 && pages == 3 && right == 7, "seven on three pages, newest first");
    is_int(co_store_conversations(a, &eve, NULL, 7, &page, &n, &cursor), 0, "all on one page");
    ok(n == 7 && !cursor, "no cursor at its end");
    is_int(co_store_conversations(a, &eve, NULL, 1000, &page, &n, &cursor), 0, "a limit that is too high");
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        is_int(co_store_conversations(a, &eve, bad[i], 3, &page, &n, &cursor), SI_EINVAL, "a bad cursor");
    }
}

/* --- workers and claims --- */

static void co_test_lease(arena_t *a)
{
    const char *const *names;
    size_t             n;

    is_int(co_store_lease(a, ME, LONG_MS * 10), 0, "a lease");
    is_int(co_store_lease(a, ME, LONG_MS * 10), 0, "its renewal");
    is_int(co_store_lease(a, OTHER, LONG_MS * 10), 0, "another worker's");
    is_int(co_store_lease(a, "node/9.9", 0), 0, "one that lapses at once");
    is_int(co_store_lease(a, "node/9.9", 0), 0, "may be renewed as long as nobody has buried it");
    is_int(co_store_bury(a, "node/9.9"), 0, "buried");
    is_int(co_store_lease(a, "node/9.9", 1000), SI_ECONFLICT, "then it hears of it");
    is_int(co_store_bury(a, "node/8.8"), 0, "one that nobody knew");
    is_int(co_store_lease(a, "node/8.8", 1000), SI_ECONFLICT, "is buried all the same");
    ok(co_store_workers(a, ME, &names, &n) == 0 && n == 1 && strcmp(names[0], OTHER) == 0, "one other lives");
    ok(co_store_workers(a, "node/2.300", &names, &n) == 0 && n == 2, "of which a third sees two");
    sql(a, super_db, "UPDATE worker SET lease_until = now() - interval '11 minutes' WHERE instance = 'node/9.9'");
    is_int(co_store_bury(a, "node/8.8"), 0, "the next burial");
    is_int(co_store_lease(a, "node/9.9", 0), 0, "frees a name that was buried long ago");
}

static int co_claim(arena_t *a, const char *id, const char *me, const char *dead, uint64_t *epoch, const char **owner)
{
    return co_store_claim(a, ann.tenant, ann.user, id, me, dead, epoch, owner);
}

static void co_test_claim(arena_t *a)
{
    const char *c = co_conversation(a, &ann), *owner;
    uint64_t    first = 0, epoch = 0;

    is_int(co_claim(a, c, ME, NULL, &first, &owner), 0, "a claim that nobody has");
    is_int(co_claim(a, c, ME, NULL, &epoch, &owner), 0, "again");
    is_int((long long) epoch, (long long) first, "the epoch stays");
    is_int(co_claim(a, c, OTHER, NULL, &epoch, &owner), SI_ECONFLICT, "another worker does not get it");
    is_str(owner, ME, "and hears who has it");
    is_int(co_claim(a, c, OTHER, "node/7.7", &epoch, &owner), SI_ECONFLICT, "nor if somebody else is dead");
    is_int(co_claim(a, c, OTHER, ME, &epoch, &owner), 0, "but if it knows that the owner is");
    is_int((long long) epoch, (long long) first + 1, "then the epoch grows");
    is_int(co_store_release(a, c, ME, first), SI_ECONFLICT, "the old owner cannot release it");
    is_int(co_store_release(a, c, OTHER, first), SI_ECONFLICT, "nor the new one with an old epoch");
    is_int(co_store_release(a, c, OTHER, epoch), 0, "the new one can");
    is_int(co_claim(a, c, "node/9.9", NULL, &epoch, &owner), 0, "a worker whose lease lapses");
    is_int(co_claim(a, c, ME, NULL, &epoch, &owner), 0, "loses it to any other");
    is_int((long long) epoch, (long long) first + 3, "each change is counted");
    is_int(co_store_claim(a, bob.tenant, bob.user, c, ME, NULL, &epoch, &owner), SI_ENOENT, "no claim for another user");
    is_int(co_store_claim(a, eve.tenant, eve.user, c, ME, NULL, &epoch, &owner), SI_ENOENT, "nor for another tenant");
    is_int(co_claim(a, "01890000-0000-7000-8000-000000000000", ME, NULL, &epoch, &owner), SI_ENOENT, "nor of nothing");
    is_int(co_claim(a, "zz", ME, NULL, &epoch, &owner), SI_ENOENT, "nor of an id that is none");
}

/* --- many at once --- */

typedef struct {
    wait_t      all;
    int         left, won, lost, failed;
    const char *conversation;
    uint64_t    epoch;
    int64_t     sum;            /* of turn numbers */
} crowd_t;

static crowd_t crowd;

static void crowd_start(int n, const char *conversation, uint64_t epoch)
{
    crowd = (crowd_t) { .left = n, .conversation = conversation, .epoch = epoch };
    wait_init(&crowd.all);
}

static void crowd_left(int rc)
{
    crowd.won += rc == 0;
    crowd.lost += rc == SI_ECONFLICT;
    crowd.failed += rc != 0 && rc != SI_ECONFLICT;
    if (--crowd.left == 0) {
        wait_wake(&crowd.all, 0);
    }
}

static void co_one_claim(void *arg)
{
    arena_t    *a = arena_new(1024);
    char       *me = arena_printf(a, "race/%d.1", (int) (intptr_t) arg);
    const char *owner;
    uint64_t    epoch;
    int         rc = co_store_lease(a, me, LONG_MS * 10);

    rc = rc ? rc : co_claim(a, crowd.conversation, me, NULL, &epoch, &owner);
    crowd_left(rc);
    arena_free(a);
}

static void co_test_claim_race(arena_t *a)
{
    int winners = 0, losers = 0, bad = 0;

    for (int round = 0; round < 10; round++) {
        crowd_start(12, co_conversation(a, &ann), 0);
        for (intptr_t i = 0; i < 12; i++) {
            co_spawn("claim", co_one_claim, (void *) i);
        }
        bad += co_wait(&crowd.all, "test:crowd", soon()) != 0 || crowd.failed;
        winners += crowd.won == 1;
        losers += crowd.lost == 11;
    }
    ok(winners == 10 && losers == 10 && bad == 0, "of twelve workers that claim at once exactly one wins, ten times");
}

#include "store_turns.h"

/* --- */

static void co_main(void *arg)
{
    arena_t *a = arena_new(65536);

    co_test_keys(a, arg);
    co_test_verdicts(a, arg);
    co_test_identities(a);
    co_test_conversation(a);
    co_test_conversations(a);
    co_test_lease(a);
    co_test_claim(a);
    co_test_claim_race(a);
    co_test_turns(a);
    arena_free(a);
    pg_exit();
    loop_stop();
}

int main(void)
{
    arena_t *a = arena_new(65536);

    owner_db = getenv("SI_TEST_OWNER");
    worker_db = getenv("SI_TEST_WORKER");
    super_db = getenv("SI_TEST_SUPER");
    if (owner_db == NULL || worker_db == NULL || super_db == NULL) {
        printf("1..0 # SKIP run by t/03-store.t, which starts a server\n");
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    logger_open(NULL, LOG_INFO);
    test_key_format();
    test_migrate(a);
    test_catalogue(a);

    const char *keys[] = { make_key(a, "acme", "ann"), make_key(a, "acme", "bob"), make_key(a, "other ' tenant", "ann"),
                           make_key(a, "acme", "ann") };
    loop_init();
    co_init();
    pg_init(worker_db, 4, 1024);
    co_spawn("test", co_main, keys);
    loop_run();
    co_exit();
    loop_free();
    arena_free(a);
    return done_testing();
}
