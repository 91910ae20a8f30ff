#include "api/routes.h"

#include <stdio.h>

#include "api/call_span.h"
#include "api/face.h"
#include "api/problem.h"
#include "base/buf.h"
#include "base/logger.h"
#include "base/util.h"

/* Those that are called most come first. */
const route_t routes[] = {
    { "POST", "/v1/chat/completions", co_chat_completions, false, &face_openai },
    { "POST", "/v1/messages", co_messages, false, &face_anthropic },
    { "POST", "/v1/messages/count_tokens", co_message_count, false, &face_anthropic },
    { "POST", "/v1/responses", co_responses, false, &face_responses },
    { "POST", "/v1/embeddings", co_embeddings, false, &face_openai },
    { "GET",  "/v1/models", co_model_list, false, &face_openai },
    { "GET",  "/v1/models/{model}", co_model_get, false, &face_openai },
    { "POST", "/v1/conversations", co_conversation_create, false, NULL },
    { "GET",  "/v1/conversations", co_conversation_list, false, NULL },
    { "GET",  "/v1/conversations/{id}", co_conversation_get, false, NULL },
    { "GET",  "/v1/conversations/{id}/messages", co_conversation_messages, false, NULL },
    { "GET",  "/v1/conversations/{id}/events", co_conversation_events, false, NULL },
    { "GET",  "/v1/conversations/{id}/readers", co_conversation_readers, false, NULL },
    { "POST", "/v1/conversations/{id}/turns", co_turn_create, false, NULL },
    { "GET",  "/v1/turns/{id}", co_turn_get, false, NULL },
    { "GET",  "/v1/turns/{id}/events", co_turn_events, false, NULL },
    { "POST", "/v1/turns/{id}/cancel", co_turn_cancel, false, NULL },
    { "GET",  "/v1/socket", co_socket, false, NULL },
    { "GET",  "/v1/events", co_user_events, false, NULL },
    { "POST", "/v1/tickets", co_ticket_create, false, NULL },
    { "POST", "/v1/keys", co_key_create, false, NULL },
    { "GET",  "/v1/keys", co_key_list, false, NULL },
    { "DELETE", "/v1/keys/{id}", co_key_revoke, false, NULL },
    { "GET", "/v1/revocations", co_revocation_list, false, NULL },
    { "POST", "/v1/revocations", co_revocation_create, false, NULL },
    { "DELETE", "/v1/revocations/{id}", co_revocation_delete, false, NULL },
    { "GET",  "/v1/usage", co_usage, false, NULL },
    { "GET",  "/v1/budgets", co_budget_list, false, NULL },
    { "GET",  "/readyz", co_readyz, true, NULL },
    { "GET",  "/status", co_status, true, NULL },
    { "GET",  "/metrics", co_metrics, true, NULL },
    { "GET",  "/openapi.json", co_openapi, true, NULL },
};
const size_t nroutes = SI_COUNT(routes);

bool route_match(const char *pattern, str_t path, str_t *id, str_t *name)
{
    const char *p = path.p, *end = path.p + path.n;

    *id = *name = STR_NULL;
    while (*pattern) {
        if (*pattern == '{' && strcmp(pattern, "{model}") == 0) {
            *name = (str_t) { p, (size_t) (end - p) };
            return name->n > 0;
        }
        if (*pattern == '{' && strncmp(pattern, "{id}", 4) == 0) {
            const char *from = p;

            while (p < end && *p != '/') {
                p++;
            }
            *id = (str_t) { from, (size_t) (p - from) };
            pattern += 4;
        } else if (p == end || *p++ != *pattern++) {
            return false;
        }
    }
    return p == end;
}

/* HEAD is answered as GET is; the edge sends no body. */
static bool method_is(const route_t *r, str_t method)
{
    return str_is(method, r->method) || (str_is(method, "HEAD") && strcmp(r->method, "GET") == 0);
}

static void co_no_method(call_t *call, const char *allow)
{
    if (str_is(call->method, "OPTIONS")) {
        call_head_t head = { .status = 204, .length = 0, .nheaders = 1, .headers = { { "Allow", allow } } };
        call_head(call, &head);
        call_end(call);
        return;
    }
    co_problem_allow(call, allow);
}

/* What lies below a route of a dialect, and is none itself, as /v1/messages/batches. */
static bool is_below(const route_t *r, str_t path)
{
    size_t n = strlen(r->path);

    return r->face != NULL && path.n > n && memcmp(path.p, r->path, n) == 0 && path.p[n] == '/';
}

/* Both dialects ask for models in the same place; Anthropic's clients always say a version. */
static const face_t *face_of(call_t *call, const route_t *r)
{
    bool models = r->co_handler == co_model_list || r->co_handler == co_model_get;

    return models && call_header(call, "anthropic-version").n > 0 ? &face_anthropic : r->face;
}

static const route_t *find(call_t *call, str_t *id, str_t *name, char allow[128])
{
    buf_t b;

    buf_init(&b, 127);
    for (size_t i = 0; i < nroutes; i++) {
        if (!route_match(routes[i].path, call->path, id, name)) {
            call->face = is_below(&routes[i], call->path) ? routes[i].face : call->face;
            continue;
        }
        call->face = face_of(call, &routes[i]);
        if (method_is(&routes[i], call->method)) {
            buf_free(&b);
            return &routes[i];
        }
        buf_printf(&b, "%s%s%s", b.n ? ", " : "", routes[i].method, strcmp(routes[i].method, "GET") ? "" : ", HEAD");
    }
    if (b.n) {
        buf_puts(&b, ", OPTIONS");
        memcpy(allow, b.p, b.n);
    }
    allow[b.n] = '\0';
    buf_free(&b);
    return NULL;
}

static void co_handle(request_t *r, const route_t *route, str_t id, bool known)
{
    if (!route->open && !known && !co_authenticate(r)) {
        return;
    }
    if (id.p && !uuid_lower(id, r->id)) {
        co_problem(r->call, 404, "not_found", NULL, "the path holds no valid id");
        return;
    }
    route->co_handler(r);
}

static void co_dispatch(call_t *call, const identity_t *who)
{
    request_t      r = { .call = call, .who = who ? *who : (identity_t) { 0 } };
    char           allow[128] = "";
    str_t          id;
    const route_t *route = find(call, &id, &r.name, allow);
    span_t        *span;

    if (!route) {
        if (allow[0]) {
            co_no_method(call, allow);
        } else {
            co_problem(call, 404, "not_found", NULL, call->face == &face_responses
                       ? "nothing is stored here: an answer cannot be read, listed, cancelled or gone on with later"
                       : "there is no such route; /openapi.json lists them");
        }
        return;
    }
    span = call_span_begin(call, route);
    co_handle(&r, route, id, who != NULL);
    call_span_end(span, &r);
}

static void log_call(const call_t *call)
{
    char key[64], status[16], us[24];

    if (!log_enabled(LOG_DEBUG)) {
        return;
    }
    snprintf(key, sizeof(key), "%.*s", STR_ARG(call->key));
    snprintf(status, sizeof(status), "%d", call->status);
    snprintf(us, sizeof(us), "%llu", (unsigned long long) (clock_us() - call->started));
    log_line(LOG_DEBUG, "call", "request", call->key.n ? key : NULL, "status", status, "us", us, NULL);
}

void co_route(call_t *call)
{
    if (call->resume.n) {
        co_stream_resume(call);
    } else {
        co_dispatch(call, NULL);
    }
    log_call(call);
}

void co_route_as(call_t *call, const identity_t *who)
{
    co_dispatch(call, who);
    log_call(call);
}
