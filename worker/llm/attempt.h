/*
 * Who is asked next, and when: the models of a route one after the other, at a key that is well, after pauses where these are
 * due; and what follows from a failure. Every call of a model goes this way, whatever it asks for.
 */
#ifndef SI_ATTEMPT_H
#define SI_ATTEMPT_H

#include "llm/fault.h"
#include "llm/health.h"
#include "llm/route.h"

typedef struct {
    health_t              *health;
    const char            *tenant;      /* id; NULL: nobody's */
    uint64_t               deadline;    /* clock_ms() of all attempts together */
    uint64_t               patience;    /* clock_ms() until which rests are waited for */
    route_t                route;       /* who may still be asked: from `at` on */
    size_t                 at;
    unsigned               asked;       /* how often route.models[at] was asked */
    unsigned               tries;       /* model calls so far */
    uint64_t               tried;       /* endpoints of route.models[at] that were asked */
    uint64_t               rests[ROUTE_MAX];    /* clock_ms() until which a limit of its own keeps a model of the route back */
    const conf_model_t    *model;       /* the one that is asked */
    const conf_provider_t *endpoint;    /* at which key */
    conf_model_t           at_endpoint; /* `model` at it */
    bool                   settled;     /* health knows of the first piece, or of the failure */
    llm_error_t            last;        /* of the last model call that failed; no code: none did */
    int                    last_rc;
    fault_t                last_fault;
} attempt_t;

/* The route is the caller's to fill in. */
void attempt_init(attempt_t *t, health_t *h, const char *tenant, uint64_t deadline);
/* Chooses a model and a key, and waits for them if need be. 0, or SI_E* with *err when there is nobody; then attempt_begin(). */
int  co_attempt_choose(attempt_t *t, llm_error_t *err);
/* The call of the chosen one begins: the model at its key, good until the next one. One of the next three follows. */
const conf_model_t *attempt_begin(attempt_t *t);
/* It answers, or has begun to; attempt_failed() may still follow. */
void attempt_good(attempt_t *t);
/* It failed with rc and err. Whether it makes sense to choose again. */
bool attempt_failed(attempt_t *t, int rc, const llm_error_t *err);
/* A limit of the chosen model says no; err->retry_ms: when it may say yes (0: never). Others are asked, or it is waited for. */
void attempt_limited(attempt_t *t, const llm_error_t *err);
/* Others are to be asked from now on. False, and nothing has changed: the tenant may use none of them. */
bool attempt_divert(attempt_t *t, const conf_models_t *list);
/* The caller gave up. */
void attempt_cancelled(attempt_t *t);

#endif
