
/*
 * Mirrors: a shared log as far as this process still needs it.  What is fed
 * in one batch of link input is published once, as blocks that all cursors
 * send; a block goes when no cursor's position is in or before it.
 */


#include "ngx_si_module.h"


#define NGX_SI_BLOCK_MIN   1024
#define NGX_SI_BLOCK_WASTE 256


static ngx_si_mirror_t *ngx_si_log_create(ngx_si_ctx_t *ctx,
    const u_char *key, size_t len);
static void ngx_si_log_destroy(ngx_si_mirror_t *m);
static void ngx_si_log_free_blocks(ngx_si_block_t *b, ngx_uint_t pinned);
static void ngx_si_log_join(ngx_si_mirror_t *m, ngx_si_ctx_t *ctx);
static void ngx_si_log_merge(ngx_si_mirror_t *m, ngx_si_mirror_t *into);
static ngx_si_block_t *ngx_si_log_room(ngx_si_mirror_t *m, size_t len);
static size_t ngx_si_log_seal(ngx_si_mirror_t *m);
static void ngx_si_log_fan_out(ngx_si_mirror_t *m, ngx_si_block_t *fresh);
static void ngx_si_log_overflow(ngx_si_mirror_t *m, size_t batch);
static ngx_si_ctx_t *ngx_si_log_slowest(ngx_si_mirror_t *m);
static void ngx_si_log_tenant(ngx_si_mirror_t *m, ngx_si_ctx_t *ctx);


/* payload: u64 log, u32 seq, key */

const char *
ngx_si_log_attach(ngx_si_ctx_t *ctx, const u_char *p, size_t len)
{
    uint64_t          log;
    ngx_si_link_t    *link;
    ngx_si_mirror_t  *m;

    if (len <= 12 || len > 12 + SI_KEY_MAX || si_get64(p) == 0) {
        return "malformed ATTACH";
    }

    if (ctx->left >= 0) {
        return "ATTACH of an answer with a length";
    }

    log = si_get64(p);
    link = ctx->call.link;

    m = (ngx_si_mirror_t *) ngx_si_tree_find(&link->logs, log);

    if (m == NULL) {
        m = ngx_si_log_create(ctx, p + 12, len - 12);

        if (m == NULL) {
            ngx_si_ctx_abort(ctx);
            return NULL;
        }

        ngx_si_log_bind(m, link, log, si_get32(p + 8));

    } else if (m->key_len != len - 12
               || ngx_memcmp(m->key, p + 12, m->key_len) != 0)
    {
        return "ATTACH of a log with another key";
    }

    m->seq = si_get32(p + 8);

    ngx_si_call_unbind(&ctx->call, 0);
    ngx_si_call_unqueue(&ctx->call);

    ngx_si_log_tenant(m, ctx);
    ngx_si_log_join(m, ctx);

    return NULL;
}


static void
ngx_si_log_join(ngx_si_mirror_t *m, ngx_si_ctx_t *ctx)
{
    /* what was fed before is not for this cursor */

    ngx_si_log_hold(m);
    ngx_si_log_publish(m);

    ctx->mirror = m;
    ctx->stage = NGX_SI_READING;
    ngx_queue_insert_tail(&m->readers, &ctx->reader);
    m->nreaders++;

    ngx_si_count(ctx->proc, NGX_SI_READERS, 1);

    ngx_si_log_release(m);

    ngx_si_tick_drain(ctx);
    ngx_si_ctx_mark(ctx);
}


static ngx_si_mirror_t *
ngx_si_log_create(ngx_si_ctx_t *ctx, const u_char *key, size_t len)
{
    ngx_si_mirror_t    *m;
    ngx_si_loc_conf_t  *slcf;

    m = ngx_calloc(sizeof(ngx_si_mirror_t), ngx_cycle->log);
    if (m == NULL) {
        return NULL;
    }

    slcf = ngx_http_get_module_loc_conf(ctx->request, ngx_si_module);

    m->proc = ctx->proc;
    m->pool = slcf->pool;
    m->limit = slcf->buffer;
    m->avoid = -1;

    ngx_memcpy(m->key, key, len);
    m->key_len = len;

    ngx_queue_init(&m->readers);
    ngx_queue_init(&m->lagging);

    ngx_si_count(m->proc, NGX_SI_LOGS, 1);

    return m;
}


/* a resume asks for the log in the name of who first read it */

static void
ngx_si_log_tenant(ngx_si_mirror_t *m, ngx_si_ctx_t *ctx)
{
    if (m->tenant.len || ctx->tenant.len == 0) {
        return;
    }

    m->tenant.data = ngx_alloc(ctx->tenant.len, ngx_cycle->log);

    if (m->tenant.data) {
        m->tenant.len = ctx->tenant.len;
        ngx_memcpy(m->tenant.data, ctx->tenant.data, m->tenant.len);
    }
}


void
ngx_si_log_bind(ngx_si_mirror_t *m, ngx_si_link_t *link, uint64_t log,
    uint32_t seq)
{
    ngx_si_mirror_t  *other;

    other = (ngx_si_mirror_t *) ngx_si_tree_find(&link->logs, log);

    if (other) {
        other->seq = seq;
        ngx_si_log_merge(m, other);
        return;
    }

    m->link = link;
    m->seq = seq;
    m->node.key = log;

    ngx_rbtree_insert(&link->logs, &m->node);
    link->nlogs++;
    ngx_si_link_touch(link);
}


/*
 * The log of a resumed mirror has another mirror on this link already, whose
 * end is the same place.  Readers there go over; those that lag would have
 * to read two mirrors in a row, so they resume by id instead.
 */

static void
ngx_si_log_merge(ngx_si_mirror_t *m, ngx_si_mirror_t *into)
{
    ngx_queue_t   *q;
    ngx_si_ctx_t  *ctx;

    ngx_si_log_hold(m);
    ngx_si_log_hold(into);

    ngx_si_log_publish(m);
    ngx_si_log_publish(into);

    while (!ngx_queue_empty(&m->readers)) {
        q = ngx_queue_head(&m->readers);
        ctx = ngx_queue_data(q, ngx_si_ctx_t, reader);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&into->readers, q);
        ctx->mirror = into;
        m->nreaders--;
        into->nreaders++;
    }

    ngx_si_log_close(m, NGX_SI_LOST, 500);

    ngx_si_log_release(into);
    ngx_si_log_release(m);
}


void
ngx_si_log_unbind(ngx_si_mirror_t *m, ngx_uint_t detach)
{
    ngx_si_link_t  *link = m->link;

    if (link == NULL) {
        return;
    }

    m->link = NULL;
    ngx_rbtree_delete(&link->logs, &m->node);
    link->nlogs--;

    if (detach) {
        ngx_si_frame_u32(link, SI_F_DETACH, m->node.key, m->seq);
    }

    ngx_si_link_touch(link);
}


void
ngx_si_log_leave(ngx_si_ctx_t *ctx)
{
    ngx_si_mirror_t  *m = ctx->mirror;

    ngx_queue_remove(&ctx->reader);
    m->nreaders--;
    ctx->mirror = NULL;

    ngx_si_count(ctx->proc, NGX_SI_READERS, -1);

    ngx_si_log_hold(m);

    if (ctx->block) {
        ctx->block->cursors--;
        ctx->block = NULL;
        ngx_si_log_trim(m);
    }

    ngx_si_log_release(m);
}


void
ngx_si_log_hold(ngx_si_mirror_t *m)
{
    m->holds++;
}


void
ngx_si_log_release(ngx_si_mirror_t *m)
{
    if (--m->holds == 0 && m->nreaders == 0) {
        ngx_si_log_destroy(m);
    }
}


static void
ngx_si_log_destroy(ngx_si_mirror_t *m)
{
    if (m->is_fed) {
        ngx_queue_remove(&m->fed);
    }

    ngx_si_resume_stop(m);
    ngx_si_log_unbind(m, 1);

    ngx_si_log_free_blocks(m->head, 1);
    ngx_si_log_free_blocks(m->open, 0);

    if (m->tenant.data) {
        ngx_free(m->tenant.data);
    }

    ngx_si_count(m->proc, NGX_SI_LOGS, -1);

    ngx_free(m);
}


static void
ngx_si_log_free_blocks(ngx_si_block_t *b, ngx_uint_t pinned)
{
    ngx_si_block_t  *next;

    for ( /* void */ ; b; b = next) {
        next = b->next;

        if (pinned) {
            ngx_si_block_unpin(b);

        } else {
            ngx_free(b);
        }
    }
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

    if (p[0]) {
        m->last_id_len = p[0];
        ngx_memcpy(m->last_id, p + 1, p[0]);
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
        ngx_queue_insert_tail(&m->proc->fed, &m->fed);
        ngx_si_tick_post(m->proc);
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

    if (ngx_queue_empty(&m->readers)) {
        return;
    }

    ngx_queue_init(&todo);
    ngx_queue_add(&todo, &m->readers);
    ngx_queue_init(&m->readers);

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
        ngx_si_ctx_abort(ctx);
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


/* the worker has ended the log; aborted: it goes on elsewhere */

void
ngx_si_log_end(ngx_si_mirror_t *m, ngx_uint_t aborted)
{
    ngx_int_t     avoid;
    ngx_queue_t   todo, *q;

    if (aborted) {
        avoid = m->link && m->link->slot ? (ngx_int_t) m->link->slot->number
                                         : -1;
        ngx_si_resume_start(m, avoid);
        return;
    }

    ngx_si_log_hold(m);
    ngx_si_log_publish(m);
    ngx_si_resume_stop(m);
    ngx_si_log_unbind(m, 0);

    m->ended = 1;

    ngx_queue_init(&todo);

    if (!ngx_queue_empty(&m->readers)) {
        ngx_queue_add(&todo, &m->readers);
        ngx_queue_init(&m->readers);
    }

    while (!ngx_queue_empty(&todo)) {
        q = ngx_queue_head(&todo);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&m->readers, q);
        ngx_si_answer_run(ngx_queue_data(q, ngx_si_ctx_t, reader));
    }

    ngx_si_log_release(m);
}


void
ngx_si_log_close(ngx_si_mirror_t *m, ngx_si_counter_e why, ngx_msec_t retry)
{
    ngx_queue_t   *q;
    ngx_si_ctx_t  *ctx;

    ngx_si_log_hold(m);

    while (m->nreaders) {
        q = ngx_queue_empty(&m->readers) ? ngx_queue_head(&m->lagging)
                                         : ngx_queue_head(&m->readers);
        ctx = ngx_queue_data(q, ngx_si_ctx_t, reader);

        ngx_si_count(ctx->proc, why, 1);
        ngx_si_answer_retry(ctx, retry + ngx_random() % (2 * retry));
    }

    ngx_si_log_release(m);
}
