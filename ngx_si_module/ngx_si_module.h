
/*
 * The edge of Si: shared declarations.  One concern per file, see config.
 *
 * Who owns what: a link owns nothing but its buffers; calls and mirrors are
 * in its trees while they are bound to it.  A request's context lives in
 * r->pool; a mirror and its blocks are on the heap and go with the mirror's
 * last reader.
 */


#ifndef _NGX_SI_MODULE_H_INCLUDED_
#define _NGX_SI_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "../worker/link/frame.h"
#include "ngx_si_auth.h"
#include "ngx_si_zone.h"
#include "ngx_si_limit.h"
#include "ngx_si_problem.h"


#define NGX_SI_WORKERS_MAX   128         /* slots of one pool */
#define NGX_SI_LINKS_MAX     1024        /* links of one pool, old ones too */
#define NGX_SI_WAIT_MAX      1024        /* calls of one pool without a link */
#define NGX_SI_HOPS_MAX      4           /* MOVED answers to one call */
#define NGX_SI_TRIES_MAX     3           /* links one call may lose */
#define NGX_SI_PIECE         (16 * 1024) /* bytes of one BODY frame */
#define NGX_SI_OUT_SOFT      (4 << 20)   /* queued bytes: no new work */
#define NGX_SI_OUT_HARD      (8 << 20)   /* queued bytes: the link is closed */
#define NGX_SI_CREDIT        (8 * 1024)  /* sent bytes worth a CREDIT frame */
#define NGX_SI_BLOCK_MAX     (64 * 1024) /* payload of one block */
#define NGX_SI_HAND_MAX      (64 * 1024) /* bytes handed to the filters */
#define NGX_SI_BUCKETS       16          /* a tick visits one of these */
#define NGX_SI_REVOKED       64          /* credentials that are remembered */

/* all in milliseconds */
#define NGX_SI_WAIT_LINK     5000        /* a call waits for any link */
#define NGX_SI_WAIT_AGAIN    10000       /* the same after a link was lost */
#define NGX_SI_WAIT_HELLO    5000
#define NGX_SI_PING          5000
#define NGX_SI_SILENCE       30000       /* then the link is closed */
#define NGX_SI_SPARE         30000       /* an unused instance link lives on */
#define NGX_SI_BACKOFF_MIN   50
#define NGX_SI_BACKOFF_MAX   2000
#define NGX_SI_RESUME        30000       /* a mirror looks for a new worker */
#define NGX_SI_STATUS        1000        /* workers answer /status */

#define NGX_SI_CHUNK_HEAD    8           /* room for "10000" CRLF */
#define NGX_SI_ID_OWN        16          /* "<turn>.<event>": no turn has more */


typedef struct ngx_si_pool_s    ngx_si_pool_t;
typedef struct ngx_si_slot_s    ngx_si_slot_t;
typedef struct ngx_si_link_s    ngx_si_link_t;
typedef struct ngx_si_out_s     ngx_si_out_t;
typedef struct ngx_si_call_s    ngx_si_call_t;
typedef struct ngx_si_ctx_s     ngx_si_ctx_t;
typedef struct ngx_si_block_s   ngx_si_block_t;
typedef struct ngx_si_mirror_s  ngx_si_mirror_t;
typedef struct ngx_si_resume_s  ngx_si_resume_t;
typedef struct ngx_si_proc_s    ngx_si_proc_t;
typedef struct ngx_si_origin_s  ngx_si_origin_t;


typedef struct {
    ngx_si_ctx_t             *ctx;
    off_t                     sent;     /* not yet added to c->sent */
    ngx_msec_t                last;
    ngx_socket_t              fd;
} ngx_si_seat_t;


typedef struct {
    ngx_array_t               pools;    /* of ngx_si_pool_t * */
    ngx_array_t               limit_zones;  /* of ngx_si_limit_zone_t * */
    ngx_shm_zone_t           *zone;
    ngx_shm_zone_t           *revoked;  /* tokens */
    ngx_shm_zone_t           *verdicts; /* of API keys */
    size_t                    verdict_size;
    ngx_int_t                 request_id;   /* variable index */
    ngx_int_t                 client_addr;  /* likewise */
    ngx_si_origin_t          *origins;  /* all si_origin_secret */
    ngx_msec_t                beat;     /* shortest heartbeat or stall set */
    ngx_msec_t                drain;    /* longest drain set */
    ngx_si_proc_t            *proc;     /* of this process, NULL in the master */
    u_char                   *known;    /* modules, see ngx_si_shrink.c */
    EVP_MD_CTX               *md;       /* of ngx_si_digest() */
    ngx_si_random_t           random;   /* of this process */
    ngx_uint_t                jwt;      /* tokens are verified somewhere */
    ngx_uint_t                keys;     /* API keys are taken somewhere */
} ngx_si_main_conf_t;


typedef struct {
    ngx_str_t                 name;     /* of the pool */
    ngx_si_pool_t            *pool;
    ngx_http_complex_value_t *key;
    ngx_si_origin_t          *origin;
    ngx_array_t              *cors;     /* of ngx_str_t, or NULL */
    ngx_http_complex_value_t *errors;   /* in whose words, NULL: our own */
    ngx_msec_t                heartbeat;
    ngx_msec_t                stall;
    ngx_msec_t                drain;
    size_t                    buffer;
    ngx_uint_t                auth;     /* bits NGX_SI_AUTH_... */
    ngx_str_t                 cookie;   /* its name, empty: none is looked at */
    ngx_si_auth_conf_t       *jwt;
    ngx_si_limits_t           limits;
} ngx_si_loc_conf_t;


struct ngx_si_pool_s {
    ngx_str_t                 name;
    ngx_str_t                 folder;
    ngx_uint_t                nslots;
    ngx_queue_t               sources;  /* of keys; ngx_si_source_t */

    /* of this process: */
    ngx_si_proc_t            *proc;
    ngx_si_slot_t            *slots;
    ngx_queue_t               links;
    ngx_uint_t                nlinks;
    ngx_queue_t               waiting;  /* calls without a link */
    ngx_uint_t                nwaiting;
    ngx_uint_t                rotate;   /* where the search for a link starts */
};


/* a place in a pool: its present link, or the timer that makes one */

struct ngx_si_slot_s {
    ngx_connection_t          dummy;    /* data of the timer */
    ngx_event_t               timer;
    ngx_si_pool_t            *pool;
    ngx_uint_t                number;
    ngx_si_link_t            *link;
    ngx_msec_t                backoff;
    unsigned                  logged:1; /* that it is down */
};


typedef enum {
    NGX_SI_LINK_HELLO = 0,  /* connected, the worker has not said who it is */
    NGX_SI_LINK_UP,
    NGX_SI_LINK_AWAY,       /* GOAWAY: what runs goes on */
    NGX_SI_LINK_DEAD        /* being closed */
} ngx_si_link_state_e;


struct ngx_si_out_s {
    ngx_si_out_t             *next;
    u_char                   *pos;
    u_char                   *last;
    u_char                   *end;
};


struct ngx_si_link_s {
    ngx_queue_t               queue;    /* pool->links */
    ngx_si_pool_t            *pool;
    ngx_si_slot_t            *slot;     /* NULL: made for a MOVED */
    ngx_connection_t         *connection;
    ngx_si_link_state_e       state;
    const char               *reason;   /* why it must be closed */

    ngx_event_t               timer;    /* HELLO deadline, then PING */
    ngx_event_t               kick;     /* posted: look whether to close */
    ngx_msec_t                heard;    /* last byte from the worker */
    ngx_msec_t                used;     /* last call or log ended */
    uint64_t                  pings;

    uint64_t                  next_id;
    ngx_rbtree_t              calls;
    ngx_rbtree_node_t         sentinel;
    ngx_uint_t                ncalls;
    ngx_si_mirror_t         **logs;     /* hash table: of few, of one bucket */
    ngx_si_mirror_t          *bucket;
    ngx_uint_t                mask;     /* buckets - 1 */
    ngx_uint_t                nlogs;
    ngx_queue_t               waiting;  /* calls until it is up or writable */

    u_char                   *in;       /* NGX_SI_IN bytes, more for one frame */
    u_char                   *in_pos;
    u_char                   *in_last;
    size_t                    in_size;

    ngx_si_out_t             *out;
    ngx_si_out_t             *out_last;
    size_t                    out_size; /* unsent bytes */

    u_char                    name[SI_KEY_MAX + 1];  /* the worker's */
    size_t                    name_len;
    unsigned                  quiet:1;  /* its end is nothing to report */
};


/* an id on a link, embedded in whoever speaks */

typedef struct {
    /* a frame of this call; returns NULL or why the link must be closed */
    const char             *(*frame)(ngx_si_call_t *call, si_frame_t *f,
                                     const u_char *p);
    /* the link has died; the call is no longer bound to it */
    void                    (*lost)(ngx_si_call_t *call);
    /* waited for: a link is up or writable again; expired: none came */
    void                    (*ready)(ngx_si_call_t *call, ngx_uint_t expired);
} ngx_si_ops_t;


struct ngx_si_call_s {
    ngx_rbtree_node_t         node;     /* key is the id */
    ngx_queue_t               queue;    /* pool->waiting or link->waiting */
    ngx_si_link_t            *link;     /* NULL: not bound */
    const ngx_si_ops_t       *ops;
    ngx_msec_t                deadline; /* of waiting */
    ngx_si_pool_t            *waits;    /* counted in its nwaiting */
    unsigned                  queued:1; /* queue is in use */
};


typedef enum {
    NGX_SI_OPENING = 0,     /* reading the body, waiting for a link, or sent */
    NGX_SI_ANSWERING,       /* HEAD came */
    NGX_SI_READING,         /* a cursor of a log */
    NGX_SI_ENDED            /* not ours any more */
} ngx_si_stage_e;


/* a request: first a call, then perhaps a cursor */

struct ngx_si_ctx_s {
    ngx_si_call_t             call;
    ngx_http_request_t       *request;
    ngx_si_proc_t            *proc;
    ngx_queue_t               bucket;   /* proc->buckets[] */
    ngx_queue_t               dirty;    /* proc->dirty */

    /* the cursor */
    ngx_si_mirror_t          *mirror;
    ngx_queue_t               reader;   /* mirror->readers or ->lagging */
    ngx_si_block_t           *block;    /* NULL: at the mirror's end */
    uint32_t                  offset;   /* in the block, in framed bytes */
    uint32_t                  seat;     /* 1-based, 0: in a queue */

    uint32_t                  tail;     /* the last four private bytes */
    uint32_t                  credit;   /* sent to the client, to be credited */
    uint32_t                  owed;     /* received and not yet credited */
    uint32_t                  window;   /* body bytes that may be sent */

    /* private output: to be sent, and sent but not yet taken */
    ngx_chain_t              *out;
    ngx_chain_t             **out_last;
    ngx_chain_t              *busy;
    u_char                   *head;     /* bytes of the header, to be freed */
    off_t                     left;     /* of the stated length, -1: none */

    /* input */
    ngx_chain_t              *body;
    off_t                     body_off;

    ngx_msec_int_t            first;    /* from start to header, -1: not yet */
    ngx_msec_t                last;     /* when the client last got a byte */
    ngx_msec_t                progress;
    ngx_msec_t                close_at; /* drain */
    ngx_msec_t                give_up;  /* waiting for a link, 0: not begun */
    off_t                     seen;     /* c->sent at the last visit */

    ngx_str_t                 key;
    ngx_str_t                 instance; /* where MOVED sent it */
    ngx_str_t                 tenant;
    ngx_str_t                 user;
    ngx_str_t                 turn;
    ngx_str_t                 worker;
    ngx_str_t                 auth;     /* what became of its token */
    ngx_si_identity_t        *who;      /* NULL: the worker finds out */
    ngx_str_t                 verdict;  /* of its key, until HEAD came */
    ngx_str_t                 credential;   /* an API key's id */
    si_marks_t               *marks;    /* of a token; NULL: none */
    time_t                    until;    /* it or the token ends, 0: never */
    u_char                   *ticket;   /* SI_TICKET_MAX bytes at most, or NULL */
    int16_t                   slot;     /* where it was sent, or -1 */
    int16_t                   avoid;    /* slot that failed, or -1 */

    unsigned                  stage:3;
    unsigned                  hops:3;
    unsigned                  tries:3;
    unsigned                  stream:1;   /* an event stream */
    unsigned                  once:1;     /* one that cannot be resumed */
    unsigned                  direct:1;   /* may send blocks as they are */
    unsigned                  end:1;      /* END came */
    unsigned                  pending:1;  /* output was pending at a visit */
    unsigned                  drained:1;  /* close_at is set */
    unsigned                  counted:1;  /* is in the READERS gauge */
    unsigned                  is_dirty:1;
    unsigned                  looked:1;   /* for the verdict of its key */
    unsigned                  nobody:1;   /* that was: it is nobody's */
    unsigned                  with_body:1;
    unsigned                  shrunk:1;   /* was looked at by ngx_si_shrink() */
    unsigned                  upgrade:1;  /* the client asks for a WebSocket */
    unsigned                  socket:1;   /* and has it */
};


#include "ngx_si_block.h"


struct ngx_si_mirror_s {
    uint64_t                  log;      /* its id on the link */
    ngx_si_mirror_t          *next;     /* in its bucket of link->logs */
    ngx_queue_t               fed;      /* proc->fed */
    ngx_queue_t               census;   /* proc->census */
    ngx_si_pool_t            *pool;
    ngx_si_link_t            *link;

    ngx_queue_t               readers;  /* cursors at the end */
    ngx_queue_t               lagging;  /* cursors with a block */
    ngx_si_seat_t            *seats;    /* heap, or the one below */
    ngx_si_seat_t             seat;     /* of a reader who is alone */
    uint32_t                  nseats;
    uint32_t                  aseats;
    uint32_t                  nreaders;
    uint32_t                  told;     /* of them, as the worker knows */
    uint32_t                  seq;      /* of the last ATTACH */

    ngx_si_block_t           *head;     /* published */
    ngx_si_block_t           *tail;
    ngx_si_block_t           *open;     /* fed, not yet published */
    ngx_si_block_t           *open_tail;
    size_t                    bytes;    /* published and held */
    size_t                    limit;

    ngx_si_resume_t          *resume;   /* heap; while it looks for its log */
    union {
        u_char                own[NGX_SI_ID_OWN];
        u_char               *heap;     /* grows: a feed's ids are long */
    } id;                               /* the last one, see ngx_si_log_id() */
    uint8_t                   id_len;
    uint8_t                   id_size;  /* NGX_SI_ID_OWN, or of the heap */
    uint16_t                  key_len;  /* <= SI_KEY_MAX */

    unsigned                  is_fed:1;
    unsigned                  in_census:1;
    unsigned                  ended:1;
    uint32_t                  holds;    /* callers that look at it */
    u_char                    key[1];   /* key_len bytes */
};

/* where the last id is */
#define ngx_si_mirror_id(m)                                                  \
    ((m)->id_size > NGX_SI_ID_OWN ? (m)->id.heap : (m)->id.own)

/* a log of one turn is short and may end by itself; others are drained */
#define ngx_si_mirror_is_turn(m)                                             \
    ((m)->key_len > 1 && (m)->key[0] == 't' && (m)->key[1] == ':')


struct ngx_si_proc_s {
    ngx_connection_t          dummy;    /* data of the events below */
    ngx_event_t               tick;
    ngx_event_t               flush;
    ngx_event_t               quota;    /* limits of the cluster, see there */
    ngx_si_slot_t            *quota_slot;   /* who answers, NULL: unknown */
    ngx_si_main_conf_t       *conf;
    ngx_queue_t               buckets[NGX_SI_BUCKETS];
    ngx_uint_t                fill;     /* bucket of the next request */
    ngx_uint_t                visit;    /* bucket of the next tick */
    ngx_uint_t                requests;
    ngx_si_auth_t            *auth;     /* NULL: no tokens */
    ngx_queue_t               fed;      /* mirrors to publish */
    ngx_queue_t               dirty;    /* requests to run */
    ngx_http_request_t       *inside;   /* whose own event is being handled */
    ngx_queue_t               resumes;  /* of mirrors without a link */
    ngx_queue_t               census;   /* mirrors that won or lost readers */
    ngx_msec_t                census_at;
    ngx_str_t                 revoked[NGX_SI_REVOKED];  /* heap; a ring */
    ngx_uint_t                nrevoked;
    ngx_uint_t                revoked_round;    /* of tokens, when last heard */
    ngx_si_row_t             *row;
    ngx_si_row_t              spare;    /* when the zone has no free row */
    ngx_msec_t                drain_end;
    ngx_uint_t                freed;    /* readers since the last trim */
    ngx_msec_t                trimmed;  /* when that was */
    unsigned                  exiting:1;
};

/*
 * Moves all of one queue to another, which need not be initialised.  To walk
 * a queue whose members may leave it, or come back, on the way.
 */
static ngx_inline void
ngx_si_queue_take(ngx_queue_t *to, ngx_queue_t *from)
{
    ngx_queue_init(to);

    if (!ngx_queue_empty(from)) {
        ngx_queue_add(to, from);
        ngx_queue_init(from);
    }
}


/* ngx_si_conf.c */
char *ngx_si_conf_pool(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_si_conf_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_si_conf_content(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_si_pool_t *ngx_si_conf_find_pool(ngx_si_main_conf_t *smcf,
    ngx_str_t *name);
ngx_int_t ngx_si_conf_phase(ngx_conf_t *cf, ngx_http_phases phase,
    ngx_http_handler_pt handler);

/* ngx_si_variables.c */
ngx_int_t ngx_si_variables_add(ngx_conf_t *cf);

/* ngx_si_cors.c */
/* whether si_cors names the origin */
ngx_uint_t ngx_si_cors_lists(ngx_http_request_t *r, ngx_str_t *origin);
char *ngx_si_cors_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_si_cors_init(ngx_conf_t *cf);

/* ngx_si_origin.c */
char *ngx_si_origin_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_si_origin_init(ngx_conf_t *cf);
/*
 * Of the request's fields with that name (in lower case): their number for n
 * of 0, with one of them in *last; else the n last members of their list,
 * *last being the last, last[1] that before it, and their number.
 */
ngx_uint_t ngx_si_origin_values(ngx_http_request_t *r, const char *name,
    size_t len, ngx_str_t *last, ngx_uint_t n);
ngx_int_t ngx_si_origin_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
/* a field of the request that nobody else must see */
ngx_uint_t ngx_si_origin_is_secret(ngx_si_main_conf_t *smcf,
    ngx_table_elt_t *h);

/* ngx_si_zone.c; more of it in ngx_si_zone.h */
ngx_int_t ngx_si_zone_add(ngx_conf_t *cf, ngx_si_main_conf_t *smcf);

/* ngx_si_slot.c */
ngx_int_t ngx_si_pool_start(ngx_si_pool_t *pool, ngx_si_proc_t *proc,
    ngx_cycle_t *cycle);
/* the slot's link is down, up, or has said that it will go */
void ngx_si_slot_down(ngx_si_slot_t *slot);
void ngx_si_slot_up(ngx_si_slot_t *slot);
void ngx_si_slot_renew(ngx_si_slot_t *slot);
/* a link that takes calls, by key or the least loaded, or NULL */
ngx_si_link_t *ngx_si_pool_pick(ngx_si_pool_t *pool, ngx_str_t *key,
    ngx_int_t avoid);
/* a link to the instance, perhaps not yet up, or NULL if there is none */
ngx_si_link_t *ngx_si_pool_instance(ngx_si_pool_t *pool, ngx_str_t *name);
/* queues a call until a link is up; NGX_BUSY: too many wait */
ngx_int_t ngx_si_pool_wait(ngx_si_pool_t *pool, ngx_si_call_t *call,
    ngx_msec_t deadline);
/* waiting calls try again; expired: only those whose time is up, and they fail */
void ngx_si_pool_ready(ngx_si_pool_t *pool, ngx_uint_t expired);

/* ngx_si_link.c, ngx_si_bind.c */
ngx_si_link_t *ngx_si_link_connect(ngx_si_pool_t *pool, ngx_si_slot_t *slot,
    ngx_str_t *name, ngx_err_t *err);
void ngx_si_link_close(ngx_si_link_t *link, const char *reason);
void ngx_si_link_fail(ngx_si_link_t *link, const char *reason);
void ngx_si_link_touch(ngx_si_link_t *link);
void ngx_si_link_post(ngx_si_link_t *link);
const char *ngx_si_link_hello(ngx_si_link_t *link, const u_char *p,
    size_t len);
void ngx_si_link_goaway(ngx_si_link_t *link);
/* waits for this link to come up or to become writable */
void ngx_si_link_wait(ngx_si_link_t *link, ngx_si_call_t *call);
void ngx_si_call_bind(ngx_si_call_t *call, ngx_si_link_t *link);
void ngx_si_call_unbind(ngx_si_call_t *call, ngx_uint_t cancel);
void ngx_si_call_unqueue(ngx_si_call_t *call);
ngx_si_call_t *ngx_si_link_call(ngx_si_link_t *link, uint64_t id);
ngx_rbtree_node_t *ngx_si_tree_find(ngx_rbtree_t *tree, uint64_t key);
ngx_si_mirror_t *ngx_si_link_find_log(ngx_si_link_t *link, uint64_t log);
void ngx_si_link_add_log(ngx_si_link_t *link, ngx_si_mirror_t *m);
void ngx_si_link_remove_log(ngx_si_link_t *link, ngx_si_mirror_t *m);
void ngx_si_link_free_logs(ngx_si_link_t *link);

/* ngx_si_frame.c */
#define NGX_SI_IN  (64 * 1024)
/* room for a payload of `length` in the output; NULL: the link has failed */
u_char *ngx_si_frame_add(ngx_si_link_t *link, uint8_t type, uint8_t flags,
    uint64_t id, size_t length);
/* takes the last frame added back */
void ngx_si_frame_undo(ngx_si_link_t *link, size_t length);
void ngx_si_frame_u32(ngx_si_link_t *link, uint8_t type, uint64_t id,
    uint32_t value);
void ngx_si_frame_empty(ngx_si_link_t *link, uint8_t type, uint64_t id);
ngx_int_t ngx_si_frame_flush(ngx_si_link_t *link);
/* reads what there is; NGX_ERROR: link->reason, or NULL at the end of file */
ngx_int_t ngx_si_frame_read(ngx_si_link_t *link);

/* ngx_si_push.c */
const char *ngx_si_push_take(ngx_si_link_t *link, const u_char *p,
    size_t len);
/* an answer that was on its way when its credential was revoked */
ngx_uint_t ngx_si_push_revoked(ngx_si_ctx_t *ctx);
void ngx_si_push_end(ngx_si_proc_t *proc, ngx_str_t *name);

/* ngx_si_revoked.c */
ngx_int_t ngx_si_revoked_init(ngx_conf_t *cf, ngx_si_main_conf_t *smcf);
/* it changes with the table; 0: nothing was ever revoked */
ngx_uint_t ngx_si_revoked_round(ngx_shm_zone_t *zone);
ngx_uint_t ngx_si_revoked(ngx_shm_zone_t *zone, si_marks_t *marks);
/* NULL, or why the link must be closed */
const char *ngx_si_revoked_push(ngx_si_proc_t *proc, const u_char *p,
    size_t len);

/* ngx_si_verdict.c; more of it in ngx_si_auth.h */
ngx_int_t ngx_si_verdict_init(ngx_conf_t *cf, ngx_si_main_conf_t *smcf);
void ngx_si_verdict_free(ngx_si_ctx_t *ctx);

/* ngx_si_open.c */
/* the field of the request with that name, in lower case; `after`:
   the first one behind that, or NULL */
ngx_table_elt_t *ngx_si_header_in(ngx_http_request_t *r, const char *name,
    size_t len, ngx_table_elt_t *after);
ngx_int_t ngx_si_open_send(ngx_si_ctx_t *ctx, ngx_si_link_t *link);
ngx_int_t ngx_si_open_body(ngx_si_ctx_t *ctx);
ngx_int_t ngx_si_open_resume(ngx_si_mirror_t *m, ngx_si_call_t *call,
    ngx_si_link_t *link);
/* asks a worker for a path that only the edge may ask for */
ngx_int_t ngx_si_open_query(ngx_si_call_t *call, ngx_si_link_t *link,
    ngx_str_t *path);

/* ngx_si_call.c */
ngx_int_t ngx_si_call_handler(ngx_http_request_t *r);
void ngx_si_call_again(ngx_si_ctx_t *ctx);
/* the request's context, made if it has none yet; NULL: no memory */
ngx_si_ctx_t *ngx_si_ctx_get(ngx_http_request_t *r);
void ngx_si_ctx_mark(ngx_si_ctx_t *ctx);
/* these end the module's part of the request: do not touch ctx afterwards */
void ngx_si_ctx_finish(ngx_si_ctx_t *ctx, ngx_int_t rc);
void ngx_si_ctx_abort(ngx_si_ctx_t *ctx);
void ngx_si_ctx_problem(ngx_si_ctx_t *ctx, ngx_uint_t status,
    const char *title, const char *code, const char *detail);

/* ngx_si_head.c */
const char *ngx_si_head_take(ngx_si_ctx_t *ctx, const u_char *p, size_t len);
/* name and value are not copied */
ngx_int_t ngx_si_head_add(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value);
/* what a stream's header has unless the worker says otherwise */
#define NGX_SI_HEAD_DEFAULTS  3
extern ngx_table_elt_t  ngx_si_head_defaults[NGX_SI_HEAD_DEFAULTS];

/* ngx_si_limit.c; more of it in ngx_si_limit.h */
/* answers a call whose stream there is no place for, and ends it */
void ngx_si_limit_streams_refuse(ngx_si_ctx_t *ctx);

/* ngx_si_answer.c */
const char *ngx_si_answer_data(ngx_si_ctx_t *ctx, const u_char *p,
    size_t len);
void ngx_si_answer_run(ngx_si_ctx_t *ctx);
ngx_uint_t ngx_si_answer_boundary(ngx_si_ctx_t *ctx);
void ngx_si_answer_write(ngx_http_request_t *r);
void ngx_si_answer_lost(ngx_si_ctx_t *ctx);
/* ends an event stream with "retry:" if the bytes so far allow it, and a
   socket with a close frame */
void ngx_si_answer_retry(ngx_si_ctx_t *ctx, ngx_msec_t retry);
/* the same with an event, when the caller's credential is over */
void ngx_si_answer_expired(ngx_si_ctx_t *ctx);
void ngx_si_answer_credit(ngx_si_ctx_t *ctx, ngx_uint_t all);

/* ngx_si_socket.c */
ngx_uint_t ngx_si_socket_asked(ngx_http_request_t *r);
/* the worker's header Upgrade */
ngx_int_t ngx_si_socket_upgrade(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value);
void ngx_si_socket_head(ngx_si_ctx_t *ctx);
void ngx_si_socket_read(ngx_si_ctx_t *ctx);

/* ngx_si_shrink.c */
/* which modules' requests may be shrunk; once in each process */
ngx_int_t ngx_si_shrink_init(ngx_si_main_conf_t *smcf, ngx_cycle_t *cycle);
/* sends the header of a stream */
ngx_int_t ngx_si_shrink_header(ngx_si_ctx_t *ctx);
/* gives back what a request does not need once its OPEN is sent */
void ngx_si_shrink(ngx_si_ctx_t *ctx);

#include "ngx_si_log.h"

/* ngx_si_tick.c */
ngx_int_t ngx_si_tick_init(ngx_si_proc_t *proc, ngx_log_t *log);
void ngx_si_tick_add(ngx_si_ctx_t *ctx);
void ngx_si_tick_remove(ngx_si_ctx_t *ctx);
void ngx_si_tick_post(ngx_si_proc_t *proc);
/* when a reader that came during the exit must be closed */
void ngx_si_tick_drain(ngx_si_ctx_t *ctx);

extern ngx_module_t  ngx_si_module;


#endif /* _NGX_SI_MODULE_H_INCLUDED_ */
