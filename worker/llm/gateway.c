/* Asks one model after the other. co_answer() shows it: read it first. */
#include "llm/gateway.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "llm/account.h"
#include "llm/attempt.h"
#include "llm/cache.h"
#include "llm/filter.h"
#include "llm/ledger.h"
#include "llm/meter.h"
#include "llm/model_span.h"
#include "llm/seal.h"
#include "llm/spare.h"
#include "run/co.h"

/* Of the process. */
struct gateway {
    health_t *health;
    meter_t  *meter;
    filter_set_t *filters;
    cache_t  *cache;
};

struct gateway_call {
    arena_t               *arena;
    llm_request_t          asked;       /* the caller's, as the filters let it through */
    llm_request_t          q;           /* it, as the model of the moment may see it */
    gateway_spec_t         spec;
    attempt_t              t;           /* who is asked */
    filter_call_t         *filter;      /* NULL: nothing is looked at */
    cache_call_t          *cache;       /* NULL: nothing is kept */
    bool                   hit;         /* the answer comes from there */
    unsigned               restarts;
    spare_t                spared;
    const provider_t      *provider;
    llm_call_t            *call;        /* NULL: between two */
    meter_call_t           timing;
    account_t              account;     /* of the model call */
    model_span_t           span;        /* the same */
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
    proc.gateway->filters = filter_set_new(proc.conf);
    proc.gateway->cache = cache_new();
}

void gateway_exit(void)
{
    if (proc.gateway != NULL) {
        health_free(proc.gateway->health);
        meter_free(proc.gateway->meter);
        filter_set_free(proc.gateway->filters);
        cache_free(proc.gateway->cache);
        free(proc.gateway);
        proc.gateway = NULL;
    }
}

struct health *gateway_health(void)
{
    return proc.gateway->health;
}

struct meter *gateway_meter(void)
{
    return proc.gateway->meter;
}

struct filter_set *gateway_filters(void)
{
    return proc.gateway->filters;
}

void gateway_metrics(buf_t *b)
{
    meter_print(proc.gateway->meter, proc.gateway->health, b, clock_ms());
    filter_set_print(proc.gateway->filters, b);
    cache_print(proc.gateway->cache, b);
    ledger_metrics(b);
}

const conf_model_t *gateway_first(const gateway_spec_t *spec)
{
    route_t r;

    route_of(proc.conf, spec, &r);
    return r.n > 0 ? r.models[0] : NULL;
}

/* --- one model call --- */

/* The first piece has come, or the whole of an answer without any, or a failure. 0: that is an answer; SI_E* with *err: none. */
static int judge(gateway_call_t *g, llm_error_t *err)
{
    const llm_result_t *r = g->rc == 0 ? g->provider->result(g->call) : NULL;

    if (g->rc != 0) {
        return g->rc;
    }
    if (strcmp(r->finish, "content_filter") == 0 && (g->t.model->filter_fallback.n > 0 || g->t.at + 1 < g->t.route.n)) {
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

/* A piece of the answer has come: it is counted, and marked where only its provider can read it. */
static void note_piece(gateway_call_t *g, chat_event_t *ev)
{
    meter_piece(proc.gateway->meter, &g->timing);
    account_piece(&g->account, ev);
    seal_mark(g->arena, g->t.model, ev);
    model_span_piece(&g->span);
}

/* The model call is over: code of its failure, NULL: well. r: NULL: the provider has not even accepted it. Once for each. */
static void settle(gateway_call_t *g, const char *code, const llm_result_t *r)
{
    meter_end(proc.gateway->meter, &g->timing, code, r);
    account_end(&g->account, code, r);
    model_span_end(&g->span, code, r, &g->account.usage);
}

/* May the model that was chosen be asked? 0; 1: no, but choose again; or SI_E* with *err. */
static int co_admit(gateway_call_t *g, llm_error_t *err)
{
    int64_t max = g->asked.options.max_tokens;
    int     rc, spared;

    max = max >= 0 ? max : g->t.model->max_tokens > 0 ? (int64_t) g->t.model->max_tokens : -1;
    g->account = (account_t) {
        .spec = &g->spec, .operation = "chat", .model = g->t.model, .endpoint = g->t.endpoint, .output_max = max,
        .input = (int64_t) chat_tokens(g->asked.messages, g->asked.nmessages, &g->asked.options),
    };
    rc = co_account_begin(&g->account, err);
    if (rc == SI_EAGAIN) {
        attempt_limited(&g->t, err);
        return 1;
    }
    if (rc != 0) {
        attempt_cancelled(&g->t);
    }
    if (rc == 0 || !g->account.money) {
        return rc;
    }
    spared = co_spare(g->arena, &g->spec, g->filter, &g->spared, &g->asked, &g->t);
    return spared != 0 ? spared : rc;
}

/* Asks the model that was chosen, up to the first piece of its answer. */
static int co_ask(gateway_call_t *g, llm_error_t *err)
{
    int rc;

    *err = (llm_error_t) { .code = "" };
    g->q.model = attempt_begin(&g->t);
    g->provider = provider_find(g->q.model->provider->kind);
    seal_open(g->arena, &g->asked, g->t.model, &g->q);
    meter_start(proc.gateway->meter, &g->timing, g->t.model, g->t.tries > 1);
    g->q.traceparent = model_span_start(&g->span, g->arena, "chat", g->q.model, &g->q.options, g->t.tries);
    rc = g->provider->co_open(g->provider, g->arena, &g->q, &g->call, err);
    if (rc == 0) {
        g->rc = g->provider->co_next(g->call, &g->first, err);
        g->held = g->rc > 0;
        if (g->held) {
            note_piece(g, &g->first);
        }
        rc = judge(g, err);
    }
    if (rc < 0) {
        return rc;
    }
    attempt_good(&g->t);
    return 0;
}

/* --- a failure --- */

/* A model call ended with rc: what it means. 0: go on with the next one; SI_E*: that is the end, *err says why. */
static int failed(gateway_call_t *g, int rc, llm_error_t *err)
{
    const llm_result_t *said = g->call != NULL ? &g->result : NULL;

    hang_up(g);
    g->held = false;
    if (rc == SI_ECANCELED) {
        attempt_cancelled(&g->t);
        settle(g, "cancelled", said);
        return rc;
    }
    model_span_status(&g->span, err->status);
    settle(g, err->code, said);
    return attempt_failed(&g->t, rc, err) ? 0 : rc;
}

/* Until one has begun to answer. 0, or SI_E* with *err. */
static int co_answer(gateway_call_t *g, llm_error_t *err)
{
    const conf_model_t *before = g->t.model;
    int                 rc;

    for (;;) {
        rc = co_attempt_choose(&g->t, err);     /* who, at which key; waits where that is needed */
        if (rc != 0) {
            return rc;
        }
        if (before != NULL && before != g->t.model) {
            log_line(LOG_INFO, "another model is asked", "model", g->t.model->name, "instead of", before->name, "since", g->t.last.code, NULL);
            meter_fallback(proc.gateway->meter, before);
        }
        before = g->t.model;
        rc = co_admit(g, err);                  /* may its caller pay for it? */
        if (rc > 0) {
            continue;
        }
        if (rc != 0) {
            return rc;
        }
        rc = co_ask(g, err);                    /* up to the first piece */
        if (rc == 0) {
            return 0;
        }
        rc = failed(g, rc, err);                /* what that means: another key, another model, the end */
        if (rc != 0) {
            return rc;
        }
    }
}

/* Looks whether the answer was given before. 0 or SI_ECANCELED. */
static int co_remember(gateway_call_t *g)
{
    int rc;

    g->cache = cache_open(proc.gateway->cache, proc.conf, g->arena, &g->spec, &g->asked, g->t.route.models[0], g->filter);
    rc = g->cache != NULL ? co_cache_find(g->cache) : 0;
    if (rc <= 0) {
        return rc;
    }
    g->hit = true;
    g->t.model = g->t.route.models[0];
    g->result = *cache_result(g->cache);
    g->account = (account_t) { .spec = &g->spec, .operation = "chat", .model = g->t.model, .endpoint = g->t.model->provider };
    account_cached(&g->account, &g->result);
    model_span_cached(g->arena, g->t.model, &g->asked.options, &g->result);
    return 0;
}

int co_gateway_open(arena_t *a, const llm_request_t *q, const gateway_spec_t *spec, gateway_call_t **out, llm_error_t *err)
{
    gateway_call_t *g = arena_calloc(a, sizeof *g);
    uint64_t        until = clock_ms() + proc.conf->gateway_deadline;
    int             rc;

    *out = NULL;
    g->arena = a;
    g->asked = *q;
    g->asked.deadline = q->deadline != 0 ? SI_MIN(q->deadline, until) : until;
    g->spec = *spec;
    attempt_init(&g->t, proc.gateway->health, spec->tenant, g->asked.deadline);
    route_of(proc.conf, spec, &g->t.route);
    if (g->t.route.n == 0) {
        return provider_fail(err, SI_EINVAL, "unknown_model", 0, false, "there is no such model");
    }
    g->filter = filter_open(proc.gateway->filters, proc.conf, a, spec);
    rc = co_filter_request(g->filter, &g->asked, err);
    g->q = g->asked;
    rc = rc != 0 ? rc : co_remember(g);
    rc = rc != 0 || g->hit ? rc : co_answer(g, err);
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
        return g->t.last_rc;
    }
    g->restarts++;
    g->t.patience = clock_ms() + proc.conf->gateway_wait;
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

/* The answer as the model gives it. */
static int co_pull(void *call, chat_event_t *ev, llm_error_t *err)
{
    gateway_call_t *g = call;

    if (g->held) {
        g->held = false;
        *ev = g->first;
        return 1;
    }
    if (g->rc > 0) {
        g->rc = g->provider->co_next(g->call, ev, err);
        if (g->rc > 0) {
            note_piece(g, ev);
        } else if (g->rc < 0) {
            g->rc = co_restart(g, g->rc, ev, err);
        }
    }
    if (g->rc == 0) {
        settle(g, NULL, gateway_result(g));
    }
    return g->rc;
}

/* A filter blocked the answer: the model need not go on with it. */
static void stop(gateway_call_t *g)
{
    hang_up(g);
    g->held = false;
    g->rc = 0;
    account_end(&g->account, g->result.finish[0] == '\0' ? "content_filtered" : NULL, &g->result);     /* cut short, or whole */
    g->result.input_tokens = g->account.usage.input_tokens;
    g->result.output_tokens = g->account.usage.output_tokens;
    g->result.estimated = g->account.usage.estimated;
    snprintf(g->result.finish, sizeof g->result.finish, "content_filter");
    settle(g, NULL, &g->result);
}

/* The answer as it may be seen. */
static int co_next(gateway_call_t *g, chat_event_t *ev, llm_error_t *err)
{
    int rc = g->filter == NULL ? co_pull(g, ev, err) : co_filter_next(g->filter, co_pull, g, ev, err);

    if (rc == 0 && g->filter != NULL && filter_blocked(g->filter)) {
        stop(g);
    }
    return rc;
}

int co_gateway_next(gateway_call_t *g, chat_event_t *ev, llm_error_t *err)
{
    int rc;

    if (g->hit) {
        return cache_next(g->cache, ev);
    }
    rc = co_next(g, ev, err);
    if (g->cache != NULL && rc > 0) {
        cache_note(g->cache, ev);
    } else if (g->cache != NULL && rc == 0 && g->spared.stage == 0) {      /* who can pay gets what was asked for */
        cache_keep(g->cache, gateway_result(g), g->t.model);
    }
    return rc;
}

const char *gateway_cache_status(const gateway_call_t *g)
{
    return cache_status(g->cache);
}

const llm_result_t *gateway_result(const gateway_call_t *g)
{
    return g->call != NULL ? g->provider->result(g->call) : &g->result;
}

const conf_model_t *gateway_model(const gateway_call_t *g)
{
    return g->t.model;
}

const usage_t *gateway_usage(const gateway_call_t *g)
{
    return &g->account.usage;
}

void gateway_close(gateway_call_t *g)
{
    settle(g, "cancelled", gateway_result(g));      /* unless it has ended */
    hang_up(g);
}
