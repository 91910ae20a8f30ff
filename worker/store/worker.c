#include "store/rows.h"

#include "base/logger.h"
#include "base/util.h"

/* As a condition on claim c: nobody owns it who is known to live. */
#define OWNER_IS_GONE \
    "NOT EXISTS (SELECT 1 FROM worker w WHERE w.instance = c.owner AND NOT w.buried AND w.lease_until > now())"

int co_store_lease(arena_t *a, const char *instance, uint64_t ms)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    int         rc;

    pg_add(b,
           "INSERT INTO worker (instance, lease_until) VALUES ($1, now() + $2::float8 * interval '1 millisecond')"
           " ON CONFLICT (instance) DO UPDATE SET lease_until = excluded.lease_until WHERE NOT worker.buried",
           2, instance, arena_printf(a, "%llu", (unsigned long long) ms));
    rc = co_store_run(b, "pg:lease");
    return rc ? rc : pg_affected(b, 0) == 1 ? 0 : SI_ECONFLICT;
}

/*
 * The name stays for ten minutes as buried, so that a worker which was only paused hears of its own death. Not for ever:
 * process ids return, and whatever a late riser still tries, the epochs of its claims have moved on.
 */
int co_store_bury(arena_t *a, const char *instance)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);

    pg_add(b,
           "INSERT INTO worker (instance, lease_until, buried) VALUES ($1, now(), true)"
           " ON CONFLICT (instance) DO UPDATE SET buried = true, lease_until = now()", 1, instance);
    pg_add(b,
           "DELETE FROM worker WHERE instance <> $1 AND lease_until < now() -"
           " CASE WHEN buried THEN interval '10 minutes' ELSE interval '1 day' END", 1, instance);
    return co_store_run(b, "pg:bury");
}

int co_store_workers(arena_t *a, const char *me, const char *const **out, size_t *n)
{
    pg_batch_t  *b = pg_batch(a, NULL, NULL);
    const char **names;
    int          rc;

    pg_add(b, "SELECT instance FROM worker WHERE NOT buried AND lease_until > now() AND instance <> $1 LIMIT $2", 2, me,
           row_number(a, WORKERS_MAX + 1));
    rc = co_store_run(b, "pg:workers");
    if (rc) {
        return rc;
    }
    if (pg_rows(b, 0) > WORKERS_MAX) {
        log_line(LOG_ERROR, "more workers live than can be asked", NULL);
        return SI_ENOMEM;
    }
    *n = (size_t) pg_rows(b, 0);
    names = arena_calloc(a, (*n + 1) * sizeof(*names));
    for (size_t i = 0; i < *n; i++) {
        names[i] = row_text(b, 0, (int) i, "instance");
    }
    *out = names;
    return 0;
}

int co_store_nodes(arena_t *a, uint32_t *n)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    int         rc;

    pg_add(b, "SELECT count(DISTINCT regexp_replace(instance, '/[^/]*$', '')) AS n FROM worker WHERE NOT buried AND lease_until > now()", 0);
    rc = co_store_run(b, "pg:nodes");
    *n = rc ? 0 : (uint32_t) row_int(b, 0, 0, "n");
    return rc;
}

/*
 * The owner is read by a statement of its own, because only that sees a row which somebody else inserted meanwhile.
 * A new claim starts at epoch 1; every change of owner adds one.
 */
int co_store_claim(arena_t *a, const char *tenant, const char *user, const char *conversation,
                   const char *me, const char *dead, uint64_t *epoch, const char **owner)
{
    pg_batch_t *b;
    int         rc;

    if (!uuid_valid(str_of(conversation))) {
        return SI_ENOENT;
    }
    b = pg_batch(a, tenant, user);
    pg_add(b,
           "INSERT INTO claim AS c (tenant_id, user_id, conversation_id, owner)"
           " SELECT tenant_id, user_id, conversation_id, $4 FROM conversation"
           "  WHERE tenant_id = $1 AND user_id = $2 AND conversation_id = $3"
           " ON CONFLICT (conversation_id) DO UPDATE SET owner = $4, claimed_at = now(),"
           "  epoch = c.epoch + (c.owner IS DISTINCT FROM $4)::int"
           "  WHERE c.owner IS NULL OR c.owner = $4 OR c.owner = $5 OR " OWNER_IS_GONE
           " RETURNING epoch",
           5, tenant, user, conversation, me, dead);
    pg_add(b, "SELECT owner FROM claim WHERE tenant_id = $1 AND user_id = $2 AND conversation_id = $3",
           3, tenant, user, conversation);
    rc = co_store_run(b, "pg:claim");
    if (rc) {
        return rc;
    }
    *owner = row_text(b, 1, 0, "owner");
    if (pg_rows(b, 0) == 1) {
        *epoch = (uint64_t) row_int(b, 0, 0, "epoch");
        return 0;
    }
    return pg_rows(b, 1) == 1 ? SI_ECONFLICT : SI_ENOENT;
}

int co_store_refence(arena_t *a, const char *conversation, const char *me, uint64_t *epoch)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    int         rc;

    pg_add(b, "UPDATE claim SET epoch = epoch + 1 WHERE conversation_id = $1 AND owner = $2 AND epoch = $3 RETURNING epoch",
           3, conversation, me, row_number(a, (int64_t) *epoch));
    rc = co_store_run(b, "pg:refence");
    if (rc == 0 && pg_rows(b, 0) != 1) {
        return SI_ECONFLICT;
    }
    if (rc == 0) {
        *epoch = (uint64_t) row_int(b, 0, 0, "epoch");
    }
    return rc;
}

int co_store_release(arena_t *a, const char *conversation, const char *me, uint64_t epoch)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    int         rc;

    pg_add(b,
           "UPDATE claim SET owner = NULL WHERE conversation_id = $1 AND owner = $2 AND epoch = $3 AND NOT unfinished",
           3, conversation, me, row_number(a, (int64_t) epoch));
    rc = co_store_run(b, "pg:release");
    return rc ? rc : pg_affected(b, 0) == 1 ? 0 : SI_ECONFLICT;
}

/* Those of others come first: what we own is mostly running here. At random, so that several workers share the work. */
int co_store_orphans(arena_t *a, const char *me, claim_t **out, size_t *n)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    int         rc;

    pg_add(b,
           "SELECT tenant_id, user_id, conversation_id, owner FROM claim c"
           " WHERE unfinished AND (owner IS NULL OR owner = $1 OR " OWNER_IS_GONE ")"
           " ORDER BY owner IS NOT DISTINCT FROM $1, random() LIMIT 100", 1, me);
    rc = co_store_run(b, "pg:orphans");
    if (rc) {
        return rc;
    }
    *n = (size_t) pg_rows(b, 0);
    *out = arena_calloc(a, (*n + 1) * sizeof(**out));
    for (size_t i = 0; i < *n; i++) {
        (*out)[i] = (claim_t) {
            .tenant = row_text(b, 0, (int) i, "tenant_id"),
            .user = row_text(b, 0, (int) i, "user_id"),
            .conversation = row_text(b, 0, (int) i, "conversation_id"),
            .owner = row_text(b, 0, (int) i, "owner"),
        };
    }
    return 0;
}
