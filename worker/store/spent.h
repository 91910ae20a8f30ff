/* Sums of the ledger, for counters that are not known any more. */
#ifndef SI_SPENT_H
#define SI_SPENT_H

#include "base/arena.h"

/* Calls of models that began within [start, end), of these alone; NULL: of any. */
typedef struct {
    const char *tenant, *user, *key, *agent, *model, *provider;
    uint64_t    start, end;     /* ms since 1970; end: UINT64_MAX is never */
    int64_t     money, calls;   /* the sums: millionths of a US dollar, and how many there were */
} spent_t;

/* Closes the next day whose sums can be kept, if there is one: *more, there are others. 0 or SI_E*. */
int co_store_spent_close(arena_t *a, bool *more);
/* 0 with the sums, or SI_E*. Of days that are closed their sums are read, of the others all rows. */
int co_store_spent(arena_t *a, spent_t *const *list, size_t n);

/* What the ledger says of one call of a model; ended: ms since 1970, 0: not known. 0, SI_ENOENT (it was not written down), or SI_E*. */
int co_store_spent_by(arena_t *a, const char *tenant, const char *id, int64_t *money, int64_t *tokens, uint64_t *ended);

#endif
