
/*
 * si_status: this process, the counters of all, and what each
 * worker says of itself.
 */


#include "ngx_si_module.h"
#include "ngx_si_status.h"


static ngx_chain_t *ngx_si_status_body(ngx_si_status_t *st);
static ngx_chain_t **ngx_si_status_worker(ngx_si_query_t *q, ngx_pool_t *pool,
    ngx_chain_t **ll);
static ngx_chain_t *ngx_si_status_edge(ngx_si_status_t *st);
static u_char *ngx_si_status_counters(u_char *p, u_char *end,
    ngx_si_proc_t *proc);
static u_char *ngx_si_status_auth(u_char *p, u_char *end,
    ngx_si_proc_t *proc, ngx_atomic_uint_t *sum);
static u_char *ngx_si_status_limits(u_char *p, u_char *end,
    ngx_si_proc_t *proc);
static u_char *ngx_si_status_link(u_char *p, u_char *end,
    ngx_si_link_t *link);


static const ngx_si_face_t  ngx_si_status_face = {
    ngx_string("/status"),
    ngx_string("application/json"),
    '{',
    ngx_si_status_body
};


static const char  *ngx_si_status_states[] = {
    "connecting", "up", "going", "closed"
};


ngx_int_t
ngx_si_status_handler(ngx_http_request_t *r)
{
    return ngx_si_query_start(r, &ngx_si_status_face);
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
            cl = ngx_si_query_text(pool, 1);
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

    cl = ngx_si_query_text(pool, 3);
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

    cl = ngx_si_query_text(pool, 128);
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
ngx_si_status_edge(ngx_si_status_t *st)
{
    u_char          *p, *end;
    size_t           size;
    ngx_uint_t       i, links;
    ngx_chain_t     *cl;
    ngx_queue_t     *q;
    ngx_si_pool_t  **pools;

    pools = st->proc->conf->pools.elts;
    size = 2048 + st->proc->conf->limit_zones.nelts * 512;

    for (i = 0; i < st->proc->conf->pools.nelts; i++) {
        size += pools[i]->nlinks * (6 * SI_KEY_MAX + 128);
    }

    cl = ngx_si_query_text(st->request->pool, size);
    if (cl == NULL) {
        return NULL;
    }

    end = cl->buf->end;
    p = ngx_si_status_counters(cl->buf->last, end, st->proc);
    p = ngx_si_status_limits(p, end, st->proc);
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

    p = ngx_slprintf(p, end,
                     "{\"edge\":{\"pid\":%P,\"connections\":%ui,"
                     "\"readers\":%uA,\"logs\":%uA,\"calls\":%uA,"
                     "\"bytes_sent\":%uA,\"closed\":{\"slow\":%uA,"
                     "\"stall\":%uA,\"drain\":%uA,\"lost\":%uA,"
                     "\"expired\":%uA},",
                     ngx_pid,
                     ngx_cycle->connection_n
                         - ngx_cycle->free_connection_n,
                     sum[NGX_SI_READERS], sum[NGX_SI_LOGS],
                     sum[NGX_SI_CALLS], sum[NGX_SI_BYTES],
                     sum[NGX_SI_SLOW], sum[NGX_SI_STALL],
                     sum[NGX_SI_DRAIN], sum[NGX_SI_LOST],
                     sum[NGX_SI_EXPIRED]);

    return ngx_si_status_auth(p, end, proc, sum);
}


/* API keys, and tokens; of the reasons only those that occurred */

static u_char *
ngx_si_status_auth(u_char *p, u_char *end, ngx_si_proc_t *proc,
    ngx_atomic_uint_t *sum)
{
    ngx_uint_t             i, n;
    ngx_si_verdict_stat_t  st;

    ngx_si_verdict_stat(proc->conf->verdicts, &st);

    p = ngx_slprintf(p, end, "\"keys\":{\"known\":%uA,\"refused\":%uA,"
                     "\"unknown\":%uA,\"kept\":{\"good\":%ui,\"bad\":%ui,"
                     "\"evicted\":%ui}},",
                     sum[NGX_SI_KEY_KNOWN], sum[NGX_SI_KEY_REFUSED],
                     sum[NGX_SI_KEY_UNKNOWN], st.good, st.bad, st.evicted);

    p = ngx_slprintf(p, end, "\"tokens\":{\"verified\":%uA,\"known\":%uA,"
                     "\"keyless\":%uA,\"refused\":{",
                     sum[NGX_SI_AUTH], sum[NGX_SI_AUTH_KNOWN],
                     sum[NGX_SI_KEYLESS]);

    for (i = 1, n = 0; i < SI_JWT_REASON_COUNT; i++) {
        if (sum[NGX_SI_AUTH + i]) {
            p = ngx_slprintf(p, end, "%s\"%s\":%uA", n++ ? "," : "",
                             si_jwt_reason(i), sum[NGX_SI_AUTH + i]);
        }
    }

    return ngx_slprintf(p, end, "}},");
}


/* names of zones need no escape, see ngx_si_limit_conf.c */

static u_char *
ngx_si_status_limits(u_char *p, u_char *end, ngx_si_proc_t *proc)
{
    ngx_uint_t             i;
    ngx_array_t           *zones = &proc->conf->limit_zones;
    ngx_si_limit_stat_t    st;
    ngx_si_limit_zone_t  **zone = zones->elts;

    p = ngx_slprintf(p, end, "\"limits\":{");

    for (i = 0; i < zones->nelts; i++) {
        ngx_si_limit_stat(zone[i], &st);

        p = ngx_slprintf(p, end,
                         "%s\"%V\":{\"passed\":%ui,\"limited\":%ui,"
                         "\"dry_run\":%ui,\"no_room\":%ui,\"keys\":%ui",
                         i ? "," : "", &zone[i]->shm->shm.name, st.passed,
                         st.limited, st.dry_run, st.no_room, st.keys);

        if (zone[i]->cluster) {
            p = ngx_slprintf(p, end,
                             ",\"asked\":%ui,\"granted\":%ui,"
                             "\"denied\":%ui,\"nodes\":%ui,"
                             "\"degraded\":%s",
                             st.asked, st.granted, st.denied, st.nodes,
                             st.degraded ? "true" : "false");
        }

        p = ngx_slprintf(p, end, "}");
    }

    return ngx_slprintf(p, end, "},\"links\":[");
}


static u_char *
ngx_si_status_link(u_char *p, u_char *end, ngx_si_link_t *link)
{
    p = ngx_slprintf(p, end, "{\"worker\":\"");

    p = (u_char *) ngx_escape_json(p, link->name, link->name_len);

    return ngx_slprintf(p, end, "\",\"state\":\"%s\",\"calls\":%ui}",
                        ngx_si_status_states[link->state], link->ncalls);
}
