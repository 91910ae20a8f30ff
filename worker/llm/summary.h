/* What is left out of a conversation, summed up by a model: over_budget_summary of conf/si.yaml. */
#ifndef SI_SUMMARY_H
#define SI_SUMMARY_H

#include "llm/filter.h"

#define SUMMARY_INPUT  (1u << 20)   /* bytes that are summed up; more are not */
#define SUMMARY_MAX    65536u       /* bytes of a summary */

/*
 * Those of the first n messages of q that are not the system's. It is a call of the gateway of its own, of source "summary",
 * for the same caller and agent, with its own row in the ledger, its reservation and its span; its answer goes through the
 * filters of what goes to models. 0 with *out, in the arena; SI_ECANCELED; or another SI_E*: there is no summary (logged).
 */
int co_summary(arena_t *a, const gateway_spec_t *spec, const conf_agent_t *agent, filter_call_t *f, const llm_request_t *q, size_t n, str_t *out);

#endif
