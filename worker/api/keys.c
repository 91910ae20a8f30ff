/* /v1/keys: the API keys of a tenant's users. */
#include "api/input.h"
#include "api/problem.h"
#include "api/socket.h"
#include "base/buf.h"
#include "base/util.h"
#include "link/frame.h"
#include "link/link.h"
#include "run/co.h"
#include "store/key.h"
#include "turn/bus.h"

#define BODY_MAX  8192
#define NAME_BYTES  200         /* bytes */
#define AMOUNT_MAX  1000000000000000ll   /* CONF_DOLLARS_MAX */
#define LIST_MAX  (1u << 20)    /* 100 keys: each less than 2 KiB, also when all is escaped */

static bool admin(const request_t *r)
{
    return scope_has(r->who.scopes, "admin");
}

static void put_time(buf_t *b, const char *name, const char *value)
{
    buf_printf(b, value[0] ? ",\"%s\":\"%s\"" : ",\"%s\":null", name, value);
}

/* `key` is the key itself, or NULL. */
static void put_key(buf_t *b, const key_row_t *k, const char *key)
{
    buf_printf(b, "{\"id\":\"%s\",\"name\":", k->id);
    buf_json_str(b, str_of(k->name));
    buf_puts(b, ",\"user\":");
    buf_json_str(b, str_of(k->user));
    buf_puts(b, ",\"hint\":");
    buf_json_str(b, str_of(k->hint));
    buf_printf(b, ",\"scopes\":[%s],\"created\":\"%s\"", scope_has(k->scopes, "admin") ? "\"admin\"" : "", k->created);
    buf_printf(b, ",\"budget\":{\"micro_dollars\":%lld,\"calls\":%lld,\"period\":\"%s\"},\"rate\":{\"requests\":%lld,\"tokens\":%lld}",
               (long long) k->own.dollars, (long long) k->own.calls, k->own.period, (long long) k->own.requests, (long long) k->own.tokens);
    put_time(b, "expires", k->expires);
    put_time(b, "revoked", k->revoked);
    if (key) {
        buf_printf(b, ",\"key\":\"%s\"", key);
    }
    buf_puts(b, "}");
}

/* "scopes": a list of known words. 0 or -1: answered. */
static int co_scopes(request_t *r, const json_t *o, const char **out)
{
    const json_t *list = json_object_get(o, "scopes");
    const json_t *one;
    size_t        i;

    *out = "";
    if (list && !json_is_null(list) && !json_is_array(list)) {
        co_problem(r->call, 422, "invalid_field", "scopes", "must be a list");
        return -1;
    }
    json_array_foreach(list, i, one) {
        if (!json_is_string(one) || strcmp(json_string_value(one), "admin") != 0) {
            co_problem(r->call, 422, "invalid_field", "scopes", "may hold \"admin\" and nothing else");
            return -1;
        }
        *out = "admin";
    }
    return 0;
}

/* A whole number of an object in the body, 0 when absent. 0 or -1: answered. */
static int co_amount(request_t *r, const json_t *o, const char *name, const char *field, int64_t *out)
{
    const json_t *v = json_object_get(o, name);

    if (v != NULL && !json_is_null(v) && (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > AMOUNT_MAX)) {
        co_problem(r->call, 422, "invalid_field", field, "must be a whole number from 0 to %lld", AMOUNT_MAX);
        return -1;
    }
    *out = json_integer_value(v);
    return 0;
}

/* A member that is an object with these members, or absent. 0 or -1: answered. */
static int co_part(request_t *r, const json_t *o, const char *name, const char *const *names, json_t **out)
{
    *out = json_object_get(o, name);
    if (*out == NULL || json_is_null(*out)) {
        *out = NULL;
        return 0;
    }
    if (!json_is_object(*out)) {
        co_problem(r->call, 422, "invalid_field", name, "must be an object");
        return -1;
    }
    return co_input_members(r, *out, names);
}

/* "budget" and "rate". 0 or -1: answered. */
static int co_own(request_t *r, const json_t *o, allowance_t *out)
{
    static const char *const budget[] = { "micro_dollars", "calls", "period", NULL }, *const rate[] = { "requests", "tokens", NULL };
    static const char *const periods[] = { "hour", "day", "month", "total" };
    json_t *b, *m;
    str_t   period = STR_NULL;

    if (co_part(r, o, "budget", budget, &b) || co_part(r, o, "rate", rate, &m)
        || co_amount(r, b, "micro_dollars", "budget.micro_dollars", &out->dollars) || co_amount(r, b, "calls", "budget.calls", &out->calls)
        || co_amount(r, m, "requests", "rate.requests", &out->requests) || co_amount(r, m, "tokens", "rate.tokens", &out->tokens)
        || (b != NULL && co_input_string(r, b, "period", false, 16, &period)))
    {
        return -1;
    }
    for (size_t i = 0; period.p != NULL && i < SI_COUNT(periods); i++) {
        out->period = str_is(period, periods[i]) ? periods[i] : out->period;
    }
    if (period.p != NULL && out->period == NULL) {
        co_problem(r->call, 422, "invalid_field", "budget.period", "must be hour, day, month or total");
        return -1;
    }
    return 0;
}

/* The body. 0 or -1: answered. */
static int co_read(request_t *r, key_new_t *k)
{
    static const char *const names[] = { "name", "user", "scopes", "expires", "budget", "rate", NULL };
    str_t   text, name, user;
    json_t *o;

    if (co_input_idempotency(r, &k->idem) || !(o = co_input_object(r, BODY_MAX, true, names, &text))
        || co_input_string(r, o, "name", false, NAME_BYTES, &name) || co_input_string(r, o, "user", false, NAME_BYTES, &user)
        || co_scopes(r, o, &k->scopes) || co_input_time(r, o, "expires", &k->expires) || co_own(r, o, &k->own))
    {
        return -1;
    }
    if (user.p && !user.n) {
        co_problem(r->call, 422, "invalid_field", "user", "must not be empty");
        return -1;
    }
    k->name = name.n ? name.p : "";
    k->user = user.n ? user.p : NULL;
    k->request_hash = input_hash(r, text);
    return 0;
}

void co_key_create(request_t *r)
{
    char        key[KEY_LEN + 1], hash[65], hint[KEY_HINT + 1], id[UUID_LEN + 1];
    key_new_t   k = { .id = id, .hash = hash, .hint = hint };
    key_row_t   row;
    const char *headers[][2] = { { "Location", NULL } };
    buf_t       b;
    int         rc;

    if (!admin(r)) {
        co_problem(r->call, 403, "forbidden", NULL, "the key needs the scope admin");
        return;
    }
    if (co_read(r, &k)) {
        return;
    }
    uuid_new(id);
    key_new(key);
    key_hash(str_of(key), hash);
    key_hint(key, hint);
    co_mask(true);
    rc = co_store_key_new(r->call->arena, &r->who, &k, &row);
    co_mask(false);
    if (rc == SI_EEXIST) {
        co_problem(r->call, 409, "key_made", "Idempotency-Key", "made a key already, which is not shown again: revoke it, and make another");
    } else if (rc) {
        co_problem_rc(r->call, rc);
    } else {
        headers[0][1] = arena_printf(r->call->arena, "/v1/keys/%s", id);
        buf_init(&b, LIST_MAX);
        put_key(&b, &row, key);
        co_json(r->call, 201, (str_t) { b.p, b.n }, 1, headers);
        buf_free(&b);
    }
}

static void put_listed(buf_t *b, const void *row)
{
    put_key(b, row, NULL);
}

void co_key_list(request_t *r)
{
    key_row_t  *list = NULL;
    const char *cursor, *next = NULL;
    size_t      n = 0;
    int         limit, rc;

    if (co_input_page(r, &limit, &cursor)) {
        return;
    }
    rc = co_store_keys(r->call->arena, &r->who, admin(r), cursor, limit, &list, &n, &next);
    co_put_page(r, rc, &(page_t) { list, n, sizeof(*list), put_listed, LIST_MAX, next });
}

void key_gone(const char *id)
{
    sockets_key_gone(id);
    links_push(NULL, SI_PUSH_REVOKED, id, strlen(id));
}

void co_key_revoke(request_t *r)
{
    call_head_t head = { .status = 204, .length = 0 };
    const char *hash;
    int         rc;

    co_mask(true);                              /* what is revoked is told */
    rc = co_store_key_revoke(r->call->arena, &r->who, admin(r), r->id, &hash);
    co_mask(false);
    if (rc) {
        co_problem_rc(r->call, rc);
        return;
    }
    key_gone(r->id);
    bus_key_gone(r->who.tenant, r->who.user, r->id, str_of(hash));
    call_head(r->call, &head);
    call_end(r->call);
}
