/* Reserving and settling. co_budget_reserve() shows it: read it first. */
#include "llm/budget.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "llm/budget_in.h"
#include "llm/price.h"
#include "run/co.h"
#include "store/allowance.h"

#define TRIES     3             /* the last one takes the sum as it is: under load there is always somebody who settles meanwhile */
#define SUM_MS    5000          /* a counter that is unknown is waited for */
#define AWAY_MS   1000          /* while Redis is away, it is asked by one call in so long */

struct budget_hold {
    arena_t *arena;             /* holds the hold */
    char     id[UUID_LEN + 1];
    const char *tenant;         /* or NULL */
    bool     local;             /* of this worker's share */
    bool     doubtful;          /* Redis was asked, and may have reserved */
    size_t   n;
    rule_t   rules[];
};

/* --- what is reserved --- */

static int64_t price_of(const account_t *c, int64_t output)
{
    return price_cost(&c->model->price, &(llm_result_t) { .input_tokens = c->input, .output_tokens = output });
}

static void want(const account_t *c, rule_t *rules, size_t n)
{
    int64_t output = SI_MIN(c->output_max >= 0 ? c->output_max : (int64_t) proc.conf->budget_output, (int64_t) CHAT_TOKENS_MAX);

    for (size_t i = 0; i < n; i++) {
        counter_t *k = &rules[i].counter;
        k->want = k->unit == UNIT_MONEY ? price_of(c, output) : k->unit == UNIT_CALLS ? 1 : c->input + output;
    }
}

/* *out NULL: no rule holds. 0, or SI_E*: nobody can say what the key may use. */
static int co_gather(const account_t *c, struct budget_hold **out)
{
    const gateway_spec_t *s = c->spec;
    arena_t              *a;
    struct budget_hold   *h;
    budget_call_t         call = { .tenant = s->tenant, .user = s->user, .key = s->key, .agent = s->agent, .model = c->model };
    allowance_t           own;
    int                   n, rc = s->key != NULL ? co_allowance(s->tenant, s->user, s->key, &own) : SI_ENOENT;

    *out = NULL;
    call.allowance = rc == 0 ? &own : NULL;
    rc = rc == SI_ENOENT ? 0 : rc;
    if (rc != 0 || !budget_any(proc.conf, &call)) {
        return rc;
    }
    a = arena_new(2048);
    h = arena_alloc(a, sizeof *h + RULES_MAX * sizeof h->rules[0]);
    *h = (struct budget_hold) { .arena = a, .tenant = s->tenant };
    n = budget_rules(a, proc.conf, &call, c->started, h->rules);
    if (n == 0) {
        arena_free(a);
        return 0;
    }
    h->n = n < 0 ? 0 : (size_t) n;
    memcpy(h->id, c->id, sizeof h->id);
    want(c, h->rules, h->n);
    *out = h;
    return 0;
}

/* --- Redis --- */

static void collect(const struct budget_hold *h, counter_t *list)
{
    for (size_t i = 0; i < h->n; i++) {
        list[i] = h->rules[i].counter;
    }
}

/*
 * Sums up what Redis does not know. What it knew before may have grown a moment ago, and that has to be in the ledger first; while
 * it is unknown nothing is granted. 0 or SI_E*.
 */
static int co_sum(arena_t *a, rule_t *rules, size_t nrules)
{
    spent_t *list[RULES_MAX];
    size_t   n = 0;
    bool     lost = false;
    int      rc;

    for (size_t i = 0; i < nrules; i++) {
        counter_t *c = &rules[i].counter;

        if (c->unknown) {
            list[n++] = &rules[i].spent;
            lost = lost || c->doubt_ms >= 0 || local_known(proc.budgets->locals, c);
        }
        c->doubt_ms = -1;
    }
    if (lost && co_sleep(BUDGET_LAG_MS, "budget:ledger") == SI_ECANCELED) {
        return SI_ECANCELED;
    }
    rc = n > 0 ? co_store_spent(a, list, n) : 0;
    for (size_t i = 0; rc == 0 && i < nrules; i++) {
        counter_t *c = &rules[i].counter;
        c->base = !c->unknown ? c->base : c->unit == UNIT_MONEY ? rules[i].spent.money : rules[i].spent.calls;
    }
    return rc;
}

static void mark_summing(const struct budget_hold *h, uint64_t until)
{
    for (size_t i = 0; i < h->n; i++) {
        if (h->rules[i].counter.unknown) {
            local_sum(proc.budgets->locals, &h->rules[i].counter, until);
        }
    }
}

/* The sums that Redis wants, once for all calls of this worker that need one. 1: somebody else has made it; 0, or SI_E*. */
static int co_base(struct budget_hold *h, bool last)
{
    struct budgets *b = proc.budgets;
    int             rc;

    for (size_t i = 0; i < h->n; i++) {
        if (h->rules[i].counter.unknown && local_summing(b->locals, &h->rules[i].counter, clock_ms())) {
            rc = co_wait_in(&b->summed, "budget:sum", clock_ms() + SUM_MS);
            return rc == 0 ? 1 : rc;
        }
    }
    mark_summing(h, clock_ms() + SUM_MS);
    rc = co_sum(h->arena, h->rules, h->n);
    mark_summing(h, 0);
    waiters_wake(&b->summed, 0);
    for (size_t i = 0; i < h->n && last; i++) {
        h->rules[i].counter.version = -1;
    }
    b->count.rebuilt += rc == 0;
    return rc;
}

/* As co_counters_reserve(), with the sums that it wants. */
static int co_ask(struct budget_hold *h, str_t *why)
{
    counter_t *list = arena_calloc(h->arena, (h->n + 1) * sizeof *list);
    str_t      what = budget_what(h->arena, h->tenant, h->rules, h->n);
    uint64_t   lapse = proc.conf->gateway_deadline + proc.conf->lease_ms, until = clock_ms() + SUM_MS;
    int        rc = SI_ECONFLICT, base;

    for (size_t i = 0; i < h->n; i++) {
        h->rules[i].counter.doubt_ms = local_doubted(proc.budgets->locals, &h->rules[i].counter, proc.budgets->round, clock_ms());
    }
    *why = STR_NULL;
    for (int tries = 1; rc == SI_ECONFLICT && tries <= TRIES && clock_ms() < until; ) {
        collect(h, list);
        rc = co_counters_reserve(h->arena, h->id, lapse, what.p, list, h->n, why);
        for (size_t i = 0; i < h->n; i++) {
            h->rules[i].counter = list[i];
        }
        if (rc == SI_ECONFLICT) {
            base = co_base(h, tries == TRIES - 1);
            rc = base < 0 ? base : rc;
            tries += base == 0;
            *why = base < 0 ? STR("Postgres cannot sum up what was spent") : STR("a counter does not come to rest");
        }
    }
    for (size_t i = 0; rc == 0 && i < h->n; i++) {
        local_heard(proc.budgets->locals, &h->rules[i].counter, proc.budgets->round, clock_ms());
    }
    return rc;
}

/* --- refusals --- */

static const char *until_text(arena_t *a, uint64_t end)
{
    time_t    t = (time_t) (end / 1000);
    struct tm tm;
    char      text[32];

    if (end == UINT64_MAX) {
        return "";
    }
    (void) gmtime_r(&t, &tm);
    (void) strftime(text, sizeof text, " until %Y-%m-%dT%H:%M:%SZ", &tm);
    return arena_printf(a, "%s", text);
}

static int refuse(const struct budget_hold *h, const rule_t *r, bool *money, llm_error_t *err)
{
    static const char *const units[] = { "US dollars", "calls", "tokens" };
    const counter_t *c = &r->counter;
    uint64_t         now = clock_wall_ms();

    *money = !r->rate && c->unit == UNIT_MONEY;
    budget_refused(r);
    if (r->rate) {
        err->retry_ms = SI_MAX(c->wait_ms, 1);
        return provider_fail(err, r->of_model ? SI_EAGAIN : SI_EDENIED, "rate_limited", 0, true, "the limit \"%s\" of %lld %s a minute is reached",
                             r->name, (long long) c->limit, units[c->unit]);
    }
    err->retry_ms = r->end != UINT64_MAX && r->end > now ? r->end - now : 0;
    return provider_fail(err, r->of_model ? SI_EAGAIN : SI_EDENIED, "budget_exceeded", 0, false,
                         "the budget \"%s\" has not enough %s left for this call%s", r->name, units[c->unit], until_text(h->arena, r->end));
}

/* Whether a refuses for longer than b: no other model gets around it, it is a budget, it renews later. */
static bool worse(const rule_t *a, const rule_t *b)
{
    if (a->of_model != b->of_model) {
        return b->of_model;
    }
    return a->rate != b->rate ? b->rate : a->rate ? a->counter.wait_ms > b->counter.wait_ms : a->end > b->end;
}

static int refuse_unknown(llm_error_t *err)
{
    proc.budgets->count.closed++;
    err->retry_ms = AWAY_MS;
    return provider_fail(err, SI_EUNAVAIL, "budget_unavailable", 0, true, "what is left of a budget cannot be said now, try again");
}

/* The worst of all that refuse. */
static int refuse_worst(const struct budget_hold *h, bool *money, llm_error_t *err)
{
    const rule_t *worst = NULL;

    for (size_t i = 0; i < h->n; i++) {
        const rule_t *r = &h->rules[i];
        worst = r->counter.over && (worst == NULL || worse(r, worst)) ? r : worst;
    }
    return worst != NULL ? refuse(h, worst, money, err) : refuse_unknown(err);
}

/* --- without Redis --- */

static void tell_away(str_t why)
{
    struct budgets *b = proc.budgets;

    if (!b->away) {
        b->away = true;
        b->outage++;
        log_fmt(LOG_WARN, "budgets: each worker has its share until Redis answers: %.*s", (int) why.n, why.p);
    }
    b->ask_at = clock_ms() + AWAY_MS;
}

static void tell_back(void)
{
    if (proc.budgets->away) {
        proc.budgets->away = false;
        log_line(LOG_INFO, "budgets: Redis answers again", NULL);
    }
}

static int reserve_local(struct budget_hold *h, bool *money, llm_error_t *err)
{
    struct budgets *b = proc.budgets;
    uint64_t        shares = SI_MAX(b->nodes, 1) * SI_MAX(proc.conf->workers, 1), now = clock_ms();
    bool            over = false;

    for (size_t i = 0; i < h->n; i++) {
        if (h->rules[i].closed) {
            return refuse_unknown(err);
        }
    }
    for (size_t i = 0; i < h->n; i++) {
        counter_t *c = &h->rules[i].counter;
        c->over = !local_allows(b->locals, c, b->outage, shares, now);
        c->wait_ms = AWAY_MS;
        over = over || c->over;
    }
    if (over) {
        return refuse_worst(h, money, err);
    }
    for (size_t i = 0; i < h->n; i++) {
        local_take(b->locals, &h->rules[i].counter);
    }
    h->local = true;
    b->count.shared++;
    return 0;
}

/* --- both --- */

static int co_hold(struct budget_hold *h, bool *money, llm_error_t *err)
{
    struct budgets *b = proc.budgets;
    str_t           why;
    int             rc;

    if (h->n == 0) {
        log_fmt(LOG_ERROR, "more than %d budgets and rates hold for one call", RULES_MAX);
        return refuse_unknown(err);
    }
    if (b->away && clock_ms() < b->ask_at) {
        return reserve_local(h, money, err);
    }
    b->ask_at = clock_ms() + AWAY_MS;       /* while it is away, one call waits for it, and no other */
    rc = co_ask(h, &why);
    h->doubtful = rc != 0 && rc != SI_EDENIED;
    if (rc == SI_ECANCELED) {
        return rc;
    }
    if (rc == 0 || rc == SI_EDENIED) {
        tell_back();
        return rc == 0 ? 0 : refuse_worst(h, money, err);
    }
    tell_away(why);
    return reserve_local(h, money, err);
}

/* What Redis may have reserved for a call that is not made after all; if it has not, this does nothing. */
static void co_give_back(void *arg)
{
    struct budget_hold *h = arg;
    counter_t          *list = arena_calloc(h->arena, h->n * sizeof *list);

    collect(h, list);
    (void) co_counters_settle(h->arena, h->id, true, 0, list, h->n);
    arena_free(h->arena);
}

int co_budget_reserve(const account_t *account, struct budget_hold **hold, bool *money, llm_error_t *err)
{
    struct budget_hold *h;
    int                 rc;

    *hold = NULL;
    *money = false;
    if (proc.budgets == NULL || (proc.conf->nbudgets + proc.conf->nrates == 0 && account->spec->key == NULL)) {
        return 0;
    }
    rc = co_gather(account, &h);
    if (rc != 0 || h == NULL) {
        return rc == 0 || rc == SI_ECANCELED ? rc : refuse_unknown(err);
    }
    budget_sweep();
    rc = co_hold(h, money, err);
    if (rc != 0 && h->doubtful) {
        co_spawn("give back", co_give_back, h);
        return rc;
    }
    if (rc != 0) {
        arena_free(h->arena);
        return rc;
    }
    proc.budgets->count.outstanding++;
    *hold = h;
    return 0;
}

/* What the ledger has stored by then, or will have within a moment, is summed up anew when Redis was not told. */
static void co_settle(void *arg)
{
    struct budget_hold *h = arg;
    counter_t          *list = arena_calloc(h->arena, h->n * sizeof *list);
    uint64_t            round = proc.budgets->round;
    int                 rc;

    collect(h, list);
    rc = co_counters_settle(h->arena, h->id, false, 0, list, h->n);
    if ((rc != 0 && rc != SI_ENOENT) || round != proc.budgets->round) {
        for (size_t i = 0; i < h->n; i++) {
            local_doubt(proc.budgets->locals, &list[i], clock_ms());
        }
    }
    proc.budgets->count.outstanding--;
    arena_free(h->arena);
}

void budget_settle(struct budget_hold *h, const usage_t *usage, bool counted)
{
    for (size_t i = 0; i < h->n; i++) {
        rule_t    *r = &h->rules[i];
        counter_t *c = &r->counter;

        c->used = c->unit == UNIT_MONEY ? usage->cost : c->unit == UNIT_CALLS ? r->rate || counted : usage->input_tokens + usage->output_tokens;
        budget_used(r);
        if (h->local) {
            local_settle(proc.budgets->locals, c);
        }
    }
    co_spawn("settle", co_settle, h);
}

int co_budget_look(arena_t *a, const char *tenant, const char *user, const char *key, rule_t **out)
{
    rule_t       *rules = *out = arena_calloc(a, RULES_MAX * sizeof *rules);
    counter_t    *list = arena_calloc(a, RULES_MAX * sizeof *list);
    budget_call_t call = { .tenant = tenant, .user = user, .key = key };
    allowance_t   own;
    int           all, n = 0, rc = key != NULL ? co_allowance(tenant, user, key, &own) : SI_ENOENT;

    if (rc != 0 && rc != SI_ENOENT) {
        return rc;
    }
    call.allowance = rc == 0 ? &own : NULL;
    all = budget_rules(a, proc.conf, &call, clock_wall_ms(), rules);
    for (int i = 0; i < all; i++) {
        if (rules[i].spent.tenant != NULL) {
            list[n] = rules[i].counter;
            rules[n++] = rules[i];
        }
    }
    rc = n > 0 ? co_counters_look(a, list, (size_t) n) : 0;
    for (int i = 0; i < n; i++) {
        rules[i].counter = list[i];
    }
    rc = rc != 0 ? rc : co_sum(a, rules, (size_t) n);
    for (int i = 0; i < n && rc == 0; i++) {
        counter_t *c = &rules[i].counter;
        c->left -= c->unknown ? c->base + 1 : 0;        /* used was -1 */
        c->used = c->unknown ? c->base : c->used;
    }
    return rc != 0 ? rc : n;
}
