/* What a worker that died has left behind, and the metrics. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/redis.h"
#include "llm/budget_in.h"
#include "run/co.h"
#include "store/spent.h"
#include "store/store.h"

#define NODES_MS   30000        /* the number of nodes is this old at most, if Postgres answers */
#define CONNECT_MS 3000
#define CLOSE_MS   600000       /* days are closed (store/spent.h): one at a time, and when none is left so much later */

/* --- reservations as texts --- */

str_t budget_what(arena_t *a, const char *tenant, const rule_t *rules, size_t n)
{
    json_t *list = json_array(), *o;

    for (size_t i = 0; i < n; i++) {
        const counter_t *c = &rules[i].counter;
        json_array_append_new(list, json_pack("[s,i,i,I,I]", c->key, (int) c->kind, (int) c->unit, (json_int_t) c->limit, (json_int_t) c->until));
    }
    o = json_pack("{s:s?,s:o}", "tenant", tenant, "counters", list);
    return str_of(json_text(a, json_own(a, o)));
}

typedef struct {
    const char *tenant;         /* or NULL */
    counter_t   list[COUNTERS_MAX];
    size_t      n;
} what_t;

static bool read_what(arena_t *a, str_t text, what_t *w)
{
    const char   *why;
    const json_t *o = json_own(a, json_parse(a, text, &why)), *v;
    size_t        i;

    w->n = 0;
    w->tenant = json_string_value(json_object_get(o, "tenant"));
    json_array_foreach(json_object_get(o, "counters"), i, v) {
        const char *key;
        int         kind, unit;
        json_int_t  limit, until;

        if (w->n == COUNTERS_MAX || json_unpack((json_t *) v, "[s,i,i,I,I]", &key, &kind, &unit, &limit, &until) != 0) {
            return false;
        }
        w->list[w->n++] = (counter_t) { .key = key, .kind = (counter_kind_t) kind, .unit = (counter_unit_t) unit, .limit = limit,
                                        .until = (uint64_t) until };
    }
    return o != NULL;
}

/* --- what has lapsed --- */

/* As it is in the ledger. */
static int co_settle(arena_t *a, const char *id, bool lapsed, uint64_t since, const what_t *w, bool counted, int64_t money, int64_t tokens)
{
    counter_t *list = arena_calloc(a, (w->n + 1) * sizeof *list);

    for (size_t i = 0; i < w->n; i++) {
        list[i] = w->list[i];
        list[i].used = list[i].unit == UNIT_MONEY ? money : list[i].unit == UNIT_CALLS ? counted : tokens;
    }
    proc.budgets->count.lapsed++;
    return co_counters_settle(a, id, lapsed, since, list, w->n);
}

/*
 * What the ledger says of the call counts, unless a sum has it already: its settlement may have been lost on the way, whereupon the
 * ledger was summed up. What the ledger does not know of is given back.
 */
static int co_lapse(arena_t *a, const lapsed_t *l)
{
    what_t  *w = arena_calloc(a, sizeof *w);
    int64_t  money = 0, tokens = 0;
    uint64_t ended = 0;
    int      rc = read_what(a, l->what, w) && w->tenant != NULL ? co_store_spent_by(a, w->tenant, l->id, &money, &tokens, &ended) : SI_ENOENT;

    if (rc != 0 && rc != SI_ENOENT) {
        return rc;
    }
    log_line(LOG_INFO, "a reservation has lapsed", "call", l->id, "ledger", rc == 0 ? "has it" : "does not know it", NULL);
    return co_settle(a, l->id, rc != 0, ended > 0 ? ended + BUDGET_LAG_MS : 0, w, rc == 0, money, tokens);
}

int co_budget_buried(const usage_row_t *row)
{
    arena_t *a = arena_new(4096);
    what_t  *w = arena_calloc(a, sizeof *w);
    uint64_t until = clock_ms() + CONNECT_MS;
    lapsed_t l;
    int64_t  tokens = row->input_tokens + row->output_tokens;
    int      rc = 0;

    while (rc == 0 && !redis_ready() && clock_ms() < until) {
        rc = co_sleep(CONNECT_MS / 100, "budget:redis");         /* a worker that has begun just now is not connected yet */
    }
    rc = rc != 0 ? rc : co_counters_what(a, row->id, &l);

    if (rc == 0 && l.what.n > 0 && read_what(a, l.what, w)) {
        rc = co_settle(a, row->id, false, 0, w, tokens > 0 || strcmp(row->outcome, "ok") == 0, row->cost, tokens);
    }
    arena_free(a);
    return rc;
}

static void co_look(arena_t *a)
{
    struct budgets *b = proc.budgets;
    lapsed_t        list[LAPSED_MAX];
    size_t          n = 0;
    int             rc = 0;

    if (co_counters_lapsed(a, list, &n) == 0) {
        for (size_t i = 0; i < n && rc == 0; i++) {
            rc = co_lapse(a, &list[i]);
        }
    }
    if (clock_ms() >= b->close_at) {
        bool more;
        b->close_at = clock_ms() + (co_store_spent_close(a, &more) == 0 && more ? 0 : CLOSE_MS);
    }
    if (clock_ms() >= b->counted + NODES_MS || b->nodes == 0) {
        b->counted = clock_ms();
        (void) co_store_nodes(a, &b->nodes);
    }
}

/* All workers look, at times of their own, and it does no harm when two find the same. */
static void co_sweep(void *arg)
{
    uint16_t r;

    (void) arg;
    do {
        arena_t *a = arena_new(4096);

        if (redis_ready()) {
            co_look(a);
        }
        arena_free(a);
        random_bytes(&r, sizeof r);
    } while (co_sleep(BUDGET_SWEEP_MS / 2 + r % BUDGET_SWEEP_MS, "budget:sweep") == 0);
}

void budget_sweep(void)
{
    if (!proc.budgets->sweeping) {
        proc.budgets->sweeping = true;
        co_spawn("budgets", co_sweep, NULL);
    }
}

/* A connection to Redis has begun: what it knows may be older than what we were told. */
static void on_connect(str_t channel, str_t message, void *arg)
{
    (void) channel;
    (void) arg;
    proc.budgets->round = message.p == NULL ? clock_ms() : proc.budgets->round;
}

void budgets_init(void)
{
    struct budgets *b = proc.budgets = si_calloc(sizeof *b);

    b->locals = locals_new();
    list_init(&b->summed);
    b->budgets = si_calloc((proc.conf->nbudgets + 1) * sizeof *b->budgets);
    b->rates = si_calloc((proc.conf->nrates + 1) * sizeof *b->rates);
    redis_subscribe(COUNTER_PREFIX "round", on_connect, NULL);
    if (proc.conf->nbudgets + proc.conf->nrates > 0) {
        budget_sweep();
    }
}

/* --- metrics --- */

static budget_count_t *count_of(const rule_t *r)
{
    struct budgets *b = proc.budgets;

    return r->index < 0 ? &b->key[r->rate] : r->rate ? &b->rates[r->index] : &b->budgets[r->index];
}

void budget_refused(const rule_t *r)
{
    count_of(r)->refused++;
}

void budget_used(const rule_t *r)
{
    count_of(r)->used[r->counter.unit] += (uint64_t) SI_MAX(r->counter.used, 0);
}

static const char *const units[] = { "micro_dollars", "calls", "tokens" };

static void put_refused(buf_t *b, bool rate, const char *name, const budget_count_t *c)
{
    (void) buf_printf(b, "%s=\"%s\"} %" PRIu64 "\n", rate ? "si_rate_refusals_total{rate" : "si_budget_refusals_total{budget", name, c->refused);
}

static void put_used(buf_t *b, bool rate, const char *name, const budget_count_t *c)
{
    for (size_t i = 0; i < SI_COUNT(units); i++) {
        if (c->used[i] > 0) {
            (void) buf_printf(b, "%s=\"%s\",unit=\"%s\"} %" PRIu64 "\n", rate ? "si_rate_used_total{rate" : "si_budget_used_total{budget", name,
                              units[i], c->used[i]);
        }
    }
}

static void put_all(buf_t *b, bool rate, void (*put)(buf_t *b, bool rate, const char *name, const budget_count_t *c))
{
    const conf_budget_t  *list = rate ? proc.conf->rates : proc.conf->budgets;
    const budget_count_t *counts = rate ? proc.budgets->rates : proc.budgets->budgets;

    for (size_t i = 0; i < (rate ? proc.conf->nrates : proc.conf->nbudgets); i++) {
        put(b, rate, list[i].name, &counts[i]);
    }
    put(b, rate, "key", &proc.budgets->key[rate]);
}

void budget_metrics(buf_t *b)
{
    const struct budgets *s = proc.budgets;
    const struct {
        const char *name, *type, *help;
        uint64_t    value;
    } values[] = {
        { "si_budget_reservations", "gauge", "Calls of models for which something is reserved.", s->count.outstanding },
        { "si_budget_away", "gauge", "Whether Redis does not count budgets and rates for this worker.", s->away },
        { "si_budget_shared_total", "counter", "Calls that had this worker's share because of that.", s->count.shared },
        { "si_budget_unavailable_total", "counter", "Calls that were refused because of that.", s->count.closed },
        { "si_budget_rebuilt_total", "counter", "Counters that were summed up from the ledger.", s->count.rebuilt },
        { "si_budget_lapsed_total", "counter", "Reservations that were found without their worker.", s->count.lapsed },
    };

    for (size_t i = 0; i < SI_COUNT(values); i++) {
        (void) buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", values[i].name, values[i].help, values[i].name, values[i].type,
                          values[i].name, values[i].value);
    }
    (void) buf_puts(b, "# HELP si_budget_refusals_total Calls that a budget refused.\n# TYPE si_budget_refusals_total counter\n");
    put_all(b, false, put_refused);
    (void) buf_puts(b, "# HELP si_rate_refusals_total Calls that a rate refused.\n# TYPE si_rate_refusals_total counter\n");
    put_all(b, true, put_refused);
    (void) buf_puts(b, "# HELP si_budget_used_total What was settled in budgets.\n# TYPE si_budget_used_total counter\n");
    put_all(b, false, put_used);
    (void) buf_puts(b, "# HELP si_rate_used_total What was settled in rates.\n# TYPE si_rate_used_total counter\n");
    put_all(b, true, put_used);
}
