/* Inside of io/pg: batches (pg.c) and the connections that carry them (pg_conn.c). Nobody else includes this. */
#ifndef SI_PG_CONN_H
#define SI_PG_CONN_H

#include "base/list.h"
#include "io/pg.h"
#include "run/co.h"
#include "run/loop.h"

#define PG_QUEUE_MAX     256            /* batches under way on one connection */
#define PG_RESULT_BYTES  (8u << 20)     /* results of one batch */
#define PG_NAME_MAX      64             /* NAMEDATALEN */

typedef struct {
    const char  *sql;
    int          n;
    const char **params;
} pg_stmt_t;

/* One block: pointers, then the texts they point to. */
typedef struct {
    int    rows, cols, affected;
    char **names;                       /* cols */
    char **cells;                       /* rows * cols; NULL is SQL NULL */
} pg_result_t;

typedef enum { BATCH_NEW, BATCH_WAITING, BATCH_SENT, BATCH_DONE } pg_batch_state_t;

/* Held by the arena it was made for and, while it is under way, by the pool. */
struct pg_batch {
    list_t            node;             /* in pool->waiting or conn->queue */
    int               refs;
    pg_batch_state_t  state;
    wait_t            wait;
    const char       *where;
    arena_t          *request;          /* texts of the statements; gone once they are sent */
    const char       *tenant, *user;    /* in request; NULL: outside any tenant */
    pg_stmt_t         stmts[PG_STATEMENTS_MAX];
    int               n;
    bool              broken;           /* pg_add() refused something */
    int               at;               /* statement whose result is awaited; -1: set_config */
    bool              seen;             /* a result of it has come */
    int               rc;
    size_t            bytes;            /* of all results */
    pg_result_t      *results[PG_STATEMENTS_MAX];
    char              constraint[PG_NAME_MAX];
};

typedef enum { CONN_DOWN, CONN_CONNECTING, CONN_SETUP, CONN_READY } pg_conn_state_t;

typedef struct pg_conn {
    struct pg_pool  *pool;
    int              index;
    PGconn          *pg;
    watch_t          watch;
    ltimer_t         timer;             /* by state: back-off, connect limit, setup limit, watchdog */
    pg_conn_state_t  state;
    list_t           queue;             /* batches sent, oldest first */
    size_t           nqueue;
    pg_batch_t      *setup;             /* the first batch of a connection */
    unsigned         failures;          /* in a row */
    uint64_t         progress;          /* clock_ms() of the last result, or of the first batch after idleness */
    bool             want_write;
} pg_conn_t;

struct pg_pool {
    char      *conninfo;
    list_t     waiting;
    size_t     nwaiting, waiting_max;
    size_t     size;
    pg_conn_t  conns[];
};

/* pg.c */
pg_batch_t *pg_batch_new(const char *tenant, const char *user);
void        pg_batch_release(void *batch);
/* Ends it: wakes the waiter and drops the pool's reference. */
void        pg_batch_done(pg_batch_t *b, int rc);
/* Notes a result of the statement b->at. */
void        pg_batch_result(pg_batch_t *b, PGresult *r);
/* Gives waiting batches to connections with room. */
void        pg_dispatch(struct pg_pool *pool);

/* pg_conn.c */
void pg_conn_init(pg_conn_t *c, struct pg_pool *pool, int index);
/* Sends a batch on a ready connection: 0 (its results will come), or SI_EAGAIN: the connection is broken, b was not sent. */
int  pg_conn_send(pg_conn_t *c, pg_batch_t *b);
/* Closes it for good. */
void pg_conn_exit(pg_conn_t *c);

#endif
