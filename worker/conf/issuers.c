/* Issuers of tokens: what the table of keys does not say. */
#include <ctype.h>

#include "conf/conf.h"
#include "conf/keys.h"

#define NAME_MAX_BYTES  63      /* SI_KEYS_NAME of link/frame.h; the name of a file, too */

static bool word(const char *z)
{
    size_t n = 0;

    for ( ; z && z[n]; n++) {
        if (!isalnum((unsigned char) z[n]) && z[n] != '_' && z[n] != '-') {
            return false;
        }
    }
    return n > 0 && n <= NAME_MAX_BYTES;
}

/* Where a user pool has its keys: "Verifying JSON web tokens" in Amazon's developer guide of Cognito. */
char *conf_cognito(arena_t *a)
{
    const char *pool = getenv("COGNITO_USER_POOL_ID"), *region = getenv("AWS_REGION");

    if (!word(pool) || !word(region)) {
        return NULL;
    }
    return arena_printf(a, "issuers: { cognito: { issuer: \"https://cognito-idp.%s.amazonaws.com/%s\","
                        " jwks_url: \"https://cognito-idp.%s.amazonaws.com/%s/.well-known/jwks.json\" } }\n", region, pool, region, pool);
}

const char *conf_issuer_wrong(const conf_t *c, size_t i)
{
    return word(c->issuers[i].name) ? NULL : "expected a name of at most 63 letters, digits, _ and -";
}
