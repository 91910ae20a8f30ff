#include "store/rows.h"

#include "base/util.h"

#define NIL  "00000000-0000-0000-0000-000000000000"

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

/* What a made user is called: it only has to be the same again and nobody else's; who it is stands in user_identity. */
static const char *made_name(arena_t *a, const char *issuer, const char *subject)
{
    const char *both = arena_printf(a, "%s\n%s", issuer, subject);
    uint8_t     sum[SHA256_LEN];
    char        hex[2 * SHA256_LEN + 1];

    sha256(sum, both, strlen(both));
    hex_encode(hex, sum, sizeof(sum));
    return arena_printf(a, "idp-%s", hex);
}

/* Sets si.tenant to the tenant's id, or to the nil one when it is unknown: policy tenant_read looks at both settings. */
static void find_tenant(pg_batch_t *b, const char *tenant)
{
    bool id = uuid_valid(str_of(tenant));

    pg_add(b, "SELECT set_config('si.tenant_name', $1, true), set_config('si.tenant', $2, true)", 2, id ? "" : tenant, id ? tenant : NIL);
    pg_add(b, "SELECT set_config('si.tenant', coalesce((SELECT tenant_id::text FROM tenant WHERE status = 'active'), '" NIL "'), true) AS id", 0);
    pg_add(b, "SELECT set_config('si.tenant_name', '', true)", 0);
}

/*
 * One transaction. Of two at first sight of the same user the second waits at the name for the first one's end, and then its
 * later statements see what that one made.
 */
int co_store_identity(arena_t *a, const char *tenant, const char *issuer, const char *subject, identity_t *out)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    const char *name = made_name(a, issuer, subject);
    char        id[UUID_LEN + 1];
    int         rc;

    uuid_new(id);
    find_tenant(b, tenant);
    pg_add(b,
           "INSERT INTO app_user (tenant_id, user_id, name) SELECT t.tenant_id, $1::uuid, $2 FROM tenant t"
           " WHERE t.tenant_id = current_setting('si.tenant')::uuid AND NOT EXISTS (SELECT 1 FROM user_identity i"
           "  WHERE i.tenant_id = t.tenant_id AND i.provider = $3 AND i.subject = $4) ON CONFLICT (tenant_id, name) DO NOTHING",
           4, id, name, issuer, subject);
    pg_add(b,
           "INSERT INTO user_identity (tenant_id, user_id, provider, subject) SELECT tenant_id, user_id, $2, $3 FROM app_user"
           " WHERE tenant_id = current_setting('si.tenant')::uuid AND name = $1 ON CONFLICT DO NOTHING", 3, name, issuer, subject);
    pg_add(b,
           "SELECT u.tenant_id, u.user_id, u.status = 'active' AS active FROM user_identity i"
           " JOIN app_user u ON u.tenant_id = i.tenant_id AND u.user_id = i.user_id"
           " WHERE i.tenant_id = current_setting('si.tenant')::uuid AND i.provider = $1 AND i.subject = $2", 2, issuer, subject);
    rc = co_store_run(b, "pg:identity");
    if (rc) {
        return rc;
    }
    if (strcmp(row_text(b, 1, 0, "id"), NIL) == 0) {
        return SI_ENOENT;
    }
    *out = (identity_t) { .tenant = row_text(b, 5, 0, "tenant_id"), .user = row_text(b, 5, 0, "user_id"), .key_id = "", .scopes = "" };
    return row_bool(b, 5, 0, "active") ? 0 : SI_EDENIED;
}
