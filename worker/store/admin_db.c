#include "store/admin_db.h"

#include <stdio.h>

void admin_say(const char *what, const char *text)
{
    fprintf(stderr, "sictl: %s: %.*s\n", what, (int) strcspn(text, "\n"), text);
}

int admin_fail(PGconn *pg, const char *what)
{
    admin_say(what, PQerrorMessage(pg));
    return PQstatus(pg) == CONNECTION_OK ? SI_EINTERNAL : SI_EUNAVAIL;
}

static void ignore_notice(void *arg, const PGresult *r)
{
    (void) arg;
    (void) r;
}

int admin_open(const char *conninfo, PGconn **out)
{
    const char *names[] = { "connect_timeout", "application_name", "dbname", NULL };
    const char *values[] = { "10", "sictl", conninfo, NULL };
    PGconn     *pg = PQconnectdbParams(names, values, 1);
    PGresult   *r;
    bool        good;

    *out = pg;
    if (PQstatus(pg) != CONNECTION_OK) {
        return admin_fail(pg, "cannot connect to the database");
    }
    PQsetNoticeReceiver(pg, ignore_notice, NULL);
    r = PQexec(pg, "SET lock_timeout = '60s'; SET statement_timeout = '10min'");
    good = PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return good ? 0 : admin_fail(pg, "cannot set up the connection");
}

/* Error class: https://www.postgresql.org/docs/15/errcodes-appendix.html */
static int fail_query(PGconn *pg, const char *what, const PGresult *r)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    bool        busy = state != NULL && (strcmp(state, "55P03") == 0 || strcmp(state, "40P01") == 0);
    int         rc = admin_fail(pg, what);

    return busy ? SI_EAGAIN : rc;
}

int admin_run(PGconn *pg, const char *what, const char *sql)
{
    PGresult      *r = PQexec(pg, sql);
    ExecStatusType s = PQresultStatus(r);
    int            rc = s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK ? 0 : fail_query(pg, what, r);

    PQclear(r);
    return rc;
}

int admin_query(PGconn *pg, const char *what, PGresult **r, const char *sql, int n, const char *const *params)
{
    ExecStatusType s;
    int            rc;

    *r = PQexecParams(pg, sql, n, NULL, params, NULL, NULL, 0);
    s = PQresultStatus(*r);
    if (s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK) {
        return 0;
    }
    rc = fail_query(pg, what, *r);
    PQclear(*r);
    *r = NULL;
    return rc;
}
