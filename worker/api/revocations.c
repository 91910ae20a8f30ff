/* /v1/revocations: tokens of the tenant's issuers end before their time, until that is taken back. */
#include "api/input.h"
#include "api/problem.h"
#include "api/socket.h"
#include "base/buf.h"
#include "base/util.h"
#include "run/co.h"
#include "store/key.h"
#include "store/revoked.h"
#include "turn/bus.h"

#define BODY_MAX    8192
#define LIST_MAX    (512u << 10)        /* 100 of them: each less than 4 KiB, also when all is escaped */
#define DIGEST_LEN  (2 * SHA256_LEN)

static bool is_digest(str_t s)
{
    return s.n == DIGEST_LEN && strspn(s.p, "0123456789abcdef") == DIGEST_LEN;
}

/* Exactly one of the three. 0 or -1: answered. */
static int co_what(request_t *r, const json_t *o, revoke_t *t)
{
    static const char *const kinds[] = { "jti", "subject", "digest" };

    for (size_t i = 0; i < SI_COUNT(kinds); i++) {
        str_t text;
        if (co_input_string(r, o, kinds[i], false, REVOKED_VALUE_MAX, &text)) {
            return -1;
        }
        if (!text.p) {
            continue;
        }
        if (t->kind || !text.n) {
            co_problem(r->call, 422, "invalid_field", kinds[i], t->kind ? "name one of jti, subject and digest" : "must not be empty");
            return -1;
        }
        t->kind = kinds[i];
        t->value = text.p;
    }
    if (!t->kind) {
        co_problem(r->call, 422, "invalid_field", "jti", "one of jti, subject and digest must be there");
        return -1;
    }
    if (strcmp(t->kind, "digest") == 0 && !is_digest(str_of(t->value))) {
        co_problem(r->call, 422, "invalid_field", "digest", "must be the SHA-256 of the token, 64 lower-case hexadecimal digits");
        return -1;
    }
    return 0;
}

static int co_issuer(request_t *r, const json_t *o, revoke_t *t)
{
    bool  digest = strcmp(t->kind, "digest") == 0;
    str_t issuer;

    if (co_input_string(r, o, "issuer", !digest, REVOKED_ISSUER_MAX, &issuer)) {
        return -1;
    }
    if (digest ? issuer.p != NULL : issuer.n == 0) {
        co_problem(r->call, 422, "invalid_field", "issuer", digest ? "does not go with a digest" : "must not be empty");
        return -1;
    }
    t->issuer = digest ? "" : issuer.p;
    return 0;
}

/* 0 or -1: answered. */
static int co_read(request_t *r, revoke_t *t)
{
    static const char *const names[] = { "issuer", "jti", "subject", "digest", "expires", NULL };
    uint64_t latest = clock_wall_ms() + REVOKED_MAX_MS;
    str_t    text;
    json_t  *o = co_input_object(r, BODY_MAX, false, names, &text);

    if (!o || co_what(r, o, t) || co_issuer(r, o, t) || co_input_time(r, o, "expires", &t->expires)) {
        return -1;
    }
    t->expires = t->expires ? SI_MIN(t->expires, latest) : latest;
    return 0;
}

static bool co_admin(request_t *r)
{
    if (scope_has(r->who.scopes, "admin")) {
        return true;
    }
    co_problem(r->call, 403, "forbidden", NULL, "the caller needs the scope admin");
    return false;
}

static void put_row(buf_t *b, const void *item)
{
    const revoke_row_t *row = item;

    buf_printf(b, "{\"id\":\"%s\",\"%s\":", row->id, row->kind);
    buf_json_str(b, str_of(row->value));
    if (row->issuer[0]) {
        buf_puts(b, ",\"issuer\":");
        buf_json_str(b, str_of(row->issuer));
    }
    buf_printf(b, ",\"created\":\"%s\",\"expires\":\"%s\"}", row->created, row->expires);
}

void co_revocation_create(request_t *r)
{
    const char  *headers[][2] = { { "Location", NULL } };
    revoke_t     t = { 0 };
    revoke_row_t row;
    buf_t        b;
    int          rc;

    if (!co_admin(r) || co_read(r, &t)) {
        return;
    }
    co_mask(true);                              /* what is revoked is told */
    rc = co_store_revoke(r->call->arena, &r->who, &t, &row);
    co_mask(false);
    if (rc == SI_ENOMEM) {
        co_problem(r->call, 409, "too_many_revocations", NULL, "%s revocations of this tenant count already", REVOKED_TENANT_MAX);
    } else if (rc) {
        co_problem_rc(r->call, rc);
    } else {
        revoked_heard(str_of(row.marks), row.before, row.until);
        bus_token_gone(r->who.tenant, r->who.user, str_of(row.marks), row.before, row.until);
        headers[0][1] = arena_printf(r->call->arena, "/v1/revocations/%s", row.id);
        buf_init(&b, LIST_MAX);
        put_row(&b, &row);
        co_json(r->call, 201, (str_t) { b.p, b.n }, 1, headers);
        buf_free(&b);
    }
}

void co_revocation_list(request_t *r)
{
    revoke_row_t *list = NULL;
    const char   *cursor, *next = NULL;
    size_t        n = 0;
    int           limit, rc;

    if (!co_admin(r) || co_input_page(r, &limit, &cursor)) {
        return;
    }
    rc = co_store_revocations(r->call->arena, &r->who, cursor, limit, &list, &n, &next);
    co_put_page(r, rc, &(page_t) { list, n, sizeof(*list), put_row, LIST_MAX, next });
}

void co_revocation_delete(request_t *r)
{
    call_head_t head = { .status = 204, .length = 0 };
    const char *marks;
    int         rc;

    if (!co_admin(r)) {
        return;
    }
    co_mask(true);                              /* what is taken back is told */
    rc = co_store_restore(r->call->arena, &r->who, r->id, &marks);
    co_mask(false);
    if (rc) {
        co_problem_rc(r->call, rc);
        return;
    }
    revoked_heard(str_of(marks), 0, 0);
    bus_token_gone(r->who.tenant, r->who.user, str_of(marks), 0, 0);
    call_head(r->call, &head);
    call_end(r->call);
}
