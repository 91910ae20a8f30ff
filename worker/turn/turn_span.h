/*
 * The span of a turn (io/span.h): an agent is invoked within this process, as OpenTelemetry's conventions 1.41 call it in
 * docs/gen-ai/gen-ai-agent-spans.md. Under the request that began it, also after a takeover and on another machine; when
 * that had no trace, the id of its trace is the turn's own without the dashes.
 */
#ifndef SI_TURN_SPAN_H
#define SI_TURN_SPAN_H

#include "io/span.h"
#include "turn/turn.h"

/* It runs, and the running coroutine's trace is its own from here on. */
span_t *turn_span_begin(turn_t *t);
/* Who answers it is known. */
void    turn_span_model(span_t *s, const turn_row_t *row, const char *provider);
/* It is over; NULL: it is left to another worker. */
void    turn_span_end(span_t *s, const turn_row_t *end);

#endif
