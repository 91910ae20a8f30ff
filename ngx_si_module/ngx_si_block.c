
/*
 * Blocks: the memory of answers, and the way of blocks through nginx's
 * filters.  A buf keeps its block in `start` and its length in `end`, which
 * no filter looks at; both are given back when the buf comes back empty.
 */


#include "ngx_si_module.h"


/* on the heap: an idle reader has none; a block of its own may follow */

typedef struct {
    ngx_chain_t  link;
    ngx_buf_t    buf;
} ngx_si_piece_t;


static ngx_buf_t *ngx_si_out_tail(ngx_si_ctx_t *ctx);
static ngx_chain_t *ngx_si_out_link(ngx_si_ctx_t *ctx, size_t more);
static void ngx_si_out_put(ngx_si_ctx_t *ctx, ngx_chain_t *cl,
    ngx_si_block_t *b, u_char *pos, size_t len);
static void ngx_si_block_init(ngx_si_block_t *b, size_t room);
static ngx_int_t ngx_si_out_direct(ngx_si_ctx_t *ctx);
static void ngx_si_out_reap(ngx_si_ctx_t *ctx);
static void ngx_si_out_free(ngx_chain_t *cl);


ngx_si_block_t *
ngx_si_block_new(size_t room)
{
    ngx_si_block_t  *b;

    b = ngx_alloc(ngx_si_block_bytes(room), ngx_cycle->log);
    if (b == NULL) {
        return NULL;
    }

    ngx_si_block_init(b, room);

    return b;
}


static void
ngx_si_block_init(ngx_si_block_t *b, size_t room)
{
    b->next = NULL;
    b->cursors = 0;
    b->pins = 0;
    b->room = (uint32_t) room;
    b->size = 0;
    b->head = NGX_SI_CHUNK_HEAD;
    b->mid = 0;
}


/* frames the payload as one HTTP/1.1 chunk */

void
ngx_si_block_seal(ngx_si_block_t *b)
{
    u_char    *p = ngx_si_block_payload(b);
    uint32_t   n = b->size;

    p[n] = CR;
    p[n + 1] = LF;

    *--p = LF;
    *--p = CR;

    do {
        *--p = "0123456789abcdef"[n & 0xf];
        n >>= 4;
    } while (n);

    b->head = (uint32_t) (p - b->data);
}


void
ngx_si_block_unpin(ngx_si_block_t *b)
{
    if (--b->pins == 0) {
        ngx_free(b);
    }
}


/* appends bytes of a block to what goes through the filters next */

ngx_int_t
ngx_si_out_add(ngx_si_ctx_t *ctx, ngx_si_block_t *b, u_char *pos, size_t len)
{
    ngx_chain_t  *cl;

    cl = ngx_si_out_link(ctx, 0);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    ngx_si_out_put(ctx, cl, b, pos, len);

    return NGX_OK;
}


static void
ngx_si_out_put(ngx_si_ctx_t *ctx, ngx_chain_t *cl, ngx_si_block_t *b,
    u_char *pos, size_t len)
{
    ngx_buf_t  *buf = cl->buf;

    buf->start = (u_char *) b;
    buf->end = (u_char *) b + len;
    buf->pos = pos;
    buf->last = pos + len;
    buf->memory = 1;

    b->pins++;

    *ctx->out_last = cl;
    ctx->out_last = &cl->next;
}


ngx_int_t
ngx_si_out_copy(ngx_si_ctx_t *ctx, const u_char *p, size_t len,
    ngx_uint_t credit)
{
    ngx_chain_t     *cl;
    ngx_si_block_t  *b;

    cl = ngx_si_out_link(ctx, ngx_si_block_bytes(len));
    if (cl == NULL) {
        return NGX_ERROR;
    }

    b = (ngx_si_block_t *) ((ngx_si_piece_t *) cl + 1);

    ngx_si_block_init(b, len);
    b->pins = 1;        /* it goes with its piece, not before */
    b->size = (uint32_t) len;
    ngx_memcpy(ngx_si_block_payload(b), p, len);

    cl->buf->num = credit;
    ngx_si_out_put(ctx, cl, b, ngx_si_block_payload(b), len);

    return NGX_OK;
}


ngx_int_t
ngx_si_out_raw(ngx_si_ctx_t *ctx, ngx_si_block_t *b, u_char *p, size_t len)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl;

    cl = ngx_si_out_link(ctx, 0);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf->pos = p;
    cl->buf->last = p + len;
    cl->buf->memory = 1;
    cl->buf->flush = 1;

    if (b) {
        cl->buf->start = (u_char *) b;
        cl->buf->end = (u_char *) b + len;
        b->pins++;
    }

    rc = ngx_http_write_filter(ctx->request, cl);

    ctx->out = cl;

    if (rc != NGX_ERROR) {
        ngx_si_out_reap(ctx);
    }

    return rc;
}


ngx_int_t
ngx_si_out_flush(ngx_si_ctx_t *ctx)
{
    ngx_http_request_t  *r = ctx->request;

    if (!ctx->direct) {
        return ngx_http_send_special(r, NGX_HTTP_FLUSH);
    }

    /* without a buf to flush, which the pool would keep */

    return r->out ? ngx_http_write_filter(r, NULL) : NGX_OK;
}


static ngx_buf_t *
ngx_si_out_tail(ngx_si_ctx_t *ctx)
{
    ngx_chain_t  *cl;

    cl = (ngx_chain_t *) ((u_char *) ctx->out_last
                          - offsetof(ngx_chain_t, next));
    return cl->buf;
}


static ngx_chain_t *
ngx_si_out_link(ngx_si_ctx_t *ctx, size_t more)
{
    ngx_si_piece_t  *piece;

    piece = ngx_alloc(sizeof(ngx_si_piece_t) + more,
                      ctx->request->connection->log);
    if (piece == NULL) {
        return NULL;
    }

    ngx_memzero(piece, sizeof(ngx_si_piece_t));
    piece->link.buf = &piece->buf;
    piece->buf.tag = (ngx_buf_tag_t) &ngx_si_module;

    return &piece->link;
}


ngx_uint_t
ngx_si_out_pending(ngx_si_ctx_t *ctx)
{
    ngx_http_request_t  *r = ctx->request;

    return ctx->out || r->out || r->buffered || r->connection->buffered;
}


ngx_int_t
ngx_si_out_send(ngx_si_ctx_t *ctx, ngx_uint_t last)
{
    ngx_int_t            rc;
    ngx_buf_t           *buf;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->out) {
        buf = ngx_si_out_tail(ctx);
        buf->flush = 1;

        if (last) {
            buf->last_buf = (r == r->main);
            buf->last_in_chain = 1;
        }

        ctx->last = ngx_current_msec;

        rc = ctx->direct && !last ? ngx_si_out_direct(ctx)
                                  : ngx_http_output_filter(r, ctx->out);

    } else if (last) {
        return ngx_http_send_special(r, NGX_HTTP_LAST);

    } else if (ngx_si_out_pending(ctx)) {
        rc = ctx->direct ? ngx_http_write_filter(r, NULL)
                         : ngx_http_output_filter(r, NULL);

    } else {
        /* the write filter takes an empty call with nothing to do for a bug */
        return NGX_OK;
    }

    if (rc == NGX_ERROR) {
        /* r->out may still point to what was sent */
        return NGX_ERROR;
    }

    ngx_si_out_reap(ctx);

    if (r->connection->error) {
        return NGX_ERROR;
    }

    return ngx_si_out_pending(ctx) ? NGX_AGAIN : NGX_OK;
}


/* as chunks, like blocks of a log: the filters would only add memory */

static ngx_int_t
ngx_si_out_direct(ngx_si_ctx_t *ctx)
{
    ssize_t              n;
    ngx_chain_t         *cl;
    ngx_si_block_t      *b;
    ngx_http_request_t  *r = ctx->request;
    ngx_connection_t    *c = r->connection;

    for (cl = ctx->out; cl; cl = cl->next) {
        b = (ngx_si_block_t *) cl->buf->start;

        ngx_si_block_seal(b);

        cl->buf->pos = ngx_si_block_wire(b);
        cl->buf->last = cl->buf->pos + ngx_si_block_length(b);
    }

    cl = ctx->out;

    if (cl->next == NULL && r->out == NULL && !c->buffered
        && c->write->ready)
    {

        /* one token, nothing before it: the write filter would add work */

        n = c->send(c, cl->buf->pos, cl->buf->last - cl->buf->pos);

        if (n == NGX_ERROR) {
            c->error = 1;
            return NGX_ERROR;
        }

        cl->buf->pos += ngx_max(n, 0);

        if (cl->buf->pos == cl->buf->last) {
            return NGX_OK;
        }
    }

    return ngx_http_write_filter(r, cl);
}


static void
ngx_si_out_reap(ngx_si_ctx_t *ctx)
{
    size_t        len;
    ngx_chain_t  *cl, *done;

    done = NULL;

    ngx_chain_update_chains(ctx->request->pool, &done, &ctx->busy, &ctx->out,
                            (ngx_buf_tag_t) &ngx_si_module);
    ctx->out_last = &ctx->out;

    for (cl = done; cl; cl = cl->next) {
        len = cl->buf->end - cl->buf->start;
        ngx_si_count(ctx->proc, NGX_SI_BYTES, len);

        if (cl->buf->num) {
            ctx->credit += (uint32_t) len;
        }
    }

    ngx_si_out_free(done);
}


static void
ngx_si_out_free(ngx_chain_t *cl)
{
    ngx_chain_t  *next;

    for ( /* void */ ; cl; cl = next) {
        next = cl->next;

        if (cl->buf->start) {
            ngx_si_block_unpin((ngx_si_block_t *) cl->buf->start);
        }

        ngx_free(cl);
    }
}


/*
 * Runs when the request's pool is destroyed, not before: HTTP/2 may keep
 * frames with our bufs queued after the request was terminated.
 */

void
ngx_si_out_cleanup(void *data)
{
    ngx_si_ctx_t  *ctx = data;

    /* what nginx sent by itself, after the end of the answer, counts too */

    ngx_si_out_reap(ctx);

    ngx_si_out_free(ctx->busy);
    ngx_si_out_free(ctx->out);
}
