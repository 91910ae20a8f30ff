#include "store/admin.h"

#include <libpq-fe.h>
#include <stdio.h>

#include "base/util.h"
#include "store/key.h"
#include "store/migrations.h"

#define CREATE_TRIES  5     /* somebody else makes the same tenant or user at the same time */

/*
 * What the worker's role may do, and nothing else. It owns no table, so row-level security binds it; the two tables
 * without row-level security hold ids only.
 */
static const struct {
    const char *table, *rights;
} grants[] = {
    { "tenant", "SELECT" },
    { "app_user", "SELECT, INSERT (tenant_id, user_id, name), UPDATE (turns)" },
    { "user_identity", "SELECT, INSERT" },
    { "api_key", "SELECT, INSERT (tenant_id, user_id, key_id, hash, hint, scopes, name, expires_at), UPDATE (revoked_at)" },
    { "conversation", "SELECT, INSERT, UPDATE" },
    { "turn", "SELECT, INSERT, UPDATE" },
    { "message", "SELECT, INSERT" },
    { "idempotency", "SELECT, INSERT" },
    { "outbox", "INSERT" },
    { "worker", "SELECT, INSERT, UPDATE, DELETE" },
    { "claim", "SELECT, INSERT, UPDATE" },
};

/* --- the connection --- */

static void one_line(const char *what, const char *text)
{
    fprintf(stderr, "si-worker: %s: %.*s\n", what, (int) strcspn(text, "\n"), text);
}

static int fail(PGconn *pg, const char *what)
{
    one_line(what, PQerrorMessage(pg));
    return PQstatus(pg) == CONNECTION_OK ? SI_EINTERNAL : SI_EUNAVAIL;
}

static void ignore_notice(void *arg, const PGresult *r)
{
    (void) arg;
    (void) r;
}

/* The caller closes it. A statement that waits for a lock gives up after a minute. */
static int open_db(const char *conninfo, PGconn **out)
{
    const char *names[] = { "connect_timeout", "application_name", "dbname", NULL };
    const char *values[] = { "10", "si-worker", conninfo, NULL };
    PGconn     *pg = PQconnectdbParams(names, values, 1);
    PGresult   *r;
    bool        good;

    *out = pg;
    if (PQstatus(pg) != CONNECTION_OK) {
        return fail(pg, "cannot connect to the database");
    }
    PQsetNoticeReceiver(pg, ignore_notice, NULL);
    r = PQexec(pg, "SET lock_timeout = '60s'; SET statement_timeout = '10min'");
    good = PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return good ? 0 : fail(pg, "cannot set up the connection");
}

/* Runs SQL that returns nothing (one or many statements). 0 or SI_E*, with the error said. */
static int run(PGconn *pg, const char *what, const char *sql)
{
    PGresult      *r = PQexec(pg, sql);
    ExecStatusType s = PQresultStatus(r);

    PQclear(r);
    return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK ? 0 : fail(pg, what);
}

/* One statement with up to 8 parameters; *r is NULL on error and cleared by the caller otherwise. */
static int query(PGconn *pg, const char *what, PGresult **r, const char *sql, int n, const char *const *params)
{
    ExecStatusType s;

    *r = PQexecParams(pg, sql, n, NULL, params, NULL, NULL, 0);
    s = PQresultStatus(*r);
    if (s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK) {
        return 0;
    }
    PQclear(*r);
    *r = NULL;
    return fail(pg, what);
}

/* --- migrations --- */

static void digest(const char *sql, char out[2 * SHA256_LEN + 1])
{
    uint8_t sum[SHA256_LEN];

    sha256(sum, sql, strlen(sql));
    hex_encode(out, sum, sizeof(sum));
}

/* Finds a migration in the list of those that were done; -1: not there. */
static int find(const PGresult *done, const char *name)
{
    for (int i = 0; i < PQntuples(done); i++) {
        if (strcmp(PQgetvalue(done, i, 0), name) == 0) {
            return i;
        }
    }
    return -1;
}

/* The recorded ones must be the first of ours, word by word. */
static int check_done(const PGresult *done)
{
    int  n = 0;
    char sum[2 * SHA256_LEN + 1];

    for (const si_migration_t *m = si_migrations; m->name != NULL; m++) {
        int i = find(done, m->name);
        if (i < 0) {
            continue;
        }
        digest(m->sql, sum);
        if (strcmp(PQgetvalue(done, i, 1), sum) != 0) {
            one_line("migration was changed after it was applied", m->name);
            return SI_ECONFLICT;
        }
        if (i != n++ || m != &si_migrations[i]) {
            one_line("migration was applied out of order", m->name);
            return SI_ECONFLICT;
        }
    }
    if (n != PQntuples(done)) {
        one_line("the database has a migration that this program does not know", PQgetvalue(done, n, 0));
        return SI_ECONFLICT;
    }
    return 0;
}

static int apply(PGconn *pg, const si_migration_t *m)
{
    char        sum[2 * SHA256_LEN + 1];
    const char *params[] = { m->name, sum };
    PGresult   *r;
    int         rc = run(pg, m->name, "BEGIN");

    digest(m->sql, sum);
    rc = rc ? rc : run(pg, m->name, m->sql);
    if (rc == 0) {
        rc = query(pg, m->name, &r, "INSERT INTO si_migration (name, sha256) VALUES ($1, $2)", 2, params);
        PQclear(r);
    }
    rc = rc ? rc : run(pg, m->name, "COMMIT");
    if (rc == 0) {
        printf("migrated %s\n", m->name);
    }
    return rc;
}

static int migrate(PGconn *pg)
{
    PGresult *done;
    int       rc, n;

    rc = run(pg, "cannot create the list of migrations",
             "CREATE TABLE IF NOT EXISTS si_migration (name text PRIMARY KEY, sha256 text NOT NULL,"
             " applied_at timestamptz NOT NULL DEFAULT now())");
    rc = rc ? rc : query(pg, "cannot read the list of migrations", &done,
                         "SELECT name, sha256 FROM si_migration ORDER BY name COLLATE \"C\"", 0, NULL);
    if (rc) {
        return rc;
    }
    rc = check_done(done);
    n = PQntuples(done);
    PQclear(done);
    for (const si_migration_t *m = si_migrations + n; rc == 0 && m->name != NULL; m++, n++) {
        rc = apply(pg, m);
    }
    if (rc == 0) {
        printf("the schema is at %s\n", n > 0 ? si_migrations[n - 1].name : "nothing");
    }
    return rc;
}

/* A role past which row-level security is no wall must not serve. */
static int check_role(PGconn *pg, const char *role)
{
    PGresult *r;
    int       rc = query(pg, "cannot look at the worker's role", &r,
                         "SELECT rolsuper OR rolbypassrls OR rolname = current_user OR pg_has_role(oid, current_user, 'MEMBER')"
                         " FROM pg_roles WHERE rolname = $1", 1, &role);

    if (rc) {
        return rc;
    }
    if (PQntuples(r) == 0) {
        one_line("the worker's role does not exist", role);
        rc = SI_ENOENT;
    } else if (PQgetvalue(r, 0, 0)[0] == 't') {
        one_line("the worker's role must be no superuser, owner of the tables or holder of BYPASSRLS", role);
        rc = SI_EDENIED;
    }
    PQclear(r);
    return rc;
}

static int grant(PGconn *pg, const char *role)
{
    char *name, sql[512];
    int   rc = check_role(pg, role);

    if (rc) {
        return rc;
    }
    name = PQescapeIdentifier(pg, role, strlen(role));
    if (name == NULL) {
        return fail(pg, "the name of the worker's role");
    }
    rc = run(pg, "cannot grant", "BEGIN");
    snprintf(sql, sizeof(sql), "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %s", name);
    rc = rc ? rc : run(pg, "cannot revoke", sql);
    for (size_t i = 0; rc == 0 && i < SI_COUNT(grants); i++) {
        snprintf(sql, sizeof(sql), "GRANT %s ON %s TO %s", grants[i].rights, grants[i].table, name);
        rc = run(pg, "cannot grant", sql);
    }
    rc = rc ? rc : run(pg, "cannot grant", "COMMIT");
    PQfreemem(name);
    if (rc == 0) {
        printf("granted %s what a worker needs\n", role);
    }
    return rc;
}

int admin_migrate(const char *conninfo, const char *worker_role)
{
    PGconn *pg;
    int     rc = open_db(conninfo, &pg);

    /* Of the whole session, since each migration is a transaction of its own; closing the connection lets it go. */
    rc = rc ? rc : run(pg, "another migration is running", "SELECT pg_advisory_lock(hashtext('si_migration'))");
    rc = rc ? rc : migrate(pg);
    if (rc == 0 && worker_role != NULL) {
        rc = grant(pg, worker_role);
    }
    PQfinish(pg);
    fflush(stdout);
    return rc;
}

/* --- keys --- */

static int set(PGconn *pg, const char *name, const char *value)
{
    const char *params[] = { name, value };
    PGresult   *r;
    int         rc = query(pg, "cannot set the tenant", &r, "SELECT set_config($1, $2, true)", 2, params);

    PQclear(r);
    return rc;
}

/* Runs a SELECT; *found and the first column of its first row, a uuid. */
static int pick(PGconn *pg, const char *what, const char *sql, int n, const char *const *params,
                char id[UUID_LEN + 1], bool *found)
{
    PGresult *r;
    int       rc = query(pg, what, &r, sql, n, params);

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

static int add_key(PGconn *pg, const char *tenant, const char *user, const char *key, const char *scopes)
{
    char        id[UUID_LEN + 1], hash[65], hint[KEY_HINT + 1];
    const char *params[] = { tenant, user, id, hash, hint, scopes };
    PGresult   *r;
    int         rc;

    uuid_new(id);
    key_hash(str_of(key), hash);
    key_hint(key, hint);
    rc = query(pg, "cannot create the key", &r,
               "INSERT INTO api_key (tenant_id, user_id, key_id, hash, hint, scopes)"
               " VALUES ($1, $2, $3, decode($4, 'hex'), $5, $6)", 6, params);
    PQclear(r);
    return rc;
}

static bool name_ok(const char *what, const char *name)
{
    size_t n = strlen(name);

    if (n >= 1 && n <= 200 && utf8_valid(str_of(name))) {
        return true;
    }
    one_line("a name must have 1 to 200 bytes of UTF-8", what);
    return false;
}

int admin_create_key(const char *conninfo, const char *tenant, const char *user, const char *scopes)
{
    char    tenant_id[UUID_LEN + 1], user_id[UUID_LEN + 1], key[KEY_LEN + 1];
    PGconn *pg;
    int     rc;

    if (!name_ok("tenant", tenant) || !name_ok("user", user)) {
        return SI_EINVAL;
    }
    if (scopes[0] && strcmp(scopes, "admin") != 0) {
        one_line("there is no such scope, only admin", scopes);
        return SI_EINVAL;
    }
    key_new(key);
    rc = open_db(conninfo, &pg);
    rc = rc ? rc : run(pg, "cannot create the key", "BEGIN");
    rc = rc ? rc : tenant_of(pg, tenant, tenant_id);
    rc = rc ? rc : user_of(pg, tenant_id, user, user_id);
    rc = rc ? rc : add_key(pg, tenant_id, user_id, key, scopes);
    rc = rc ? rc : run(pg, "cannot create the key", "COMMIT");
    PQfinish(pg);
    if (rc == SI_ECONFLICT) {
        one_line("cannot create the key", "tenant or user is being created by somebody else; try again");
    }
    if (rc == 0) {
        printf("%s\n", key);
        fflush(stdout);
    }
    return rc;
}
