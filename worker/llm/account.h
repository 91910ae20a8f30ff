/*
 * What one model call is charged for, and to whom. Whoever calls a model begins an account before each try, tells it of every
 * piece that comes, and ends it when the try is over, in whatever way: also one that is thrown away, cut, cancelled or failed.
 * Limits refuse here before anything is sent, and settle here exactly once; the ledger of usage is written from here.
 */
#ifndef SI_ACCOUNT_H
#define SI_ACCOUNT_H

#include "base/util.h"
#include "llm/gateway.h"

/* Tokens as in llm_result_t (cached ones are part of the input, reasoning is part of the output), none below 0. */
typedef struct usage {
    int64_t input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens;
    int64_t cost;                       /* micro-dollars, see price.h */
    bool    cached_answer;              /* it was there before: nobody was asked, and it cost nothing */
    bool    estimated;                  /* the provider did not say, or not to the end */
} usage_t;

typedef struct {
    /* the caller fills in, and keeps them alive until the end: */
    const gateway_spec_t  *spec;        /* whose call it is */
    const char            *operation;   /* of OpenTelemetry's gen_ai conventions: "chat", "embeddings" */
    const conf_model_t    *model;       /* of proc.conf */
    const conf_provider_t *endpoint;    /* the key or region that is asked */
    int64_t                input;       /* tokens of what is sent, estimated: see chat_tokens() */
    int64_t                output_max;  /* the most tokens that may come back; -1: the provider's own bound */

    /* co_account_begin() and account_end() do: */
    char     id[UUID_LEN + 1];          /* of this try */
    uint64_t started;                   /* clock_wall_ms() */
    uint64_t start, first;              /* clock_us(); first: 0 until a piece has come */
    size_t   received;                  /* bytes of its pieces, of every kind */
    bool     open;
    struct ledger_entry *entry;         /* of llm/ledger; NULL: the call is nobody's */
    struct budget_hold *hold;           /* what budget.h has reserved, or NULL */
    bool     money;                     /* it was refused because dollars are short */
    usage_t  usage;                     /* after the end */
} account_t;

/*
 * Before a model is asked. 0; or SI_E* with *err filled: it must not be, and there is nothing to end; then the whole call is over,
 * no other model is tried, unless it is SI_EAGAIN (see co_budget_reserve()). May wait.
 */
int  co_account_begin(account_t *a, llm_error_t *err);
/*
 * The answer was there before (llm/cache.h), instead of all this: a row of outcome "cached" without tokens or cost, unless the
 * ledger is full. a->usage is what the answer took then, at no cost, to be told to the client.
 */
void account_cached(account_t *a, const llm_result_t *r);
/* A piece of the answer has come. */
void account_piece(account_t *a, const chat_event_t *ev);
/*
 * It is over; more calls for the same begin do nothing. code: of the failure, "cancelled", or NULL: well. r: what the provider
 * said; NULL: it has not accepted the request (no answer 2xx), which costs nothing.
 * Of a call that was accepted and did not end well, or whose provider counts nothing, what is not known is estimated: a token
 * for every four bytes sent or received, 1,000 for a picture or file; and no less than the provider had counted so far.
 * Never waits.
 */
void account_end(account_t *a, const char *code, const llm_result_t *r);

#endif
