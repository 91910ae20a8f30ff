/*
 * How many tokens a request would have, without asking it. Anthropic counts for whoever asks
 * (https://platform.claude.com/docs/en/build-with-claude/token-counting); of all others it is estimated, see chat_tokens().
 * No call of a model: it is in no ledger, budget or rate. Filters look at it all the same, and keys that fail rest.
 */
#ifndef SI_COUNT_H
#define SI_COUNT_H

#include "llm/gateway.h"

/*
 * Of the model that would be asked first. 0 with *tokens; *estimated: it is an estimate, also where a provider that counts could
 * not be reached within some seconds. SI_ECANCELED; or SI_E* with *err: a filter does not let it through, or the provider says
 * that it is wrong.
 */
int co_count_tokens(arena_t *a, const llm_request_t *q, const gateway_spec_t *spec, int64_t *tokens, bool *estimated, llm_error_t *err);

#endif
