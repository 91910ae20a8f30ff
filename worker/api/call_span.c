#include "api/call_span.h"

#include <stdio.h>

#include "io/otlp.h"
#include "run/co.h"

#define PATH_BYTES  512

span_t *call_span_begin(call_t *call, const route_t *route)
{
    span_from_t from = { .id = call->key };
    trace_t     caller;
    char        text[PATH_BYTES];
    span_t     *s;

    if (!otlp_on() || route->open) {
        return NULL;
    }
    if (otlp_follows() && trace_parse(call_header(call, "traceparent"), &caller)) {
        from.caller = &caller;
    }
    (void) snprintf(text, sizeof text, "%s %s", route->method, route->path);
    s = span_new(call->arena, SPAN_SERVER, from, text);
    span_text(s, "http.request.method", route->method);
    span_text(s, "http.route", route->path);
    (void) snprintf(text, sizeof text, "%.*s", STR_ARG(call->path));
    span_text(s, "url.path", text);
    (void) snprintf(text, sizeof text, "%.*s", STR_ARG(call->key));
    span_text(s, "si.request.id", text);
    co_trace(span_trace(s));
    return s;
}

void call_span_end(span_t *s, const request_t *r)
{
    const call_t *call = r->call;
    char          status[12];

    if (s == NULL) {
        return;
    }
    co_trace(NULL);
    if (call->status == 401 || (call->status == 0 && call_alive(call))) {
        span_drop(s);
        return;
    }
    span_text(s, "si.tenant.id", r->who.tenant);
    span_text(s, "user.id", r->who.user);
    if (call->status != 0) {
        span_int(s, "http.response.status_code", call->status);
    }
    if (call->status >= 500) {
        (void) snprintf(status, sizeof status, "%d", call->status);
        span_fail(s, status);
    }
    if (!call_alive(call)) {
        span_flag(s, "si.client_gone", true);
    }
    span_end(s);
}
