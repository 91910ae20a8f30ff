#include "store/rows.h"

/*
 * The hash admits its row (policy api_key_read); the row then says who is asking, and under that name the tenant and
 * the user are checked. An unknown hash sets the nil tenant, which nobody is, so that the last statement finds nothing.
 */
int co_store_key(arena_t *a, const char *hash_hex, identity_t *out, uint64_t *expires)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    int         rc;

    pg_add(b, "SELECT set_config('si.key_hash', $1, true)", 1, hash_hex);
    pg_add(b,
           "WITH k AS MATERIALIZED (SELECT key_id, tenant_id, user_id, scopes,"
           "  floor(extract(epoch FROM expires_at) * 1000)::bigint AS expires FROM api_key"
           "  WHERE hash = decode($1, 'hex') AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))"
           " SELECT (SELECT key_id FROM k), (SELECT scopes FROM k), (SELECT expires FROM k),"
           "  set_config('si.tenant', coalesce((SELECT tenant_id FROM k), '00000000-0000-0000-0000-000000000000')::text, true),"
           "  set_config('si.user_id', coalesce((SELECT user_id FROM k), '00000000-0000-0000-0000-000000000000')::text, true)",
           1, hash_hex);
    pg_add(b,
           "SELECT u.tenant_id, u.user_id FROM app_user u JOIN tenant t ON t.tenant_id = u.tenant_id"
           " WHERE u.tenant_id = current_setting('si.tenant')::uuid AND u.user_id = current_setting('si.user_id')::uuid"
           "  AND u.status = 'active' AND t.status = 'active'", 0);
    rc = co_store_run(b, "pg:key");
    if (rc) {
        return rc;
    }
    if (pg_rows(b, 2) == 0) {
        return SI_EDENIED;
    }
    *expires = row_int(b, 1, 0, "expires") < 0 ? UINT64_MAX : (uint64_t) row_int(b, 1, 0, "expires");
    *out = (identity_t) {
        .tenant = row_text(b, 2, 0, "tenant_id"),
        .user = row_text(b, 2, 0, "user_id"),
        .key_id = row_text(b, 1, 0, "key_id"),
        .scopes = row_text(b, 1, 0, "scopes"),
    };
    return 0;
}
