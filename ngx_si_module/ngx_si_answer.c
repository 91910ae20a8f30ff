
/*
 * What a worker answers: HEAD becomes the response header, private DATA go
 * through the filters and are credited as the client takes them.
 */


#include "ngx_si_module.h"


static ngx_int_t ngx_si_answer_field(ngx_si_ctx_t *ctx, si_field_t *f);
static ngx_int_t ngx_si_answer_header(ngx_http_request_t *r, si_field_t *f);
static void ngx_si_answer_content_type(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_uint_t ngx_si_answer_is(ngx_str_t *s, const char *name);
static ngx_uint_t ngx_si_answer_clean(const u_char *p, size_t len);
static ngx_int_t ngx_si_answer_copy(ngx_http_request_t *r, ngx_str_t *dst,
    const u_char *p, size_t len);
static ngx_int_t ngx_si_answer_stream(ngx_http_request_t *r);
static ngx_uint_t ngx_si_answer_has(ngx_http_request_t *r, ngx_str_t *name);
static ngx_int_t ngx_si_answer_start(ngx_si_ctx_t *ctx);
static ngx_int_t ngx_si_answer_begin_stream(ngx_si_ctx_t *ctx);
static void ngx_si_answer_end(ngx_si_ctx_t *ctx);


/* nginx makes these itself */

static const char  *ngx_si_answer_own[] = {
    "connection", "keep-alive", "transfer-encoding", "content-length",
    "date", "server", NULL
};


static struct {
    ngx_str_t  name;
    ngx_str_t  value;
} ngx_si_answer_defaults[] = {
    { ngx_string("Cache-Control"),
      ngx_string("no-cache, no-store, no-transform") },
    { ngx_string("X-Accel-Buffering"), ngx_string("no") },
    { ngx_string("X-Content-Type-Options"), ngx_string("nosniff") },
    { ngx_null_string, ngx_null_string }
};


const char *
ngx_si_answer_head(ngx_si_ctx_t *ctx, const u_char *p, size_t len)
{
    int                  rc;
    ngx_int_t            done;
    si_field_t           f;
    const u_char        *end = p + len;
    ngx_si_link_t       *link = ctx->call.link;
    ngx_http_request_t  *r = ctx->request;

    r->headers_out.content_length_n = -1;
    r->headers_out.status = 0;
    done = NGX_OK;

    while (done == NGX_OK && (rc = si_field_next(&p, end, &f)) != 0) {
        if (rc < 0) {
            return "malformed HEAD";
        }

        done = ngx_si_answer_field(ctx, &f);
    }

    if (done == NGX_DECLINED || r->headers_out.status == 0) {
        return "HEAD with a bad field or without a status";
    }

    if (done == NGX_OK) {
        done = ngx_si_answer_copy(r, &ctx->worker, link->name,
                                  link->name_len);
    }

    if (done == NGX_OK && ctx->stream) {
        done = ngx_si_answer_stream(r);
    }

    if (done != NGX_OK) {
        ngx_si_ctx_abort(ctx);
        return NULL;
    }

    /* the worker alone knows what If-Match means for its answer */
    r->disable_not_modified = 1;
    r->write_event_handler = ngx_si_answer_write;

    ctx->stage = NGX_SI_ANSWERING;
    ngx_si_ctx_mark(ctx);

    return NULL;
}


/* NGX_ERROR: no memory, NGX_DECLINED: not a field for HEAD */

static ngx_int_t
ngx_si_answer_field(ngx_si_ctx_t *ctx, si_field_t *f)
{
    uint32_t             n;
    ngx_http_request_t  *r = ctx->request;

    switch (f->tag) {

    case SI_T_STATUS:
    case SI_T_LENGTH:
        if (f->length != 4) {
            return NGX_DECLINED;
        }

        n = si_get32(f->data);

        if (f->tag == SI_T_LENGTH) {
            ctx->left = n;
            r->headers_out.content_length_n = n;
            return NGX_OK;
        }

        if (n < 200 || n > 599) {
            return NGX_DECLINED;
        }

        r->headers_out.status = n;
        return NGX_OK;

    case SI_T_HEADER:
        return ngx_si_answer_header(r, f);

    case SI_T_TENANT:
        return ngx_si_answer_copy(r, &ctx->tenant, f->data, f->length);

    case SI_T_USER:
        return ngx_si_answer_copy(r, &ctx->user, f->data, f->length);

    case SI_T_TURN:
        return ngx_si_answer_copy(r, &ctx->turn, f->data, f->length);

    case SI_T_STREAM:
        ctx->stream = 1;
        return NGX_OK;

    default:
        return NGX_DECLINED;
    }
}


static ngx_int_t
ngx_si_answer_header(ngx_http_request_t *r, si_field_t *f)
{
    size_t         len;
    ngx_str_t      name, value;
    const char   **own;
    const u_char  *nul;

    nul = f->length ? memchr(f->data, '\0', f->length) : NULL;
    if (nul == NULL || nul == f->data) {
        return NGX_DECLINED;
    }

    len = nul - f->data;

    if (!ngx_si_answer_clean(f->data, len)
        || !ngx_si_answer_clean(nul + 1, f->length - len - 1))
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "si answer header with control bytes left out");
        return NGX_OK;
    }

    if (ngx_si_answer_copy(r, &name, f->data, len) != NGX_OK
        || ngx_si_answer_copy(r, &value, nul + 1, f->length - len - 1)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (own = ngx_si_answer_own; *own; own++) {
        if (ngx_si_answer_is(&name, *own)) {
            return NGX_OK;
        }
    }

    if (ngx_si_answer_is(&name, "content-type")) {
        ngx_si_answer_content_type(r, &value);
        return NGX_OK;
    }

    return ngx_si_answer_add(r, &name, &value);
}


ngx_int_t
ngx_si_answer_add(ngx_http_request_t *r, ngx_str_t *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key = *name;
    h->value = *value;

    /* filters look for these */

    if (ngx_si_answer_is(name, "etag")) {
        r->headers_out.etag = h;

    } else if (ngx_si_answer_is(name, "content-encoding")) {
        r->headers_out.content_encoding = h;
    }

    return NGX_OK;
}


/* filters compare types without parameters */

static void
ngx_si_answer_content_type(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char  *p;

    p = ngx_strlchr(value->data, value->data + value->len, ';');

    r->headers_out.content_type = *value;
    r->headers_out.content_type_len = p ? (size_t) (p - value->data)
                                        : value->len;
    r->headers_out.content_type_lowcase = NULL;
}


static ngx_uint_t
ngx_si_answer_is(ngx_str_t *s, const char *name)
{
    return s->len == ngx_strlen(name)
           && ngx_strncasecmp(s->data, (u_char *) name, s->len) == 0;
}


static ngx_uint_t
ngx_si_answer_clean(const u_char *p, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if ((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_si_answer_copy(ngx_http_request_t *r, ngx_str_t *dst, const u_char *p,
    size_t len)
{
    dst->len = len;
    dst->data = ngx_pnalloc(r->pool, len + 1);

    if (dst->data == NULL) {
        dst->len = 0;
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, p, len);
    dst->data[len] = '\0';

    return NGX_OK;
}


static ngx_int_t
ngx_si_answer_stream(ngx_http_request_t *r)
{
    ngx_uint_t  i;

    for (i = 0; ngx_si_answer_defaults[i].name.len; i++) {
        if (!ngx_si_answer_has(r, &ngx_si_answer_defaults[i].name)
            && ngx_si_answer_add(r, &ngx_si_answer_defaults[i].name,
                                 &ngx_si_answer_defaults[i].value)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

#if (NGX_HTTP_GZIP)
    /* the filter believes that gzip was found unwelcome */
    r->gzip_tested = 1;
    r->gzip_ok = 0;
#endif

    return NGX_OK;
}


static ngx_uint_t
ngx_si_answer_has(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && h[i].key.len == name->len
                && ngx_strncasecmp(h[i].key.data, name->data, name->len) == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}


const char *
ngx_si_answer_data(ngx_si_ctx_t *ctx, const u_char *p, size_t len)
{
    size_t  i;

    if (len > SI_WINDOW - ctx->owed) {
        return "DATA beyond the credit";
    }

    if (ctx->left >= 0 && (off_t) len > ctx->left) {
        return "DATA beyond the stated length";
    }

    if (len == 0) {
        return NULL;
    }

    ctx->owed += (uint32_t) len;

    if (ctx->left >= 0) {
        ctx->left -= len;
    }

    for (i = len > 4 ? len - 4 : 0; i < len; i++) {
        ctx->tail = ctx->tail << 8 | p[i];
    }

    if (ngx_si_out_copy(ctx, p, len, 1) != NGX_OK) {
        ngx_si_ctx_abort(ctx);
        return NULL;
    }

    ngx_si_ctx_mark(ctx);

    return NULL;
}


/* the request's one step forward: header, private bytes, then the log */

void
ngx_si_answer_run(ngx_si_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->mirror) {
        ngx_si_seat_leave(ctx);
    }

    if (!ctx->request->header_sent && ngx_si_answer_start(ctx) != NGX_OK) {
        return;
    }

    if (ctx->end) {
        ngx_si_answer_end(ctx);
        return;
    }

    rc = ngx_si_out_send(ctx, 0);

    if (rc == NGX_ERROR) {
        ngx_si_ctx_finish(ctx, NGX_ERROR);
        return;
    }

    ngx_si_answer_credit(ctx, 0);

    if (rc == NGX_AGAIN) {
        if (ngx_handle_write_event(ctx->request->connection->write, 0)
            != NGX_OK)
        {
            ngx_si_ctx_finish(ctx, NGX_ERROR);
        }

        return;
    }

    if (ctx->mirror) {
        ngx_si_cursor_run(ctx);
    }
}


/* NGX_DONE: the request is not ours any more */

static ngx_int_t
ngx_si_answer_start(ngx_si_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_time_t          *tp;
    ngx_http_request_t  *r = ctx->request;

    tp = ngx_timeofday();
    ctx->first = ngx_max((ngx_msec_int_t) ((tp->sec - r->start_sec) * 1000
                                           + tp->msec - r->start_msec), 0);

    rc = ngx_http_send_header(r);

    if (rc == NGX_OK || rc == NGX_AGAIN) {

        if (r->header_only) {
            ngx_si_ctx_finish(ctx, rc);
            return NGX_DONE;
        }

        rc = ctx->stream ? ngx_si_answer_begin_stream(ctx) : NGX_OK;
    }

    if (rc == NGX_ERROR || rc > NGX_OK) {
        ngx_si_ctx_finish(ctx, rc);
        return NGX_DONE;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_si_answer_begin_stream(ngx_si_ctx_t *ctx)
{
    ngx_connection_t          *c;
    ngx_http_request_t        *r = ctx->request;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->tcp_nodelay && r->http_version < NGX_HTTP_VERSION_20
        && ngx_tcp_nodelay(c) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx->direct = ngx_si_cursor_can_direct(r);

    if (ctx->out || ctx->end) {
        return NGX_OK;
    }

    return ngx_http_send_special(r, NGX_HTTP_FLUSH);
}


static void
ngx_si_answer_end(ngx_si_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->left > 0) {
        ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                      "si worker %V ended its answer %O bytes early",
                      &ctx->worker, ctx->left);
        ngx_si_ctx_abort(ctx);
        return;
    }

    rc = ngx_si_out_send(ctx, 1);

    ngx_si_ctx_finish(ctx, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


void
ngx_si_answer_credit(ngx_si_ctx_t *ctx, ngx_uint_t all)
{
    if (ctx->call.link == NULL || ctx->credit == 0
        || (!all && ctx->credit < NGX_SI_CREDIT))
    {
        return;
    }

    ngx_si_frame_u32(ctx->call.link, SI_F_CREDIT, ctx->call.node.key,
                     ctx->credit);

    ctx->owed -= ctx->credit;
    ctx->credit = 0;
}


/* the client's socket is writable */

void
ngx_si_answer_write(ngx_http_request_t *r)
{
    ngx_si_ctx_t        *ctx;
    ngx_si_proc_t       *proc;
    ngx_http_request_t  *outer;

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "si answer write");

    if (ctx == NULL || ctx->stage == NGX_SI_ENDED
        || r->connection->write->delayed)
    {
        return;
    }

    proc = ctx->proc;
    outer = proc->inside;
    proc->inside = r;

    if (r->connection->error) {
        ngx_si_ctx_finish(ctx, NGX_HTTP_CLIENT_CLOSED_REQUEST);

    } else if (ctx->stage != NGX_SI_OPENING) {
        ngx_si_answer_run(ctx);
    }

    proc->inside = outer;
}


/* what the client has ends between two events */

ngx_uint_t
ngx_si_answer_boundary(ngx_si_ctx_t *ctx)
{
    if (ctx->block) {
        return ctx->offset == 0 && !ctx->block->mid;
    }

    return ctx->tail == 0
           || (ctx->tail & 0xffff) == 0x0a0a
           || ctx->tail == 0x0d0a0d0a;
}


void
ngx_si_answer_retry(ngx_si_ctx_t *ctx, ngx_msec_t retry)
{
    u_char     text[sizeof("retry: \n\n") + NGX_INT64_LEN];
    size_t     len;
    ngx_int_t  rc;

    if (ctx->mirror) {
        ngx_si_seat_leave(ctx);
    }

    if (!ctx->stream || !ngx_si_answer_boundary(ctx)) {
        ngx_si_ctx_abort(ctx);
        return;
    }

    if (!ctx->request->header_sent && ngx_si_answer_start(ctx) != NGX_OK) {
        return;
    }

    len = ngx_sprintf(text, "retry: %M\n\n", retry) - text;

    rc = ngx_si_out_copy(ctx, text, len, 0);

    if (rc == NGX_OK) {
        rc = ngx_si_out_send(ctx, 1);
    }

    ngx_si_ctx_finish(ctx, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


/* the link died while private bytes were under way */

void
ngx_si_answer_lost(ngx_si_ctx_t *ctx)
{
    ngx_si_count(ctx->proc, NGX_SI_LOST, 1);
    ngx_si_answer_retry(ctx, 500);
}
