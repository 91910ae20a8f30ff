/* GET /v1/budgets: what is left to the caller. */
#include <stdio.h>
#include <time.h>

#include "api/problem.h"
#include "api/routes.h"
#include "base/buf.h"
#include "base/util.h"
#include "llm/budget.h"

#define LIST_MAX  (RULES_MAX * 4096u)

static void put_time(buf_t *b, uint64_t end)
{
    time_t    t = (time_t) (end / 1000);
    struct tm tm;
    char      text[32];

    if (end == UINT64_MAX) {
        buf_puts(b, "null");
        return;
    }
    (void) gmtime_r(&t, &tm);
    (void) strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_printf(b, "\"%s\"", text);
}

static void put_rule(buf_t *b, const rule_t *r)
{
    static const char *const units[] = { "micro_dollars", "calls", "tokens" };
    const spent_t   *s = &r->spent;
    const counter_t *c = &r->counter;

    buf_puts(b, "{\"name\":");
    buf_json_str(b, str_of(r->name));
    buf_printf(b, ",\"kind\":\"%s\",\"of\":\"%s\",\"unit\":\"%s\",\"limit\":%lld,\"used\":%lld,\"left\":%lld,\"renews\":", r->rate ? "rate" : "budget",
               s->key != NULL ? "key" : s->user != NULL ? "user" : "tenant", units[c->unit], (long long) c->limit, (long long) c->used,
               (long long) SI_MAX(c->left, 0));
    put_time(b, r->end);
    buf_puts(b, "}");
}

void co_budget_list(request_t *r)
{
    rule_t *rules;
    buf_t   b;
    int     n = co_budget_look(r->call->arena, r->who.tenant, r->who.user, r->who.key_id[0] ? r->who.key_id : NULL, &rules);

    if (n < 0) {
        co_problem_rc(r->call, n);
        return;
    }
    buf_init(&b, LIST_MAX);
    buf_puts(&b, "{\"data\":[");
    for (int i = 0; i < n; i++) {
        buf_puts(&b, i > 0 ? "," : "");
        put_rule(&b, &rules[i]);
    }
    buf_puts(&b, "]}");
    co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
    buf_free(&b);
}
