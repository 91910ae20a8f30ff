#include <poll.h>
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
    { "usage_day", "SELECT, INSERT" },
    { "usage_closed", "SELECT, UPDATE" },
    { "outbox", "INSERT" },
    { "worker", "SELECT, INSERT, UPDATE, DELETE" },
    { "claim", "SELECT, INSERT, UPDATE" },
};

#define PAUSE_MS      1000u         /* between two tries; it doubles */
#define PAUSE_MAX_MS  16000u

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

/* --- patience --- */

/* Who holds locks that may be in the way, those first that have been at it for the longest. The owner of the tables may not see what others' sessions do. */
static void say_holders(PGconn *pg)
{
    static const char sql[] =
        "SELECT l.pid, coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), '?'),"
        "  coalesce(a.state || ' for ' || floor(extract(epoch FROM clock_timestamp() - a.state_change)) || ' s', 'busy'),"
        "  string_agg(DISTINCT coalesce(c.relname, 'another migration'), ', ')"
        " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_class c ON c.oid = l.relation"
        " WHERE l.granted AND l.pid <> pg_backend_pid() AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        "  AND (l.locktype = 'advisory' OR c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p'))"
        " GROUP BY 1, 2, 3, 4, a.xact_start ORDER BY a.xact_start LIMIT 3";
    PGresult *r;

    if (admin_query(pg, "cannot see who holds locks", &r, sql, 0, NULL) != 0) {
        return;
    }
    for (int i = 0; i < PQntuples(r); i++) {
        fprintf(stderr, "sictl: locks are held by process %s (%s, %s, %s): %s\n", PQgetvalue(r, i, 0), PQgetvalue(r, i, 1), PQgetvalue(r, i, 2),
                PQgetvalue(r, i, 3), PQgetvalue(r, i, 4));
    }
    PQclear(r);
}

static int migrate_once(PGconn *pg, const char *worker_role, bool *alone)
{
    int rc = 0;

    /* Of the whole session, since each migration is a transaction of its own; closing the connection lets it go. */
    if (!*alone) {
        rc = admin_run(pg, "another migration is running", "SELECT pg_advisory_lock(hashtext('si_migration'))");
        *alone = rc == 0;
    }
    rc = rc ? rc : migrate(pg);
    return rc || worker_role == NULL ? rc : grant(pg, worker_role);
}

int admin_migrate(const char *conninfo, const char *worker_role, uint64_t wait_ms)
{
    uint64_t until = clock_ms() + wait_ms, pause = PAUSE_MS;
    bool     alone = false;
    PGconn  *pg;
    int      rc = admin_open(conninfo, &pg);

    rc = rc ? rc : admin_run(pg, "cannot set up the connection", "SET lock_timeout = '2s'");
    while (rc == 0 && (rc = migrate_once(pg, worker_role, &alone)) == SI_EAGAIN) {
        fflush(stdout);
        rc = admin_run(pg, "cannot go back", "ROLLBACK");
        say_holders(pg);
        if (rc == 0 && clock_ms() + pause >= until) {
            fprintf(stderr, "sictl: the database stayed busy: what was migrated stays so, migrate again for the rest\n");
            rc = SI_EAGAIN;
            break;
        }
        (void) poll(NULL, 0, (int) pause);      /* whoever queued behind us passes */
        pause = SI_MIN(2 * pause, PAUSE_MAX_MS);
    }
    PQfinish(pg);
    fflush(stdout);
    return rc;
}
