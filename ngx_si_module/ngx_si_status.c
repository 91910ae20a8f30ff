
/*
 * si_status: this process, the counters of all, and what each worker says of
 * itself.  Workers are asked at the same time and have one second.
 */


#include "ngx_si_module.h"


#define NGX_SI_STATUS_MAX  (1 << 20)    /* bytes of one worker's answer */


typedef struct ngx_si_status_s  ngx_si_status_t;


typedef struct {
    ngx_si_call_t        call;
    ngx_si_status_t     *status;
    ngx_uint_t           slot;
    ngx_chain_t         *body;
    ngx_chain_t        **last;
    size_t               size;
    const char          *error;     /* NULL: the body is whole */
    unsigned             ok:1;      /* HEAD said 200 */
} ngx_si_query_t;


struct ngx_si_status_s {
    ngx_connection_t     dummy;     /* data of the timer */
    ngx_event_t          timer;
    ngx_http_request_t  *request;
    ngx_si_proc_t       *proc;
    ngx_si_query_t      *queries;
    ngx_uint_t           n;
    ngx_uint_t           pending;
};


static ngx_si_status_t *ngx_si_status_create(ngx_http_request_t *r,
    ngx_si_proc_t *proc);
static void ngx_si_status_ask(ngx_si_status_t *st);
static void ngx_si_status_cleanup(void *data);
static void ngx_si_status_timer(ngx_event_t *ev);
static void ngx_si_status_done(ngx_si_query_t *q, const char *error);
static const char *ngx_si_status_frame(ngx_si_call_t *call, si_frame_t *f,
    const u_char *p);
static const char *ngx_si_status_data(ngx_si_query_t *q, si_frame_t *f,
    const u_char *p);
static ngx_uint_t ngx_si_status_is_200(const u_char *p, size_t len);
static void ngx_si_status_lost(ngx_si_call_t *call);
static void ngx_si_status_ready(ngx_si_call_t *call, ngx_uint_t expired);
static void ngx_si_status_finish(ngx_si_status_t *st);
static ngx_int_t ngx_si_status_send(ngx_si_status_t *st);
static ngx_chain_t *ngx_si_status_body(ngx_si_status_t *st);
static ngx_chain_t **ngx_si_status_worker(ngx_si_query_t *q, ngx_pool_t *pool,
    ngx_chain_t **ll);
static ngx_chain_t *ngx_si_status_text(ngx_pool_t *pool, size_t size);
static ngx_chain_t *ngx_si_status_edge(ngx_si_status_t *st);
static u_char *ngx_si_status_counters(u_char *p, u_char *end,
    ngx_si_proc_t *proc);
static u_char *ngx_si_status_link(u_char *p, u_char *end,
    ngx_si_link_t *link);


static const ngx_si_ops_t  ngx_si_status_ops = {
    ngx_si_status_frame,
    ngx_si_status_lost,
    ngx_si_status_ready
};


static const char  *ngx_si_status_states[] = {
    "connecting", "up", "going", "closed"
};


ngx_int_t
ngx_si_status_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_si_status_t     *st;
    ngx_si_main_conf_t  *smcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);

    if (smcf->proc == NULL) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    st = ngx_si_status_create(r, smcf->proc);
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_si_status_ask(st);

    if (st->pending == 0) {
        return ngx_si_status_send(st);
    }

    r->main->count++;
    r->read_event_handler = ngx_http_test_reading;
    ngx_add_timer(&st->timer, NGX_SI_STATUS);

    return NGX_DONE;
}


static ngx_si_status_t *
ngx_si_status_create(ngx_http_request_t *r, ngx_si_proc_t *proc)
{
    ngx_uint_t            i;
    ngx_si_pool_t       **pools;
    ngx_si_status_t      *st;
    ngx_http_cleanup_t   *cln;

    st = ngx_pcalloc(r->pool, sizeof(ngx_si_status_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (st == NULL || cln == NULL) {
        return NULL;
    }

    pools = proc->conf->pools.elts;

    for (i = 0; i < proc->conf->pools.nelts; i++) {
        st->n += pools[i]->nslots;
    }

    st->queries = ngx_pcalloc(r->pool, st->n * sizeof(ngx_si_query_t));
    if (st->queries == NULL) {
        return NULL;
    }

    st->request = r;
    st->proc = proc;
    st->dummy.fd = (ngx_socket_t) -1;
    st->dummy.data = st;
    st->timer.data = &st->dummy;
    st->timer.handler = ngx_si_status_timer;
    st->timer.log = r->connection->log;

    cln->handler = ngx_si_status_cleanup;
    cln->data = st;

    return st;
}


static void
ngx_si_status_ask(ngx_si_status_t *st)
{
    ngx_uint_t        i, n;
    ngx_si_link_t    *link;
    ngx_si_pool_t   **pools;
    ngx_si_query_t   *q;

    pools = st->proc->conf->pools.elts;
    q = st->queries;

    for (i = 0; i < st->proc->conf->pools.nelts; i++) {
        for (n = 0; n < pools[i]->nslots; n++, q++) {

            link = pools[i]->slots[n].link;

            q->call.ops = &ngx_si_status_ops;
            q->status = st;
            q->slot = n;
            q->last = &q->body;
            q->error = "not reachable";

            if (link && link->state == NGX_SI_LINK_UP
                && ngx_si_open_status(&q->call, link) == NGX_OK)
            {
                q->error = "no answer in time";
                st->pending++;
            }
        }
    }
}


static void
ngx_si_status_cleanup(void *data)
{
    ngx_si_status_t  *st = data;

    ngx_uint_t        i;

    for (i = 0; i < st->n; i++) {
        ngx_si_call_unbind(&st->queries[i].call, 1);
    }

    if (st->timer.timer_set) {
        ngx_del_timer(&st->timer);
    }
}


static void
ngx_si_status_timer(ngx_event_t *ev)
{
    ngx_connection_t  *dummy;

    dummy = ev->data;

    ngx_si_status_finish(dummy->data);
}


static void
ngx_si_status_done(ngx_si_query_t *q, const char *error)
{
    ngx_si_status_t  *st = q->status;

    q->error = error;
    ngx_si_call_unbind(&q->call, 0);

    if (--st->pending == 0) {
        ngx_si_status_finish(st);
    }
}


static const char *
ngx_si_status_frame(ngx_si_call_t *call, si_frame_t *f, const u_char *p)
{
    ngx_si_query_t  *q = (ngx_si_query_t *) call;

    switch (f->type) {

    case SI_F_HEAD:
        q->ok = ngx_si_status_is_200(p, f->length);
        return NULL;

    case SI_F_DATA:
        return ngx_si_status_data(q, f, p);

    case SI_F_END:
        ngx_si_status_done(q, q->ok && q->size && !(f->flags & SI_FL_ABORT)
                              ? NULL : "answered with an error");
        return NULL;

    default:
        return "unexpected frame in answer to /status";
    }
}


static ngx_uint_t
ngx_si_status_is_200(const u_char *p, size_t len)
{
    si_field_t     f;
    const u_char  *end = p + len;

    while (si_field_next(&p, end, &f) > 0) {
        if (f.tag == SI_T_STATUS && f.length == 4) {
            return si_get32(f.data) == 200;
        }
    }

    return 0;
}


static const char *
ngx_si_status_data(ngx_si_query_t *q, si_frame_t *f, const u_char *p)
{
    ngx_chain_t  *cl;

    cl = ngx_si_status_text(q->status->request->pool, f->length);

    if (cl == NULL || q->size + f->length > NGX_SI_STATUS_MAX
        || (q->size == 0 && f->length && p[0] != '{'))
    {
        q->ok = 0;
        return NULL;
    }

    ngx_si_frame_u32(q->call.link, SI_F_CREDIT, q->call.node.key, f->length);

    if (f->length == 0) {
        return NULL;
    }

    cl->buf->last = ngx_cpymem(cl->buf->pos, p, f->length);

    q->size += f->length;
    *q->last = cl;
    q->last = &cl->next;

    return NULL;
}


static void
ngx_si_status_lost(ngx_si_call_t *call)
{
    ngx_si_status_done((ngx_si_query_t *) call, "not reachable");
}


static void
ngx_si_status_ready(ngx_si_call_t *call, ngx_uint_t expired)
{
    /* a query never waits */
}


static void
ngx_si_status_finish(ngx_si_status_t *st)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r = st->request;

    c = r->connection;

    ngx_si_status_cleanup(st);

    rc = ngx_si_status_send(st);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_si_status_send(ngx_si_status_t *st)
{
    ngx_int_t            rc;
    ngx_chain_t         *out, *cl;
    ngx_http_request_t  *r = st->request;

    out = ngx_si_status_body(st);
    if (out == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = 0;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    for (cl = out; cl; cl = cl->next) {
        r->headers_out.content_length_n += ngx_buf_size(cl->buf);

        if (cl->next == NULL) {
            cl->buf->last_buf = (r == r->main);
            cl->buf->last_in_chain = 1;
        }
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, out);
}


static ngx_chain_t *
ngx_si_status_body(ngx_si_status_t *st)
{
    ngx_uint_t     i;
    ngx_pool_t    *pool = st->request->pool;
    ngx_chain_t   *out, *cl, **ll;

    out = ngx_si_status_edge(st);
    if (out == NULL) {
        return NULL;
    }

    ll = &out->next;

    for (i = 0; i < st->n; i++) {
        if (i) {
            cl = ngx_si_status_text(pool, 1);
            if (cl == NULL) {
                return NULL;
            }

            *cl->buf->last++ = ',';
            *ll = cl;
            ll = &cl->next;
        }

        ll = ngx_si_status_worker(&st->queries[i], pool, ll);
        if (ll == NULL) {
            return NULL;
        }
    }

    cl = ngx_si_status_text(pool, 3);
    if (cl == NULL) {
        return NULL;
    }

    cl->buf->last = ngx_cpymem(cl->buf->last, "]}\n", 3);
    *ll = cl;

    return out;
}


static ngx_chain_t **
ngx_si_status_worker(ngx_si_query_t *q, ngx_pool_t *pool, ngx_chain_t **ll)
{
    ngx_chain_t  *cl;

    if (q->error == NULL) {
        *ll = q->body;
        return q->last;
    }

    cl = ngx_si_status_text(pool, 128);
    if (cl == NULL) {
        return NULL;
    }

    cl->buf->last = ngx_slprintf(cl->buf->last, cl->buf->end,
                                 "{\"slot\":%ui,\"error\":\"%s\"}",
                                 q->slot, q->error);
    *ll = cl;

    return &cl->next;
}


static ngx_chain_t *
ngx_si_status_text(ngx_pool_t *pool, size_t size)
{
    ngx_chain_t  *cl;

    cl = ngx_alloc_chain_link(pool);
    if (cl == NULL) {
        return NULL;
    }

    cl->buf = ngx_create_temp_buf(pool, size);
    cl->next = NULL;

    return cl->buf ? cl : NULL;
}


static ngx_chain_t *
ngx_si_status_edge(ngx_si_status_t *st)
{
    u_char          *p, *end;
    size_t           size;
    ngx_uint_t       i, links;
    ngx_chain_t     *cl;
    ngx_queue_t     *q;
    ngx_si_pool_t  **pools;

    pools = st->proc->conf->pools.elts;
    size = 1024;

    for (i = 0; i < st->proc->conf->pools.nelts; i++) {
        size += pools[i]->nlinks * (6 * SI_KEY_MAX + 128);
    }

    cl = ngx_si_status_text(st->request->pool, size);
    if (cl == NULL) {
        return NULL;
    }

    end = cl->buf->end;
    p = ngx_si_status_counters(cl->buf->last, end, st->proc);
    links = 0;

    for (i = 0; i < st->proc->conf->pools.nelts; i++) {
        for (q = ngx_queue_head(&pools[i]->links);
             q != ngx_queue_sentinel(&pools[i]->links);
             q = ngx_queue_next(q))
        {
            if (links++) {
                *p++ = ',';
            }

            p = ngx_si_status_link(p, end,
                                   ngx_queue_data(q, ngx_si_link_t, queue));
        }
    }

    cl->buf->last = ngx_slprintf(p, end, "]},\"workers\":[");

    return cl;
}


static u_char *
ngx_si_status_counters(u_char *p, u_char *end, ngx_si_proc_t *proc)
{
    ngx_atomic_uint_t  sum[NGX_SI_COUNTERS];

    ngx_si_zone_sum(proc, sum);

    return ngx_slprintf(p, end,
                        "{\"edge\":{\"pid\":%P,\"connections\":%ui,"
                        "\"readers\":%uA,\"logs\":%uA,\"calls\":%uA,"
                        "\"bytes_sent\":%uA,\"closed\":{\"slow\":%uA,"
                        "\"stall\":%uA,\"drain\":%uA,\"lost\":%uA},"
                        "\"links\":[",
                        ngx_pid,
                        ngx_cycle->connection_n
                            - ngx_cycle->free_connection_n,
                        sum[NGX_SI_READERS], sum[NGX_SI_LOGS],
                        sum[NGX_SI_CALLS], sum[NGX_SI_BYTES],
                        sum[NGX_SI_SLOW], sum[NGX_SI_STALL],
                        sum[NGX_SI_DRAIN], sum[NGX_SI_LOST]);
}


static u_char *
ngx_si_status_link(u_char *p, u_char *end, ngx_si_link_t *link)
{
    p = ngx_slprintf(p, end, "{\"worker\":\"");

    p = (u_char *) ngx_escape_json(p, link->name, link->name_len);

    return ngx_slprintf(p, end, "\",\"state\":\"%s\",\"calls\":%ui}",
                        ngx_si_status_states[link->state], link->ncalls);
}
