#include "store/rows.h"

#include "base/util.h"
#include "store/cursor.h"

#define KEY_COLUMNS \
    "k.key_id, u.name AS user_name, k.name, k.hint, k.scopes, " TIME_TEXT("k.created_at") " AS created, " \
    TIME_TEXT("k.expires_at") " AS expires, " TIME_TEXT("k.revoked_at") " AS revoked, " \
    "k.budget_micros, k.budget_calls, k.budget_period, k.requests_per_minute, k.tokens_per_minute"

static key_row_t row_key(const pg_batch_t *b, int i, int row)
{
    return (key_row_t) {
        .id = row_text(b, i, row, "key_id"),
        .user = row_text(b, i, row, "user_name"),
        .name = row_text(b, i, row, "name"),
        .hint = row_text(b, i, row, "hint"),
        .scopes = row_text(b, i, row, "scopes"),
        .created = row_text(b, i, row, "created"),
        .expires = row_text(b, i, row, "expires"),
        .revoked = row_text(b, i, row, "revoked"),
        .own = row_allowance(b, i, row),
    };
}

/* A batch that sees the caller's keys, or all of the tenant. */
static pg_batch_t *batch(arena_t *a, const identity_t *who, bool all)
{
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);

    pg_add(b, "SELECT set_config('si.key_admin', $1, true)", 1, all ? "on" : "off");
    return b;
}

/* The key's user is the caller, or is found by name, or made; row-level security admits the row under that user alone. */
int co_store_key_new(arena_t *a, const identity_t *who, const key_new_t *k, key_row_t *out)
{
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    char        user[UUID_LEN + 1];
    int         rc, last = 2;

    uuid_new(user);
    pg_add(b,
           "INSERT INTO idempotency (tenant_id, user_id, key, kind, target_id, request_hash)"
           " SELECT $1, $2, $3, 'key', $4, $5 WHERE $3::text IS NOT NULL",
           5, who->tenant, who->user, k->idem, k->id, k->request_hash);
    pg_add(b,
           "INSERT INTO app_user (tenant_id, user_id, name) SELECT $1, $2, $3 WHERE $3::text IS NOT NULL"
           " ON CONFLICT (tenant_id, name) DO NOTHING", 3, who->tenant, user, k->user);
    if (k->user) {
        pg_add(b, "SELECT set_config('si.user_id', user_id::text, true) FROM app_user WHERE tenant_id = $1 AND name = $2",
               2, who->tenant, k->user);
        last++;
    }
    pg_add(b,
           "WITH k AS (INSERT INTO api_key (tenant_id, user_id, key_id, hash, hint, scopes, name, expires_at,"
           "   budget_micros, budget_calls, budget_period, requests_per_minute, tokens_per_minute)"
           "  VALUES ($1, current_setting('si.user_id')::uuid, $2, decode($3, 'hex'), $4, $5, $6, to_timestamp($7::float8 / 1000),"
           "   $8, $9, $10, $11, $12)"
           "  RETURNING *)"
           " SELECT " KEY_COLUMNS " FROM k JOIN app_user u ON u.tenant_id = k.tenant_id AND u.user_id = k.user_id",
           12, who->tenant, k->id, k->hash, k->hint, k->scopes, k->name, k->expires ? row_number(a, (int64_t) k->expires) : NULL,
           row_number(a, k->own.dollars), row_number(a, k->own.calls), k->own.period != NULL ? k->own.period : "month",
           row_number(a, k->own.requests), row_number(a, k->own.tokens));
    rc = co_store_run(b, "pg:key_new");
    if (rc == 0) {
        *out = row_key(b, last, 0);
    }
    return rc;
}

int co_store_keys(arena_t *a, const identity_t *who, bool all, const char *cursor, int limit, key_row_t **out, size_t *n,
                  const char **next)
{
    const char *after = NULL;
    pg_batch_t *b;
    int         rc;

    if (cursor != NULL && (cursor_decode(a, 'k', cursor, &after) != 0 || !uuid_valid(str_of(after)))) {
        return SI_EINVAL;
    }
    limit = SI_MAX(1, SI_MIN(limit, 100));
    b = batch(a, who, all);
    pg_add(b,
           "SELECT " KEY_COLUMNS " FROM api_key k JOIN app_user u ON u.tenant_id = k.tenant_id AND u.user_id = k.user_id"
           " WHERE k.tenant_id = $1 AND ($3 OR k.user_id = $2) AND ($4::uuid IS NULL OR k.key_id < $4)"
           " ORDER BY k.key_id DESC LIMIT $5",
           5, who->tenant, who->user, all ? "true" : "false", after, row_number(a, limit + 1));
    rc = co_store_run(b, "pg:keys");
    if (rc) {
        return rc;
    }
    *n = (size_t) SI_MIN(pg_rows(b, 1), limit);
    *out = arena_calloc(a, (*n + 1) * sizeof(**out));
    for (size_t i = 0; i < *n; i++) {
        (*out)[i] = row_key(b, 1, (int) i);
    }
    *next = pg_rows(b, 1) > limit ? cursor_encode(a, 'k', (*out)[*n - 1].id) : NULL;
    return 0;
}

int co_store_key_revoke(arena_t *a, const identity_t *who, bool all, const char *id, const char **hash)
{
    pg_batch_t *b = batch(a, who, all);
    int         rc;

    pg_add(b,
           "UPDATE api_key SET revoked_at = coalesce(revoked_at, now())"
           " WHERE tenant_id = $1 AND ($3 OR user_id = $2) AND key_id = $4 RETURNING encode(hash, 'hex') AS hash",
           4, who->tenant, who->user, all ? "true" : "false", id);
    rc = co_store_run(b, "pg:key_revoke");
    if (rc == 0 && pg_rows(b, 1) == 0) {
        return SI_ENOENT;
    }
    *hash = rc ? NULL : row_text(b, 1, 0, "hash");
    return rc;
}
