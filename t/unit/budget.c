/* Which budgets and rates hold for a call, periods, shares while Redis is away, and contexts made shorter. */
#include "llm/budget_local.h"
#include "llm/budget_rule.h"
#include "llm/trim.h"

#include "conf_text.h"
#include "tap.h"

#define SEC  1000ull
#define NOW  (1764255600ull * SEC)      /* 2025-11-27T15:00:00Z */

static void is_period(const char *period, uint64_t now, uint64_t start, uint64_t end, const char *name)
{
    uint64_t s, e;

    budget_period(period, now, &s, &e);
    is_int((long long) (s / SEC), (long long) (start / SEC), name);
    is_int(e == UINT64_MAX ? -1 : (long long) (e / SEC), end == UINT64_MAX ? -1 : (long long) (end / SEC), "and its end");
}

static void periods(void)
{
    is_period("minute", NOW + 59999, NOW, NOW + 60 * SEC, "a minute");
    is_period("hour", NOW + 60 * SEC, NOW, NOW + 3600 * SEC, "an hour");
    is_period("day", NOW, 1764201600ull * SEC, 1764288000ull * SEC, "a day");
    is_period("month", NOW, 1761955200ull * SEC, 1764547200ull * SEC, "November");
    is_period("month", 1735689599ull * SEC, 1733011200ull * SEC, 1735689600ull * SEC, "December goes to the next year");
    is_period("month", 1709164800ull * SEC, 1706745600ull * SEC, 1709251200ull * SEC, "the 29th of February is of it");
    is_period("total", NOW, 0, UINT64_MAX, "for ever");
}

#define T1 "11111111-1111-7111-8111-111111111111"
#define T2 "22222222-2222-7222-8222-222222222222"

static const char yaml[] =
    "providers: { p: { kind: openai, base_url: http://x }, q: { kind: openai, base_url: http://y } }\n"
    "models: { m: { provider: p }, n: { provider: q } }\n"
    "agents: { dev: {} }\n"
    "budgets:\n"
    "  all: { per: all, period: day, dollars: 10.5 }\n"
    "  tenant: { dollars: 5, calls: 100 }\n"
    "  one: { per: all, tenant: " T1 ", period: total, calls: 7, away: closed }\n"
    "  user: { per: user, period: hour, calls: 9 }\n"
    "  ofkey: { per: key, calls: 3 }\n"
    "  dev: { per: agent, agent: dev, calls: 4 }\n"
    "  dear: { per: tenant, model: n, dollars: 1 }\n"
    "  nothing: {}\n"
    "rates:\n"
    "  users: { per: user, requests: 60, tokens: 1000 }\n"
    "  q: { per: all, provider: q, tokens: 500 }\n";

/* The names of the rules of a call, with their units. */
static const char *names(arena_t *a, const conf_t *c, const budget_call_t *call, rule_t *out, int *n)
{
    static const char *const units[] = { "$", "#", "t" };
    const char *all = "";

    *n = budget_rules(a, c, call, NOW, out);
    for (int i = 0; i < *n; i++) {
        all = arena_printf(a, "%s%s%s%s%s", all, i > 0 ? " " : "", out[i].rate ? "~" : "", out[i].name, units[out[i].counter.unit]);
    }
    return all;
}

static void rules(void)
{
    arena_t      *a = arena_new(4096);
    conf_t       *c = conf_of_text(a, yaml);
    rule_t       *out = arena_calloc(a, RULES_MAX * sizeof *out), *other = arena_calloc(a, RULES_MAX * sizeof *out);
    allowance_t   own = { .dollars = 2000000, .calls = 50, .period = "day", .requests = 5 };
    budget_call_t call = { .tenant = T1, .user = "u1", .model = conf_model(c, STR("m")) };
    int           n, k;

    is_str(names(a, c, &call, out, &n), "all$ tenant$ tenant# one# user# ~users# ~userst", "a user's call, without key and agent");
    is_int(out[0].counter.limit, 10500000, "dollars are kept in millionths");
    is_str(out[2].counter.key + strlen(COUNTER_PREFIX "tenant:calls:00000000"), ":month:1761955200:" T1, "a key says what, since when, and whose");
    is_str(out[0].spent.tenant, NULL, "the sum of all is of every tenant");
    is_str(out[4].spent.tenant, T1, "that of a user is looked for in the tenant");
    ok(out[3].closed && !out[0].closed && !out[0].of_model, "what each says of outages");
    ok(out[5].rate && out[5].counter.kind == COUNTER_BUCKET, "a rate is a bucket");
    call = (budget_call_t) { .tenant = T2, .user = "u2", .key = "k", .agent = "dev", .model = conf_model(c, STR("n")), .allowance = &own };
    is_str(names(a, c, &call, other, &k), "all$ tenant$ tenant# user# ofkey# dev# dear$ ~users# ~userst ~qt key$ key# ~key#", "another's, with all that");
    is_str(other[0].counter.key, out[0].counter.key, "they share what is of all");
    ok(strcmp(other[1].counter.key, out[1].counter.key) != 0, "and not what is of a tenant");
    ok(other[6].of_model && other[9].of_model, "a model's and a provider's own may be gone around");
    is_str(other[9].counter.key + strlen(COUNTER_PREFIX "rate:q:tokens:00000000"), ":-", "a provider's rate is of all");
    call = (budget_call_t) { 0 };
    is_str(names(a, c, &call, out, &n), "all$", "a call of nobody");
    ok(budget_any(c, &call), "which is looked for");
    c->budgets = NULL;
    c->nbudgets = c->nrates = 0;
    ok(!budget_any(c, &call), "without budgets nothing is");
    call = (budget_call_t) { .tenant = T1, .key = "k", .allowance = &own };
    ok(budget_any(c, &call), "but for what a key has of its own");
    c->nbudgets = 1;
    c->budgets = &(conf_budget_t) { .name = "example", .per = "tenant", .tenant = "", .user = "", .key = "", .period = "month", .away = "open" };
    call.allowance = NULL;
    ok(!budget_any(c, &call) && budget_rules(a, c, &call, NOW, out) == 0, "one without amounts is none");
    conf_free(c);
    arena_free(a);
}

static void too_many(void)
{
    arena_t      *a = arena_new(4096);
    const char   *text = "budgets:\n";
    rule_t       *out = arena_calloc(a, RULES_MAX * sizeof *out);
    budget_call_t call = { .tenant = T1 };
    conf_t       *c;

    for (int i = 0; i <= RULES_MAX; i++) {
        text = arena_printf(a, "%s  b%d: { calls: 1 }\n", text, i);
    }
    c = conf_of_text(a, text);
    is_int(budget_rules(a, c, &call, NOW, out), -1, "too many rules are no rules");
    conf_free(c);
    arena_free(a);
}

static void shares(void)
{
    locals_t *l = locals_new();
    counter_t c = { .kind = COUNTER_WINDOW, .key = "w", .limit = 100, .want = 10 }, b = { .kind = COUNTER_BUCKET, .key = "b", .limit = 60, .want = 1 };
    int       n = 0;

    is_int(local_doubted(l, &c, 1, 0), -1, "nothing was heard, and nothing is doubted");
    ok(local_allows(l, &c, 1, 4, 0), "a share of the limit");
    local_take(l, &c);
    local_take(l, &c);
    ok(!local_allows(l, &c, 1, 4, 0), "25 are no three times 10");
    c.used = 1;
    local_settle(l, &c);
    ok(local_allows(l, &c, 1, 4, 0), "what was not used goes back");
    c.left = 50;
    local_heard(l, &c, 1, 0);
    ok(local_allows(l, &c, 2, 4, 0), "in the next outage a share of the 40 that were left");
    local_take(l, &c);
    ok(!local_allows(l, &c, 2, 4, 0), "which is 10");
    is_int(local_doubted(l, &c, 1, 10), -1, "what was heard of this connection is not doubted");
    is_int(local_doubted(l, &c, 20, 30), 10, "what was heard before Redis came back is, since then");
    local_heard(l, &c, 20, 30);
    ok(local_known(l, &c) && !local_known(l, &b), "what was heard is known");
    local_doubt(l, &c, 40);
    is_int(local_doubted(l, &c, 20, 45), 5, "so is what Redis was not told of");
    local_heard(l, &c, 20, 50);
    is_int(local_doubted(l, &c, 20, 50), -1, "until it is heard");
    is_int(local_doubted(l, &c, 20, 41 + LOCAL_LAG_MS), 1, "and again when the ledger has it");
    local_heard(l, &c, 20, 41 + LOCAL_LAG_MS);
    is_int(local_doubted(l, &c, 20, 50 + LOCAL_LAG_MS), -1, "but not for ever");
    local_sum(l, &c, 500);
    ok(local_summing(l, &c, 499) && !local_summing(l, &c, 500) && !local_summing(l, &b, 0), "a sum is under way for so long at most");
    local_sum(l, &c, 0);
    ok(!local_summing(l, &c, 499), "or until it is over");
    while (n < 100 && local_allows(l, &b, 1, 4, 1000)) {
        local_take(l, &b);
        n++;
    }
    is_int(n, 15, "a rate is divided");
    ok(!local_allows(l, &b, 1, 4, 4000) && local_allows(l, &b, 1, 4, 5100), "and fills up: one in four seconds");
    b = (counter_t) { .kind = COUNTER_BUCKET, .key = "large", .limit = 60, .want = 1000 };
    ok(local_allows(l, &b, 1, 4, 0), "more than all of it waits for a full one");
    c.want = 0;
    c.key = "free";
    c.limit = 1;
    ok(local_allows(l, &c, 1, 4, 0), "what costs nothing is always allowed");
    for (int i = 0; i < 3 * LOCALS_MAX; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        local_heard(l, &(counter_t) { .kind = COUNTER_WINDOW, .key = key }, 7, 0);
    }
    is_int(local_doubted(l, &(counter_t) { .kind = COUNTER_WINDOW, .key = "0" }, 8, 9), -1, "the oldest are forgotten");
    is_int(local_doubted(l, &(counter_t) { .kind = COUNTER_WINDOW, .key = "49000" }, 8, 9), 1, "the others are not");
    locals_free(l);
}

static chat_message_t said(arena_t *a, chat_role_t role, chat_part_kind_t kind, const char *text)
{
    chat_message_t m = chat_text(a, role, str_of(text));

    ((chat_part_t *) m.parts)->kind = kind;
    return m;
}

static void trims(void)
{
    arena_t              *a = arena_new(4096);
    const char           *long_text = "a hundred bytes, a hundred bytes, a hundred bytes, a hundred bytes, a hundred bytes, a hundred bytes!!";
    const chat_message_t  m[] = {
        said(a, CHAT_SYSTEM, PART_TEXT, "Be brief."),
        said(a, CHAT_USER, PART_TEXT, long_text), said(a, CHAT_ASSISTANT, PART_CALL, "{}"),
        said(a, CHAT_USER, PART_RESULT, long_text), said(a, CHAT_ASSISTANT, PART_TEXT, long_text),
        said(a, CHAT_USER, PART_TEXT, "And now?"), said(a, CHAT_ASSISTANT, PART_TEXT, "Hm."), said(a, CHAT_USER, PART_TEXT, "Well?"),
    };
    const chat_message_t *out;

    is_int((long long) chat_trim(a, m, 8, 100, &out), 8, "all of it");
    is_int((long long) chat_trim(a, m, 8, 60, &out), 4, "a question goes with the results of its tools");
    ok(out[0].role == CHAT_SYSTEM && out[1].parts == m[5].parts, "the system's stays, and the next question is the first");
    is_int((long long) chat_trim(a, m, 8, 1, &out), 2, "the last question always stays");
    ok(out[1].parts == m[7].parts, "it does");
    is_int((long long) chat_trim(a, m, 1, 10, &out), 1, "the system alone");
    is_int((long long) chat_trim(a, m + 2, 1, 10, &out), 1, "nobody asked");
    is_int((long long) chat_trim(a, m, 0, 10, &out), 0, "nothing");
    arena_free(a);
}

int main(void)
{
    periods();
    rules();
    too_many();
    shares();
    trims();
    return done_testing();
}
