#include "api/problem.h"
#include "api/routes.h"
#include "base/util.h"

#define KEY_MAX  256

/* Who is calling, by "Authorization: Bearer sk_si_…". An outage of the store is never a 401. */
bool co_authenticate(request_t *r)
{
    call_t *call = r->call;
    str_t   h = call_header(call, "authorization");
    uint8_t digest[SHA256_LEN];
    char    hex[2 * SHA256_LEN + 1];
    int     rc;

    if (h.n == 0) {
        co_problem(call, 401, "unauthorized", NULL, "send Authorization: Bearer sk_si_…");
        return false;
    }
    if (h.n < 8 || h.n > KEY_MAX || strncasecmp(h.p, "Bearer ", 7) != 0) {
        co_problem(call, 401, "unauthorized", NULL, "the Authorization header holds no bearer key");
        return false;
    }
    sha256(digest, h.p + 7, h.n - 7);
    hex_encode(hex, digest, sizeof(digest));
    rc = co_store_key(call->arena, hex, &r->who);
    if (rc == SI_EDENIED || rc == SI_ENOENT) {
        co_problem(call, 401, "unauthorized", NULL, "the key is unknown, expired or revoked");
        return false;
    }
    if (rc) {
        co_problem_rc(call, rc);
        return false;
    }
    call->tenant = r->who.tenant;
    call->user = r->who.user;
    return true;
}
