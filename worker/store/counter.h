/*
 * What calls of models may use, counted in Redis for all nodes: reserved before a call in every counter that applies or in
 * none, settled after it. All keys hold the tag {budget}, so that one script may name them on a cluster, too: its counters
 * are at one node.
 *
 *   si:{budget}:…            window, a hash   used   settled; missing: not known (a new period, or Redis has lost it)
 *                                             held   reserved by calls under way
 *                                             v      grows with each settlement, so that a sum that is old is not put in
 *                                             at     ms since 1970, when it was summed up
 *                          bucket, a hash   at     ms since 1970, when `level` was so
 *                                             level  used and not drained; `limit` drains within a minute (GCRA, ITU-T I.371)
 *   si:{budget}:r:<id>       a reservation, a hash: state (held, settled, lapsed), what, w1… (held in each counter)
 *   si:{budget}:lapse        ids by the time (ms since 1970) at which their reservations lapse
 *
 * A reservation that is not settled lapses: whoever finds it gives it back. A settlement after that still counts, and so does one of
 * a reservation that Redis does not know (it has lost its memory, or was away), in counters that are known: their sum was made
 * before the call was in the ledger. A second settlement of the same reservation does nothing.
 */
#ifndef SI_COUNTER_H
#define SI_COUNTER_H

#include "base/arena.h"

#define COUNTERS_MAX    32      /* that one call is held to */
#define COUNTER_MS      500     /* Redis is waited for */
#define COUNTER_PREFIX  "si:{budget}:"
#define LAPSED_MAX      32      /* reservations that are looked at together */

typedef enum { COUNTER_WINDOW, COUNTER_BUCKET } counter_kind_t;
typedef enum { UNIT_MONEY, UNIT_CALLS, UNIT_TOKENS } counter_unit_t;   /* millionths of a US dollar, calls, tokens */

typedef struct {
    counter_kind_t kind;
    counter_unit_t unit;
    const char    *key;
    int64_t        limit;       /* of the window, or of a minute */
    uint64_t       until;       /* window: ms since 1970 when Redis may forget it */
    int64_t        want;        /* to be held */
    int64_t        used;        /* for the settlement: what it was in the end */
    int64_t        doubt_ms;    /* window: what was summed up longer ago may be wrong, and is to be summed up anew; -1: it is not */
    int64_t        base;        /* window: what was summed up; -1: nothing was */
    int64_t        version;     /* window: of the counter when that was asked for; -1: it is taken although settlements went on */
    /* told by co_counters_reserve(): */
    bool           over;        /* it refuses */
    bool           unknown;     /* a window that needs a base; version is set */
    uint64_t       wait_ms;     /* bucket that refuses: when there will be enough, if nobody comes before */
    int64_t        left;        /* before this reservation */
} counter_t;

/*
 * Reserves under this id, until lapse_ms from now; `what` comes back with a reservation that has lapsed. 0: held in all of
 * them. SI_EDENIED: in none, those with `over` refuse. SI_ECONFLICT: in none, those with `unknown` want a base. SI_EUNAVAIL:
 * Redis cannot (*why, static or in the arena); SI_ETIMEDOUT: likewise, but it may have been done; SI_ECANCELED: likewise.
 */
int  co_counters_reserve(arena_t *a, const char *id, uint64_t lapse_ms, const char *what, counter_t *list, size_t n, str_t *why);
/*
 * Settles it; lapsed: it was found when it had lapsed. since: ms since 1970 from when on sums of the ledger have it, so that it
 * is not added to those; 0: it has just ended, and none has it. 0, also if that was done before; SI_ENOENT: Redis did not know it;
 * SI_E*: it may not have been done, and is found when it lapses.
 */
int  co_counters_settle(arena_t *a, const char *id, bool lapsed, uint64_t since, const counter_t *list, size_t n);

typedef struct {
    const char *id;
    str_t       what;           /* empty: Redis does not know it any more */
} lapsed_t;

/* What was said of a reservation: `what` of *out is empty when Redis does not know it. 0 or SI_E*. */
int  co_counters_what(arena_t *a, const char *id, lapsed_t *out);
/* Reservations that have lapsed, up to LAPSED_MAX. 0 or SI_E*. */
int  co_counters_lapsed(arena_t *a, lapsed_t *out, size_t *n);
/*
 * How it is with each: used (-1, and unknown: a window that Redis does not know; of a bucket what has not drained) and left,
 * which may be below 0. 0 or SI_E*.
 */
int  co_counters_look(arena_t *a, counter_t *list, size_t n);

#endif
