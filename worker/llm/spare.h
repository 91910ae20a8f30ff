/* What an agent does when the money does not suffice for a call: over_budget_… of conf/si.yaml. */
#ifndef SI_SPARE_H
#define SI_SPARE_H

#include "llm/attempt.h"
#include "llm/filter.h"

/* How far it went; zeroed at first. */
typedef struct {
    unsigned              stage;        /* 0: the call is as it was asked for */
    const chat_message_t *messages;     /* as it was */
    size_t                nmessages;
} spare_t;

/*
 * The next thing to try after a refusal: in q (in the arena) a summary instead of the oldest messages, then none of them, then
 * the cheaper models in t. 1; 0: there is nothing left; or SI_ECANCELED. For the call of a model by its name, which has no
 * agent, there is nothing. Waits for the summary.
 */
int co_spare(arena_t *a, const gateway_spec_t *spec, filter_call_t *f, spare_t *s, llm_request_t *q, attempt_t *t);

#endif
