
/*
 * The one timer of a process, armed while it has requests: heartbeats,
 * stalled clients, waiting calls, resumes, and the drain at a graceful exit.
 * It is not cancelable: the process must not leave while a stream is open.
 */


#include "ngx_si_module.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif


#define NGX_SI_TICK_MIN    5
#define NGX_SI_TICK_MAX    250
#define NGX_SI_TRIM_READS  256      /* readers that freed memory, */
#define NGX_SI_TRIM_EVERY  2000     /* and the least time between two trims */
#define NGX_SI_DRAIN_MORE  5000     /* for readers that lag at its end */


static void ngx_si_tick_handler(ngx_event_t *ev);
static void ngx_si_tick_flush(ngx_event_t *ev);
static void ngx_si_tick_arm(ngx_si_proc_t *proc);
static void ngx_si_tick_expire(ngx_si_proc_t *proc);
static void ngx_si_tick_trim(ngx_si_proc_t *proc);
static void ngx_si_tick_walk(ngx_si_proc_t *proc, ngx_queue_t *bucket);
static void ngx_si_tick_visit(ngx_si_ctx_t *ctx);
static ngx_uint_t ngx_si_tick_stalled(ngx_si_ctx_t *ctx,
    ngx_si_loc_conf_t *slcf);
static ngx_uint_t ngx_si_tick_due(ngx_si_ctx_t *ctx);
static ngx_uint_t ngx_si_tick_expired(ngx_si_ctx_t *ctx);
static void ngx_si_tick_exit(ngx_si_proc_t *proc);
static ngx_uint_t ngx_si_tick_drains(ngx_si_ctx_t *ctx);


ngx_int_t
ngx_si_tick_init(ngx_si_proc_t *proc, ngx_log_t *log)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_SI_BUCKETS; i++) {
        ngx_queue_init(&proc->buckets[i]);
    }

    ngx_queue_init(&proc->fed);
    ngx_queue_init(&proc->dirty);
    ngx_queue_init(&proc->resumes);
    ngx_queue_init(&proc->census);

    proc->dummy.fd = (ngx_socket_t) -1;
    proc->dummy.data = proc;

    proc->tick.data = &proc->dummy;
    proc->tick.handler = ngx_si_tick_handler;
    proc->tick.log = log;

    proc->flush.data = &proc->dummy;
    proc->flush.handler = ngx_si_tick_flush;
    proc->flush.log = log;

    ngx_si_quota_start(proc, log);

    return NGX_OK;
}


/* each bucket is visited four times in the shortest time that matters */

static void
ngx_si_tick_arm(ngx_si_proc_t *proc)
{
    ngx_msec_t  tick;

    tick = proc->conf->beat / (4 * NGX_SI_BUCKETS);

    ngx_add_timer(&proc->tick,
                  ngx_min(ngx_max(tick, NGX_SI_TICK_MIN), NGX_SI_TICK_MAX));
}


void
ngx_si_tick_add(ngx_si_ctx_t *ctx)
{
    ngx_queue_t    *bucket;
    ngx_si_proc_t  *proc = ctx->proc;

    bucket = &proc->buckets[proc->fill++ % NGX_SI_BUCKETS];
    ngx_queue_insert_tail(bucket, &ctx->bucket);
    proc->requests++;
    ngx_si_count(proc, NGX_SI_CALLS, 1);
    ngx_si_count(proc, NGX_SI_CALLED, 1);

    proc->tick.cancelable = 0;

    if (!proc->tick.timer_set) {
        ngx_si_tick_arm(proc);
    }
}


void
ngx_si_tick_remove(ngx_si_ctx_t *ctx)
{
    ngx_queue_remove(&ctx->bucket);
    ctx->proc->requests--;
    ctx->proc->freed += ctx->stream;
    ngx_si_count(ctx->proc, NGX_SI_CALLS, -1);

    ctx->proc->tick.cancelable = ctx->proc->requests == 0;
}


/* work that waits for the end of the batch of events */

void
ngx_si_tick_post(ngx_si_proc_t *proc)
{
    ngx_post_event(&proc->flush, &ngx_posted_events);
}


static void
ngx_si_tick_flush(ngx_event_t *ev)
{
    ngx_queue_t       *q;
    ngx_si_ctx_t      *ctx;
    ngx_si_proc_t     *proc;
    ngx_connection_t  *dummy;

    dummy = ev->data;
    proc = dummy->data;

    while (!ngx_queue_empty(&proc->fed)) {
        q = ngx_queue_head(&proc->fed);
        ngx_si_log_publish(ngx_queue_data(q, ngx_si_mirror_t, fed));
    }

    while (!ngx_queue_empty(&proc->dirty)) {
        q = ngx_queue_head(&proc->dirty);
        ctx = ngx_queue_data(q, ngx_si_ctx_t, dirty);

        ngx_queue_remove(q);
        ctx->is_dirty = 0;
        ngx_si_answer_run(ctx);
    }
}


static void
ngx_si_tick_handler(ngx_event_t *ev)
{
    ngx_uint_t         i;
    ngx_si_proc_t     *proc;
    ngx_connection_t  *dummy;

    dummy = ev->data;
    proc = dummy->data;

    if (ngx_exiting && !proc->exiting) {
        ngx_si_tick_exit(proc);
    }

    ngx_si_tick_expire(proc);
    ngx_si_resume_tick(proc);
    ngx_si_census_tick(proc);

    if (proc->exiting) {
        for (i = 0; i < NGX_SI_BUCKETS; i++) {
            ngx_si_tick_walk(proc, &proc->buckets[i]);
        }

    } else {
        ngx_si_tick_walk(proc,
                         &proc->buckets[proc->visit++ % NGX_SI_BUCKETS]);
    }

    ngx_si_tick_trim(proc);

    if ((proc->requests || proc->freed >= NGX_SI_TRIM_READS)
        && !ev->timer_set)
    {
        ngx_si_tick_arm(proc);
    }
}


/*
 * What many readers freed, when they left or became idle, goes back to the
 * system: malloc() by itself gives back no more than the end of its heap.
 */

static void
ngx_si_tick_trim(ngx_si_proc_t *proc)
{
    if (proc->freed < NGX_SI_TRIM_READS
        || ngx_current_msec - proc->trimmed < NGX_SI_TRIM_EVERY)
    {
        return;
    }

    proc->freed = 0;
    proc->trimmed = ngx_current_msec;

#if defined(__GLIBC__)
    (void) malloc_trim(0);
#endif
}


static void
ngx_si_tick_expire(ngx_si_proc_t *proc)
{
    ngx_uint_t       i;
    ngx_si_pool_t  **pools;

    pools = proc->conf->pools.elts;

    for (i = 0; i < proc->conf->pools.nelts; i++) {
        ngx_si_pool_ready(pools[i], 1);
    }
}


/* a visit may end any request, so each is put back before it is visited */

static void
ngx_si_tick_walk(ngx_si_proc_t *proc, ngx_queue_t *bucket)
{
    ngx_queue_t  todo, *q;

    ngx_si_queue_take(&todo, bucket);

    while (!ngx_queue_empty(&todo)) {
        q = ngx_queue_head(&todo);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(bucket, q);
        ngx_si_tick_visit(ngx_queue_data(q, ngx_si_ctx_t, bucket));
    }
}


static void
ngx_si_tick_visit(ngx_si_ctx_t *ctx)
{
    ngx_si_loc_conf_t  *slcf;

    if (ctx->stage == NGX_SI_OPENING || !ctx->request->header_sent) {
        return;
    }

    slcf = ngx_http_get_module_loc_conf(ctx->request, ngx_si_module);

    ngx_si_seat_sync(ctx);

    if (ngx_si_tick_stalled(ctx, slcf)) {
        ngx_log_error(NGX_LOG_INFO, ctx->request->connection->log, 0,
                      "si client closed: it takes no bytes");
        ngx_si_count(ctx->proc, NGX_SI_STALL, 1);
        ngx_si_ctx_abort(ctx);
        return;
    }

    if (ctx->drained && ngx_si_tick_due(ctx)) {
        return;
    }

    if (ctx->until && ngx_si_tick_expired(ctx)) {
        return;
    }

    ngx_si_answer_credit(ctx, 1);

    /* silence lasts at most until the visit after this one */

    if (ctx->stream
        && ngx_current_msec - ctx->last >= slcf->heartbeat * 3 / 4)
    {
        ngx_si_cursor_beat(ctx);
    }
}


/* only bytes that the socket took count as progress */

static ngx_uint_t
ngx_si_tick_stalled(ngx_si_ctx_t *ctx, ngx_si_loc_conf_t *slcf)
{
    off_t  sent;

    if (ctx->block == NULL && !ngx_si_out_pending(ctx)) {
        ctx->pending = 0;
        return 0;
    }

    sent = ctx->request->connection->sent;

    if (!ctx->pending || sent != ctx->seen) {
        ctx->pending = 1;
        ctx->seen = sent;
        ctx->progress = ngx_current_msec;
        return 0;
    }

    return ngx_current_msec - ctx->progress >= slcf->stall;
}


/* closes a reader whose time in the drain has come; 1: it has gone */

static ngx_uint_t
ngx_si_tick_due(ngx_si_ctx_t *ctx)
{
    ngx_msec_int_t  late;

    late = (ngx_msec_int_t) (ngx_current_msec - ctx->close_at);

    if (late < 0) {
        return 0;
    }

    if ((ctx->block || ngx_si_out_pending(ctx)) && late < NGX_SI_DRAIN_MORE) {
        return 0;
    }

    ngx_si_count(ctx->proc, NGX_SI_DRAIN, 1);
    ngx_si_answer_retry(ctx, 500 + ngx_random() % 2000);

    return 1;
}


/* a stream does not outlive the credential it was opened with; 1: it has gone */

static ngx_uint_t
ngx_si_tick_expired(ngx_si_ctx_t *ctx)
{
    time_t  late;

    late = ngx_time() - ctx->until;

    if (late < 0 || !(ctx->stream || ctx->socket)) {
        return 0;
    }

    if ((ctx->block || ngx_si_out_pending(ctx))
        && late < NGX_SI_DRAIN_MORE / 1000)
    {
        return 0;
    }

    ngx_si_answer_expired(ctx);

    return 1;
}


static ngx_uint_t
ngx_si_tick_drains(ngx_si_ctx_t *ctx)
{
    return ctx->socket
           || (ctx->mirror && !ngx_si_mirror_is_turn(ctx->mirror));
}


/* gives each reader its own moment within the drain, evenly with jitter */

static void
ngx_si_tick_exit(ngx_si_proc_t *proc)
{
    ngx_uint_t           i, n, total;
    ngx_queue_t         *q;
    ngx_si_ctx_t        *ctx;
    ngx_si_loc_conf_t   *slcf;

    proc->exiting = 1;
    proc->drain_end = ngx_current_msec + proc->conf->drain;

    total = proc->requests;
    n = 0;

    for (i = 0; i < NGX_SI_BUCKETS; i++) {
        for (q = ngx_queue_head(&proc->buckets[i]);
             q != ngx_queue_sentinel(&proc->buckets[i]);
             q = ngx_queue_next(q))
        {
            ctx = ngx_queue_data(q, ngx_si_ctx_t, bucket);

            if (!ngx_si_tick_drains(ctx)) {
                continue;
            }

            slcf = ngx_http_get_module_loc_conf(ctx->request, ngx_si_module);

            ctx->drained = 1;
            ctx->close_at = ngx_current_msec
                            + slcf->drain * (2 * n + ngx_random() % 2)
                              / (2 * total);
            n++;
        }
    }
}


void
ngx_si_tick_drain(ngx_si_ctx_t *ctx)
{
    ngx_msec_int_t  left;

    if (!ctx->proc->exiting || !ngx_si_tick_drains(ctx)) {
        return;
    }

    left = (ngx_msec_int_t) (ctx->proc->drain_end - ngx_current_msec);

    ctx->drained = 1;
    ctx->close_at = ngx_current_msec
                    + (left > 0 ? ngx_random() % (left + 1) : 0);
}
