
/*
 * The shared part of a rate limit: GCRA (ITU-T I.371), one theoretical
 * arrival time (TAT) for each key.  A request passes while the TAT is less
 * than a bucket away, and moves it on by one interval.
 *
 * Time is the monotonic clock of the machine in ns, read anew for each
 * request: processes agree on it, and 1 us would be too coarse for an
 * interval (300,000 r/s would be a tenth off).
 *
 * A key is the first 8 bytes of its SHA-256: no credential is kept, and nodes
 * of a zone are of one size, so that one can become another.
 */


#include "ngx_si_module.h"


#define NGX_SI_LIMIT_LAYOUT  4


static void ngx_si_limit_look(ngx_si_limit_look_t *look, int64_t now);
static void ngx_si_limit_count(ngx_si_limit_look_t *look, ngx_uint_t pass,
    int64_t now);
static ngx_si_limit_node_t *ngx_si_limit_node(ngx_si_limit_zone_t *zone,
    int64_t now);


ngx_uint_t
ngx_si_limit_charge(ngx_si_limit_look_t *look, ngx_uint_t n)
{
    int64_t     now;
    ngx_uint_t  i, pass;

    /* a location's limits are in the order of their names: no deadlock */

    for (i = 0; i < n; i++) {
        ngx_shmtx_lock(&look[i].limit->zone->shpool->mutex);
    }

    now = ngx_si_limit_now();
    pass = 1;

    for (i = 0; i < n; i++) {
        ngx_si_limit_look(&look[i], now);

        if (look[i].wait && !look[i].limit->dry_run) {
            pass = 0;
        }
    }

    for (i = 0; i < n; i++) {
        ngx_si_limit_count(&look[i], pass, now);

        if (look[i].limit->zone->cluster) {
            ngx_si_quota_want(&look[i], now);
        }
    }

    while (i--) {
        ngx_shmtx_unlock(&look[i].limit->zone->shpool->mutex);
    }

    for (i = 0; i < n; i++) {
        if (look[i].asks) {
            ngx_si_quota_send(look[i].limit->zone, &look[i].ask);
        }
    }

    return pass;
}


/*
 * Until `full` some key may have an empty bucket; as long as none has, nothing
 * is written, and nobody waits.
 */

ngx_uint_t
ngx_si_limit_failed(ngx_si_limit_look_t *look)
{
    int64_t               now;
    ngx_si_limit_zone_t  *zone = look->limit->zone;

    now = ngx_si_limit_now();

    if ((int64_t) zone->sh->full <= now) {
        return 0;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    ngx_si_limit_look(look, now);

    if (look->wait) {
        ngx_si_limit_count(look, 0, now);
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return look->wait && !look->limit->dry_run;
}


/* those that were under way together are not charged beyond the bucket */

void
ngx_si_limit_fail(ngx_si_limit_look_t *look)
{
    int64_t               now, full;
    ngx_si_limit_zone_t  *zone = look->limit->zone;

    ngx_shmtx_lock(&zone->shpool->mutex);

    now = ngx_si_limit_now();
    ngx_si_limit_look(look, now);

    if (look->wait == 0) {
        ngx_si_limit_count(look, 1, now);
    }

    full = now + look->used + 2 * zone->interval - zone->bucket;

    if (full > (int64_t) zone->sh->full) {
        zone->sh->full = full;
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


int64_t
ngx_si_limit_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec * NGX_SI_LIMIT_SECOND + ts.tv_nsec;
}


static void
ngx_si_limit_look(ngx_si_limit_look_t *look, int64_t now)
{
    int64_t               used;
    ngx_si_limit_zone_t  *zone = look->limit->zone;

    look->node = (ngx_si_limit_node_t *) ngx_si_tree_find(&zone->sh->tree,
                                                          look->key);

    used = look->node ? look->node->tat - now : 0;

    if (used > zone->bucket) {
        /* it did more at a slower rate, before a reload, than this one takes */
        used = zone->bucket;
        look->node->tat = now + used;
    }

    used = ngx_max(used, 0);

    look->used = used;
    look->cost = zone->interval;
    look->share = 0;
    look->asks = 0;

    if (zone->cluster) {
        ngx_si_quota_look(look, now);
    }

    look->wait = ngx_max(look->used + look->cost - zone->bucket, 0);
}


/* what a limit refused, by itself or for another, is not charged */

static void
ngx_si_limit_count(ngx_si_limit_look_t *look, ngx_uint_t pass, int64_t now)
{
    ngx_si_limit_zone_t    *zone = look->limit->zone;
    ngx_si_limit_node_t    *node = look->node;
    ngx_si_limit_shared_t  *sh = zone->sh;

    if (look->wait) {
        sh->stat.dry_run += look->limit->dry_run;
        sh->stat.limited += !look->limit->dry_run;
        return;
    }

    if (!pass) {
        return;
    }

    sh->stat.passed++;

    if (node) {
        ngx_queue_remove(&node->queue);

    } else {
        node = ngx_si_limit_node(zone, now);
        if (node == NULL) {
            return;
        }

        node->node.key = look->key;
        ngx_rbtree_insert(&sh->tree, &node->node);
        look->node = node;
    }

    ngx_queue_insert_head(&sh->queue, &node->queue);

    if (zone->cluster) {
        ngx_si_quota_spend(look, now);

    } else {
        node->tat = now + look->used + zone->interval;
    }
}


/*
 * A node that is in no list: that of the key charged longest ago if its
 * bucket is full again, as it says nothing then; a new one; or the former
 * all the same.  NULL only if the zone is too small for a single key.
 */

static ngx_si_limit_node_t *
ngx_si_limit_node(ngx_si_limit_zone_t *zone, int64_t now)
{
    ngx_si_limit_node_t    *node, *oldest;
    ngx_si_limit_shared_t  *sh = zone->sh;

    node = NULL;
    oldest = NULL;

    if (!ngx_queue_empty(&sh->queue)) {
        oldest = ngx_queue_data(ngx_queue_last(&sh->queue),
                                ngx_si_limit_node_t, queue);
    }

    if (oldest == NULL || oldest->tat > now
        || (zone->cluster && !ngx_si_quota_idle(oldest, now)))
    {
        node = ngx_slab_alloc_locked(zone->shpool,
                                     zone->cluster
                                         ? sizeof(ngx_si_quota_t)
                                         : sizeof(ngx_si_limit_node_t));
        if (node) {
            sh->stat.keys++;
            oldest = NULL;

        } else {
            sh->stat.no_room += (oldest != NULL);
        }
    }

    if (oldest) {
        ngx_queue_remove(&oldest->queue);
        ngx_rbtree_delete(&sh->tree, &oldest->node);
        node = oldest;
    }

    if (node && zone->cluster) {
        if (oldest) {
            ngx_si_quota_forget(node);
        }

        ngx_si_quota_init(node, now);
    }

    return node;
}


void
ngx_si_limit_stat(ngx_si_limit_zone_t *zone, ngx_si_limit_stat_t *stat)
{
    ngx_shmtx_lock(&zone->shpool->mutex);

    *stat = zone->sh->stat;

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


/* at a reload the state stays; a changed rate counts from then on */

ngx_int_t
ngx_si_limit_zone_init(ngx_shm_zone_t *shm, void *data)
{
    ngx_si_limit_zone_t    *old = data;

    ngx_si_limit_zone_t    *zone;
    ngx_si_limit_shared_t  *sh;

    zone = shm->data;
    zone->shpool = (ngx_slab_pool_t *) shm->shm.addr;

    if (old && (old->text.len != zone->text.len
                || ngx_strncmp(old->text.data, zone->text.data,
                               old->text.len) != 0))
    {
        ngx_log_error(NGX_LOG_EMERG, shm->shm.log, 0,
                      "si limit zone \"%V\" has the key \"%V\" while "
                      "previously it had \"%V\": give it another name",
                      &shm->shm.name, &zone->text, &old->text);
        return NGX_ERROR;
    }

    if (old || shm->shm.exists) {
        sh = zone->shpool->data;
        zone->sh = sh;

        if (sh->layout == NGX_SI_LIMIT_LAYOUT
            && sh->streams == (zone->streams > 0)
            && sh->cluster == zone->cluster)
        {
            return NGX_OK;
        }

        ngx_log_error(NGX_LOG_EMERG, shm->shm.log, 0,
                      "si limit zone \"%V\" has another layout: give it "
                      "another name or restart nginx", &shm->shm.name);
        return NGX_ERROR;
    }

    sh = ngx_slab_calloc(zone->shpool, sizeof(ngx_si_limit_shared_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    sh->layout = NGX_SI_LIMIT_LAYOUT;
    sh->streams = zone->streams > 0;
    sh->cluster = zone->cluster;

    ngx_rbtree_init(&sh->tree, &sh->sentinel, ngx_rbtree_insert_value);
    ngx_queue_init(&sh->queue);
    ngx_queue_init(&sh->leases);

    /* a full zone is nothing to log: see the counter of evictions */
    zone->shpool->log_nomem = 0;

    zone->shpool->data = sh;
    zone->sh = sh;

    return NGX_OK;
}
