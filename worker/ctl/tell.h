/* What a tool says to the workers that run. */
#ifndef SI_TELL_H
#define SI_TELL_H

#include "store/admin.h"

/* Tells all workers, through Redis, that a key was revoked. Waits 5 s at most. 0 or SI_E*. */
int tell_key_gone(const char *redis_url, const admin_gone_t *gone);

#endif
