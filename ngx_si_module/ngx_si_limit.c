
/*
 * Limits of a location: asked in the phase PREACCESS, before it is known who
 * is calling, and told in the header of every answer.  A request is charged
 * once, wherever internal redirects lead it.
 */


#include "ngx_si_module.h"


static ngx_int_t ngx_si_limit_handler(ngx_http_request_t *r);
static ngx_int_t ngx_si_limit_looks(ngx_http_request_t *r, ngx_array_t *a,
    ngx_si_limit_look_t *look);
static ngx_int_t ngx_si_limit_failures(ngx_http_request_t *r,
    ngx_array_t *a);
static ngx_int_t ngx_si_limit_rate(ngx_http_request_t *r,
    ngx_si_limits_t *limits);
static void *ngx_si_limit_room(ngx_http_request_t *r, size_t size);
static void ngx_si_limit_cleanup(void *data);
static void ngx_si_limit_tell(ngx_si_limit_ctx_t *ctx,
    ngx_si_limit_look_t *look, ngx_uint_t pass);
static ngx_int_t ngx_si_limit_refuse(ngx_http_request_t *r,
    ngx_si_limit_ctx_t *ctx, const char *code, const char *detail);
static ngx_int_t ngx_si_limit_answer(ngx_http_request_t *r,
    ngx_si_limit_ctx_t *ctx, const char *code, const char *detail);
static ngx_int_t ngx_si_limit_header(ngx_http_request_t *r);
static ngx_int_t ngx_si_limit_fields_add(ngx_http_request_t *r);


static ngx_http_output_header_filter_pt  ngx_si_limit_next_header;

static ngx_str_t  ngx_si_limit_policy_name = ngx_string("RateLimit-Policy");
static ngx_str_t  ngx_si_limit_limit_name = ngx_string("RateLimit");
static ngx_str_t  ngx_si_limit_retry_name = ngx_string("Retry-After");

static ngx_str_t  ngx_si_limit_status[] = {
    ngx_string("passed"),
    ngx_string("limited"),
    ngx_string("dry_run")
};


static ngx_int_t
ngx_si_limit_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_array_t        **of;
    ngx_si_loc_conf_t   *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);
    of = slcf->limits.of;
    rc = NGX_DECLINED;

    if (r != r->main) {
        return rc;
    }

    if (of[NGX_SI_LIMIT_FAILURES]) {
        rc = ngx_si_limit_failures(r, of[NGX_SI_LIMIT_FAILURES]);
    }

    if (rc == NGX_DECLINED && of[NGX_SI_LIMIT_RATE]) {
        rc = ngx_si_limit_rate(r, &slcf->limits);
    }

    if (rc == NGX_DECLINED && of[NGX_SI_LIMIT_STREAMS]
        && ngx_si_limit_streams_asked(r))
    {
        rc = ngx_si_limit_streams(r);

        if (rc == NGX_BUSY) {
            return ngx_si_limit_refuse(r, ngx_si_limit_find(r),
                                       NGX_SI_LIMIT_STREAMS_CODE,
                                       NGX_SI_LIMIT_STREAMS_DETAIL);
        }

        rc = rc == NGX_OK ? NGX_DECLINED : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return rc;
}


ngx_int_t
ngx_si_limit_key(ngx_http_request_t *r, ngx_si_limit_zone_t *zone,
    ngx_rbtree_key_t *digest)
{
    u_char                      hash[NGX_SI_AUTH_DIGEST];
    ngx_str_t                   key;
    ngx_si_main_conf_t         *smcf;
    ngx_http_variable_value_t  *v;

    ngx_str_null(&key);

    if (zone->variable == NGX_ERROR) {
        if (ngx_http_complex_value(r, &zone->key, &key) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        /* the answer may have told more than was known before */
        v = ngx_http_get_flushed_variable(r, zone->variable);

        if (v && !v->not_found) {
            key.data = v->data;
            key.len = v->len;
        }
    }

    if (key.len == 0) {
        return NGX_DECLINED;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);

    if (ngx_si_digest(smcf->md, &key, 1, hash) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memcpy(digest, hash, sizeof(ngx_rbtree_key_t));

    return NGX_OK;
}


/* what is to be asked of those limits: how many, or NGX_ERROR */

static ngx_int_t
ngx_si_limit_looks(ngx_http_request_t *r, ngx_array_t *a,
    ngx_si_limit_look_t *look)
{
    ngx_int_t        n, rc;
    ngx_uint_t       i;
    ngx_si_limit_t  *limit = a->elts;

    n = 0;

    for (i = 0; i < a->nelts; i++) {
        rc = ngx_si_limit_key(r, limit[i].zone, &look[n].key);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_OK) {
            look[n++].limit = &limit[i];
        }
    }

    return n;
}


/* whoever failed too often is not listened to */

static ngx_int_t
ngx_si_limit_failures(ngx_http_request_t *r, ngx_array_t *a)
{
    ngx_int_t             i, n;
    ngx_si_limit_ctx_t   *ctx;
    ngx_si_limit_look_t   look[NGX_SI_LIMITS_MAX];

    n = ngx_si_limit_looks(r, a, look);

    if (n == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (i = 0; i < n; i++) {
        look[i].wait = 0;

        if (ngx_si_limit_failed(&look[i])) {
            break;
        }

        if (look[i].wait) {
            ngx_si_limit_log(r, look[i].limit);
        }
    }

    if (i == n) {
        return NGX_DECLINED;
    }

    ngx_si_limit_log(r, look[i].limit);

    ctx = ngx_si_limit_get(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->retry = (uint32_t) ((look[i].wait + NGX_SI_LIMIT_SECOND - 1)
                             / NGX_SI_LIMIT_SECOND);

    return ngx_si_limit_refuse(r, ctx, "too_many_failures",
                               "too many requests from here had no valid "
                               "credential, see Retry-After");
}


static ngx_int_t
ngx_si_limit_rate(ngx_http_request_t *r, ngx_si_limits_t *limits)
{
    ngx_int_t             i, n;
    ngx_uint_t            pass;
    ngx_si_limit_ctx_t   *ctx;
    ngx_si_limit_look_t   look[NGX_SI_LIMITS_MAX];

    ctx = ngx_si_limit_find(r);

    if (ctx && ctx->policy) {
        /* by way of another location */
        return NGX_DECLINED;
    }

    n = ngx_si_limit_looks(r, limits->of[NGX_SI_LIMIT_RATE], look);

    if (n <= 0) {
        return n ? NGX_HTTP_INTERNAL_SERVER_ERROR : NGX_DECLINED;
    }

    ctx = ngx_si_limit_get(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->policy = &limits->policy;
    ctx->status = NGX_SI_LIMIT_PASSED;

    pass = ngx_si_limit_charge(look, n);

    for (i = 0; i < n; i++) {
        if (look[i].wait) {
            ngx_si_limit_log(r, look[i].limit);
        }

        if (!look[i].limit->dry_run) {
            ngx_si_limit_tell(ctx, &look[i], pass);

        } else if (look[i].wait) {
            ctx->status = NGX_SI_LIMIT_DRY_RUN;
        }
    }

    if (pass) {
        return NGX_DECLINED;
    }

    ctx->retry = ctx->reset;

    return ngx_si_limit_refuse(r, ctx, "rate_limited",
                               "too many requests, see RateLimit and "
                               "Retry-After");
}


ngx_si_limit_ctx_t *
ngx_si_limit_get(ngx_http_request_t *r)
{
    size_t               size;
    ngx_pool_cleanup_t  *cln;
    ngx_si_loc_conf_t   *slcf;
    ngx_si_limit_ctx_t  *ctx;

    ctx = ngx_si_limit_find(r);
    if (ctx) {
        return ctx;
    }

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    size = sizeof(ngx_pool_cleanup_t) + offsetof(ngx_si_limit_ctx_t, held);

    if (slcf->limits.of[NGX_SI_LIMIT_STREAMS]) {
        size += slcf->limits.of[NGX_SI_LIMIT_STREAMS]->nelts
                * sizeof(ngx_si_limit_count_t *);
    }

    cln = ngx_si_limit_room(r, size);
    if (cln == NULL) {
        return NULL;
    }

    ngx_memzero(cln, size);

    ctx = (ngx_si_limit_ctx_t *) (cln + 1);
    ctx->streams = slcf->limits.of[NGX_SI_LIMIT_STREAMS];

    cln->handler = ngx_si_limit_cleanup;
    cln->data = ctx;
    cln->next = r->pool->cleanup;
    r->pool->cleanup = cln;

    return ctx;
}


/*
 * nginx makes room for four trailers in every request.  An idle reader, whose
 * pools are just full, has none: the state takes the room of three.
 */

static void *
ngx_si_limit_room(ngx_http_request_t *r, size_t size)
{
    ngx_list_t  *list = &r->headers_out.trailers;

    if (list->nalloc == 4 && list->part.nelts == 0 && list->last == &list->part
        && size <= 3 * list->size)
    {
        list->nalloc = 1;
        return (u_char *) list->part.elts + list->size;
    }

    return ngx_palloc(r->pool, size);
}


/* what the state is found by, as that of realip is */

static void
ngx_si_limit_cleanup(void *data)
{
    ngx_si_limit_streams_give(data);
}


ngx_si_limit_ctx_t *
ngx_si_limit_find(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_si_limit_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


/* the tightest speaks: who refuses the longest, or has the fewest left */

static void
ngx_si_limit_tell(ngx_si_limit_ctx_t *ctx, ngx_si_limit_look_t *look,
    ngx_uint_t pass)
{
    int64_t               used, more;
    uint32_t              left, reset;
    ngx_si_limit_zone_t  *zone = look->limit->zone;

    used = look->used + (pass ? look->cost : 0);
    left = (uint32_t) ((zone->bucket - used) / look->cost);

    /* the next one comes when there is room for left + 1 */

    more = used + (left + 1) * look->cost - zone->bucket;
    reset = (uint32_t) ((more + NGX_SI_LIMIT_SECOND - 1)
                        / NGX_SI_LIMIT_SECOND);

    if (ctx->name && (left > ctx->left
                      || (left == ctx->left && reset <= ctx->reset)))
    {
        return;
    }

    ctx->name = &look->limit->name;
    ctx->left = left;
    ctx->reset = reset;
    ctx->share = (uint16_t) look->share;
}


/* an access log tells of refused requests anyway; never the key's value */

void
ngx_si_limit_log(ngx_http_request_t *r, ngx_si_limit_t *limit)
{
    ngx_uint_t  level;

    level = limit->dry_run ? NGX_LOG_WARN : NGX_LOG_INFO;

    ngx_log_error(level, r->connection->log, 0,
                  "si limit \"%V\" %s the request", &limit->name,
                  level == NGX_LOG_WARN ? "would refuse" : "refuses");
}


static ngx_int_t
ngx_si_limit_refuse(ngx_http_request_t *r, ngx_si_limit_ctx_t *ctx,
    const char *code, const char *detail)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_si_limit_answer(r, ctx, code, detail);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


void
ngx_si_limit_streams_refuse(ngx_si_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r = ctx->request;

    rc = ngx_si_limit_answer(r, ngx_si_limit_find(r),
                             NGX_SI_LIMIT_STREAMS_CODE,
                             NGX_SI_LIMIT_STREAMS_DETAIL);

    ngx_si_ctx_finish(ctx, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


static ngx_int_t
ngx_si_limit_answer(ngx_http_request_t *r, ngx_si_limit_ctx_t *ctx,
    const char *code, const char *detail)
{
    ngx_str_t  value;

    ctx->status = NGX_SI_LIMIT_LIMITED;

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_snprintf(value.data, NGX_INT_T_LEN, "%uD", ctx->retry)
                - value.data;

    if (ngx_si_head_add(r, &ngx_si_limit_retry_name, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_si_problem_send(r, NGX_HTTP_TOO_MANY_REQUESTS,
                               "Too Many Requests", code, detail);
}


ngx_uint_t
ngx_si_limit_fields(ngx_http_request_t *r)
{
    ngx_si_limit_ctx_t  *ctx = ngx_si_limit_find(r->main);

    return ctx && ctx->name ? 2 : 0;
}


/* every answer comes by: also a worker's, to a key that it does not know */

static ngx_int_t
ngx_si_limit_header(ngx_http_request_t *r)
{
    ngx_int_t             n;
    ngx_array_t          *failures;
    ngx_si_loc_conf_t    *slcf;
    ngx_si_limit_look_t   look[NGX_SI_LIMITS_MAX];

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);
    failures = slcf->limits.of[NGX_SI_LIMIT_FAILURES];

    if (r != r->main) {
        return ngx_si_limit_next_header(r);
    }

    if (failures && r->headers_out.status == NGX_HTTP_UNAUTHORIZED
        && !ngx_si_ticket_came(r))
    {

        for (n = ngx_si_limit_looks(r, failures, look); n > 0; n--) {
            ngx_si_limit_fail(&look[n - 1]);
        }
    }

    if ((r->internal || slcf->limits.of[NGX_SI_LIMIT_RATE])
        && ngx_si_limit_fields_add(r) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_si_limit_next_header(r);
}


/*
 * draft-ietf-httpapi-ratelimit-headers-10, section 4: r requests are left,
 * one more comes in t seconds; when none is left, t is that of Retry-After.
 */

static ngx_int_t
ngx_si_limit_fields_add(ngx_http_request_t *r)
{
    ngx_str_t            value;
    ngx_si_limit_ctx_t  *ctx;

    ctx = ngx_si_limit_find(r);

    if (ctx == NULL || ctx->name == NULL) {
        return NGX_OK;
    }

    value.data = ctx->text;
    value.len = ngx_snprintf(ctx->text, sizeof(ctx->text),
                             "\"%V\";r=%uD;t=%uD",
                             ctx->name, ctx->left, ctx->reset)
                - ctx->text;

    if (ctx->share) {
        value.len = ngx_snprintf(ctx->text + value.len,
                                 sizeof(ctx->text) - value.len, ";share=%ui",
                                 (ngx_uint_t) ctx->share)
                    - ctx->text;
    }

    if (ngx_si_head_add(r, &ngx_si_limit_policy_name, ctx->policy)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_si_head_add(r, &ngx_si_limit_limit_name, &value);
}


ngx_int_t
ngx_si_limit_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_si_limit_ctx_t  *ctx = ngx_si_limit_find(r->main);

    if (ctx == NULL || ctx->status == NGX_SI_LIMIT_NONE) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = ngx_si_limit_status[ctx->status - 1].data;
    v->len = ngx_si_limit_status[ctx->status - 1].len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


ngx_int_t
ngx_si_limit_init(ngx_conf_t *cf)
{
    if (ngx_si_conf_phase(cf, NGX_HTTP_PREACCESS_PHASE, ngx_si_limit_handler)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_si_limit_next_header = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_si_limit_header;

    return NGX_OK;
}
