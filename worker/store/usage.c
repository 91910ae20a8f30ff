#include "store/usage.h"

#include <inttypes.h>
#include <stddef.h>

#include "base/buf.h"
#include "store/rows.h"

#define ROW_BYTES  4096u        /* of one row, at most: every byte of its names escaped */
#define ROW_USUAL  448u         /* of most */

#define SUMS \
    "count(*) FILTER (WHERE outcome <> 'cached') AS calls, count(*) FILTER (WHERE outcome NOT IN ('ok', 'cached')) AS failed," \
    " count(*) FILTER (WHERE estimated) AS estimated, count(*) FILTER (WHERE outcome = 'cached') AS cached_answers," \
    " coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens," \
    " coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens, coalesce(sum(output_tokens), 0) AS output_tokens," \
    " coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens, coalesce(sum(cost_micros), 0) AS cost"
#define OURS \
    " FROM usage WHERE tenant_id = $1 AND ($3 OR user_id = $2)" \
    " AND at >= to_timestamp($4::float8 / 1000) AND at < to_timestamp($5::float8 / 1000)"

static const struct {
    const char *name, *sql, *order;
} groups[USAGE_GROUPS] = {
    { "model", "model", "cost DESC, name" }, { "agent", "agent", "cost DESC, name" },
    { "user", "coalesce(user_id::text, '')", "cost DESC, name" }, { "key", "coalesce(key_id::text, '')", "cost DESC, name" },
    { "day", "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD')", "name" },
};

const char *usage_by_name(usage_by_t by)
{
    return groups[by].name;
}

const char *usage_by_sql(usage_by_t by)
{
    return groups[by].sql;
}

/* How a member of a row is written. */
typedef enum { AS_ID, AS_TEXT, AS_COUNT, AS_FLAG } as_t;

static const struct {
    as_t   as;
    size_t at;          /* in usage_row_t */
} columns[] = {         /* in the order of INSERT_ROWS */
    { AS_ID, offsetof(usage_row_t, id) }, { AS_ID, offsetof(usage_row_t, user) }, { AS_ID, offsetof(usage_row_t, key) },
    { AS_ID, offsetof(usage_row_t, turn) }, { AS_TEXT, offsetof(usage_row_t, source) }, { AS_TEXT, offsetof(usage_row_t, operation) },
    { AS_TEXT, offsetof(usage_row_t, agent) }, { AS_TEXT, offsetof(usage_row_t, model) }, { AS_TEXT, offsetof(usage_row_t, provider) },
    { AS_TEXT, offsetof(usage_row_t, outcome) }, { AS_COUNT, offsetof(usage_row_t, at) }, { AS_COUNT, offsetof(usage_row_t, duration_ms) },
    { AS_COUNT, offsetof(usage_row_t, first_token_ms) }, { AS_COUNT, offsetof(usage_row_t, input_tokens) },
    { AS_COUNT, offsetof(usage_row_t, cached_tokens) }, { AS_COUNT, offsetof(usage_row_t, cache_write_tokens) },
    { AS_COUNT, offsetof(usage_row_t, output_tokens) }, { AS_COUNT, offsetof(usage_row_t, reasoning_tokens) },
    { AS_COUNT, offsetof(usage_row_t, cost) }, { AS_FLAG, offsetof(usage_row_t, estimated) },
};

#define NAMES \
    "usage_id, user_id, key_id, turn_id, source, operation, agent, model, provider, outcome, at, duration_ms, first_token_ms," \
    " input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_micros, estimated"
/* One array for each column: two thirds of the time that Postgres takes for an array of JSON objects. */
#define INSERT_ROWS \
    "INSERT INTO usage (tenant_id, " NAMES ") SELECT $1::uuid, usage_id, user_id, key_id, turn_id, source, operation, agent, model," \
    "  provider, outcome, to_timestamp(at::float8 / 1000), duration_ms, first_token_ms, input_tokens, cached_tokens," \
    "  cache_write_tokens, output_tokens, reasoning_tokens, cost_micros, estimated" \
    " FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[]," \
    "  $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[]," \
    "  $19::bigint[], $20::bigint[], $21::boolean[]) AS r (" NAMES ")" \
    " ON CONFLICT DO NOTHING"

/* An element of an array, in quotes. */
static void put_text(buf_t *b, const char *text)
{
    (void) buf_append(b, "\"", 1);
    for (size_t n; ; text += n) {
        n = strcspn(text, "\"\\");
        (void) buf_append(b, text, n);
        if (text[n] == '\0') {
            break;
        }
        (void) buf_append(b, "\\", 1);
        (void) buf_append(b, text + n++, 1);
    }
    (void) buf_append(b, "\"", 1);
}

static void put_count(buf_t *b, int64_t value)
{
    (void) (value < 0 ? buf_puts(b, "NULL") : buf_int(b, value));
}

/* Thousands of rows a second: without printf(). */
static void put_column(buf_t *b, size_t column, const usage_row_t *const *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *at = (const char *) rows[i] + columns[column].at;

        (void) buf_append(b, i == 0 ? "{" : ",", 1);
        switch (columns[column].as) {
        case AS_ID:
            (void) buf_puts(b, at[0] != '\0' ? at : "NULL");
            break;
        case AS_TEXT:
            put_text(b, at);
            break;
        case AS_COUNT:
            put_count(b, *(const int64_t *) (const void *) at);
            break;
        case AS_FLAG:
            (void) buf_puts(b, *(const bool *) at ? "t" : "f");
            break;
        }
    }
    (void) buf_append(b, "}", 2);               /* and the 0 */
}

int co_store_usage_put(arena_t *a, const usage_row_t *const *rows, size_t n)
{
    pg_batch_t *batch = pg_batch(a, rows[0]->tenant, rows[0]->user[0] != '\0' ? rows[0]->user : NULL);
    const char *params[1 + SI_COUNT(columns)] = { rows[0]->tenant };
    size_t      from[SI_COUNT(columns)];
    buf_t       b;

    buf_init(&b, USAGE_ROWS_MAX * ROW_BYTES);
    (void) buf_reserve(&b, n * ROW_USUAL);
    for (size_t k = 0; k < SI_COUNT(columns); k++) {
        from[k] = b.n;
        put_column(&b, k, rows, n);
    }
    for (size_t k = 0; k < SI_COUNT(columns); k++) {
        params[1 + k] = b.p + from[k];
    }
    pg_add_list(batch, INSERT_ROWS, SI_COUNT(params), params);
    buf_free(&b);
    return co_store_run(batch, "pg:usage");
}

static usage_sum_t sum_of(const pg_batch_t *b, int i, int row)
{
    return (usage_sum_t) {
        .name = row_text(b, i, row, "name"), .calls = row_int(b, i, row, "calls"), .failed = row_int(b, i, row, "failed"),
        .estimated = row_int(b, i, row, "estimated"), .cached_answers = row_int(b, i, row, "cached_answers"),
        .input_tokens = row_int(b, i, row, "input_tokens"),
        .cached_tokens = row_int(b, i, row, "cached_tokens"), .cache_write_tokens = row_int(b, i, row, "cache_write_tokens"),
        .output_tokens = row_int(b, i, row, "output_tokens"), .reasoning_tokens = row_int(b, i, row, "reasoning_tokens"),
        .cost = row_int(b, i, row, "cost"),
    };
}

int co_store_usage(arena_t *a, const identity_t *who, bool all, int64_t from, int64_t to, usage_by_t by,
                   usage_sum_t **out, size_t *n, bool *more, usage_sum_t *total)
{
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    const char *since = arena_printf(a, "%" PRId64, from), *until = arena_printf(a, "%" PRId64, to);
    int         rc;

    pg_add(b, "SELECT set_config('si.usage_all', $1, true)", 1, all ? "on" : "off");
    pg_add(b, "SELECT '' AS name, " SUMS OURS, 5, who->tenant, who->user, all ? "true" : "false", since, until);
    pg_add(b, arena_printf(a, "SELECT %s AS name, " SUMS OURS " GROUP BY 1 ORDER BY %s LIMIT %d", groups[by].sql, groups[by].order,
                           USAGE_GROUPS_MAX + 1),
           5, who->tenant, who->user, all ? "true" : "false", since, until);
    rc = co_store_run(b, "pg:usage_sum");
    if (rc) {
        return rc;
    }
    *total = sum_of(b, 1, 0);
    *n = (size_t) SI_MIN(pg_rows(b, 2), USAGE_GROUPS_MAX);
    *more = pg_rows(b, 2) > USAGE_GROUPS_MAX;
    *out = arena_calloc(a, (*n + 1) * sizeof **out);
    for (size_t i = 0; i < *n; i++) {
        (*out)[i] = sum_of(b, 2, (int) i);
    }
    return 0;
}
