/*
 * What an API key may use, as Postgres has it: kept for auth.cache, 16,384 keys at most. While Postgres is away, what it said last
 * holds, and nobody waits for it for more than a second.
 */
#ifndef SI_ALLOWANCE_H
#define SI_ALLOWANCE_H

#include "base/arena.h"

/* 0: any amount. */
typedef struct {
    int64_t     dollars;                /* millionths, in `period` */
    int64_t     calls;                  /* of models, in `period` */
    const char *period;                 /* "hour", "day", "month" or "total"; of co_allowance(): static */
    int64_t     requests, tokens;       /* a minute */
} allowance_t;

/* Sets proc.allowances. */
void allowances_init(void);
/* 0; SI_ENOENT: the key has none of its own; SI_E*: nobody can say, nor ever could. */
int  co_allowance(const char *tenant, const char *user, const char *key, allowance_t *out);

#endif
