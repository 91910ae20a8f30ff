#include "store/usage.h"

#include <inttypes.h>

#include "base/buf.h"
#include "store/rows.h"

#define ROW_BYTES  4096u        /* of one row as JSON, at most: every byte of its names escaped */

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

/* name: as it is written. Thousands of rows a second: without printf(). */
static void put_text(buf_t *b, const char *name, const char *value)
{
    (void) buf_puts(b, name);
    (void) buf_json_str(b, str_of(value));
}

static void put_id(buf_t *b, const char *name, const char *value)
{
    if (value[0] != '\0') {
        put_text(b, name, value);
    }
}

static void put_count(buf_t *b, const char *name, int64_t value)
{
    if (value >= 0) {
        (void) buf_puts(b, name);
        (void) buf_int(b, value);
    }
}

static void put_row(buf_t *b, const usage_row_t *u)
{
    (void) buf_puts(b, u->estimated ? "{\"estimated\":true" : "{\"estimated\":false");
    put_count(b, ",\"at\":", u->at);
    put_id(b, ",\"usage_id\":", u->id);
    put_id(b, ",\"user_id\":", u->user);
    put_id(b, ",\"key_id\":", u->key);
    put_id(b, ",\"turn_id\":", u->turn);
    put_text(b, ",\"source\":", u->source);
    put_text(b, ",\"operation\":", u->operation);
    put_text(b, ",\"agent\":", u->agent);
    put_text(b, ",\"model\":", u->model);
    put_text(b, ",\"provider\":", u->provider);
    put_text(b, ",\"outcome\":", u->outcome);
    put_count(b, ",\"duration_ms\":", u->duration_ms);
    put_count(b, ",\"first_token_ms\":", u->first_token_ms);
    put_count(b, ",\"input_tokens\":", u->input_tokens);
    put_count(b, ",\"cached_tokens\":", u->cached_tokens);
    put_count(b, ",\"cache_write_tokens\":", u->cache_write_tokens);
    put_count(b, ",\"output_tokens\":", u->output_tokens);
    put_count(b, ",\"reasoning_tokens\":", u->reasoning_tokens);
    put_count(b, ",\"cost_micros\":", u->cost);
    (void) buf_puts(b, "}");
}

int co_store_usage_put(arena_t *a, const usage_row_t *const *rows, size_t n)
{
    pg_batch_t *batch = pg_batch(a, rows[0]->tenant, rows[0]->user[0] != '\0' ? rows[0]->user : NULL);
    buf_t       b;

    buf_init(&b, USAGE_ROWS_MAX * ROW_BYTES);
    for (size_t i = 0; i < n; i++) {
        (void) buf_puts(&b, i == 0 ? "[" : ",");
        put_row(&b, rows[i]);
    }
    (void) buf_append(&b, "]", 2);              /* and the 0 */
    pg_add(batch,
           "INSERT INTO usage (tenant_id, usage_id, user_id, key_id, turn_id, source, operation, agent, model, provider, outcome, at,"
           "  duration_ms, first_token_ms, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,"
           "  cost_micros, estimated)"
           " SELECT $1::uuid, usage_id, user_id, key_id, turn_id, source, operation, agent, model, provider, outcome,"
           "  to_timestamp(at::float8 / 1000), duration_ms, first_token_ms, input_tokens, cached_tokens, cache_write_tokens,"
           "  output_tokens, reasoning_tokens, cost_micros, estimated"
           " FROM jsonb_to_recordset($2::jsonb) AS r (usage_id uuid, user_id uuid, key_id uuid, turn_id uuid, source text,"
           "  operation text, agent text, model text, provider text, outcome text, at bigint, duration_ms bigint,"
           "  first_token_ms bigint, input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, output_tokens bigint,"
           "  reasoning_tokens bigint, cost_micros bigint, estimated boolean)"
           " ON CONFLICT DO NOTHING",
           2, rows[0]->tenant, b.p);
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
