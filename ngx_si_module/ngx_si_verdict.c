
/*
 * What workers say of API keys, kept by SHA-256 in a zone that all nginx
 * processes share.  A key that nobody has is refused here; what is known of
 * a good one goes to the worker in the key's place, and that decides whether
 * it still counts: no message that is lost here can let a revoked key in.
 * A reload keeps the zone.
 *
 * The tree is of the core and keyed by a part of the digest, since its insert
 * function must be the same for the module of a later reload.  Two keys of
 * the same part, of which there are none in practice, displace each other.
 */


#include "ngx_si_module.h"


#define NGX_SI_VERDICT_LAYOUT  1
#define NGX_SI_VERDICT_ZONE    (4 << 20)
#define NGX_SI_VERDICT_LEAST   (64 << 10)

#define NGX_SI_VERDICT_KEY     52       /* bytes of a key, as in store/key.h */


typedef struct {
    ngx_rbtree_node_t         node;
    ngx_queue_t               queue;    /* good or bad; last used first */
    ngx_uint_t                pool;     /* whose workers said so */
    uint64_t                  at;
    uint64_t                  end;      /* ms, then it is of no use */
    ngx_uint_t                good;
    size_t                    len;
    u_char                    text[1];  /* si_verdict_put() */
} ngx_si_verdict_node_t;


typedef struct {
    ngx_uint_t                layout;   /* first for ever */
    ngx_rbtree_t              tree;
    ngx_rbtree_node_t         sentinel;
    ngx_queue_t               good;
    ngx_queue_t               bad;
    ngx_si_verdict_stat_t     stat;
} ngx_si_verdict_zone_t;


static ngx_int_t ngx_si_verdict_zone_init(ngx_shm_zone_t *shm, void *data);
static uint64_t ngx_si_verdict_now(void);
static ngx_uint_t ngx_si_verdict_pool(ngx_si_pool_t *pool);
static ngx_rbtree_key_t ngx_si_verdict_key(const u_char *digest,
    ngx_uint_t pool);
static ngx_si_verdict_node_t *ngx_si_verdict_look(ngx_si_verdict_zone_t *z,
    const u_char *digest, ngx_uint_t pool);
static size_t ngx_si_verdict_copy(ngx_shm_zone_t *shm, const u_char *digest,
    ngx_uint_t pool, u_char *text);
static void ngx_si_verdict_drop(ngx_shm_zone_t *shm,
    ngx_si_verdict_node_t *n);
static ngx_si_verdict_node_t *ngx_si_verdict_room(ngx_shm_zone_t *shm,
    size_t size, ngx_uint_t good);
static ngx_uint_t ngx_si_verdict_evict(ngx_shm_zone_t *shm, ngx_queue_t *from,
    uint64_t now);


/* si_auth_cache SIZE; */

char *
ngx_si_verdict_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ssize_t              size;
    ngx_str_t           *value = cf->args->elts;
    ngx_si_main_conf_t  *smcf = conf;

    if (smcf->verdict_size) {
        return "is duplicate";
    }

    size = ngx_parse_size(&value[1]);

    if (size < NGX_SI_VERDICT_LEAST) {
        return "expects a size of 64k at least";
    }

    smcf->verdict_size = size;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_si_verdict_init(ngx_conf_t *cf, ngx_si_main_conf_t *smcf)
{
    ngx_str_t  name = ngx_string("si_auth_cache");

    smcf->verdicts = ngx_shared_memory_add(cf, &name,
                                           smcf->verdict_size
                                               ? smcf->verdict_size
                                               : NGX_SI_VERDICT_ZONE,
                                           &ngx_si_module);
    if (smcf->verdicts == NULL) {
        return NGX_ERROR;
    }

    smcf->verdicts->init = ngx_si_verdict_zone_init;

    return NGX_OK;
}


static ngx_int_t
ngx_si_verdict_zone_init(ngx_shm_zone_t *shm, void *data)
{
    ngx_slab_pool_t        *shpool = (ngx_slab_pool_t *) shm->shm.addr;
    ngx_si_verdict_zone_t  *z;

    z = data ? data : shm->shm.exists ? shpool->data : NULL;

    if (z == NULL) {
        z = ngx_slab_calloc(shpool, sizeof(ngx_si_verdict_zone_t));
        if (z == NULL) {
            return NGX_ERROR;
        }

        z->layout = NGX_SI_VERDICT_LAYOUT;
        ngx_rbtree_init(&z->tree, &z->sentinel, ngx_rbtree_insert_value);
        ngx_queue_init(&z->good);
        ngx_queue_init(&z->bad);

        /* a full zone forgets the oldest: that is counted */
        shpool->log_nomem = 0;
        shpool->data = z;

    } else if (z->layout != NGX_SI_VERDICT_LAYOUT) {
        ngx_log_error(NGX_LOG_EMERG, shm->shm.log, 0,
                      "si verdicts have layout %ui, this module needs %d: "
                      "restart nginx", z->layout, NGX_SI_VERDICT_LAYOUT);
        return NGX_ERROR;
    }

    shm->data = z;

    return NGX_OK;
}


/* the clock of si_verdict_t */

static uint64_t
ngx_si_verdict_now(void)
{
    return (uint64_t) ngx_si_limit_now() / 1000000;
}


/* pools may be of two systems: a key of one says nothing in the other */

static ngx_uint_t
ngx_si_verdict_pool(ngx_si_pool_t *pool)
{
    return (ngx_uint_t) ngx_crc32_long(pool->name.data, pool->name.len) << 32
           | ngx_murmur_hash2(pool->name.data, pool->name.len);
}


static ngx_rbtree_key_t
ngx_si_verdict_key(const u_char *digest, ngx_uint_t pool)
{
    return (ngx_rbtree_key_t) si_get64(digest) ^ pool;
}


static ngx_si_verdict_node_t *
ngx_si_verdict_look(ngx_si_verdict_zone_t *z, const u_char *digest,
    ngx_uint_t pool)
{
    ngx_si_verdict_node_t  *n;

    n = (ngx_si_verdict_node_t *)
            ngx_si_tree_find(&z->tree, ngx_si_verdict_key(digest, pool));

    return n && n->pool == pool
           && ngx_memcmp(n->text, digest, SI_DIGEST) == 0 ? n : NULL;
}


/* bytes of it, 0: none is known */

static size_t
ngx_si_verdict_copy(ngx_shm_zone_t *shm, const u_char *digest,
    ngx_uint_t pool, u_char *text)
{
    size_t                  len;
    uint64_t                now;
    ngx_slab_pool_t        *shpool = (ngx_slab_pool_t *) shm->shm.addr;
    ngx_si_verdict_node_t  *n;
    ngx_si_verdict_zone_t  *z = shm->data;

    len = 0;
    now = ngx_si_verdict_now();
    ngx_shmtx_lock(&shpool->mutex);

    n = ngx_si_verdict_look(z, digest, pool);

    if (n && now < n->end) {
        len = n->len;
        ngx_memcpy(text, n->text, len);

        ngx_queue_remove(&n->queue);
        ngx_queue_insert_head(n->good ? &z->good : &z->bad, &n->queue);
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return len;
}


/*
 * NGX_OK: the request goes on with a verdict; NGX_DECLINED: a worker must see
 * the key; NGX_ABORT: it is no key of anybody; NGX_ERROR: no memory.
 */

ngx_int_t
ngx_si_verdict_find(ngx_http_request_t *r, ngx_si_pool_t *pool,
    ngx_str_t *key)
{
    size_t               len;
    u_char               digest[SI_DIGEST], text[SI_VERDICT_MAX];
    ngx_si_ctx_t        *ctx;
    si_verdict_t         v;
    ngx_si_main_conf_t  *smcf;

    ctx = ngx_si_ctx_get(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (ctx->looked) {
        /* a variable has asked before */
        return ctx->nobody ? NGX_ABORT
                           : ctx->verdict.len ? NGX_OK : NGX_DECLINED;
    }

    ctx->looked = 1;
    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);

    if (key->len != NGX_SI_VERDICT_KEY
        || ngx_memcmp(key->data, "sk_si_", 6) != 0
        || ngx_si_digest(smcf->md, key, 1, digest) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    len = ngx_si_verdict_copy(smcf->verdicts, digest,
                              ngx_si_verdict_pool(pool), text);

    if (len == 0 || !si_verdict_get(text, len, &v)) {
        ngx_si_count(smcf->proc, NGX_SI_KEY_UNKNOWN, 1);
        return NGX_DECLINED;
    }

    if (!v.good) {
        ngx_si_count(smcf->proc, NGX_SI_KEY_REFUSED, 1);
        ctx->nobody = 1;
        return NGX_ABORT;
    }

    ngx_si_count(smcf->proc, NGX_SI_KEY_KNOWN, 1);

    /* a reader, who stays for hours, gives it back: see below */
    ctx->verdict.data = ngx_pmemalign(r->pool, len, NGX_ALIGNMENT);
    if (ctx->verdict.data == NULL) {
        return NGX_ERROR;
    }

    ctx->verdict.len = len;
    ngx_memcpy(ctx->verdict.data, text, len);

    (void) si_verdict_get(ctx->verdict.data, len, &v);

    ctx->tenant.data = (u_char *) v.tenant;
    ctx->tenant.len = SI_UUID;
    ctx->user.data = (u_char *) v.user;
    ctx->user.len = SI_UUID;
    ctx->credential.data = (u_char *) v.key_id;
    ctx->credential.len = SI_UUID;
    ngx_str_set(&ctx->auth, "cached");

    return NGX_OK;
}


/* the worker has answered, and its HEAD says who it was */

void
ngx_si_verdict_free(ngx_si_ctx_t *ctx)
{
    if (ctx->verdict.len) {
        (void) ngx_pfree(ctx->request->pool, ctx->verdict.data);
        ngx_str_null(&ctx->verdict);
        ngx_str_null(&ctx->tenant);
        ngx_str_null(&ctx->user);
        ngx_str_null(&ctx->credential);
    }
}


/* of two that come by several links the one asked for last counts */

const char *
ngx_si_verdict_push(ngx_si_link_t *link, const u_char *p, size_t len)
{
    ngx_uint_t              pool;
    si_verdict_t            v;
    ngx_shm_zone_t         *shm = link->pool->proc->conf->verdicts;
    ngx_slab_pool_t        *shpool = (ngx_slab_pool_t *) shm->shm.addr;
    ngx_si_verdict_node_t  *n;
    ngx_si_verdict_zone_t  *z = shm->data;

    if (!si_verdict_get(p, len, &v)) {
        return "malformed PUSH";
    }

    pool = ngx_si_verdict_pool(link->pool);
    ngx_shmtx_lock(&shpool->mutex);

    n = (ngx_si_verdict_node_t *)
            ngx_si_tree_find(&z->tree, ngx_si_verdict_key(v.digest, pool));

    if (n && v.at < n->at && ngx_si_verdict_look(z, v.digest, pool)) {
        goto done;
    }

    if (n) {
        ngx_si_verdict_drop(shm, n);
    }

    if (v.life == 0) {
        goto done;
    }

    n = ngx_si_verdict_room(shm, offsetof(ngx_si_verdict_node_t, text) + len,
                            v.good);
    if (n == NULL) {
        goto done;
    }

    n->node.key = ngx_si_verdict_key(v.digest, pool);
    n->pool = pool;
    n->at = v.at;
    n->end = v.at + v.life;
    n->good = v.good;
    n->len = len;
    ngx_memcpy(n->text, p, len);

    ngx_rbtree_insert(&z->tree, &n->node);
    ngx_queue_insert_head(v.good ? &z->good : &z->bad, &n->queue);
    z->stat.good += v.good;
    z->stat.bad += !v.good;

done:

    ngx_shmtx_unlock(&shpool->mutex);

    return NULL;
}


static void
ngx_si_verdict_drop(ngx_shm_zone_t *shm, ngx_si_verdict_node_t *n)
{
    ngx_si_verdict_zone_t  *z = shm->data;

    ngx_rbtree_delete(&z->tree, &n->node);
    ngx_queue_remove(&n->queue);
    z->stat.good -= n->good;
    z->stat.bad -= !n->good;
    ngx_slab_free_locked((ngx_slab_pool_t *) shm->shm.addr, n);
}


/*
 * What is of no use any more goes; then keys that nobody has, so that whoever
 * tries keys out forgets only his own; then the good one used longest ago.
 */

static ngx_si_verdict_node_t *
ngx_si_verdict_room(ngx_shm_zone_t *shm, size_t size, ngx_uint_t good)
{
    uint64_t                now;
    ngx_slab_pool_t        *shpool = (ngx_slab_pool_t *) shm->shm.addr;
    ngx_si_verdict_node_t  *n;
    ngx_si_verdict_zone_t  *z = shm->data;

    now = ngx_si_verdict_now();
    (void) ngx_si_verdict_evict(shm, &z->bad, now);
    (void) ngx_si_verdict_evict(shm, &z->good, now);

    for ( ;; ) {
        n = ngx_slab_alloc_locked(shpool, size);

        if (n) {
            return n;
        }

        if (!ngx_si_verdict_evict(shm, &z->bad, NGX_MAX_INT_T_VALUE)
            && (!good
                || !ngx_si_verdict_evict(shm, &z->good,
                                         NGX_MAX_INT_T_VALUE)))
        {
            return NULL;
        }

        z->stat.evicted++;
    }
}


/* the one used longest ago, if it is over by then */

static ngx_uint_t
ngx_si_verdict_evict(ngx_shm_zone_t *shm, ngx_queue_t *from, uint64_t now)
{
    ngx_si_verdict_node_t  *n;

    if (ngx_queue_empty(from)) {
        return 0;
    }

    n = ngx_queue_data(ngx_queue_last(from), ngx_si_verdict_node_t, queue);

    if (now < n->end) {
        return 0;
    }

    ngx_si_verdict_drop(shm, n);

    return 1;
}


void
ngx_si_verdict_stat(ngx_shm_zone_t *shm, ngx_si_verdict_stat_t *stat)
{
    ngx_slab_pool_t        *shpool = (ngx_slab_pool_t *) shm->shm.addr;
    ngx_si_verdict_zone_t  *z = shm->data;

    ngx_shmtx_lock(&shpool->mutex);

    *stat = z->stat;

    ngx_shmtx_unlock(&shpool->mutex);
}
