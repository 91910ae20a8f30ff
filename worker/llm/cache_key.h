/* What makes two requests the same one. No I/O. */
#ifndef SI_CACHE_KEY_H
#define SI_CACHE_KEY_H

#include "base/util.h"
#include "llm/filter.h"

/*
 * SHA-256 over all that an answer depends on, in one form: the tenant, the model with where it is and its options, every member
 * of the request (not who its end user is), the filters by what they do. f may be NULL.
 */
void cache_key(uint8_t out[SHA256_LEN], const char *tenant, const conf_model_t *m, const llm_request_t *q, const filter_call_t *f);

#endif
