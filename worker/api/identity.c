#include "api/identity.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "io/pg.h"
#include "run/co.h"

#define STALE_WAIT_MS  1000     /* who was known waits no longer for an answer */
#define PAUSE_MS       5000     /* and for none so long after Postgres has failed to give one */

typedef struct {
    hash_node_t node;
    list_t      order;
    uint64_t    at;             /* clock_ms() of the answer */
    char        tenant[UUID_LEN + 1], user[UUID_LEN + 1];
    char        key[];
} known_t;

struct identities {
    hash_t known;               /* known_t by "tenant\0issuer\0subject" */
    list_t order;               /* of coming, and so of going */
    uint64_t pause;             /* clock_ms() */
};

void identities_init(void)
{
    proc.identities = si_calloc(sizeof(*proc.identities));
    hash_init(&proc.identities->known);
    list_init(&proc.identities->order);
}

static void forget(known_t *k)
{
    hash_del(&proc.identities->known, &k->node);
    list_remove(&k->order);
    free(k);
}

/* No part holds a NUL, so no two callers have one key. */
static str_t key_of(arena_t *a, str_t tenant, str_t issuer, str_t subject)
{
    size_t n = tenant.n + issuer.n + subject.n + 2;
    char  *p = arena_calloc(a, n + 1);

    memcpy(p, tenant.p, tenant.n);
    memcpy(p + tenant.n + 1, issuer.p, issuer.n);
    memcpy(p + tenant.n + issuer.n + 2, subject.p, subject.n);
    return (str_t) { p, n };
}

static void remember(str_t key, const identity_t *who)
{
    struct identities *ids = proc.identities;
    hash_node_t       *old = hash_get(&ids->known, key);
    known_t           *k = si_calloc(sizeof(*k) + key.n);

    if (old) {
        forget(container_of(old, known_t, node));
    } else if (ids->known.count == IDENTITY_MAX) {
        forget(list_first(&ids->order, known_t, order));
    }
    memcpy(k->key, key.p, key.n);
    memcpy(k->tenant, who->tenant, UUID_LEN);
    memcpy(k->user, who->user, UUID_LEN);
    k->at = clock_ms();
    hash_put(&ids->known, &k->node, (str_t) { k->key, key.n });
    list_push(&ids->order, &k->order);
}

static known_t *find(str_t key)
{
    hash_node_t *n = hash_get(&proc.identities->known, key);

    return n ? container_of(n, known_t, node) : NULL;
}

static int read_out(const known_t *k, arena_t *a, identity_t *out)
{
    *out = (identity_t) { .tenant = arena_strdup(a, k->tenant), .user = arena_strdup(a, k->user), .key_id = "", .scopes = "" };
    return 0;
}

/* Good enough while Postgres does not answer. */
static bool usable(const known_t *k)
{
    return k && clock_ms() < k->at + proc.conf->auth_cache + proc.conf->auth_grace;
}

int co_identity(arena_t *a, str_t tenant, str_t issuer, str_t subject, identity_t *out)
{
    str_t        key = key_of(a, tenant, issuer, subject);
    known_t     *k = find(key);
    int          rc;

    if (k && (clock_ms() < k->at + proc.conf->auth_cache
              || (usable(k) && (pg_ready() == 0 || clock_ms() < proc.identities->pause)))) {
        return read_out(k, a, out);
    }
    (void) co_deadline(usable(k) ? clock_ms() + STALE_WAIT_MS : 0);
    rc = co_store_identity(a, key.p, key.p + tenant.n + 1, key.p + tenant.n + issuer.n + 2, out);
    (void) co_deadline(0);
    k = find(key);
    if (rc == 0) {
        remember(key, out);
    } else if ((rc == SI_EUNAVAIL || rc == SI_ETIMEDOUT) && usable(k)) {
        proc.identities->pause = clock_ms() + PAUSE_MS;
        rc = read_out(k, a, out);
    } else if ((rc == SI_EDENIED || rc == SI_ENOENT) && k) {
        forget(k);
    }
    return rc;
}
