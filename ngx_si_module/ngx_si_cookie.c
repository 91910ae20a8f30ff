
/*
 * A token in a cookie.  A browser sends it whoever's page asks, so who asks
 * must be known: https://fetch.spec.whatwg.org/#origin-header.  Browsers name
 * the origin with every request but GET and HEAD, with these if they go to
 * another origin with CORS, and with WebSockets.  What names none must say by
 * Sec-Fetch-Site that it comes from a page of this very origin.
 */


#include "ngx_si_module.h"


static ngx_uint_t ngx_si_cookie_find(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value);
static ngx_uint_t ngx_si_cookie_trusts(ngx_http_request_t *r);
static ngx_uint_t ngx_si_cookie_own(ngx_http_request_t *r,
    ngx_str_t *origin);


ngx_int_t
ngx_si_cookie(ngx_http_request_t *r, ngx_str_t *token)
{
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    /* of two, another host of the domain may have set one */

    if (slcf->cookie.len == 0
        || ngx_si_cookie_find(r, &slcf->cookie, token) != 1
        || token->len == 0)
    {
        return NGX_DECLINED;
    }

    return ngx_si_cookie_trusts(r) ? NGX_OK : NGX_ABORT;
}


/* how many there are */

static ngx_uint_t
ngx_si_cookie_find(ngx_http_request_t *r, ngx_str_t *name, ngx_str_t *value)
{
    ngx_uint_t        n, found;
    ngx_table_elt_t  *h;
    si_field_text_t   text;

    n = 0;
    h = NULL;

    while ((h = ngx_si_header_in(r, "cookie", 6, h))) {
        found = si_field_cookie(ngx_si_text(&h->value), ngx_si_text(name),
                                &text);
        if (found) {
            ngx_si_found(value, text);
            n += found;
        }
    }

    return n;
}


static ngx_uint_t
ngx_si_cookie_trusts(ngx_http_request_t *r)
{
    ngx_str_t   origin, site;
    ngx_uint_t  n;

    n = ngx_si_origin_values(r, "origin", 6, &origin, 0);

    if (n) {
        return n == 1 && (ngx_si_cookie_own(r, &origin)
                          || ngx_si_cors_lists(r, &origin));
    }

    return (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
           && r->headers_in.upgrade == NULL
           && ngx_si_origin_values(r, "sec-fetch-site", 14, &site, 0) == 1
           && site.len == 11
           && ngx_strncmp(site.data, "same-origin", 11) == 0;
}


/* scheme, host and port are those of the request; browsers leave out 80, 443 */

static ngx_uint_t
ngx_si_cookie_own(ngx_http_request_t *r, ngx_str_t *origin)
{
    ngx_str_t         scheme = ngx_string("http://");
    ngx_table_elt_t  *host;

#if (NGX_HTTP_SSL)
    if (r->connection->ssl) {
        ngx_str_set(&scheme, "https://");
    }
#endif

    host = r->headers_in.host;

    return host && host->value.len
           && origin->len == scheme.len + host->value.len
           && ngx_strncmp(origin->data, scheme.data, scheme.len) == 0
           && ngx_strncmp(origin->data + scheme.len, host->value.data,
                          host->value.len)
              == 0;
}


/* si_auth_cookie off | NAME; */

char *
ngx_si_cookie_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_si_loc_conf_t  *slcf = conf;

    u_char      c;
    size_t      i;
    ngx_str_t  *value;

    if (slcf->cookie.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    slcf->cookie = value[1];

    if (ngx_strcmp(value[1].data, "off") == 0) {
        slcf->cookie.len = 0;
        return NGX_CONF_OK;
    }

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];

        if (c <= 0x20 || c >= 0x7f || ngx_strchr("()<>@,;:\\\"/[]?={}", c)) {
            return "expects the name of a cookie";
        }
    }

    return value[1].len ? NGX_CONF_OK : "expects the name of a cookie";
}
