
/*
 * What a worker answers after its HEAD: private DATA go to the client and are
 * credited as it takes them.
 */


#include "ngx_si_module.h"


static void ngx_si_answer_last(ngx_si_ctx_t *ctx, u_char *text, size_t len);
static ngx_int_t ngx_si_answer_start(ngx_si_ctx_t *ctx);
static ngx_int_t ngx_si_answer_begin_stream(ngx_si_ctx_t *ctx);
static void ngx_si_answer_end(ngx_si_ctx_t *ctx);


static const char  ngx_si_answer_expired_text[] =
    "event: auth.expired\ndata: {\"type\":\"auth.expired\"}\n\nretry: 1000\n\n";


const char *
ngx_si_answer_data(ngx_si_ctx_t *ctx, const u_char *p, size_t len)
{
    size_t  i;

    if (len > SI_WINDOW - ctx->owed) {
        return "DATA beyond the credit";
    }

    if (ctx->left >= 0 && (off_t) len > ctx->left) {
        return "DATA beyond the stated length";
    }

    if (len == 0) {
        return NULL;
    }

    ctx->owed += (uint32_t) len;

    if (ctx->left >= 0) {
        ctx->left -= len;
    }

    for (i = len > 4 ? len - 4 : 0; i < len; i++) {
        ctx->tail = ctx->tail << 8 | p[i];
    }

    if (ngx_si_out_copy(ctx, p, len, 1) != NGX_OK) {
        ngx_si_ctx_abort(ctx);
        return NULL;
    }

    ngx_si_ctx_mark(ctx);

    return NULL;
}


/* the request's one step forward: OPEN, header, private bytes, then the log */

void
ngx_si_answer_run(ngx_si_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->stage == NGX_SI_OPENING) {
        ngx_si_shrink(ctx);
        return;
    }

    if (ctx->mirror) {
        ngx_si_seat_leave(ctx);
    }

    if (!ctx->request->header_sent && ngx_si_answer_start(ctx) != NGX_OK) {
        return;
    }

    if (ctx->end) {
        ngx_si_answer_end(ctx);
        return;
    }

    rc = ngx_si_out_send(ctx, 0);

    if (rc == NGX_ERROR) {
        ngx_si_ctx_finish(ctx, NGX_ERROR);
        return;
    }

    ngx_si_answer_credit(ctx, 0);

    if (rc == NGX_AGAIN) {
        if (ngx_handle_write_event(ctx->request->connection->write, 0)
            != NGX_OK)
        {
            ngx_si_ctx_finish(ctx, NGX_ERROR);
        }

        return;
    }

    if (ctx->mirror) {
        ngx_si_shrink(ctx);
        ngx_si_cursor_run(ctx);
    }
}


/* NGX_DONE: the request is not ours any more */

static ngx_int_t
ngx_si_answer_start(ngx_si_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_time_t          *tp;
    ngx_http_request_t  *r = ctx->request;

    tp = ngx_timeofday();
    ctx->first = ngx_max((ngx_msec_int_t) ((tp->sec - r->start_sec) * 1000
                                           + tp->msec - r->start_msec), 0);

    rc = ctx->stream ? ngx_si_shrink_header(ctx) : ngx_http_send_header(r);

    if (rc == NGX_OK || rc == NGX_AGAIN) {

        if (r->header_only) {
            ngx_si_ctx_finish(ctx, rc);
            return NGX_DONE;
        }

        if (ctx->socket) {
            /* the client may have spoken already */
            ngx_post_event(r->connection->read, &ngx_posted_events);
        }

        rc = ctx->stream || ctx->socket ? ngx_si_answer_begin_stream(ctx)
                                        : NGX_OK;
    }

    if (rc == NGX_ERROR || rc > NGX_OK) {
        ngx_si_ctx_finish(ctx, rc);
        return NGX_DONE;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_si_answer_begin_stream(ngx_si_ctx_t *ctx)
{
    ngx_connection_t          *c;
    ngx_http_request_t        *r = ctx->request;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->tcp_nodelay && r->http_version < NGX_HTTP_VERSION_20
        && ngx_tcp_nodelay(c) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx->direct = ngx_si_cursor_can_direct(r);

    if (ctx->out || ctx->end) {
        return NGX_OK;
    }

    return ngx_si_out_flush(ctx);
}


static void
ngx_si_answer_end(ngx_si_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->left > 0) {
        ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                      "si worker %V ended its answer %O bytes early",
                      &ctx->worker, ctx->left);
        ngx_si_ctx_abort(ctx);
        return;
    }

    rc = ngx_si_out_send(ctx, 1);

    ngx_si_ctx_finish(ctx, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


void
ngx_si_answer_credit(ngx_si_ctx_t *ctx, ngx_uint_t all)
{
    if (ctx->call.link == NULL || ctx->credit == 0
        || (!all && ctx->credit < NGX_SI_CREDIT))
    {
        return;
    }

    ngx_si_frame_u32(ctx->call.link, SI_F_CREDIT, ctx->call.node.key,
                     ctx->credit);

    ctx->owed -= ctx->credit;
    ctx->credit = 0;
}


/* the client's socket is writable */

void
ngx_si_answer_write(ngx_http_request_t *r)
{
    ngx_si_ctx_t        *ctx;
    ngx_si_proc_t       *proc;
    ngx_http_request_t  *outer;

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "si answer write");

    if (ctx == NULL || ctx->stage == NGX_SI_ENDED
        || r->connection->write->delayed)
    {
        return;
    }

    proc = ctx->proc;
    outer = proc->inside;
    proc->inside = r;

    if (r->connection->error) {
        ngx_si_ctx_finish(ctx, NGX_HTTP_CLIENT_CLOSED_REQUEST);

    } else if (ctx->stage != NGX_SI_OPENING) {
        ngx_si_answer_run(ctx);
    }

    proc->inside = outer;
}


/* what the client has ends between two events */

ngx_uint_t
ngx_si_answer_boundary(ngx_si_ctx_t *ctx)
{
    if (ctx->block) {
        return ctx->offset == 0 && !ctx->block->mid;
    }

    return ctx->tail == 0
           || (ctx->tail & 0xffff) == 0x0a0a
           || ctx->tail == 0x0d0a0d0a;
}


void
ngx_si_answer_retry(ngx_si_ctx_t *ctx, ngx_msec_t retry)
{
    u_char  text[sizeof("retry: \n\n") + NGX_INT64_LEN];
    size_t  len;

    if (ctx->socket) {
        /* a close frame of RFC 6455: 1012, service restart */
        len = ngx_cpymem(text, "\x88\x02\x03\xf4", 4) - text;

    } else {
        len = ngx_sprintf(text, "retry: %M\n\n", retry) - text;
    }

    ngx_si_answer_last(ctx, text, len);
}


/* the credential's time is over, and so is the stream's */

void
ngx_si_answer_expired(ngx_si_ctx_t *ctx)
{
    ngx_si_count(ctx->proc, NGX_SI_EXPIRED, 1);

    if (ctx->socket) {
        /* 3000 of IANA's registry: unauthorized */
        ngx_si_answer_last(ctx, (u_char *) "\x88\x02\x0b\xb8", 4);
        return;
    }

    ngx_si_answer_last(ctx, (u_char *) ngx_si_answer_expired_text,
                       sizeof(ngx_si_answer_expired_text) - 1);
}


static void
ngx_si_answer_last(ngx_si_ctx_t *ctx, u_char *text, size_t len)
{
    ngx_int_t  rc;

    if (ctx->mirror) {
        ngx_si_seat_leave(ctx);
    }

    if (!ctx->socket && (!ctx->stream || ctx->once
                         || !ngx_si_answer_boundary(ctx)))
    {
        ngx_si_ctx_abort(ctx);
        return;
    }

    if (!ctx->request->header_sent && ngx_si_answer_start(ctx) != NGX_OK) {
        return;
    }

    rc = ngx_si_out_copy(ctx, text, len, 0);

    if (rc == NGX_OK) {
        rc = ngx_si_out_send(ctx, 1);
    }

    ngx_si_ctx_finish(ctx, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


/* the link died while private bytes were under way */

void
ngx_si_answer_lost(ngx_si_ctx_t *ctx)
{
    ngx_si_count(ctx->proc, NGX_SI_LOST, 1);
    ngx_si_answer_retry(ctx, 500);
}
