/*
 * Stackful coroutines: calls, turns and jobs. Parsers, links and pools are
 * state machines on the main stack and never resume a coroutine themselves:
 * they wake a wait, and the loop runs the ready queue.
 *
 * A function that may yield says co_ in its name and runs in a coroutine only.
 */
#ifndef SI_CO_H
#define SI_CO_H

#include "base/list.h"
#include "base/trace.h"

typedef struct co co_t;

/* One thing a coroutine waits for. Lives on its stack or in the object that completes it. */
typedef struct wait {
    co_t *co;           /* the coroutine parked on it, or NULL */
    int   rc;           /* the result once done */
    bool  done;
} wait_t;

#define CO_NO_DEADLINE  UINT64_MAX     /* only for a wait whose completer has a deadline of its own */

/* Sets proc.co. Needs the loop. */
void  co_init(void);
/*
 * Cancels what still runs and lets it end as far as it does without further events; the rest is
 * dropped with a line in the log. Comes before the exits of io and of the loop.
 */
void  co_exit(void);
/*
 * A new coroutine, ready to run at the next turn of the loop. `name` must be static. The handle is
 * valid until fn returns. Its stack is 512 KiB, of which 4 KiB are used by a coroutine that waits in shallow code.
 */
co_t *co_spawn(const char *name, void (*fn)(void *arg), void *arg);
/* The running coroutine; NULL on the main stack. */
co_t *co_self(void);

static inline void wait_init(wait_t *w) { *w = (wait_t) { NULL, 0, false }; }

/*
 * Parks the running coroutine until w is done. Returns w->rc, or SI_ETIMEDOUT when clock_ms()
 * reaches `deadline` (ms), or SI_ECANCELED when the coroutine is cancelled (at once if it
 * already is, even if w is done). A wait that is done already returns without yielding. `where`
 * is static, as "pg:recall", and is shown in /status. After a return that is not w->rc the wait is
 * unhooked: a later wait_wake() finds nobody and is harmless, if w still lives.
 */
int   co_wait(wait_t *w, const char *where, uint64_t deadline);
/* Completes a wait. The first one wins: returns false, and changes nothing, if it was done already. */
bool  wait_wake(wait_t *w, int rc);
/* Several coroutines that wait for the same thing stand in a list, in the order of their arrival. */
typedef struct waiter {
    list_t node;
    wait_t wait;
} waiter_t;

/* Stands in the list until it is woken: as co_wait(). */
int   co_wait_in(list_t *waiters, const char *where, uint64_t deadline);
/* Wakes all of them with this result. */
void  waiters_wake(list_t *waiters, int rc);

/* Sleeps; 0, SI_ECANCELED, or SI_ETIMEDOUT when co_deadline() ended it early. */
int   co_sleep(uint64_t ms, const char *where);
/* Lets the others run once; 0 or SI_ECANCELED. */
int   co_yield(void);

/* Cancels: every wait of it, now and later, returns SI_ECANCELED. */
void  co_cancel(co_t *co);
bool  co_cancelled(const co_t *co);
/* While masked, waits ignore the cancellation: for writing down the end. Returns the former value. */
bool  co_mask(bool on);

/* Every wait of the running coroutine ends at this clock_ms() at the latest; 0 takes it off. Returns the former value. */
uint64_t co_deadline(uint64_t at);

/* Names the running coroutine in logs ("turn") and in co_each(): a turn id, copied, cut at 40 bytes. NULL takes it off. */
#define CO_LABEL_MAX  40
void  co_label(const char *turn_id);
/* The label of the running coroutine; NULL on the main stack or without one. */
const char *co_self_label(void);
/* What the running coroutine does belongs to this trace: its log lines say so. Not copied; NULL takes it off. */
void  co_trace(const trace_t *trace);
/* NULL on the main stack or without one. */
const trace_t *co_self_trace(void);

/*
 * For /status: calls fn for each coroutine with its label or "", where it waits ("ready" when it
 * does not) and since when (clock_ms). fn must not spawn.
 */
void  co_each(void (*fn)(co_t *co, const char *name, const char *label, const char *where, uint64_t since, void *arg),
              void *arg);
size_t co_count(void);

#endif
