#include "io/pg_conn.h"

#include "base/logger.h"
#include "base/util.h"

#define CONNECT_MS    10000
#define SETUP_MS      10000
#define BACKOFF_MIN   100
#define BACKOFF_MAX   5000
#define WATCHDOG_MS   5000
#define STALLED_MS    300000    /* no result for so long: the connection is dead, whatever TCP thinks */

static void conn_start(pg_conn_t *c);
static void on_io(watch_t *w, uint32_t events);
static void on_watchdog(ltimer_t *t);

static const char *const state_names[] = { "down", "connecting", "setup", "ready" };

static void conn_state(pg_conn_t *c, pg_conn_state_t state)
{
    if (log_enabled(LOG_DEBUG)) {
        log_fmt(LOG_DEBUG, "pg %d: %s -> %s", c->index, state_names[c->state], state_names[state]);
    }
    c->state = state;
}

static void on_backoff(ltimer_t *t)
{
    conn_start(container_of(t, pg_conn_t, timer));
}

/* libpq's messages end in a line break and may have several lines. */
static void log_failure(pg_conn_t *c, const char *why)
{
    char text[256], *nl;

    strncpy(text, why, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    while ((nl = strchr(text, '\n')) != NULL) {
        *nl = nl[1] != '\0' ? ' ' : '\0';
    }
    /* An outage is told once a connection, not at each try. */
    log_fmt(c->failures == 1 ? LOG_WARN : LOG_DEBUG, "pg %d: %s: %s", c->index, state_names[c->state], text);
}

static void fail_batches(pg_conn_t *c)
{
    list_each_safe(it, &c->queue) {
        pg_batch_t *b = list_entry(it, pg_batch_t, node);
        list_remove(it);
        if (b == c->setup) {
            c->setup = NULL;
        }
        pg_batch_done(b, SI_EUNAVAIL);
    }
    c->nqueue = 0;
}

static void conn_close(pg_conn_t *c)
{
    loop_timer_del(&c->timer);
    loop_unwatch(&c->watch);
    PQfinish(c->pg);
    c->pg = NULL;
    c->want_write = false;
    fail_batches(c);
}

/* The one way down: batches under way fail, a new try is made later. `why` may be libpq's own buffer. */
static void conn_fail(pg_conn_t *c, const char *why)
{
    c->failures++;
    log_failure(c, why);
    conn_close(c);
    conn_state(c, CONN_DOWN);
    loop_timer(&c->timer, backoff_ms(c->failures, BACKOFF_MIN, BACKOFF_MAX), on_backoff);
}

static void on_too_slow(ltimer_t *t)
{
    conn_fail(container_of(t, pg_conn_t, timer), "timed out");
}

static void on_watchdog(ltimer_t *t)
{
    pg_conn_t *c = container_of(t, pg_conn_t, timer);

    if (c->nqueue > 0 && clock_ms() - c->progress > STALLED_MS) {
        conn_fail(c, "no result for 5 minutes");
        return;
    }
    loop_timer(&c->timer, WATCHDOG_MS, on_watchdog);
}

static void on_notice(void *arg, const PGresult *r)
{
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);

    (void) arg;
    log_line(LOG_DEBUG, "pg notice", "severity", PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED),
             "sqlstate", PQresultErrorField(r, PG_DIAG_SQLSTATE), "text", text, NULL);
}

/* ---- sending ---- */

static int send_statements(PGconn *pg, pg_batch_t *b)
{
    if (b->tenant != NULL) {
        const char *const v[2] = { b->tenant, b->user };
        if (PQsendQueryParams(pg, "SELECT set_config('si.tenant',$1,true), set_config('si.user_id',$2,true)",
                              2, NULL, v, NULL, NULL, 0) != 1)
        {
            return SI_EAGAIN;
        }
    }
    for (int i = 0; i < b->n; i++) {
        pg_stmt_t *s = &b->stmts[i];
        if (PQsendQueryParams(pg, s->sql, s->n, NULL, s->params, NULL, NULL, 0) != 1) {
            return SI_EAGAIN;
        }
    }
    return 0;
}

/* Watches for writing only while something is left to write. */
static int conn_flush(pg_conn_t *c)
{
    int left = PQflush(c->pg);

    if (left < 0) {
        return -1;
    }
    if ((left == 1) != c->want_write) {
        c->want_write = left == 1;
        return loop_watch(&c->watch, PQsocket(c->pg), EPOLLIN | (c->want_write ? EPOLLOUT : 0), on_io);
    }
    return 0;
}

int pg_conn_send(pg_conn_t *c, pg_batch_t *b)
{
    /* Without the Sync that ends it the server rolls back, so that up to here b may go elsewhere. */
    if (send_statements(c->pg, b) != 0) {
        conn_fail(c, PQerrorMessage(c->pg));
        return SI_EAGAIN;
    }
    if (c->nqueue == 0) {
        c->progress = clock_ms();
    }
    b->state = BATCH_SENT;
    b->at = b->tenant != NULL ? -1 : 0;
    list_push(&c->queue, &b->node);
    c->nqueue++;
    if (PQpipelineSync(c->pg) != 1 || conn_flush(c) != 0) {
        conn_fail(c, PQerrorMessage(c->pg));
        return 0;
    }
    arena_free(b->request);
    b->request = NULL;
    return 0;
}

/* ---- receiving ---- */

static void batch_finished(pg_conn_t *c, pg_batch_t *b)
{
    list_remove(&b->node);
    c->nqueue--;
    if (b == c->setup) {
        c->setup = NULL;
        if (b->rc == 0) {
            if (c->failures > 0) {
                log_fmt(LOG_INFO, "pg %d: connected again", c->index);
            }
            c->failures = 0;
            conn_state(c, CONN_READY);
            loop_timer(&c->timer, WATCHDOG_MS, on_watchdog);
        }
    }
    pg_batch_done(b, b->rc);
}

/* A failover has made the server a standby: only a new connection finds the new primary. */
static bool is_read_only(const PGresult *r)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);

    return state != NULL && strcmp(state, "25006") == 0;
}

/* One result of the oldest batch. NULL, or why the connection cannot be used any longer. */
static const char *take_result(pg_conn_t *c, PGresult *r)
{
    pg_batch_t *b = list_first(&c->queue, pg_batch_t, node);

    switch (PQresultStatus(r)) {
    case PGRES_PIPELINE_SYNC:
        batch_finished(c, b);
        return c->state == CONN_SETUP ? "the first query failed" : NULL;
    case PGRES_COPY_IN: case PGRES_COPY_OUT: case PGRES_COPY_BOTH:
        return "COPY is not supported";
    default:
        b->seen = true;
        pg_batch_result(b, r);
        return is_read_only(r) ? "the server is read-only" : NULL;
    }
}

/* Takes all results that have come. As take_result(). */
static const char *take_results(pg_conn_t *c)
{
    unsigned nulls = 0;

    while (c->nqueue > 0 && !PQisBusy(c->pg)) {
        PGresult   *r = PQgetResult(c->pg);
        const char *why = NULL;

        if (r != NULL) {
            nulls = 0;
            c->progress = clock_ms();
            why = take_result(c, r);
            PQclear(r);
        } else {                                        /* ends the results of one statement */
            pg_batch_t *b = list_first(&c->queue, pg_batch_t, node);
            b->at += b->seen;
            b->seen = false;
            why = ++nulls > 2 ? "results are missing" : NULL;
        }
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

static void on_io(watch_t *w, uint32_t events)
{
    pg_conn_t *c = container_of(w, pg_conn_t, watch);

    (void) events;
    /* Results that came before the end of a connection still count. */
    int         ok = PQconsumeInput(c->pg);
    const char *why = take_results(c);

    if (why != NULL) {
        conn_fail(c, why);
    } else if (!ok || PQstatus(c->pg) != CONNECTION_OK || conn_flush(c) != 0) {
        conn_fail(c, PQerrorMessage(c->pg));
    }
    pg_dispatch(c->pool);
}

/* ---- connecting ---- */

/* A limit for statements, unless the role, the database or the connection string has one. */
static void conn_setup(pg_conn_t *c)
{
    if (PQsetnonblocking(c->pg, 1) != 0 || PQenterPipelineMode(c->pg) != 1) {
        conn_fail(c, PQerrorMessage(c->pg));
        return;
    }
    PQsetNoticeReceiver(c->pg, on_notice, c);
    conn_state(c, CONN_SETUP);
    loop_timer(&c->timer, SETUP_MS, on_too_slow);
    if (loop_watch(&c->watch, PQsocket(c->pg), EPOLLIN, on_io) != 0) {
        conn_fail(c, "cannot be watched");
        return;
    }

    pg_batch_t *b = c->setup = pg_batch_new(NULL, NULL);
    pg_add(b, "SELECT set_config('statement_timeout', '10s', false)"
              " WHERE current_setting('statement_timeout') = '0'", 0);
    if (pg_conn_send(c, b) != 0) {
        c->setup = NULL;
        pg_batch_release(b);
    }
}

static void on_connect(watch_t *w, uint32_t events)
{
    pg_conn_t *c = container_of(w, pg_conn_t, watch);

    (void) events;
    /* libpq may close the socket and open another with the same number, so the watch begins anew each time. */
    loop_unwatch(w);
    PostgresPollingStatusType st = PQconnectPoll(c->pg);

    if (st == PGRES_POLLING_OK) {
        conn_setup(c);
    } else if (st == PGRES_POLLING_FAILED) {
        conn_fail(c, PQerrorMessage(c->pg));
    } else if (loop_watch(w, PQsocket(c->pg), st == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT, on_connect) != 0) {
        conn_fail(c, "cannot be watched");
    }
}

static void conn_start(pg_conn_t *c)
{
    /* What stands before "dbname" can be changed by the connection string, what follows cannot. */
    const char *const keys[] = {
        "application_name", "gssencmode", "keepalives_idle", "keepalives_interval", "tcp_user_timeout",
        "dbname", "client_encoding", NULL
    };
    const char *const values[] = {
        "si-worker", "disable", "30", "10", "30000", c->pool->conninfo, "UTF8", NULL
    };

    conn_state(c, CONN_CONNECTING);
    c->pg = PQconnectStartParams(keys, values, 1);
    if (c->pg == NULL) {
        si_die("pg: PQconnectStart: out of memory");
    }
    if (PQstatus(c->pg) == CONNECTION_BAD) {
        conn_fail(c, PQerrorMessage(c->pg));
        return;
    }
    loop_timer(&c->timer, CONNECT_MS, on_too_slow);
    if (loop_watch(&c->watch, PQsocket(c->pg), EPOLLOUT, on_connect) != 0) {
        conn_fail(c, "cannot be watched");
    }
}

void pg_conn_init(pg_conn_t *c, struct pg_pool *pool, int index)
{
    c->pool = pool;
    c->index = index;
    c->watch.fd = -1;
    list_init(&c->queue);
    conn_start(c);
}

void pg_conn_exit(pg_conn_t *c)
{
    conn_close(c);
    conn_state(c, CONN_DOWN);
}
