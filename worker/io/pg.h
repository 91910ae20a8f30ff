/*
 * Postgres: a pool of non-blocking libpq connections, pipelined. A batch is a
 * list of statements that run in one implicit transaction (one Sync): all or
 * nothing, one round trip, unnamed statements, so that a transaction-pooling
 * proxy may stand in front. Batches of many coroutines share a connection.
 */
#ifndef SI_PG_H
#define SI_PG_H

#include <libpq-fe.h>

#include "base/arena.h"

#define PG_STATEMENTS_MAX  8
#define PG_PARAMS_MAX      24

typedef struct pg_batch pg_batch_t;

/*
 * Connects in the background, `size` connections to a libpq connection string, reconnecting with
 * back-off (100 ms to 5 s, jitter). Sets proc.pg. Host names are resolved synchronously by libpq:
 * use an address or a socket folder. At most waiting_max batches wait for a connection, further ones are SI_EUNAVAIL.
 */
void pg_init(const char *conninfo, size_t size, size_t waiting_max);
void pg_exit(void);
/* Number of connections that can be used now. */
size_t pg_ready(void);

/*
 * A batch whose transaction has si.tenant and si.user_id set locally (row-level security);
 * NULL for statements outside any tenant: these see si.tenant as NULL or '' (Postgres leaves an empty
 * value behind after the first local setting). Everything lives as long as the arena.
 */
pg_batch_t *pg_batch(arena_t *a, const char *tenant, const char *user);
/*
 * Adds a statement with n text parameters (const char *, NULL is SQL NULL). Text is copied. Returns its
 * index, or SI_EINVAL when it does not fit: then co_pg() fails too.
 */
int  pg_add(pg_batch_t *b, const char *sql, int n, ...);
/* The same with the parameters in a list. */
int  pg_add_list(pg_batch_t *b, const char *sql, int n, const char *const *params);
/*
 * Runs it, once. 0, or
 *   SI_EUNAVAIL    no connection within the deadline, too many batches wait already, or the connection broke: then it
 *                  may or may not have been done; also classes 08, 53, 57P and 25006
 *   SI_EEXIST      23505
 *   SI_ECONFLICT   40001, 40P01, 55P03, P0409 (raised by our own functions)
 *   SI_EINVAL      classes 22 and 23
 *   SI_ENOMEM      more than 8 MiB of results; what the batch did is done
 *   SI_ETIMEDOUT   the deadline, or statement_timeout: 10 s unless the role or the connection string sets one
 *   SI_EINTERNAL   any other error
 *   SI_ECANCELED
 * A batch that was sent is carried through even if its waiter has gone; one statement may run for 5 minutes at
 * most. Failures are logged with SQLSTATE, never with values. `where` as for co_wait().
 */
int  co_pg(pg_batch_t *b, const char *where, uint64_t deadline);
/* Results of statement i (none of a failed batch); lives as long as the arena. */
int         pg_rows(const pg_batch_t *b, int i);
int         pg_affected(const pg_batch_t *b, int i);
/* Field as text; NULL for SQL NULL, and for a row or column that is not there. */
const char *pg_get(const pg_batch_t *b, int i, int row, const char *column);
/* Constraint name of a failed batch, or "". */
const char *pg_constraint(const pg_batch_t *b);

#endif
