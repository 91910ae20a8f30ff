
/*
 * What the edge says first: OPEN of requests, resumes and status queries,
 * and the bodies of requests within the worker's credit.
 */


#include "ngx_si_module.h"


/* the same code measures (p is NULL) and writes */

typedef struct {
    u_char  *p;
    size_t   len;
} ngx_si_writer_t;


static void ngx_si_open_field(ngx_si_writer_t *w, uint8_t tag,
    const u_char *data, size_t len);
static void ngx_si_open_pair(ngx_si_writer_t *w, u_char *name, size_t nlen,
    u_char *value, size_t vlen);
static void ngx_si_open_fields(ngx_si_writer_t *w, ngx_si_ctx_t *ctx);
static void ngx_si_open_identity(ngx_si_writer_t *w, ngx_si_identity_t *who);
static void ngx_si_open_headers(ngx_si_writer_t *w, ngx_si_ctx_t *ctx);
static ngx_uint_t ngx_si_open_is_credential(ngx_table_elt_t *h);
static ngx_uint_t ngx_si_open_skips(ngx_table_elt_t *h);
static void ngx_si_open_fields_resume(ngx_si_writer_t *w,
    ngx_si_mirror_t *m);
static ngx_int_t ngx_si_open_begin(ngx_si_writer_t *w, ngx_si_call_t *call,
    ngx_si_link_t *link, uint8_t flags);
static ssize_t ngx_si_open_piece(ngx_si_ctx_t *ctx, ngx_buf_t *b,
    size_t size, uint8_t flags);
static ngx_chain_t *ngx_si_open_bytes(ngx_chain_t *cl);
static ngx_int_t ngx_si_open_step(ngx_si_ctx_t *ctx);


/* not to be passed on, and what only the edge may say */

static ngx_str_t  ngx_si_open_hop_headers[] = {
    ngx_string("connection"),
    ngx_string("keep-alive"),
    ngx_string("proxy-authenticate"),
    ngx_string("proxy-authorization"),
    ngx_string("proxy-connection"),
    ngx_string("te"),
    ngx_string("trailer"),
    ngx_string("transfer-encoding"),
    ngx_string("upgrade"),
    ngx_string("expect"),
    ngx_string("http2-settings"),
    ngx_string("x-si-internal"),
    ngx_null_string
};


static void
ngx_si_open_field(ngx_si_writer_t *w, uint8_t tag, const u_char *data,
    size_t len)
{
    w->len += 5 + len;

    if (w->p) {
        si_field_head(w->p, tag, (uint32_t) len);
        w->p += 5;

        if (len) {
            w->p = ngx_cpymem(w->p, data, len);
        }
    }
}


static void
ngx_si_open_pair(ngx_si_writer_t *w, u_char *name, size_t nlen,
    u_char *value, size_t vlen)
{
    w->len += 5 + nlen + 1 + vlen;

    if (w->p) {
        si_field_head(w->p, SI_T_HEADER, (uint32_t) (nlen + 1 + vlen));
        w->p = ngx_cpymem(w->p + 5, name, nlen);
        *w->p++ = '\0';
        w->p = ngx_cpymem(w->p, value, vlen);
    }
}


static void
ngx_si_open_fields(ngx_si_writer_t *w, ngx_si_ctx_t *ctx)
{
    ngx_http_request_t         *r;
    ngx_http_variable_value_t  *id, *addr;

    r = ctx->request;

    ngx_si_open_field(w, SI_T_METHOD, r->method_name.data,
                      r->method_name.len);
    ngx_si_open_field(w, SI_T_PATH, r->uri.data, r->uri.len);

    if (r->args.len) {
        ngx_si_open_field(w, SI_T_ARGS, r->args.data, r->args.len);
    }

    addr = ngx_http_get_indexed_variable(r, ctx->proc->conf->client_addr);

    if (addr && !addr->not_found) {
        ngx_si_open_field(w, SI_T_ADDR, addr->data, addr->len);
    }

    id = ngx_si_request_id(r);

    if (id && !id->not_found) {
        ngx_si_open_field(w, SI_T_CALL_KEY, id->data, id->len);
    }

    if (ctx->upgrade) {
        ngx_si_open_pair(w, (u_char *) "upgrade", 7,
                         (u_char *) "websocket", 9);
    }

    if (ctx->who) {
        ngx_si_open_identity(w, ctx->who);
    }

    if (ctx->verdict.len) {
        ngx_si_open_field(w, SI_T_VERDICT, ctx->verdict.data,
                          ctx->verdict.len);
    }

    if (ctx->ticket) {
        ngx_si_open_field(w, SI_T_TICKET, ctx->ticket,
                          ngx_strlen(ctx->ticket));
    }

    ngx_si_open_headers(w, ctx);
}


static void
ngx_si_open_identity(ngx_si_writer_t *w, ngx_si_identity_t *who)
{
    u_char  until[8], marks[SI_MARKS_SIZE];

    ngx_si_open_field(w, SI_T_ISSUER, who->issuer.data, who->issuer.len);
    ngx_si_open_field(w, SI_T_SUBJECT, who->subject.data, who->subject.len);
    ngx_si_open_field(w, SI_T_ORG, who->tenant.data, who->tenant.len);
    ngx_si_open_field(w, SI_T_SCOPES, who->scopes.data, who->scopes.len);

    si_put64(until, (uint64_t) who->expires * 1000);
    ngx_si_open_field(w, SI_T_UNTIL, until, sizeof(until));

    si_marks_put(marks, &who->marks);
    ngx_si_open_field(w, SI_T_MARKS, marks, sizeof(marks));
}


/* a token that was verified here has done its work */

ngx_table_elt_t *
ngx_si_header_in(ngx_http_request_t *r, const char *name, size_t len,
    ngx_table_elt_t *after)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (after) {
                after = (&h[i] == after) ? NULL : after;
                continue;
            }

            if (h[i].key.len == len
                && ngx_strncmp(h[i].lowcase_key, name, len) == 0)
            {
                return &h[i];
            }
        }
    }

    return NULL;
}


static void
ngx_si_open_headers(ngx_si_writer_t *w, ngx_si_ctx_t *ctx)
{
    ngx_uint_t           i;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r = ctx->request;

    ngx_si_main_conf_t  *smcf;

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (!ngx_si_open_skips(&h[i])
            && !ngx_si_origin_is_secret(smcf, &h[i])
            && !((ctx->who || ctx->verdict.len)
                 && ngx_si_open_is_credential(&h[i])))
        {
            ngx_si_open_pair(w, h[i].lowcase_key, h[i].key.len,
                             h[i].value.data, h[i].value.len);
        }
    }
}


/* a token that was verified here stays here, and a key that is known */

static ngx_uint_t
ngx_si_open_is_credential(ngx_table_elt_t *h)
{
    return (h->key.len == 13
            && ngx_strncmp(h->lowcase_key, "authorization", 13) == 0)
           || (h->key.len == 9
               && ngx_strncmp(h->lowcase_key, "x-api-key", 9) == 0)
           || (h->key.len == 6
               && ngx_strncmp(h->lowcase_key, "cookie", 6) == 0);
}


static ngx_uint_t
ngx_si_open_skips(ngx_table_elt_t *h)
{
    ngx_str_t  *s;

    for (s = ngx_si_open_hop_headers; s->len; s++) {
        if (h->key.len == s->len
            && ngx_strncmp(h->lowcase_key, s->data, s->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* allocates OPEN for the measured fields and binds the call */

static ngx_int_t
ngx_si_open_begin(ngx_si_writer_t *w, ngx_si_call_t *call,
    ngx_si_link_t *link, uint8_t flags)
{
    if (w->len > SI_OPEN_MAX) {
        return NGX_DECLINED;
    }

    w->p = ngx_si_frame_add(link, SI_F_OPEN, flags, link->next_id, w->len);
    if (w->p == NULL) {
        return NGX_ERROR;
    }

    ngx_si_call_unqueue(call);
    ngx_si_call_bind(call, link);

    return NGX_OK;
}


/* NGX_DECLINED: the header is too long for a link, NGX_ERROR: it failed */

ngx_int_t
ngx_si_open_send(ngx_si_ctx_t *ctx, ngx_si_link_t *link)
{
    ngx_int_t         rc;
    ngx_si_writer_t   w = { NULL, 0 };

    ngx_si_open_fields(&w, ctx);

    ctx->body = ctx->with_body
                ? ngx_si_open_bytes(ctx->request->request_body->bufs) : NULL;
    ctx->body_off = 0;
    ctx->window = SI_WINDOW;

    rc = ngx_si_open_begin(&w, &ctx->call, link,
                           ctx->body || ctx->upgrade ? SI_FL_BODY : 0);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx->slot = link->slot ? (ngx_int_t) link->slot->number : -1;

    ngx_si_open_fields(&w, ctx);

    return NGX_OK;
}


/* sends what credit and the link's queue allow; NGX_ERROR: no body to read */

ngx_int_t
ngx_si_open_body(ngx_si_ctx_t *ctx)
{
    while (ctx->body && ctx->window && ctx->call.link) {

        if (ctx->call.link->out_size >= NGX_SI_OUT_SOFT) {
            ngx_si_link_wait(ctx->call.link, &ctx->call);
            return NGX_OK;
        }

        if (ngx_si_open_step(ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* "Content-Length: 0" gives a buffer that lies neither in memory nor a file */

static ngx_chain_t *
ngx_si_open_bytes(ngx_chain_t *cl)
{
    while (cl && ngx_buf_size(cl->buf) == 0) {
        cl = cl->next;
    }

    return cl;
}


/* one BODY frame */

static ngx_int_t
ngx_si_open_step(ngx_si_ctx_t *ctx)
{
    off_t         rest;
    size_t        size;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_uint_t    whole;
    ngx_chain_t  *next;

    b = ctx->body->buf;
    rest = ngx_buf_size(b) - ctx->body_off;

    size = ngx_min(ctx->window, NGX_SI_PIECE);
    whole = rest <= (off_t) size;

    if (whole) {
        size = (size_t) rest;
    }

    next = ngx_si_open_bytes(ctx->body->next);

    n = ngx_si_open_piece(ctx, b, size, whole && !next ? SI_FL_LAST : 0);

    if (n < 0) {
        return NGX_ERROR;
    }

    ctx->window -= (uint32_t) n;
    ctx->body_off += n;

    if (whole) {
        ctx->body = next;
        ctx->body_off = 0;
    }

    return NGX_OK;
}


static ssize_t
ngx_si_open_piece(ngx_si_ctx_t *ctx, ngx_buf_t *b, size_t size,
    uint8_t flags)
{
    u_char   *p;
    ssize_t   n;

    p = ngx_si_frame_add(ctx->call.link, SI_F_BODY, flags,
                         ctx->call.node.key, size);
    if (p == NULL) {
        /* the link has failed, and that ends the call's stay on it */
        return size;
    }

    if (ngx_buf_in_memory(b)) {
        ngx_memcpy(p, b->pos + ctx->body_off, size);
        return size;
    }

    n = ngx_read_file(b->file, p, size, b->file_pos + ctx->body_off);

    if (n != (ssize_t) size) {
        ngx_si_frame_undo(ctx->call.link, size);
        return NGX_ERROR;
    }

    return n;
}


/* all readers of a log are of one tenant; without any it would be gone */

static ngx_str_t *
ngx_si_open_tenant(ngx_si_mirror_t *m)
{
    ngx_queue_t   *q;
    ngx_si_ctx_t  *ctx;

    if (m->nseats) {
        return &m->seats[0].ctx->tenant;
    }

    q = ngx_queue_empty(&m->readers) ? ngx_queue_head(&m->lagging)
                                     : ngx_queue_head(&m->readers);

    ctx = ngx_queue_data(q, ngx_si_ctx_t, reader);

    return &ctx->tenant;
}


static void
ngx_si_open_fields_resume(ngx_si_writer_t *w, ngx_si_mirror_t *m)
{
    ngx_str_t  *tenant = ngx_si_open_tenant(m);

    ngx_si_open_field(w, SI_T_RESUME, m->key, m->key_len);
    ngx_si_open_field(w, SI_T_TENANT, tenant->data, tenant->len);
    ngx_si_open_field(w, SI_T_LAST_ID, ngx_si_mirror_id(m), m->id_len);
}


ngx_int_t
ngx_si_open_resume(ngx_si_mirror_t *m, ngx_si_call_t *call,
    ngx_si_link_t *link)
{
    ngx_si_writer_t  w = { NULL, 0 };

    ngx_si_open_fields_resume(&w, m);

    if (ngx_si_open_begin(&w, call, link, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_si_open_fields_resume(&w, m);

    return NGX_OK;
}


ngx_int_t
ngx_si_open_query(ngx_si_call_t *call, ngx_si_link_t *link,
    ngx_str_t *path)
{
    ngx_uint_t       pass;
    ngx_si_writer_t  w = { NULL, 0 };

    for (pass = 0; pass < 2; pass++) {
        ngx_si_open_field(&w, SI_T_METHOD, (u_char *) "GET", 3);
        ngx_si_open_field(&w, SI_T_PATH, path->data, path->len);
        ngx_si_open_field(&w, SI_T_ADDR, (u_char *) "unix:", 5);
        ngx_si_open_pair(&w, (u_char *) "x-si-internal", 13,
                         (u_char *) "1", 1);

        if (pass == 0 && ngx_si_open_begin(&w, call, link, 0) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
