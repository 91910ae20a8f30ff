/* Blocking tools of the command line (no loop): migrate, create keys. They print to stdout and say errors in one line on stderr. */
#ifndef SI_STORE_ADMIN_H
#define SI_STORE_ADMIN_H

#include "base/base.h"

/*
 * Brings the database to the newest schema: each migration in one transaction, under an advisory lock, recorded with its
 * SHA-256 in si_migration; a recorded one whose text has changed is an error. Grants the role `worker_role` what it needs
 * (it owns nothing). 0 or SI_E*.
 */
int admin_migrate(const char *conninfo, const char *worker_role);
/* Finds or creates tenant and user by name and prints a new API key (store/key.h) alone on a line; only its SHA-256 is kept. scopes: "" or "admin". 0 or SI_E*. */
int admin_create_key(const char *conninfo, const char *tenant, const char *user, const char *scopes);

#endif
