
/*
 * Cross-origin requests of browsers (https://fetch.spec.whatwg.org/): who is
 * listed may read answers, with credentials, and preflights end here.  Names
 * of origins are compared as they are; there is no wildcard.
 */


#include "ngx_si_module.h"


#define NGX_SI_CORS_ORIGINS  64


static ngx_int_t ngx_si_cors_read(ngx_http_request_t *r);
static ngx_int_t ngx_si_cors_preflight(ngx_http_request_t *r);
static ngx_int_t ngx_si_cors_add(ngx_http_request_t *r, ngx_str_t (*pairs)[2]);
static ngx_uint_t ngx_si_cors_valid(ngx_str_t *origin);


static ngx_str_t  ngx_si_cors_allow = ngx_string("Access-Control-Allow-Origin");


static ngx_str_t  ngx_si_cors_vary[][2] = {
    { ngx_string("Vary"), ngx_string("Origin") },
    { ngx_null_string, ngx_null_string }
};


static ngx_str_t  ngx_si_cors_answer[][2] = {
    { ngx_string("Access-Control-Allow-Credentials"), ngx_string("true") },
    { ngx_string("Access-Control-Expose-Headers"),
      ngx_string("ETag, Location, Link, Retry-After, RateLimit, "
                 "RateLimit-Policy, WWW-Authenticate, Allow") },
    { ngx_null_string, ngx_null_string }
};


/* Chromium keeps it for at most two hours */

static ngx_str_t  ngx_si_cors_preflights[][2] = {
    { ngx_string("Access-Control-Allow-Methods"),
      ngx_string("GET, HEAD, POST, PUT, PATCH, DELETE") },
    { ngx_string("Access-Control-Allow-Headers"),
      ngx_string("Authorization, X-Api-Key, Content-Type, Idempotency-Key, "
                 "If-Match, If-None-Match, Last-Event-ID, Prefer, "
                 "Cache-Control") },
    { ngx_string("Access-Control-Max-Age"), ngx_string("7200") },
    { ngx_null_string, ngx_null_string }
};


/*
 * Runs once for a request, before anything can answer it: what is added here
 * stays through internal redirects, so that errors and streams have it, too.
 */

static ngx_int_t
ngx_si_cors_read(ngx_http_request_t *r)
{
    ngx_str_t           origin, allow[2][2];
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    if (slcf->cors == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_si_cors_add(r, ngx_si_cors_vary) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_si_origin_values(r, "origin", 6, &origin, 0) != 1
        || !ngx_si_cors_lists(r, &origin))
    {
        return NGX_DECLINED;
    }

    ngx_memzero(allow, sizeof(allow));
    allow[0][0] = ngx_si_cors_allow;
    allow[0][1] = origin;

    if (ngx_si_cors_add(r, allow) != NGX_OK
        || ngx_si_cors_add(r, ngx_si_cors_answer) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


/* an origin that is not listed gets no permission, and so an error there */

static ngx_int_t
ngx_si_cors_preflight(ngx_http_request_t *r)
{
    ngx_int_t           rc;
    ngx_str_t           value;
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    if (slcf->cors == NULL || r->method != NGX_HTTP_OPTIONS || r != r->main
        || ngx_si_origin_values(r, "access-control-request-method", 29,
                                &value, 0) != 1
        || ngx_si_origin_values(r, "origin", 6, &value, 0) != 1)
    {
        return NGX_DECLINED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_si_cors_lists(r, &value)
        && ngx_si_cors_add(r, ngx_si_cors_preflights) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    ngx_http_finalize_request(r, ngx_http_send_header(r));

    return NGX_DONE;
}


ngx_uint_t
ngx_si_cors_lists(ngx_http_request_t *r, ngx_str_t *origin)
{
    ngx_str_t          *listed;
    ngx_uint_t          i;
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);
    listed = slcf->cors ? slcf->cors->elts : NULL;

    for (i = 0; listed && i < slcf->cors->nelts; i++) {
        if (listed[i].len == origin->len
            && ngx_memcmp(listed[i].data, origin->data, origin->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_si_cors_add(ngx_http_request_t *r, ngx_str_t (*pairs)[2])
{
    for ( ; (*pairs)[0].len; pairs++) {
        if (ngx_si_head_add(r, &(*pairs)[0], &(*pairs)[1]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* before ngx_si_origin_init(), whose handler runs before this one's */

ngx_int_t
ngx_si_cors_init(ngx_conf_t *cf)
{
    if (ngx_si_conf_phase(cf, NGX_HTTP_POST_READ_PHASE, ngx_si_cors_read)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_si_conf_phase(cf, NGX_HTTP_PREACCESS_PHASE,
                             ngx_si_cors_preflight);
}


/* si_cors off | ORIGIN ...; */

char *
ngx_si_cors_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_si_loc_conf_t  *slcf = conf;

    ngx_str_t   *value, *origin;
    ngx_uint_t   i;

    if (slcf->cors != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        slcf->cors = NULL;
        return NGX_CONF_OK;
    }

    if (cf->args->nelts - 1 > NGX_SI_CORS_ORIGINS) {
        return "has more than 64 origins";
    }

    slcf->cors = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                  sizeof(ngx_str_t));
    if (slcf->cors == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {
        origin = ngx_array_push(slcf->cors);

        if (!ngx_si_cors_valid(&value[i])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "si_cors: \"%V\" is no "
                               "origin: scheme://host[:port] in lower case, "
                               "without a path or wildcard", &value[i]);
            return NGX_CONF_ERROR;
        }

        *origin = value[i];
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_si_cors_valid(ngx_str_t *origin)
{
    u_char  *p, *last;

    p = origin->data;
    last = p + origin->len;

    if (origin->len > 8 && ngx_strncmp(p, "https://", 8) == 0) {
        p += 8;

    } else if (origin->len > 7 && ngx_strncmp(p, "http://", 7) == 0) {
        p += 7;

    } else {
        return 0;
    }

    for ( ; p < last; p++) {
        if ((*p < 'a' || *p > 'z') && (*p < '0' || *p > '9')
            && ngx_strchr("-.:[]", *p) == NULL)
        {
            return 0;
        }
    }

    return 1;
}
