/* This worker's lease, and the sweep that finds turns whose worker is gone. */
#ifndef SI_LEASE_H
#define SI_LEASE_H

#include "base/base.h"

/* Registers this worker; buries `died` ("<slot>.<pid>" of this machine) if given. Tries until Postgres answers; ends the process when a dead worker had its name. 0 or SI_ECANCELED. */
int  co_lease_begin(const char *died);
/* Renews the lease and sweeps from now on. */
void lease_keep(void);
/* Leaves: takes the lease back so that nobody waits for it to lapse. Blocks its coroutine for 2 s at most. */
void co_lease_end(void);

#endif
