
/*
 * What a worker says unasked.  Every worker says it to every process, so all
 * is heard more than once.
 */


#include "ngx_si_module.h"


static const char *ngx_si_push_revoke(ngx_si_proc_t *proc, ngx_str_t *name);
static void ngx_si_push_remember(ngx_si_proc_t *proc, ngx_str_t *name);
static ngx_uint_t ngx_si_push_token(ngx_si_ctx_t *ctx);
static ngx_uint_t ngx_si_push_same(ngx_str_t *a, ngx_str_t *b);


const char *
ngx_si_push_take(ngx_si_link_t *link, const u_char *p, size_t len)
{
    ngx_str_t  rest;

    if (len == 0) {
        return "empty PUSH";
    }

    rest.data = (u_char *) p + 1;
    rest.len = len - 1;

    switch (p[0]) {

    case SI_PUSH_KEYS:
        return ngx_si_keys_push(link, rest.data, rest.len);

    case SI_PUSH_REVOKED:
        return ngx_si_push_revoke(link->pool->proc, &rest);

    case SI_PUSH_GRANT:
        return ngx_si_quota_grant(link, &rest);

    case SI_PUSH_TOKENS:
        return ngx_si_revoked_push(link->pool->proc, rest.data, rest.len);

    case SI_PUSH_VERDICT:
        return ngx_si_verdict_push(link, rest.data, rest.len);

    default:
        return "unknown PUSH";
    }
}


static const char *
ngx_si_push_revoke(ngx_si_proc_t *proc, ngx_str_t *name)
{
    if (name->len == 0 || name->len > SI_KEY_MAX) {
        return "malformed PUSH";
    }

    ngx_si_push_remember(proc, name);
    ngx_si_push_end(proc, name);

    return NULL;
}


/* without memory an answer that is under way may slip through */

static void
ngx_si_push_remember(ngx_si_proc_t *proc, ngx_str_t *name)
{
    u_char      *p;
    ngx_str_t   *place;
    ngx_uint_t   i;

    for (i = 0; i < NGX_SI_REVOKED; i++) {
        if (ngx_si_push_same(&proc->revoked[i], name)) {
            return;
        }
    }

    p = ngx_alloc(name->len, proc->tick.log);
    if (p == NULL) {
        return;
    }

    place = &proc->revoked[proc->nrevoked++ % NGX_SI_REVOKED];

    if (place->data) {
        ngx_free(place->data);
    }

    ngx_memcpy(p, name->data, name->len);
    place->data = p;
    place->len = name->len;
}


/*
 * Ends the streams that began with this key; name is NULL: with a token that
 * is revoked.  As a visit of the tick: any request may end.
 */

void
ngx_si_push_end(ngx_si_proc_t *proc, ngx_str_t *name)
{
    ngx_uint_t     i;
    ngx_queue_t    todo, *q;
    ngx_si_ctx_t  *ctx;

    for (i = 0; i < NGX_SI_BUCKETS; i++) {
        ngx_si_queue_take(&todo, &proc->buckets[i]);

        while (!ngx_queue_empty(&todo)) {
            q = ngx_queue_head(&todo);
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&proc->buckets[i], q);

            ctx = ngx_queue_data(q, ngx_si_ctx_t, bucket);

            /* the worker closes a WebSocket itself */

            if (ctx->stream
                && (name ? ngx_si_push_same(&ctx->credential, name)
                         : ngx_si_push_token(ctx)))
            {
                ngx_si_answer_expired(ctx);
            }
        }
    }
}


static ngx_uint_t
ngx_si_push_token(ngx_si_ctx_t *ctx)
{
    return ctx->marks && ngx_si_revoked(ctx->proc->conf->revoked, ctx->marks);
}


ngx_uint_t
ngx_si_push_revoked(ngx_si_ctx_t *ctx)
{
    ngx_uint_t  i;

    if (!ctx->stream) {
        return 0;
    }

    if (ngx_si_push_token(ctx)) {
        return 1;
    }

    if (ctx->credential.len == 0) {
        return 0;
    }

    for (i = 0; i < NGX_SI_REVOKED; i++) {
        if (ngx_si_push_same(&ctx->proc->revoked[i], &ctx->credential)) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_si_push_same(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len && ngx_memcmp(a->data, b->data, a->len) == 0;
}
