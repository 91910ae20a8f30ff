#include "api/identity.h"
#include "api/problem.h"
#include "api/routes.h"
#include "base/util.h"
#include "link/frame.h"
#include "store/key.h"
#include "store/revoked.h"
#include "store/verdict.h"

/*
 * A browser's WebSocket can send no Authorization header, but names of subprotocols: "si, si.bearer.<key>". A key is not sent
 * by the browser itself, so a foreign page cannot use it and Origin need not be looked at, as the edge does for a cookie.
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

/* The key of the Authorization header, of X-Api-Key (Anthropic's clients), or of a subprotocol. STR_NULL: answered. */
static str_t co_key(call_t *call)
{
    str_t h = call_header(call, "authorization"), key = h.n ? STR_NULL : call_header(call, "x-api-key");

    key = h.n || key.n ? key : subprotocol_key(call);

    if (key.n) {
        return key;
    }
    if (h.n == 0) {
        co_problem(call, 401, "unauthorized", NULL, "send Authorization: Bearer sk_si_…");
    } else if (h.n < 8 || strncasecmp(h.p, "Bearer ", 7) != 0) {
        co_problem(call, 401, "unauthorized", NULL, "the Authorization header holds no bearer key");
    } else {
        key = (str_t) { h.p + 7, h.n - 7 };
    }
    return key;
}

/* The token that the edge has verified was not revoked: nginx may not have heard of it yet. */
static bool co_check_marks(call_t *call)
{
    si_marks_t marks;
    int        rc;

    if (call->marks == NULL) {
        return true;
    }
    si_marks_get(call->marks, &marks);
    rc = co_revoked(&marks);
    if (rc == SI_EDENIED) {
        co_problem(call, 401, "invalid_token", NULL, "the token was revoked");
    } else if (rc) {
        co_problem_rc(call, rc);
    }
    return rc == 0;
}

/* By a token that the edge has verified. */
static bool co_authenticate_token(request_t *r)
{
    call_t *call = r->call;
    int     rc;

    if (!co_check_marks(call)) {
        return false;
    }
    rc = co_identity(call->arena, call->org, call->issuer, call->subject, &r->who);

    if (rc == SI_ENOENT) {
        co_problem(call, 403, "unknown_tenant", NULL, "the tenant that the token names is not known here");
    } else if (rc == SI_EDENIED) {
        co_problem(call, 403, "user_disabled", NULL, "the user that the token names may not call");
    } else if (rc) {
        co_problem_rc(call, rc);
    }
    r->who.scopes = arena_printf(call->arena, "%.*s", STR_ARG(call->scopes));
    r->who.expires = call->until;
    return rc == 0;
}

/* For nginx to keep, if it is newer than `after`. */
static void tell(call_t *call, const char *hash, uint64_t after)
{
    uint8_t bytes[SI_VERDICT_MAX];
    size_t  n = verdict_put(hash, after, bytes);

    if (n > 0) {
        call_push(call, SI_PUSH_VERDICT, bytes, n);
    }
}

/* By "Authorization: Bearer sk_si_…", or what nginx keeps of that key. What is no key by its checksum is refused without asking anybody. */
static bool co_authenticate_key(request_t *r)
{
    call_t      *call = r->call;
    si_verdict_t kept = { 0 };
    char         hash[65];
    int          rc;

    if (si_verdict_get((const uint8_t *) call->verdict.p, call->verdict.n, &kept)) {
        hex_encode(hash, kept.digest, SHA256_LEN);
    } else {
        str_t key = co_key(call);
        if (!key.n) {
            return false;
        }
        if (!key_valid(key)) {
            co_problem(call, 401, "unauthorized", NULL, "this is no API key; it may have been cut or mistyped");
            return false;
        }
        key_hash(key, hash);
    }
    rc = co_verdict(call->arena, hash, call->verdict.n ? &kept : NULL, &r->who);
    tell(call, hash, kept.at);
    if (rc == SI_EDENIED) {
        co_problem(call, 401, "unauthorized", NULL, "the key is unknown, expired or revoked");
    } else if (rc) {
        co_problem_rc(call, rc);
    }
    return rc == 0;
}

static bool co_authenticate_any(request_t *r)
{
    if (r->call->ticket.n) {            /* the edge has looked at no other credential then, so none counts here */
        return co_authenticate_ticket(r);
    }
    return r->call->subject.n ? co_authenticate_token(r) : co_authenticate_key(r);
}

/* Who is calling. An outage of the store is never a 401. */
bool co_authenticate(request_t *r)
{
    if (!co_authenticate_any(r)) {
        return false;
    }
    r->call->tenant = r->who.tenant;
    r->call->user = r->who.user;
    r->call->credential = r->who.key_id[0] ? r->who.key_id : NULL;
    r->call->until = r->who.expires;
    return true;
}
