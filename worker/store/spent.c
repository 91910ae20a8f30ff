#include "store/spent.h"

#include "base/util.h"
#include "store/rows.h"

#define NIL  "00000000-0000-0000-0000-000000000000"

/* Of a budget's scope. */
#define WHOSE \
    " AND ($3::uuid IS NULL OR tenant_id = $3) AND ($4::uuid IS NULL OR user_id = $4) AND ($5::uuid IS NULL OR key_id = $5)" \
    " AND ($6::text IS NULL OR agent = $6) AND ($7::text IS NULL OR model = $7)" \
    " AND ($8::text IS NULL OR provider = $8 OR starts_with(provider, $8 || '/'))"

#define DAY_MS   86400000u
#define AT_ONCE  (PG_STATEMENTS_MAX - 1)

/* Sees the rows of all tenants: policy usage_sum. The others' settings must be there, too. */
static pg_batch_t *batch(arena_t *a)
{
    pg_batch_t *b = pg_batch(a, NIL, NIL);

    pg_add(b, "SELECT set_config('si.usage_sum', 'on', true)", 0);
    return b;
}

/* Until when the days are closed, in ms since 1970. */
static int co_closed(arena_t *a, uint64_t *until)
{
    pg_batch_t *b = batch(a);
    int         rc;

    pg_add(b, "SELECT extract(epoch FROM until)::bigint * 1000 AS until FROM usage_closed", 0);
    rc = co_store_run(b, "pg:spent_closed");
    *until = rc == 0 && pg_rows(b, 1) > 0 ? (uint64_t) row_int(b, 1, 0, "until") : 0;
    return rc;
}

/* Where the sums of days end and rows begin. Days that are closed meanwhile are rows still. */
static uint64_t split_of(const spent_t *s, uint64_t until)
{
    bool days = s->start % DAY_MS == 0 && (s->end == UINT64_MAX || s->end % DAY_MS == 0);

    return days ? SI_MAX(s->start, SI_MIN(s->end, until)) : s->start;
}

/* A call that was refused before it cost anything was none. */
static int co_sum(arena_t *a, spent_t *const *list, size_t n, uint64_t until)
{
    pg_batch_t *b = batch(a);
    int         rc;

    for (size_t i = 0; i < n; i++) {
        const spent_t *s = list[i];

        pg_add(b,
               "SELECT coalesce(sum(money), 0)::bigint AS money, coalesce(sum(calls), 0)::bigint AS calls FROM ("
               " SELECT sum(cost_micros) AS money, sum(calls) AS calls FROM usage_day"
               "  WHERE day >= (to_timestamp($1::float8 / 1000) AT TIME ZONE 'UTC')::date"
               "   AND day < (to_timestamp($9::float8 / 1000) AT TIME ZONE 'UTC')::date" WHOSE
               " UNION ALL"
               " SELECT sum(cost_micros), count(*) FILTER (WHERE outcome = 'ok' OR input_tokens + output_tokens > 0) FROM usage"
               "  WHERE at >= to_timestamp($9::float8 / 1000) AND ($2::float8 IS NULL OR at < to_timestamp($2::float8 / 1000))" WHOSE
               ") AS sums",
               9, row_number(a, (int64_t) s->start), s->end == UINT64_MAX ? NULL : row_number(a, (int64_t) s->end), s->tenant, s->user,
               s->key, s->agent, s->model, s->provider, row_number(a, (int64_t) split_of(s, until)));
    }
    rc = co_store_run(b, "pg:spent");
    for (size_t i = 0; rc == 0 && i < n; i++) {
        list[i]->money = row_int(b, (int) i + 1, 0, "money");
        list[i]->calls = row_int(b, (int) i + 1, 0, "calls");
    }
    return rc;
}

int co_store_spent(arena_t *a, spent_t *const *list, size_t n)
{
    uint64_t until;
    int      rc = co_closed(a, &until);

    for (size_t i = 0; i < n && rc == 0; i += AT_ONCE) {
        rc = co_sum(a, list + i, SI_MIN(n - i, (size_t) AT_ONCE), until);
    }
    return rc;
}

int co_store_spent_close(arena_t *a, bool *more)
{
    pg_batch_t *b = batch(a);
    int         rc;

    pg_add(b, "SELECT si_usage_close() AS more", 0);
    rc = co_store_run(b, "pg:spent_close");
    *more = rc == 0 && row_bool(b, 1, 0, "more");
    return rc;
}

int co_store_spent_by(arena_t *a, const char *tenant, const char *id, int64_t *money, int64_t *tokens, uint64_t *ended)
{
    pg_batch_t *b = batch(a);
    int         rc;

    pg_add(b, "SELECT cost_micros, input_tokens + output_tokens AS tokens, floor(extract(epoch FROM at) * 1000)::bigint + duration_ms AS ended"
              " FROM usage WHERE tenant_id = $1 AND usage_id = $2", 2, tenant, id);
    rc = co_store_run(b, "pg:spent_by");
    if (rc == 0 && pg_rows(b, 1) == 0) {
        return SI_ENOENT;
    }
    *money = rc == 0 ? row_int(b, 1, 0, "cost_micros") : 0;
    *tokens = rc == 0 ? row_int(b, 1, 0, "tokens") : 0;
    *ended = rc == 0 ? (uint64_t) SI_MAX(row_int(b, 1, 0, "ended"), 0) : 0;
    return rc;
}
