/* Private to store/admin_*.c: the blocking connection of the command line. Errors are said in one line on stderr. */
#ifndef SI_STORE_ADMIN_DB_H
#define SI_STORE_ADMIN_DB_H

#include <libpq-fe.h>

#include "store/admin.h"

/* "sictl: what: first line of text". */
void admin_say(const char *what, const char *text);
/* Says what libpq says; SI_EUNAVAIL when the connection is lost, else SI_EINTERNAL. */
int  admin_fail(PGconn *pg, const char *what);
/* The caller closes *out, also after an error. A statement that waits for a lock gives up after a minute. 0 or SI_E*. */
int  admin_open(const char *conninfo, PGconn **out);
/* Runs SQL that returns nothing (one or many statements). 0 or SI_E*: SI_EAGAIN when a lock did not come in time, or two wait for each other. */
int  admin_run(PGconn *pg, const char *what, const char *sql);
/* One statement with up to 8 parameters; *r is NULL on error and cleared by the caller otherwise. 0 or SI_E*. */
int  admin_query(PGconn *pg, const char *what, PGresult **r, const char *sql, int n, const char *const *params);

/* admin_keys.c. Begins a transaction that sees what the tenant of this name has, which must be there; its id. 0 or SI_E* (said). */
int  admin_see(PGconn *pg, const char *tenant, char id[UUID_LEN + 1]);
/* --expires: a duration from now, or a time. Its text for timestamptz; Postgres reads it. 0 or SI_E* (said). */
int  admin_expiry(PGconn *pg, const char *text, char out[64]);

#endif
