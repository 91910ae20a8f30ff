
/*
 * si_metrics: the counters in the text format of Prometheus, version 0.0.4.
 * A family stands in it once, so what the workers say, each with HELP and
 * TYPE of its own, is sorted by family and given labels.
 */


#include "ngx_si_module.h"
#include "ngx_si_status.h"


#define NGX_SI_METRICS_EDGE  (8 * 1024)     /* room for the edge's own */
#define NGX_SI_LABEL_ROOM    64             /* beside the pool's name */
#define NGX_SI_METRICS_ZONE  2048           /* room for one zone of limits */


typedef struct {
    const char          *name;
    const char          *type;      /* NULL: of the family above */
    const char          *help;
    const char          *label;     /* or NULL */
    ngx_uint_t           counter;   /* or where it is in a zone's counts */
} ngx_si_metric_t;


static ngx_chain_t *ngx_si_metrics_body(ngx_si_status_t *st);
static ngx_int_t ngx_si_metrics_flatten(ngx_si_query_t *q, ngx_pool_t *pool);
static size_t ngx_si_metrics_size(ngx_si_status_t *st);
static u_char *ngx_si_metrics_edge(u_char *p, u_char *end,
    ngx_si_status_t *st);
static u_char *ngx_si_metrics_auth(u_char *p, u_char *end,
    ngx_si_proc_t *proc, ngx_atomic_uint_t *sum);
static u_char *ngx_si_metrics_limits(u_char *p, u_char *end,
    ngx_si_status_t *st, const ngx_si_metric_t *m, ngx_uint_t n,
    ngx_uint_t cluster);
static u_char *ngx_si_metrics_head(u_char *p, u_char *end,
    const ngx_si_metric_t *m);
static u_char *ngx_si_metrics_workers(u_char *p, u_char *end,
    ngx_si_status_t *st);
static u_char *ngx_si_metrics_family(u_char *p, u_char *end,
    ngx_si_query_t *q, ngx_str_t *help);
static u_char *ngx_si_metrics_labels(u_char *p, u_char *end,
    ngx_si_query_t *q);
static ngx_uint_t ngx_si_metrics_line(u_char **pos, u_char *end,
    ngx_str_t *line);


static const ngx_si_metric_t  ngx_si_metrics[] = {

    { "si_calls", "gauge", "Requests in the module, readers of streams too.",
      NULL, NGX_SI_CALLS },

    { "si_requests_total", "counter", "Requests that came to the module.",
      NULL, NGX_SI_CALLED },

    { "si_stream_readers", "gauge", "Requests that read a log.",
      NULL, NGX_SI_READERS },

    { "si_stream_opened_total", "counter", "Readers that began.",
      NULL, NGX_SI_READ },

    { "si_stream_closed_total", "counter",
      "Readers that were closed, by reason.",
      "reason=\"slow\"", NGX_SI_SLOW },

    { "si_stream_closed_total", NULL, NULL,
      "reason=\"stall\"", NGX_SI_STALL },

    { "si_stream_closed_total", NULL, NULL,
      "reason=\"drain\"", NGX_SI_DRAIN },

    { "si_stream_closed_total", NULL, NULL,
      "reason=\"lost\"", NGX_SI_LOST },

    { "si_stream_closed_total", NULL, NULL,
      "reason=\"expired\"", NGX_SI_EXPIRED },

    { "si_logs", "gauge", "Logs of workers that are mirrored here.",
      NULL, NGX_SI_LOGS },

    { "si_logs_resumed_total", "counter",
      "Logs that went on at a worker after their link was lost.",
      NULL, NGX_SI_RESUMED },

    { "si_sent_bytes_total", "counter",
      "Bytes of answers handed to clients.",
      NULL, NGX_SI_BYTES },

    { "si_links", "gauge", "Links between nginx processes and workers.",
      NULL, NGX_SI_LINKS },

    { "si_links_opened_total", "counter", "Links that came up.",
      NULL, NGX_SI_LINKED },

    { "si_key_sets_total", "counter", "Key sets of issuers, by what became "
      "of them.", "result=\"taken\"", NGX_SI_KEYS },

    { "si_key_sets_total", NULL, NULL, "result=\"refused\"",
      NGX_SI_KEYS_BAD },

    { "si_auth_keys_total", "counter", "Requests with an API key, by what "
      "the zone said of it.", "result=\"known\"", NGX_SI_KEY_KNOWN },

    { "si_auth_keys_total", NULL, NULL, "result=\"refused\"",
      NGX_SI_KEY_REFUSED },

    { "si_auth_keys_total", NULL, NULL, "result=\"unknown\"",
      NGX_SI_KEY_UNKNOWN },

    { "si_tokens_keyless_total", "counter",
      "Requests answered 503 since no key is known for their token.",
      NULL, NGX_SI_KEYLESS },

    { "si_origin_refused_total", "counter",
      "Requests without the secret of si_origin_secret.",
      NULL, NGX_SI_UNPROVEN }
};


/* of each zone of limits */

static const ngx_si_metric_t  ngx_si_metrics_zone[] = {

    { "si_limit_requests_total", "counter",
      "Decisions of limits, by zone and decision.",
      "decision=\"passed\"", offsetof(ngx_si_limit_stat_t, passed) },

    { "si_limit_requests_total", NULL, NULL,
      "decision=\"limited\"", offsetof(ngx_si_limit_stat_t, limited) },

    { "si_limit_requests_total", NULL, NULL,
      "decision=\"dry_run\"", offsetof(ngx_si_limit_stat_t, dry_run) },

    { "si_limit_no_room_total", "counter",
      "Keys forgotten, streams not counted, as the zone was full.",
      NULL, offsetof(ngx_si_limit_stat_t, no_room) },

    { "si_limit_keys", "gauge", "Keys that the zone holds.",
      NULL, offsetof(ngx_si_limit_stat_t, keys) }
};


/* of each that is shared by all nodes */

static const ngx_si_metric_t  ngx_si_metrics_cluster[] = {

    { "si_limit_slices_total", "counter",
      "Questions for slices of the cluster's budget, by what came of them.",
      "result=\"asked\"", offsetof(ngx_si_limit_stat_t, asked) },

    { "si_limit_slices_total", NULL, NULL,
      "result=\"granted\"", offsetof(ngx_si_limit_stat_t, granted) },

    { "si_limit_slices_total", NULL, NULL,
      "result=\"denied\"", offsetof(ngx_si_limit_stat_t, denied) },

    { "si_limit_degraded", "gauge",
      "Whether this node has only its share, as Redis is away.",
      NULL, offsetof(ngx_si_limit_stat_t, degraded) },

    { "si_limit_nodes", "gauge", "Nodes that share the budget, 0: unknown.",
      NULL, offsetof(ngx_si_limit_stat_t, nodes) }
};


static const ngx_si_face_t  ngx_si_metrics_face = {
    ngx_string("/metrics"),
    ngx_string("text/plain; version=0.0.4; charset=utf-8"),
    '#',
    ngx_si_metrics_body
};


ngx_int_t
ngx_si_metrics_handler(ngx_http_request_t *r)
{
    return ngx_si_query_start(r, &ngx_si_metrics_face);
}


static ngx_chain_t *
ngx_si_metrics_body(ngx_si_status_t *st)
{
    u_char       *p;
    ngx_uint_t    i;
    ngx_pool_t   *pool = st->request->pool;
    ngx_chain_t  *cl;

    for (i = 0; i < st->n; i++) {
        if (ngx_si_metrics_flatten(&st->queries[i], pool) != NGX_OK) {
            return NULL;
        }
    }

    cl = ngx_si_query_text(pool, ngx_si_metrics_size(st));
    if (cl == NULL) {
        return NULL;
    }

    p = ngx_si_metrics_edge(cl->buf->last, cl->buf->end, st);
    cl->buf->last = ngx_si_metrics_workers(p, cl->buf->end, st);

    return cl;
}


/* one buffer with whole lines, empty when the worker did not answer */

static ngx_int_t
ngx_si_metrics_flatten(ngx_si_query_t *q, ngx_pool_t *pool)
{
    u_char       *p;
    ngx_chain_t  *cl, *next;

    next = q->error ? NULL : q->body;

    cl = ngx_si_query_text(pool, q->size + 1);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    for (p = cl->buf->pos; next; next = next->next) {
        p = ngx_cpymem(p, next->buf->pos, ngx_buf_size(next->buf));
    }

    while (p > cl->buf->pos && p[-1] != '\n') {
        p--;
    }

    *p = '\0';
    cl->buf->last = p;
    q->body = cl;

    return NGX_OK;
}


static size_t
ngx_si_metrics_size(ngx_si_status_t *st)
{
    u_char          *p;
    size_t           size, label;
    ngx_uint_t       i;
    ngx_si_query_t  *q;

    size = NGX_SI_METRICS_EDGE
           + st->proc->conf->limit_zones.nelts * NGX_SI_METRICS_ZONE;

    for (i = 0; i < st->n; i++) {
        q = &st->queries[i];
        label = 2 * q->pool->name.len + NGX_SI_LABEL_ROOM;
        size += q->size + label;

        for (p = q->body->buf->pos; p < q->body->buf->last; p++) {
            size += *p == '\n' ? label : 0;
        }
    }

    return size;
}


static u_char *
ngx_si_metrics_edge(u_char *p, u_char *end, ngx_si_status_t *st)
{
    ngx_uint_t              i;
    ngx_atomic_uint_t       sum[NGX_SI_COUNTERS];
    const ngx_si_metric_t  *m = ngx_si_metrics;

    ngx_si_zone_sum(st->proc, sum);

    for (i = 0; i < sizeof(ngx_si_metrics) / sizeof(*m); i++, m++) {

        p = ngx_si_metrics_head(p, end, m);

        p = m->label ? ngx_slprintf(p, end, "%s{%s} %uA\n", m->name,
                                    m->label, sum[m->counter])
                     : ngx_slprintf(p, end, "%s %uA\n", m->name,
                                    sum[m->counter]);
    }

    p = ngx_si_metrics_auth(p, end, st->proc, sum);
    p = ngx_si_metrics_limits(p, end, st, ngx_si_metrics_zone,
                              sizeof(ngx_si_metrics_zone)
                                  / sizeof(ngx_si_metric_t), 0);
    p = ngx_si_metrics_limits(p, end, st, ngx_si_metrics_cluster,
                              sizeof(ngx_si_metrics_cluster)
                                  / sizeof(ngx_si_metric_t), 1);

    p = ngx_slprintf(p, end, "# HELP si_worker_up Whether the worker "
                     "answered within a second.\n"
                     "# TYPE si_worker_up gauge\n");

    for (i = 0; i < st->n; i++) {
        p = ngx_slprintf(p, end, "si_worker_up{");
        p = ngx_si_metrics_labels(p, end, &st->queries[i]);
        p = ngx_slprintf(p, end, "} %d\n", st->queries[i].error == NULL);
    }

    return p;
}


/* what the zone of API keys holds, and tokens by why they were refused */

static u_char *
ngx_si_metrics_auth(u_char *p, u_char *end, ngx_si_proc_t *proc,
    ngx_atomic_uint_t *sum)
{
    ngx_uint_t              i;
    ngx_si_verdict_stat_t   st;

    ngx_si_verdict_stat(proc->conf->verdicts, &st);

    p = ngx_slprintf(p, end,
                     "# HELP si_auth_cache_keys API keys of which the zone "
                     "holds a verdict.\n"
                     "# TYPE si_auth_cache_keys gauge\n"
                     "si_auth_cache_keys{verdict=\"good\"} %ui\n"
                     "si_auth_cache_keys{verdict=\"bad\"} %ui\n"
                     "# HELP si_auth_cache_evicted_total Verdicts forgotten "
                     "before their time: the zone is too small.\n"
                     "# TYPE si_auth_cache_evicted_total counter\n"
                     "si_auth_cache_evicted_total %ui\n"
                     "# HELP si_auth_tokens_total Requests with a token, by "
                     "what came of it.\n"
                     "# TYPE si_auth_tokens_total counter\n"
                     "si_auth_tokens_total{result=\"verified\"} %uA\n"
                     "si_auth_tokens_total{result=\"cached\"} %uA\n",
                     st.good, st.bad, st.evicted, sum[NGX_SI_AUTH],
                     sum[NGX_SI_AUTH_KNOWN]);

    for (i = 1; i < SI_JWT_REASON_COUNT; i++) {
        p = ngx_slprintf(p, end, "si_auth_tokens_total{result=\"%s\"} %uA\n",
                         si_jwt_reason(i), sum[NGX_SI_AUTH + i]);
    }

    return p;
}


/* n metrics of the limits' zones; cluster: only of those that nodes share */

static u_char *
ngx_si_metrics_limits(u_char *p, u_char *end, ngx_si_status_t *st,
    const ngx_si_metric_t *m, ngx_uint_t n, ngx_uint_t cluster)
{
    ngx_uint_t              i;
    ngx_array_t            *zones = &st->proc->conf->limit_zones;
    ngx_si_limit_stat_t     stat;
    ngx_si_limit_zone_t   **zone = zones->elts;

    for ( /* void */ ; zones->nelts && n; n--, m++) {
        p = ngx_si_metrics_head(p, end, m);

        for (i = 0; i < zones->nelts; i++) {
            if (cluster && !zone[i]->cluster) {
                continue;
            }

            ngx_si_limit_stat(zone[i], &stat);

            /* names of zones need no escape, see ngx_si_limit_conf.c */

            p = ngx_slprintf(p, end, "%s{zone=\"%V\"%s%s} %ui\n", m->name,
                             &zone[i]->shm->shm.name, m->label ? "," : "",
                             m->label ? m->label : "",
                             *(ngx_uint_t *) ((u_char *) &stat + m->counter));
        }
    }

    return p;
}


static u_char *
ngx_si_metrics_head(u_char *p, u_char *end, const ngx_si_metric_t *m)
{
    return m->type ? ngx_slprintf(p, end, "# HELP %s %s\n# TYPE %s %s\n",
                                  m->name, m->help, m->name, m->type)
                   : p;
}


/*
 * The families of the worker that said most.  Others have the same, but for
 * those of an older or newer program during an upgrade.
 */

static u_char *
ngx_si_metrics_workers(u_char *p, u_char *end, ngx_si_status_t *st)
{
    u_char          *pos;
    ngx_str_t        help, type;
    ngx_buf_t       *b;
    ngx_uint_t       i;

    b = NULL;

    for (i = 0; i < st->n; i++) {
        if (b == NULL || ngx_buf_size(st->queries[i].body->buf)
                         > ngx_buf_size(b))
        {
            b = st->queries[i].body->buf;
        }
    }

    for (pos = b ? b->pos : NULL; b && ngx_si_metrics_line(&pos, b->last,
                                                            &help); )
    {
        if (help.len <= 7 || ngx_strncmp(help.data, "# HELP ", 7) != 0
            || !ngx_si_metrics_line(&pos, b->last, &type))
        {
            continue;
        }

        p = ngx_slprintf(p, end, "%V%V", &help, &type);

        for (i = 0; i < st->n; i++) {
            p = ngx_si_metrics_family(p, end, &st->queries[i], &help);
        }
    }

    return p;
}


/* the samples of one worker below that line of HELP */

static u_char *
ngx_si_metrics_family(u_char *p, u_char *end, ngx_si_query_t *q,
    ngx_str_t *help)
{
    u_char      *pos, *last, *name;
    ngx_str_t    line;
    ngx_uint_t   found;

    pos = q->body->buf->pos;
    last = q->body->buf->last;
    found = 0;

    while (ngx_si_metrics_line(&pos, last, &line)) {

        if (line.data[0] == '#') {
            if (ngx_strncmp(line.data, "# HELP ", 7) == 0) {
                found = line.len == help->len
                        && ngx_memcmp(line.data, help->data, line.len) == 0;
            }

            continue;
        }

        if (!found) {
            continue;
        }

        for (name = line.data; *name > ' ' && *name != '{'; name++) {
            /* the name, then a space or labels */
        }

        p = ngx_slprintf(p, end, "%*s{", (size_t) (name - line.data),
                         line.data);
        p = ngx_si_metrics_labels(p, end, q);

        p = *name == '{' ? ngx_slprintf(p, end, ",%*s", (size_t)
                                        (line.data + line.len - name - 1),
                                        name + 1)
                         : ngx_slprintf(p, end, "}%*s", (size_t)
                                        (line.data + line.len - name), name);
    }

    return p;
}


static u_char *
ngx_si_metrics_labels(u_char *p, u_char *end, ngx_si_query_t *q)
{
    size_t     i;
    ngx_str_t *name = &q->pool->name;

    p = ngx_slprintf(p, end, "pool=\"");

    for (i = 0; i < name->len; i++) {
        if (name->data[i] == '"' || name->data[i] == '\\') {
            p = ngx_slprintf(p, end, "\\");
        }

        p = ngx_slprintf(p, end, "%c", name->data[i] == '\n' ? ' '
                                       : name->data[i]);
    }

    return ngx_slprintf(p, end, "\",worker=\"%ui\"", q->slot);
}


/* the next line, with its end; 0: there is none */

static ngx_uint_t
ngx_si_metrics_line(u_char **pos, u_char *end, ngx_str_t *line)
{
    u_char  *nl;

    if (*pos >= end) {
        return 0;
    }

    nl = ngx_strlchr(*pos, end, '\n');
    if (nl == NULL) {
        return 0;
    }

    line->data = *pos;
    line->len = nl + 1 - *pos;
    *pos = nl + 1;

    return 1;
}
