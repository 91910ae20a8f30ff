
/*
 * Limits of the whole cluster: Redis holds each key's bucket, and this node
 * takes slices of it in advance, through any worker, so that no request waits
 * for an answer.  See worker/store/quota.h for the other end.
 *
 * A request is paid for by the key's lease.  Without one it passes on this
 * node's share: the TAT that was told last, moved on by as many intervals as
 * there are nodes.  Such debts are told with the next question, and charged in
 * any case, so what all nodes let through is exact in the long run.
 *
 * While nobody answers, the share is all there is.  Then one process of the
 * node asks again, a few times in a second.  Not all workers find Redis again
 * at the same time, so each process stays with one that did.
 */


#include "ngx_si_module.h"


/* all in ns */
#define NGX_SI_QUOTA_SLICE   150000000LL    /* a lease is made for so long */
#define NGX_SI_QUOTA_WINDOW  100000000LL    /* in which demand is measured */
#define NGX_SI_QUOTA_LIFE    NGX_SI_LIMIT_SECOND    /* of a lease */
#define NGX_SI_QUOTA_LAPSE   500000000LL    /* an answer is waited for, */
#define NGX_SI_QUOTA_LAPSES  2              /* and so many are missed */
#define NGX_SI_QUOTA_PAUSE   10000000LL     /* a tenth of the least bucket: */
#define NGX_SI_QUOTA_PAUSES  100000000LL    /* once there was not enough */
#define NGX_SI_QUOTA_PROBE   250000000LL    /* questions while degraded */
#define NGX_SI_QUOTA_QUIET   5000000000LL   /* else, if nothing is heard */

#define NGX_SI_QUOTA_TICK    100            /* ms, leases that have ended */
#define NGX_SI_QUOTA_FIRST   1000           /* ms, links come up meanwhile */
#define NGX_SI_QUOTA_BATCH   64             /* leases of a zone in a tick */
#define NGX_SI_QUOTA_NODES   65535
#define NGX_SI_QUOTA_AWAYS   3              /* another worker may know more */


static void ngx_si_quota_timer(ngx_event_t *ev);
static ngx_uint_t ngx_si_quota_ended(ngx_si_limit_zone_t *zone, int64_t now,
    si_ask_t *ask);
static ngx_uint_t ngx_si_quota_probe(ngx_si_limit_zone_t *zone, int64_t now);
static uint32_t ngx_si_quota_demand(ngx_si_quota_t *q, int64_t now);
static void ngx_si_quota_lease(ngx_si_limit_zone_t *zone, ngx_si_quota_t *q,
    uint32_t lease, int64_t now);
static ngx_si_link_t *ngx_si_quota_link(ngx_si_proc_t *proc);
static void ngx_si_quota_take(ngx_si_limit_zone_t *zone, si_grant_t *g);
static void ngx_si_quota_answer(ngx_si_limit_zone_t *zone,
    ngx_si_quota_t *q, si_grant_t *g, int64_t now);
static void ngx_si_quota_degrade(ngx_si_limit_zone_t *zone,
    ngx_uint_t degraded);


void
ngx_si_quota_start(ngx_si_proc_t *proc, ngx_log_t *log)
{
    ngx_uint_t             i;
    ngx_si_limit_zone_t  **zone = proc->conf->limit_zones.elts;

    for (i = 0; i < proc->conf->limit_zones.nelts; i++) {
        if (zone[i]->cluster) {
            proc->quota.data = &proc->dummy;
            proc->quota.handler = ngx_si_quota_timer;
            proc->quota.log = log;
            proc->quota.cancelable = 1;

            ngx_add_timer(&proc->quota, NGX_SI_QUOTA_FIRST);
            return;
        }
    }
}


static void
ngx_si_quota_timer(ngx_event_t *ev)
{
    int64_t                now;
    si_ask_t               ask[NGX_SI_QUOTA_BATCH + 1];
    ngx_uint_t             i, n;
    ngx_si_proc_t         *proc;
    ngx_connection_t      *dummy;
    ngx_si_limit_zone_t  **zone;

    dummy = ev->data;
    proc = dummy->data;
    zone = proc->conf->limit_zones.elts;

    for (i = 0; i < proc->conf->limit_zones.nelts; i++) {
        if (!zone[i]->cluster) {
            continue;
        }

        ngx_shmtx_lock(&zone[i]->shpool->mutex);

        now = ngx_si_limit_now();
        n = ngx_si_quota_ended(zone[i], now, ask);

        if (ngx_si_quota_probe(zone[i], now)) {
            ngx_memzero(&ask[n++], sizeof(si_ask_t));
        }

        ngx_shmtx_unlock(&zone[i]->shpool->mutex);

        while (n) {
            ngx_si_quota_send(zone[i], &ask[--n]);
        }
    }

    ngx_add_timer(ev, NGX_SI_QUOTA_TICK);
}


/* what was not used goes back, unless there is nobody to take it */

static ngx_uint_t
ngx_si_quota_ended(ngx_si_limit_zone_t *zone, int64_t now, si_ask_t *ask)
{
    ngx_uint_t       n;
    ngx_queue_t     *head;
    ngx_si_quota_t  *q;

    n = 0;

    while (n < NGX_SI_QUOTA_BATCH && !ngx_queue_empty(&zone->sh->leases)) {
        head = ngx_queue_head(&zone->sh->leases);
        q = ngx_queue_data(head, ngx_si_quota_t, leases);

        if (q->until > now) {
            break;
        }

        ngx_memzero(&ask[n], sizeof(si_ask_t));
        ask[n].key = q->node.node.key;
        ask[n].back = q->lease;

        ngx_si_quota_lease(zone, q, 0, now);

        n += !zone->sh->stat.degraded;
    }

    return n;
}


/* a question of no key: is Redis there, and how many nodes are there? */

static ngx_uint_t
ngx_si_quota_probe(ngx_si_limit_zone_t *zone, int64_t now)
{
    ngx_si_limit_shared_t  *sh = zone->sh;

    if (now < sh->probe_at) {
        return 0;
    }

    if (sh->heard
        && now - sh->heard > NGX_SI_QUOTA_QUIET
                             + NGX_SI_QUOTA_LAPSES * NGX_SI_QUOTA_LAPSE)
    {
        ngx_si_quota_degrade(zone, 1);
    }

    sh->probe_at = now + NGX_SI_QUOTA_PROBE;

    return 1;
}


void
ngx_si_quota_look(ngx_si_limit_look_t *look, int64_t now)
{
    ngx_uint_t            nodes;
    ngx_si_quota_t       *q = (ngx_si_quota_t *) look->node;
    ngx_si_limit_zone_t  *zone = look->limit->zone;

    nodes = ngx_max(zone->sh->stat.nodes, 1);

    if (zone->sh->stat.degraded) {
        look->share = nodes;
    }

    if (q && q->lease && now < q->until) {
        look->used = ngx_max(look->used - q->lease * zone->interval, 0);
        return;
    }

    look->cost = ngx_min((int64_t) nodes * zone->interval, zone->bucket);
}


void
ngx_si_quota_spend(ngx_si_limit_look_t *look, int64_t now)
{
    ngx_si_quota_t       *q = (ngx_si_quota_t *) look->node;
    ngx_si_limit_zone_t  *zone = look->limit->zone;

    if (q->lease && now < q->until) {
        q->lease--;

        if (q->lease == 0) {
            ngx_queue_remove(&q->leases);
        }

        return;
    }

    q->node.tat = now + look->used + look->cost;
    q->debt++;

    if (zone->sh->stat.degraded) {
        /* what has drained meanwhile will not have to be told */
        q->debt = (uint32_t) ngx_min(q->debt, (look->used + look->cost)
                                              / look->cost);
    }
}


/* in requests of a slice; a single one is not yet a demand */

static uint32_t
ngx_si_quota_demand(ngx_si_quota_t *q, int64_t now)
{
    int64_t  past, demand;

    past = now - q->since;
    demand = q->seen * NGX_SI_QUOTA_SLICE
             / ngx_max(past, NGX_SI_QUOTA_WINDOW / 2);

    q->seen++;

    if (past >= NGX_SI_QUOTA_WINDOW) {
        q->demand = (uint32_t) ngx_min(q->seen * NGX_SI_QUOTA_SLICE / past,
                                       NGX_SI_LIMIT_BURST_MAX);
        q->seen = 0;
        q->since = now;
    }

    return (uint32_t) ngx_max(q->demand, demand);
}


/*
 * Asks when half a slice is left, and to tell debts.  A key that is seldom
 * used gets no lease, as it would only have to go back: its debts are told
 * one by one, and its bucket has room for them.
 */

void
ngx_si_quota_want(ngx_si_limit_look_t *look, int64_t now)
{
    int64_t               want;
    uint32_t              back;
    ngx_si_quota_t       *q = (ngx_si_quota_t *) look->node;
    ngx_si_limit_zone_t  *zone = look->limit->zone;

    if (q == NULL) {
        return;
    }

    want = ngx_si_quota_demand(q, now);
    want += (want == 0 && look->wait > 0);
    want = ngx_min(want, zone->bucket / zone->interval);

    if (zone->sh->stat.degraded || now < q->ask_at) {
        return;
    }

    if (q->asking) {
        /* perhaps they were charged, but they must not be forgotten */
        q->debt += q->told;
        q->told = 0;
    }

    back = now < q->until ? 0 : q->lease;

    if (q->debt == 0 && back == 0 && 2 * (int64_t) q->lease >= want) {
        return;
    }

    if (back) {
        ngx_si_quota_lease(zone, q, 0, now);
    }

    if (q->asking && ++q->lapses == NGX_SI_QUOTA_LAPSES) {
        ngx_si_quota_degrade(zone, 1);
    }

    ngx_memzero(&look->ask, sizeof(si_ask_t));

    look->asks = 1;
    look->ask.key = look->key;
    look->ask.want = (uint32_t) ngx_max(want - q->lease, 0);
    look->ask.debt = q->debt;
    look->ask.back = back;

    q->told = q->debt;
    q->debt = 0;
    q->asking = 1;
    q->ask_at = now + NGX_SI_QUOTA_LAPSE;

    zone->sh->stat.asked++;
}


void
ngx_si_quota_init(ngx_si_limit_node_t *node, int64_t now)
{
    ngx_memzero(node, sizeof(ngx_si_quota_t));

    ((ngx_si_quota_t *) node)->since = now;
}


ngx_uint_t
ngx_si_quota_idle(ngx_si_limit_node_t *node, int64_t now)
{
    ngx_si_quota_t  *q = (ngx_si_quota_t *) node;

    return q->lease == 0 && q->debt == 0 && !q->asking
           && now - q->since > NGX_SI_QUOTA_LIFE;
}


void
ngx_si_quota_forget(ngx_si_limit_node_t *node)
{
    ngx_si_quota_t  *q = (ngx_si_quota_t *) node;

    if (q->lease) {
        ngx_queue_remove(&q->leases);
    }
}


static void
ngx_si_quota_lease(ngx_si_limit_zone_t *zone, ngx_si_quota_t *q,
    uint32_t lease, int64_t now)
{
    ngx_si_quota_forget(&q->node);

    q->lease = lease;
    q->until = now + NGX_SI_QUOTA_LIFE;

    if (lease) {
        ngx_queue_insert_tail(&zone->sh->leases, &q->leases);
    }
}


void
ngx_si_quota_send(ngx_si_limit_zone_t *zone, si_ask_t *ask)
{
    u_char         *p;
    ngx_si_link_t  *link;

    ask->interval = zone->interval;
    ask->bucket = zone->bucket;
    ask->name = zone->shm->shm.name.data;
    ask->name_len = (uint8_t) zone->shm->shm.name.len;

    link = *zone->asker ? ngx_si_quota_link(*zone->asker) : NULL;
    p = link ? ngx_si_frame_add(link, SI_F_ASK, 0, 0,
                                SI_ASK_HEAD + ask->name_len)
             : NULL;
    if (p) {
        si_ask_put(p, ask);
        return;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    ngx_si_quota_degrade(zone, 1);

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


static ngx_si_link_t *
ngx_si_quota_link(ngx_si_proc_t *proc)
{
    ngx_str_t        none = ngx_null_string;
    ngx_uint_t       i;
    ngx_si_link_t   *link;
    ngx_si_pool_t  **pools = proc->conf->pools.elts;

    link = proc->quota_slot ? proc->quota_slot->link : NULL;

    if (link && link->state == NGX_SI_LINK_UP && link->reason == NULL
        && link->out_size < NGX_SI_OUT_SOFT)
    {
        return link;
    }

    link = NULL;

    for (i = 0; link == NULL && i < proc->conf->pools.nelts; i++) {
        link = ngx_si_pool_pick(pools[i], &none, -1);
    }

    return link;
}


const char *
ngx_si_quota_grant(ngx_si_link_t *link, ngx_str_t *text)
{
    ngx_str_t             *name;
    si_grant_t             g;
    ngx_uint_t             i;
    ngx_si_proc_t         *proc = link->pool->proc;
    ngx_si_limit_zone_t  **zone = proc->conf->limit_zones.elts;

    if (!si_grant_get(text->data, text->len, &g)) {
        return "malformed GRANT";
    }

    if (!g.away) {
        proc->quota_slot = link->slot;

    } else if (proc->quota_slot == link->slot) {
        proc->quota_slot = NULL;
    }

    for (i = 0; i < proc->conf->limit_zones.nelts; i++) {
        name = &zone[i]->shm->shm.name;

        if (zone[i]->cluster && name->len == g.name_len
            && ngx_memcmp(name->data, g.name, g.name_len) == 0)
        {
            ngx_shmtx_lock(&zone[i]->shpool->mutex);

            ngx_si_quota_take(zone[i], &g);

            ngx_shmtx_unlock(&zone[i]->shpool->mutex);
        }
    }

    return NULL;
}


static void
ngx_si_quota_take(ngx_si_limit_zone_t *zone, si_grant_t *g)
{
    int64_t                 now;
    ngx_si_quota_t         *q;
    ngx_si_limit_shared_t  *sh = zone->sh;

    now = ngx_si_limit_now();

    if (g->nodes) {
        sh->stat.nodes = ngx_min(g->nodes, NGX_SI_QUOTA_NODES);
    }

    if (!g->away) {
        ngx_si_quota_degrade(zone, 0);

        sh->heard = now;
        sh->aways = 0;
        sh->probe_at = now + (g->nodes ? NGX_SI_QUOTA_QUIET
                                       : NGX_SI_QUOTA_PROBE);

    } else if (++sh->aways >= NGX_SI_QUOTA_AWAYS) {
        ngx_si_quota_degrade(zone, 1);

    } else {
        sh->probe_at = ngx_min(sh->probe_at, now + NGX_SI_QUOTA_PROBE);
    }

    q = (ngx_si_quota_t *) ngx_si_tree_find(&sh->tree, g->key);

    if (q) {
        ngx_si_quota_answer(zone, q, g, now);
    }
}


static void
ngx_si_quota_answer(ngx_si_limit_zone_t *zone, ngx_si_quota_t *q,
    si_grant_t *g, int64_t now)
{
    int64_t  wait;

    q->asking = 0;
    q->lapses = 0;
    q->ask_at = now;

    if (g->away) {
        q->debt += q->told;
        q->told = 0;
        q->ask_at += NGX_SI_QUOTA_PAUSES;
        return;
    }

    q->told = 0;

    q->node.tat = now + ngx_min((int64_t) g->level, zone->bucket)
                  + q->debt * zone->interval;

    if (g->granted) {
        ngx_si_quota_lease(zone, q, q->lease + g->granted, now);
        zone->sh->stat.granted++;
    }

    if (g->granted < g->want) {
        zone->sh->stat.denied += g->granted == 0;

        wait = (int64_t) g->level + zone->interval - zone->bucket;
        q->ask_at += ngx_min(ngx_max(wait, NGX_SI_QUOTA_PAUSE),
                             NGX_SI_QUOTA_PAUSES);
    }
}


static void
ngx_si_quota_degrade(ngx_si_limit_zone_t *zone, ngx_uint_t degraded)
{
    if (zone->sh->stat.degraded == degraded) {
        return;
    }

    zone->sh->stat.degraded = degraded;

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "si limit zone \"%V\" %s", &zone->shm->shm.name,
                  degraded ? "has no word from Redis: this node has its share"
                           : "has the budget of the cluster again");
}
