#include "llm/budget_local.h"

#define MINUTE  60000

typedef struct {
    hash_node_t node;
    list_t      lru;
    bool        heard;
    uint64_t    doubt, again;   /* when it was doubted, and is once more; 0: never */
    uint64_t    round;          /* of Redis, when it was heard */
    uint64_t    summing;        /* until then; 0: nobody sums it up */
    int64_t     left;           /* then */
    uint64_t    outage;         /* for which `share` was made */
    int64_t     share, taken;   /* a bucket: `taken` drains */
    uint64_t    at;             /* clock_ms() when `taken` was so */
    char        key[];
} local_t;

struct locals {
    hash_t table;
    list_t lru;                 /* the one used longest ago first */
};

locals_t *locals_new(void)
{
    locals_t *l = si_calloc(sizeof *l);

    hash_init(&l->table);
    list_init(&l->lru);
    return l;
}

static void forget(locals_t *l, local_t *e)
{
    hash_del(&l->table, &e->node);
    list_remove(&e->lru);
    free(e);
}

void locals_free(locals_t *l)
{
    list_each_safe(it, &l->lru) {
        forget(l, list_entry(it, local_t, lru));
    }
    hash_free(&l->table);
    free(l);
}

static local_t *find(locals_t *l, const counter_t *c)
{
    hash_node_t *n = hash_get(&l->table, str_of(c->key));
    local_t     *e = n != NULL ? container_of(n, local_t, node) : NULL;

    if (e != NULL) {
        list_remove(&e->lru);
        list_push(&l->lru, &e->lru);
    }
    return e;
}

static local_t *place(locals_t *l, const counter_t *c)
{
    local_t *e = find(l, c);
    size_t   n = strlen(c->key) + 1;

    if (e != NULL) {
        return e;
    }
    if (l->table.count >= LOCALS_MAX) {
        forget(l, list_first(&l->lru, local_t, lru));
    }
    e = si_calloc(sizeof *e + n);
    memcpy(e->key, c->key, n);
    hash_put(&l->table, &e->node, str_of(e->key));
    list_push(&l->lru, &e->lru);
    return e;
}

int64_t local_doubted(locals_t *l, const counter_t *c, uint64_t round, uint64_t now)
{
    const local_t *e = c->kind == COUNTER_WINDOW ? find(l, c) : NULL;
    uint64_t       since = 0;

    if (e != NULL) {
        since = SI_MAX(e->doubt, e->heard && e->round != round ? round : 0);
        since = SI_MAX(since, now >= e->again ? e->again : 0);
    }
    return since == 0 ? -1 : (int64_t) (now - SI_MIN(since, now));
}

bool local_known(locals_t *l, const counter_t *c)
{
    const local_t *e = find(l, c);

    return e != NULL && e->heard;
}

void local_sum(locals_t *l, const counter_t *c, uint64_t until)
{
    place(l, c)->summing = until;
}

bool local_summing(locals_t *l, const counter_t *c, uint64_t now)
{
    const local_t *e = find(l, c);

    return e != NULL && now < e->summing;
}

void local_heard(locals_t *l, const counter_t *c, uint64_t round, uint64_t now)
{
    local_t *e = place(l, c);

    e->heard = true;
    e->doubt = 0;
    e->again = now >= e->again ? 0 : e->again;
    e->round = round;
    e->left = c->left - c->want;
}

void local_doubt(locals_t *l, const counter_t *c, uint64_t now)
{
    local_t *e = c->kind == COUNTER_WINDOW ? place(l, c) : NULL;

    if (e != NULL) {
        e->doubt = now;
        e->again = now + LOCAL_LAG_MS;
    }
}

static int64_t bounded(const local_t *e, const counter_t *c)
{
    return c->kind == COUNTER_BUCKET ? SI_MIN(c->want, e->share) : c->want;
}

bool local_allows(locals_t *l, const counter_t *c, uint64_t outage, uint64_t shares, uint64_t now)
{
    local_t *e = place(l, c);
    int64_t  whole = c->kind == COUNTER_WINDOW && e->heard ? SI_MAX(e->left, 0) : c->limit;

    if (e->outage != outage) {
        e->outage = outage;
        e->share = whole / (int64_t) SI_MAX(shares, 1);
        e->share = c->kind == COUNTER_BUCKET ? SI_MAX(e->share, 1) : e->share;
        e->taken = 0;
        e->at = now;
    }
    if (c->kind == COUNTER_BUCKET) {
        int64_t drained = (int64_t) ((double) (now - e->at) * (double) e->share / MINUTE);

        e->taken = SI_MAX(e->taken - drained, 0);
        e->at = drained > 0 || e->taken == 0 ? now : e->at;
    }
    return c->want == 0 || e->taken + bounded(e, c) <= e->share;
}

void local_take(locals_t *l, const counter_t *c)
{
    local_t *e = place(l, c);

    e->taken += bounded(e, c);
}

void local_settle(locals_t *l, const counter_t *c)
{
    local_t *e = place(l, c);

    e->taken = SI_MAX(e->taken + c->used - bounded(e, c), 0);
}
