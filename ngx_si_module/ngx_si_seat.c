
/*
 * Seats: the readers of a mirror that are at its end, with a socket that
 * takes blocks as they are.  All that a delivery to them needs lies side by
 * side, so the fan-out touches neither request nor connection: what it
 * changes there is made up for when anything else looks at the reader.
 */


#include "ngx_si_module.h"


#define NGX_SI_SEAT_IOVS  16


static ngx_int_t ngx_si_seat_room(ngx_si_mirror_t *m);
static void ngx_si_seat_missed(ngx_si_ctx_t *ctx, ngx_si_block_t *fresh,
    ssize_t n);


/* gives the reader a seat if it may have one */

void
ngx_si_seat_take(ngx_si_ctx_t *ctx)
{
    ngx_si_seat_t     *seat;
    ngx_si_mirror_t   *m = ctx->mirror;
    ngx_connection_t  *c = ctx->request->connection;

    if (ctx->seat || ctx->block || !ctx->direct || m->ended
#if (NGX_SSL)
        || c->ssl
#endif
        || c->send != ngx_send || !ngx_si_cursor_clear(ctx)
        || ngx_si_seat_room(m) != NGX_OK)
    {
        return;
    }

    ngx_queue_remove(&ctx->reader);

    seat = &m->seats[m->nseats++];
    seat->ctx = ctx;
    seat->fd = c->fd;
    seat->sent = 0;
    seat->last = ctx->last;

    ctx->seat = m->nseats;
}


static ngx_int_t
ngx_si_seat_room(ngx_si_mirror_t *m)
{
    uint32_t        n;
    ngx_si_seat_t  *seats;

    if (m->nseats < m->aseats) {
        return NGX_OK;
    }

    n = m->aseats + m->aseats / 2 + 2;

    seats = realloc(m->seats == &m->seat ? NULL : m->seats,
                    n * sizeof(ngx_si_seat_t));
    if (seats == NULL) {
        return NGX_ERROR;
    }

    if (m->seats == &m->seat) {
        seats[0] = m->seat;
    }

    m->seats = seats;
    m->aseats = n;

    return NGX_OK;
}


void
ngx_si_seat_free(ngx_si_mirror_t *m)
{
    if (m->seats != &m->seat) {
        free(m->seats);
    }
}


/* brings request and connection up to date */

void
ngx_si_seat_sync(ngx_si_ctx_t *ctx)
{
    ngx_si_seat_t  *seat;

    if (ctx->seat == 0) {
        return;
    }

    seat = &ctx->mirror->seats[ctx->seat - 1];

    ctx->request->connection->sent += seat->sent;
    ctx->last = seat->last;
    seat->sent = 0;
}


void
ngx_si_seat_leave(ngx_si_ctx_t *ctx)
{
    ngx_si_seat_t    *seat;
    ngx_si_mirror_t  *m = ctx->mirror;

    if (ctx->seat == 0) {
        return;
    }

    ngx_si_seat_sync(ctx);

    seat = &m->seats[ctx->seat - 1];
    *seat = m->seats[--m->nseats];
    seat->ctx->seat = ctx->seat;
    ctx->seat = 0;

    ngx_queue_insert_tail(&m->readers, &ctx->reader);
}


void
ngx_si_seat_leave_all(ngx_si_mirror_t *m)
{
    while (m->nseats) {
        ngx_si_seat_leave(m->seats[m->nseats - 1].ctx);
    }
}


/* backwards: a reader that leaves is replaced by one that was served */

void
ngx_si_seat_fan_out(ngx_si_mirror_t *m, ngx_si_block_t *fresh)
{
    size_t           len, total;
    ssize_t          n;
    ngx_uint_t       i, niov;
    struct iovec     iovs[NGX_SI_SEAT_IOVS];
    ngx_si_seat_t   *seat;
    ngx_si_block_t  *b;

    if (m->nseats == 0) {
        return;
    }

    len = 0;
    niov = 0;

    for (b = fresh; b && niov < NGX_SI_SEAT_IOVS; b = b->next) {
        iovs[niov].iov_base = ngx_si_block_wire(b);
        iovs[niov].iov_len = ngx_si_block_length(b);
        len += iovs[niov++].iov_len;
    }

    if (b) {
        /* rare: a burst for which one call is not enough */
        ngx_si_seat_leave_all(m);
        return;
    }

    total = 0;

    for (i = m->nseats; i > 0; i--) {
        seat = &m->seats[i - 1];

        do {
            n = niov == 1 ? send(seat->fd, iovs[0].iov_base, len, 0)
                          : writev(seat->fd, iovs, niov);
        } while (n == -1 && ngx_errno == NGX_EINTR);

        if (n > 0) {
            total += n;
            seat->sent += n;
            seat->last = ngx_current_msec;
        }

        if (n != (ssize_t) len) {
            ngx_si_seat_missed(seat->ctx, fresh, n);
        }
    }

    ngx_si_count(m->pool->proc, NGX_SI_BYTES, total);
}


static void
ngx_si_seat_missed(ngx_si_ctx_t *ctx, ngx_si_block_t *fresh, ssize_t n)
{
    ssize_t            rest;
    ngx_err_t          err;
    ngx_connection_t  *c;

    err = ngx_errno;
    c = ctx->request->connection;

    ngx_si_seat_leave(ctx);
    c->write->ready = 0;

    if (n == -1 && err != NGX_EAGAIN) {
        c->write->error = 1;
        c->error = 1;
        (void) ngx_connection_error(c, err, "send() failed");
        ngx_si_ctx_finish(ctx, NGX_ERROR);
        return;
    }

    for (n = ngx_max(n, 0); /* void */ ; fresh = fresh->next) {
        rest = ngx_si_block_length(fresh);

        if (n < rest) {
            break;
        }

        n -= rest;
    }

    ngx_si_cursor_lag(ctx, fresh, (uint32_t) n);
}
