
/*
 * Key sets that workers fetch from issuers and push.  A process keeps the
 * newest one that it could read.  A token whose key is not in it waits, with
 * its request, for a short while for a newer one; an issuer that is away is
 * nobody's 401.
 */


#include "ngx_si_module.h"


#define NGX_SI_KEYS_WAIT   3000     /* ms: requests wait after a question */
#define NGX_SI_KEYS_LOOK   20       /* a request that waits looks so often */


static uint64_t ngx_si_keys_now(void);
static void ngx_si_keys_ask(ngx_si_source_t *source);
static ngx_int_t ngx_si_keys_delay(ngx_http_request_t *r);
static void ngx_si_keys_look(ngx_http_request_t *r);
static void ngx_si_keys_take(ngx_si_source_t *source, si_keys_t *k,
    si_jwks_t *set);


/* the source of this name in the pool, made if it has none yet */

ngx_si_source_t *
ngx_si_keys_source(ngx_conf_t *cf, ngx_si_pool_t *pool, ngx_str_t *name)
{
    ngx_queue_t      *q;
    ngx_si_source_t  *source;

    for (q = ngx_queue_head(&pool->sources);
         q != ngx_queue_sentinel(&pool->sources);
         q = ngx_queue_next(q))
    {
        source = ngx_queue_data(q, ngx_si_source_t, queue);

        if (source->name.len == name->len
            && ngx_memcmp(source->name.data, name->data, name->len) == 0)
        {
            return source;
        }
    }

    source = ngx_pcalloc(cf->pool, sizeof(ngx_si_source_t));
    if (source == NULL) {
        return NULL;
    }

    source->name = *name;
    source->pool = pool;
    ngx_queue_insert_tail(&pool->sources, &source->queue);

    return source;
}


/* names that no location of the pool uses are none of our business */

const char *
ngx_si_keys_push(ngx_si_link_t *link, const u_char *p, size_t len)
{
    si_keys_t         k;
    si_jwks_t        *set;
    const char       *why;
    ngx_queue_t      *q;
    ngx_si_proc_t    *proc = link->pool->proc;
    ngx_si_source_t  *source;

    if (!si_keys_get(p, len, &k)) {
        return "malformed PUSH";
    }

    for (q = ngx_queue_head(&link->pool->sources); /* void */;
         q = ngx_queue_next(q))
    {
        if (q == ngx_queue_sentinel(&link->pool->sources)) {
            return NULL;
        }

        source = ngx_queue_data(q, ngx_si_source_t, queue);

        if (source->name.len == k.name_len
            && ngx_memcmp(source->name.data, k.name, k.name_len) == 0)
        {
            break;
        }
    }

    if (k.fetched <= source->fetched
        && source->fetched <= ngx_si_keys_now() + 1000)
    {
        /* every worker says it; unless the clock was set back */
        return NULL;
    }

    set = ngx_alloc(sizeof(si_jwks_t), proc->tick.log);
    if (set == NULL) {
        return NULL;
    }

    why = si_jwks_read(set, (char *) k.text, k.text_len, 0);

    if (why) {
        ngx_log_error(NGX_LOG_ERR, proc->tick.log, 0,
                      "si keys of \"%V\" refused, those before stay: %s",
                      &source->name, why);
        ngx_si_count(proc, NGX_SI_KEYS_BAD, 1);
        si_jwks_free(set);
        ngx_free(set);
        return NULL;
    }

    ngx_si_keys_take(source, &k, set);

    return NULL;
}


/* tokens of a key that is gone are known no more */

static void
ngx_si_keys_take(ngx_si_source_t *source, si_keys_t *k, si_jwks_t *set)
{
    u_char          digest[NGX_SI_AUTH_DIGEST];
    ngx_str_t       text = { k->text_len, (u_char *) k->text };
    ngx_si_proc_t  *proc = source->pool->proc;

    source->fetched = k->fetched;
    source->fresh = k->fresh;
    source->asked = 0;

    if (ngx_si_digest(proc->conf->md, &text, 1, digest) != NGX_OK) {
        ngx_memzero(digest, NGX_SI_AUTH_DIGEST);

    } else if (source->set
               && ngx_memcmp(digest, source->digest, NGX_SI_AUTH_DIGEST) == 0)
    {
        si_jwks_free(set);
        ngx_free(set);
        return;
    }

    ngx_log_error(NGX_LOG_INFO, proc->tick.log, 0,
                  "si keys of \"%V\": %ui", &source->name,
                  (ngx_uint_t) set->n);
    ngx_si_count(proc, NGX_SI_KEYS, 1);

    if (source->set) {
        si_jwks_free(source->set);
        ngx_free(source->set);
    }

    source->set = set;
    ngx_memcpy(source->digest, digest, NGX_SI_AUTH_DIGEST);

    if (proc->auth) {
        ngx_si_auth_forget(proc->auth);
    }
}


/*
 * A token cannot be verified by the keys that are known.  NGX_DECLINED: they
 * are the newest, so it is wrong; NGX_AGAIN: the request waits for others and
 * comes back; NGX_BUSY: nobody can say.
 */

ngx_int_t
ngx_si_keys_wait(ngx_http_request_t *r, ngx_si_source_t *source)
{
    if (source->set && ngx_si_keys_now() < source->fetched + source->fresh) {
        return NGX_DECLINED;
    }

    ngx_si_keys_ask(source);

    return (ngx_msec_int_t) (ngx_current_msec - source->asked)
           < NGX_SI_KEYS_WAIT ? ngx_si_keys_delay(r) : NGX_BUSY;
}


static uint64_t
ngx_si_keys_now(void)
{
    ngx_time_t  *tp = ngx_timeofday();

    return (uint64_t) tp->sec * 1000 + tp->msec;
}


/* begins a question, or sends one for which there was no link before */

static void
ngx_si_keys_ask(ngx_si_source_t *source)
{
    u_char         *p;
    ngx_str_t       any = ngx_null_string;
    ngx_msec_t      pause;
    ngx_si_link_t  *link;

    /* longer than a request waits, or it would wait for ever */
    pause = NGX_SI_KEYS_WAIT + (source->set ? source->fresh : 2000);

    if (source->asked == 0
        || (ngx_msec_int_t) (ngx_current_msec - source->asked)
           >= (ngx_msec_int_t) pause)
    {
        source->asked = ngx_current_msec ? ngx_current_msec : 1;
        source->sent = 0;
    }

    if (source->sent) {
        return;
    }

    link = ngx_si_pool_pick(source->pool, &any, -1);

    p = link ? ngx_si_frame_add(link, SI_F_WANT, 0, 0, source->name.len)
             : NULL;

    if (p) {
        ngx_memcpy(p, source->name.data, source->name.len);
        source->sent = 1;
    }
}


/* as nginx delays a request that comes too early */

static ngx_int_t
ngx_si_keys_delay(ngx_http_request_t *r)
{
    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_si_keys_look;

    r->connection->write->delayed = 1;
    ngx_add_timer(r->connection->write, NGX_SI_KEYS_LOOK);

    return NGX_AGAIN;
}


static void
ngx_si_keys_look(ngx_http_request_t *r)
{
    ngx_event_t  *wev = r->connection->write;

    if (wev->delayed) {
        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        }

        return;
    }

    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
}
