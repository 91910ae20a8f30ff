
/*
 * What an idle reader need not hold for hours.  nginx sizes a request for its
 * parsing: 1 KiB, or 8, for a header of some hundred bytes, and lists for
 * twenty fields.  Here the text of the header and the list of its fields are
 * copied to one place of their true size; the originals are freed as nginx
 * frees them between two requests of a connection.  That is done as soon as a
 * GET was sent to a worker: what many that wait hold at once are holes in the
 * heap afterwards, too small to go back to the system.
 *
 * Whoever points into them must be known; read against nginx 1.22:
 *
 *   to the text      request_line .. schema, headers_in.server, the fields,
 *                    captures_data, headers_out.charset and the values of
 *                    headers_out (a filter may echo a field), r->variables
 *   to the fields    headers_in, as ngx_http_headers_in[] names them, and
 *                    each other
 *   parsing only     header_name_start .. port_end: not read any more, as
 *                    request_line is set
 *   buffers          c->buffer, hc->busy, r->header_in: left as after
 *                    ngx_http_set_keepalive()
 *
 * Everything else that reads them later - the log phase, error.log, finalize,
 * keepalive - goes through these.  A request of which another module may keep
 * pointers is left as it is: with a state of an unknown module, a subrequest
 * (it has copies of r), a body, or bytes of the next request.
 */


#include "ngx_si_module.h"


#define NGX_SI_SHRINK_RANGES  16
#define NGX_SI_SHRINK_FIELDS  2     /* as an error page may add */
#define NGX_SI_SHRINK_WORTH   256   /* bytes to win */
#define NGX_SI_SHRINK_APART   128   /* more is not put into a pool's block */


typedef struct {
    u_char          *from;
    u_char          *end;
    u_char          *to;
} ngx_si_range_t;


typedef struct {
    ngx_si_range_t   range[NGX_SI_SHRINK_RANGES];
    ngx_uint_t       n;
    ngx_uint_t       nparts;    /* the first ranges are of fields */
    size_t           size;      /* in use */
    size_t           room;      /* allocated */
} ngx_si_move_t;


static void ngx_si_shrink_answer(ngx_http_request_t *r);
static void ngx_si_shrink_sent(ngx_http_request_t *r);
static ngx_uint_t ngx_si_shrink_pointed(ngx_http_request_t *r);
static ngx_uint_t ngx_si_shrink_is_default(ngx_table_elt_t *h);
static ngx_uint_t ngx_si_shrink_may(ngx_si_ctx_t *ctx);
static ngx_uint_t ngx_si_shrink_plan(ngx_http_request_t *r,
    ngx_si_move_t *m);
static ngx_uint_t ngx_si_shrink_add(ngx_si_move_t *m, ngx_pool_t *pool,
    void *from, size_t len, size_t room);
static void ngx_si_shrink_fields(ngx_http_request_t *r, ngx_si_move_t *m);
static void ngx_si_shrink_named(ngx_http_request_t *r, ngx_si_move_t *m);
static void ngx_si_shrink_text(ngx_http_request_t *r, ngx_si_move_t *m);
static void ngx_si_shrink_list(ngx_list_t *list, ngx_si_move_t *m);
static void ngx_si_shrink_ptr(void *p, ngx_si_move_t *m);
static void ngx_si_shrink_free(ngx_http_request_t *r, ngx_si_move_t *m);


/* modules whose state has no pointer into the header */

static const char  *ngx_si_shrink_known[] = {
    "ngx_si_module",
    "ngx_http_header_count_module",     /* Debian's: numbers */
    "ngx_http_chunked_filter_module",   /* bufs of its own */
    "ngx_http_copy_filter_module",      /* the same */
    "ngx_http_realip_module",           /* a copy of the address */
    NULL
};


ngx_int_t
ngx_si_shrink_init(ngx_si_main_conf_t *smcf, ngx_cycle_t *cycle)
{
    ngx_uint_t     i;
    const char   **name;

    smcf->known = ngx_pcalloc(cycle->pool, ngx_http_max_module);
    if (smcf->known == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; cycle->modules[i]; i++) {

        if (cycle->modules[i]->type != NGX_HTTP_MODULE) {
            continue;
        }

        for (name = ngx_si_shrink_known; *name; name++) {
            if (ngx_strcmp(cycle->modules[i]->name, *name) == 0) {
                smcf->known[cycle->modules[i]->ctx_index] = 1;
            }
        }
    }

    return NGX_OK;
}


/*
 * Only what lies apart from the blocks of a pool can be freed before it, so
 * the pool takes the bytes of the header for large.
 */

ngx_int_t
ngx_si_shrink_header(ngx_si_ctx_t *ctx)
{
    size_t               max;
    ngx_int_t            rc;
    ngx_http_request_t  *r = ctx->request;

    max = r->pool->max;
    r->pool->max = ngx_min(max, NGX_SI_SHRINK_APART);

    rc = ngx_http_send_header(r);

    r->pool->max = max;

    /*
     * HTTP/1.x: the write filter waits for more bytes.  Content-Type with a
     * charset and an absolute Location are rewritten to point into them.
     */

    if (r->out && r->out->next == NULL && r->out->buf->temporary
        && r->headers_out.charset.len == 0 && r->headers_out.location == NULL)
    {
        ctx->head = r->out->buf->start;
    }

    return rc;
}


void
ngx_si_shrink(ngx_si_ctx_t *ctx)
{
    u_char              *p;
    ngx_uint_t           i;
    ngx_si_move_t        m;
    ngx_http_request_t  *r = ctx->request;

    if (ctx->head) {
        /* it was sent */
        (void) ngx_pfree(r->pool, ctx->head);
        ctx->head = NULL;
        ctx->proc->freed++;
        ngx_si_shrink_sent(r);
    }

    if (ctx->shrunk) {
        return;
    }

    ctx->shrunk = 1;
    ngx_si_shrink_answer(r);

    if (!ngx_si_shrink_may(ctx) || !ngx_si_shrink_plan(r, &m)) {
        return;
    }

    /* always apart from the blocks of the pool, which would waste their ends */

    p = ngx_pmemalign(r->pool, m.size, NGX_ALIGNMENT);
    if (p == NULL) {
        return;
    }

    for (i = 0; i < m.n; i++) {
        m.range[i].to = p;
        p = ngx_cpymem(p, m.range[i].from, m.range[i].end - m.range[i].from);
    }

    ngx_si_shrink_fields(r, &m);
    ngx_si_shrink_text(r, &m);
    ngx_si_shrink_free(r, &m);
}


/* nginx made room for twenty fields of an answer that is still to come */

static void
ngx_si_shrink_answer(ngx_http_request_t *r)
{
    void        *few;
    ngx_list_t  *list = &r->headers_out.headers;

    if (list->part.nelts || list->part.next
        || list->nalloc <= NGX_SI_SHRINK_FIELDS)
    {
        return;
    }

    few = ngx_pmemalign(r->pool, NGX_SI_SHRINK_FIELDS * list->size,
                        NGX_ALIGNMENT);

    if (few && ngx_pfree(r->pool, list->part.elts) == NGX_OK) {
        list->part.elts = few;
        list->nalloc = NGX_SI_SHRINK_FIELDS;
    }
}


/*
 * Of a header that was sent only the log asks again, and nobody adds to it:
 * what all streams have is in one place for all.
 */

static void
ngx_si_shrink_sent(ngx_http_request_t *r)
{
    ngx_uint_t        i, n;
    ngx_list_t       *list = &r->headers_out.headers;
    ngx_table_elt_t  *old = list->part.elts, *few;

    static ngx_list_part_t  defaults = {
        ngx_si_head_defaults, NGX_SI_HEAD_DEFAULTS, NULL
    };

    for (i = 0, n = 0; i < list->part.nelts; i++) {
        n += ngx_si_shrink_is_default(&old[i]);
    }

    if (n != NGX_SI_HEAD_DEFAULTS || list->part.next
        || ngx_si_shrink_pointed(r))
    {
        return;
    }

    n = list->part.nelts - n;
    few = NULL;

    if (n) {
        few = ngx_pmemalign(r->pool, n * list->size, NGX_ALIGNMENT);
        if (few == NULL) {
            return;
        }
    }

    for (i = 0, n = 0; i < list->part.nelts; i++) {
        if (!ngx_si_shrink_is_default(&old[i])) {
            few[n++] = old[i];
        }
    }

    if (ngx_pfree(r->pool, old) == NGX_OK) {
        list->part.elts = few;
        list->part.nelts = n;
        list->part.next = &defaults;
        list->nalloc = n;
    }
}


/* a field that nginx or a filter finds by a pointer of its own */

static ngx_uint_t
ngx_si_shrink_pointed(ngx_http_request_t *r)
{
    u_char      *p, *word, *from, *end;
    ngx_list_t  *list = &r->headers_out.headers;

#if (nginx_version < 1023000)
    if (r->headers_out.cache_control.nelts || r->headers_out.link.nelts) {
        return 1;
    }
#endif

    from = list->part.elts;
    end = from + list->part.nelts * list->size;

    word = (u_char *) &r->headers_out;

    for ( /* void */ ; word < (u_char *) (&r->headers_out + 1);
         word += sizeof(u_char *))
    {
        ngx_memcpy(&p, word, sizeof(u_char *));

        if (p >= from && p < end && word != (u_char *) &list->part.elts) {
            return 1;
        }
    }

    return 0;
}


/* by its place: another with that name is somebody else's */

static ngx_uint_t
ngx_si_shrink_is_default(ngx_table_elt_t *h)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_SI_HEAD_DEFAULTS; i++) {
        if (h->hash && h->key.data == ngx_si_head_defaults[i].key.data
            && h->value.data == ngx_si_head_defaults[i].value.data)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_si_shrink_may(ngx_si_ctx_t *ctx)
{
    ngx_uint_t           i;
    ngx_http_request_t  *r = ctx->request;

    if (r != r->main || r->count != 1 || r->blocked || r->postponed
        || r->upstream || r->discard_body || r->reading_body
        || r->http_version >= NGX_HTTP_VERSION_20
        || r->header_in->pos < r->header_in->last
        || (r->request_body
            && (r->request_body->bufs || r->request_body->buf)))
    {
        return 0;
    }

    for (i = 0; i < ngx_http_max_module; i++) {
        if (r->ctx[i] && !ctx->proc->conf->known[i]) {
            return 0;
        }
    }

    return 1;
}


/* what is moved; fields come first, as they must be aligned */

static ngx_uint_t
ngx_si_shrink_plan(ngx_http_request_t *r, ngx_si_move_t *m)
{
    ngx_buf_t        *b;
    ngx_list_t       *list;
    ngx_chain_t      *cl;
    ngx_list_part_t  *part;

    m->n = 0;
    m->size = 0;
    m->room = 0;

    list = &r->headers_in.headers;

    for (part = &list->part; part; part = part->next) {
        if (!ngx_si_shrink_add(m, r->pool, part->elts,
                               part->nelts * list->size,
                               list->nalloc * list->size))
        {
            return 0;
        }
    }

    m->nparts = m->n;

    b = r->connection->buffer;
    cl = r->http_connection->busy;

    while (b) {
        if (!ngx_si_shrink_add(m, r->connection->pool, b->start,
                               b->last - b->start, b->end - b->start))
        {
            return 0;
        }

        b = cl ? cl->buf : NULL;
        cl = cl ? cl->next : NULL;
    }

    return m->room >= m->size + NGX_SI_SHRINK_WORTH;
}


/* only what lies apart from the blocks of its pool can be freed before it */

static ngx_uint_t
ngx_si_shrink_add(ngx_si_move_t *m, ngx_pool_t *pool, void *from, size_t len,
    size_t room)
{
    ngx_si_range_t    *range;
    ngx_pool_large_t  *l;

    for (l = pool->large; l && l->alloc != from; l = l->next) { /* void */ }

    if (l == NULL || from == NULL || m->n == NGX_SI_SHRINK_RANGES) {
        return 0;
    }

    range = &m->range[m->n++];
    range->from = from;
    range->end = range->from + len;

    m->size += len;
    m->room += room;

    return 1;
}


/* the list becomes one part without room for more */

static void
ngx_si_shrink_fields(ngx_http_request_t *r, ngx_si_move_t *m)
{
    ngx_uint_t   i;
    ngx_list_t  *list = &r->headers_in.headers;

    ngx_si_shrink_named(r, m);

    list->part.elts = m->range[0].to;
    list->part.nelts = 0;
    list->part.next = NULL;
    list->last = &list->part;

    for (i = 0; i < m->nparts; i++) {
        list->part.nelts += (m->range[i].end - m->range[i].from)
                            / sizeof(ngx_table_elt_t);
    }

    list->nalloc = list->part.nelts;
}


/* Host, Cookie and so on, wherever nginx points to single fields */

static void
ngx_si_shrink_named(ngx_http_request_t *r, ngx_si_move_t *m)
{
    u_char             *p;
    ngx_http_header_t  *hh;

    for (hh = ngx_http_headers_in; hh->name.len; hh++) {
        p = (u_char *) &r->headers_in + hh->offset;

#if (nginx_version < 1023000)
        if (hh->offset == offsetof(ngx_http_headers_in_t, cookies)
#if (NGX_HTTP_X_FORWARDED_FOR)
            || hh->offset == offsetof(ngx_http_headers_in_t, x_forwarded_for)
#endif
           )
        {
            ngx_uint_t    i;
            ngx_array_t  *a = (ngx_array_t *) p;

            for (i = 0; i < a->nelts; i++) {
                ngx_si_shrink_ptr((u_char **) a->elts + i, m);
            }

            continue;
        }
#endif

        ngx_si_shrink_ptr(p, m);
    }
}


static void
ngx_si_shrink_text(ngx_http_request_t *r, ngx_si_move_t *m)
{
    ngx_uint_t                  i;
    ngx_http_core_main_conf_t  *cmcf;

    ngx_si_shrink_ptr(&r->request_line.data, m);
    ngx_si_shrink_ptr(&r->uri.data, m);
    ngx_si_shrink_ptr(&r->args.data, m);
    ngx_si_shrink_ptr(&r->exten.data, m);
    ngx_si_shrink_ptr(&r->unparsed_uri.data, m);
    ngx_si_shrink_ptr(&r->method_name.data, m);
    ngx_si_shrink_ptr(&r->http_protocol.data, m);
    ngx_si_shrink_ptr(&r->schema.data, m);
#if (NGX_PCRE)
    ngx_si_shrink_ptr(&r->captures_data, m);
#endif
    ngx_si_shrink_ptr(&r->headers_in.server.data, m);
    ngx_si_shrink_ptr(&r->headers_out.charset.data, m);

    ngx_si_shrink_list(&r->headers_in.headers, m);
    ngx_si_shrink_list(&r->headers_out.headers, m);

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    for (i = 0; i < cmcf->variables.nelts; i++) {
        ngx_si_shrink_ptr(&r->variables[i].data, m);
    }
}


static void
ngx_si_shrink_list(ngx_list_t *list, ngx_si_move_t *m)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &list->part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            ngx_si_shrink_ptr(&h[i].key.data, m);
            ngx_si_shrink_ptr(&h[i].value.data, m);
            ngx_si_shrink_ptr(&h[i].lowcase_key, m);
#if (nginx_version >= 1023000)
            ngx_si_shrink_ptr(&h[i].next, m);
#endif
        }
    }
}


/* p: of any pointer; the end of a range counts, an empty string may be there */

static void
ngx_si_shrink_ptr(void *p, ngx_si_move_t *m)
{
    u_char          *old;
    ngx_uint_t       i;
    ngx_si_range_t  *range;

    ngx_memcpy(&old, p, sizeof(u_char *));

    for (i = 0; i < m->n; i++) {
        range = &m->range[i];

        if (old >= range->from && old <= range->end) {
            old = range->to + (old - range->from);
            ngx_memcpy(p, &old, sizeof(u_char *));
            return;
        }
    }
}


/* keepalive takes the size of c->buffer from its end when it has no start */

static void
ngx_si_shrink_free(ngx_http_request_t *r, ngx_si_move_t *m)
{
    ngx_buf_t              *b;
    ngx_uint_t              i;
    ngx_chain_t            *cl;
    ngx_connection_t       *c;
    ngx_http_connection_t  *hc;

    c = r->connection;
    hc = r->http_connection;
    b = c->buffer;

    for (i = 0; i < m->n; i++) {
        (void) ngx_pfree(i < m->nparts ? r->pool : c->pool,
                         m->range[i].from);
    }

    while (hc->busy) {
        cl = hc->busy;
        hc->busy = cl->next;
        ngx_free_chain(c->pool, cl);
    }

    hc->nbusy = 0;

    b->end = (u_char *) (uintptr_t) (b->end - b->start);
    b->start = NULL;
    b->pos = NULL;
    b->last = NULL;

    r->header_in = b;
}
