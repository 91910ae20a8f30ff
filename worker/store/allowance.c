#include "store/allowance.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "store/rows.h"

#define KEPT_MAX       16384
#define STALE_WAIT_MS  1000     /* what was known waits no longer for an answer */
#define PAUSE_MS       5000     /* and is asked about no sooner again when none comes */

typedef struct {
    hash_node_t node;
    list_t      lru;
    char        key[UUID_LEN + 1];
    allowance_t is;
    uint64_t    until;          /* clock_ms() */
} kept_t;

struct allowances {
    hash_t table;
    list_t lru;                 /* the one used longest ago first */
};

void allowances_init(void)
{
    proc.allowances = si_calloc(sizeof *proc.allowances);
    hash_init(&proc.allowances->table);
    list_init(&proc.allowances->lru);
}

static kept_t *find(const char *key)
{
    hash_node_t *n = hash_get(&proc.allowances->table, str_of(key));

    return n != NULL ? container_of(n, kept_t, node) : NULL;
}

static kept_t *place(const char *key)
{
    struct allowances *s = proc.allowances;
    kept_t            *k = find(key);

    if (k != NULL) {
        return k;
    }
    if (s->table.count >= KEPT_MAX) {
        k = list_first(&s->lru, kept_t, lru);
        hash_del(&s->table, &k->node);
        list_remove(&k->lru);
        free(k);
    }
    k = si_calloc(sizeof *k);
    (void) snprintf(k->key, sizeof k->key, "%s", key);
    list_init(&k->lru);
    hash_put(&s->table, &k->node, str_of(k->key));
    return k;
}

/* The same, for ever there. The table's CHECK admits no other word. */
static const char *word_of(const char *period)
{
    static const char *const words[] = { "hour", "day", "total" };

    for (size_t i = 0; i < SI_COUNT(words); i++) {
        if (strcmp(words[i], period) == 0) {
            return words[i];
        }
    }
    return "month";
}

static int co_ask(const char *tenant, const char *user, const char *key, uint64_t deadline)
{
    arena_t    *a = arena_new(2048);
    pg_batch_t *b = pg_batch(a, tenant, user);
    kept_t     *k;
    int         rc;

    pg_add(b, "SELECT budget_micros, budget_calls, budget_period, requests_per_minute, tokens_per_minute FROM api_key"
              " WHERE tenant_id = $1 AND user_id = $2 AND key_id = $3", 3, tenant, user, key);
    rc = co_pg(b, "pg:allowance", deadline);
    if (rc == 0) {
        k = place(key);
        k->until = clock_ms() + proc.conf->auth_cache;
        k->is = (allowance_t) { .period = "month" };
        if (pg_rows(b, 0) > 0) {
            k->is = row_allowance(b, 0, 0);
            k->is.period = word_of(k->is.period);
        }
    }
    arena_free(a);
    return rc;
}

int co_allowance(const char *tenant, const char *user, const char *key, allowance_t *out)
{
    kept_t  *k = find(key);
    uint64_t now = clock_ms();
    int      rc = 0;

    if (k == NULL) {
        rc = co_ask(tenant, user, key, now + STORE_DEADLINE_MS);
        k = find(key);
    } else if (now >= k->until) {
        k->until = now + PAUSE_MS;              /* others go on with what it said last, and so does this call while Postgres is away */
        (void) co_ask(tenant, user, key, now + STALE_WAIT_MS);
        k = find(key);
    }
    if (k == NULL) {
        return rc;
    }
    list_remove(&k->lru);
    list_push(&proc.allowances->lru, &k->lru);
    *out = k->is;
    return k->is.dollars + k->is.calls + k->is.requests + k->is.tokens > 0 ? 0 : SI_ENOENT;
}
