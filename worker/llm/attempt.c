#include "llm/attempt.h"

#include "base/proc.h"
#include "base/util.h"
#include "run/co.h"

#define REST_MIN_MS  50             /* a wait for a key is at least so long: others may be faster */

void attempt_init(attempt_t *t, health_t *h, const char *tenant, uint64_t deadline)
{
    *t = (attempt_t) { .health = h, .tenant = tenant, .deadline = deadline, .patience = clock_ms() + proc.conf->gateway_wait,
                       .settled = true };
}

static uint32_t draw(void)
{
    uint32_t r;

    random_bytes(&r, sizeof r);
    return r;
}

/* gateway.backoff doubled with each try, times 0.8 to 1.2: those who failed together do not come back together. */
static uint64_t pause_ms(unsigned failures)
{
    uint64_t ms = proc.conf->gateway_backoff;

    while (--failures > 0 && ms < proc.conf->gateway_backoff_max) {
        ms *= 2;
    }
    ms = SI_MIN(ms, proc.conf->gateway_backoff_max);
    return SI_MAX(ms * (800 + draw() % 401) / 1000, 1);
}

static int fail_over(llm_error_t *err)
{
    return provider_fail(err, SI_ETIMEDOUT, "provider_timeout", 0, true, "the call's time is up");
}

/* Sleeps, but not past the call's deadline. */
static int co_pause(attempt_t *t, uint64_t ms, const char *where, llm_error_t *err)
{
    uint64_t now = clock_ms();
    int      rc;

    if (now >= t->deadline) {
        return fail_over(err);
    }
    rc = co_sleep(SI_MIN(ms, t->deadline - now), where);
    return rc == SI_ECANCELED ? rc : rc != 0 || clock_ms() >= t->deadline ? fail_over(err) : 0;
}

static void move_to(attempt_t *t, size_t at)
{
    t->at = at;
    t->asked = 0;
    t->tried = 0;
}

static size_t endpoint_number(const conf_model_t *m, const conf_provider_t *e)
{
    return (size_t) (e - m->provider->endpoints);
}

/* Nobody is left. The reason of the last failure, unless none was asked or no key was taken. */
static int fail_none(attempt_t *t, const health_none_t *none, llm_error_t *err)
{
    uint64_t now = clock_ms();

    if (t->last.code[0] != '\0' && t->last_fault != FAULT_REFUSED) {
        *err = t->last;
    } else if (t->last.code[0] != '\0' || none->state == HEALTH_REFUSED) {
        t->last_rc = provider_fail(err, SI_EDENIED, "credentials_exhausted", t->last.status, false, "%s",
                                   t->last.code[0] != '\0' ? t->last.detail : "no key that is configured is taken by its provider");
    } else {
        bool rests = none->state == HEALTH_RESTS;
        t->last_rc = provider_fail(err, SI_EUNAVAIL, rests ? "provider_rate_limited" : "provider_unavailable", rests ? 0 : 503, true, "%s",
                                   rests ? "every key rests, as the provider asked" : "every model has failed too often of late");
    }
    if (none->state != HEALTH_WELL && none->state != HEALTH_REFUSED && none->until > now && none->until != UINT64_MAX) {
        err->retry_ms = SI_MAX(err->retry_ms, none->until - now);
    }
    return t->last_rc;
}

/* The first of the models from t->at on that has a key which may be asked now: false, with *none of all. */
static bool look(attempt_t *t, uint64_t now, health_none_t *none, size_t *where)
{
    health_none_t here;

    *none = (health_none_t) { HEALTH_REFUSED, UINT64_MAX };
    *where = t->route.n;
    for (size_t i = t->at; i < t->route.n; i++) {
        here = (health_none_t) { HEALTH_RESTS, t->rests[i] };
        t->endpoint = t->rests[i] > now ? NULL
                      : health_choose(t->health, t->route.models[i], i == t->at ? t->tried : 0, draw(), now, &here);
        if (t->endpoint != NULL) {
            if (i != t->at) {
                move_to(t, i);
            }
            return true;
        }
        if (here.until < none->until && here.state != HEALTH_REFUSED) {
            *where = i;
            none->until = here.until;
        }
        none->state = SI_MIN(none->state, here.state);
    }
    return false;
}

int co_attempt_choose(attempt_t *t, llm_error_t *err)
{
    health_none_t none = { HEALTH_REFUSED, UINT64_MAX };
    size_t        where;
    int           rc;

    while (t->tries < GATEWAY_TRIES_MAX && t->at < t->route.n) {
        uint64_t now = clock_ms();

        if (now >= t->deadline) {
            return fail_over(err);
        }
        if (look(t, now, &none, &where)) {
            t->model = t->route.models[t->at];
            if ((t->tried >> endpoint_number(t->model, t->endpoint) & 1) == 0) {
                return 0;
            }
            rc = co_pause(t, pause_ms(t->asked), "llm:backoff", err);
            if (rc != 0) {
                health_unknown(t->health, t->model, t->endpoint);
            }
            return rc;
        }
        if (where == t->route.n || none.until > t->patience || none.until >= t->deadline) {
            break;
        }
        rc = co_pause(t, SI_MAX(none.until - SI_MIN(clock_ms(), none.until), REST_MIN_MS), "llm:rest", err);
        if (rc != 0) {
            return rc;
        }
    }
    return fail_none(t, &none, err);
}

static void note_health(attempt_t *t, fault_t f, const llm_error_t *err)
{
    health_t *h = t->health;
    uint64_t  now = clock_ms();

    if (f == FAULT_BUSY) {
        health_busy(h, t->model, t->endpoint, err->retry_ms, now);
    } else if (f == FAULT_REFUSED) {
        health_refused(h, t->model, t->endpoint, now);
    } else if (fault_counts(f)) {
        health_bad(h, t->model, t->endpoint, t->settled, err->retry_ms, now);
    } else {
        health_unknown(h, t->model, t->endpoint);
    }
}

bool attempt_divert(attempt_t *t, const conf_models_t *list)
{
    route_t r = { .embeddings = t->route.embeddings };

    route_list(proc.conf, t->tenant, list, &r);
    if (r.n > 0) {
        t->route = r;
        memset(t->rests, 0, sizeof t->rests);
        move_to(t, 0);
    }
    return r.n > 0;
}

/* The models for what this one cannot do: its own list, else the rest of the route. */
static void divert(attempt_t *t, const conf_models_t *list)
{
    if (!attempt_divert(t, list)) {
        move_to(t, t->at + 1);
    }
}

/* Sets who is asked next: false when there is nothing to be done. */
static bool plan(attempt_t *t, fault_t f)
{
    bool another = t->at + 1 < t->route.n;

    switch (f) {
    case FAULT_OVER:
        return false;
    case FAULT_CONTEXT:
        divert(t, &t->model->context_fallback);
        break;
    case FAULT_FILTER:
        divert(t, &t->model->filter_fallback);
        break;
    case FAULT_REQUEST:
        move_to(t, t->at + 1);
        break;
    case FAULT_REFUSED:
        t->asked--;                 /* the key's fault, not the model's */
        break;
    case FAULT_SLOW:
        if (another || t->asked >= proc.conf->gateway_attempts) {
            move_to(t, t->at + 1);
        }
        break;
    case FAULT_AGAIN: case FAULT_BUSY:
        if (t->asked >= proc.conf->gateway_attempts) {
            move_to(t, t->at + 1);
        }
        break;
    }
    return true;
}

const conf_model_t *attempt_begin(attempt_t *t)
{
    t->tries++;
    t->asked++;
    t->tried |= (uint64_t) 1 << endpoint_number(t->model, t->endpoint);
    t->at_endpoint = *t->model;
    t->at_endpoint.provider = t->endpoint;
    t->settled = false;
    return &t->at_endpoint;
}

void attempt_good(attempt_t *t)
{
    health_good(t->health, t->model, t->endpoint, clock_ms());
    t->settled = true;
}

bool attempt_failed(attempt_t *t, int rc, const llm_error_t *err)
{
    fault_t f = fault_of(rc, err, clock_ms(), t->deadline);

    note_health(t, f, err);
    t->settled = true;
    t->last = *err;
    t->last.retry_ms = SI_MIN(err->retry_ms, proc.conf->gateway_cooldown_max);      /* it will be asked again then */
    t->last_rc = rc;
    t->last_fault = f;
    return plan(t, f);
}

void attempt_limited(attempt_t *t, const llm_error_t *err)
{
    health_unknown(t->health, t->model, t->endpoint);
    t->rests[t->at] = err->retry_ms > 0 ? clock_ms() + err->retry_ms : UINT64_MAX;
    t->last = *err;
    t->last_rc = SI_EUNAVAIL;
    t->last_fault = FAULT_BUSY;
}

void attempt_cancelled(attempt_t *t)
{
    health_unknown(t->health, t->model, t->endpoint);
}
