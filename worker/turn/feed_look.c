/* How a feed learns which turns there are. */
#include "turn/feed_in.h"

#include "base/util.h"
#include "store/store.h"

#define ROWS  20

/* The first look: what is over has been seen, what is not is shown from its beginning. */
static void begin_at(feed_t *f, int64_t turns, const unfinished_t *open, size_t n)
{
    f->pos.top = n ? open[0].ordinal - 1 : turns;
    for (size_t i = 0; f->pos.top < turns;) {
        if (i < n && open[i].ordinal == f->pos.top + 1) {
            if (!feed_open_turn(f, feed_conv_of(f, open[i].conversation), open[i].ordinal, open[i].number)) {
                return;
            }
            i++;
        } else if (feed_pos_next(&f->pos, false)) {
            return;
        }
    }
}

/* One turn behind top. False: it has to wait until one of the open ones is over. */
static bool go_on(feed_t *f, const turn_row_t *row)
{
    while (f->pos.top + 1 < row->ordinal) {
        if (feed_pos_next(&f->pos, false)) {        /* it was deleted */
            return false;
        }
    }
    if (row->state <= TURN_RUNNING) {
        return feed_open_turn(f, feed_conv_of(f, row->conversation), row->ordinal, row->number);
    }
    if (!feed_has_room(f) || feed_pos_next(&f->pos, true)) {
        f->full = true;
        return false;
    }
    feed_show_row(f, row);
    return true;
}

/* New turns up to that ordinal. */
static int co_go_on(feed_t *f, int64_t turns)
{
    int rc = 0;

    while (rc == 0 && f->pos.top < turns) {
        arena_t    *a = arena_new(4096);
        turn_row_t *rows;
        size_t      n;
        bool        room = true;

        rc = co_store_turns_of_user(a, f->tenant, f->user, f->pos.top, turns + 1, ROWS, &rows, &n);
        for (size_t i = 0; rc == 0 && room && i < n; i++) {
            room = rows[i].ordinal <= f->pos.top || go_on(f, &rows[i]);
        }
        if (rc == 0 && n == 0) {
            f->pos.top = SI_MAX(f->pos.top, turns);
        }
        arena_free(a);
        if (!room) {
            break;
        }
    }
    return rc;
}

static bool among(const unfinished_t *open, size_t n, int64_t ordinal)
{
    for (size_t i = 0; i < n; i++) {
        if (open[i].ordinal == ordinal) {
            return true;
        }
    }
    return false;
}

/* An open turn that Postgres has as over: from there, unless it is in memory and about to show its end. */
static int co_settle(feed_t *f, int64_t ordinal)
{
    arena_t     *a = arena_new(4096);
    turn_row_t  *rows;
    size_t       n;
    int          rc = co_store_turns_of_user(a, f->tenant, f->user, ordinal - 1, ordinal + 1, 1, &rows, &n);
    feed_open_t *o = feed_find_turn(f, ordinal);

    if (rc == 0 && o && !feed_turn_here(f, ordinal)) {
        if (n == 1 && rows[0].state > TURN_RUNNING) {
            feed_show_row(f, &rows[0]);
            feed_close_turn(o);
        } else if (n == 0) {            /* deleted */
            feed_pos_set(&f->pos, ordinal, EVENT_ALL);
            feed_close_turn(o);
        }
    }
    arena_free(a);
    return rc;
}

static int co_settle_all(feed_t *f, int64_t turns, const unfinished_t *open, size_t n)
{
    feed_pos_t then = f->pos;
    int        rc = 0;

    for (size_t i = 0; rc == 0 && i < then.n; i++) {
        int64_t ordinal = then.open[i].ordinal;

        if (ordinal <= turns && !among(open, n, ordinal) && !feed_turn_here(f, ordinal)) {
            rc = co_settle(f, ordinal);
        }
    }
    list_each_safe(it, &f->convs) {
        feed_open_conv(f, list_entry(it, feed_conv_t, node));
    }
    return rc;
}

int co_feed_look(feed_t *f)
{
    arena_t      *a = arena_new(4096);
    unfinished_t *open;
    size_t        n;
    int64_t       turns;
    int           rc = co_store_unfinished(a, f->tenant, f->user, &turns, &open, &n);

    if (rc == 0 && !f->ready) {
        begin_at(f, turns, open, n);
        f->ready = true;
    } else if (rc == 0) {
        rc = co_go_on(f, turns);
    }
    rc = rc ? rc : co_settle_all(f, turns, open, n);
    arena_free(a);
    waiters_wake(&f->waiters, 0);
    return rc;
}
