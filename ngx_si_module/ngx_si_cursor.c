
/*
 * Cursors: one client's position in a mirror.  A cursor with a block lags
 * and moves when its socket is writable; one without is at the end and gets
 * each batch as it is published.
 *
 * Direct cursors send the mirror's memory themselves, already chunked, one
 * system call for each wake-up.  All others (HTTP/1.0, HTTP/2, rate limits,
 * filters that look at the bytes) hand payloads to nginx's filters.
 */


#include "ngx_si_module.h"


#define NGX_SI_IOVS  16


static void ngx_si_cursor_move(ngx_si_ctx_t *ctx, ngx_si_block_t *b,
    uint32_t offset);
static void ngx_si_cursor_arm(ngx_si_ctx_t *ctx);
static ngx_int_t ngx_si_cursor_send(ngx_si_ctx_t *ctx, ngx_si_block_t **block,
    uint32_t *offset);
static ssize_t ngx_si_cursor_send_one(ngx_connection_t *c, ngx_si_block_t *b,
    uint32_t offset);
static ssize_t ngx_si_cursor_send_many(ngx_connection_t *c,
    ngx_si_block_t *b, uint32_t offset);
static ngx_int_t ngx_si_cursor_hand(ngx_si_ctx_t *ctx);
static ngx_int_t ngx_si_cursor_beat_direct(ngx_si_ctx_t *ctx);


ngx_uint_t
ngx_si_cursor_can_direct(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return r == r->main
           && r->chunked
           && r->http_version == NGX_HTTP_VERSION_11
           && clcf->limit_rate == NULL
           && r->limit_rate == 0
           && r->headers_out.content_encoding == NULL
           && !r->expect_trailers
           && !r->filter_need_in_memory
           && !r->filter_need_temporary
           && !r->main_filter_need_in_memory;
}


/* nothing of this request is on its way to the socket */

ngx_uint_t
ngx_si_cursor_clear(ngx_si_ctx_t *ctx)
{
    ngx_http_request_t  *r = ctx->request;

    return r->header_sent && ctx->out == NULL && r->out == NULL
           && !r->buffered && !r->connection->buffered
           && r->connection->write->ready;
}


/* a batch was published and the cursor is at its start */

void
ngx_si_cursor_fresh(ngx_si_ctx_t *ctx, ngx_si_block_t *fresh)
{
    uint32_t  offset = 0;

    if (!ctx->direct || !ngx_si_cursor_clear(ctx)) {
        ngx_si_cursor_move(ctx, fresh, 0);

        if (ngx_si_cursor_clear(ctx)) {
            ngx_si_cursor_run(ctx);
        }

        return;
    }

    /* the usual case touches neither queues nor block counts */

    switch (ngx_si_cursor_send(ctx, &fresh, &offset)) {

    case NGX_OK:
        ngx_si_seat_take(ctx);
        return;

    case NGX_AGAIN:
        ngx_si_cursor_move(ctx, fresh, offset);
        ngx_si_cursor_arm(ctx);
        return;

    default:
        ngx_si_ctx_finish(ctx, NGX_ERROR);
    }
}


/* b is NULL: to the mirror's end */

static void
ngx_si_cursor_move(ngx_si_ctx_t *ctx, ngx_si_block_t *b, uint32_t offset)
{
    ngx_si_block_t   *old = ctx->block;
    ngx_si_mirror_t  *m = ctx->mirror;

    if (b) {
        b->cursors++;
    }

    ctx->block = b;
    ctx->offset = offset;

    if ((old == NULL) != (b == NULL)) {
        ngx_queue_remove(&ctx->reader);
        ngx_queue_insert_tail(b ? &m->lagging : &m->readers, &ctx->reader);
    }

    if (old && --old->cursors == 0) {
        ngx_si_log_trim(m);
    }
}


void
ngx_si_cursor_lag(ngx_si_ctx_t *ctx, ngx_si_block_t *b, uint32_t offset)
{
    ngx_si_cursor_move(ctx, b, offset);
    ngx_si_cursor_arm(ctx);
}


static void
ngx_si_cursor_arm(ngx_si_ctx_t *ctx)
{
    if (ngx_handle_write_event(ctx->request->connection->write, 0)
        != NGX_OK)
    {
        ngx_si_ctx_finish(ctx, NGX_ERROR);
    }
}


/* moves as far as the socket allows; nothing else may be pending */

void
ngx_si_cursor_run(ngx_si_ctx_t *ctx)
{
    ngx_int_t        rc;
    uint32_t         offset;
    ngx_si_block_t  *b;

    rc = NGX_OK;

    while (rc == NGX_OK && ctx->block) {

        if (ctx->direct) {
            b = ctx->block;
            offset = ctx->offset;
            rc = ngx_si_cursor_send(ctx, &b, &offset);

            if (rc != NGX_ERROR) {
                ngx_si_cursor_move(ctx, b, offset);
            }

        } else {
            rc = ngx_si_cursor_hand(ctx);
        }
    }

    if (rc == NGX_ERROR) {
        ngx_si_ctx_finish(ctx, NGX_ERROR);

    } else if (rc == NGX_AGAIN) {
        ngx_si_cursor_arm(ctx);

    } else if (ctx->mirror->ended) {
        rc = ngx_si_out_send(ctx, 1);
        ngx_si_ctx_finish(ctx, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);

    } else {
        ngx_si_seat_take(ctx);
    }
}


/* NGX_OK: sent to the end, *block is NULL then; NGX_AGAIN: as far as it says */

static ngx_int_t
ngx_si_cursor_send(ngx_si_ctx_t *ctx, ngx_si_block_t **block,
    uint32_t *offset)
{
    ssize_t            n, rest;
    ngx_si_block_t    *b;
    ngx_connection_t  *c;

    b = *block;
    c = ctx->request->connection;

    while (b) {

        if (!c->write->ready) {
            *block = b;
            return NGX_AGAIN;
        }

        n = (b->next == NULL
#if (NGX_SSL)
             || c->ssl
#endif
            ) ? ngx_si_cursor_send_one(c, b, *offset)
              : ngx_si_cursor_send_many(c, b, *offset);

        if (n == NGX_ERROR) {
            c->error = 1;
            return NGX_ERROR;
        }

        if (n <= 0) {
            *block = b;
            return NGX_AGAIN;
        }

        ctx->last = ngx_current_msec;
        ngx_si_count(ctx->proc, NGX_SI_BYTES, n);

        for (n += *offset; b; b = b->next) {
            rest = ngx_si_block_length(b);

            if (n < rest) {
                break;
            }

            n -= rest;
        }

        *offset = (uint32_t) n;
    }

    *block = NULL;

    return NGX_OK;
}


static ssize_t
ngx_si_cursor_send_one(ngx_connection_t *c, ngx_si_block_t *b,
    uint32_t offset)
{
    return c->send(c, ngx_si_block_wire(b) + offset,
                   ngx_si_block_length(b) - offset);
}


static ssize_t
ngx_si_cursor_send_many(ngx_connection_t *c, ngx_si_block_t *b,
    uint32_t offset)
{
    off_t         sent;
    ngx_buf_t     bufs[NGX_SI_IOVS];
    ngx_uint_t    i;
    ngx_chain_t   links[NGX_SI_IOVS];

    ngx_memzero(bufs, sizeof(bufs));

    for (i = 0; i < NGX_SI_IOVS && b; i++, b = b->next) {
        bufs[i].pos = ngx_si_block_wire(b) + offset;
        bufs[i].last = ngx_si_block_wire(b) + ngx_si_block_length(b);
        bufs[i].memory = 1;

        links[i].buf = &bufs[i];
        links[i].next = NULL;

        if (i) {
            links[i - 1].next = &links[i];
        }

        offset = 0;
    }

    sent = c->sent;

    if (c->send_chain(c, links, 0) == NGX_CHAIN_ERROR) {
        return NGX_ERROR;
    }

    return (ssize_t) (c->sent - sent);
}


/* hands the filters what they may hold at once */

static ngx_int_t
ngx_si_cursor_hand(ngx_si_ctx_t *ctx)
{
    size_t           size;
    ngx_si_block_t  *b;

    size = 0;

    for (b = ctx->block; b; b = b->next) {

        if (size && size + b->size > NGX_SI_HAND_MAX) {
            break;
        }

        if (ngx_si_out_add(ctx, b, ngx_si_block_payload(b), b->size)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        size += b->size;
    }

    /* the bufs keep the blocks, the position need not */
    ngx_si_cursor_move(ctx, b, 0);

    return ngx_si_out_send(ctx, 0);
}


/* ":\n\n" to a stream that was quiet */

void
ngx_si_cursor_beat(ngx_si_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (!ngx_si_cursor_clear(ctx) || ctx->block
        || (ctx->mirror == NULL && !ngx_si_answer_boundary(ctx)))
    {
        return;
    }

    if (ctx->mirror) {
        ngx_si_seat_leave(ctx);
    }

    if (ctx->direct) {
        rc = ngx_si_cursor_beat_direct(ctx);

    } else {
        rc = ngx_si_out_copy(ctx, (u_char *) ":\n\n", 3, 0);

        if (rc == NGX_OK) {
            rc = ngx_si_out_send(ctx, 0);
        }
    }

    if (rc == NGX_ERROR) {
        ngx_si_ctx_finish(ctx, NGX_ERROR);

    } else if (rc == NGX_AGAIN) {
        ngx_si_cursor_arm(ctx);

    } else if (ctx->mirror) {
        ngx_si_seat_take(ctx);
    }
}


static ngx_int_t
ngx_si_cursor_beat_direct(ngx_si_ctx_t *ctx)
{
    ssize_t            n;
    ngx_connection_t  *c;

    static u_char  beat[] = "3" CRLF ":\n\n" CRLF;

    c = ctx->request->connection;
    ctx->last = ngx_current_msec;

    n = c->send(c, beat, sizeof(beat) - 1);

    if (n == NGX_ERROR) {
        c->error = 1;
        return NGX_ERROR;
    }

    if (n == (ssize_t) sizeof(beat) - 1) {
        return NGX_OK;
    }

    n = ngx_max(n, 0);

    return ngx_si_out_raw(ctx, NULL, beat + n, sizeof(beat) - 1 - n);
}


/*
 * A reader that is too far behind is asked to come back: behind the block that
 * it has a part of, which waits in its connection for send_timeout at most.
 * What TLS could not send must be offered again as it was, so that is cut.
 */

void
ngx_si_cursor_shed(ngx_si_ctx_t *ctx)
{
    u_char            *p;
    size_t             len;
    ngx_si_block_t    *b = ctx->block;
    ngx_connection_t  *c = ctx->request->connection;

#if (NGX_SSL)
    if (ctx->direct && c->ssl) {
        ngx_si_ctx_abort(ctx);
        return;
    }
#endif

    if (ctx->offset) {
        p = ngx_si_block_wire(b) + ctx->offset;
        len = ngx_si_block_length(b) - ctx->offset;

        if (b->next == NULL || ngx_si_out_pending(ctx)
            || ngx_si_out_raw(ctx, b, p, len) == NGX_ERROR)
        {
            ngx_si_ctx_abort(ctx);
            return;
        }

        ngx_si_cursor_move(ctx, b->next, 0);
    }

    ngx_si_answer_retry(ctx, 500 + ngx_random() % 1000);
}
