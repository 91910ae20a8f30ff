/* One batch of texts: one model after the other, until one has made its vectors. */
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "llm/account.h"
#include "llm/embed_format.h"
#include "llm/lexical.h"
#include "llm/meter.h"
#include "llm/model_span.h"
#include "run/co.h"

#define LEXICAL_PIECE  (64u << 10)      /* bytes that are hashed before others have their turn */

/* What is asked for must be had: a number of dimensions, above all. */
static int check(const embed_format_t *f, const embed_batch_t *q, llm_error_t *err)
{
    if (q->dimensions != 0 && !f->shrinks && q->dimensions != q->model->dimensions) {
        return format_unsupported(err, q->model->provider->kind, "a number of dimensions");
    }
    return 0;
}

static int co_lexical(embed_answer_t *r)
{
    const embed_batch_t *q = r->q;
    size_t               bytes = 0;

    r->dimensions = q->dimensions;      /* the configuration has some always */
    r->vectors = arena_alloc(r->arena, q->n * r->dimensions * sizeof *r->vectors);
    r->tokens = 0;
    memcpy(r->model, CONF_LEXICAL_SPACE, sizeof CONF_LEXICAL_SPACE);
    for (size_t i = 0; i < q->n; i++) {
        if (q->inputs[i].tokens != NULL) {
            return format_unsupported(r->err, "lexical", "tokens");
        }
        lexical_vector(q->inputs[i].text, r->vectors + i * r->dimensions, r->dimensions);
        r->tokens += (int64_t) token_estimate(q->inputs[i].text);
        bytes += q->inputs[i].text.n + r->dimensions;
        if (bytes > LEXICAL_PIECE) {
            bytes = 0;
            if (co_yield() != 0) {
                return SI_ECANCELED;
            }
        }
    }
    return 0;
}

static int co_one(embed_answer_t *r)
{
    const embed_format_t *f = embed_format(r->q->model->provider->kind);
    int                   rc;

    *r->err = (llm_error_t) { .code = "" };
    r->vectors = NULL;
    r->accepted = f == NULL;
    r->tokens = -1;
    r->model[0] = '\0';
    if (f == NULL) {
        return co_lexical(r);
    }
    rc = check(f, r->q, r->err);
    return rc != 0 ? rc : co_embed_post(f, r);
}

static int64_t estimate(const embed_batch_t *q)
{
    int64_t n = 0;

    for (size_t i = 0; i < q->n; i++) {
        n += q->inputs[i].tokens != NULL ? (int64_t) q->inputs[i].ntokens : (int64_t) token_estimate(q->inputs[i].text);
    }
    return n;
}

static void note_failure(const conf_model_t *m, const embed_answer_t *r)
{
    const llm_error_t *err = r->err;
    char               status[16];

    (void) snprintf(status, sizeof status, "%d", err->status);
    log_line(LOG_WARN, "embedding failed", "provider", m->provider->name, "model", m->name, "code", err->code,
             "status", err->status != 0 ? status : NULL, "why", r->why, NULL);
}

/* One call of the model that was chosen, with its counters and its span, on its caller's account. *over: it must not be made (SI_EAGAIN: another may be). */
static int co_try(attempt_t *t, const gateway_spec_t *spec, embed_batch_t *q, embed_answer_t *r, model_span_t *span, bool *over)
{
    account_t    account = { .spec = spec, .operation = "embeddings", .model = t->model, .endpoint = t->endpoint, .input = estimate(q) };
    llm_result_t said = { .finish = "stop" };
    meter_call_t timing;
    const char  *code;
    int          rc = co_account_begin(&account, r->err);

    *over = rc != 0;
    if (rc == SI_EAGAIN) {
        attempt_limited(t, r->err);
        return rc;
    }
    if (rc != 0) {
        attempt_cancelled(t);
        return rc;
    }
    q->model = attempt_begin(t);
    meter_start(gateway_meter(), &timing, t->model, t->tries > 1);
    q->traceparent = model_span_start(span, r->arena, "embeddings", q->model, NULL, t->tries);
    rc = co_one(r);
    code = rc == 0 ? NULL : rc == SI_ECANCELED ? "cancelled" : r->err->code;
    if (rc == 0) {
        attempt_good(t);
    } else if (rc == SI_ECANCELED) {
        attempt_cancelled(t);
    } else {
        note_failure(q->model, r);
        model_span_status(span, r->err->status);
    }
    said.estimated = r->tokens < 0;
    said.input_tokens = r->tokens = r->tokens < 0 ? account.input : r->tokens;
    meter_end(gateway_meter(), &timing, code, &said);
    account_end(&account, code, r->accepted ? &said : NULL);
    model_span_end(span, code, r->accepted ? &said : NULL, &account.usage);
    return rc;
}

int co_embed_ask(const route_t *route, const gateway_spec_t *spec, const embed_batch_t *batch, embed_answer_t *r, const conf_model_t **model)
{
    const conf_model_t *before = NULL;
    embed_batch_t      *q = arena_alloc(r->arena, sizeof *q);
    attempt_t           t;
    model_span_t        span = { .span = NULL };
    bool                over;
    int                 rc;

    *q = *batch;
    attempt_init(&t, gateway_health(), spec->tenant, q->deadline);
    t.route = *route;
    r->q = q;
    do {
        rc = co_attempt_choose(&t, r->err);
        if (rc != 0) {
            return rc;
        }
        if (before != NULL && before != t.model) {
            log_line(LOG_INFO, "another model is asked", "model", t.model->name, "instead of", before->name, "since", t.last.code, NULL);
            meter_fallback(gateway_meter(), before);
        }
        before = t.model;
        rc = co_try(&t, spec, q, r, &span, &over);
    } while (rc != 0 && rc != SI_ECANCELED && (over ? rc == SI_EAGAIN : attempt_failed(&t, rc, r->err)));
    *model = q->model = t.model;
    return rc;
}
