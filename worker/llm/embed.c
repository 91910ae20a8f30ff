/* Vectors of many texts: from Redis, then in batches from a model. co_pass() shows it: read it first. */
#include "llm/embed.h"

#include <stdio.h>

#include "base/proc.h"
#include "base/util.h"
#include "llm/embed_cache.h"
#include "llm/embed_format.h"
#include "llm/filter.h"
#include "llm/meter.h"
#include "run/co.h"

#define BATCH_MAX      256              /* texts of one request, unless the configuration wants more: a smaller answer is read sooner */

/* A call of co_embed(). */
typedef struct {
    arena_t               *arena;
    const embed_request_t *q;
    const gateway_spec_t  *spec;
    embed_result_t        *out;
    route_t                route;
    size_t                 dimensions;  /* as asked for, by the request or the configuration; 0: the model's own */
    uint64_t               deadline;
    str_t                 *keys;        /* of the cache, of every input; NULL: there is none */
    const float          **vectors;     /* of every input; NULL: not yet */
    size_t                *missing;     /* numbers of the inputs that a model is asked for */
    embed_input_t         *todo;        /* the same, themselves */
    size_t                 ntodo;

    size_t                 inputs_max, bytes_max;       /* of one batch */
    size_t                 next;        /* of todo: the first one that is in no batch yet */
    co_t                  *helpers[EMBED_PARALLEL];
    const trace_t         *trace;       /* of the caller */
    size_t                 running;
    wait_t                 over;        /* a helper has ended */
    int                    rc;          /* of the first batch that failed */
    llm_error_t           *err;
} embed_t;

const conf_model_t *embed_first(const gateway_spec_t *spec)
{
    gateway_spec_t s = *spec;
    route_t        r;

    s.embeddings = true;
    s.model = s.model != NULL ? s.model : "embeddings";
    route_of(proc.conf, &s, &r);
    return r.n > 0 ? r.models[0] : NULL;
}

/* Who may be asked: 0, or SI_EINVAL with *err. */
static int find_route(embed_t *e)
{
    gateway_spec_t s = *e->spec;

    s.embeddings = true;
    s.model = s.model != NULL ? s.model : "embeddings";
    route_of(proc.conf, &s, &e->route);
    route_space(&e->route, e->q->space, e->q->dimensions != 0, conf_model(proc.conf, str_of(s.model)) == NULL);
    if (e->route.n == 0) {
        return provider_fail(e->err, SI_EINVAL, "unknown_model", 0, false, "there is no such model of embeddings%s%s",
                             e->q->space != NULL ? " in the vector space " : "", e->q->space != NULL ? e->q->space : "");
    }
    e->out->model = e->route.models[0];
    e->out->space = e->route.models[0]->space;
    e->dimensions = e->q->dimensions != 0 ? e->q->dimensions : (size_t) e->out->model->dimensions;
    return 0;
}

/* --- batches --- */

static size_t bytes_of(const embed_input_t *in)
{
    return in->tokens != NULL ? 2 * in->ntokens : in->text.n;
}

/* What one request of this model takes. */
static void narrow(embed_t *e, const conf_model_t *m)
{
    const embed_format_t *f = embed_format(m->provider->kind);

    if (f != NULL) {
        size_t most = m->batch != 0 && f->inputs_max > 1 ? (size_t) m->batch : SI_MIN(f->inputs_max, (size_t) BATCH_MAX);

        e->inputs_max = SI_MIN(e->inputs_max, most);
        e->bytes_max = f->bytes_max != 0 ? SI_MIN(e->bytes_max, f->bytes_max) : e->bytes_max;
    }
}

/* A batch may come to any of the models that stand in for each other. */
static void find_limits(embed_t *e)
{
    e->inputs_max = EMBED_INPUTS_MAX;
    e->bytes_max = SIZE_MAX;
    for (size_t i = 0; i < e->route.n; i++) {
        const conf_model_t  *m = e->route.models[i];
        const conf_models_t *lists[] = { &m->context_fallback, &m->filter_fallback };

        narrow(e, m);
        for (size_t k = 0; k < SI_COUNT(lists); k++) {
            for (size_t j = 0; j < lists[k]->n; j++) {
                narrow(e, lists[k]->p[j]);
            }
        }
    }
}

/* Takes the next batch from todo. */
static size_t take_batch(embed_t *e, size_t *first)
{
    size_t n = 0, bytes = 0;

    *first = e->next;
    while (n < e->inputs_max && e->next < e->ntodo) {
        bytes += bytes_of(&e->todo[e->next]);
        if (n > 0 && bytes > e->bytes_max) {
            break;
        }
        n++;
        e->next++;
    }
    return n;
}

/* All vectors of an answer have the same number of dimensions, whoever made them. */
static int keep(embed_t *e, size_t first, const embed_answer_t *r)
{
    if (e->out->dimensions != 0 && e->out->dimensions != r->dimensions) {
        return SI_ECONFLICT;
    }
    e->out->dimensions = r->dimensions;
    e->out->input_tokens += r->tokens;
    if (e->out->name == NULL && r->model[0] != '\0') {
        e->out->name = arena_strdup(e->arena, r->model);
    }
    for (size_t i = 0; i < r->q->n; i++) {
        e->vectors[e->missing[first + i]] = r->vectors + i * r->dimensions;
    }
    return 0;
}

static int co_batch(embed_t *e, size_t first, size_t n)
{
    embed_batch_t       batch = { .inputs = e->todo + first, .n = n, .dimensions = e->dimensions, .use = e->q->use,
                                  .end_user = e->q->end_user, .deadline = e->deadline };
    llm_error_t         err = { .code = "" };
    embed_answer_t      r = { .arena = e->arena, .err = &err };
    const conf_model_t *model;
    int                 rc = co_embed_ask(&e->route, e->spec, &batch, &r, &model);

    rc = rc != 0 ? rc : keep(e, first, &r);
    if (rc == 0) {
        meter_vectors(gateway_meter(), model, n, false);
    } else if (e->rc == 0) {
        e->rc = rc;
        if (rc != SI_ECANCELED) {
            *e->err = err;
        }
    }
    return rc;
}

static void co_batches(embed_t *e)
{
    size_t first, n;

    while (e->rc == 0 && (n = take_batch(e, &first)) > 0) {
        (void) co_batch(e, first, n);
    }
}

static void cancel_helpers(embed_t *e)
{
    for (size_t i = 0; i < EMBED_PARALLEL; i++) {
        if (e->helpers[i] != NULL && e->helpers[i] != co_self()) {
            co_cancel(e->helpers[i]);
        }
    }
}

static void co_helper(void *arg)
{
    embed_t *e = arg;

    co_trace(e->trace);
    co_batches(e);
    if (e->rc != 0) {
        cancel_helpers(e);              /* one has failed: what the others bring is for nothing */
    }
    for (size_t i = 0; i < EMBED_PARALLEL; i++) {
        e->helpers[i] = e->helpers[i] == co_self() ? NULL : e->helpers[i];
    }
    e->running--;
    (void) wait_wake(&e->over, 0);
}

/* Asks for all of todo. The helpers use what is the caller's: it waits for them whatever happens. */
static int co_ask_all(embed_t *e)
{
    bool     stopped = false, masked = false;
    uint64_t deadline = 0;
    int      rc;

    if (embed_format(e->out->model->provider->kind) == NULL) {
        co_batches(e);
        return e->rc;
    }
    e->trace = co_self_trace();
    while (e->running < EMBED_PARALLEL && e->running < e->ntodo) {
        e->helpers[e->running] = co_spawn("embed", co_helper, e);
        e->running++;
    }
    while (e->running > 0) {
        wait_init(&e->over);
        rc = co_wait(&e->over, "embed:batches", CO_NO_DEADLINE);
        if (rc != 0 && !stopped) {      /* cancelled, or it took too long: for the helpers' end it waits all the same */
            stopped = true;
            e->rc = rc == SI_ECANCELED ? rc : provider_fail(e->err, rc, "provider_timeout", 0, true, "the call's time is up");
            cancel_helpers(e);
            masked = co_mask(true);
            deadline = co_deadline(0);
        }
    }
    if (stopped) {
        (void) co_mask(masked);
        (void) co_deadline(deadline);
    }
    return e->rc;
}

/* --- what is kept --- */

static int64_t tokens_of(const embed_input_t *in)
{
    return in->tokens != NULL ? (int64_t) in->ntokens : (int64_t) token_estimate(in->text);
}

/* 0 or SI_ECANCELED. */
static int co_look_up(embed_t *e)
{
    embed_cache_t c = { e->spec->tenant, e->out->model, e->dimensions, e->q->use };
    int           found;

    if (!embed_cache_on(&c)) {
        return 0;
    }
    e->keys = arena_alloc(e->arena, e->q->n * sizeof *e->keys);
    for (size_t i = 0; i < e->q->n; i++) {
        e->keys[i] = embed_cache_key(e->arena, &c, &e->q->inputs[i]);
    }
    e->out->dimensions = e->dimensions;
    found = co_embed_cache_get(e->arena, e->keys, e->q->n, &e->out->dimensions, e->vectors);
    if (found <= 0) {
        e->out->dimensions = 0;
        return found;
    }
    meter_vectors(gateway_meter(), e->out->model, (size_t) found, true);
    e->out->cached = (size_t) found;
    for (size_t i = 0; i < e->q->n; i++) {
        e->out->cached_tokens += e->vectors[i] != NULL ? tokens_of(&e->q->inputs[i]) : 0;
    }
    e->out->input_tokens = e->out->cached_tokens;
    return 0;
}

static int co_keep(embed_t *e)
{
    str_t        *keys = arena_alloc(e->arena, (e->ntodo + 1) * sizeof *keys);
    const float **vectors = arena_alloc(e->arena, (e->ntodo + 1) * sizeof *vectors);

    for (size_t i = 0; i < e->ntodo && e->keys != NULL; i++) {
        keys[i] = e->keys[e->missing[i]];
        vectors[i] = e->vectors[e->missing[i]];
    }
    return e->keys != NULL ? co_embed_cache_put(e->arena, keys, vectors, e->ntodo, e->out->dimensions) : 0;
}

/* --- all of it --- */

static void find_missing(embed_t *e)
{
    e->missing = arena_alloc(e->arena, e->q->n * sizeof *e->missing);
    e->todo = arena_alloc(e->arena, e->q->n * sizeof *e->todo);
    for (size_t i = 0; i < e->q->n; i++) {
        if (e->vectors[i] == NULL) {
            e->missing[e->ntodo] = i;
            e->todo[e->ntodo++] = e->q->inputs[i];
        }
    }
}

static void join(embed_t *e)
{
    embed_result_t *out = e->out;

    out->vectors = arena_alloc(e->arena, e->q->n * out->dimensions * sizeof(float));
    for (size_t i = 0; i < e->q->n; i++) {
        memcpy(out->vectors + i * out->dimensions, e->vectors[i], out->dimensions * sizeof(float));
    }
    out->name = out->name != NULL ? out->name : out->model->name;
}

/* kept: vectors that Redis has are taken. SI_ECONFLICT: they were of another number of dimensions than those that came. */
static int co_pass(arena_t *a, const embed_request_t *q, const gateway_spec_t *spec, bool kept, embed_result_t *out, llm_error_t *err)
{
    uint64_t until = clock_ms() + proc.conf->gateway_deadline;
    embed_t  e = { .arena = a, .q = q, .spec = spec, .out = out, .err = err, .deadline = q->deadline != 0 ? SI_MIN(q->deadline, until) : until };
    int      rc;

    *out = (embed_result_t) { .vectors = NULL };
    e.vectors = arena_calloc(a, q->n * sizeof *e.vectors);
    rc = find_route(&e);
    rc = rc != 0 || !kept ? rc : co_look_up(&e);
    if (rc != 0) {
        return rc;
    }
    find_missing(&e);
    find_limits(&e);
    rc = co_ask_all(&e);
    rc = rc != 0 ? rc : co_keep(&e);
    if (rc == 0) {
        join(&e);
    }
    return rc;
}

/* The inputs as the filters let them through, each as if it were a message. */
static int co_filter(arena_t *a, embed_request_t *q, const gateway_spec_t *spec, llm_error_t *err)
{
    filter_call_t  *f = filter_open(gateway_filters(), proc.conf, a, spec);
    chat_message_t *messages = arena_alloc(a, q->n * sizeof *messages);
    embed_input_t  *inputs = arena_alloc(a, q->n * sizeof *inputs);
    llm_request_t   as_chat = { .messages = messages, .nmessages = q->n, .options = CHAT_OPTIONS_NONE };
    int             rc;

    for (size_t i = 0; f != NULL && i < q->n; i++) {
        if (q->inputs[i].tokens != NULL) {
            return provider_fail(err, SI_EINVAL, "unsupported", 0, false, "filters cannot look at tokens: send texts");
        }
        messages[i] = chat_text(a, CHAT_USER, q->inputs[i].text);
    }
    rc = co_filter_request(f, &as_chat, err);
    for (size_t i = 0; f != NULL && rc == 0 && i < q->n; i++) {
        inputs[i] = (embed_input_t) { .text = as_chat.messages[i].parts[0].text };
        if (inputs[i].text.n == 0) {
            rc = provider_fail(err, SI_EINVAL, "content_filtered", 0, false, "a filter leaves nothing of a text");
        }
    }
    q->inputs = f != NULL ? inputs : q->inputs;
    return rc;
}

int co_embed(arena_t *a, const embed_request_t *asked, const gateway_spec_t *spec, embed_result_t *out, llm_error_t *err)
{
    embed_request_t passed = *asked, *q = &passed;
    int             rc = co_filter(a, q, spec, err);

    rc = rc != 0 ? rc : co_pass(a, q, spec, true, out, err);
    rc = rc == SI_ECONFLICT ? co_pass(a, q, spec, false, out, err) : rc;
    if (rc == SI_ECONFLICT) {
        return provider_fail(err, SI_EPROTO, "provider_protocol", 0, false, "models of the vector space %s have vectors of different lengths", out->space);
    }
    return rc;
}
