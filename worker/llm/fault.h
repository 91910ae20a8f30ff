/* What a failure of a model call means for what is tried next. No I/O. */
#ifndef SI_FAULT_H
#define SI_FAULT_H

#include "llm/provider.h"

typedef enum {
    FAULT_AGAIN,        /* 408, 409, 5xx, reset, cut, malformed or empty answer: the same model again, then the next */
    FAULT_SLOW,         /* a deadline passed, or it is not what it should be (404, wrong type, too large): the next model; the same one again only without another */
    FAULT_BUSY,         /* 429: another key at once, or this one when it has rested */
    FAULT_REFUSED,      /* 401, 402, 403: another key at once */
    FAULT_CONTEXT,      /* the prompt is too long for the model: its context_fallback */
    FAULT_FILTER,       /* its content filter refuses the prompt: its filter_fallback */
    FAULT_REQUEST,      /* 400, 404, 413, 422, or it has no word for what is asked: the next model, never the same one again */
    FAULT_OVER          /* the whole call's time is up: nothing */
} fault_t;

/* Of a call that failed with rc (not SI_ECANCELED) and err at clock_ms() `now`, with its deadline. */
fault_t fault_of(int rc, const llm_error_t *err, uint64_t now, uint64_t deadline);
/* Whether the provider is to blame: counts for the circuit breaker. */
bool    fault_counts(fault_t f);

/*
 * Gives a request that was rejected (400, 413, 422 and others) its reason as code, by the provider's words in the body or in
 * the event: "context_length" (also of a 500), "content_filter", or "provider_auth"; otherwise *err stays.
 */
void    fault_reason(llm_error_t *err, str_t body);

#endif
