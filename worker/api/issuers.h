/*
 * The key sets of the issuers of tokens (issuers in si.yaml), fetched here and pushed to the edges, which verify the tokens.
 *
 * A set is fetched at the start unless one was kept that still is good, again when four fifths of its age are over
 * (Cache-Control max-age, RFC 9111 section 5.2.2.1; auth.keys_min to auth.keys_max), and when an edge meets a token whose key
 * it does not have; never sooner after the last try than auth.keys_min, whatever became of that. The workers of a machine do
 * this together: one of them asks (store/keyset.h), the others read what it kept. A set that cannot be used is refused whole,
 * and the one before stays, however old.
 *
 * Each of the two requests (discovery, keys) has 10 s and 60 KiB. Redirects are not followed; what the discovery document names
 * is taken only if it names the issuer that was asked (OpenID Connect Discovery 1.0, 4.3), and no plain HTTP from HTTPS.
 */
#ifndef SI_ISSUERS_H
#define SI_ISSUERS_H

#include "base/base.h"

/* Sets proc.issuers and the hooks of the links; begins. After links_init(). */
void issuers_init(void);

typedef struct {
    size_t   known;             /* issuers whose keys are known */
    uint64_t fetched, failed;   /* sets that this worker got, and tries that were in vain */
} issuers_count_t;

issuers_count_t issuers_count(void);

#endif
