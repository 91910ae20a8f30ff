#include "store/ticket.h"

#include "base/util.h"
#include "store/rows.h"

#define NIL  "'00000000-0000-0000-0000-000000000000'"

int co_store_ticket_new(arena_t *a, const identity_t *who, const ticket_new_t *t, const char **expires)
{
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    int         rc;

    pg_add(b, "DELETE FROM ticket WHERE tenant_id = $1 AND user_id = $2 AND expires_at < now()", 2, who->tenant, who->user);
    pg_add(b,
           "INSERT INTO ticket (tenant_id, user_id, hash, key_id, scopes, path, origin, credential_ends, expires_at, marks)"
           " VALUES ($1, $2, decode($3, 'hex'), $4, $5, $6, $7, to_timestamp($8::float8 / 1000),"
           "  least(now() + $9::float8 * interval '1 millisecond', to_timestamp($8::float8 / 1000)), decode($10, 'hex'))"
           " RETURNING " TIME_TEXT("expires_at") " AS expires",
           10, who->tenant, who->user, t->hash, who->key_id[0] ? who->key_id : NULL, who->scopes, t->path, t->origin,
           who->expires ? row_number(a, (int64_t) who->expires) : NULL, row_number(a, (int64_t) t->life), t->marks);
    rc = co_store_run(b, "pg:ticket_new");
    if (rc == 0) {
        *expires = row_text(b, 1, 0, "expires");
    }
    return rc;
}

/* As co_store_key(): the hash admits its row, which says who is asking; under that name the rest is checked. */
int co_store_ticket_use(arena_t *a, const ticket_use_t *t, identity_t *out, const char **marks)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    int         rc;

    pg_add(b, "SELECT set_config('si.key_hash', $1, true)", 1, t->hash);
    pg_add(b,
           "UPDATE ticket SET used_by = $2 WHERE hash = decode($1, 'hex') AND expires_at > now() AND path = $3"
           " AND (used_by IS NULL OR used_by = $2) AND (origin IS NULL OR origin = $4 OR $5)",
           5, t->hash, t->request, t->path, t->origin, t->same ? "true" : "false");
    pg_add(b,
           "WITH t AS MATERIALIZED (SELECT tenant_id, user_id FROM ticket WHERE hash = decode($1, 'hex'))"
           " SELECT set_config('si.tenant', coalesce((SELECT tenant_id::text FROM t), " NIL "), true),"
           "  set_config('si.user_id', coalesce((SELECT user_id::text FROM t), " NIL "), true)", 1, t->hash);
    pg_add(b, "SELECT set_config('si.key_hash', '', true)", 0);
    pg_add(b,
           "SELECT t.tenant_id, t.user_id, t.key_id, t.scopes, encode(t.marks, 'hex') AS marks,"
           "  floor(extract(epoch FROM least(t.credential_ends, k.expires_at)) * 1000)::bigint AS ends"
           " FROM ticket t JOIN app_user u ON u.tenant_id = t.tenant_id AND u.user_id = t.user_id"
           " JOIN tenant n ON n.tenant_id = t.tenant_id"
           " LEFT JOIN api_key k ON k.tenant_id = t.tenant_id AND k.user_id = t.user_id AND k.key_id = t.key_id"
           " WHERE t.tenant_id = current_setting('si.tenant')::uuid AND t.user_id = current_setting('si.user_id')::uuid"
           "  AND t.hash = decode($1, 'hex') AND u.status = 'active' AND n.status = 'active' AND (t.key_id IS NULL"
           "   OR k.key_id IS NOT NULL AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()))",
           1, t->hash);
    rc = co_store_run(b, "pg:ticket_use");
    if (rc) {
        return rc;
    }
    if (pg_affected(b, 1) != 1 || pg_rows(b, 4) != 1) {
        return SI_EDENIED;
    }
    *marks = row_text(b, 4, 0, "marks");
    *out = (identity_t) {
        .tenant = row_text(b, 4, 0, "tenant_id"),
        .user = row_text(b, 4, 0, "user_id"),
        .key_id = row_text(b, 4, 0, "key_id"),
        .scopes = row_text(b, 4, 0, "scopes"),
        .expires = (uint64_t) SI_MAX(0, row_int(b, 4, 0, "ends")),
    };
    return 0;
}
