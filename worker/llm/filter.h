/*
 * Filters around one call of the gateway: its request before any model is asked, its answer before anybody sees it, whichever
 * model gives it. What they look at and what they do is told at `filters` in conf/si.yaml. A call without filters has no
 * filter_call_t and costs nothing.
 */
#ifndef SI_FILTER_H
#define SI_FILTER_H

#include "llm/filter_set.h"
#include "llm/gateway.h"

typedef struct filter_call filter_call_t;

/* What a rule did in a call: its name, never the text. */
typedef struct filter_match {
    const char        *rule;
    filter_direction_t direction;
    filter_action_t    action;
    uint64_t           times;
} filter_match_t;

/* The filters of this call: those of the gateway, its agent, its tenant. NULL: none. Its memory is freed with the arena. */
filter_call_t *filter_open(filter_set_t *s, const conf_t *c, arena_t *a, const gateway_spec_t *spec);
/* Replaces what is redacted in q. 0, SI_ECANCELED, or SI_EINVAL with *err "content_filtered". f may be NULL. */
int  co_filter_request(filter_call_t *f, llm_request_t *q, llm_error_t *err);
/*
 * As co_gateway_next(), of the answer that co_next(arg) gives. 0 also when the answer was blocked: then filter_blocked() is
 * true, and co_next() must not be called any more.
 */
int  co_filter_next(filter_call_t *f, int (*co_next)(void *arg, chat_event_t *ev, llm_error_t *err), void *arg, chat_event_t *ev, llm_error_t *err);
bool filter_blocked(const filter_call_t *f);
/* Its rules for one direction. f may be NULL. */
filter_rule_t *const *filter_rules(const filter_call_t *f, filter_direction_t d, size_t *n);
/* What matched so far, for tests; traces have it as events of the span that it happened in. f may be NULL. */
const filter_match_t *filter_matches(const filter_call_t *f, size_t *n);

#endif
