/* Of store.c: the blocking tools, and what the catalogue says of the schema they make. */
#ifndef STORE_ADMIN_H
#define STORE_ADMIN_H

#include <libpq-fe.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/util.h"
#include "store/admin.h"
#include "store/key.h"
#include "store/migrations.h"
#include "tap.h"

static const char *owner_db, *worker_db, *super_db;

/* First field of the first row, in the arena; "" for none, the message for an error. */
static const char *sql(arena_t *a, const char *conninfo, const char *text)
{
    PGconn     *pg = PQconnectdb(conninfo);
    PGresult   *r = PQexec(pg, text);
    const char *out = "";

    if (PQresultStatus(r) == PGRES_TUPLES_OK) {
        out = PQntuples(r) > 0 ? arena_strdup(a, PQgetvalue(r, 0, 0)) : "";
    } else if (PQresultStatus(r) != PGRES_COMMAND_OK) {
        out = arena_strdup(a, PQerrorMessage(pg));
    }
    PQclear(r);
    PQfinish(pg);
    return out;
}

/* What a tool prints: fd 1 or 2 leads to a file for a while. */
typedef struct {
    FILE *file;
    int   fd, saved;
} capture_t;

static capture_t capture(int fd)
{
    capture_t c = { .file = tmpfile(), .fd = fd };

    fflush(stdout);
    c.saved = dup(fd);
    dup2(fileno(c.file), fd);
    return c;
}

static const char *captured(arena_t *a, capture_t *c)
{
    char  *text = arena_calloc(a, 4096);
    size_t n;

    fflush(stdout);
    dup2(c->saved, c->fd);
    close(c->saved);
    rewind(c->file);
    n = fread(text, 1, 4095, c->file);
    text[n] = '\0';
    fclose(c->file);
    return text;
}

/* Expects that migrating fails in one line with this text. */
static void migrate_fails(arena_t *a, const char *conninfo, const char *role, int want, const char *why)
{
    capture_t   out = capture(1), err = capture(2);
    int         rc = admin_migrate(conninfo, role, 60000);
    const char *text = captured(a, &err);

    captured(a, &out);
    is_int(rc, want, why);
    ok(strstr(text, why) != NULL && strchr(text, '\n') == text + strlen(text) - 1, "and says so in one line");
    if (strstr(text, why) == NULL) {
        diag("%s", text);
    }
}

static void test_migrate(arena_t *a)
{
    capture_t   out = capture(1);
    int         rc = admin_migrate(owner_db, "si_worker", 60000);
    const char *text = captured(a, &out), *sum;
    int         n = 0;

    while (si_migrations[n].name != NULL) {
        n++;
    }
    is_int(rc, 0, "an empty database is migrated by a role that is no superuser");
    ok(strstr(text, "migrated 0001_tenant\n") != NULL, "and each step is said");
    is_int(atoi(sql(a, owner_db, "SELECT count(*) FROM si_migration")), n, "each is recorded");
    out = capture(1);
    rc = admin_migrate(owner_db, "si_worker", 60000);
    text = captured(a, &out);
    is_int(rc, 0, "a second time");
    ok(strstr(text, "migrated") == NULL, "nothing is done");
    is_int(admin_migrate(owner_db, "odd \"name", 60000), 0, "a role with an odd name");
    is_int(admin_migrate(owner_db, NULL, 60000), 0, "no role");

    sum = sql(a, owner_db, "SELECT sha256 FROM si_migration WHERE name = '0002_conversation'");
    sql(a, owner_db, "UPDATE si_migration SET sha256 = 'x' WHERE name = '0002_conversation'");
    migrate_fails(a, owner_db, "si_worker", SI_ECONFLICT, "migration was changed after it was applied: 0002_conversation");
    sql(a, owner_db, arena_printf(a, "UPDATE si_migration SET sha256 = '%s' WHERE name = '0002_conversation'", sum));
    sql(a, owner_db, "INSERT INTO si_migration VALUES ('9999_future', 'x')");
    migrate_fails(a, owner_db, "si_worker", SI_ECONFLICT, "the database has a migration that this program does not know: 9999_future");
    sql(a, owner_db, "DELETE FROM si_migration WHERE name = '9999_future'");
    migrate_fails(a, owner_db, "nobody", SI_ENOENT, "the worker's role does not exist: nobody");
    migrate_fails(a, owner_db, "si_strong", SI_EDENIED, "the worker's role must be no superuser");
    migrate_fails(a, owner_db, "si_owner", SI_EDENIED, "the worker's role must be no superuser");
    migrate_fails(a, owner_db, "si_member", SI_EDENIED, "the worker's role must be no superuser");
    migrate_fails(a, "host=/nowhere", "si_worker", SI_EUNAVAIL, "cannot connect to the database");
    is_int(admin_migrate(owner_db, "si_worker", 60000), 0, "and after all that it is right again");
}

#define AS_SOMEBODY \
    "SELECT set_config('si.tenant', x, true), set_config('si.user_id', x, true) FROM (SELECT '00000000-0000-7000-8000-000000000000') s(x); "

static void test_catalogue(arena_t *a)
{
    is_str(sql(a, super_db, "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r'"
               " AND relnamespace = 'public'::regnamespace AND NOT (relrowsecurity AND relforcerowsecurity)"),
           "claim si_migration worker", "row-level security is forced on all tables but these");
    is_str(sql(a, super_db, "SELECT string_agg(c.relname, ' ') FROM pg_class c WHERE c.relrowsecurity"
               " AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)"), "", "each of them has a policy");
    is_str(sql(a, super_db, "SELECT count(*) FROM pg_class WHERE relowner = 'si_worker'::regrole"), "0", "the worker owns nothing");
    is_str(sql(a, super_db, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
               " AND relowner <> 'si_owner'::regrole"), "0", "the migrator owns all tables");
    is_str(sql(a, super_db, "SELECT string_agg(conrelid::regclass::text || '.' || conname, ' ') FROM pg_constraint k"
               " WHERE contype IN ('p', 'f') AND conrelid IN (SELECT oid FROM pg_class WHERE relrowsecurity)"
               " AND (SELECT attname FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1]) <> 'tenant_id'"),
           "", "every primary and foreign key is led by the tenant");
    ok(strstr(sql(a, worker_db, "SELECT 1 FROM si_migration"), "permission denied") != NULL, "the worker may not read the migrations");
    ok(strstr(sql(a, worker_db, AS_SOMEBODY "DELETE FROM message"), "permission denied") != NULL, "nor delete messages");
    ok(strstr(sql(a, worker_db, AS_SOMEBODY "UPDATE api_key SET scopes = ''"), "permission denied") != NULL, "nor change keys");
    ok(strstr(sql(a, worker_db, AS_SOMEBODY "UPDATE app_user SET name = 'x'"), "permission denied") != NULL, "nor rename users");
    ok(strstr(sql(a, worker_db, AS_SOMEBODY "INSERT INTO tenant VALUES (gen_random_uuid(), 'x')"), "permission denied") != NULL,
       "nor make tenants");
    ok(strstr(sql(a, worker_db, "SELECT * FROM message"), "si.tenant") != NULL, "without a tenant a query fails");
    ok(strstr(sql(a, owner_db, "SELECT * FROM message"), "si.tenant") != NULL, "the owner's too");
    ok(strstr(sql(a, worker_db, "BEGIN; SET LOCAL si.tenant = '00000000-0000-7000-8000-000000000000'; COMMIT;"
                  " SELECT * FROM app_user"), "invalid input syntax for type uuid") != NULL,
       "and so with the empty setting that an earlier transaction leaves");
}

static void test_key_format(void)
{
    char key[KEY_LEN + 1], other[KEY_LEN + 1], hash[65], hint[KEY_HINT + 1];
    int  wrong = 0;

    key_new(key);
    key_new(other);
    ok(strlen(key) == KEY_LEN && strncmp(key, KEY_PREFIX, 6) == 0, "a key has its length and prefix");
    ok(strcmp(key, other) != 0, "no two are the same");
    ok(key_valid(str_of(key)), "it is valid");
    for (int i = 0; i < KEY_LEN; i++) {
        char was = key[i];
        key[i] = was == 'x' ? 'y' : 'x';
        wrong += !key_valid(str_of(key));
        key[i] = was;
    }
    is_int(wrong, KEY_LEN, "with any other character it is not");
    ok(key_valid(STR("sk_si_00000000000000000000000000000000000000003cF9zE")), "a checksum that another program has made");
    ok(!key_valid((str_t) { key, KEY_LEN - 1 }) && !key_valid(STR("")) && !key_valid(STR("sk_si_")), "nor when it is cut");
    ok(!ticket_valid(str_of(key)), "a key is no ticket");
    ticket_new(other);
    ok(ticket_valid(str_of(other)) && !key_valid(str_of(other)) && strncmp(other, TICKET_PREFIX, 6) == 0, "nor a ticket a key");
    memcpy(other, KEY_PREFIX, 6);
    ok(!key_valid(str_of(other)), "also with the other's prefix");
    key[20] = '\0';
    ok(!key_valid((str_t) { key, KEY_LEN }), "nor with a NUL");
    key_hint("sk_si_00000000000000000000000000000000000000003cF9zE", hint);
    is_str(hint, "sk_si_0000…F9zE", "what may be shown of it");
    ok(scope_has("admin", "admin") && scope_has("x admin", "admin") && scope_has("admin y", "admin"), "a scope that is there");
    ok(!scope_has("", "admin") && !scope_has("admins", "admin") && !scope_has("adm in", "admin"), "and one that is not");
    key_hash(STR("abc"), hash);
    is_str(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "the hash is SHA-256 (FIPS 180-2, B.1)");
}

/* A new key; its text alone is what is printed. */
static const char *make_key(arena_t *a, const char *tenant, const char *user)
{
    capture_t   out = capture(1);
    int         rc = admin_key_create(owner_db, &(admin_key_t) { .tenant = tenant, .user = user, .name = "", .scopes = "" });
    const char *text = captured(a, &out);

    ok(rc == 0 && strlen(text) == KEY_LEN + 1 && text[KEY_LEN] == '\n', "a key for %s of %s", user, tenant);
    return arena_dup(a, text, rc == 0 ? KEY_LEN : 0);
}

#endif
