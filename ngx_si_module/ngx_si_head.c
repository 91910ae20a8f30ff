
/*
 * HEAD of an answer: its fields become the response header.
 */


#include "ngx_si_module.h"


#define NGX_SI_HEAD_ONES  0x0101010101010101ULL


static u_char *ngx_si_head_keep(ngx_http_request_t *r, const u_char *head,
    size_t len);
static ngx_int_t ngx_si_head_admit(ngx_si_ctx_t *ctx);
static ngx_int_t ngx_si_head_fields(ngx_si_ctx_t *ctx, const u_char *p,
    const u_char *end, ngx_uint_t headers);
static ngx_int_t ngx_si_head_field(ngx_si_ctx_t *ctx, si_field_t *f);
static ngx_int_t ngx_si_head_header(ngx_http_request_t *r, si_field_t *f);
static void ngx_si_head_content_type(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_uint_t ngx_si_head_is_own(ngx_str_t *name);
static ngx_uint_t ngx_si_head_clean(const u_char *p, size_t len);
static void ngx_si_head_text(ngx_str_t *dst, const u_char *p, size_t len);
static ngx_int_t ngx_si_head_stream(ngx_http_request_t *r);
static ngx_uint_t ngx_si_head_has(ngx_http_request_t *r, ngx_str_t *name);


/* nginx makes these itself */

static ngx_str_t  ngx_si_head_own[] = {
    ngx_string("connection"),
    ngx_string("keep-alive"),
    ngx_string("transfer-encoding"),
    ngx_string("content-length"),
    ngx_string("date"),
    ngx_string("server"),
    ngx_null_string
};


#define ngx_si_head_is(s, name)                                              \
    ((s)->len == sizeof(name) - 1                                            \
     && ngx_strncasecmp((s)->data, (u_char *) name, sizeof(name) - 1) == 0)


ngx_table_elt_t  ngx_si_head_defaults[NGX_SI_HEAD_DEFAULTS] = {
    { .hash = 1,
      .key = ngx_string("Cache-Control"),
      .value = ngx_string("no-cache, no-store, no-transform") },
    { .hash = 1,
      .key = ngx_string("X-Accel-Buffering"),
      .value = ngx_string("no") },
    { .hash = 1,
      .key = ngx_string("X-Content-Type-Options"),
      .value = ngx_string("nosniff") }
};


const char *
ngx_si_head_take(ngx_si_ctx_t *ctx, const u_char *p, size_t len)
{
    ngx_int_t            done;
    ngx_http_request_t  *r = ctx->request;

    p = ngx_si_head_keep(r, p, len);
    if (p == NULL) {
        ngx_si_ctx_abort(ctx);
        return NULL;
    }

    r->headers_out.content_length_n = -1;
    r->headers_out.status = 0;

    ngx_si_verdict_free(ctx);

    done = ngx_si_head_fields(ctx, p, p + len, 0);

    if (done == NGX_OK && r->headers_out.status) {
        done = ngx_si_head_admit(ctx);

        if (done == NGX_BUSY) {
            ngx_si_limit_streams_refuse(ctx);
            return NULL;
        }
    }

    if (done == NGX_OK) {
        done = ngx_si_head_fields(ctx, p, p + len, 1);
    }

    if (done == NGX_DECLINED || r->headers_out.status == 0) {
        return "HEAD with a bad field or without a status";
    }

    if (done == NGX_OK && ctx->stream) {
        done = ngx_si_head_stream(r);
    }

    if (done != NGX_OK) {
        ngx_si_ctx_abort(ctx);
        return NULL;
    }

    if (r->headers_out.status == NGX_HTTP_SWITCHING_PROTOCOLS) {
        ngx_si_socket_head(ctx);
    }

    /* the worker alone knows what If-Match means for its answer */
    r->disable_not_modified = 1;
    r->write_event_handler = ngx_si_answer_write;

    ctx->stage = NGX_SI_ANSWERING;
    ngx_si_ctx_mark(ctx);

    if (ngx_si_push_revoked(ctx)) {
        ngx_si_answer_expired(ctx);
    }

    return NULL;
}


/*
 * Notes the worker, as the link may die before the request.  NGX_BUSY: a
 * stream too many; but a turn that was just begun is read all the same.
 */

static ngx_int_t
ngx_si_head_admit(ngx_si_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_si_link_t       *link = ctx->call.link;
    ngx_http_request_t  *r = ctx->request;

    ctx->worker.data = ngx_pnalloc(r->pool, link->name_len);
    if (ctx->worker.data == NULL) {
        return NGX_ERROR;
    }

    ctx->worker.len = link->name_len;
    ngx_memcpy(ctx->worker.data, link->name, link->name_len);

    if (r != r->main
        || (!ctx->stream
            && r->headers_out.status != NGX_HTTP_SWITCHING_PROTOCOLS))
    {
        return NGX_OK;
    }

    rc = ngx_si_limit_streams(r);

    return rc == NGX_BUSY && r->method == NGX_HTTP_POST && ctx->turn.len
           ? NGX_OK : rc;
}


/*
 * A copy of HEAD, and room for its fields and no more: nginx's list has that
 * for 20 of them, of 48 bytes each, and a reader holds it for hours.
 */

static u_char *
ngx_si_head_keep(ngx_http_request_t *r, const u_char *head, size_t len)
{
    u_char        *p;
    ngx_uint_t     n;
    ngx_list_t    *list;
    si_field_t     f;
    const u_char  *pos = head, *end = head + len;

    list = &r->headers_out.headers;
    n = 0;

    if (list->part.nelts == 0
        && ngx_pfree(r->pool, list->part.elts) == NGX_OK)
    {
        /* Content-Type is none of them, Cache-Control mostly is */
        n = NGX_SI_HEAD_DEFAULTS - 1 + ngx_si_limit_fields(r);

        while (si_field_next(&pos, end, &f) > 0) {
            n += f.tag == SI_T_HEADER;
        }

        /* apart from the copy: it can go once it was sent */
        list->part.elts = ngx_pmemalign(r->pool, n * sizeof(ngx_table_elt_t),
                                        NGX_ALIGNMENT);
        list->nalloc = list->part.elts ? n : 0;

        if (list->part.elts == NULL) {
            return NULL;
        }
    }

    p = ngx_pmemalign(r->pool, len, NGX_ALIGNMENT);
    if (p) {
        ngx_memcpy(p, head, len);
    }

    return p;
}


/* the response's own header fields, or all others */

static ngx_int_t
ngx_si_head_fields(ngx_si_ctx_t *ctx, const u_char *p, const u_char *end,
    ngx_uint_t headers)
{
    int         rc;
    ngx_int_t   done;
    si_field_t  f;

    while ((rc = si_field_next(&p, end, &f)) > 0) {

        if ((f.tag == SI_T_HEADER) == headers) {
            done = ngx_si_head_field(ctx, &f);

            if (done != NGX_OK) {
                return done;
            }
        }
    }

    return rc ? NGX_DECLINED : NGX_OK;
}


/* NGX_ERROR: no memory, NGX_DECLINED: not a field for HEAD */

static ngx_int_t
ngx_si_head_field(ngx_si_ctx_t *ctx, si_field_t *f)
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

        if ((n < 200 || n > 599)
            && !(n == NGX_HTTP_SWITCHING_PROTOCOLS && ctx->upgrade))
        {
            return NGX_DECLINED;
        }

        r->headers_out.status = n;
        return NGX_OK;

    case SI_T_HEADER:
        return ngx_si_head_header(r, f);

    case SI_T_TENANT:
        ngx_si_head_text(&ctx->tenant, f->data, f->length);
        return NGX_OK;

    case SI_T_USER:
        ngx_si_head_text(&ctx->user, f->data, f->length);
        return NGX_OK;

    case SI_T_TURN:
        ngx_si_head_text(&ctx->turn, f->data, f->length);
        return NGX_OK;

    case SI_T_STREAM:
        ctx->stream = 1;
        ctx->once = f->length > 0;
        return NGX_OK;

    case SI_T_CREDENTIAL:
        ngx_si_head_text(&ctx->credential, f->data, f->length);
        return NGX_OK;

    case SI_T_MARKS:
        if (f->length != SI_MARKS_SIZE) {
            return NGX_DECLINED;
        }

        ctx->marks = ngx_palloc(ctx->request->pool, sizeof(si_marks_t));
        if (ctx->marks == NULL) {
            return NGX_ERROR;
        }

        si_marks_get(f->data, ctx->marks);
        return NGX_OK;

    case SI_T_UNTIL:
        if (f->length != 8) {
            return NGX_DECLINED;
        }

        /* not before its last millisecond */
        ctx->until = (time_t) (si_get64(f->data) / 1000 + 1);
        return NGX_OK;

    default:
        return NGX_DECLINED;
    }
}


static ngx_int_t
ngx_si_head_header(ngx_http_request_t *r, si_field_t *f)
{
    size_t         len;
    ngx_str_t      name, value;
    const u_char  *nul;

    nul = f->length ? memchr(f->data, '\0', f->length) : NULL;
    if (nul == NULL || nul == f->data) {
        return NGX_DECLINED;
    }

    len = nul - f->data;

    if (!ngx_si_head_clean(f->data, len)
        || !ngx_si_head_clean(nul + 1, f->length - len - 1))
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "si answer header with control bytes left out");
        return NGX_OK;
    }

    ngx_si_head_text(&name, f->data, len);
    ngx_si_head_text(&value, nul + 1, f->length - len - 1);

    if (ngx_si_head_is(&name, "upgrade")) {
        return ngx_si_socket_upgrade(r, &name, &value);
    }

    if (ngx_si_head_is_own(&name)) {
        return NGX_OK;
    }

    if (ngx_si_head_is(&name, "content-type")) {
        ngx_si_head_content_type(r, &value);
        return NGX_OK;
    }

    return ngx_si_head_add(r, &name, &value);
}


ngx_int_t
ngx_si_head_add(ngx_http_request_t *r, ngx_str_t *name, ngx_str_t *value)
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

    if (ngx_si_head_is(name, "etag")) {
        r->headers_out.etag = h;

    } else if (ngx_si_head_is(name, "content-encoding")) {
        r->headers_out.content_encoding = h;
    }

    return NGX_OK;
}


/* filters compare types without parameters */

static void
ngx_si_head_content_type(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char  *p;

    p = ngx_strlchr(value->data, value->data + value->len, ';');

    r->headers_out.content_type = *value;
    r->headers_out.content_type_len = p ? (size_t) (p - value->data)
                                        : value->len;
    r->headers_out.content_type_lowcase = NULL;
}


static ngx_uint_t
ngx_si_head_is_own(ngx_str_t *name)
{
    ngx_str_t  *own;

    for (own = ngx_si_head_own; own->len; own++) {
        if (name->len == own->len
            && ngx_strncasecmp(name->data, own->data, own->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * Eight bytes at a time: the top bit of each that is below 0x20 or DEL, or
 * follows one.  Then, as for the rest, it is looked at byte by byte.
 */

static ngx_uint_t
ngx_si_head_clean(const u_char *p, size_t len)
{
    uint64_t      w, low, del;
    const u_char  *end = p + len;

    for ( /* void */ ; end - p >= 8; p += 8) {
        ngx_memcpy(&w, p, 8);

        low = (w - NGX_SI_HEAD_ONES * 0x20) & ~w;
        w ^= NGX_SI_HEAD_ONES * 0x7f;
        del = (w - NGX_SI_HEAD_ONES) & ~w;

        if ((low | del) & NGX_SI_HEAD_ONES * 0x80) {
            break;
        }
    }

    for ( /* void */ ; p < end; p++) {
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f) {
            return 0;
        }
    }

    return 1;
}


/* of the copy of HEAD */

static void
ngx_si_head_text(ngx_str_t *dst, const u_char *p, size_t len)
{
    dst->len = len;
    dst->data = (u_char *) p;
}


static ngx_int_t
ngx_si_head_stream(ngx_http_request_t *r)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_SI_HEAD_DEFAULTS; i++) {
        if (!ngx_si_head_has(r, &ngx_si_head_defaults[i].key)
            && ngx_si_head_add(r, &ngx_si_head_defaults[i].key,
                               &ngx_si_head_defaults[i].value)
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
ngx_si_head_has(ngx_http_request_t *r, ngx_str_t *name)
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
