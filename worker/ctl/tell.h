/* What a tool says to the workers that run. */
#ifndef SI_TELL_H
#define SI_TELL_H

#include "store/admin.h"

/* Tells all workers, through Redis, that a key was revoked, or tokens were. Waits 5 s at most. 0 or SI_E*. */
int tell_key_gone(const char *redis_url, const admin_gone_t *gone);
int tell_tokens_gone(const char *redis_url, const admin_tokens_t *gone);

#endif
