/* What an agent does when the money does not suffice for a call: over_budget_keep and over_budget_models of conf/si.yaml. */
#ifndef SI_SPARE_H
#define SI_SPARE_H

#include "llm/attempt.h"

/*
 * The next thing to try after a refusal: a shorter context in q (in the arena), then the cheaper models in t. *stage: 0 at
 * first. False: there is nothing left. For the call of a model by its name, which has no agent, there is nothing.
 */
bool spare(arena_t *a, const char *agent, llm_request_t *q, attempt_t *t, unsigned *stage);

#endif
