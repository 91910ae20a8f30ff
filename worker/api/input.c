#include "api/input.h"

#include "api/problem.h"
#include "base/util.h"

#define BODY_MS  60000

static bool known(const char *const *names, const char *name)
{
    for (; *names; names++) {
        if (strcmp(*names, name) == 0) {
            return true;
        }
    }
    return false;
}

/* application/json, with or without parameters; no type at all is taken for it. */
static bool is_json(str_t type)
{
    static const str_t want = { "application/json", 16 };

    return type.n == 0 || (type.n >= want.n && strncasecmp(type.p, want.p, want.n) == 0
                           && (type.n == want.n || type.p[want.n] == ';' || type.p[want.n] == ' ' || type.p[want.n] == '\t'));
}

int co_input_body(request_t *r, size_t max, str_t *text)
{
    str_t type = call_header(r->call, "content-type");
    int   rc = co_call_body(r->call, max, text, clock_ms() + BODY_MS);

    if (rc == SI_ENOMEM) {
        co_problem(r->call, 413, "body_too_large", NULL, "the body may have %zu bytes", max);
    } else if (rc) {
        co_problem_rc(r->call, rc);
    } else if (text->n && !is_json(type)) {
        co_problem(r->call, 415, "unsupported_media_type", NULL, "send application/json");
        rc = SI_EINVAL;
    }
    return rc;
}

int co_input_members(request_t *r, json_t *o, const char *const *names)
{
    void *it;

    for (it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        const char *name = json_object_iter_key(it);

        if (!known(names, name)) {
            char shown[65] = "";

            memcpy(shown, name, utf8_cut(name, SI_MIN(strlen(name), sizeof(shown) - 1)));
            co_problem(r->call, 422, "invalid_field", shown, "unknown field");
            return -1;
        }
    }
    return 0;
}

json_t *co_input_object(request_t *r, size_t max, bool optional, const char *const *names, str_t *text)
{
    const char *err = NULL;
    json_t     *o;

    if (co_input_body(r, max, text)) {
        return NULL;
    }
    o = json_own(r->call->arena, text->n == 0 && optional ? json_object() : json_parse(r->call->arena, *text, &err));
    if (!o) {
        co_problem(r->call, 400, "invalid_json", NULL, "the body is not JSON: %s", err);
        return NULL;
    }
    if (!json_is_object(o)) {
        co_problem(r->call, 422, "invalid_field", NULL, "the body must be a JSON object");
        return NULL;
    }
    return co_input_members(r, o, names) ? NULL : o;
}

int co_input_string(request_t *r, const json_t *o, const char *name, bool required, size_t max, str_t *out)
{
    const json_t *v = json_object_get(o, name);

    *out = STR_NULL;
    if (!v || json_is_null(v)) {
        if (!required) {
            return 0;
        }
        co_problem(r->call, 422, "invalid_field", name, "is required");
        return -1;
    }
    if (!json_is_string(v)) {
        co_problem(r->call, 422, "invalid_field", name, "must be a string");
        return -1;
    }
    *out = (str_t) { json_string_value(v), json_string_length(v) };
    if (out->n == 0 && required) {
        co_problem(r->call, 422, "invalid_field", name, "must not be empty");
        return -1;
    }
    if (out->n > max) {
        co_problem(r->call, 422, "invalid_field", name, "may have %zu bytes", max);
        return -1;
    }
    return 0;
}

int co_input_page(request_t *r, int *limit, const char **cursor)
{
    char     text[256];
    uint64_t n = 50;
    int      rc = query_arg(r->call->query, "limit", text, sizeof(text));

    if (rc >= 0 && (parse_u64(str_of(text), &n) || n < 1 || n > 100)) {
        rc = SI_EINVAL;
    }
    if (rc == SI_EINVAL) {
        co_problem(r->call, 422, "invalid_field", "limit", "must be a whole number from 1 to 100");
        return -1;
    }
    *limit = (int) n;
    rc = query_arg(r->call->query, "cursor", text, sizeof(text));
    if (rc == SI_EINVAL) {
        co_problem(r->call, 400, "invalid_cursor", "cursor", "is not a cursor that a list gave out");
        return -1;
    }
    *cursor = rc > 0 ? arena_strdup(r->call->arena, text) : NULL;
    return 0;
}

void co_put_page(request_t *r, int rc, const page_t *p)
{
    buf_t b;

    if (rc == SI_EINVAL) {
        co_problem(r->call, 400, "invalid_cursor", "cursor", "is not a cursor that this list gave out");
        return;
    }
    if (rc) {
        co_problem_rc(r->call, rc);
        return;
    }
    buf_init(&b, p->max);
    buf_puts(&b, "{\"data\":[");
    for (size_t i = 0; i < p->n; i++) {
        buf_puts(&b, i ? "," : "");
        p->put(&b, (const char *) p->rows + i * p->size);
    }
    buf_puts(&b, "],\"next\":");
    if (p->next) {
        buf_json_str(&b, str_of(p->next));
    } else {
        buf_puts(&b, "null");
    }
    buf_puts(&b, "}");
    co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
    buf_free(&b);
}

int co_input_idempotency(request_t *r, const char **out)
{
    str_t h = call_header(r->call, "idempotency-key");
    bool  bad = h.n > 255;

    *out = NULL;
    for (size_t i = 0; i < h.n && !bad; i++) {
        bad = h.p[i] < 0x20 || h.p[i] > 0x7e;
    }
    if (bad) {
        co_problem(r->call, 422, "invalid_field", "Idempotency-Key", "may have 255 printable ASCII characters");
        return -1;
    }
    if (h.n) {
        *out = arena_printf(r->call->arena, "key:%.*s", STR_ARG(h));
    } else if (r->call->key.n) {        /* the edge may send a call twice when a worker dies */
        *out = arena_printf(r->call->arena, "edge:%.*s", STR_ARG(r->call->key));
    }
    return 0;
}

const char *input_hash(request_t *r, str_t body)
{
    char   *text = arena_printf(r->call->arena, "%.*s\n%.*s\n%.*s", STR_ARG(r->call->method), STR_ARG(r->call->path),
                                STR_ARG(body));
    uint8_t digest[SHA256_LEN];
    char    hex[2 * SHA256_LEN + 1];

    sha256(digest, text, strlen(text));
    hex_encode(hex, digest, sizeof(digest));
    return arena_strdup(r->call->arena, hex);
}
