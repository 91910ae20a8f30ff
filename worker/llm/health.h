/*
 * Which key may be asked for which model: cooldowns, keys that were refused, circuit breakers. One cell for each model at
 * each endpoint of its provider, one for each key; that is all there ever is. The state is this worker process's own. The clock is the caller's
 * (clock_ms()), the random numbers too. No I/O.
 *
 *   429 (or a Retry-After with any failure)  the key rests for that model, as long as asked (gateway.cooldown_max at most) or
 *                                            gateway.cooldown; a longer rest wins over a shorter one
 *   401, 402, 403                            the key rests for every model, gateway.key_rest long
 *   more than gateway.breaker_percent of at least gateway.breaker_calls within gateway.breaker_window failed: nothing gets through
 *   for gateway.breaker_open; then one call does: if it fails, the same again, else all is forgotten
 */
#ifndef SI_HEALTH_H
#define SI_HEALTH_H

#include "conf/conf.h"

typedef struct health health_t;

/* c stays the caller's and must outlive it. */
health_t *health_new(const conf_t *c);
void      health_free(health_t *h);

typedef enum { HEALTH_WELL, HEALTH_RESTS, HEALTH_OPEN, HEALTH_REFUSED } health_state_t;   /* the later, the longer it lasts */

/* How it is with a model at an endpoint; *until: when that ends, unless it is well. HEALTH_OPEN also while the one probe is under way. */
health_state_t health_state(const health_t *h, const conf_model_t *m, const conf_provider_t *e, uint64_t now, uint64_t *until);

/* Whether its key counts as good. */
bool health_key_up(const health_t *h, const conf_provider_t *e, uint64_t now);

/* How often the breaker has opened, or stayed open after a probe. */
uint64_t health_opened(const health_t *h, const conf_model_t *m, const conf_provider_t *e);

#define HEALTH_ENDPOINTS_MAX  64    /* of one provider that are looked at */

/* Why there is no key. */
typedef struct {
    health_state_t state;           /* the mildest of all */
    uint64_t       until;           /* when the first one can be asked again */
} health_none_t;

/*
 * An endpoint of the model's provider: by weight and `random` among those that are well and not yet `tried` (one bit for
 * each, in the order of the configuration), else among the others that are well. NULL: none, with *none. An endpoint that
 * was chosen must be given to one of the functions below.
 */
const conf_provider_t *health_choose(health_t *h, const conf_model_t *m, uint64_t tried, uint32_t random, uint64_t now, health_none_t *none);

/* It has answered, or begun to. */
void health_good(health_t *h, const conf_model_t *m, const conf_provider_t *e, uint64_t now);
/* It failed; begun: after health_good() was said of the same call. rest: ms that it asks for, or 0. */
void health_bad(health_t *h, const conf_model_t *m, const conf_provider_t *e, bool begun, uint64_t rest, uint64_t now);
/* 429. */
void health_busy(health_t *h, const conf_model_t *m, const conf_provider_t *e, uint64_t rest, uint64_t now);
/* Its key was refused. */
void health_refused(health_t *h, const conf_model_t *m, const conf_provider_t *e, uint64_t now);
/* Nothing was learned: the call was cancelled, or the request was at fault. */
void health_unknown(health_t *h, const conf_model_t *m, const conf_provider_t *e);

#endif
