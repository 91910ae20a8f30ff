#include "turn/turn_span.h"

#include <stdio.h>

#include "io/otlp.h"
#include "run/co.h"
#include "turn/conv.h"

span_t *turn_span_begin(turn_t *t)
{
    char    id[TRACE_ID_LEN + 1];
    size_t  n = 0;
    span_t *s;

    if (!otlp_on()) {
        return NULL;
    }
    for (const char *p = t->row.id; *p != '\0' && n < TRACE_ID_LEN; p++) {
        if (*p != '-') {
            id[n++] = *p;
        }
    }
    s = span_new(t->arena, SPAN_INTERNAL, (span_from_t) { .caller = &t->trace, .here = t->row.attempt == 0, .id = { id, n } }, "invoke_agent");
    co_trace(span_trace(s));
    span_text(s, "gen_ai.operation.name", "invoke_agent");
    span_text_below(s, "gen_ai.conversation.id", t->row.conversation);
    span_text_below(s, "si.turn.id", t->row.id);
    span_int(s, "si.turn.number", t->row.number);
    if (t->row.attempt > 0) {
        span_int(s, "si.turn.attempt", t->row.attempt);
    }
    span_text(s, "si.tenant.id", t->conv->tenant);
    span_text(s, "user.id", t->conv->user);
    return s;
}

void turn_span_model(span_t *s, const turn_row_t *row, const char *provider)
{
    char name[160];

    (void) snprintf(name, sizeof name, "invoke_agent %s", row->agent);
    span_name(s, name);
    span_text_below(s, "gen_ai.agent.name", row->agent);
    span_text(s, "gen_ai.provider.name", provider);
    span_text(s, "gen_ai.request.model", row->model_used);
}

void turn_span_end(span_t *s, const turn_row_t *end)
{
    if (end == NULL) {
        span_fail(s, "left");
        span_end(s);
        return;
    }
    span_text(s, "si.turn.state", turn_state_name(end->state));
    span_text(s, "gen_ai.response.model", end->model_used);
    span_list(s, "gen_ai.response.finish_reasons", end->finish);
    if (end->input_tokens >= 0) {
        span_int(s, "gen_ai.usage.input_tokens", end->input_tokens);
    }
    if (end->output_tokens >= 0) {
        span_int(s, "gen_ai.usage.output_tokens", end->output_tokens);
    }
    if (end->state == TURN_FAILED) {
        span_fail(s, end->error);
    }
    span_end(s);
}
