#include "api/problem.h"
#include "api/routes.h"
#include "base/util.h"

#define KEY_MAX  256

/*
 * A browser's WebSocket can send no Authorization header, but names of subprotocols: "si, si.bearer.<key>". A key is not sent
 * by the browser itself, so a foreign page cannot use it and Origin need not be looked at; a cookie will need that.
 */
static str_t subprotocol_key(call_t *call)
{
    static const char mark[] = "si.bearer.";
    str_t             list = call_header(call, "sec-websocket-protocol");
    const char       *at = list.n ? memmem(list.p, list.n, mark, sizeof(mark) - 1) : NULL;
    str_t             key = { at ? at + sizeof(mark) - 1 : NULL, 0 };

    while (key.p && key.p + key.n < list.p + list.n && !strchr(", \t", key.p[key.n])) {
        key.n++;
    }
    return key;
}

/* Who is calling, by "Authorization: Bearer sk_si_…". An outage of the store is never a 401. */
bool co_authenticate(request_t *r)
{
    call_t *call = r->call;
    str_t   h = call_header(call, "authorization"), key = h.n ? STR_NULL : subprotocol_key(call);
    uint8_t digest[SHA256_LEN];
    char    hex[2 * SHA256_LEN + 1];
    int     rc;

    if (key.n) {
        h = str_of(arena_printf(call->arena, "Bearer %.*s", STR_ARG(key)));
    }
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
