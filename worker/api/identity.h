/*
 * Who (tenant, issuer, subject) of a verified token is here, remembered for auth.cache so that the common call asks no database:
 * a user or tenant that is disabled may call for as long. While Postgres does not answer, who was known goes on for
 * auth.grace more, as with keys (store/verdict.h).
 */
#ifndef SI_IDENTITY_H
#define SI_IDENTITY_H

#include "store/store.h"

#define IDENTITY_MAX  4096      /* remembered; the oldest goes */

/* Sets proc.identities. */
void identities_init(void);
/* As co_store_identity(); out's texts are in the arena. The same caller in two calls at once may be looked up twice. */
int  co_identity(arena_t *a, str_t tenant, str_t issuer, str_t subject, identity_t *out);

#endif
