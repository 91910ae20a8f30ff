/*
 * Budgets and rates: what account.h reserves before a call of a model and settles after it. See budgets and rates in
 * conf/si.yaml for what they promise, store/counter.h for the counters, budget_rule.h for which ones hold.
 *
 * A call that no rule holds asks nobody. Any other asks Redis once and waits for that; the settlement is sent and not waited
 * for. A counter that Redis does not know costs a sum of the ledger and a second question: once in a period, or when Redis has
 * lost its memory or was away.
 */
#ifndef SI_BUDGET_H
#define SI_BUDGET_H

#include "base/buf.h"
#include "llm/account.h"
#include "llm/budget_rule.h"
#include "store/usage.h"

#define BUDGET_SWEEP_MS  1000   /* between two looks for reservations that have lapsed */


/* Sets proc.budgets; needs proc.conf and redis_init(). */
void budgets_init(void);
/*
 * For co_account_begin(): *hold is what is reserved (NULL: no rule holds). 0, or SI_E* with *err and nothing reserved:
 *   SI_EDENIED  402 budget_exceeded (*money: dollars are short, fewer tokens or a cheaper model might do), or 429 rate_limited
 *   SI_EAGAIN   the same of a rule of this model or its provider: another model may be asked, or this one after err->retry_ms
 *   SI_EUNAVAIL 503 budget_unavailable: Redis is away, and a rule says `closed`
 *   SI_ECANCELED
 */
struct budget_hold;
int  co_budget_reserve(const account_t *account, struct budget_hold **hold, bool *money, llm_error_t *err);
/* For account_end(): once for each hold, which is freed. counted: it was more than a try, so that a budget of calls counts it. */
void budget_settle(struct budget_hold *hold, const usage_t *usage, bool counted);

/*
 * What holds for a caller and counts nobody of another tenant, whatever the model: in the arena, with counter.used and
 * counter.left as they are now. Their number, or SI_E*: nobody can say.
 */
int  co_budget_look(arena_t *a, const char *tenant, const char *user, const char *key, rule_t **out);

/* For the ledger: it has stored the row of a call whose worker is gone; what that one held is settled. 0, or SI_E* of Redis. */
int  co_budget_buried(const usage_row_t *row);

void budget_metrics(buf_t *b);

#endif
