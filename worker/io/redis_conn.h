/*
 * Inside of io/redis: one connection that comes back by itself. Only redis.c and its parts include this.
 *
 *   DOWN -> CONNECTING -> SETUP -> READY                         a server, one of several, a node of a cluster
 *   DOWN -> FINDING -> ASKING -> CONNECTING -> SETUP -> READY    with sentinels
 *
 * Any of them goes to DOWN when it fails or takes too long, and DOWN to the next after a while; a failure before READY
 * lets the next address have a try. Each step has 3 s. The pause grows with each round of all addresses, up to 5 s.
 */
#ifndef SI_REDIS_CONN_H
#define SI_REDIS_CONN_H

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "io/redis_url.h"
#include "run/loop.h"

#define REDIS_INFLIGHT_MAX  1024        /* commands without a reply on one connection */

typedef enum { RCONN_COMMAND, RCONN_SUBSCRIBER, RCONN_NODE } redis_role_t;     /* NODE: commands for the keys of one */

typedef enum { RCONN_DOWN, RCONN_FINDING, RCONN_ASKING, RCONN_CONNECTING, RCONN_SETUP, RCONN_READY } redis_conn_state_t;

typedef struct redis_conn {
    redis_role_t         role;
    const redis_addr_t  *addr;
    struct redis_conn   *twin;          /* the other connection to the same master; NULL in a cluster */
    void               (*on_change)(struct redis_conn *c);  /* it is ready, or down; may be NULL */
    redisAsyncContext   *ac;            /* NULL when down */
    watch_t              watch;
    ltimer_t             timer;         /* by state: back-off, limit of the step, watchdog */
    redis_conn_state_t   state;
    size_t               at;            /* which of addr->nodes is tried, or worked last */
    redis_node_t         master;        /* what a sentinel answered */
    const redis_node_t  *target;        /* NULL: a Unix socket */
    unsigned             failures;      /* in a row */
    size_t               inflight;
    uint64_t             progress;      /* clock_ms() of the last reply, or of the first command after idleness */
    bool                 want_read, want_write;
    bool                 flush_due;     /* conn_flush() is deferred to the end of the batch */
    bool                 flushing;
    bool                 closed;        /* for good */
} redis_conn_t;

/* Starts to connect. role and on_change are set, the other members of c are zero; addr and twin live as long as c. */
void redis_conn_init(redis_conn_t *c, const redis_addr_t *addr, redis_conn_t *twin);
/* Closes it for good. c must live until the end of the loop's batch. */
void redis_conn_exit(redis_conn_t *c);
/*
 * Sends a command on a ready connection. fn gets every reply of it and calls redis_conn_replied() first;
 * a NULL reply when the connection goes. 0 or SI_EUNAVAIL: then fn is not called.
 */
int  redis_conn_send(redis_conn_t *c, size_t n, const str_t *args, redisCallbackFn *fn, void *arg);
void redis_conn_replied(redis_conn_t *c);

#endif
