#include "llm/count.h"

#include "base/proc.h"
#include "base/util.h"
#include "llm/attempt.h"
#include "llm/filter.h"
#include "llm/format.h"
#include "llm/seal.h"

#define COUNT_MS  10000         /* all tries together; then it is estimated */

/* One try. 0, or SI_E* with *err. */
static int co_ask(arena_t *a, const llm_request_t *q, int64_t *tokens, llm_error_t *err)
{
    chat_event_t ev;
    llm_call_t  *call;
    int          rc = co_remote_open(&provider_anthropic_count, a, q, &call, err);

    if (rc != 0) {
        return rc;
    }
    rc = co_remote_next(call, &ev, err);
    *tokens = remote_result(call)->input_tokens;
    remote_close(call);
    return rc;
}

/* At the model's keys, as for an answer. */
static int co_ask_model(arena_t *a, const llm_request_t *asked, const gateway_spec_t *spec, const conf_model_t *m, int64_t *tokens,
                        llm_error_t *err)
{
    llm_request_t q = *asked;
    attempt_t     t;
    int           rc;

    attempt_init(&t, gateway_health(), spec->tenant, q.deadline);
    t.route.models[t.route.n++] = m;
    for (;;) {
        rc = co_attempt_choose(&t, err);
        if (rc != 0) {
            return rc;
        }
        q.model = attempt_begin(&t);
        seal_open(a, asked, t.model, &q);
        rc = co_ask(a, &q, tokens, err);
        if (rc == 0) {
            attempt_good(&t);
            return 0;
        }
        if (rc == SI_ECANCELED) {
            attempt_cancelled(&t);
            return rc;
        }
        if (!attempt_failed(&t, rc, err)) {
            return rc;
        }
    }
}

/* The provider's word that counts: the request is wrong, wherever it is sent. */
static bool is_verdict(const llm_error_t *err)
{
    return err->status == 400 || err->status == 413 || err->status == 422 || strcmp(err->code, "unsupported") == 0;
}

int co_count_tokens(arena_t *a, const llm_request_t *asked, const gateway_spec_t *spec, int64_t *tokens, bool *estimated, llm_error_t *err)
{
    const conf_model_t *m = gateway_first(spec);
    llm_request_t       q = *asked;
    int                 rc = co_filter_request(filter_open(gateway_filters(), proc.conf, a, spec), &q, err);

    *estimated = false;
    if (rc != 0) {
        return rc;
    }
    q.deadline = SI_MIN(q.deadline, clock_ms() + COUNT_MS);
    if (strcmp(m->provider->kind, "anthropic") == 0) {
        rc = co_ask_model(a, &q, spec, m, tokens, err);
        if (rc == 0 || rc == SI_ECANCELED || is_verdict(err)) {
            return rc;
        }
    }
    *estimated = true;
    *tokens = (int64_t) chat_tokens(q.messages, q.nmessages, &q.options);
    return 0;
}
