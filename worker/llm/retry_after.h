/* How long a provider asks to be left alone: in its headers, or in Google's words in the body. No I/O, no clock of its own. */
#ifndef SI_RETRY_AFTER_H
#define SI_RETRY_AFTER_H

#include "base/base.h"

#define RETRY_AFTER_MAX  (24 * 3600 * 1000ull)      /* ms; more is taken for that */

/* Value of a response header, or NULL. */
typedef const char *(*retry_header_fn)(void *arg, const char *name);

/*
 * Milliseconds, at least 1; 0: it does not say. In this order: retry-after-ms; Retry-After (RFC 9110: seconds or a date,
 * also with a fraction); and for a 429 x-ratelimit-reset-requests, -tokens and x-ratelimit-reset, of which those count whose
 * x-ratelimit-remaining is 0 (the longest), else the shortest. now: milliseconds since 1970.
 */
uint64_t retry_after(retry_header_fn header, void *arg, int status, uint64_t now);
/* "1.5s", "6m0s", "1h2m", "250ms", "12" (seconds), seconds or milliseconds since 1970, a date of RFC 9110 or RFC 3339; 0: none of these. */
uint64_t retry_after_value(const char *text, uint64_t now);
/* google.rpc.RetryInfo among error.details of the body: {"@type": "…RetryInfo", "retryDelay": "34.4s"}; 0: there is none. */
uint64_t retry_after_body(str_t body);

#endif
