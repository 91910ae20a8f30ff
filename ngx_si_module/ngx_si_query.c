
/*
 * Asks all workers at the same time what they say of themselves, for at most
 * a second, and then has the answer made of it.
 */


#include "ngx_si_module.h"
#include "ngx_si_status.h"


#define NGX_SI_QUERY_MAX  (1 << 20)     /* bytes of one worker's answer */


static ngx_si_status_t *ngx_si_query_create(ngx_http_request_t *r,
    ngx_si_proc_t *proc);
static void ngx_si_query_ask(ngx_si_status_t *st);
static void ngx_si_query_cleanup(void *data);
static void ngx_si_query_timer(ngx_event_t *ev);
static void ngx_si_query_done(ngx_si_query_t *q, const char *error);
static const char *ngx_si_query_frame(ngx_si_call_t *call, si_frame_t *f,
    const u_char *p);
static const char *ngx_si_query_data(ngx_si_query_t *q, si_frame_t *f,
    const u_char *p);
static ngx_uint_t ngx_si_query_is_200(const u_char *p, size_t len);
static void ngx_si_query_lost(ngx_si_call_t *call);
static void ngx_si_query_ready(ngx_si_call_t *call, ngx_uint_t expired);
static void ngx_si_query_finish(ngx_si_status_t *st);
static ngx_int_t ngx_si_query_send(ngx_si_status_t *st);


static const ngx_si_ops_t  ngx_si_query_ops = {
    ngx_si_query_frame,
    ngx_si_query_lost,
    ngx_si_query_ready
};


ngx_int_t
ngx_si_query_start(ngx_http_request_t *r, const ngx_si_face_t *face)
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

    st = ngx_si_query_create(r, smcf->proc);
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    st->face = face;

    ngx_si_query_ask(st);

    if (st->pending == 0) {
        return ngx_si_query_send(st);
    }

    r->main->count++;
    r->read_event_handler = ngx_http_test_reading;
    ngx_add_timer(&st->timer, NGX_SI_STATUS);

    return NGX_DONE;
}


static ngx_si_status_t *
ngx_si_query_create(ngx_http_request_t *r, ngx_si_proc_t *proc)
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
    st->timer.handler = ngx_si_query_timer;
    st->timer.log = r->connection->log;

    cln->handler = ngx_si_query_cleanup;
    cln->data = st;

    return st;
}


static void
ngx_si_query_ask(ngx_si_status_t *st)
{
    ngx_uint_t        i, n;
    ngx_si_link_t    *link;
    ngx_si_pool_t   **pools;
    ngx_si_query_t   *q;
    ngx_str_t         path = st->face->path;

    pools = st->proc->conf->pools.elts;
    q = st->queries;

    for (i = 0; i < st->proc->conf->pools.nelts; i++) {
        for (n = 0; n < pools[i]->nslots; n++, q++) {

            link = pools[i]->slots[n].link;

            q->call.ops = &ngx_si_query_ops;
            q->status = st;
            q->pool = pools[i];
            q->slot = n;
            q->last = &q->body;
            q->error = "not reachable";

            if (link && link->state == NGX_SI_LINK_UP
                && ngx_si_open_query(&q->call, link, &path) == NGX_OK)
            {
                q->error = "no answer in time";
                st->pending++;
            }
        }
    }
}


static void
ngx_si_query_cleanup(void *data)
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
ngx_si_query_timer(ngx_event_t *ev)
{
    ngx_connection_t  *dummy;

    dummy = ev->data;

    ngx_si_query_finish(dummy->data);
}


static void
ngx_si_query_done(ngx_si_query_t *q, const char *error)
{
    ngx_si_status_t  *st = q->status;

    q->error = error;
    ngx_si_call_unbind(&q->call, 0);

    if (--st->pending == 0) {
        ngx_si_query_finish(st);
    }
}


static const char *
ngx_si_query_frame(ngx_si_call_t *call, si_frame_t *f, const u_char *p)
{
    ngx_si_query_t  *q = (ngx_si_query_t *) call;

    switch (f->type) {

    case SI_F_HEAD:
        q->ok = ngx_si_query_is_200(p, f->length);
        return NULL;

    case SI_F_DATA:
        return ngx_si_query_data(q, f, p);

    case SI_F_END:
        ngx_si_query_done(q, q->ok && q->size && !(f->flags & SI_FL_ABORT)
                              ? NULL : "answered with an error");
        return NULL;

    default:
        return "unexpected frame in answer to a query";
    }
}


static ngx_uint_t
ngx_si_query_is_200(const u_char *p, size_t len)
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
ngx_si_query_data(ngx_si_query_t *q, si_frame_t *f, const u_char *p)
{
    ngx_chain_t  *cl;

    cl = ngx_si_query_text(q->status->request->pool, f->length);

    if (cl == NULL || q->size + f->length > NGX_SI_QUERY_MAX
        || (q->size == 0 && f->length && p[0] != q->status->face->first))
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
ngx_si_query_lost(ngx_si_call_t *call)
{
    ngx_si_query_done((ngx_si_query_t *) call, "not reachable");
}


static void
ngx_si_query_ready(ngx_si_call_t *call, ngx_uint_t expired)
{
    /* a query never waits */
}


static void
ngx_si_query_finish(ngx_si_status_t *st)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r = st->request;

    c = r->connection;

    ngx_si_query_cleanup(st);

    rc = ngx_si_query_send(st);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_si_query_send(ngx_si_status_t *st)
{
    ngx_int_t            rc;
    ngx_chain_t         *out, *cl;
    ngx_http_request_t  *r = st->request;

    out = st->face->body(st);
    if (out == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = 0;
    r->headers_out.content_type = st->face->type;
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


ngx_chain_t *
ngx_si_query_text(ngx_pool_t *pool, size_t size)
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
