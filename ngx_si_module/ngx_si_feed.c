
/*
 * The bytes of a mirror.  What is fed in one batch of link input is published
 * once, as blocks that all cursors send; a block goes when no cursor's
 * position is in or before it.
 */


#include "ngx_si_module.h"


#define NGX_SI_BLOCK_MIN    1024
#define NGX_SI_BLOCK_WASTE  256


static ngx_int_t ngx_si_log_id(ngx_si_mirror_t *m, const u_char *id,
    uint8_t len);
static ngx_si_block_t *ngx_si_log_room(ngx_si_mirror_t *m, size_t len);
static size_t ngx_si_log_seal(ngx_si_mirror_t *m);
static void ngx_si_log_fan_out(ngx_si_mirror_t *m, ngx_si_block_t *fresh);
static void ngx_si_log_overflow(ngx_si_mirror_t *m, size_t batch);
static ngx_si_ctx_t *ngx_si_log_slowest(ngx_si_mirror_t *m);


static ngx_int_t
ngx_si_log_id(ngx_si_mirror_t *m, const u_char *id, uint8_t len)
{
    u_char  *p;

    if (len > m->id_size) {
        p = ngx_alloc(len, ngx_cycle->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (m->id_size > NGX_SI_ID_OWN) {
            ngx_free(m->id.heap);
        }

        m->id.heap = p;
        m->id_size = len;
    }

    m->id_len = len;
    ngx_memcpy(ngx_si_mirror_id(m), id, len);

    return NGX_OK;
}


/* payload: u8 n, n bytes last event id, whole events */

const char *
ngx_si_log_feed(ngx_si_mirror_t *m, const u_char *p, size_t len)
{
    size_t           n;
    uint32_t         mid;
    ngx_si_block_t  *b;

    if (len < 1 || p[0] > SI_ID_MAX || (size_t) p[0] + 1 > len) {
        return "malformed DATA of a log";
    }

    if (p[0] && ngx_si_log_id(m, p + 1, p[0]) != NGX_OK) {
        return "no memory for a log";
    }

    len -= p[0] + 1;
    p += p[0] + 1;

    for (mid = 0; len; mid = 1) {
        b = ngx_si_log_room(m, len);
        if (b == NULL) {
            return "no memory for a log";
        }

        if (b->size == 0) {
            b->mid = mid;
        }

        n = ngx_min(len, b->room - b->size);
        ngx_memcpy(ngx_si_block_payload(b) + b->size, p, n);
        b->size += (uint32_t) n;
        p += n;
        len -= n;
    }

    if (!m->is_fed) {
        m->is_fed = 1;
        ngx_queue_insert_tail(&m->pool->proc->fed, &m->fed);
        ngx_si_tick_post(m->pool->proc);
    }

    return NULL;
}


/* an open block that holds all of len, or as much as a block may */

static ngx_si_block_t *
ngx_si_log_room(ngx_si_mirror_t *m, size_t len)
{
    size_t           room;
    ngx_si_block_t  *b, *last;

    last = m->open_tail;

    if (last && last->room - last->size >= len) {
        return last;
    }

    room = last ? last->room * 2 : NGX_SI_BLOCK_MIN;
    room = ngx_min(ngx_max(room, len), NGX_SI_BLOCK_MAX);

    b = ngx_si_block_new(room);
    if (b == NULL) {
        return NULL;
    }

    if (last) {
        last->next = b;

    } else {
        m->open = b;
    }

    m->open_tail = b;

    return b;
}


void
ngx_si_log_publish(ngx_si_mirror_t *m)
{
    size_t           batch;
    ngx_si_block_t  *fresh, *last;

    if (m->is_fed) {
        m->is_fed = 0;
        ngx_queue_remove(&m->fed);
    }

    if (m->open == NULL) {
        return;
    }

    last = m->tail;
    batch = ngx_si_log_seal(m);
    fresh = last ? last->next : m->head;

    ngx_si_log_hold(m);

    /* not to be trimmed while cursors are still to start in it */
    fresh->cursors++;
    ngx_si_log_fan_out(m, fresh);
    fresh->cursors--;

    ngx_si_log_trim(m);
    ngx_si_log_overflow(m, batch);

    ngx_si_log_release(m);
}


/* moves open blocks to the published ones; returns their bytes */

static size_t
ngx_si_log_seal(ngx_si_mirror_t *m)
{
    size_t           batch;
    ngx_si_block_t  *b, *next, *less;

    batch = 0;

    for (b = m->open; b; b = next) {
        next = b->next;

        if (b->room - b->size > NGX_SI_BLOCK_WASTE) {
            /* it may be held for a slow cursor: nobody points to it yet */
            less = realloc(b, offsetof(ngx_si_block_t, data)
                              + NGX_SI_CHUNK_HEAD + b->size + 2);
            b = less ? less : b;
            b->room = b->size;
        }

        ngx_si_block_seal(b);
        b->pins = 1;
        b->next = NULL;

        if (m->tail) {
            m->tail->next = b;

        } else {
            m->head = b;
        }

        m->tail = b;
        batch += b->size;
    }

    m->open = NULL;
    m->open_tail = NULL;
    m->bytes += batch;

    return batch;
}


/* each reader is moved before it is served: serving may remove any of them */

static void
ngx_si_log_fan_out(ngx_si_mirror_t *m, ngx_si_block_t *fresh)
{
    ngx_queue_t  todo, *q;

    ngx_si_seat_fan_out(m, fresh);

    ngx_si_queue_take(&todo, &m->readers);

    while (!ngx_queue_empty(&todo)) {
        q = ngx_queue_head(&todo);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&m->readers, q);
        ngx_si_cursor_fresh(ngx_queue_data(q, ngx_si_ctx_t, reader), fresh);
    }
}


void
ngx_si_log_trim(ngx_si_mirror_t *m)
{
    ngx_si_block_t  *b;

    while (m->head && m->head->cursors == 0) {
        b = m->head;
        m->head = b->next;
        m->bytes -= b->size;
        ngx_si_block_unpin(b);
    }

    if (m->head == NULL) {
        m->tail = NULL;
    }
}


/* the last batch does not count: nobody is closed for one long event */

static void
ngx_si_log_overflow(ngx_si_mirror_t *m, size_t batch)
{
    ngx_si_ctx_t  *ctx;

    while (m->head && m->bytes > batch && m->bytes - batch > m->limit) {

        ctx = ngx_si_log_slowest(m);
        if (ctx == NULL) {
            return;
        }

        ngx_log_error(NGX_LOG_INFO, ctx->request->connection->log, 0,
                      "si reader closed: it is %uz bytes behind", m->bytes);

        ngx_si_count(ctx->proc, NGX_SI_SLOW, 1);
        ngx_si_cursor_shed(ctx);
    }
}


static ngx_si_ctx_t *
ngx_si_log_slowest(ngx_si_mirror_t *m)
{
    ngx_queue_t   *q;
    ngx_si_ctx_t  *ctx;

    for (q = ngx_queue_head(&m->lagging);
         q != ngx_queue_sentinel(&m->lagging);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_si_ctx_t, reader);

        if (ctx->block == m->head) {
            return ctx;
        }
    }

    return NULL;
}
