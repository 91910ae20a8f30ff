/*
 * What this worker remembers of counters: how much was left when Redis told last, and, while Redis is away, its share. No I/O.
 *
 * A share is what was left (the whole limit, if nothing was ever heard) divided by all workers; of a rate, the rate so divided.
 * So all workers together exceed a budget by no more than what the others had spent since each heard last.
 */
#ifndef SI_BUDGET_LOCAL_H
#define SI_BUDGET_LOCAL_H

#include "base/hash.h"
#include "base/list.h"
#include "store/counter.h"

#define LOCALS_MAX  16384       /* counters, about 300 bytes each: the one used longest ago is forgotten */

typedef struct locals locals_t;

locals_t *locals_new(void);
void      locals_free(locals_t *l);

/* Times are clock_ms(). `round` is when Redis came back last: what it has may be old then. Outages are counted. */

/* ms since when what Redis has of it is doubted; -1: it is not. */
int64_t local_doubted(locals_t *l, const counter_t *c, uint64_t round, uint64_t now);
/* Whether Redis knew it in this worker's time. */
bool local_known(locals_t *l, const counter_t *c);
/* Somebody sums it up, until then (clock_ms()) at the latest; 0: that is over. */
void local_sum(locals_t *l, const counter_t *c, uint64_t until);
bool local_summing(locals_t *l, const counter_t *c, uint64_t now);
/* Redis has reserved c->want of c->left. */
void local_heard(locals_t *l, const counter_t *c, uint64_t round, uint64_t now);
/*
 * What Redis has of it is not right any more: it is doubted from now, and once more LOCAL_LAG_MS later, when the ledger has
 * stored what happened.
 */
#define LOCAL_LAG_MS  2000
void local_doubt(locals_t *l, const counter_t *c, uint64_t now);
/* Whether this worker's share allows for c->want, and taking it. */
bool local_allows(locals_t *l, const counter_t *c, uint64_t outage, uint64_t shares, uint64_t now);
void local_take(locals_t *l, const counter_t *c);
/* It was c->used in the end. */
void local_settle(locals_t *l, const counter_t *c);

#endif
