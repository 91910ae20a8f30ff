
/*
 * A request as a call: from the content handler to the worker's HEAD, and
 * every way in which the module lets a request go.
 */


#include "ngx_si_module.h"


static ngx_si_ctx_t *ngx_si_ctx_create(ngx_http_request_t *r,
    ngx_si_proc_t *proc);
static void ngx_si_ctx_cleanup(void *data);
static void ngx_si_ctx_release(ngx_si_ctx_t *ctx);
static void ngx_si_ctx_reset(ngx_si_ctx_t *ctx);
static void ngx_si_call_init(ngx_http_request_t *r);
static ngx_si_link_t *ngx_si_call_choose(ngx_si_ctx_t *ctx);
static void ngx_si_call_send(ngx_si_ctx_t *ctx, ngx_si_link_t *link);
static void ngx_si_call_wait(ngx_si_ctx_t *ctx);
static void ngx_si_call_body(ngx_si_ctx_t *ctx);
static void ngx_si_call_retry(ngx_si_ctx_t *ctx);
static void ngx_si_call_none(ngx_si_ctx_t *ctx);
static const char *ngx_si_call_frame(ngx_si_call_t *call, si_frame_t *f,
    const u_char *p);
static const char *ngx_si_call_credit(ngx_si_ctx_t *ctx, const u_char *p,
    size_t len);
static const char *ngx_si_call_moved(ngx_si_ctx_t *ctx, const u_char *p,
    size_t len);
static const char *ngx_si_call_end(ngx_si_ctx_t *ctx, ngx_uint_t aborted);
static void ngx_si_call_lost(ngx_si_call_t *call);
static void ngx_si_call_ready(ngx_si_call_t *call, ngx_uint_t expired);


static const ngx_si_ops_t  ngx_si_call_ops = {
    ngx_si_call_frame,
    ngx_si_call_lost,
    ngx_si_call_ready
};


ngx_int_t
ngx_si_call_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_si_ctx_t        *ctx;
    ngx_si_loc_conf_t   *slcf;
    ngx_si_main_conf_t  *smcf;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "si call handler");

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);
    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    if (smcf->proc == NULL || slcf->pool == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = ngx_si_ctx_create(r, smcf->proc);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (slcf->key && ngx_http_complex_value(r, slcf->key, &ctx->key)
                     != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->headers_in.content_length_n < 0 && !r->headers_in.chunked
        && r->http_version < NGX_HTTP_VERSION_20)
    {
        /* no body: what nginx allocates for one stays as long as the reader */
        r->main->count++;
        ngx_si_call_init(r);
        return NGX_DONE;
    }

    rc = ngx_http_read_client_request_body(r, ngx_si_call_init);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* ACCESS may have made it, for what it found out */

ngx_si_ctx_t *
ngx_si_ctx_get(ngx_http_request_t *r)
{
    ngx_si_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);
    if (ctx) {
        return ctx;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_si_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ctx->call.ops = &ngx_si_call_ops;
    ctx->request = r;
    ctx->out_last = &ctx->out;
    ctx->left = -1;
    ctx->first = -1;
    ctx->slot = -1;
    ctx->avoid = -1;

    ngx_http_set_ctx(r, ctx, ngx_si_module);

    return ctx;
}


static ngx_si_ctx_t *
ngx_si_ctx_create(ngx_http_request_t *r, ngx_si_proc_t *proc)
{
    ngx_si_ctx_t        *ctx;
    ngx_pool_cleanup_t  *pcln;
    ngx_http_cleanup_t  *cln;

    ctx = ngx_si_ctx_get(r);
    if (ctx == NULL) {
        return NULL;
    }

    ctx->proc = proc;
    ctx->last = ngx_current_msec;
    ctx->looked = 1;

    pcln = ngx_pool_cleanup_add(r->pool, 0);
    if (pcln == NULL) {
        return NULL;
    }

    pcln->handler = ngx_si_out_cleanup;
    pcln->data = ctx;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_si_ctx_cleanup;
    cln->data = ctx;

    ngx_si_tick_add(ctx);

    return ctx;
}


/* the client has gone, or the request ended in another way than ours */

static void
ngx_si_ctx_cleanup(void *data)
{
    ngx_si_ctx_release(data);
}


static void
ngx_si_ctx_release(ngx_si_ctx_t *ctx)
{
    if (ctx->stage == NGX_SI_ENDED) {
        return;
    }

    ctx->stage = NGX_SI_ENDED;

    ngx_si_call_unbind(&ctx->call, 1);
    ngx_si_call_unqueue(&ctx->call);

    if (ctx->is_dirty) {
        ngx_queue_remove(&ctx->dirty);
        ctx->is_dirty = 0;
    }

    if (ctx->mirror) {
        ngx_si_log_leave(ctx);
    }

    ngx_si_tick_remove(ctx);
}


void
ngx_si_ctx_finish(ngx_si_ctx_t *ctx, ngx_int_t rc)
{
    ngx_si_proc_t       *proc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;
    proc = ctx->proc;

    ngx_si_ctx_release(ctx);

    if (proc->inside == r) {
        /* whoever called us runs posted requests afterwards */
        ngx_http_finalize_request(r, rc);
        return;
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* the client must see that the answer is not whole */

void
ngx_si_ctx_abort(ngx_si_ctx_t *ctx)
{
    ngx_http_request_t  *r = ctx->request;

    if (r->header_sent && !r->chunked && r->headers_out.content_length_n < 0
        && r->http_version < NGX_HTTP_VERSION_20)
    {
        /* here an orderly close would be the mark of the end */
        ngx_si_ctx_reset(ctx);
    }

    ngx_si_ctx_finish(ctx, NGX_ERROR);
}


static void
ngx_si_ctx_reset(ngx_si_ctx_t *ctx)
{
    struct linger      linger;
    ngx_connection_t  *c;

    c = ctx->request->connection;

    linger.l_onoff = 1;
    linger.l_linger = 0;

    if (setsockopt(c->fd, SOL_SOCKET, SO_LINGER, (const void *) &linger,
                   sizeof(struct linger)) == -1)
    {
        ngx_log_error(NGX_LOG_ERR, c->log, ngx_socket_errno,
                      "setsockopt(SO_LINGER) failed");
    }
}


void
ngx_si_ctx_mark(ngx_si_ctx_t *ctx)
{
    if (ctx->is_dirty) {
        return;
    }

    ctx->is_dirty = 1;
    ngx_queue_insert_tail(&ctx->proc->dirty, &ctx->dirty);
    ngx_si_tick_post(ctx->proc);
}


/* the body is here */

static void
ngx_si_call_init(ngx_http_request_t *r)
{
    ngx_event_t         *rev;
    ngx_si_ctx_t        *ctx;
    ngx_si_proc_t       *proc;
    ngx_http_request_t  *outer;

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);
    proc = ctx->proc;

    ctx->with_body = r == r->main && r->request_body
                     && r->request_body->bufs;
    ctx->upgrade = !ctx->with_body && ngx_si_socket_asked(r);

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    rev = r->connection->read;

    if (rev->ready && r->http_version < NGX_HTTP_VERSION_20) {
        /* the client may have gone already: no new event would tell */
        ngx_post_event(rev, &ngx_posted_events);
    }

    outer = proc->inside;
    proc->inside = r;

    ngx_si_call_again(ctx);

    proc->inside = outer;
}


/* sends the call, or lets it wait */

void
ngx_si_call_again(ngx_si_ctx_t *ctx)
{
    ngx_si_link_t  *link;

    link = ngx_si_call_choose(ctx);

    if (link == NULL) {
        ngx_si_call_wait(ctx);

    } else if (link->state == NGX_SI_LINK_HELLO) {
        ngx_si_link_wait(link, &ctx->call);

    } else {
        ngx_si_call_send(ctx, link);
    }
}


static ngx_si_link_t *
ngx_si_call_choose(ngx_si_ctx_t *ctx)
{
    ngx_si_link_t      *link;
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(ctx->request, ngx_si_module);

    if (ctx->instance.len) {
        link = ngx_si_pool_instance(slcf->pool, &ctx->instance);
        if (link) {
            return link;
        }

        /* it died after another worker had named it */
        ctx->instance.len = 0;
    }

    return ngx_si_pool_pick(slcf->pool, &ctx->key, ctx->avoid);
}


static void
ngx_si_call_send(ngx_si_ctx_t *ctx, ngx_si_link_t *link)
{
    ngx_int_t  rc;

    rc = ngx_si_open_send(ctx, link);

    if (rc == NGX_DECLINED) {
        ngx_si_ctx_problem(ctx, 431, "Request Header Fields Too Large",
                           "header_too_large",
                           "the request line and header are too long");
        return;
    }

    if (rc != NGX_OK) {
        ngx_si_call_retry(ctx);
        return;
    }

    ngx_si_call_body(ctx);

    if (ctx->request->method == NGX_HTTP_GET && !ctx->upgrade
        && ctx->stage == NGX_SI_OPENING)
    {
        /* perhaps a stream: others are not to come between its buffers */
        ngx_si_ctx_mark(ctx);
    }
}


static void
ngx_si_call_body(ngx_si_ctx_t *ctx)
{
    if (ctx->socket) {
        if (ctx->request->header_sent) {
            ngx_si_socket_read(ctx);
        }

        return;
    }

    if (ngx_si_open_body(ctx) == NGX_OK) {
        return;
    }

    if (ctx->stage != NGX_SI_OPENING) {
        ngx_si_ctx_abort(ctx);
        return;
    }

    ngx_si_ctx_problem(ctx, 500, "Internal Server Error", "body_lost",
                       "the request body could not be read back");
}


static void
ngx_si_call_wait(ngx_si_ctx_t *ctx)
{
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(ctx->request, ngx_si_module);

    if (ctx->give_up == 0) {
        ctx->give_up = ngx_current_msec + NGX_SI_WAIT_LINK;
    }

    if (ngx_si_pool_wait(slcf->pool, &ctx->call, ctx->give_up) != NGX_OK) {
        ngx_si_call_none(ctx);
    }
}


/* the link died before it answered: somewhere else, or later */

static void
ngx_si_call_retry(ngx_si_ctx_t *ctx)
{
    if (ctx->tries == 0) {
        ctx->give_up = ngx_current_msec + NGX_SI_WAIT_AGAIN;
    }

    ctx->tries++;

    if (ctx->tries >= NGX_SI_TRIES_MAX) {
        ngx_si_call_none(ctx);
        return;
    }

    ctx->avoid = ctx->slot;
    ctx->instance.len = 0;

    ngx_si_call_again(ctx);
}


static void
ngx_si_call_none(ngx_si_ctx_t *ctx)
{
    ngx_si_ctx_problem(ctx, NGX_HTTP_SERVICE_UNAVAILABLE,
                       "Service Unavailable", "no_worker",
                       "no worker can take the request now");
}


static const char *
ngx_si_call_frame(ngx_si_call_t *call, si_frame_t *f, const u_char *p)
{
    ngx_si_ctx_t  *ctx = (ngx_si_ctx_t *) call;

    switch (f->type) {

    case SI_F_CREDIT:
        return ngx_si_call_credit(ctx, p, f->length);

    case SI_F_MOVED:
        return ngx_si_call_moved(ctx, p, f->length);

    case SI_F_HEAD:
        if (ctx->stage != NGX_SI_OPENING) {
            return "second HEAD";
        }

        return ngx_si_head_take(ctx, p, f->length);

    case SI_F_END:
        return ngx_si_call_end(ctx, f->flags & SI_FL_ABORT);

    default: /* SI_F_DATA, SI_F_ATTACH */

        if (ctx->stage != NGX_SI_ANSWERING) {
            return "DATA or ATTACH before HEAD";
        }

        if (f->type == SI_F_ATTACH) {
            return ngx_si_log_attach(ctx, p, f->length);
        }

        return ngx_si_answer_data(ctx, p, f->length);
    }
}


static const char *
ngx_si_call_credit(ngx_si_ctx_t *ctx, const u_char *p, size_t len)
{
    uint32_t  n;

    if (len != 4) {
        return "malformed CREDIT";
    }

    n = si_get32(p);

    if (n > SI_WINDOW - ctx->window) {
        return "CREDIT for more than was sent";
    }

    ctx->window += n;
    ngx_si_call_body(ctx);

    return NULL;
}


static const char *
ngx_si_call_moved(ngx_si_ctx_t *ctx, const u_char *p, size_t len)
{
    if (ctx->stage != NGX_SI_OPENING) {
        return "MOVED after HEAD";
    }

    if (len == 0 || len > SI_KEY_MAX) {
        return "malformed MOVED";
    }

    ngx_si_call_unbind(&ctx->call, 0);
    ngx_si_call_unqueue(&ctx->call);

    if (++ctx->hops > NGX_SI_HOPS_MAX) {
        ngx_si_call_none(ctx);
        return NULL;
    }

    ctx->instance.data = ngx_pnalloc(ctx->request->pool, len);
    if (ctx->instance.data == NULL) {
        ngx_si_ctx_abort(ctx);
        return NULL;
    }

    ngx_memcpy(ctx->instance.data, p, len);
    ctx->instance.len = len;

    ngx_si_call_again(ctx);

    return NULL;
}


static const char *
ngx_si_call_end(ngx_si_ctx_t *ctx, ngx_uint_t aborted)
{
    if (ctx->stage == NGX_SI_OPENING && !aborted) {
        return "END before HEAD";
    }

    ngx_si_call_unbind(&ctx->call, 0);
    ngx_si_call_unqueue(&ctx->call);

    if (ctx->stage == NGX_SI_OPENING) {
        ngx_si_call_retry(ctx);

    } else if (aborted && ctx->socket) {
        ngx_si_answer_retry(ctx, 0);

    } else if (aborted) {
        ngx_si_ctx_abort(ctx);

    } else {
        ctx->end = 1;
        ngx_si_ctx_mark(ctx);
    }

    return NULL;
}


static void
ngx_si_call_lost(ngx_si_call_t *call)
{
    ngx_si_ctx_t  *ctx = (ngx_si_ctx_t *) call;

    if (ctx->stage == NGX_SI_OPENING) {
        ngx_si_call_retry(ctx);

    } else {
        ngx_si_answer_lost(ctx);
    }
}


static void
ngx_si_call_ready(ngx_si_call_t *call, ngx_uint_t expired)
{
    ngx_si_ctx_t  *ctx = (ngx_si_ctx_t *) call;

    if (expired) {
        ngx_si_call_none(ctx);

    } else if (call->link) {
        ngx_si_call_body(ctx);

    } else {
        ngx_si_call_again(ctx);
    }
}
