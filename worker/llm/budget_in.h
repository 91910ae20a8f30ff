/* Inside of llm/budget: the state of the process, and what budget_sweep.c does. */
#ifndef SI_BUDGET_IN_H
#define SI_BUDGET_IN_H

#include "llm/budget.h"
#include "llm/budget_local.h"

#define BUDGET_LAG_MS  300      /* the ledger has stored a call that has ended, unless Postgres is slow */

/* Of one budget or rate, in this process. */
typedef struct {
    uint64_t refused;
    uint64_t used[UNIT_TOKENS + 1];     /* settled, by unit */
} budget_count_t;

struct budgets {
    locals_t *locals;
    bool      away;             /* Redis did not answer, or Postgres when a sum was needed */
    uint64_t  outage;           /* number of the last or present one */
    uint64_t  ask_at;           /* clock_ms() when Redis is tried again */
    uint64_t  round;            /* clock_ms() when a connection to Redis began last */
    uint32_t  nodes;            /* 0: not known yet */
    uint64_t  counted;          /* clock_ms() when they were */
    uint64_t  close_at;         /* clock_ms() when the ledger is asked for days to close */
    bool      sweeping;
    list_t    summed;           /* waiters: somebody else's sum is over */
    struct {
        size_t   outstanding;   /* reservations that are not settled */
        uint64_t rebuilt, shared, closed, lapsed;
    } count;
    budget_count_t *budgets, *rates;    /* as in the configuration */
    budget_count_t  key[2];             /* of keys' own: windows, buckets */
};

/* A reservation as a text, from which budget_sweep() knows what to do when it has lapsed. */
str_t budget_what(arena_t *a, const char *tenant, const rule_t *rules, size_t n);
/* For the metrics. */
void  budget_refused(const rule_t *r);
void  budget_used(const rule_t *r);
/* From now on this worker looks for reservations that have lapsed. */
void  budget_sweep(void);

#endif
