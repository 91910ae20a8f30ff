#include "io/pg_conn.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"

#define REQUEST_BLOCK  1024

/* ---- a batch ---- */

pg_batch_t *pg_batch_new(const char *tenant, const char *user)
{
    pg_batch_t *b = si_calloc(sizeof(*b));

    list_init(&b->node);
    wait_init(&b->wait);
    b->refs = 1;
    b->request = arena_new(REQUEST_BLOCK);
    if (tenant != NULL) {
        b->tenant = arena_strdup(b->request, tenant);
        b->user = arena_strdup(b->request, user != NULL ? user : "");
    }
    return b;
}

static void drop_results(pg_batch_t *b)
{
    for (int i = 0; i < PG_STATEMENTS_MAX; i++) {
        free(b->results[i]);
        b->results[i] = NULL;
    }
}

void pg_batch_release(void *batch)
{
    pg_batch_t *b = batch;

    if (--b->refs > 0) {
        return;
    }
    drop_results(b);
    arena_free(b->request);
    free(b);
}

pg_batch_t *pg_batch(arena_t *a, const char *tenant, const char *user)
{
    pg_batch_t *b = pg_batch_new(tenant, user);

    arena_defer(a, pg_batch_release, b);
    return b;
}

int pg_add_list(pg_batch_t *b, const char *sql, int n, const char *const *params)
{
    pg_stmt_t *s;

    if (b->state != BATCH_NEW || b->n == PG_STATEMENTS_MAX || n < 0 || n > PG_PARAMS_MAX) {
        log_fmt(LOG_ALERT, "pg: statement %d with %d parameters does not fit a batch", b->n, n);
        b->broken = true;
        return SI_EINVAL;
    }
    s = &b->stmts[b->n];
    s->sql = arena_strdup(b->request, sql);
    s->n = n;
    s->params = arena_alloc(b->request, sizeof(char *) * (size_t) (n + 1));
    for (int i = 0; i < n; i++) {
        s->params[i] = params[i] != NULL ? arena_strdup(b->request, params[i]) : NULL;
    }
    return b->n++;
}

int pg_add(pg_batch_t *b, const char *sql, int n, ...)
{
    const char *params[PG_PARAMS_MAX];
    va_list     ap;

    va_start(ap, n);
    for (int i = 0; i < n && i < PG_PARAMS_MAX; i++) {
        params[i] = va_arg(ap, const char *);
    }
    va_end(ap);
    return pg_add_list(b, sql, n, params);
}

/* ---- its results ---- */

static size_t result_size(const PGresult *r, int rows, int cols)
{
    size_t n = sizeof(pg_result_t) + sizeof(char *) * (size_t) cols * (size_t) (rows + 1);

    for (int j = 0; j < cols; j++) {
        n += strlen(PQfname(r, j)) + 1;
        for (int i = 0; i < rows; i++) {
            n += (size_t) PQgetlength(r, i, j) + 1;
        }
    }
    return n;
}

static char *put_text(char *p, char **slot, const char *text, size_t n)
{
    *slot = p;
    memcpy(p, text, n);
    p[n] = '\0';
    return p + n + 1;
}

/* libpq's own object is several KiB even for one row, and a turn keeps its results to the end. */
static pg_result_t *result_copy(const PGresult *r, size_t size, int rows, int cols)
{
    pg_result_t *out = si_malloc(size);

    out->rows = rows;
    out->cols = cols;
    out->names = (char **) (void *) (out + 1);
    out->cells = out->names + cols;

    char *p = (char *) (out->cells + (size_t) rows * (size_t) cols);
    for (int j = 0; j < cols; j++) {
        p = put_text(p, &out->names[j], PQfname(r, j), strlen(PQfname(r, j)));
        for (int i = 0; i < rows; i++) {
            char **cell = &out->cells[(size_t) i * (size_t) cols + (size_t) j];
            *cell = NULL;
            if (!PQgetisnull(r, i, j)) {
                p = put_text(p, cell, PQgetvalue(r, i, j), (size_t) PQgetlength(r, i, j));
            }
        }
    }
    return out;
}

static void keep_result(pg_batch_t *b, PGresult *r)
{
    if (b->at < 0 || b->at >= b->n || b->rc != 0 || b->refs == 1) {
        return;                                         /* not asked for, or nobody is left to read it */
    }
    int    rows = PQntuples(r), cols = PQnfields(r);
    size_t size = result_size(r, rows, cols);

    b->bytes += size;
    if (b->bytes > PG_RESULT_BYTES) {
        log_line(LOG_ERROR, "pg: results are too large", "where", b->where, NULL);
        b->rc = SI_ENOMEM;
        return;
    }
    free(b->results[b->at]);
    b->results[b->at] = result_copy(r, size, rows, cols);
    b->results[b->at]->affected = atoi(PQcmdTuples(r));
}

static bool state_in(const char *state, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strncmp(state, *list, strlen(*list)) == 0) {
            return true;
        }
    }
    return false;
}

/* By SQLSTATE or its class (PostgreSQL, appendix A); P0409 is raised by our own functions. */
static int map_state(const char *state)
{
    static const char *const conflict[] = { "40001", "40P01", "55P03", "P0409", NULL };
    static const char *const unavail[] = { "08", "53", "57P", "25006", NULL };
    static const char *const input[] = { "22", "23", NULL };

    if (strcmp(state, "23505") == 0) {
        return SI_EEXIST;
    }
    if (strcmp(state, "57014") == 0) {                  /* statement_timeout */
        return SI_ETIMEDOUT;
    }
    return state_in(state, conflict) ? SI_ECONFLICT
           : state_in(state, unavail) ? SI_EUNAVAIL
           : state_in(state, input) ? SI_EINVAL : SI_EINTERNAL;
}

static void keep_error(pg_batch_t *b, const PGresult *r)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    const char *name = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);
    char        at[12];                                 /* -1: set_config of the tenant */

    if (b->rc != 0) {
        return;                                         /* the first one tells why */
    }
    if (state == NULL) {                                /* made by libpq: the connection is going */
        state = "08006";
        text = PQresultErrorMessage(r);
    }
    b->rc = map_state(state);
    if (name != NULL) {
        strncpy(b->constraint, name, sizeof(b->constraint) - 1);
    }
    if (strncmp(state, "22", 2) == 0) {
        text = NULL;                                    /* such messages quote the value */
    }
    snprintf(at, sizeof(at), "%d", b->at);
    log_line(b->rc == SI_EINTERNAL ? LOG_ERROR : b->rc == SI_EUNAVAIL ? LOG_WARN : LOG_INFO,
             "pg: statement failed", "where", b->where, "statement", at, "sqlstate", state,
             "constraint", name, "text", text, NULL);
}

void pg_batch_result(pg_batch_t *b, PGresult *r)
{
    switch (PQresultStatus(r)) {
    case PGRES_TUPLES_OK: case PGRES_COMMAND_OK: case PGRES_EMPTY_QUERY:
        keep_result(b, r);
        break;
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        keep_error(b, r);
    }
}

void pg_batch_done(pg_batch_t *b, int rc)
{
    b->state = BATCH_DONE;
    b->rc = rc;
    if (rc != 0) {
        drop_results(b);
    }
    wait_wake(&b->wait, rc);
    pg_batch_release(b);
}

static const pg_result_t *result_of(const pg_batch_t *b, int i)
{
    return b->state == BATCH_DONE && i >= 0 && i < b->n ? b->results[i] : NULL;
}

int pg_rows(const pg_batch_t *b, int i)
{
    const pg_result_t *r = result_of(b, i);

    return r != NULL ? r->rows : 0;
}

int pg_affected(const pg_batch_t *b, int i)
{
    const pg_result_t *r = result_of(b, i);

    return r != NULL ? r->affected : 0;
}

const char *pg_get(const pg_batch_t *b, int i, int row, const char *column)
{
    const pg_result_t *r = result_of(b, i);

    if (r == NULL || row < 0 || row >= r->rows) {
        return NULL;
    }
    for (int j = 0; j < r->cols; j++) {
        if (strcmp(r->names[j], column) == 0) {
            return r->cells[(size_t) row * (size_t) r->cols + (size_t) j];
        }
    }
    return NULL;
}

const char *pg_constraint(const pg_batch_t *b)
{
    return b->constraint;
}

/* ---- the pool ---- */

static pg_conn_t *pick(struct pg_pool *pool)
{
    pg_conn_t *best = NULL;

    for (size_t i = 0; i < pool->size; i++) {
        pg_conn_t *c = &pool->conns[i];
        if (c->state == CONN_READY && c->nqueue < PG_QUEUE_MAX && (best == NULL || c->nqueue < best->nqueue)) {
            best = c;
        }
    }
    return best;
}

void pg_dispatch(struct pg_pool *pool)
{
    pg_conn_t *c;

    while (pool->nwaiting > 0 && (c = pick(pool)) != NULL) {
        pg_batch_t *b = list_first(&pool->waiting, pg_batch_t, node);
        list_remove(&b->node);
        if (pg_conn_send(c, b) == 0) {
            pool->nwaiting--;
        } else {
            list_insert(pool->waiting.next, &b->node);  /* stays the first; c is no longer ready */
        }
    }
}

int co_pg(pg_batch_t *b, const char *where, uint64_t deadline)
{
    struct pg_pool *pool = proc.pg;

    b->where = where;
    if (b->broken || b->state != BATCH_NEW) {
        log_line(LOG_ALERT, "pg: a batch is broken or used twice", "where", where, NULL);
        return SI_EINTERNAL;
    }
    if (b->n == 0) {
        b->state = BATCH_DONE;
        return 0;
    }
    if (pool == NULL || pool->nwaiting >= pool->waiting_max) {
        return SI_EUNAVAIL;
    }
    b->state = BATCH_WAITING;
    b->refs++;
    list_push(&pool->waiting, &b->node);
    pool->nwaiting++;
    pg_dispatch(pool);

    int rc = co_wait(&b->wait, where, deadline);
    if (b->state == BATCH_WAITING) {                    /* never sent: take it back */
        list_remove(&b->node);
        pool->nwaiting--;
        pg_batch_done(b, SI_EUNAVAIL);
        return rc == SI_ECANCELED ? rc : SI_EUNAVAIL;
    }
    return rc;
}

size_t pg_ready(void)
{
    size_t n = 0;

    for (size_t i = 0; proc.pg != NULL && i < proc.pg->size; i++) {
        n += proc.pg->conns[i].state == CONN_READY;
    }
    return n;
}

void pg_init(const char *conninfo, size_t size, size_t waiting_max)
{
    struct pg_pool *pool = si_calloc(sizeof(*pool) + size * sizeof(pg_conn_t));

    list_init(&pool->waiting);
    pool->conninfo = si_strdup(conninfo);
    pool->size = size;
    pool->waiting_max = waiting_max;
    proc.pg = pool;
    for (size_t i = 0; i < size; i++) {
        pg_conn_init(&pool->conns[i], pool, (int) i);
    }
}

void pg_exit(void)
{
    struct pg_pool *pool = proc.pg;

    if (pool == NULL) {
        return;
    }
    for (size_t i = 0; i < pool->size; i++) {
        pg_conn_exit(&pool->conns[i]);
    }
    list_each_safe(it, &pool->waiting) {
        list_remove(it);
        pg_batch_done(list_entry(it, pg_batch_t, node), SI_EUNAVAIL);
    }
    proc.pg = NULL;
    free(pool->conninfo);
    free(pool);
}
