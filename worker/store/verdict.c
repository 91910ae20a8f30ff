#include "store/verdict.h"

#include "base/hash.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "io/pg.h"
#include "link/link.h"
#include "run/co.h"
#include "store/key.h"

#define WAIT_MS        11000    /* longer than the store's deadline */
#define STALE_WAIT_MS  1000     /* a key that was known waits no longer for an answer */
#define PAUSE_MS       5000     /* and asks no sooner after Postgres has failed to give one */
#define DOUBT_MS       200      /* a key in doubt that cannot be asked about now waits so long */
#define GONE_MAX       256      /* revoked keys that are remembered: what nginx keeps of them does not count */
#define TRIES          3        /* a key that is revoked while it is asked about is asked about again */

typedef struct {
    hash_node_t node;           /* verdicts.table */
    list_t      lru;            /* verdicts.good or .bad; in none while it has never been answered */
    char        hash[2 * SHA256_LEN + 1];
    bool        known, good;    /* answered at all; and so */
    bool        asking, again;  /* a question is under way; its answer does not count */
    bool        dropped;        /* not in the table any more */
    uint64_t    at, round;      /* clock_ms() and verdicts.round when the question was sent */
    uint64_t    pause;          /* clock_ms() */
    uint64_t    expires;        /* clock_wall_ms(), UINT64_MAX: never */
    identity_t  who;
    list_t      askers;         /* waiter_t */
    unsigned    refs;           /* those, and the question */
} verdict_t;

typedef struct {
    uint8_t  digest[SHA256_LEN];
    uint64_t at;                /* clock_ms() */
} gone_t;

typedef struct verdicts {
    hash_t   table;
    list_t   good, bad;         /* the one used last at the end */
    uint64_t round;             /* grows when all is in doubt */
    uint64_t doubt_at;          /* clock_ms(): what nginx keeps from before that, too */
    gone_t   gone[GONE_MAX];    /* a ring of keys that were revoked */
    size_t   ngone;             /* all ever */
    bool     asking;            /* co_doubt() runs */
    verdicts_count_t count;
    void   (*key_gone)(const char *key_id);
} verdicts_t;

void verdicts_init(void (*key_gone)(const char *key_id))
{
    verdicts_t *s = si_calloc(sizeof(*s));

    hash_init(&s->table);
    list_init(&s->good);
    list_init(&s->bad);
    s->key_gone = key_gone;
    s->doubt_at = clock_ms();           /* nobody has listened before */
    proc.verdicts = s;
}

verdicts_count_t verdicts_count(void)
{
    return proc.verdicts->count;
}

/* --- one verdict --- */

static void forget_who(verdict_t *v)
{
    free((char *) v->who.tenant);
    free((char *) v->who.user);
    free((char *) v->who.key_id);
    free((char *) v->who.scopes);
    v->who = (identity_t) { 0 };
}

static void unref(verdict_t *v)
{
    if (--v->refs == 0 && v->dropped) {
        forget_who(v);
        free(v);
    }
}

/* Out of the list of its kind. */
static void unlist(verdict_t *v)
{
    if (v->known) {
        list_remove(&v->lru);
        *(v->good ? &proc.verdicts->count.good : &proc.verdicts->count.bad) -= 1;
        v->known = v->good = false;
    }
}

static void drop(verdict_t *v)
{
    unlist(v);
    hash_del(&proc.verdicts->table, &v->node);
    v->dropped = true;
    v->refs++;
    unref(v);
}

static verdict_t *find(str_t hash)
{
    hash_node_t *n = hash_get(&proc.verdicts->table, hash);

    return n ? container_of(n, verdict_t, node) : NULL;
}

static verdict_t *place(const char *hash)
{
    verdict_t *v = find(str_of(hash));

    if (!v) {
        v = si_calloc(sizeof(*v));
        memcpy(v->hash, hash, sizeof(v->hash));
        list_init(&v->lru);
        list_init(&v->askers);
        hash_put(&proc.verdicts->table, &v->node, str_of(v->hash));
    }
    return v;
}

/* Puts it at the end of the list of its kind; the oldest that is not being asked about goes. */
static void enlist(verdict_t *v, bool good)
{
    verdicts_t *s = proc.verdicts;
    list_t     *all = good ? &s->good : &s->bad;
    size_t     *n = good ? &s->count.good : &s->count.bad;

    unlist(v);
    v->known = true;
    v->good = good;
    list_push(all, &v->lru);
    if (++*n > (good ? VERDICTS_GOOD_MAX : VERDICTS_BAD_MAX)) {
        verdict_t *oldest = list_first(all, verdict_t, lru);
        if (oldest && !oldest->asking) {
            drop(oldest);
        }
    }
}

/* --- what nginx keeps --- */

/* Of two that were revoked the older one is forgotten in favour of the newer: then nothing from before it counts. */
static void note_gone(str_t hash)
{
    verdicts_t *s = proc.verdicts;
    gone_t     *g = &s->gone[s->ngone % GONE_MAX], is = { .at = clock_ms() };
    uint8_t     told[SI_VERDICT_BAD];

    if (!hex_decode(is.digest, SHA256_LEN, hash)) {
        return;
    }
    s->ngone++;
    s->doubt_at = SI_MAX(s->doubt_at, g->at);
    *g = is;
    si_verdict_put(told, &(si_verdict_t) { .digest = is.digest, .at = is.at });
    if (proc.links != NULL) {
        links_push(NULL, SI_PUSH_VERDICT, told, sizeof(told));
    }
}

static bool was_gone(const si_verdict_t *kept)
{
    const verdicts_t *s = proc.verdicts;

    for (size_t n = 1; n <= SI_MIN(s->ngone, (size_t) GONE_MAX); n++) {
        const gone_t *g = &s->gone[(s->ngone - n) % GONE_MAX];
        if (g->at < kept->at) {
            return false;
        }
        if (memcmp(g->digest, kept->digest, SHA256_LEN) == 0) {
            return true;
        }
    }
    return false;
}

size_t verdict_put(const char *hash, uint64_t after, uint8_t out[SI_VERDICT_MAX])
{
    const conf_t *c = proc.conf;
    verdict_t    *v = find(str_of(hash));
    uint8_t       digest[SHA256_LEN];
    si_verdict_t  is = { .digest = digest };
    size_t        scopes;

    if (!v || !v->known || v->at <= after || !hex_decode(digest, sizeof(digest), str_of(hash))) {
        return 0;
    }
    is.at = v->at;
    is.life = (uint32_t) SI_MIN(v->good ? c->auth_cache + c->auth_grace : c->auth_negative_cache, (uint64_t) UINT32_MAX);
    if (v->good) {
        scopes = strlen(v->who.scopes);
        if (scopes > SI_SCOPES_MAX || strlen(v->who.tenant) != SI_UUID || strlen(v->who.user) != SI_UUID || strlen(v->who.key_id) != SI_UUID) {
            return 0;
        }
        is.good = 1;
        is.until = v->expires == UINT64_MAX ? 0 : v->expires;
        is.tenant = (const uint8_t *) v->who.tenant;
        is.user = (const uint8_t *) v->who.user;
        is.key_id = (const uint8_t *) v->who.key_id;
        is.scopes = (const uint8_t *) v->who.scopes;
        is.scopes_len = (uint8_t) scopes;
    }
    si_verdict_put(out, &is);
    return si_verdict_size(&is);
}

/* --- the question --- */

static void learn(verdict_t *v, int rc, const identity_t *who, uint64_t expires)
{
    if (rc && v->good) {
        proc.verdicts->key_gone(v->who.key_id);
        note_gone(str_of(v->hash));
    }
    forget_who(v);
    if (rc == 0) {
        v->who = (identity_t) { si_strdup(who->tenant), si_strdup(who->user), si_strdup(who->key_id), si_strdup(who->scopes), 0 };
    }
    v->expires = expires;
    enlist(v, rc == 0);
}

static int co_look(verdict_t *v)
{
    arena_t   *a = arena_new(4096);
    identity_t who;
    uint64_t   at = clock_ms(), round = proc.verdicts->round, expires = UINT64_MAX;
    int        rc;

    v->again = false;
    proc.verdicts->count.asked++;
    log_line(LOG_DEBUG, "key looked up", NULL);
    rc = co_store_key(a, v->hash, &who, &expires);
    if (!v->again && (rc == 0 || rc == SI_EDENIED)) {
        v->at = at;
        v->round = round;
        learn(v, rc, &who, expires);
    }
    arena_free(a);
    return v->again ? SI_EUNAVAIL : rc;
}

static void co_ask(void *arg)
{
    verdict_t *v = arg;
    int        rc, tries = 0;

    do {
        rc = co_look(v);
    } while (v->again && ++tries < TRIES);
    v->asking = false;
    if (rc && rc != SI_EDENIED) {
        v->pause = clock_ms() + PAUSE_MS;
        if (!v->known) {
            drop(v);
        }
    }
    waiters_wake(&v->askers, rc);
    unref(v);
}

/* --- the answer --- */

static bool valid(const verdict_t *v)
{
    return v->known && v->good && clock_wall_ms() < v->expires;
}

static bool fresh(const verdict_t *v)
{
    const conf_t *c = proc.conf;

    return v->known && v->round == proc.verdicts->round
        && clock_ms() < v->at + (v->good ? c->auth_cache : c->auth_negative_cache) && (!v->good || valid(v));
}

/* Good enough while Postgres does not answer. */
static bool usable(const verdict_t *v)
{
    return valid(v) && clock_ms() < v->at + proc.conf->auth_cache + proc.conf->auth_grace;
}

static int read_out(verdict_t *v, arena_t *a, identity_t *out)
{
    if (!v->good) {
        return SI_EDENIED;
    }
    *out = (identity_t) { arena_strdup(a, v->who.tenant), arena_strdup(a, v->who.user), arena_strdup(a, v->who.key_id),
                          arena_strdup(a, v->who.scopes), v->expires == UINT64_MAX ? 0 : v->expires };
    return 0;
}

static int co_answer(verdict_t *v, arena_t *a, identity_t *out)
{
    bool stale = usable(v);
    int  rc;

    if (!v->asking) {
        v->asking = true;
        v->refs++;
        co_spawn("key", co_ask, v);
    }
    rc = co_wait_in(&v->askers, "key", clock_ms() + (stale ? STALE_WAIT_MS : WAIT_MS));
    if (rc == SI_ETIMEDOUT && stale) {
        v->pause = clock_ms() + PAUSE_MS;
    }
    if (rc == 0 || rc == SI_EDENIED) {
        return v->known ? read_out(v, a, out) : rc ? rc : SI_EDENIED;      /* it may have been revoked a moment later */
    }
    return rc != SI_ECANCELED && usable(v) ? read_out(v, a, out) : rc;
}

/* Takes over what nginx keeps, if it is newer than what is known here. From before a doubt it has to be asked about. */
static void adopt(verdict_t *v, arena_t *a, const si_verdict_t *kept)
{
    const verdicts_t *s = proc.verdicts;
    identity_t        who;

    if (kept->at > clock_ms() || (v->known && v->at >= kept->at) || was_gone(kept)) {
        return;
    }
    who = (identity_t) {
        .tenant = arena_printf(a, "%.*s", (int) SI_UUID, kept->tenant), .user = arena_printf(a, "%.*s", (int) SI_UUID, kept->user),
        .key_id = arena_printf(a, "%.*s", (int) SI_UUID, kept->key_id), .scopes = arena_printf(a, "%.*s", kept->scopes_len, kept->scopes),
    };
    v->at = kept->at;
    v->round = kept->at > s->doubt_at ? s->round : s->round - 1;
    learn(v, 0, &who, kept->until ? kept->until : UINT64_MAX);
}

int co_verdict(arena_t *a, const char *hash, const si_verdict_t *kept, identity_t *out)
{
    verdict_t *v = place(hash);
    int        rc;

    if (kept) {
        adopt(v, a, kept);
    }
    if (fresh(v) || (usable(v) && (pg_ready() == 0 || clock_ms() < v->pause))) {
        proc.verdicts->count.hits++;
        list_remove(&v->lru);
        list_push(v->good ? &proc.verdicts->good : &proc.verdicts->bad, &v->lru);
        return read_out(v, a, out);
    }
    v->refs++;
    rc = co_answer(v, a, out);
    unref(v);
    return rc;
}

void verdict_drop(str_t hash)
{
    verdict_t *v = find(hash);

    note_gone(hash);
    if (v && v->asking) {
        v->again = true;
        unlist(v);
    } else if (v) {
        drop(v);
    }
}

/* What was opened with a key is not used again, so nobody else would ask. The one used longest ago is at the front. */
static void co_doubt(void *arg)
{
    verdicts_t *s = arg;
    verdict_t  *v;
    int         rc = 0;

    while (rc == 0 && (v = list_first(&s->good, verdict_t, lru)) && v->round != s->round) {
        if (v->asking || clock_ms() < v->pause) {
            rc = co_sleep(DOUBT_MS, "keys");
        } else {
            v->asking = true;
            v->refs++;
            co_ask(v);
        }
    }
    s->asking = false;
}

void verdicts_doubt(void)
{
    verdicts_t *s = proc.verdicts;

    s->round++;
    s->doubt_at = clock_ms();
    if (!s->asking) {
        s->asking = true;
        co_spawn("keys", co_doubt, s);
    }
}
