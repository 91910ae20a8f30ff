#include <stdio.h>

#include "store/admin_db.h"
#include "store/usage.h"

#define COLUMNS  10

static void print_row(const PGresult *r, int i)
{
    printf("%-36s", PQgetvalue(r, i, 0)[0] != '\0' ? PQgetvalue(r, i, 0) : "-");
    for (int k = 1; k < COLUMNS; k++) {
        printf("  %*s", k == COLUMNS - 1 ? 14 : k < 5 ? 9 : 13, PQgetvalue(r, i, k));
    }
    putchar('\n');
}

static void print_usage(const PGresult *r, const char *group)
{
    printf("%-36s  %9s  %9s  %9s  %9s  %13s  %13s  %13s  %13s  %14s\n", group, "calls", "failed", "estimated", "repeated", "input", "cached", "output",
           "reasoning", "US dollars");
    for (int i = 0; i < PQntuples(r); i++) {
        print_row(r, i);
    }
    fflush(stdout);
}

/* The group of this name, or USAGE_GROUPS. */
static usage_by_t group_of(const char *name)
{
    usage_by_t by = 0;

    while (by < USAGE_GROUPS && strcmp(usage_by_name(by), name) != 0) {
        by++;
    }
    return by;
}

/* The last row is the sum of all. */
static int query(PGconn *pg, usage_by_t by, const char *from, const char *to, PGresult **r)
{
    const char *params[] = { from, to };
    char        sql[1024];

    (void) snprintf(sql, sizeof sql,
                    "SELECT CASE WHEN grouping(name) = 1 THEN 'total' ELSE name END, count(*) FILTER (WHERE outcome <> 'cached'),"
                    " count(*) FILTER (WHERE outcome NOT IN ('ok', 'cached')), count(*) FILTER (WHERE estimated),"
                    " count(*) FILTER (WHERE outcome = 'cached'), coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0),"
                    " coalesce(sum(output_tokens), 0), coalesce(sum(reasoning_tokens), 0),"
                    " (coalesce(sum(cost_micros), 0) / 1000000)::numeric(30, 6)"
                    " FROM (SELECT %s AS name, usage.* FROM usage WHERE at >= coalesce($1::timestamptz, now() - interval '30 days')"
                    "  AND at < coalesce($2::timestamptz, now())) u"
                    " GROUP BY ROLLUP (name) ORDER BY grouping(name), %s", usage_by_sql(by), by == USAGE_BY_DAY ? "name" : "sum(cost_micros) DESC, name");
    return admin_query(pg, "cannot read the usage", r, sql, 2, params);
}

int admin_usage(const char *conninfo, const char *tenant, const char *from, const char *to, const char *group)
{
    usage_by_t by = group_of(group != NULL ? group : "model");
    char       id[UUID_LEN + 1];
    PGconn    *pg;
    PGresult  *r;
    int        rc;

    if (by == USAGE_GROUPS) {
        admin_say("no such group, expected one of model, agent, user, key, day", group);
        return SI_EINVAL;
    }
    rc = admin_open(conninfo, &pg);
    rc = rc ? rc : admin_see(pg, tenant, id);
    rc = rc ? rc : admin_run(pg, "cannot read the usage", "SET LOCAL si.usage_all = 'on'");
    rc = rc ? rc : query(pg, by, from, to, &r);
    if (rc == 0) {
        print_usage(r, usage_by_name(by));
        PQclear(r);
    }
    PQfinish(pg);
    return rc;
}
