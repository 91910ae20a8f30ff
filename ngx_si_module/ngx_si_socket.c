
/*
 * A WebSocket: after the worker's 101 the request is a tunnel.  The client's
 * bytes travel as BODY frames within the worker's credit, the worker's as
 * private DATA within ours.  Each DATA frame holds whole WebSocket frames, so
 * that we may close a socket behind any of them.
 */


#include "ngx_si_module.h"


static ssize_t ngx_si_socket_take(ngx_si_ctx_t *ctx, u_char *buf,
    size_t size);
static void ngx_si_socket_event(ngx_http_request_t *r);
static ngx_uint_t ngx_si_socket_names(ngx_http_request_t *r,
    ngx_str_t *name, ngx_str_t *token);


/* what RFC 6455, section 4.2.1, asks of the request's form; HTTP/2 has none */

ngx_uint_t
ngx_si_socket_asked(ngx_http_request_t *r)
{
    static ngx_str_t  upgrade = ngx_string("upgrade");
    static ngx_str_t  connection = ngx_string("connection");
    static ngx_str_t  websocket = ngx_string("websocket");

    return r == r->main
           && r->method == NGX_HTTP_GET
           && r->http_version == NGX_HTTP_VERSION_11
           && ngx_si_socket_names(r, &upgrade, &websocket)
           && ngx_si_socket_names(r, &connection, &upgrade);
}


/* nginx itself keeps no pointer to Connection */

static ngx_uint_t
ngx_si_socket_names(ngx_http_request_t *r, ngx_str_t *name, ngx_str_t *token)
{
    ngx_table_elt_t  *h;

    h = NULL;

    while ((h = ngx_si_header_in(r, (char *) name->data, name->len, h))) {
        if (h->value.len >= token->len
            && ngx_strlcasestrn(h->value.data, h->value.data + h->value.len,
                                token->data, token->len - 1)
               != NULL)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * The header Upgrade goes with the option upgrade of Connection, which nginx
 * adds to 101 only, and not over HTTP/2 (RFC 9113, section 8.2.2).
 */

ngx_int_t
ngx_si_socket_upgrade(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    static ngx_str_t  connection = ngx_string("Connection");
    static ngx_str_t  upgrade = ngx_string("upgrade");

    if (r->http_version > NGX_HTTP_VERSION_11) {
        return NGX_OK;
    }

    if (r->headers_out.status != NGX_HTTP_SWITCHING_PROTOCOLS
        && ngx_si_head_add(r, &connection, &upgrade) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_si_head_add(r, name, value);
}


/* HEAD with 101 came */

void
ngx_si_socket_head(ngx_si_ctx_t *ctx)
{
    ngx_http_request_t  *r = ctx->request;

    ctx->socket = 1;

    r->keepalive = 0;
    r->lingering_close = 1;
    ngx_str_set(&r->headers_out.status_line, "101 Switching Protocols");
    r->read_event_handler = ngx_si_socket_event;

    ngx_si_tick_drain(ctx);
}


static void
ngx_si_socket_event(ngx_http_request_t *r)
{
    ngx_si_ctx_t        *ctx;
    ngx_si_proc_t       *proc;
    ngx_http_request_t  *outer;

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    if (ctx == NULL || ctx->stage == NGX_SI_ENDED || !r->header_sent) {
        return;
    }

    proc = ctx->proc;
    outer = proc->inside;
    proc->inside = r;

    ngx_si_socket_read(ctx);

    proc->inside = outer;
}


/* what credit and the link's queue allow; without either, nothing is read */

void
ngx_si_socket_read(ngx_si_ctx_t *ctx)
{
    u_char            *p, buf[NGX_SI_PIECE];
    ssize_t            n;
    ngx_connection_t  *c;

    c = ctx->request->connection;

    while (ctx->window && ctx->call.link) {

        if (ctx->call.link->out_size >= NGX_SI_OUT_SOFT) {
            ngx_si_link_wait(ctx->call.link, &ctx->call);
            break;
        }

        n = ngx_si_socket_take(ctx, buf, ngx_min(ctx->window, sizeof(buf)));

        if (n == NGX_AGAIN) {
            break;
        }

        if (n <= 0) {
            ngx_si_ctx_finish(ctx, NGX_HTTP_CLIENT_CLOSED_REQUEST);
            return;
        }

        p = ngx_si_frame_add(ctx->call.link, SI_F_BODY, 0,
                             ctx->call.node.key, n);
        if (p == NULL) {
            /* the link has failed, and that ends the call's stay on it */
            return;
        }

        ngx_memcpy(p, buf, n);
        ctx->window -= (uint32_t) n;
    }

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_si_ctx_finish(ctx, NGX_ERROR);
    }
}


/* first what came together with the request */

static ssize_t
ngx_si_socket_take(ngx_si_ctx_t *ctx, u_char *buf, size_t size)
{
    ngx_buf_t         *b;
    ngx_connection_t  *c;

    b = ctx->request->header_in;
    c = ctx->request->connection;

    if (b->pos < b->last) {
        size = ngx_min(size, (size_t) (b->last - b->pos));
        ngx_memcpy(buf, b->pos, size);
        b->pos += size;
        return size;
    }

    return c->read->ready ? c->recv(c, buf, size) : NGX_AGAIN;
}
