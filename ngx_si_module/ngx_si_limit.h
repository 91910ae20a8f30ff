
/*
 * Limits of one machine: how often, and how many at once, for each value of
 * a key.  Shared memory holds what all nginx processes must agree on.
 */


#ifndef _NGX_SI_LIMIT_H_INCLUDED_
#define _NGX_SI_LIMIT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../worker/link/frame.h"


struct ngx_si_proc_s;
struct ngx_si_link_s;


#define NGX_SI_LIMITS_MAX      8            /* of one kind in a location */
#define NGX_SI_LIMIT_NAME_MAX  SI_LIMIT_MAX
#define NGX_SI_LIMIT_RATE_MAX  1000000      /* in a second or a minute */
#define NGX_SI_LIMIT_BURST_MAX 1000000
#define NGX_SI_LIMIT_STREAMS_MAX    1000000
#define NGX_SI_LIMIT_STREAMS_RETRY  5       /* s: who knows */
#define NGX_SI_QUOTA_BUCKET    100000000LL  /* ns, the least of a cluster */
#define NGX_SI_LIMIT_SECOND    1000000000LL /* time is in ns, see _zone.c */


/* which directive of a location uses a zone */

typedef enum {
    NGX_SI_LIMIT_RATE = 0,      /* si_limit */
    NGX_SI_LIMIT_FAILURES,      /* si_limit_failures */
    NGX_SI_LIMIT_STREAMS,       /* si_limit_streams */
    NGX_SI_LIMIT_KINDS
} ngx_si_limit_kind_e;


#define NGX_SI_LIMIT_STREAMS_CODE    "too_many_streams"
#define NGX_SI_LIMIT_STREAMS_DETAIL  "too many streams are open at once"


typedef struct ngx_si_limit_proc_s   ngx_si_limit_proc_t;
typedef struct ngx_si_limit_count_s  ngx_si_limit_count_t;


typedef struct {
    ngx_uint_t                passed;
    ngx_uint_t                limited;  /* refused */
    ngx_uint_t                dry_run;  /* would have been */
    ngx_uint_t                no_room;  /* keys forgotten, streams uncounted */
    ngx_uint_t                keys;     /* held now */

    /* of the cluster only: */
    ngx_uint_t                asked;    /* a worker, for a slice */
    ngx_uint_t                granted;  /* of these, at least one request */
    ngx_uint_t                denied;   /* the bucket had none */
    ngx_uint_t                degraded; /* 1: this node has its share now */
    ngx_uint_t                nodes;    /* that share the budget; 0: unknown */
} ngx_si_limit_stat_t;


/* one key of a rate zone: 64 bytes, a chunk of the slab */

typedef struct {
    ngx_rbtree_node_t         node;     /* key is the digest of the key */
    ngx_queue_t               queue;    /* the head was charged last */
    int64_t                   tat;      /* ns, theoretical arrival time */
} ngx_si_limit_node_t;


/*
 * The same in a zone of the cluster: 128 bytes.  The TAT is then that of the
 * cluster, as it was told last and moved on by what passed without a lease.
 */

typedef struct {
    ngx_si_limit_node_t       node;
    ngx_queue_t               leases;   /* sh->leases, while lease > 0 */
    int64_t                   until;    /* ns, then the lease goes back */
    int64_t                   ask_at;   /* ns, not sooner */
    int64_t                   since;    /* ns, `seen` counts from then on */
    uint32_t                  seen;     /* requests */
    uint32_t                  demand;   /* requests of a slice, as measured */
    uint32_t                  lease;    /* requests that may pass */
    uint32_t                  debt;     /* that passed without, not yet told */
    uint32_t                  told;     /* of debts, with the question asked */
    unsigned                  asking:1; /* until ask_at nobody else does */
    unsigned                  lapses:7; /* questions without an answer */
} ngx_si_quota_t;


typedef struct {
    ngx_uint_t                layout;   /* first for ever */
    ngx_atomic_t              full;     /* until then one may be, in ns */
    ngx_rbtree_t              tree;
    ngx_rbtree_node_t         sentinel;
    ngx_queue_t               queue;    /* of nodes, or processes */
    ngx_uint_t                streams;  /* which of them */
    ngx_uint_t                cluster;  /* nodes are ngx_si_quota_t */
    ngx_queue_t               leases;   /* who ends first at the head */
    int64_t                   heard;    /* ns, last word from Redis, 0: never */
    int64_t                   probe_at; /* ns, when to ask if it is there */
    ngx_uint_t                aways;    /* workers since then that found none */
    ngx_si_limit_stat_t       stat;     /* written under the mutex */
} ngx_si_limit_shared_t;


/* a zone as one configuration has it */

typedef struct {
    ngx_shm_zone_t           *shm;
    ngx_si_limit_shared_t    *sh;
    ngx_slab_pool_t          *shpool;
    ngx_str_t                 text;     /* of the key */
    ngx_http_complex_value_t  key;
    ngx_int_t                 variable; /* index: the key is this alone */
    int64_t                   interval; /* ns between two requests */
    int64_t                   bucket;   /* ns, burst * interval */
    ngx_uint_t                streams;  /* at once; 0: it is a rate */
    ngx_uint_t                cluster;  /* scope=cluster */
    struct ngx_si_proc_s    **asker;    /* who has links, NULL: nobody yet */
    ngx_si_limit_proc_t      *proc;     /* this one, once it has a stream */
} ngx_si_limit_zone_t;


/* si_limit, si_limit_failures or si_limit_streams of a location */

typedef struct {
    ngx_str_t                 name;
    ngx_si_limit_zone_t      *zone;
    ngx_uint_t                dry_run;
} ngx_si_limit_t;


typedef struct {
    ngx_array_t              *of[NGX_SI_LIMIT_KINDS];   /* NULL: inherited */
    ngx_str_t                 policy;   /* RateLimit-Policy */
} ngx_si_limits_t;


/* what one limit says of one request */

typedef struct {
    ngx_si_limit_t           *limit;
    ngx_rbtree_key_t          key;
    ngx_si_limit_node_t      *node;     /* while the zone is locked */
    int64_t                   used;     /* ns of the bucket, before it */
    int64_t                   cost;     /* ns of the bucket that it takes */
    ngx_uint_t                share;    /* one of so many nodes', 0: all */
    int64_t                   wait;     /* ns until it passes, 0: now */
    ngx_uint_t                asks;     /* this, once the zone is unlocked */
    si_ask_t                  ask;
} ngx_si_limit_look_t;


typedef enum {
    NGX_SI_LIMIT_NONE = 0,      /* not asked */
    NGX_SI_LIMIT_PASSED,
    NGX_SI_LIMIT_LIMITED,
    NGX_SI_LIMIT_DRY_RUN
} ngx_si_limit_status_e;


/* of a request; found by its cleanup, so it survives internal redirects */

typedef struct {
    ngx_str_t                *policy;
    ngx_str_t                *name;     /* the tightest, NULL: none counts */
    uint32_t                  left;     /* requests that could follow now */
    uint32_t                  reset;    /* s until there is one more */
    uint32_t                  retry;    /* Retry-After, s */
    u_char                    status;   /* ngx_si_limit_status_e */
    uint16_t                  share;    /* of the budget; 0: all of it */
    u_char                    text[NGX_SI_LIMIT_NAME_MAX + 40]; /* RateLimit */
    ngx_array_t              *streams;  /* the limits that `held` is of */
    ngx_si_limit_count_t     *held[1];  /* NULL: not counted */
} ngx_si_limit_ctx_t;


/* ngx_si_limit_conf.c */
char *ngx_si_limit_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_si_limit_conf_use(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
/* resolves the names of zones; NGX_CONF_ERROR has been logged */
char *ngx_si_limit_merge(ngx_conf_t *cf, ngx_array_t *zones,
    ngx_si_limits_t *prev, ngx_si_limits_t *conf);

/* ngx_si_limit_zone.c */
ngx_int_t ngx_si_limit_zone_init(ngx_shm_zone_t *shm, void *data);
/* looks at n limits and charges all if none of them refuses; returns that */
ngx_uint_t ngx_si_limit_charge(ngx_si_limit_look_t *look, ngx_uint_t n);
/*
 * 1: the key has failed too often.  Reads a number, and locks only while some
 * key of the zone has.
 */
ngx_uint_t ngx_si_limit_failed(ngx_si_limit_look_t *look);
void ngx_si_limit_fail(ngx_si_limit_look_t *look);
void ngx_si_limit_stat(ngx_si_limit_zone_t *zone, ngx_si_limit_stat_t *stat);
int64_t ngx_si_limit_now(void);

/*
 * ngx_si_limit_quota.c: zones of the cluster.  All but _start, _send and
 * _grant under the zone's mutex.
 */
void ngx_si_quota_start(struct ngx_si_proc_s *proc, ngx_log_t *log);
/* whether a lease or this node's share lets the request pass */
void ngx_si_quota_look(ngx_si_limit_look_t *look, int64_t now);
void ngx_si_quota_spend(ngx_si_limit_look_t *look, int64_t now);
/* whether it is time to ask for a slice */
void ngx_si_quota_want(ngx_si_limit_look_t *look, int64_t now);
void ngx_si_quota_init(ngx_si_limit_node_t *node, int64_t now);
/* nothing would be lost with it */
ngx_uint_t ngx_si_quota_idle(ngx_si_limit_node_t *node, int64_t now);
void ngx_si_quota_forget(ngx_si_limit_node_t *node);
void ngx_si_quota_send(ngx_si_limit_zone_t *zone, si_ask_t *ask);
/* a GRANT; NULL, or why the link must be closed */
const char *ngx_si_quota_grant(struct ngx_si_link_s *link, ngx_str_t *text);

/* ngx_si_limit.c */
ngx_int_t ngx_si_limit_init(ngx_conf_t *cf);
/* fields that a header will get; 0 or 2 */
ngx_uint_t ngx_si_limit_fields(ngx_http_request_t *r);
/* of a main request; find: NULL if it has none, get: if there is no memory */
ngx_si_limit_ctx_t *ngx_si_limit_find(ngx_http_request_t *r);
ngx_si_limit_ctx_t *ngx_si_limit_get(ngx_http_request_t *r);
/* NGX_DECLINED: it is empty, which is not limited */
ngx_int_t ngx_si_limit_key(ngx_http_request_t *r, ngx_si_limit_zone_t *zone,
    ngx_rbtree_key_t *digest);
void ngx_si_limit_log(ngx_http_request_t *r, ngx_si_limit_t *limit);
ngx_int_t ngx_si_limit_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

/* ngx_si_limit_streams.c */
/* the answer will be one, if the worker lets it */
ngx_uint_t ngx_si_limit_streams_asked(ngx_http_request_t *r);
/* counts the request as a stream until its end; NGX_BUSY: not one more */
ngx_int_t ngx_si_limit_streams(ngx_http_request_t *r);
void ngx_si_limit_streams_give(ngx_si_limit_ctx_t *ctx);

#endif /* _NGX_SI_LIMIT_H_INCLUDED_ */
