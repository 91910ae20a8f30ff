/*
 * The Postgres pool against a private server. t/01-io.t sets SI_DATABASE_URL, and SI_TEST_STOP and
 * SI_TEST_START: shell commands that kill and start the server.
 */
#include "io/pg.h"

#include <stdio.h>

#include "base/proc.h"
#include "base/util.h"
#include "co_test.h"

#define LONG_MS  30000
#define SIZE     2          /* connections */
#define MANY     300
#define FLOOD    2000
#define WAITING  1024       /* batches without a connection */

static uint64_t soon(void) { return clock_ms() + LONG_MS; }

static bool co_until_ready(size_t n)
{
    for (uint64_t end = soon(); clock_ms() < end && pg_ready() != n; ) {
        if (co_sleep(5, "test:ready") != 0) {
            break;
        }
    }
    return pg_ready() == n;
}

/* One statement without parameters; its result code. */
static int co_sql(const char *sql)
{
    arena_t    *a = arena_new(512);
    pg_batch_t *b = pg_batch(a, NULL, NULL);

    pg_add(b, sql, 0);
    int rc = co_pg(b, "test:sql", soon());
    arena_free(a);
    return rc;
}

static int co_number(const char *sql)
{
    arena_t    *a = arena_new(512);
    pg_batch_t *b = pg_batch(a, NULL, NULL);

    pg_add(b, sql, 0);
    int rc = co_pg(b, "test:number", soon());
    const char *v = pg_get(b, 0, 0, "n");
    rc = rc != 0 ? rc : v != NULL ? atoi(v) : -1000;
    arena_free(a);
    return rc;
}

/* ---- results ---- */

static void co_test_results(arena_t *a)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    char        text[16] = "text \xC3\xB6 '";

    is_int(pg_add(b, "SELECT $1::text AS one, $2::text AS two, 7 AS three", 2, text, NULL), 0, "index of a statement");
    is_int(pg_add(b, "SELECT i AS n, i * 2 AS m FROM generate_series(1, 3) i", 0), 1, "of the next");
    is_int(pg_add(b, "INSERT INTO item SELECT i, 'x' FROM generate_series(100, 104) i", 0), 2, "and the next");
    is_int(pg_add(b, "SELECT 1 WHERE false", 0), 3, "and the next");
    text[0] = '!';
    is_str(pg_get(b, 0, 0, "one"), NULL, "no result before it is run");
    is_int(co_pg(b, "test:results", soon()), 0, "a batch");
    is_str(pg_get(b, 0, 0, "one"), "text \xC3\xB6 '", "a text parameter, as it was at pg_add()");
    is_str(pg_get(b, 0, 0, "two"), NULL, "NULL");
    is_str(pg_get(b, 0, 0, "three"), "7", "a number");
    is_str(pg_get(b, 0, 0, "four"), NULL, "no such column");
    is_str(pg_get(b, 0, 1, "one"), NULL, "no such row");
    is_str(pg_get(b, 0, -1, "one"), NULL, "nor that");
    is_str(pg_get(b, 4, 0, "one"), NULL, "no such statement");
    is_int(pg_rows(b, 1), 3, "three rows");
    is_str(pg_get(b, 1, 2, "m"), "6", "the last of them");
    is_int(pg_rows(b, 2), 0, "an INSERT has no rows");
    is_int(pg_affected(b, 2), 5, "but affects some");
    is_int(pg_rows(b, 3), 0, "an empty result");
    is_str(pg_get(b, 3, 0, "?column?"), NULL, "has no field");
    is_int(co_pg(b, "test:twice", soon()), SI_EINTERNAL, "a batch cannot be run twice");

    b = pg_batch(a, NULL, NULL);
    is_int(co_pg(b, "test:empty", soon()), 0, "a batch without statements");

    b = pg_batch(a, NULL, NULL);
    for (int i = 0; i < PG_STATEMENTS_MAX; i++) {
        pg_add(b, "SELECT 1", 0);
    }
    is_int(pg_add(b, "SELECT 1", 0), SI_EINVAL, "one statement too many");
    is_int(co_pg(b, "test:broken", soon()), SI_EINTERNAL, "such a batch is not run");
}

static void co_test_tenant(arena_t *a)
{
    const char *ask = "SELECT current_setting('si.tenant', true) AS t, current_setting('si.user_id', true) AS u";
    pg_batch_t *b = pg_batch(a, "ten'ant", "u1");

    pg_add(b, "SELECT 1", 0);
    is_int(pg_add(b, ask, 0), 1, "the tenant's own statement does not count");
    is_int(co_pg(b, "test:tenant", soon()), 0, "a batch of a tenant");
    is_str(pg_get(b, 1, 0, "t"), "ten'ant", "si.tenant");
    is_str(pg_get(b, 1, 0, "u"), "u1", "si.user_id");

    for (int i = 0; i < SIZE; i++) {
        b = pg_batch(a, NULL, NULL);
        pg_add(b, ask, 0);
        is_int(co_pg(b, "test:tenant", soon()), 0, "a batch without a tenant");
        ok(pg_get(b, 0, 0, "t") == NULL || pg_get(b, 0, 0, "t")[0] == '\0', "sees none");
    }
    b = pg_batch(a, "t2", NULL);
    pg_add(b, ask, 0);
    is_int(co_pg(b, "test:tenant", soon()), 0, "a tenant without a user");
    is_str(pg_get(b, 0, 0, "u"), "", "has an empty si.user_id");
}

static void co_test_session(arena_t *a)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);

    pg_add(b, "SELECT current_setting('application_name') AS app, current_setting('statement_timeout') AS limit,"
              " current_setting('client_encoding') AS enc", 0);
    is_int(co_pg(b, "test:session", soon()), 0, "session");
    is_str(pg_get(b, 0, 0, "app"), "si-worker", "application_name");
    is_str(pg_get(b, 0, 0, "limit"), "10s", "statement_timeout");
    is_str(pg_get(b, 0, 0, "enc"), "UTF8", "client_encoding");
}

/* ---- errors ---- */

static void co_test_atomic(arena_t *a)
{
    pg_batch_t *b = pg_batch(a, "t1", "u1");

    pg_add(b, "INSERT INTO item VALUES (1, 'first')", 0);
    is_int(co_pg(b, "test:insert", soon()), 0, "a row");

    b = pg_batch(a, "t1", "u1");
    pg_add(b, "INSERT INTO item VALUES (2, 'second')", 0);
    pg_add(b, "INSERT INTO item VALUES (1, 'again') RETURNING id", 0);
    pg_add(b, "INSERT INTO item VALUES (3, 'third')", 0);
    is_int(co_pg(b, "test:unique", soon()), SI_EEXIST, "a unique violation");
    is_str(pg_constraint(b), "item_pkey", "its constraint");
    is_int(pg_affected(b, 0), 0, "no results of a failed batch");
    is_int(co_number("SELECT count(*) AS n FROM item WHERE id IN (1, 2, 3)"), 1, "all or nothing");
    is_str(pg_constraint(pg_batch(a, NULL, NULL)), "", "no constraint");
}

static void co_test_codes(arena_t *a)
{
    static const struct { const char *state; int rc; } map[] = {
        { "40001", SI_ECONFLICT }, { "40P01", SI_ECONFLICT }, { "55P03", SI_ECONFLICT }, { "P0409", SI_ECONFLICT },
        { "22023", SI_EINVAL }, { "23503", SI_EINVAL }, { "23505", SI_EEXIST }, { "53300", SI_EUNAVAIL },
        { "P0001", SI_EINTERNAL }, { "42501", SI_EINTERNAL }, { "XX000", SI_EINTERNAL },
    };

    for (size_t i = 0; i < SI_COUNT(map); i++) {
        pg_batch_t *b = pg_batch(a, NULL, NULL);
        pg_add(b, "SELECT fail($1)", 1, map[i].state);
        is_int(co_pg(b, "test:codes", soon()), map[i].rc, map[i].state);
    }
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    pg_add(b, "SELECT $1::int", 1, "secret-7261");
    is_int(co_pg(b, "test:secret", soon()), SI_EINVAL, "not a number; t/01-io.t looks that the log does not quote it");
    is_int(co_sql("SELECT * FROM nowhere"), SI_EINTERNAL, "no such table");
    is_int(co_sql("INSERT INTO item VALUES (9, NULL)"), SI_EINVAL, "NULL where it must not be");
    is_int(co_sql("COPY item TO STDOUT"), SI_EUNAVAIL, "COPY ends the connection");
    ok(co_until_ready(SIZE), "which comes back");
    is_int(co_sql("SELECT fail('25006')"), SI_EUNAVAIL, "a read-only server: the connection ends too");
    ok(co_until_ready(SIZE), "and comes back");

    b = pg_batch(a, NULL, NULL);
    pg_add(b, "SELECT set_config('statement_timeout', '20ms', true)", 0);
    pg_add(b, "SELECT pg_sleep(20)", 0);
    is_int(co_pg(b, "test:slow", soon()), SI_ETIMEDOUT, "statement_timeout");
    is_int(co_number("SELECT 5 AS n"), 5, "the connections are as good as new");
}

static void co_test_large(arena_t *a)
{
    size_t      n = 3u << 20;
    char       *text = arena_alloc(a, n + 1);
    pg_batch_t *b = pg_batch(a, NULL, NULL);

    memset(text, 'x', n);
    text[n] = '\0';
    pg_add(b, "SELECT length($1) AS n, $1::text AS t", 1, text);
    is_int(co_pg(b, "test:large", soon()), 0, "3 MiB there and back");
    is_str(pg_get(b, 0, 0, "n"), "3145728", "its length there");
    is_str(pg_get(b, 0, 0, "t"), text, "and it comes back");

    b = pg_batch(a, NULL, NULL);
    pg_add(b, "SELECT repeat('x', 5000000) AS t FROM generate_series(1, 2)", 0);
    is_int(co_pg(b, "test:too-large", soon()), SI_ENOMEM, "10 MB are refused");
    is_int(co_number("SELECT 6 AS n"), 6, "the connection goes on");
}

/* ---- many at once ---- */

static struct {
    size_t left, right, refused, other;
    wait_t all;
    int    pids[SIZE];
    size_t npids;
} many;

static void many_start(size_t n)
{
    memset(&many, 0, sizeof(many));
    many.left = n;
}

static void many_end(void)
{
    if (--many.left == 0) {
        wait_wake(&many.all, 0);
    }
}

static void co_one(void *arg)
{
    arena_t    *a = arena_new(512);
    char        number[32];
    pg_batch_t *b = pg_batch(a, "t", "u");

    snprintf(number, sizeof(number), "%zu", (size_t) (uintptr_t) arg);
    pg_add(b, "SELECT $1::text AS same", 1, number);
    if ((uintptr_t) arg % 7 == 3) {
        pg_add(b, "SELECT fail('40001')", 0);
    }
    int rc = co_pg(b, "test:many", soon());
    if ((uintptr_t) arg % 7 == 3 && rc != SI_EUNAVAIL) {
        many.right += rc == SI_ECONFLICT;
    } else if (rc == 0) {
        many.right += strcmp(pg_get(b, 0, 0, "same"), number) == 0;
    } else {
        many.refused += rc == SI_EUNAVAIL;
        many.other += rc != SI_EUNAVAIL;
    }
    arena_free(a);
    many_end();
}

static void co_pid(void *arg)
{
    (void) arg;
    many.pids[many.npids++ % SIZE] = co_number("SELECT pg_backend_pid() AS n FROM pg_sleep(0.02)");
    many_end();
}

static void co_test_many(void)
{
    many_start(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        co_spawn("pid", co_pid, NULL);
    }
    is_int(co_wait(&many.all, "test:all", soon()), 0, "as many batches as connections");
    ok(many.pids[0] > 0 && many.pids[1] > 0 && many.pids[0] != many.pids[1], "run on one each");

    many_start(MANY);
    for (size_t i = 0; i < MANY; i++) {
        co_spawn("one", co_one, (void *) (uintptr_t) i);
    }
    is_int(co_wait(&many.all, "test:all", soon()), 0, "300 batches at once, some of which fail");
    is_int((long long) many.right, MANY, "each gets its own result");

    /* 256 on each connection, the others wait. */
    many_start(FLOOD);
    for (size_t i = 0; i < FLOOD; i++) {
        co_spawn("flood", co_one, (void *) (uintptr_t) i);
    }
    is_int(co_wait(&many.all, "test:all", soon()), 0, "2,000 batches at once");
    is_int((long long) many.refused, FLOOD - WAITING - 256 * SIZE, "those above the caps are refused");
    is_int((long long) (many.right + many.refused), FLOOD, "the others are right");
    is_int((long long) many.other, 0, "no other error");
}

/* ---- the waiter goes ---- */

static void co_test_deadline(void)
{
    arena_t    *a = arena_new(512);
    pg_batch_t *b = pg_batch(a, NULL, NULL);

    pg_add(b, "SELECT pg_sleep(0.3)", 0);
    pg_add(b, "INSERT INTO item VALUES (20, $1)", 1, "late");
    is_int(co_pg(b, "test:deadline", clock_ms() + 30), SI_ETIMEDOUT, "a deadline passes");
    arena_free(a);

    int n = 0;
    for (uint64_t end = soon(); clock_ms() < end && n != 1; ) {
        n = co_number("SELECT count(*) AS n FROM item WHERE id = 20");
    }
    is_int(n, 1, "the batch is carried through though its arena has gone");
}

static int cancelled_rc;

static void co_cancelled_one(void *arg)
{
    arena_t    *a = arena_new(512);
    pg_batch_t *b = pg_batch(a, NULL, NULL);

    wait_wake(arg, 0);
    pg_add(b, "SELECT pg_sleep(0.2)", 0);
    cancelled_rc = co_pg(b, "test:cancelled", soon());
    arena_free(a);
}

static void co_test_cancel(void)
{
    wait_t started;

    wait_init(&started);
    cancelled_rc = 1;
    co_t *co = co_spawn("cancelled", co_cancelled_one, &started);
    is_int(co_wait(&started, "test:started", soon()), 0, "a batch that is cancelled");
    co_cancel(co);
    while (cancelled_rc == 1 && co_yield() == 0) {
    }
    is_int(cancelled_rc, SI_ECANCELED, "says so");
    is_int(co_number("SELECT 8 AS n"), 8, "the pool goes on");
}

/* ---- connections break ---- */

static void co_test_broken(void)
{
    is_int(co_sql("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(20)"), SI_EUNAVAIL, "the server ends a connection");
    ok(co_until_ready(SIZE), "it comes back");
    is_int(co_number("SELECT 9 AS n"), 9, "and works");
}

static void co_sleeper(void *arg)
{
    (void) arg;
    int rc = co_sql("SELECT pg_sleep(9)");
    many.refused += rc == SI_EUNAVAIL;
    many_end();
}

static void co_patient(void *arg)
{
    (void) arg;
    many.right += co_number("SELECT 10 AS n") == 10;
    many_end();
}

static void co_test_restart(arena_t *a)
{
    many_start(4);
    for (int i = 0; i < 4; i++) {
        co_spawn("sleeper", co_sleeper, NULL);
    }
    co_sleep(20, "test:spawned");
    ok(system(getenv("SI_TEST_STOP")) == 0, "the server is killed");
    is_int(co_wait(&many.all, "test:all", soon()), 0, "what was under way ends");
    is_int((long long) many.refused, 4, "as unavailable");
    ok(co_until_ready(0), "no connection is ready");

    pg_batch_t *b = pg_batch(a, NULL, NULL);
    pg_add(b, "SELECT 1", 0);
    is_int(co_pg(b, "test:down", clock_ms() + 50), SI_EUNAVAIL, "a batch finds none within its deadline");

    many_start(2);
    co_spawn("patient", co_patient, NULL);
    co_spawn("patient", co_patient, NULL);
    ok(system(getenv("SI_TEST_START")) == 0, "the server is started");
    is_int(co_wait(&many.all, "test:all", soon()), 0, "batches that waited for it");
    is_int((long long) many.right, 2, "are carried out");
    ok(co_until_ready(SIZE), "all connections come back");
}

static void co_test_exit(void)
{
    many_start(2);
    co_spawn("sleeper", co_sleeper, NULL);
    co_spawn("sleeper", co_sleeper, NULL);
    co_yield();
    pg_exit();
    is_int(co_wait(&many.all, "test:all", soon()), 0, "pg_exit()");
    is_int((long long) many.refused, 2, "ends what is under way as unavailable");
    is_int((long long) pg_ready(), 0, "no connection is left");
    is_int(co_sql("SELECT 1"), SI_EUNAVAIL, "a batch afterwards is unavailable");
}

static void co_main(void *arg)
{
    arena_t *a = arg;

    ok(co_until_ready(SIZE), "the pool connects");
    is_int(co_sql("CREATE TABLE item (id int PRIMARY KEY, body text NOT NULL)"), 0, "a table");
    is_int(co_sql("CREATE FUNCTION fail(state text) RETURNS int LANGUAGE plpgsql AS"
                  " $$BEGIN RAISE EXCEPTION 'raised' USING ERRCODE = state; END$$"), 0, "a function");
    co_test_session(a);
    co_test_results(a);
    co_test_tenant(a);
    co_test_atomic(a);
    co_test_codes(a);
    co_test_large(a);
    co_test_many();
    co_test_deadline();
    co_test_cancel();
    co_test_broken();
    co_test_restart(a);
    co_test_exit();
    loop_stop();
}

int main(void)
{
    const char *url = getenv("SI_DATABASE_URL");

    if (url == NULL || getenv("SI_TEST_STOP") == NULL || getenv("SI_TEST_START") == NULL) {
        printf("1..0 # SKIP run by t/01-io.t, which starts a server\n");
        return 0;
    }
    co_test_begin();
    pg_init(url, SIZE, WAITING);
    return co_test_run(co_main);
}
