/* One reader's place in a feed. */
#include "turn/feed_in.h"

#include "base/util.h"
#include "store/store.h"

#define ROWS      20
#define LIVE_MAX  (256u << 10)      /* what is kept for who does not take it */

static void tapped(evlog_tap_t *tap, str_t id, str_t wire)
{
    feed_tail_t *t = container_of(tap, feed_tail_t, tap);

    if (!id.p) {
        t->feed = NULL;
    } else if (t->level && buf_append(&t->live, wire.p, wire.n)) {
        buf_free(&t->live);             /* it has fallen behind: to be read again from pos */
        t->level = false;
    }
    if (t->on_more) {
        t->on_more(t);
    }
}

void feed_tail_open(feed_tail_t *t, feed_t *f, const feed_pos_t *pos, void (*on_more)(feed_tail_t *t))
{
    *t = (feed_tail_t) { .pos = *pos, .feed = f, .on_more = on_more };
    buf_init(&t->live, LIVE_MAX);
    evlog_tap(f->log, &t->tap, tapped);
}

void feed_tail_close(feed_tail_t *t)
{
    t->feed = NULL;
    t->level = false;
    buf_free(&t->live);
    evlog_untap(&t->tap);
}

/* --- catching up: each step gives out something or moves pos (MOVED), or has nothing to do --- */

enum { NOTHING, MOVED };

static int give_row(feed_tail_t *t, const turn_row_t *row, buf_t *b)
{
    int rc = feed_append_row(b, &t->pos, row);

    return rc ? rc : MOVED;
}

/* A turn that is over, from the store. */
static int co_give_stored(feed_tail_t *t, int64_t ordinal, buf_t *b)
{
    arena_t    *a = arena_new(4096);
    turn_row_t *rows;
    size_t      n;
    int         rc = co_store_turns_of_user(a, t->feed->tenant, t->feed->user, ordinal - 1, ordinal + 1, 1, &rows, &n);

    if (rc == 0 && n == 1 && rows[0].state > TURN_RUNNING) {
        rc = give_row(t, &rows[0], b);
    } else if (rc == 0 && n == 0) {
        feed_pos_set(&t->pos, ordinal, EVENT_ALL);      /* deleted */
        rc = MOVED;
    }
    arena_free(a);
    return rc;
}

/* A turn that is open in the feed, too: what is here of it. */
static int give_open(feed_tail_t *t, int64_t ordinal, buf_t *b)
{
    const turn_t *turn = feed_turn_here(t->feed, ordinal);
    tail_t        tail;
    buf_t         wire;
    int           rc = NOTHING;

    if (!turn) {
        return NOTHING;
    }
    tail = (tail_t) { .pos = { turn->row.number, feed_pos_seen(&t->pos, ordinal) } };
    buf_init(&wire, b->max);
    if (tail_turn(&tail, turn, &wire) > 0) {
        rc = feed_append(b, &t->pos, ordinal, turn->row.conversation, (str_t) { wire.p, wire.n });
        rc = rc ? rc : MOVED;
    }
    buf_free(&wire);
    return rc;
}

/* The turns that it has begun, the oldest first. */
static int co_step_open(feed_tail_t *t, buf_t *b)
{
    for (size_t i = t->pos.n; t->feed && i-- > 0;) {
        int64_t ordinal = t->pos.open[i].ordinal, seen = feed_pos_seen(&t->feed->pos, ordinal);
        int     rc = NOTHING;

        if (seen >= EVENT_ALL) {
            rc = co_give_stored(t, ordinal, b);
        } else if (seen > t->pos.open[i].seen) {
            rc = give_open(t, ordinal, b);
        }
        if (rc != NOTHING) {
            return rc;
        }
    }
    return NOTHING;
}

/* On to this turn, which is over or open. Turns that are missing before it were deleted. */
static int go_on(feed_tail_t *t, const turn_row_t *row, buf_t *b)
{
    int rc = 0;

    while (rc == 0 && t->pos.top + 1 < row->ordinal) {
        rc = feed_pos_next(&t->pos, false);
    }
    rc = rc ? rc : feed_pos_next(&t->pos, true);
    if (rc == 0 && feed_pos_seen(&t->feed->pos, row->ordinal) >= EVENT_ALL && row->state > TURN_RUNNING) {
        rc = give_row(t, row, b);
    }
    return rc < 0 ? rc : MOVED;
}

/* The turns behind what it has, up to where the feed is. */
static int co_step_on(feed_tail_t *t, buf_t *b)
{
    feed_t     *f = t->feed;
    int64_t     top = f->pos.top;
    arena_t    *a;
    turn_row_t *rows;
    size_t      n;
    int         rc;

    if (t->pos.top >= top) {
        return NOTHING;
    }
    a = arena_new(4096);
    rc = co_store_turns_of_user(a, f->tenant, f->user, t->pos.top, top + 1, ROWS, &rows, &n);
    for (size_t i = 0; rc >= 0 && t->feed && i < n && b->n < TAIL_PIECE && t->pos.n < FEED_OPEN_MAX - 1; i++) {
        rc = go_on(t, &rows[i], b);
    }
    while (rc == 0 && n == 0 && t->pos.top < top) {
        rc = feed_pos_next(&t->pos, false);
    }
    arena_free(a);
    return rc < 0 ? rc : MOVED;
}

static bool is_level(const feed_tail_t *t)
{
    const feed_pos_t *a = &t->pos, *b = &t->feed->pos;

    return a->top == b->top && a->n == b->n && memcmp(a->open, b->open, a->n * sizeof(a->open[0])) == 0;
}

static int take_live(feed_tail_t *t, buf_t *b)
{
    int rc = buf_append(b, t->live.p, t->live.n);

    buf_consume(&t->live, t->live.n);
    t->pos = t->feed->pos;
    return rc;
}

int co_feed_take(feed_tail_t *t, buf_t *b)
{
    size_t  before = b->n;
    feed_t *f = t->feed;
    int     rc = MOVED;

    if (f) {
        f->refs++;                      /* it may be closed while the store is asked */
    }
    while (rc >= 0 && rc != NOTHING && t->feed && b->n == before) {
        t->level = t->level || is_level(t);
        if (t->level) {
            rc = t->live.n ? take_live(t, b) : NOTHING;
            break;
        }
        rc = co_step_open(t, b);
        rc = rc == NOTHING && t->feed ? co_step_on(t, b) : rc;
    }
    if (!t->feed && rc >= 0) {
        rc = SI_ECONFLICT;
    }
    if (f) {
        feed_unref(f);
    }
    return rc < 0 ? rc : b->n > before;
}
