#include "llm/model_span.h"

#include <stdio.h>

#include "base/util.h"
#include "io/otlp.h"
#include "llm/aws_sign.h"

/* server.address and server.port of a URL. */
static void put_server(span_t *s, const char *url)
{
    const char *host = strstr(url, "://"), *colon;
    char        name[256];
    size_t      n;
    bool        tls = strncmp(url, "https:", 6) == 0;
    uint64_t    port = tls ? 443 : 80;

    host = host != NULL ? host + 3 : url;
    n = strcspn(host, "/?#");
    host = memrchr(host, '@', n) != NULL ? (const char *) memrchr(host, '@', n) + 1 : host;    /* a password may hold one */
    n = strcspn(host, "/?#");
    colon = memrchr(host, ':', n);
    if (colon != NULL && parse_u64((str_t) { colon + 1, n - (size_t) (colon + 1 - host) }, &port) == 0) {
        n = (size_t) (colon - host);
    }
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    (void) snprintf(name, sizeof name, "%.*s", (int) n, host);
    span_text(s, "server.address", name);
    span_int(s, "server.port", (int64_t) port);
}

static void put_number(span_t *s, const char *key, int64_t v)
{
    if (v >= 0) {
        span_int(s, key, v);
    }
}

/* What was asked for; NAN is left out by span_real(). */
static void put_options(span_t *s, const chat_options_t *o, const conf_model_t *model)
{
    put_number(s, "gen_ai.request.max_tokens", o->max_tokens >= 0 ? o->max_tokens : model->max_tokens > 0 ? (int64_t) model->max_tokens : -1);
    span_real(s, "gen_ai.request.temperature", o->temperature);
    span_real(s, "gen_ai.request.top_p", o->top_p);
    span_real(s, "gen_ai.request.frequency_penalty", o->frequency_penalty);
    span_real(s, "gen_ai.request.presence_penalty", o->presence_penalty);
    if (o->top_k >= 0) {
        span_real(s, "gen_ai.request.top_k", (double) o->top_k);
    }
    if (o->has_seed) {
        span_int(s, "gen_ai.request.seed", o->seed);
    }
    if (o->shape != SHAPE_FREE) {
        span_text(s, "gen_ai.output.type", "json");
    }
}

static void put_address(span_t *s, arena_t *a, const conf_provider_t *p)
{
    if (strcmp(p->kind, "bedrock") == 0) {
        put_server(s, aws_base_url(a, p, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "bedrock-runtime"));
    } else if (strcmp(p->kind, "sagemaker") == 0) {
        put_server(s, aws_base_url(a, p, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "runtime.sagemaker"));
    } else if (p->base_url[0] != '\0') {
        put_server(s, p->base_url);
    }
}

static void put_request(span_t *s, arena_t *a, const char *operation, const conf_model_t *model, const chat_options_t *options)
{
    span_text(s, "gen_ai.operation.name", operation);
    span_text(s, "gen_ai.provider.name", provider_word(model->provider));
    span_text(s, "gen_ai.request.model", model->upstream);
    if (options != NULL) {
        span_flag(s, "gen_ai.request.stream", model->stream == NULL || strcmp(model->stream, "off") != 0);
        put_options(s, options, model);
    }
    put_address(s, a, model->provider);
    span_text(s, "si.model", model->name);
    span_text(s, "si.endpoint", model->provider->name);
}

const char *model_span_start(model_span_t *m, arena_t *a, const char *operation, const conf_model_t *model, const chat_options_t *options,
                             unsigned tries)
{
    char name[160];

    if (!otlp_on()) {
        return NULL;
    }
    (void) snprintf(name, sizeof name, "%s %s", operation, model->upstream);
    m->span = span_new(a, SPAN_CLIENT, (span_from_t) { .parent = span_here() }, name);
    if (m->span == NULL) {
        return NULL;
    }
    if (span_trace(m->span)->sampled) {
        put_request(m->span, a, operation, model, options);
        span_int(m->span, "si.attempt", tries);
    }
    if (m->model != NULL) {
        span_link(m->span, &m->last, strcmp(m->model, model->name) == 0 ? "retry" : "fallback");
    }
    m->last = *span_trace(m->span);
    m->model = model->name;
    m->start = clock_us();
    m->begun = false;
    if (strcmp(model->provider->traceparent, "on") != 0) {
        return NULL;
    }
    memcpy(m->header, "traceparent: ", sizeof "traceparent: ");
    trace_header(&m->last, m->header + strlen(m->header));
    return m->header;
}

void model_span_cached(arena_t *a, const conf_model_t *model, const chat_options_t *options, const llm_result_t *r)
{
    char    name[160];
    span_t *s;

    (void) snprintf(name, sizeof name, "chat %s", model->upstream);
    s = span_new(a, SPAN_INTERNAL, (span_from_t) { .parent = span_here() }, name);
    if (s != NULL && span_trace(s)->sampled) {
        put_request(s, a, "chat", model, options);
        span_text(s, "gen_ai.response.model", r->model);
        span_list(s, "gen_ai.response.finish_reasons", r->finish);
        span_text(s, "si.cache", "hit");
    }
    span_end(s);
}

void model_span_piece(model_span_t *m)
{
    if (m->span != NULL && !m->begun) {
        m->begun = true;
        span_real(m->span, "gen_ai.response.time_to_first_chunk", (double) (clock_us() - m->start) / 1e6);
        span_event(m->span, "si.first_token");
    }
}

static void put_more(span_t *s, const char *key, int64_t v)
{
    if (v > 0) {
        span_int(s, key, v);
    }
}

static void put_result(span_t *s, const llm_result_t *r, const usage_t *u)
{
    span_text(s, "gen_ai.response.id", r->id);
    span_text(s, "gen_ai.response.model", r->model);
    span_list(s, "gen_ai.response.finish_reasons", r->finish);
    span_int(s, "gen_ai.usage.input_tokens", u->input_tokens);
    span_int(s, "gen_ai.usage.output_tokens", u->output_tokens);
    put_more(s, "gen_ai.usage.cache_read.input_tokens", u->cached_tokens);
    put_more(s, "gen_ai.usage.cache_creation.input_tokens", u->cache_write_tokens);
    put_more(s, "gen_ai.usage.reasoning.output_tokens", u->reasoning_tokens);
    put_more(s, "si.cost_microdollars", u->cost);
    if (u->estimated) {
        span_flag(s, "si.usage.estimated", true);
    }
}

void model_span_status(model_span_t *m, int status)
{
    if (status > 0) {
        span_int(m->span, "http.response.status_code", status);
    }
}

void model_span_end(model_span_t *m, const char *code, const llm_result_t *r, const usage_t *u)
{
    if (m->span == NULL) {
        return;
    }
    if (r != NULL) {
        put_result(m->span, r, u);
    }
    if (code != NULL) {
        span_fail(m->span, code);
    }
    span_end(m->span);
    m->span = NULL;
}
