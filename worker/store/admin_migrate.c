#include <stdio.h>

#include "base/util.h"
#include "store/admin_db.h"
#include "store/migrations.h"

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
    { "api_key", "SELECT, INSERT (tenant_id, user_id, key_id, hash, hint, scopes, name, expires_at, budget_micros, budget_calls,"
      " budget_period, requests_per_minute, tokens_per_minute), UPDATE (revoked_at)" },
    { "ticket", "SELECT, INSERT, UPDATE (used_by), DELETE" },
    { "token_revocation", "SELECT, INSERT, UPDATE (revoked_at, expires_at), DELETE" },
    { "conversation", "SELECT, INSERT, UPDATE" },
    { "turn", "SELECT, INSERT, UPDATE" },
    { "message", "SELECT, INSERT" },
    { "idempotency", "SELECT, INSERT" },
    { "usage", "SELECT, INSERT" },
    { "outbox", "INSERT" },
    { "worker", "SELECT, INSERT, UPDATE, DELETE" },
    { "claim", "SELECT, INSERT, UPDATE" },
};

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
            admin_say("migration was changed after it was applied", m->name);
            return SI_ECONFLICT;
        }
        if (i != n++ || m != &si_migrations[i]) {
            admin_say("migration was applied out of order", m->name);
            return SI_ECONFLICT;
        }
    }
    if (n != PQntuples(done)) {
        admin_say("the database has a migration that this program does not know", PQgetvalue(done, n, 0));
        return SI_ECONFLICT;
    }
    return 0;
}

static int apply(PGconn *pg, const si_migration_t *m)
{
    char        sum[2 * SHA256_LEN + 1];
    const char *params[] = { m->name, sum };
    PGresult   *r;
    int         rc = admin_run(pg, m->name, "BEGIN");

    digest(m->sql, sum);
    rc = rc ? rc : admin_run(pg, m->name, m->sql);
    if (rc == 0) {
        rc = admin_query(pg, m->name, &r, "INSERT INTO si_migration (name, sha256) VALUES ($1, $2)", 2, params);
        PQclear(r);
    }
    rc = rc ? rc : admin_run(pg, m->name, "COMMIT");
    if (rc == 0) {
        printf("migrated %s\n", m->name);
    }
    return rc;
}

static int migrate(PGconn *pg)
{
    PGresult *done;
    int       rc, n;

    rc = admin_run(pg, "cannot create the list of migrations",
             "CREATE TABLE IF NOT EXISTS si_migration (name text PRIMARY KEY, sha256 text NOT NULL,"
             " applied_at timestamptz NOT NULL DEFAULT now())");
    rc = rc ? rc : admin_query(pg, "cannot read the list of migrations", &done,
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
    int       rc = admin_query(pg, "cannot look at the worker's role", &r,
                         "SELECT rolsuper OR rolbypassrls OR rolname = current_user OR pg_has_role(oid, current_user, 'MEMBER')"
                         " FROM pg_roles WHERE rolname = $1", 1, &role);

    if (rc) {
        return rc;
    }
    if (PQntuples(r) == 0) {
        admin_say("the worker's role does not exist", role);
        rc = SI_ENOENT;
    } else if (PQgetvalue(r, 0, 0)[0] == 't') {
        admin_say("the worker's role must be no superuser, owner of the tables or holder of BYPASSRLS", role);
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
        return admin_fail(pg, "the name of the worker's role");
    }
    rc = admin_run(pg, "cannot grant", "BEGIN");
    snprintf(sql, sizeof(sql), "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %s", name);
    rc = rc ? rc : admin_run(pg, "cannot revoke", sql);
    for (size_t i = 0; rc == 0 && i < SI_COUNT(grants); i++) {
        snprintf(sql, sizeof(sql), "GRANT %s ON %s TO %s", grants[i].rights, grants[i].table, name);
        rc = admin_run(pg, "cannot grant", sql);
    }
    rc = rc ? rc : admin_run(pg, "cannot grant", "COMMIT");
    PQfreemem(name);
    if (rc == 0) {
        printf("granted %s what a worker needs\n", role);
    }
    return rc;
}

int admin_migrate(const char *conninfo, const char *worker_role)
{
    PGconn *pg;
    int     rc = admin_open(conninfo, &pg);

    /* Of the whole session, since each migration is a transaction of its own; closing the connection lets it go. */
    rc = rc ? rc : admin_run(pg, "another migration is running", "SELECT pg_advisory_lock(hashtext('si_migration'))");
    rc = rc ? rc : migrate(pg);
    if (rc == 0 && worker_role != NULL) {
        rc = grant(pg, worker_role);
    }
    PQfinish(pg);
    fflush(stdout);
    return rc;
}
