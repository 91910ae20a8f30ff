#include <stdio.h>

#include "base/util.h"
#include "store/admin_db.h"
#include "store/revoked.h"

/* ms since 1970, as text: of --expires, and after REVOKED_MAX_MS at the latest. */
static int end_of(PGconn *pg, const char *expires, char out[32])
{
    char        time[64];
    const char *params[] = { time };
    uint64_t    latest = clock_wall_ms() + REVOKED_MAX_MS, ms = latest;
    PGresult   *r;
    int         rc = expires ? admin_expiry(pg, expires, time) : 0;

    if (rc == 0 && expires) {
        rc = admin_query(pg, "--expires", &r, "SELECT floor(extract(epoch FROM $1::timestamptz) * 1000)::bigint", 1, params);
        if (rc == 0 && parse_u64(str_of(PQgetvalue(r, 0, 0)), &ms)) {
            ms = latest;                        /* 'infinity' and its like */
        }
        PQclear(rc == 0 ? r : NULL);
    }
    snprintf(out, 32, "%llu", (unsigned long long) SI_MIN(ms, latest));
    return rc;
}

static int revoke(PGconn *pg, const admin_revoke_t *t, admin_tokens_t *gone)
{
    char        id[UUID_LEN + 1], end[32];
    const char *params[] = { gone->tenant, id, t->kind, t->issuer ? t->issuer : "", t->value, end };
    PGresult   *r;
    int         rc = admin_see(pg, t->tenant, gone->tenant);

    uuid_new(id);
    rc = rc ? rc : end_of(pg, t->expires, end);
    rc = rc ? rc : admin_query(pg, "cannot revoke", &r, REVOKE_SQL, 6, params);
    if (rc) {
        return rc;
    }
    if (PQntuples(r) == 0) {
        admin_say("cannot revoke", REVOKED_TENANT_MAX " revocations of this tenant count already");
        rc = SI_ENOMEM;
    } else {
        snprintf(gone->marks, sizeof(gone->marks), "%s", PQgetvalue(r, 0, 0));
        (void) parse_u64(str_of(PQgetvalue(r, 0, 3)), &gone->before);
        (void) parse_u64(str_of(PQgetvalue(r, 0, 4)), &gone->until);
        gone->before = revoked_before(t->kind, gone->before);
    }
    PQclear(r);
    return rc ? rc : admin_run(pg, "cannot revoke", "COMMIT");
}

static bool sound(const admin_revoke_t *t)
{
    uint8_t raw[SHA256_LEN];

    if (strcmp(t->kind, "digest") == 0) {
        if (t->issuer || !hex_decode(raw, sizeof(raw), str_of(t->value))) {
            admin_say("--digest", t->issuer ? "no issuer goes with it" : "must be the SHA-256 of the token, 64 lower-case hexadecimal digits");
            return false;
        }
        return true;
    }
    if (!t->issuer || !t->issuer[0] || strlen(t->issuer) > REVOKED_ISSUER_MAX || !t->value[0] || strlen(t->value) > REVOKED_VALUE_MAX) {
        admin_say("--jti and --subject need an --issuer", "each 1 to 255 bytes");
        return false;
    }
    return true;
}

int admin_token_revoke(const char *conninfo, const admin_revoke_t *t, admin_tokens_t *gone)
{
    PGconn *pg;
    int     rc;

    memset(gone, 0, sizeof(*gone));
    if (!sound(t)) {
        return SI_EINVAL;
    }
    rc = admin_open(conninfo, &pg);
    rc = rc ? rc : revoke(pg, t, gone);
    PQfinish(pg);
    return rc;
}

int admin_token_list(const char *conninfo, const char *tenant)
{
    char        id[UUID_LEN + 1];
    const char *params[] = { id };
    PGconn     *pg;
    PGresult   *r;
    int         rc = admin_open(conninfo, &pg);

    rc = rc ? rc : admin_see(pg, tenant, id);
    rc = rc ? rc : admin_query(pg, "cannot read the revocations", &r,
                               "SELECT revocation_id, " TIME_TEXT("revoked_at") ", " TIME_TEXT("expires_at") ", kind, value, issuer"
                               " FROM token_revocation WHERE tenant_id = $1 AND expires_at > now() ORDER BY revocation_id", 1, params);
    if (rc == 0) {
        printf("%-36s  %-24s  %-24s  %-7s  %s\n", "ID", "REVOKED", "UNTIL", "KIND", "OF");
        for (int i = 0; i < PQntuples(r); i++) {
            printf("%-36s  %-24s  %-24s  %-7s  %s  %s\n", PQgetvalue(r, i, 0), PQgetvalue(r, i, 1), PQgetvalue(r, i, 2),
                   PQgetvalue(r, i, 3), PQgetvalue(r, i, 4), PQgetvalue(r, i, 5));
        }
        fflush(stdout);
        PQclear(r);
    }
    PQfinish(pg);
    return rc;
}

static int restore(PGconn *pg, const char *tenant, const char *id, admin_tokens_t *gone)
{
    const char *params[] = { gone->tenant, id };
    PGresult   *r;
    int         rc = admin_see(pg, tenant, gone->tenant);

    rc = rc ? rc : admin_query(pg, "cannot restore", &r, RESTORE_SQL, 2, params);
    if (rc) {
        return rc;
    }
    if (PQntuples(r) == 0) {
        admin_say("this tenant has no such revocation", id);
        rc = SI_ENOENT;
    } else {
        snprintf(gone->marks, sizeof(gone->marks), "%s", PQgetvalue(r, 0, 0));
    }
    PQclear(r);
    return rc ? rc : admin_run(pg, "cannot restore", "COMMIT");
}

int admin_token_restore(const char *conninfo, const char *tenant, const char *id, admin_tokens_t *gone)
{
    char    lower[UUID_LEN + 1];
    PGconn *pg;
    int     rc;

    memset(gone, 0, sizeof(*gone));
    if (!uuid_lower(str_of(id), lower)) {
        admin_say("not the id of a revocation (see sictl token list)", id);
        return SI_EINVAL;
    }
    rc = admin_open(conninfo, &pg);
    rc = rc ? rc : restore(pg, tenant, lower, gone);
    PQfinish(pg);
    return rc;
}
