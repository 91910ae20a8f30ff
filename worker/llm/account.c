#include "llm/account.h"

#include "base/proc.h"
#include "llm/budget.h"
#include "llm/ledger.h"
#include "llm/meter.h"
#include "llm/price.h"

#define FULL_MS  5000           /* until the ledger tries Postgres again, at the latest: RETRY_MAX of ledger.c */

static void release(account_t *a, bool counted)
{
    if (a->hold != NULL) {
        budget_settle(a->hold, &a->usage, counted);
        a->hold = NULL;
    }
}

int co_account_begin(account_t *a, llm_error_t *err)
{
    int rc;

    uuid_new(a->id);
    a->started = clock_wall_ms();       /* budgets and ledger: of the same period */
    rc = co_budget_reserve(a, &a->hold, &a->money, err);
    if (rc != 0) {
        return rc;
    }
    a->start = clock_us();
    a->first = 0;
    a->received = 0;
    a->usage = (usage_t) { 0 };
    a->entry = NULL;
    if (proc.ledger != NULL && a->spec->tenant != NULL) {
        a->entry = ledger_begin(a);
        if (a->entry == NULL) {
            release(a, false);
            err->retry_ms = FULL_MS;
            return provider_fail(err, SI_EUNAVAIL, "ledger_full", 503, true, "usage cannot be written down now");
        }
    }
    a->open = true;
    return 0;
}

void account_cached(account_t *a, const llm_result_t *r)
{
    uuid_new(a->id);
    a->started = clock_wall_ms();
    a->start = clock_us();
    a->usage = (usage_t) { 0 };
    a->entry = proc.ledger != NULL && a->spec->tenant != NULL ? ledger_begin(a) : NULL;
    if (a->entry != NULL) {
        ledger_end(a->entry, a, "cached");
        a->entry = NULL;
    }
    a->usage = (usage_t) { .input_tokens = r->input_tokens, .cached_tokens = r->cached_tokens, .cache_write_tokens = r->cache_write_tokens,
                           .output_tokens = r->output_tokens, .reasoning_tokens = r->reasoning_tokens, .cached_answer = true,
                           .estimated = r->estimated };
}

void account_piece(account_t *a, const chat_event_t *ev)
{
    a->first = a->first != 0 ? a->first : clock_us();
    a->received += ev->text.n;
    if (a->entry != NULL) {
        ledger_received(a->entry, a->received);
    }
}

/* What the provider said, and where it has not (or was cut), an estimate. */
static llm_result_t counted(const account_t *a, bool whole, const llm_result_t *r)
{
    llm_result_t n = *r;

    if (n.input_tokens < 0) {
        n.input_tokens = a->input;
        n.estimated = true;
    }
    if (!whole || n.output_tokens < 0) {
        n.output_tokens = SI_MAX(n.output_tokens, (int64_t) token_estimate((str_t) { "", a->received }));
        n.estimated = true;
    }
    return n;
}

void account_end(account_t *a, const char *code, const llm_result_t *r)
{
    llm_result_t n;

    if (!a->open) {
        return;
    }
    a->open = false;
    if (r != NULL) {
        n = counted(a, code == NULL, r);
        a->usage = (usage_t) {
            .input_tokens = n.input_tokens, .cached_tokens = SI_MAX(n.cached_tokens, 0),
            .cache_write_tokens = SI_MAX(n.cache_write_tokens, 0), .output_tokens = n.output_tokens,
            .reasoning_tokens = SI_MAX(n.reasoning_tokens, 0), .cost = price_cost(&a->model->price, &n), .estimated = n.estimated,
        };
    }
    if (proc.gateway != NULL) {
        meter_usage(gateway_meter(), a->model, &a->usage);
    }
    if (a->entry != NULL) {
        ledger_end(a->entry, a, code != NULL ? code : "ok");
        a->entry = NULL;
    }
    release(a, code == NULL || a->usage.input_tokens + a->usage.output_tokens > 0);
}
