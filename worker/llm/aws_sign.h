/* Requests to Amazon's services: where they go, and their signature. */
#ifndef SI_AWS_SIGN_H
#define SI_AWS_SIGN_H

#include "llm/format.h"

/* The provider's base_url, or that of the environment variable `env`, or https://<host>.<region>.amazonaws.com; no slash at the end. */
const char *aws_base_url(arena_t *a, const conf_provider_t *p, const char *env, const char *host);
/*
 * Signs what is in `out`, whose URL is a base_url and a path without a query, with the keys of the configuration or of the
 * process (io/aws_creds.h), or puts the provider's api_key in as a bearer token. May wait. 0, or SI_E* with *err.
 */
int co_aws_sign(arena_t *a, const conf_provider_t *p, const char *service, uint64_t deadline, format_request_t *out, llm_error_t *err);

#endif
