
/*
 * Streams at once.  Each process counts its own for each key, in a tree of
 * its own, so that what a killed one had is forgotten with it.  A stream
 * counts from its request, or its header, until its client has gone.
 */


#include "ngx_si_module.h"


/* a key in one process */

struct ngx_si_limit_count_s {
    ngx_rbtree_node_t         node;     /* key is the digest of the key */
    ngx_uint_t                count;
};


/* a process, in the zone's queue */

struct ngx_si_limit_proc_s {
    ngx_queue_t               queue;
    ngx_pid_t                 pid;
    ngx_rbtree_t              tree;     /* of ngx_si_limit_count_t */
    ngx_rbtree_node_t         sentinel;
};


static ngx_int_t ngx_si_limit_take(ngx_si_limit_t *limit,
    ngx_rbtree_key_t key, ngx_si_limit_count_t **held);
static ngx_uint_t ngx_si_limit_sum(ngx_si_limit_zone_t *zone,
    ngx_rbtree_key_t key);
static void ngx_si_limit_forget(ngx_si_limit_zone_t *zone,
    ngx_si_limit_proc_t *proc);
static ngx_si_limit_count_t *ngx_si_limit_own(ngx_si_limit_zone_t *zone,
    ngx_rbtree_key_t key);
static ngx_si_limit_proc_t *ngx_si_limit_proc(ngx_si_limit_zone_t *zone);


ngx_uint_t
ngx_si_limit_streams_asked(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    h = ngx_si_header_in(r, "accept", 6, NULL);

    return (h && ngx_strlcasestrn(h->value.data, h->value.data + h->value.len,
                                  (u_char *) "text/event-stream", 17 - 1))
           || ngx_si_socket_asked(r);
}


/* a key that was not known yet, as the user of an API key, is counted later */

ngx_int_t
ngx_si_limit_streams(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_uint_t           i;
    ngx_array_t         *a;
    ngx_si_limit_t      *limit;
    ngx_rbtree_key_t     key;
    ngx_si_loc_conf_t   *slcf;
    ngx_si_limit_ctx_t  *ctx;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);
    a = slcf->limits.of[NGX_SI_LIMIT_STREAMS];

    if (a == NULL || a->nelts == 0) {
        return NGX_OK;
    }

    ctx = ngx_si_limit_get(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (ctx->streams != a) {
        /* it came by way of another location */
        return NGX_OK;
    }

    limit = a->elts;

    for (i = 0; i < a->nelts; i++) {

        if (ctx->held[i]) {
            continue;
        }

        rc = ngx_si_limit_key(r, limit[i].zone, &key);

        if (rc == NGX_OK) {
            rc = ngx_si_limit_take(&limit[i], key, &ctx->held[i]);
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_BUSY) {
            ngx_si_limit_log(r, &limit[i]);
            ctx->status = NGX_SI_LIMIT_DRY_RUN;

            if (!limit[i].dry_run) {
                ctx->retry = NGX_SI_LIMIT_STREAMS_RETRY;
                return NGX_BUSY;
            }

        } else if (ctx->status == NGX_SI_LIMIT_NONE) {
            ctx->status = NGX_SI_LIMIT_PASSED;
        }
    }

    return NGX_OK;
}


void
ngx_si_limit_streams_give(ngx_si_limit_ctx_t *ctx)
{
    ngx_uint_t             i;
    ngx_si_limit_t        *limit;
    ngx_si_limit_zone_t   *zone;
    ngx_si_limit_count_t  *count;

    for (i = 0; ctx->streams && i < ctx->streams->nelts; i++) {
        limit = ctx->streams->elts;
        zone = limit[i].zone;
        count = ctx->held[i];

        if (count == NULL) {
            continue;
        }

        ngx_shmtx_lock(&zone->shpool->mutex);

        if (--count->count == 0) {
            ngx_rbtree_delete(&zone->proc->tree, &count->node);
            ngx_slab_free_locked(zone->shpool, count);
            zone->sh->stat.keys--;
        }

        ngx_shmtx_unlock(&zone->shpool->mutex);
    }
}


/* NGX_BUSY: there are too many; a dry run counts it all the same */

static ngx_int_t
ngx_si_limit_take(ngx_si_limit_t *limit, ngx_rbtree_key_t key,
    ngx_si_limit_count_t **held)
{
    ngx_uint_t              busy;
    ngx_si_limit_zone_t    *zone = limit->zone;
    ngx_si_limit_stat_t    *stat = &zone->sh->stat;

    ngx_shmtx_lock(&zone->shpool->mutex);

    busy = ngx_si_limit_sum(zone, key) >= zone->streams;

    stat->limited += busy && !limit->dry_run;
    stat->dry_run += busy && limit->dry_run;
    stat->passed += !busy;

    if (!busy || limit->dry_run) {
        *held = ngx_si_limit_own(zone, key);

        if (*held) {
            (*held)->count++;

        } else {
            stat->no_room++;
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return busy ? NGX_BUSY : NGX_OK;
}


/* a process that has our number and is not this one is gone, too */

static ngx_uint_t
ngx_si_limit_sum(ngx_si_limit_zone_t *zone, ngx_rbtree_key_t key)
{
    ngx_uint_t            n;
    ngx_queue_t          *q, *next, *queue = &zone->sh->queue;
    ngx_rbtree_node_t    *node;
    ngx_si_limit_proc_t  *proc;

    n = 0;

    for (q = ngx_queue_head(queue); q != queue; q = next) {
        next = ngx_queue_next(q);
        proc = ngx_queue_data(q, ngx_si_limit_proc_t, queue);

        if (proc != zone->proc
            && (proc->pid == ngx_pid
                || (kill(proc->pid, 0) == -1 && ngx_errno == NGX_ESRCH)))
        {
            ngx_si_limit_forget(zone, proc);
            continue;
        }

        node = ngx_si_tree_find(&proc->tree, key);
        n += node ? ((ngx_si_limit_count_t *) node)->count : 0;
    }

    return n;
}


static void
ngx_si_limit_forget(ngx_si_limit_zone_t *zone, ngx_si_limit_proc_t *proc)
{
    ngx_rbtree_node_t  *node;

    while (proc->tree.root != &proc->sentinel) {
        node = proc->tree.root;
        ngx_rbtree_delete(&proc->tree, node);
        ngx_slab_free_locked(zone->shpool, node);
        zone->sh->stat.keys--;
    }

    ngx_queue_remove(&proc->queue);
    ngx_slab_free_locked(zone->shpool, proc);
}


/* NULL: no room */

static ngx_si_limit_count_t *
ngx_si_limit_own(ngx_si_limit_zone_t *zone, ngx_rbtree_key_t key)
{
    ngx_rbtree_node_t     *node;
    ngx_si_limit_proc_t   *proc;
    ngx_si_limit_count_t  *count;

    proc = ngx_si_limit_proc(zone);
    if (proc == NULL) {
        return NULL;
    }

    node = ngx_si_tree_find(&proc->tree, key);
    if (node) {
        return (ngx_si_limit_count_t *) node;
    }

    count = ngx_slab_alloc_locked(zone->shpool, sizeof(ngx_si_limit_count_t));

    if (count) {
        count->node.key = key;
        count->count = 0;
        ngx_rbtree_insert(&proc->tree, &count->node);
        zone->sh->stat.keys++;
    }

    return count;
}


static ngx_si_limit_proc_t *
ngx_si_limit_proc(ngx_si_limit_zone_t *zone)
{
    ngx_si_limit_proc_t  *proc = zone->proc;

    if (proc == NULL) {
        proc = ngx_slab_alloc_locked(zone->shpool,
                                     sizeof(ngx_si_limit_proc_t));
        if (proc == NULL) {
            return NULL;
        }

        proc->pid = ngx_pid;
        ngx_rbtree_init(&proc->tree, &proc->sentinel,
                        ngx_rbtree_insert_value);
        ngx_queue_insert_tail(&zone->sh->queue, &proc->queue);

        zone->proc = proc;
    }

    return proc;
}
