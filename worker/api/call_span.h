/*
 * The span of a request (io/span.h), kind server, named by its route: OpenTelemetry's conventions 1.41, docs/http/http-spans.md.
 * Joined to the client's traceparent, else the trace's id is that of the request, which nginx logs.
 */
#ifndef SI_CALL_SPAN_H
#define SI_CALL_SPAN_H

#include "api/routes.h"
#include "io/span.h"

/* It begins, and is the running coroutine's. NULL: none. */
span_t *call_span_begin(call_t *call, const route_t *route);
/* It has been handled. A request that was sent elsewhere or not allowed has no span. */
void    call_span_end(span_t *s, const request_t *r);

#endif
