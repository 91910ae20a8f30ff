/* A turn in memory: one user message and all that answers it. */
#ifndef SI_TURN_H
#define SI_TURN_H

#include "base/list.h"
#include "link/evlog.h"
#include "run/co.h"
#include "turn/event.h"

struct conv;

typedef struct turn {
    list_t        node;         /* conv.turns, by number */
    struct conv  *conv;
    arena_t      *arena;        /* the strings of row */
    turn_row_t    row;
    char         *idem;         /* idempotency key it was made with here, or NULL */

    trace_t       trace;        /* of the request that brought it; none: trace.trace is "" */

    buf_t         accepted;     /* the event turn.accepted */
    buf_t         events;       /* all later ones of this attempt */
    int64_t       last;         /* number of the newest event; 0: none yet */
    evlog_t      *log;          /* "t:…": readers of this turn alone */

    buf_t         answer;       /* text so far */
    co_t         *co;           /* while it runs */
    uint64_t      started;      /* clock_ms(), of the acceptance or the takeover */
    bool          shadow;       /* it runs on another machine */
    bool          shown;        /* its events stand, or go, in the conversation's log */
    bool          dropped;      /* given up here: another worker has it, or will find it */
    bool          cancel;       /* asked for */
    list_t        waiters;      /* waiter_t: who waits for its end */
    unsigned      refs;
} turn_t;

/* A turn of this row (copied), in its conversation's list. */
turn_t *turn_new(struct conv *conv, const turn_row_t *row, const char *idem);
turn_t *turn_ref(turn_t *t);
void    turn_unref(turn_t *t);
/* Its end is written down and told. */
bool    turn_over(const turn_t *t);
/* Its turn in the conversation's log has come: puts there what it has so far. */
void    turn_show(turn_t *t);
/* Starts its coroutine. */
void    turn_start(turn_t *t);
/* Asks it to stop: a running one is cut at once, a queued one ends unstarted, a shadow's owner is told (once it is marked in the store). */
void    turn_cancel(turn_t *t);
/* A shadow's events, as they come from its owner. False if one cannot be placed. */
bool    turn_shadow_accepted(turn_t *t, str_t wire);
bool    turn_shadow_event(turn_t *t, int64_t number, const char *type, str_t wire);
/* Takes it out of this process' hands: its readers resume elsewhere, waiters get SI_ECONFLICT. */
void    turn_drop(turn_t *t);
/* Waits until it is over: 0, SI_ECONFLICT (dropped), SI_ETIMEDOUT, SI_ECANCELED. */
int     co_turn_wait(turn_t *t, uint64_t deadline);
/* Running and queued turns of this process; running ones only. */
size_t  turns_unfinished(void);
size_t  turns_running(void);

#endif
