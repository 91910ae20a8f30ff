#include "turn/tail.h"

#include "store/store.h"
#include "turn/bus.h"

#define FETCH_ROWS  20

static void tapped(evlog_tap_t *tap, str_t id, str_t wire)
{
    tail_t *t = container_of(tap, tail_t, tap);

    (void) wire;
    if (!id.p) {
        t->conv = NULL;
    }
    if (t->on_more) {
        t->on_more(t);
    }
}

void tail_open(tail_t *t, conv_t *c, event_pos_t pos, void (*on_more)(tail_t *t))
{
    *t = (tail_t) { .pos = pos, .id = pos, .conv = c, .on_more = on_more };
    evlog_tap(c->log, &t->tap, tapped);
}

static void drop_rows(tail_t *t)
{
    if (t->arena) {
        arena_free(t->arena);
    }
    t->arena = NULL;
    t->nrows = t->row = 0;
}

void tail_close(tail_t *t)
{
    drop_rows(t);
    t->conv = NULL;
    evlog_untap(&t->tap);
}

/* --- from memory --- */

/* Length of a run of whole events in p..p+n, about TAIL_PIECE bytes; *count of them. */
static size_t piece(const char *p, size_t n, int64_t *count)
{
    size_t at = 0, step;

    *count = 0;
    while (at < TAIL_PIECE && (step = event_end(p + at, n - at))) {
        if (at && at + step > TAIL_PIECE) {
            break;
        }
        at += step;
        ++*count;
    }
    return at;
}

/* Where t->pos lies in the events of a turn. Looked for once: afterwards it is known. */
static void seek(tail_t *t, const turn_t *turn, int64_t first)
{
    if (t->at_turn != turn->row.number || t->at_attempt != turn->row.attempt) {
        t->at_turn = turn->row.number;
        t->at_attempt = turn->row.attempt;
        t->at = event_skip(turn->events.p, turn->events.n, t->pos.event - first + 1);
    }
}

ssize_t tail_turn(tail_t *t, const turn_t *turn, buf_t *b)
{
    int64_t first = event_first(turn->row.attempt), count;
    size_t  n;

    if (t->pos.event < 1) {
        t->pos.event = 1;
        t->id = t->pos;
        return buf_append(b, turn->accepted.p, turn->accepted.n) ? SI_ENOMEM : (ssize_t) turn->accepted.n;
    }
    t->pos.event = SI_MAX(t->pos.event, first - 1);
    seek(t, turn, first);
    n = piece(turn->events.p + t->at, turn->events.n - t->at, &count);
    if (n == 0) {
        return 0;
    }
    t->at += n;
    t->pos.event += count;
    t->id = t->pos;
    return buf_append(b, turn->events.p + t->at - n, n) ? SI_ENOMEM : (ssize_t) n;
}

/* --- from the store --- */

int tail_row(const turn_row_t *row, int64_t *seen, buf_t *b)
{
    int rc;

    if (*seen >= row->last_event) {
        return 0;
    }
    rc = *seen < 1 ? event_accepted(b, row) : event_final(b, row, row->last_event);
    *seen = *seen < 1 ? 1 : row->last_event;
    return rc ? rc : 1;
}

/* The next turns behind t->pos and before `before`. */
static int co_fetch(tail_t *t, conv_t *c, int64_t before)
{
    int rc;

    drop_rows(t);
    t->arena = arena_new(4096);
    rc = co_store_turns_between(t->arena, c->tenant, c->user, c->id, t->pos.turn - 1, before, FETCH_ROWS, &t->rows, &t->nrows);
    if (rc || t->nrows == 0) {
        drop_rows(t);
    }
    return rc;
}

static int co_take_stored(tail_t *t, conv_t *c, int64_t before, buf_t *b)
{
    const turn_row_t *row;
    int               rc = t->row < t->nrows ? 0 : co_fetch(t, c, before);

    if (rc) {
        return rc;
    }
    if (t->nrows == 0) {
        t->pos = (event_pos_t) { SI_MAX(before - 1, t->pos.turn), EVENT_ALL };
        return 1;
    }
    row = &t->rows[t->row];
    if (row->number != t->pos.turn) {
        t->pos = (event_pos_t) { row->number, 0 };
    }
    rc = tail_row(row, &t->pos.event, b);
    if (rc > 0) {
        t->id = t->pos;
    } else if (rc == 0) {
        t->pos.event = EVENT_ALL;
        t->row++;
    }
    return rc < 0 ? rc : 1;
}

/* --- both --- */

/* One step. 1: there may be more, 0: nothing is left at this moment, or an error. */
static int co_step(tail_t *t, conv_t *c, buf_t *b)
{
    int64_t lowest = conv_lowest(c);
    turn_t *turn;
    ssize_t n;

    if (t->pos.event >= EVENT_ALL || t->pos.turn == 0) {
        t->pos = (event_pos_t) { t->pos.turn + 1, 0 };
    }
    if (t->pos.turn < lowest) {
        return co_take_stored(t, c, lowest, b);
    }
    turn = conv_turn(c, t->pos.turn);
    if ((!turn || !turn->shown) && t->pos.event > 0) {
        return SI_EAGAIN;                   /* a position never goes back */
    }
    if (!turn || !turn->shown) {
        t->pos = (event_pos_t) { t->pos.turn - 1, EVENT_ALL };
        return 0;
    }
    n = tail_turn(t, turn, b);
    if (n == 0 && turn_over(turn)) {
        t->pos.event = EVENT_ALL;
        return 1;
    }
    return n > 0 ? 1 : (int) n;
}

/* Says once that the conversation stands still here. */
static int tell_degraded(tail_t *t, conv_t *c, buf_t *b)
{
    str_t wire = follower_degraded();

    if (!c->degraded || t->degraded || !t->on_more) {
        return 0;
    }
    t->degraded = true;
    return buf_append(b, wire.p, wire.n);
}

int co_tail_take(tail_t *t, buf_t *b)
{
    conv_t *c = t->conv;
    size_t  before = b->n;
    int     rc = 1;

    if (!c) {
        return SI_ECONFLICT;
    }
    c->refs++;
    while (rc > 0 && b->n == before) {
        rc = conv_live(c) ? co_step(t, c, b) : SI_ECONFLICT;
    }
    if (rc == 0) {
        rc = tell_degraded(t, c, b);
    }
    conv_unref(c);
    return rc < 0 ? rc : b->n > before;
}

int co_tail_exact(conv_t *c, event_pos_t *pos)
{
    turn_t     *turn = conv_turn(c, pos->turn);
    arena_t    *a;
    turn_row_t *rows;
    size_t      n;
    int         rc;

    if (pos->turn == 0) {
        pos->event = 0;
    } else if (pos->event >= EVENT_ALL && turn) {
        pos->event = turn->last;
    }
    if (pos->event < EVENT_ALL) {
        return 0;
    }
    a = arena_new(1024);
    rc = co_store_turns_between(a, c->tenant, c->user, c->id, pos->turn - 1, pos->turn + 1, 1, &rows, &n);
    if (rc == 0 && n == 1) {
        pos->event = rows[0].last_event;
    }
    arena_free(a);
    return rc;
}
