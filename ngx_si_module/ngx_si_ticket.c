
/*
 * A one-use ticket in the address, "?ticket=...", from a browser's
 * EventSource or WebSocket, which can send no header.  The worker checks it
 * and nobody remembers the verdict.  Here it is taken out of the request
 * before anything can log that: what $request, $args, $http_referer and
 * error.log show are asterisks.
 */


#include "ngx_si_module.h"


static ngx_int_t ngx_si_ticket_handler(ngx_http_request_t *r);


/* the first one counts, and all are hidden; an empty one is none */

static ngx_int_t
ngx_si_ticket_handler(ngx_http_request_t *r)
{
    u_char           *p;
    ngx_si_ctx_t     *ctx;
    si_field_text_t   value;

    if (r->args.len
        && si_field_ticket(ngx_si_text(&r->args), 1, &value) && value.n)
    {
        ctx = ngx_si_ctx_get(r);
        p = ngx_pnalloc(r->pool, SI_TICKET_MAX + 1);

        if (ctx == NULL || p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->ticket = p;
        p = ngx_cpymem(p, value.p, ngx_min(value.n, SI_TICKET_MAX));
        *p = '\0';
    }

    if (r->args.len) {
        si_field_hide(ngx_si_text(&r->args), 1);
        si_field_hide(ngx_si_text(&r->unparsed_uri), 0);
        si_field_hide(ngx_si_text(&r->request_line), 0);
    }

    if (r->headers_in.referer) {
        si_field_hide(ngx_si_text(&r->headers_in.referer->value), 0);
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


ngx_int_t
ngx_si_ticket_init(ngx_conf_t *cf)
{
    return ngx_si_conf_phase(cf, NGX_HTTP_POST_READ_PHASE,
                             ngx_si_ticket_handler);
}
