/* Asks one model after the other. co_answer() shows it: read it first. */
#include "llm/gateway.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "llm/fault.h"
#include "llm/health.h"
#include "llm/meter.h"
#include "llm/route.h"
#include "run/co.h"

#define REST_MIN_MS  50             /* a wait for a key is at least so long: others may be faster */

/* Of the process. */
struct gateway {
    health_t *health;
    meter_t  *meter;
};

struct gateway_call {
    arena_t               *arena;
    llm_request_t          q;           /* the caller's, with the model of the moment */
    gateway_spec_t         spec;
    route_t                route;       /* who may still be asked: from `at` on */
    size_t                 at;
    unsigned               asked;       /* how often route.models[at] was asked */
    unsigned               tries;       /* model calls so far */
    unsigned               restarts;
    uint64_t               tried;       /* endpoints of route.models[at] that were asked */
    uint64_t               patience;    /* clock_ms() until which rests are waited for */
    const conf_model_t    *model;       /* the one that is asked */
    const conf_provider_t *endpoint;    /* at which key */
    conf_model_t           at_endpoint; /* `model` at it: what q.model points to */
    const provider_t      *provider;
    llm_call_t            *call;        /* NULL: between two */
    bool                   settled;     /* health knows of the first piece, or of the failure */
    meter_call_t           timing;
    llm_error_t            last;        /* of the last model call that failed; no code: none did */
    int                    last_rc;
    fault_t                last_fault;
    llm_result_t           result;      /* of the last model call that was closed */
    chat_event_t           first;       /* read by open, not handed out yet */
    int                    rc;          /* of the last read: 1, 0 at the end, or SI_E* */
    bool                   held;        /* `first` is there */
};

void gateway_init(void)
{
    proc.gateway = si_calloc(sizeof *proc.gateway);
    proc.gateway->health = health_new(proc.conf);
    proc.gateway->meter = meter_new(proc.conf);
}

void gateway_exit(void)
{
    if (proc.gateway != NULL) {
        health_free(proc.gateway->health);
        meter_free(proc.gateway->meter);
        free(proc.gateway);
        proc.gateway = NULL;
    }
}

void gateway_metrics(buf_t *b)
{
    meter_print(proc.gateway->meter, proc.gateway->health, b, clock_ms());
}

const conf_model_t *gateway_first(const gateway_spec_t *spec)
{
    route_t r;

    route_of(proc.conf, spec, &r);
    return r.n > 0 ? r.models[0] : NULL;
}

/* --- who is asked next --- */

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
static int co_pause(gateway_call_t *g, uint64_t ms, const char *where, llm_error_t *err)
{
    uint64_t now = clock_ms();
    int      rc;

    if (now >= g->q.deadline) {
        return fail_over(err);
    }
    rc = co_sleep(SI_MIN(ms, g->q.deadline - now), where);
    return rc == SI_ECANCELED ? rc : rc != 0 || clock_ms() >= g->q.deadline ? fail_over(err) : 0;
}

static void move_to(gateway_call_t *g, size_t at)
{
    g->at = at;
    g->asked = 0;
    g->tried = 0;
}

static size_t endpoint_number(const conf_model_t *m, const conf_provider_t *e)
{
    return (size_t) (e - m->provider->endpoints);
}

/* Nobody is left. The reason of the last failure, unless none was asked or no key was taken. */
static int fail_none(gateway_call_t *g, const health_none_t *none, llm_error_t *err)
{
    uint64_t now = clock_ms();

    if (g->last.code[0] != '\0' && g->last_fault != FAULT_REFUSED) {
        *err = g->last;
    } else if (g->last.code[0] != '\0' || none->state == HEALTH_REFUSED) {
        g->last_rc = provider_fail(err, SI_EDENIED, "credentials_exhausted", g->last.status, false, "%s",
                                   g->last.code[0] != '\0' ? g->last.detail : "no key that is configured is taken by its provider");
    } else {
        bool rests = none->state == HEALTH_RESTS;
        g->last_rc = provider_fail(err, SI_EUNAVAIL, rests ? "provider_rate_limited" : "provider_unavailable", 0, true, "%s",
                                   rests ? "every key rests, as the provider asked" : "every model has failed too often of late");
    }
    if (none->state != HEALTH_WELL && none->state != HEALTH_REFUSED && none->until > now && none->until != UINT64_MAX) {
        err->retry_ms = SI_MAX(err->retry_ms, none->until - now);
    }
    return g->last_rc;
}

/* The first of the models from g->at on that has a key which may be asked now: false, with *none of all. */
static bool look(gateway_call_t *g, health_none_t *none, size_t *where)
{
    health_none_t here;

    *none = (health_none_t) { HEALTH_REFUSED, UINT64_MAX };
    *where = g->route.n;
    for (size_t i = g->at; i < g->route.n; i++) {
        g->endpoint = health_choose(proc.gateway->health, g->route.models[i], i == g->at ? g->tried : 0, draw(), clock_ms(), &here);
        if (g->endpoint != NULL) {
            if (i != g->at) {
                move_to(g, i);
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

/* Chooses a model and a key, and waits for them if need be. 0, or SI_E* with *err when there is nobody. */
static int co_choose(gateway_call_t *g, llm_error_t *err)
{
    health_none_t none = { HEALTH_REFUSED, UINT64_MAX };
    size_t        where;
    int           rc;

    while (g->tries < GATEWAY_TRIES_MAX && g->at < g->route.n) {
        if (clock_ms() >= g->q.deadline) {
            return fail_over(err);
        }
        if (look(g, &none, &where)) {
            g->model = g->route.models[g->at];
            if ((g->tried >> endpoint_number(g->model, g->endpoint) & 1) == 0) {
                return 0;
            }
            rc = co_pause(g, pause_ms(g->asked), "llm:backoff", err);
            if (rc != 0) {
                health_unknown(proc.gateway->health, g->model, g->endpoint);
            }
            return rc;
        }
        if (where == g->route.n || none.until > g->patience || none.until >= g->q.deadline) {
            break;
        }
        rc = co_pause(g, SI_MAX(none.until - SI_MIN(clock_ms(), none.until), REST_MIN_MS), "llm:rest", err);
        if (rc != 0) {
            return rc;
        }
    }
    return fail_none(g, &none, err);
}

/* --- one model call --- */

/* The first piece has come, or the whole of an answer without any, or a failure. 0: that is an answer; SI_E* with *err: none. */
static int judge(gateway_call_t *g, llm_error_t *err)
{
    const llm_result_t *r = g->rc == 0 ? g->provider->result(g->call) : NULL;

    if (g->rc != 0) {
        return g->rc;
    }
    if (strcmp(r->finish, "content_filter") == 0 && (g->model->filter_fallback.n > 0 || g->at + 1 < g->route.n)) {
        return provider_fail(err, SI_EINVAL, "content_filter", 0, false, "the model's content filter stopped the answer");
    }
    if (strcmp(r->finish, "stop") == 0 && (r->estimated || r->output_tokens == 0)) {
        return provider_fail(err, SI_EPROTO, "answer_empty", 0, true, "the model's answer is empty");
    }
    return 0;
}

static void hang_up(gateway_call_t *g)
{
    if (g->call != NULL) {
        g->result = *g->provider->result(g->call);
        g->provider->close(g->call);
        g->call = NULL;
    }
}

/* Asks the model that was chosen, up to the first piece of its answer. */
static int co_ask(gateway_call_t *g, llm_error_t *err)
{
    int rc;

    *err = (llm_error_t) { .code = "" };
    g->tries++;
    g->asked++;
    g->tried |= (uint64_t) 1 << endpoint_number(g->model, g->endpoint);
    g->at_endpoint = *g->model;
    g->at_endpoint.provider = g->endpoint;
    g->q.model = &g->at_endpoint;
    g->provider = provider_find(g->endpoint->kind);
    g->settled = false;
    meter_start(proc.gateway->meter, &g->timing, g->model, g->tries > 1);
    rc = g->provider->co_open(g->provider, g->arena, &g->q, &g->call, err);
    if (rc == 0) {
        g->rc = g->provider->co_next(g->call, &g->first, err);
        g->held = g->rc > 0;
        rc = judge(g, err);
    }
    if (rc < 0) {
        return rc;
    }
    health_good(proc.gateway->health, g->model, g->endpoint, clock_ms());
    if (g->held) {
        meter_piece(proc.gateway->meter, &g->timing);
    }
    g->settled = true;
    return 0;
}

/* --- a failure, and what follows from it --- */

static void note_health(gateway_call_t *g, fault_t f, const llm_error_t *err)
{
    health_t *h = proc.gateway->health;
    uint64_t  now = clock_ms();

    if (f == FAULT_BUSY) {
        health_busy(h, g->model, g->endpoint, err->retry_ms, now);
    } else if (f == FAULT_REFUSED) {
        health_refused(h, g->model, g->endpoint, now);
    } else if (fault_counts(f)) {
        health_bad(h, g->model, g->endpoint, g->settled, err->retry_ms, now);
    } else {
        health_unknown(h, g->model, g->endpoint);
    }
}

/* The models for what this one cannot do: its own list, else the rest of the route. */
static void divert(gateway_call_t *g, const conf_models_t *list)
{
    route_t r;

    route_list(proc.conf, g->spec.tenant, list, &r);
    if (r.n > 0) {
        g->route = r;
        move_to(g, 0);
    } else {
        move_to(g, g->at + 1);
    }
}

/* Sets who is asked next: false when there is nothing to be done. */
static bool plan(gateway_call_t *g, fault_t f)
{
    bool another = g->at + 1 < g->route.n;

    switch (f) {
    case FAULT_OVER:
        return false;
    case FAULT_CONTEXT:
        divert(g, &g->model->context_fallback);
        break;
    case FAULT_FILTER:
        divert(g, &g->model->filter_fallback);
        break;
    case FAULT_REQUEST:
        move_to(g, g->at + 1);
        break;
    case FAULT_REFUSED:
        g->asked--;                 /* the key's fault, not the model's */
        break;
    case FAULT_SLOW:
        if (another || g->asked >= proc.conf->gateway_attempts) {
            move_to(g, g->at + 1);
        }
        break;
    case FAULT_AGAIN: case FAULT_BUSY:
        if (g->asked >= proc.conf->gateway_attempts) {
            move_to(g, g->at + 1);
        }
        break;
    }
    return true;
}

/* A model call ended with rc: what it means. 0: go on with the next one; SI_E*: that is the end, *err says why. */
static int failed(gateway_call_t *g, int rc, llm_error_t *err)
{
    fault_t f;

    hang_up(g);
    g->held = false;
    if (rc == SI_ECANCELED) {
        health_unknown(proc.gateway->health, g->model, g->endpoint);
        meter_end(proc.gateway->meter, &g->timing, "cancelled", NULL);
        return rc;
    }
    f = fault_of(rc, err, clock_ms(), g->q.deadline);
    note_health(g, f, err);
    meter_end(proc.gateway->meter, &g->timing, err->code, NULL);
    g->settled = true;
    g->last = *err;
    g->last_rc = rc;
    g->last_fault = f;
    return plan(g, f) ? 0 : rc;
}

/* Until one has begun to answer. 0, or SI_E* with *err. */
static int co_answer(gateway_call_t *g, llm_error_t *err)
{
    const conf_model_t *before = g->model;
    int                 rc;

    for (;;) {
        rc = co_choose(g, err);             /* who, at which key; waits where that is needed */
        if (rc != 0) {
            return rc;
        }
        if (before != NULL && before != g->model) {
            log_line(LOG_INFO, "another model is asked", "model", g->model->name, "instead of", before->name, "since", g->last.code, NULL);
            meter_fallback(proc.gateway->meter, before);
        }
        before = g->model;
        rc = co_ask(g, err);                /* up to the first piece */
        if (rc == 0) {
            return 0;
        }
        rc = failed(g, rc, err);            /* what that means: another key, another model, the end */
        if (rc != 0) {
            return rc;
        }
    }
}

int co_gateway_open(arena_t *a, const llm_request_t *q, const gateway_spec_t *spec, gateway_call_t **out, llm_error_t *err)
{
    gateway_call_t *g = arena_calloc(a, sizeof *g);
    uint64_t        now = clock_ms(), until = now + proc.conf->gateway_deadline;
    int             rc;

    *out = NULL;
    g->arena = a;
    g->q = *q;
    g->q.deadline = q->deadline != 0 ? SI_MIN(q->deadline, until) : until;
    g->spec = *spec;
    g->patience = now + proc.conf->gateway_wait;
    g->settled = true;
    route_of(proc.conf, spec, &g->route);
    if (g->route.n == 0) {
        return provider_fail(err, SI_EINVAL, "unknown_model", 0, false, "there is no such model");
    }
    rc = co_answer(g, err);
    if (rc == 0) {
        *out = g;
    }
    return rc;
}

/* The model broke off after it had spoken. Begins anew if the caller can bear it. */
static int co_restart(gateway_call_t *g, int rc, chat_event_t *ev, llm_error_t *err)
{
    llm_error_t why = *err;

    rc = failed(g, rc, err);
    if (rc != 0) {
        return rc;
    }
    if (!g->spec.restarts || g->restarts >= proc.conf->gateway_restarts) {
        return g->last_rc;
    }
    g->restarts++;
    g->patience = clock_ms() + proc.conf->gateway_wait;
    rc = co_answer(g, err);
    if (rc == 0) {
        *ev = (chat_event_t) { .kind = CHAT_RESTART };
        return 1;
    }
    if (rc != SI_ECANCELED) {
        *err = why;                     /* why the answer that was seen is not whole */
    }
    return rc;
}

int co_gateway_next(gateway_call_t *g, chat_event_t *ev, llm_error_t *err)
{
    if (g->held) {
        g->held = false;
        *ev = g->first;
        return 1;
    }
    if (g->rc > 0) {
        g->rc = g->provider->co_next(g->call, ev, err);
        if (g->rc > 0) {
            meter_piece(proc.gateway->meter, &g->timing);
        } else if (g->rc < 0) {
            g->rc = co_restart(g, g->rc, ev, err);
        }
    }
    if (g->rc == 0) {
        meter_end(proc.gateway->meter, &g->timing, NULL, gateway_result(g));
    }
    return g->rc;
}

const llm_result_t *gateway_result(const gateway_call_t *g)
{
    return g->call != NULL ? g->provider->result(g->call) : &g->result;
}

const conf_model_t *gateway_model(const gateway_call_t *g)
{
    return g->model;
}

void gateway_close(gateway_call_t *g)
{
    meter_end(proc.gateway->meter, &g->timing, "cancelled", NULL);      /* unless it has ended */
    hang_up(g);
}
