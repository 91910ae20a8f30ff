/*
 * Which budgets and rates hold for a call, and the counter of each: see budgets and rates in conf/si.yaml. Periods go by the
 * calendar in UTC. A counter's key says what it counts, so that one whose definition was changed begins anew (from the ledger).
 * No I/O.
 */
#ifndef SI_BUDGET_RULE_H
#define SI_BUDGET_RULE_H

#include "conf/conf.h"
#include "store/allowance.h"
#include "store/counter.h"
#include "store/spent.h"

/* A call. NULL: none. */
typedef struct {
    const char         *tenant, *user, *key, *agent;
    const conf_model_t *model;
    const allowance_t  *allowance;      /* of the key */
} budget_call_t;

typedef struct {
    const char *name;           /* under budgets or rates; "key" for the key's own */
    int         index;          /* among them; -1 */
    bool        rate;
    bool        of_model;       /* of a model or a provider: another model may do */
    bool        closed;         /* while Redis is away */
    uint64_t    end;            /* of the period, ms since 1970; UINT64_MAX: never */
    spent_t     spent;          /* window: what is to be summed up when its counter is not known */
    counter_t   counter;
} rule_t;

#define RULES_MAX  COUNTERS_MAX

/* Whether any may hold for it. Most calls have none, and pay for no more than this. */
bool budget_any(const conf_t *c, const budget_call_t *call);
/* The rules of a call at `now` (ms since 1970), in the arena. Their number, or -1: more than RULES_MAX. */
int  budget_rules(arena_t *a, const conf_t *c, const budget_call_t *call, uint64_t now, rule_t out[RULES_MAX]);
/* The period that holds `now`: "minute", "hour", "day", "month", "total". */
void budget_period(const char *period, uint64_t now, uint64_t *start, uint64_t *end);

#endif
