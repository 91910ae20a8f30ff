
/*
 * Frames in and out of a link: the bounded output queue, the input buffer,
 * and who gets which frame.
 */


#include "ngx_si_module.h"


#define NGX_SI_OUT_BLOCK   (16 * 1024)
#define NGX_SI_READ_BATCH  (1 << 20)    /* then other events have their turn */


static ngx_si_out_t *ngx_si_frame_room(ngx_si_link_t *link, size_t size);
static ngx_int_t ngx_si_frame_in_room(ngx_si_link_t *link);
static ngx_int_t ngx_si_frame_parse(ngx_si_link_t *link);
static const char *ngx_si_frame_take(ngx_si_link_t *link, si_frame_t *f,
    const u_char *p);
static const char *ngx_si_frame_to_call(ngx_si_link_t *link, si_frame_t *f,
    const u_char *p);
static const char *ngx_si_frame_to_log(ngx_si_link_t *link, si_frame_t *f,
    const u_char *p);


u_char *
ngx_si_frame_add(ngx_si_link_t *link, uint8_t type, uint8_t flags,
    uint64_t id, size_t length)
{
    u_char        *p;
    ngx_si_out_t  *out;

    if (link->state == NGX_SI_LINK_DEAD || link->reason) {
        return NULL;
    }

    out = ngx_si_frame_room(link, SI_FRAME_HEAD + length);
    if (out == NULL) {
        ngx_si_link_fail(link, "the output queue is full");
        return NULL;
    }

    p = out->last;
    si_frame_put(p, type, flags, id, (uint32_t) length);

    out->last += SI_FRAME_HEAD + length;
    link->out_size += SI_FRAME_HEAD + length;

    ngx_si_link_post(link);

    return p + SI_FRAME_HEAD;
}


static ngx_si_out_t *
ngx_si_frame_room(ngx_si_link_t *link, size_t size)
{
    size_t         room;
    ngx_si_out_t  *out;

    if (link->out_size + size > NGX_SI_OUT_HARD) {
        return NULL;
    }

    out = link->out_last;

    if (link->out && (size_t) (out->end - out->last) >= size) {
        return out;
    }

    room = ngx_max(size, NGX_SI_OUT_BLOCK);

    out = ngx_alloc(sizeof(ngx_si_out_t) + room, link->connection->log);
    if (out == NULL) {
        return NULL;
    }

    out->next = NULL;
    out->pos = (u_char *) out + sizeof(ngx_si_out_t);
    out->last = out->pos;
    out->end = out->pos + room;

    if (link->out) {
        link->out_last->next = out;

    } else {
        link->out = out;
    }

    link->out_last = out;

    return out;
}


void
ngx_si_frame_undo(ngx_si_link_t *link, size_t length)
{
    link->out_last->last -= SI_FRAME_HEAD + length;
    link->out_size -= SI_FRAME_HEAD + length;
}


void
ngx_si_frame_empty(ngx_si_link_t *link, uint8_t type, uint64_t id)
{
    (void) ngx_si_frame_add(link, type, 0, id, 0);
}


void
ngx_si_frame_u32(ngx_si_link_t *link, uint8_t type, uint64_t id,
    uint32_t value)
{
    u_char  *p;

    p = ngx_si_frame_add(link, type, 0, id, 4);
    if (p) {
        si_put32(p, value);
    }
}


ngx_int_t
ngx_si_frame_flush(ngx_si_link_t *link)
{
    ssize_t            n;
    ngx_si_out_t      *out;
    ngx_connection_t  *c;

    c = link->connection;

    while (link->out && c->write->ready) {
        out = link->out;

        n = out->last - out->pos;

        if (n) {
            n = c->send(c, out->pos, n);
        }

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (n == NGX_AGAIN) {
            break;
        }

        out->pos += n;
        link->out_size -= n;

        if (out->pos >= out->last) {
            link->out = out->next;
            ngx_free(out);
        }
    }

    return ngx_handle_write_event(c->write, 0);
}


ngx_int_t
ngx_si_frame_read(ngx_si_link_t *link)
{
    size_t             total;
    ssize_t            n;
    ngx_event_t       *rev;
    ngx_connection_t  *c;

    c = link->connection;
    rev = c->read;
    total = 0;

    do {
        if (total > NGX_SI_READ_BATCH) {
            ngx_post_event(rev, &ngx_posted_next_events);
            return NGX_OK;
        }

        if (ngx_si_frame_in_room(link) != NGX_OK) {
            link->reason = "no memory for input";
            return NGX_ERROR;
        }

        n = c->recv(c, link->in_last, link->in + link->in_size
                                      - link->in_last);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n == 0 || n == NGX_ERROR) {
            return NGX_ERROR;
        }

        total += n;
        link->in_last += n;
        link->heard = ngx_current_msec;

        if (ngx_si_frame_parse(link) != NGX_OK) {
            return NGX_ERROR;
        }

    } while (rev->ready);

    return NGX_OK;
}


/* makes room for the rest of the frame that has begun, at least some */

static ngx_int_t
ngx_si_frame_in_room(ngx_si_link_t *link)
{
    size_t   have, need;
    u_char  *in;

    have = link->in_last - link->in_pos;
    need = NGX_SI_IN;

    if (have >= SI_FRAME_HEAD) {
        need = ngx_max(need, SI_FRAME_HEAD + si_get32(link->in_pos));
    }

    if (link->in == NULL || need > link->in_size
        || (have == 0 && link->in_size > NGX_SI_IN))
    {
        in = ngx_alloc(need, link->connection->log);
        if (in == NULL) {
            return NGX_ERROR;
        }

        if (have) {
            ngx_memcpy(in, link->in_pos, have);
        }

        if (link->in) {
            ngx_free(link->in);
        }

        link->in = in;
        link->in_size = need;

    } else if (have) {
        ngx_memmove(link->in, link->in_pos, have);
    }

    link->in_pos = link->in;
    link->in_last = link->in + have;

    return NGX_OK;
}


static ngx_int_t
ngx_si_frame_parse(ngx_si_link_t *link)
{
    si_frame_t   f;
    const char  *reason;

    while (link->in_last - link->in_pos >= (ssize_t) SI_FRAME_HEAD) {

        reason = si_frame_get(link->in_pos, &f);

        if (reason == NULL) {
            if ((size_t) (link->in_last - link->in_pos)
                < SI_FRAME_HEAD + f.length)
            {
                return NGX_OK;
            }

            reason = ngx_si_frame_take(link, &f,
                                       link->in_pos + SI_FRAME_HEAD);
            link->in_pos += SI_FRAME_HEAD + f.length;
        }

        if (reason && link->reason == NULL) {
            link->reason = reason;
        }

        if (link->reason) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static const char *
ngx_si_frame_take(ngx_si_link_t *link, si_frame_t *f, const u_char *p)
{
    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, link->connection->log, 0,
                   "si frame type:%d flags:%d id:%uL length:%uD",
                   f->type, f->flags, f->id, f->length);

    if (link->state == NGX_SI_LINK_HELLO && f->type != SI_F_HELLO) {
        return "frame before HELLO";
    }

    switch (f->type) {

    case SI_F_HELLO:
        return ngx_si_link_hello(link, p, f->length);

    case SI_F_PONG:
        return f->length == 8 ? NULL : "malformed PONG";

    case SI_F_PUSH:
        return ngx_si_push_take(link, p, f->length);

    case SI_F_GOAWAY:
        ngx_si_link_goaway(link);
        return NULL;

    case SI_F_DATA:
    case SI_F_END:
        if (f->flags & SI_FL_LOG) {
            return ngx_si_frame_to_log(link, f, p);
        }

        return ngx_si_frame_to_call(link, f, p);

    case SI_F_HEAD:
    case SI_F_MOVED:
    case SI_F_ATTACH:
    case SI_F_CREDIT:
        return ngx_si_frame_to_call(link, f, p);

    default:
        return "frame that only an edge sends";
    }
}


static const char *
ngx_si_frame_to_call(ngx_si_link_t *link, si_frame_t *f, const u_char *p)
{
    ngx_si_call_t  *call;

    if (f->id == 0 || f->id >= link->next_id) {
        return "frame of a call that was never opened";
    }

    call = ngx_si_link_call(link, f->id);

    if (call) {
        return call->ops->frame(call, f, p);
    }

    /* it was under way when the call ended */

    return f->type == SI_F_ATTACH ? ngx_si_log_stray(link, p, f->length)
                                  : NULL;
}


static const char *
ngx_si_frame_to_log(ngx_si_link_t *link, si_frame_t *f, const u_char *p)
{
    ngx_si_mirror_t  *m;

    m = ngx_si_link_find_log(link, f->id);

    if (m == NULL) {
        /* under way when DETACH was sent */
        return NULL;
    }

    if (f->type == SI_F_DATA) {
        return ngx_si_log_feed(m, p, f->length);
    }

    ngx_si_log_end(m, f->flags & SI_FL_ABORT);

    return NULL;
}
