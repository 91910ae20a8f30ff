#include "llm/meter.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"
#include "llm/account.h"
#include "llm/provider.h"

#define BUCKETS_MAX  14
#define US           1e6

/* Codes by which calls are counted; what is not here is "other". */
static const char *const codes[] = {
    "ok", "cancelled", "provider_unavailable", "provider_timeout", "provider_rate_limited", "provider_auth", "provider_rejected",
    "provider_protocol", "context_length", "content_filter", "unsupported", "answer_empty", "answer_too_large", "answer_cut", "other",
};

/* Bounds of OpenTelemetry's semantic conventions for generative AI. */
static const double durations[] = { 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92 };
static const double firsts[] = { 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10 };
static const double betweens[] = { 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5 };
static const double counts[] = { 1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864 };

/* Kinds of tokens: the whole input and output, and parts of them. */
static const char *const kinds[] = { "input", "cached_input", "cache_write", "output", "reasoning" };

typedef enum { DURATION, FIRST_TOKEN, BETWEEN, INPUT, OUTPUT, NHISTOGRAMS } which_t;

static const struct {
    const double *bounds;
    size_t        n;
} shapes[NHISTOGRAMS] = {
    { durations, SI_COUNT(durations) }, { firsts, SI_COUNT(firsts) }, { betweens, SI_COUNT(betweens) },
    { counts, SI_COUNT(counts) }, { counts, SI_COUNT(counts) },
};

typedef struct {
    uint64_t n[BUCKETS_MAX + 1];        /* the last one: above all bounds */
    uint64_t all;
    double   sum;
} histogram_t;

typedef struct {
    uint64_t    calls[SI_COUNT(codes)], retries, fallbacks;
    uint64_t    vectors[2];             /* made, kept */
    uint64_t    tokens[SI_COUNT(kinds)], cost;      /* micro-dollars */
    histogram_t histograms[NHISTOGRAMS];
} model_meter_t;

struct meter {
    const conf_t  *conf;
    model_meter_t *models;
};

meter_t *meter_new(const conf_t *c)
{
    meter_t *m = si_calloc(sizeof *m);

    m->conf = c;
    m->models = si_calloc((c->nmodels + 1) * sizeof *m->models);
    return m;
}

void meter_free(meter_t *m)
{
    if (m != NULL) {
        free(m->models);
        free(m);
    }
}

static model_meter_t *of(const meter_t *m, const conf_model_t *model)
{
    return &m->models[model - m->conf->models];
}

static void observe(model_meter_t *mm, which_t which, double v)
{
    histogram_t *h = &mm->histograms[which];
    size_t       i = 0;

    while (i < shapes[which].n && v > shapes[which].bounds[i]) {
        i++;
    }
    h->n[i == shapes[which].n ? BUCKETS_MAX : i]++;
    h->all++;
    h->sum += v;
}

void meter_start(meter_t *m, meter_call_t *c, const conf_model_t *model, bool again)
{
    *c = (meter_call_t) { .model = model, .start = clock_us(), .open = true };
    of(m, model)->retries += again;
}

void meter_fallback(meter_t *m, const conf_model_t *from)
{
    of(m, from)->fallbacks++;
}

void meter_piece(meter_t *m, meter_call_t *c)
{
    c->last = clock_us();
    if (c->first == 0) {
        c->first = c->last;
        observe(of(m, c->model), FIRST_TOKEN, (double) (c->first - c->start) / US);
    }
}

void meter_vectors(meter_t *m, const conf_model_t *model, size_t n, bool kept)
{
    of(m, model)->vectors[kept] += n;
}

void meter_usage(meter_t *m, const conf_model_t *model, const usage_t *u)
{
    model_meter_t *mm = of(m, model);
    const int64_t  n[] = { u->input_tokens, u->cached_tokens, u->cache_write_tokens, u->output_tokens, u->reasoning_tokens };

    for (size_t i = 0; i < SI_COUNT(kinds); i++) {
        mm->tokens[i] += (uint64_t) n[i];
    }
    mm->cost += (uint64_t) u->cost;
}

void meter_end(meter_t *m, meter_call_t *c, const char *code, const llm_result_t *r)
{
    model_meter_t *mm = c->open ? of(m, c->model) : NULL;
    size_t         i = 0;

    if (mm == NULL) {
        return;
    }
    c->open = false;
    code = code != NULL ? code : codes[0];
    while (i + 1 < SI_COUNT(codes) && strcmp(codes[i], code) != 0) {
        i++;
    }
    mm->calls[i]++;
    observe(mm, DURATION, (double) (clock_us() - c->start) / US);
    if (i != 0 || r == NULL) {
        return;
    }
    observe(mm, INPUT, (double) SI_MAX(r->input_tokens, 0));
    if (conf_embeds(c->model)) {
        return;
    }
    observe(mm, OUTPUT, (double) SI_MAX(r->output_tokens, 0));
    if (r->output_tokens > 1 && c->first != 0) {
        observe(mm, BETWEEN, (double) (c->last - c->first) / US / (double) (r->output_tokens - 1));
    }
}

/* --- text --- */

static void put_histogram(buf_t *b, const char *name, const conf_model_t *m, const histogram_t *h, which_t which, const char *more)
{
    char     labels[512];
    uint64_t sum = 0;

    if (h->all == 0) {
        return;
    }
    (void) snprintf(labels, sizeof labels, "gen_ai_operation_name=\"%s\",gen_ai_provider_name=\"%s\",gen_ai_request_model=\"%s\"%s",
                    m->type, provider_word(m->provider), m->name, more);
    for (size_t i = 0; i < shapes[which].n; i++) {
        sum += h->n[i];
        (void) buf_printf(b, "%s_bucket{%s,le=\"%.10g\"} %" PRIu64 "\n", name, labels, shapes[which].bounds[i], sum);
    }
    (void) buf_printf(b, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n%s_sum{%s} %.9g\n%s_count{%s} %" PRIu64 "\n", name, labels, h->all,
                      name, labels, h->sum, name, labels, h->all);
}

static void put_histograms(const meter_t *m, buf_t *b, which_t which, const char *name, const char *help)
{
    (void) buf_printf(b, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (size_t i = 0; i < m->conf->nmodels; i++) {
        const histogram_t *h = m->models[i].histograms;

        if (which == INPUT) {
            put_histogram(b, name, &m->conf->models[i], &h[INPUT], INPUT, ",gen_ai_token_type=\"input\"");
            put_histogram(b, name, &m->conf->models[i], &h[OUTPUT], OUTPUT, ",gen_ai_token_type=\"output\"");
        } else {
            put_histogram(b, name, &m->conf->models[i], &h[which], which, "");
        }
    }
}

static void put_calls(const meter_t *m, buf_t *b)
{
    (void) buf_puts(b, "# HELP si_model_calls_total Calls of models, by how they ended.\n# TYPE si_model_calls_total counter\n");
    for (size_t i = 0; i < m->conf->nmodels; i++) {
        for (size_t k = 0; k < SI_COUNT(codes); k++) {
            if (m->models[i].calls[k] > 0) {
                (void) buf_printf(b, "si_model_calls_total{model=\"%s\",outcome=\"%s\"} %" PRIu64 "\n", m->conf->models[i].name, codes[k],
                                  m->models[i].calls[k]);
            }
        }
    }
}

static void put_counters(const meter_t *m, buf_t *b)
{
    (void) buf_puts(b, "# HELP si_model_retries_total Calls of models after another one for the same answer had failed.\n"
                       "# TYPE si_model_retries_total counter\n");
    for (size_t i = 0; i < m->conf->nmodels; i++) {
        (void) buf_printf(b, "si_model_retries_total{model=\"%s\"} %" PRIu64 "\n", m->conf->models[i].name, m->models[i].retries);
    }
    (void) buf_puts(b, "# HELP si_model_fallbacks_total Times that another model was asked instead.\n# TYPE si_model_fallbacks_total counter\n");
    for (size_t i = 0; i < m->conf->nmodels; i++) {
        (void) buf_printf(b, "si_model_fallbacks_total{model=\"%s\"} %" PRIu64 "\n", m->conf->models[i].name, m->models[i].fallbacks);
    }
}

static void put_vectors(const meter_t *m, buf_t *b)
{
    (void) buf_puts(b, "# HELP si_embeddings_total Vectors of texts, by where they came from: the model, or Redis.\n# TYPE si_embeddings_total counter\n");
    for (size_t i = 0; i < m->conf->nmodels; i++) {
        for (size_t k = 0; conf_embeds(&m->conf->models[i]) && k < 2; k++) {
            (void) buf_printf(b, "si_embeddings_total{model=\"%s\",from=\"%s\"} %" PRIu64 "\n", m->conf->models[i].name,
                              k == 0 ? "model" : "cache", m->models[i].vectors[k]);
        }
    }
}

static void put_usage(const meter_t *m, buf_t *b)
{
    (void) buf_puts(b, "# HELP gen_ai_client_cost_micro_dollars_total Cost of calls, in millionths of a US dollar, by models.*.price.\n"
                       "# TYPE gen_ai_client_cost_micro_dollars_total counter\n");
    for (size_t i = 0; i < m->conf->nmodels; i++) {
        const conf_model_t *model = &m->conf->models[i];

        (void) buf_printf(b, "gen_ai_client_cost_micro_dollars_total{gen_ai_provider_name=\"%s\",gen_ai_request_model=\"%s\"} %" PRIu64 "\n",
                          provider_word(model->provider), model->name, m->models[i].cost);
    }
    (void) buf_puts(b, "# HELP si_model_tokens_total Tokens of all calls, also of those that were cut; cached_input and cache_write are part of "
                       "input, reasoning is part of output.\n# TYPE si_model_tokens_total counter\n");
    for (size_t i = 0; i < m->conf->nmodels; i++) {
        for (size_t k = 0; k < SI_COUNT(kinds); k++) {
            if (m->models[i].tokens[k] > 0) {
                (void) buf_printf(b, "si_model_tokens_total{model=\"%s\",kind=\"%s\"} %" PRIu64 "\n", m->conf->models[i].name, kinds[k],
                                  m->models[i].tokens[k]);
            }
        }
    }
}

/* Breakers and rests of every model at every endpoint of its provider. */
static void put_health(const meter_t *m, const health_t *h, buf_t *b, uint64_t now, health_state_t state)
{
    uint64_t until;

    for (size_t i = 0; i < m->conf->nmodels; i++) {
        const conf_model_t *model = &m->conf->models[i];

        for (size_t k = 0; k < model->provider->nendpoints; k++) {
            const conf_provider_t *e = &model->provider->endpoints[k];

            (void) buf_printf(b, "%s{model=\"%s\",endpoint=\"%s\"} %d\n", state == HEALTH_OPEN ? "si_model_breaker_open" : "si_model_key_rests",
                              model->name, e->name, health_state(h, model, e, now, &until) == state);
        }
    }
}

static void put_opened(const meter_t *m, const health_t *h, buf_t *b)
{
    (void) buf_puts(b, "# HELP si_model_breaker_opened_total Times that the circuit breaker of a model at an endpoint has opened.\n"
                       "# TYPE si_model_breaker_opened_total counter\n");
    for (size_t i = 0; i < m->conf->nmodels; i++) {
        const conf_model_t *model = &m->conf->models[i];

        for (size_t k = 0; k < model->provider->nendpoints; k++) {
            const conf_provider_t *e = &model->provider->endpoints[k];

            (void) buf_printf(b, "si_model_breaker_opened_total{model=\"%s\",endpoint=\"%s\"} %" PRIu64 "\n", model->name, e->name,
                              health_opened(h, model, e));
        }
    }
}

static void put_keys(const meter_t *m, const health_t *h, buf_t *b, uint64_t now)
{
    (void) buf_puts(b, "# HELP si_provider_key_up Whether the key of an endpoint was taken when it was used last.\n"
                       "# TYPE si_provider_key_up gauge\n");
    for (size_t i = 0; i < m->conf->nproviders; i++) {
        for (size_t k = 0; k < m->conf->providers[i].nendpoints; k++) {
            const conf_provider_t *e = &m->conf->providers[i].endpoints[k];

            (void) buf_printf(b, "si_provider_key_up{endpoint=\"%s\"} %d\n", e->name, health_key_up(h, e, now));
        }
    }
}

void meter_print(const meter_t *m, const health_t *h, buf_t *b, uint64_t now)
{
    put_calls(m, b);
    put_counters(m, b);
    put_vectors(m, b);
    put_usage(m, b);
    (void) buf_puts(b, "# HELP si_model_breaker_open Whether the circuit breaker of a model at an endpoint lets nothing through.\n"
                       "# TYPE si_model_breaker_open gauge\n");
    put_health(m, h, b, now, HEALTH_OPEN);
    put_opened(m, h, b);
    (void) buf_puts(b, "# HELP si_model_key_rests Whether a key rests for a model, as its provider asked.\n# TYPE si_model_key_rests gauge\n");
    put_health(m, h, b, now, HEALTH_RESTS);
    put_keys(m, h, b, now);
    put_histograms(m, b, DURATION, "gen_ai_client_operation_duration_seconds", "Time of a call of a model.");
    put_histograms(m, b, FIRST_TOKEN, "gen_ai_server_time_to_first_token_seconds", "Time from the request to the first piece of the answer.");
    put_histograms(m, b, BETWEEN, "gen_ai_server_time_per_output_token_seconds", "Time for each token after the first.");
    put_histograms(m, b, INPUT, "gen_ai_client_token_usage", "Tokens of a call that went well.");
}
