#include "llm/budget_rule.h"

#include <inttypes.h>
#include <time.h>

#include "base/hash.h"
#include "base/util.h"

#define MINUTE     60000ull
#define HOUR       (60 * MINUTE)
#define DAY        (24 * HOUR)
#define LATE       (2 * HOUR)   /* a call that began within a period may end so long after it */
#define FOR_EVER   (30 * DAY)   /* a counter that nobody asks for is forgotten, and summed up when somebody does */
#define SEED       0x5369u      /* of a digest that has to be the same in every process */

void budget_period(const char *period, uint64_t now, uint64_t *start, uint64_t *end)
{
    static const struct { const char *name; uint64_t ms; } periods[] = { { "minute", MINUTE }, { "hour", HOUR }, { "day", DAY } };
    time_t    t = (time_t) (now / 1000);
    struct tm tm;

    *start = 0;
    *end = UINT64_MAX;
    for (size_t i = 0; i < SI_COUNT(periods); i++) {
        if (strcmp(period, periods[i].name) == 0) {
            *start = now - now % periods[i].ms;
            *end = *start + periods[i].ms;
            return;
        }
    }
    if (strcmp(period, "month") == 0) {
        (void) gmtime_r(&t, &tm);
        tm = (struct tm) { .tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = 1 };
        *start = (uint64_t) timegm(&tm) * 1000;
        tm = (struct tm) { .tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1 };
        *end = (uint64_t) timegm(&tm) * 1000;
    }
}

static bool of_any(const char *wanted, const char *is)
{
    return wanted == NULL || wanted[0] == '\0' || (is != NULL && strcmp(wanted, is) == 0);
}

static bool fits(const conf_budget_t *b, const budget_call_t *call)
{
    if (b->dollars == 0 && b->calls == 0 && b->tokens == 0) {
        return false;                   /* it bounds nothing */
    }
    return of_any(b->tenant, call->tenant) && of_any(b->user, call->user) && of_any(b->key, call->key) && of_any(b->agent, call->agent)
           && (b->model == NULL || (call->model != NULL && strcmp(b->model, call->model->name) == 0))
           && (b->provider == NULL || (call->model != NULL && call->model->provider == b->provider));
}

static const char *some(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* Whose: false when the call has none. */
static bool subject_of(const conf_budget_t *b, const budget_call_t *call, spent_t *s, const char **subject)
{
    *s = (spent_t) { .tenant = some(b->tenant), .user = some(b->user), .key = some(b->key), .agent = b->agent, .model = b->model,
                     .provider = b->provider != NULL ? b->provider->name : NULL };
    *subject = "-";
    if (strcmp(b->per, "tenant") == 0) {
        *subject = s->tenant = call->tenant;
    } else if (strcmp(b->per, "user") == 0) {
        *subject = s->user = call->user;
    } else if (strcmp(b->per, "key") == 0) {
        *subject = s->key = call->key;
    } else if (strcmp(b->per, "agent") == 0) {
        *subject = s->agent = call->agent;
    }
    /* The ledger's rows are found by their tenant, and a user's or a key's are of one. */
    s->tenant = s->user != NULL || s->key != NULL ? call->tenant : s->tenant;
    s->user = s->key != NULL ? call->user : s->user;
    return *subject != NULL;
}

typedef struct {
    arena_t             *a;
    const budget_call_t *call;
    uint64_t             now;
    rule_t              *out;
    int                  n;     /* -1: too many */
} gather_t;

static void add(gather_t *g, const rule_t *r)
{
    if (g->n == RULES_MAX) {
        g->n = -1;
    } else if (g->n >= 0) {
        g->out[g->n++] = *r;
    }
}

/* `mark`: digest of what it counts. */
static void add_window(gather_t *g, rule_t r, const char *period, const char *mark, const char *subject, counter_unit_t unit, uint64_t limit)
{
    uint64_t start;

    if (limit == 0) {
        return;
    }
    budget_period(period, g->now, &start, &r.end);
    r.spent.start = start;
    r.spent.end = r.end;
    r.counter = (counter_t) {
        .kind = COUNTER_WINDOW, .unit = unit, .limit = (int64_t) limit, .base = -1, .doubt_ms = -1,
        .until = r.end == UINT64_MAX ? g->now + FOR_EVER : r.end + LATE,
        .key = arena_printf(g->a, COUNTER_PREFIX "%s:%s:%s:%s:%" PRIu64 ":%s", r.name, unit == UNIT_MONEY ? "money" : "calls", mark, period,
                            start / 1000, subject),
    };
    add(g, &r);
}

static void add_bucket(gather_t *g, rule_t r, const char *mark, const char *subject, counter_unit_t unit, uint64_t limit)
{
    if (limit == 0) {
        return;
    }
    r.rate = true;
    r.end = UINT64_MAX;
    r.counter = (counter_t) {
        .kind = COUNTER_BUCKET, .unit = unit, .limit = (int64_t) limit, .base = -1, .doubt_ms = -1,
        .key = arena_printf(g->a, COUNTER_PREFIX "rate:%s:%s:%s:%s", r.name, unit == UNIT_TOKENS ? "tokens" : "requests", mark, subject),
    };
    add(g, &r);
}

static const char *mark_of(arena_t *a, const conf_budget_t *b)
{
    const char *text = arena_printf(a, "%s %s %s %s %s %s %s", b->per, b->tenant, b->user, b->key, b->agent != NULL ? b->agent : "",
                                    b->model != NULL ? b->model : "", b->provider != NULL ? b->provider->name : "");

    return arena_printf(a, "%08x", (unsigned) (hash_bytes(SEED, text, strlen(text)) & 0xffffffffu));
}

static void add_budget(gather_t *g, const conf_budget_t *b, int index, bool rate)
{
    rule_t      r = { .name = b->name, .index = index, .of_model = b->model != NULL || b->provider != NULL, .closed = strcmp(b->away, "closed") == 0 };
    const char *subject, *mark;

    if (!fits(b, g->call) || !subject_of(b, g->call, &r.spent, &subject)) {
        return;
    }
    mark = mark_of(g->a, b);
    if (rate) {
        add_bucket(g, r, mark, subject, UNIT_CALLS, b->calls);
        add_bucket(g, r, mark, subject, UNIT_TOKENS, b->tokens);
    } else {
        add_window(g, r, b->period, mark, subject, UNIT_MONEY, b->dollars);
        add_window(g, r, b->period, mark, subject, UNIT_CALLS, b->calls);
    }
}

static void add_key(gather_t *g, const allowance_t *k)
{
    const budget_call_t *c = g->call;
    rule_t               r = { .name = "key", .index = -1, .spent = { .tenant = c->tenant, .user = c->user, .key = c->key } };

    add_window(g, r, k->period, "own", c->key, UNIT_MONEY, (uint64_t) k->dollars);
    add_window(g, r, k->period, "own", c->key, UNIT_CALLS, (uint64_t) k->calls);
    add_bucket(g, r, "own", c->key, UNIT_CALLS, (uint64_t) k->requests);
    add_bucket(g, r, "own", c->key, UNIT_TOKENS, (uint64_t) k->tokens);
}

bool budget_any(const conf_t *c, const budget_call_t *call)
{
    bool any = call->allowance != NULL && call->key != NULL;

    for (size_t i = 0; i < c->nbudgets && !any; i++) {
        any = fits(&c->budgets[i], call);
    }
    for (size_t i = 0; i < c->nrates && !any; i++) {
        any = fits(&c->rates[i], call);
    }
    return any;
}

int budget_rules(arena_t *a, const conf_t *c, const budget_call_t *call, uint64_t now, rule_t out[RULES_MAX])
{
    gather_t g = { a, call, now, out, 0 };

    for (size_t i = 0; i < c->nbudgets; i++) {
        add_budget(&g, &c->budgets[i], (int) i, false);
    }
    for (size_t i = 0; i < c->nrates; i++) {
        add_budget(&g, &c->rates[i], (int) i, true);
    }
    if (call->allowance != NULL && call->key != NULL) {
        add_key(&g, call->allowance);
    }
    return g.n;
}
