#include <stdio.h>

#include "base/util.h"
#include "conf/conf.h"
#include "store/admin_db.h"
#include "store/key.h"

#define CREATE_TRIES  5     /* somebody else makes the same tenant or user at the same time */

static int set(PGconn *pg, const char *name, const char *value)
{
    const char *params[] = { name, value };
    PGresult   *r;
    int         rc = admin_query(pg, "cannot set the tenant", &r, "SELECT set_config($1, $2, true)", 2, params);

    PQclear(r);
    return rc;
}

/* Runs a SELECT; *found and the first column of its first row, a uuid. */
static int pick(PGconn *pg, const char *what, const char *sql, int n, const char *const *params,
                char id[UUID_LEN + 1], bool *found)
{
    PGresult *r;
    int       rc = admin_query(pg, what, &r, sql, n, params);

    if (rc) {
        return rc;
    }
    *found = PQntuples(r) > 0;
    if (*found) {
        snprintf(id, UUID_LEN + 1, "%s", PQgetvalue(r, 0, 0));
    }
    PQclear(r);
    return 0;
}

/* The tenant of this name, made if there is none. Leaves si.tenant set to it. */
static int tenant_of(PGconn *pg, const char *name, char id[UUID_LEN + 1])
{
    const char *params[] = { id, name };
    bool        found = false;
    int         rc = 0;

    for (int i = 0; rc == 0 && i < CREATE_TRIES; i++) {
        rc = set(pg, "si.tenant_name", name);
        rc = rc ? rc : pick(pg, "cannot look for the tenant", "SELECT tenant_id FROM tenant WHERE name = $1",
                            1, &name, id, &found);
        rc = rc ? rc : set(pg, "si.tenant_name", "");
        if (rc || found) {
            return rc ? rc : set(pg, "si.tenant", id);
        }
        uuid_new(id);
        rc = set(pg, "si.tenant", id);
        rc = rc ? rc : pick(pg, "cannot create the tenant",
                            "INSERT INTO tenant (tenant_id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
                            " RETURNING tenant_id", 2, params, id, &found);
        if (rc || found) {
            return rc;
        }
    }
    return rc ? rc : SI_ECONFLICT;
}

/* The user of this name in the tenant, made if there is none. Leaves si.user_id set. */
static int user_of(PGconn *pg, const char *tenant, const char *name, char id[UUID_LEN + 1])
{
    const char *find_by[] = { tenant, name }, *make[] = { tenant, id, name };
    bool        found = false;
    int         rc = 0;

    for (int i = 0; rc == 0 && !found && i < CREATE_TRIES; i++) {
        rc = pick(pg, "cannot look for the user", "SELECT user_id FROM app_user WHERE tenant_id = $1 AND name = $2",
                  2, find_by, id, &found);
        if (rc || found) {
            break;
        }
        uuid_new(id);
        rc = pick(pg, "cannot create the user",
                  "INSERT INTO app_user (tenant_id, user_id, name) VALUES ($1, $2, $3)"
                  " ON CONFLICT (tenant_id, name) DO NOTHING RETURNING user_id", 3, make, id, &found);
    }
    return rc ? rc : found ? set(pg, "si.user_id", id) : SI_ECONFLICT;
}

int admin_expiry(PGconn *pg, const char *text, char out[64])
{
    uint64_t    ms;
    const char *params[] = { text };
    PGresult   *r;
    int         rc;

    if (parse_duration(str_of(text), &ms) == 0) {
        char seconds[32];

        snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long) (ms / 1000));
        params[0] = seconds;
        rc = admin_query(pg, "--expires", &r, "SELECT now() + make_interval(secs => $1), $1::float8 > 0", 1, params);
    } else {
        rc = admin_query(pg, "--expires", &r, "SELECT $1::timestamptz, $1::timestamptz > now()", 1, params);
    }
    if (rc) {
        return rc;
    }
    snprintf(out, 64, "%s", PQgetvalue(r, 0, 0));
    if (PQgetvalue(r, 0, 1)[0] != 't') {
        admin_say("--expires must be a time to come", text);
        rc = SI_EINVAL;
    }
    PQclear(r);
    return rc;
}

/* "100" or "100/day" into a number with so many decimal places, and *period (which stays when it is not named). */
static int amount_of(const char *what, const char *text, unsigned places, char out[24], const char **period)
{
    static const char *const periods[] = { "hour", "day", "month", "total" };
    size_t      n = text != NULL ? strcspn(text, "/") : 0;
    const char *named = NULL;
    uint64_t    v = 0;

    snprintf(out, 24, "0");
    if (text == NULL) {
        return 0;
    }
    for (size_t i = 0; text[n] == '/' && i < SI_COUNT(periods); i++) {
        named = strcmp(text + n + 1, periods[i]) == 0 ? periods[i] : named;
    }
    if (parse_decimal((str_t) { text, n }, places, &v) != 0 || v > CONF_DOLLARS_MAX
        || (text[n] == '/' && (period == NULL || named == NULL || (*period != NULL && *period != named))))
    {
        admin_say("not an amount, or not of the same period (see --help)", what);
        return SI_EINVAL;
    }
    snprintf(out, 24, "%llu", (unsigned long long) v);
    if (period != NULL && named != NULL) {
        *period = named;
    }
    return 0;
}

static int add_key(PGconn *pg, const char *tenant, const char *user, const char *key, const admin_key_t *k)
{
    char        id[UUID_LEN + 1], hash[65], hint[KEY_HINT + 1], expires[64], own[4][24];
    const char *period = NULL;
    const char *params[] = { tenant, user, id, hash, hint, k->scopes, k->name, k->expires ? expires : NULL, own[0], own[1], own[2], own[3], NULL };
    PGresult   *r;
    int         rc = k->expires ? admin_expiry(pg, k->expires, expires) : 0;

    rc = rc ? rc : amount_of("--budget", k->budget, 6, own[0], &period);
    rc = rc ? rc : amount_of("--calls", k->calls, 0, own[1], &period);
    rc = rc ? rc : amount_of("--requests", k->requests, 0, own[2], NULL);
    rc = rc ? rc : amount_of("--tokens", k->tokens, 0, own[3], NULL);
    params[12] = period != NULL ? period : "month";

    uuid_new(id);
    key_hash(str_of(key), hash);
    key_hint(key, hint);
    rc = rc ? rc : admin_query(pg, "cannot create the key", &r,
                               "INSERT INTO api_key (tenant_id, user_id, key_id, hash, hint, scopes, name, expires_at,"
                               "  budget_micros, budget_calls, requests_per_minute, tokens_per_minute, budget_period)"
                               " VALUES ($1, $2, $3, decode($4, 'hex'), $5, $6, $7, $8, $9, $10, $11, $12, $13)", 13, params);
    if (rc == 0) {
        PQclear(r);
    }
    return rc;
}

static bool length_ok(const char *what, const char *text, size_t min)
{
    size_t n = strlen(text);

    if (n >= min && n <= 200 && utf8_valid(str_of(text))) {
        return true;
    }
    admin_say(min ? "a name must have 1 to 200 bytes of UTF-8" : "a name must have at most 200 bytes of UTF-8", what);
    return false;
}

int admin_key_create(const char *conninfo, const admin_key_t *k)
{
    char    tenant_id[UUID_LEN + 1], user_id[UUID_LEN + 1], key[KEY_LEN + 1];
    PGconn *pg;
    int     rc;

    if (!length_ok("tenant", k->tenant, 1) || !length_ok("user", k->user, 1) || !length_ok("--name", k->name, 0)) {
        return SI_EINVAL;
    }
    if (k->scopes[0] && strcmp(k->scopes, "admin") != 0) {
        admin_say("there is no such scope, only admin", k->scopes);
        return SI_EINVAL;
    }
    key_new(key);
    rc = admin_open(conninfo, &pg);
    rc = rc ? rc : admin_run(pg, "cannot create the key", "BEGIN");
    rc = rc ? rc : tenant_of(pg, k->tenant, tenant_id);
    rc = rc ? rc : user_of(pg, tenant_id, k->user, user_id);
    rc = rc ? rc : add_key(pg, tenant_id, user_id, key, k);
    rc = rc ? rc : admin_run(pg, "cannot create the key", "COMMIT");
    PQfinish(pg);
    if (rc == SI_ECONFLICT) {
        admin_say("cannot create the key", "tenant or user is being created by somebody else; try again");
    }
    if (rc == 0) {
        printf("%s\n", key);
        fflush(stdout);
    }
    return rc;
}

int admin_see(PGconn *pg, const char *tenant, char id[UUID_LEN + 1])
{
    bool found = false;
    int  rc = admin_run(pg, "cannot read the keys", "BEGIN");

    rc = rc ? rc : set(pg, "si.tenant_name", tenant);
    rc = rc ? rc : pick(pg, "cannot look for the tenant", "SELECT tenant_id FROM tenant WHERE name = $1", 1, &tenant, id, &found);
    if (rc == 0 && !found) {
        admin_say("there is no such tenant", tenant);
        return SI_ENOENT;
    }
    rc = rc ? rc : set(pg, "si.tenant_name", "");
    rc = rc ? rc : set(pg, "si.tenant", id);
    return rc ? rc : set(pg, "si.key_admin", "on");
}

static void print_keys(const PGresult *r)
{
    printf("%-36s  %-17s  %-20s  %-20s  %-20s  %-6s  %-16s  %s\n", "ID", "KEY", "CREATED", "EXPIRES", "REVOKED", "SCOPES", "USER", "NAME");
    for (int i = 0; i < PQntuples(r); i++) {
        printf("%-36s  %-17s  %-20s  %-20s  %-20s  %-6s  %-16s  %s\n", PQgetvalue(r, i, 0), PQgetvalue(r, i, 1), PQgetvalue(r, i, 2),
               PQgetvalue(r, i, 3), PQgetvalue(r, i, 4), PQgetvalue(r, i, 5), PQgetvalue(r, i, 6), PQgetvalue(r, i, 7));
    }
    fflush(stdout);
}

#define SECONDS_TEXT(column) "coalesce(to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '-')"

int admin_key_list(const char *conninfo, const char *tenant)
{
    char      id[UUID_LEN + 1];
    PGconn   *pg;
    PGresult *r;
    int       rc = admin_open(conninfo, &pg);

    rc = rc ? rc : admin_see(pg, tenant, id);
    rc = rc ? rc : admin_query(pg, "cannot read the keys", &r,
                               "SELECT k.key_id, k.hint, " SECONDS_TEXT("k.created_at") ", " SECONDS_TEXT("k.expires_at") ", "
                               SECONDS_TEXT("k.revoked_at") ", coalesce(nullif(k.scopes, ''), '-'), u.name, k.name"
                               " FROM api_key k JOIN app_user u USING (tenant_id, user_id) ORDER BY k.key_id", 0, NULL);
    if (rc == 0) {
        print_keys(r);
        PQclear(r);
    }
    PQfinish(pg);
    return rc;
}

static int revoke(PGconn *pg, const char *tenant, const char *key_id, admin_gone_t *gone)
{
    const char *params[] = { gone->tenant, key_id };
    PGresult   *r;
    int         rc = admin_see(pg, tenant, gone->tenant);

    params[0] = gone->tenant;
    rc = rc ? rc : admin_query(pg, "cannot revoke the key", &r,
                               "UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND key_id = $2"
                               " RETURNING user_id, encode(hash, 'hex')", 2, params);
    if (rc) {
        return rc;
    }
    if (PQntuples(r) == 0) {
        admin_say("this tenant has no such key", key_id);
        rc = SI_ENOENT;
    } else {
        snprintf(gone->user, sizeof(gone->user), "%s", PQgetvalue(r, 0, 0));
        snprintf(gone->hash, sizeof(gone->hash), "%s", PQgetvalue(r, 0, 1));
    }
    PQclear(r);
    return rc ? rc : admin_run(pg, "cannot revoke the key", "COMMIT");
}

int admin_key_revoke(const char *conninfo, const char *tenant, const char *key_id, admin_gone_t *gone)
{
    PGconn *pg;
    int     rc;

    memset(gone, 0, sizeof(*gone));
    if (!uuid_lower(str_of(key_id), gone->key)) {
        admin_say("not the id of a key (see sictl key list)", key_id);
        return SI_EINVAL;
    }
    rc = admin_open(conninfo, &pg);
    rc = rc ? rc : revoke(pg, tenant, gone->key, gone);
    PQfinish(pg);
    return rc;
}
