/*
 * A place in the events of a conversation, for who reads them inside this process: first what lies behind it, then what
 * comes. It keeps no events: they are taken from the turns in memory, or from the store once they have left it (then a turn
 * is its first and its last event), so a reader may be as slow as it likes and misses nothing.
 *
 *   tail_open(&t, c, pos, on_more);                  on_more wakes the coroutine below
 *   for (;;) {
 *       while ((rc = co_tail_take(&t, &b)) > 0) { … whole events are in b, up to and with t.id … }
 *       if (rc < 0) break;                           SI_ECONFLICT: close it, open the conversation anew, go on at t.pos
 *       co_wait(…)
 *   }
 *   tail_close(&t);
 */
#ifndef SI_TAIL_H
#define SI_TAIL_H

#include "turn/conv.h"

#define TAIL_PIECE  16384       /* bytes that are given out at once, about; but always one whole event */

typedef struct tail {
    event_pos_t pos;            /* everything up to here has been given out */
    event_pos_t id;             /* of the last event given out */
    conv_t     *conv;           /* NULL: closed, or the conversation is not here any more */
    evlog_tap_t tap;
    void      (*on_more)(struct tail *t);

    int64_t     at_turn;        /* private: `at` is the offset behind pos in the events of this turn's attempt */
    int         at_attempt;
    size_t      at;
    arena_t    *arena;          /* rows from the store that are not given out yet */
    turn_row_t *rows;
    size_t      nrows, row;
    bool        degraded;
} tail_t;

/*
 * c is open here, or followed; no reference is kept: a conversation that leaves this process ends its tails. on_more(t) is
 * called when events may have come or the conversation has gone, and must not yield; it may be NULL.
 */
void tail_open(tail_t *t, conv_t *c, event_pos_t pos, void (*on_more)(tail_t *t));
void tail_close(tail_t *t);
/*
 * Appends whole events behind t->pos to b (whose maximum one event must fit). 1; 0 when nothing is left: no yield lies between
 * that look and the return; SI_ECONFLICT: the conversation is not here any more; SI_EAGAIN: t->pos
 * is not known here yet (co_reader_known() waits for it); SI_ENOMEM: b; or the store's error.
 */
int  co_tail_take(tail_t *t, buf_t *b);
/* The number of the last event of a turn that has been seen whole (EVENT_ALL). 0 or the store's error. */
int  co_tail_exact(conv_t *c, event_pos_t *pos);

/* The same for one turn in memory, on a zeroed tail with `pos`: bytes appended, 0 when nothing is left, or SI_ENOMEM. */
ssize_t tail_turn(tail_t *t, const turn_t *turn, buf_t *b);
/* And for one that is over and only in the store: the event behind *seen, which moves to it. 1, 0 when nothing is left, or SI_ENOMEM. */
int  tail_row(const turn_row_t *row, int64_t *seen, buf_t *b);

#endif
