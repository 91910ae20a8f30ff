
/*
 * A one-use ticket in the address, "?ticket=...", from a browser's
 * EventSource or WebSocket, which can send no header.  The worker checks it
 * and nobody remembers the verdict.  Here it is taken out of the request
 * before anything can log that: what $request, $args, $http_referer and
 * error.log show are asterisks.
 */


#include "ngx_si_module.h"


static ngx_int_t ngx_si_ticket_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_si_ticket_find(ngx_str_t *text, ngx_uint_t begun,
    ngx_str_t *value);
static void ngx_si_ticket_hide(ngx_str_t *text, ngx_uint_t begun);


/* the first one counts, and all are hidden; an empty one is none */

static ngx_int_t
ngx_si_ticket_handler(ngx_http_request_t *r)
{
    u_char        *p;
    ngx_str_t      value;
    ngx_si_ctx_t  *ctx;

    if (r->args.len
        && ngx_si_ticket_find(&r->args, 1, &value) && value.len)
    {
        ctx = ngx_si_ctx_get(r);
        p = ngx_pnalloc(r->pool, SI_TICKET_MAX + 1);

        if (ctx == NULL || p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->ticket = p;
        p = ngx_cpymem(p, value.data, ngx_min(value.len, SI_TICKET_MAX));
        *p = '\0';
    }

    if (r->args.len) {
        ngx_si_ticket_hide(&r->args, 1);
        ngx_si_ticket_hide(&r->unparsed_uri, 0);
        ngx_si_ticket_hide(&r->request_line, 0);
    }

    if (r->headers_in.referer) {
        ngx_si_ticket_hide(&r->headers_in.referer->value, 0);
    }

    return NGX_DECLINED;
}


ngx_uint_t
ngx_si_ticket_came(ngx_http_request_t *r)
{
    ngx_si_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    return ctx && ctx->ticket;
}


/* begun: the text begins with an argument */

static ngx_uint_t
ngx_si_ticket_find(ngx_str_t *text, ngx_uint_t begun, ngx_str_t *value)
{
    u_char  *p, *last;

    last = text->data + text->len;

    for (p = text->data; p + 7 <= last; begun = (*p == '?' || *p == '&'), p++) {

        if (!begun || ngx_strncasecmp(p, (u_char *) "ticket=", 7) != 0) {
            continue;
        }

        value->data = p + 7;

        for (p = value->data; p < last; p++) {
            if (*p == '&' || *p == '#' || *p <= ' ') {
                break;
            }
        }

        value->len = p - value->data;

        return 1;
    }

    return 0;
}


static void
ngx_si_ticket_hide(ngx_str_t *text, ngx_uint_t begun)
{
    ngx_str_t  rest, value;

    rest = *text;

    while (ngx_si_ticket_find(&rest, begun, &value)) {
        ngx_memset(value.data, '*', value.len);

        rest.len -= value.data + value.len - rest.data;
        rest.data = value.data + value.len;
        begun = 0;
    }
}


ngx_int_t
ngx_si_ticket_init(ngx_conf_t *cf)
{
    return ngx_si_conf_phase(cf, NGX_HTTP_POST_READ_PHASE,
                             ngx_si_ticket_handler);
}
