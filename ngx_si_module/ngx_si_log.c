
/*
 * Mirrors: which log is held for whom, from the first ATTACH to the end.
 */


#include "ngx_si_module.h"


static ngx_si_mirror_t *ngx_si_log_create(ngx_si_ctx_t *ctx,
    const u_char *key, size_t len);
static void ngx_si_log_destroy(ngx_si_mirror_t *m);
static void ngx_si_log_free_blocks(ngx_si_block_t *b, ngx_uint_t pinned);
static void ngx_si_log_join(ngx_si_mirror_t *m, ngx_si_ctx_t *ctx);
static void ngx_si_log_merge(ngx_si_mirror_t *m, ngx_si_mirror_t *into);


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

    m = ngx_si_link_find_log(link, log);

    if (m == NULL) {
        m = ngx_si_log_create(ctx, p + 12, len - 12);

        if (m == NULL) {
            ngx_si_ctx_abort(ctx);
            return ngx_si_log_stray(link, p, len);
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

    ngx_si_log_join(m, ctx);

    return NULL;
}


const char *
ngx_si_log_stray(ngx_si_link_t *link, const u_char *p, size_t len)
{
    ngx_si_mirror_t  *m;

    if (len <= 12 || len > 12 + SI_KEY_MAX || si_get64(p) == 0) {
        return "malformed ATTACH";
    }

    m = ngx_si_link_find_log(link, si_get64(p));

    if (m) {
        m->seq = si_get32(p + 8);

    } else {
        ngx_si_frame_u32(link, SI_F_DETACH, si_get64(p), si_get32(p + 8));
    }

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
    ngx_si_census_mark(m);

    ngx_si_count(ctx->proc, NGX_SI_READERS, 1);
    ngx_si_count(ctx->proc, NGX_SI_READ, 1);

    ngx_si_log_release(m);

    ngx_si_tick_drain(ctx);
    ngx_si_ctx_mark(ctx);
}


static ngx_si_mirror_t *
ngx_si_log_create(ngx_si_ctx_t *ctx, const u_char *key, size_t len)
{
    ngx_si_mirror_t    *m;
    ngx_si_loc_conf_t  *slcf;

    m = ngx_calloc(offsetof(ngx_si_mirror_t, key) + len, ngx_cycle->log);
    if (m == NULL) {
        return NULL;
    }

    slcf = ngx_http_get_module_loc_conf(ctx->request, ngx_si_module);

    m->pool = slcf->pool;
    m->limit = slcf->buffer;

    m->key_len = (uint16_t) len;
    ngx_memcpy(m->key, key, len);

    m->id_size = NGX_SI_ID_OWN;

    ngx_queue_init(&m->readers);
    ngx_queue_init(&m->lagging);

    m->seats = &m->seat;
    m->aseats = 1;

    ngx_si_count(m->pool->proc, NGX_SI_LOGS, 1);

    return m;
}


void
ngx_si_log_bind(ngx_si_mirror_t *m, ngx_si_link_t *link, uint64_t log,
    uint32_t seq)
{
    ngx_si_mirror_t  *other;

    other = ngx_si_link_find_log(link, log);

    if (other) {
        other->seq = seq;
        ngx_si_log_merge(m, other);
        return;
    }

    m->link = link;
    m->seq = seq;
    m->log = log;
    m->told = 1;
    ngx_si_census_mark(m);

    ngx_si_link_add_log(link, m);
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

    ngx_si_seat_leave_all(m);

    while (!ngx_queue_empty(&m->readers)) {
        q = ngx_queue_head(&m->readers);
        ctx = ngx_queue_data(q, ngx_si_ctx_t, reader);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&into->readers, q);
        ctx->mirror = into;
        m->nreaders--;
        into->nreaders++;
    }

    ngx_si_census_mark(into);
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
    ngx_si_link_remove_log(link, m);

    if (detach) {
        ngx_si_frame_u32(link, SI_F_DETACH, m->log, m->seq);
    }

    ngx_si_link_touch(link);
}


void
ngx_si_log_leave(ngx_si_ctx_t *ctx)
{
    ngx_si_mirror_t  *m = ctx->mirror;

    ngx_si_seat_leave(ctx);
    ngx_queue_remove(&ctx->reader);
    m->nreaders--;
    ngx_si_census_mark(m);
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

    ngx_si_census_drop(m);
    ngx_si_resume_stop(m);
    ngx_si_log_unbind(m, 1);

    ngx_si_log_free_blocks(m->head, 1);
    ngx_si_log_free_blocks(m->open, 0);

    ngx_si_seat_free(m);

    if (m->id_size > NGX_SI_ID_OWN) {
        ngx_free(m->id.heap);
    }

    ngx_si_count(m->pool->proc, NGX_SI_LOGS, -1);

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
    ngx_si_seat_leave_all(m);

    ngx_si_queue_take(&todo, &m->readers);

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

    ngx_si_seat_leave_all(m);

    while (m->nreaders) {
        q = ngx_queue_empty(&m->readers) ? ngx_queue_head(&m->lagging)
                                         : ngx_queue_head(&m->readers);
        ctx = ngx_queue_data(q, ngx_si_ctx_t, reader);

        ngx_si_count(ctx->proc, why, 1);
        ngx_si_answer_retry(ctx, retry + ngx_random() % (2 * retry));
    }

    ngx_si_log_release(m);
}
