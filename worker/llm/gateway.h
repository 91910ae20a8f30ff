/*
 * The one way to a model, for turns and for every face: picks the models that may answer, calls one after the other until
 * one does. Used as a provider is: open, then read events until the answer ends, then close. Close cuts a call under way at
 * once, and so does the cancellation of the coroutine, whatever it waits for.
 */
#ifndef SI_GATEWAY_H
#define SI_GATEWAY_H

#include "base/buf.h"
#include "llm/provider.h"

#define GATEWAY_TRIES_MAX  24    /* model calls for one answer, at most */

/* What a caller says of answers that were given before (llm/cache.h); all zero: nothing. */
typedef struct {
    bool     no_read;           /* a new answer, which may be kept */
    bool     no_store;          /* a new answer, which may not */
    bool     has_max_age;
    uint64_t max_age;           /* seconds: an older one is not wanted */
} cache_want_t;

/* Who may answer, and what the caller can bear. Names are those of the configuration; they live as long as the call. */
typedef struct {
    const char *tenant;         /* id; NULL: nobody's */
    const char *user;           /* id, or NULL */
    const char *key;            /* id of the API key that it was asked with, or NULL: a token, or nobody knows */
    const char *source;         /* where it comes from: "turn", or the name of a dialect */
    const char *turn;           /* id, or NULL */
    const char *agent;          /* a name under agents; NULL: none was named: default_agent, unless there is a model */
    const char *model;          /* a name under models (or agents, or tasks) that goes before the agent's; NULL or "": the agent's */
    cache_want_t cache;
    bool        embeddings;     /* models that make embeddings are meant (llm/embed.h), not those that answer */
    bool        as_is;          /* over budget it is refused, whatever its agent would do */
    bool        restarts;       /* the caller can show that an answer begins anew: it may get CHAT_RESTART, others an error instead */
} gateway_spec_t;

typedef struct gateway_call gateway_call_t;

/*
 * Waits until the first piece of an answer (or the whole of an empty one) is there: up to then a failure is nobody's business
 * but the gateway's, and a caller that has sent nothing yet can still choose its status. 0, or SI_E* with *err filled
 * (SI_ECANCELED: untouched). q is the caller's, but for its `model`, which is the gateway's affair, and lives as long as the call.
 */
int  co_gateway_open(arena_t *a, const llm_request_t *q, const gateway_spec_t *spec, gateway_call_t **out, llm_error_t *err);
/*
 * As co_next() of a provider; and CHAT_RESTART: what came so far is void, gateway_model() begins anew (or is asked once more).
 * An answer that broke off is never 0.
 */
int  co_gateway_next(gateway_call_t *g, chat_event_t *ev, llm_error_t *err);
/* Of the model that answers, or has broken off: good until close. */
const llm_result_t *gateway_result(const gateway_call_t *g);
/* The model that answers, or was asked last; of proc.conf. */
const conf_model_t *gateway_model(const gateway_call_t *g);
/* What that model's answer took, its cost too; after its end, and good until close. */
struct usage;
const struct usage *gateway_usage(const gateway_call_t *g);
/* How it is with its cache, for Cache-Status (RFC 9211); NULL: it has none. A hit costs nothing and is no call of a model. */
const char *gateway_cache_status(const gateway_call_t *g);
void gateway_close(gateway_call_t *g);

/* Sets proc.gateway; needs proc.conf. */
void gateway_init(void);
void gateway_exit(void);
/* What all calls of models share, see health.h and meter.h. */
struct health *gateway_health(void);
struct meter  *gateway_meter(void);
struct filter_set *gateway_filters(void);
/* Its metrics, see meter.h. */
void gateway_metrics(buf_t *b);

/* The model that will be asked first, if it is well; NULL: there is none of that name, or none that the tenant may use. Does not wait. */
const conf_model_t *gateway_first(const gateway_spec_t *spec);

#endif
