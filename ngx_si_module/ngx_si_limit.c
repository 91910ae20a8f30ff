
/*
 * Limits of a location: asked in the phase PREACCESS, before it is known who
 * is calling, and told in the header of every answer.  A request is charged
 * once, wherever internal redirects lead it.
 */


#include "ngx_si_module.h"


static ngx_int_t ngx_si_limit_handler(ngx_http_request_t *r);
static ngx_int_t ngx_si_limit_key(ngx_http_request_t *r,
    ngx_si_limit_zone_t *zone, ngx_rbtree_key_t *digest);
static ngx_int_t ngx_si_limit_looks(ngx_http_request_t *r, ngx_array_t *a,
    ngx_si_limit_look_t *look);
static ngx_int_t ngx_si_limit_failures(ngx_http_request_t *r,
    ngx_array_t *a);
static ngx_int_t ngx_si_limit_rate(ngx_http_request_t *r,
    ngx_si_limits_t *limits);
static ngx_si_limit_ctx_t *ngx_si_limit_create(ngx_http_request_t *r);
static void ngx_si_limit_cleanup(void *data);
static void ngx_si_limit_tell(ngx_si_limit_ctx_t *ctx,
    ngx_si_limit_look_t *look, ngx_uint_t pass);
static void ngx_si_limit_log(ngx_http_request_t *r,
    ngx_si_limit_look_t *look);
static ngx_int_t ngx_si_limit_refuse(ngx_http_request_t *r,
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
    ngx_int_t           rc;
    ngx_array_t        *failures;
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);
    failures = slcf->limits.of[NGX_SI_LIMIT_FAILURES];

    if (failures && r == r->main) {
        rc = ngx_si_limit_failures(r, failures);
        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (slcf->limits.of[NGX_SI_LIMIT_RATE] == NULL
        || ngx_si_limit_find(r->main))
    {
        return NGX_DECLINED;
    }

    return ngx_si_limit_rate(r, &slcf->limits);
}


/* NGX_DECLINED: an empty key, which is not limited */

static ngx_int_t
ngx_si_limit_key(ngx_http_request_t *r, ngx_si_limit_zone_t *zone,
    ngx_rbtree_key_t *digest)
{
    u_char                      hash[16];
    ngx_md5_t                   md5;
    ngx_str_t                   key;
    ngx_http_variable_value_t  *v;

    ngx_str_null(&key);

    if (zone->variable == NGX_ERROR) {
        if (ngx_http_complex_value(r, &zone->key, &key) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        v = ngx_http_get_indexed_variable(r, zone->variable);

        if (v && !v->not_found) {
            key.data = v->data;
            key.len = v->len;
        }
    }

    if (key.len == 0) {
        return NGX_DECLINED;
    }

    ngx_md5_init(&md5);
    ngx_md5_update(&md5, key.data, key.len);
    ngx_md5_final(hash, &md5);

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
            ngx_si_limit_log(r, &look[i]);
        }
    }

    if (i == n) {
        return NGX_DECLINED;
    }

    ngx_si_limit_log(r, &look[i]);

    ctx = ngx_si_limit_create(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->reset = (uint32_t) ((look[i].wait + NGX_SI_LIMIT_SECOND - 1)
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

    n = ngx_si_limit_looks(r, limits->of[NGX_SI_LIMIT_RATE], look);

    if (n <= 0) {
        return n ? NGX_HTTP_INTERNAL_SERVER_ERROR : NGX_DECLINED;
    }

    ctx = ngx_si_limit_create(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->policy = &limits->policy;
    ctx->status = NGX_SI_LIMIT_PASSED;

    pass = ngx_si_limit_charge(look, n);

    for (i = 0; i < n; i++) {
        if (look[i].wait) {
            ngx_si_limit_log(r, &look[i]);
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

    return ngx_si_limit_refuse(r, ctx, "rate_limited",
                               "too many requests, see RateLimit and "
                               "Retry-After");
}


static ngx_si_limit_ctx_t *
ngx_si_limit_create(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;
    ngx_si_limit_ctx_t  *ctx;

    /* apart from the blocks of the pool, which a reader's state just fills */

    ctx = ngx_pmemalign(r->main->pool, sizeof(ngx_si_limit_ctx_t),
                        NGX_ALIGNMENT);
    cln = ngx_pool_cleanup_add(r->main->pool, 0);

    if (ctx == NULL || cln == NULL) {
        return NULL;
    }

    ngx_memzero(ctx, sizeof(ngx_si_limit_ctx_t));

    cln->handler = ngx_si_limit_cleanup;
    cln->data = ctx;

    return ctx;
}


/* the handler is what the state is found by, as that of realip is */

static void
ngx_si_limit_cleanup(void *data)
{
    (void) data;
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

    used = look->used + (pass ? zone->interval : 0);
    left = (uint32_t) ((zone->bucket - used) / zone->interval);

    /* the next one comes when there is room for left + 1 */

    more = used + (left + 1) * zone->interval - zone->bucket;
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
}


/* an access log tells of refused requests anyway; never the key's value */

static void
ngx_si_limit_log(ngx_http_request_t *r, ngx_si_limit_look_t *look)
{
    ngx_uint_t  level;

    level = look->limit->dry_run ? NGX_LOG_WARN : NGX_LOG_INFO;

    ngx_log_error(level, r->connection->log, 0,
                  "si limit \"%V\" %s the request", &look->limit->name,
                  level == NGX_LOG_WARN ? "would refuse" : "refuses");
}


static ngx_int_t
ngx_si_limit_refuse(ngx_http_request_t *r, ngx_si_limit_ctx_t *ctx,
    const char *code, const char *detail)
{
    ngx_int_t  rc;
    ngx_str_t  value;

    ctx->status = NGX_SI_LIMIT_LIMITED;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    value.len = ngx_snprintf(value.data, NGX_INT_T_LEN, "%uD", ctx->reset)
                - value.data;

    if (ngx_si_head_add(r, &ngx_si_limit_retry_name, &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_si_problem_send(r, NGX_HTTP_TOO_MANY_REQUESTS,
                             "Too Many Requests", code, detail);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
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

    if (ctx == NULL) {
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
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_si_limit_handler;

    ngx_si_limit_next_header = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_si_limit_header;

    return NGX_OK;
}
