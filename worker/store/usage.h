/*
 * The ledger of usage: one row for each call of a model, in Postgres. Written in batches by llm/ledger; read by GET /v1/usage.
 * Rows hold ids, names of the configuration and numbers, nothing that a person said.
 */
#ifndef SI_STORE_USAGE_H
#define SI_STORE_USAGE_H

#include "base/util.h"
#include "store/store.h"

#define USAGE_NAME  260     /* room for a name of the configuration: "provider/endpoint" is the longest */

/* Also lies in files, see llm/ledger.h: a change of it is a new LEDGER_VERSION. Texts end with a 0; "" is SQL NULL for an id. */
typedef struct {
    char    id[UUID_LEN + 1], tenant[UUID_LEN + 1], user[UUID_LEN + 1], key[UUID_LEN + 1], turn[UUID_LEN + 1];
    char    source[24];     /* "turn", "summary", or the name of a dialect */
    char    operation[24];  /* "chat", "embeddings" */
    char    outcome[32];    /* "ok", "cached", "cancelled", "worker_died", or a code of llm_error_t */
    char    agent[132], model[132], provider[USAGE_NAME];
    int64_t at;             /* ms since 1970, when it began */
    int64_t duration_ms;    /* -1: not known */
    int64_t first_token_ms; /* -1: nothing came */
    int64_t input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens;
    int64_t cost;           /* micro-dollars */
    bool    estimated;
} usage_row_t;

#define USAGE_ROWS_MAX  256     /* in one call of co_store_usage_put() */

/* Writes rows of one tenant; those that are there already stay as they are. SI_EINVAL: Postgres refuses at least one of them, none is written. */
int co_store_usage_put(arena_t *a, const usage_row_t *const *rows, size_t n);

typedef enum { USAGE_BY_MODEL, USAGE_BY_AGENT, USAGE_BY_USER, USAGE_BY_KEY, USAGE_BY_DAY, USAGE_GROUPS } usage_by_t;
/* "model", "agent", "user", "key", "day". */
const char *usage_by_name(usage_by_t by);

/* A sum: of the calls of one group. */
typedef struct {
    const char *name;       /* the group's: a model, an agent ("" for none), an id ("" for none), or a day as 2026-01-31 (UTC) */
    int64_t     calls, failed, estimated;       /* calls of models; of them not "ok"; of them with estimated counts */
    int64_t     cached_answers;                 /* answers that were there before, for which no model was called */
    int64_t     input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost;
} usage_sum_t;

#define USAGE_GROUPS_MAX  1000      /* in one answer */

/*
 * The sums of calls that began at or after `from` and before `to` (ms since 1970), days in order, others by cost, the highest
 * first, at most USAGE_GROUPS_MAX of them, *more: there are others; and *total of all. all: of the whole tenant, else the caller's own.
 */
int co_store_usage(arena_t *a, const identity_t *who, bool all, int64_t from, int64_t to, usage_by_t by,
                   usage_sum_t **out, size_t *n, bool *more, usage_sum_t *total);

/* The column or expression of table usage that a group is named by. */
const char *usage_by_sql(usage_by_t by);

#endif
