/* One reader of a feed: what it has not seen of what the feed has shown, as private bytes; then it is attached to the log. */
#include "turn/feed.h"

#include <stdio.h>

#include "link/frame.h"
#include "store/store.h"

#define WRITE_MS  60000         /* as for any stream */
#define ROWS      20
#define TRIES     3             /* waits of ten seconds in which nothing came nearer */

typedef struct {
    call_t    *call;
    feed_t    *feed;
    feed_pos_t pos;             /* what the reader has */
} reader_t;

/* Results of a step: an error, or one of these. */
enum { NOTHING, SENT };

/* Events of a turn as its conversation's log has them, those that the reader does not have. */
static int co_send(reader_t *r, int64_t ordinal, const char *conversation, str_t wire)
{
    char  text[FEED_ID_MAX + 1];
    buf_t b;
    int   rc;

    buf_init(&b, SI_FRAME_MAX - FEED_ID_MAX - 1);
    rc = feed_append(&b, &r->pos, ordinal, conversation, wire);
    if (rc == 0 && b.n) {
        rc = co_call_event(r->call, feed_pos_text(&r->pos, text), (str_t) { b.p, b.n }, clock_ms() + WRITE_MS);
        rc = rc ? rc : SENT;
    }
    buf_free(&b);
    return rc;
}

/* A turn that is over, from the store. */
static int co_send_row(reader_t *r, const turn_row_t *row)
{
    int64_t seen = feed_pos_seen(&r->pos, row->ordinal);
    buf_t   b;
    int     rc = 0;

    buf_init(&b, SI_FRAME_MAX);
    while (rc >= 0 && tail_row(row, &seen, &b) > 0) {
        rc = co_send(r, row->ordinal, row->conversation, (str_t) { b.p, b.n });
        buf_consume(&b, b.n);
    }
    buf_free(&b);
    feed_pos_set(&r->pos, row->ordinal, EVENT_ALL);     /* it was whole already, if nothing was sent */
    return rc < 0 ? rc : SENT;
}

static int co_send_stored(reader_t *r, int64_t ordinal)
{
    arena_t    *a = arena_new(4096);
    turn_row_t *rows;
    size_t      n;
    int         rc = co_store_turns_of_user(a, r->feed->tenant, r->feed->user, ordinal - 1, ordinal + 1, 1, &rows, &n);

    if (rc == 0 && n == 1 && rows[0].state > TURN_RUNNING) {
        rc = co_send_row(r, &rows[0]);
    } else if (rc == 0 && n == 0) {
        feed_pos_set(&r->pos, ordinal, EVENT_ALL);      /* deleted */
        rc = SENT;
    }
    arena_free(a);
    return rc;
}

/* A turn that is open in the feed, too: what is here of it. */
static int co_send_open(reader_t *r, int64_t ordinal)
{
    const turn_t *t = feed_turn_here(r->feed, ordinal);
    const char   *conversation = t ? arena_strdup(r->call->arena, t->row.conversation) : NULL;
    tail_t        tail;
    buf_t         b;
    int           rc = NOTHING;

    if (!t) {
        return NOTHING;
    }
    tail = (tail_t) { .pos = { t->row.number, feed_pos_seen(&r->pos, ordinal) } };
    buf_init(&b, SI_FRAME_MAX);
    if (tail_turn(&tail, t, &b) > 0) {                  /* one piece: the turn may be another one when we come back */
        rc = co_send(r, ordinal, conversation, (str_t) { b.p, b.n });
    }
    buf_free(&b);
    return rc;
}

/* One step with the turns that the reader has begun, the oldest first. */
static int co_step_open(reader_t *r)
{
    for (size_t i = r->pos.n; i-- > 0;) {
        int64_t ordinal = r->pos.open[i].ordinal, seen = feed_pos_seen(&r->feed->pos, ordinal);
        int     rc = NOTHING;

        if (seen >= EVENT_ALL) {
            rc = co_send_stored(r, ordinal);
        } else if (seen > r->pos.open[i].seen) {
            rc = co_send_open(r, ordinal);
        }
        if (rc != NOTHING) {
            return rc;
        }
    }
    return NOTHING;
}

/* The reader goes on to this turn, which is over or open. Turns that are missing before it were deleted. */
static int co_go_on(reader_t *r, const turn_row_t *row)
{
    int rc = 0;

    while (rc == 0 && r->pos.top + 1 < row->ordinal) {
        rc = feed_pos_next(&r->pos, false);
    }
    rc = rc ? rc : feed_pos_next(&r->pos, true);
    if (rc == 0 && feed_pos_seen(&r->feed->pos, row->ordinal) >= EVENT_ALL && row->state > TURN_RUNNING) {
        rc = co_send_row(r, row);
    }
    return rc < 0 ? rc : SENT;
}

/* One step with the turns behind what the reader has, up to where the feed is. */
static int co_step_on(reader_t *r)
{
    int64_t     top = r->feed->pos.top;
    arena_t    *a;
    turn_row_t *rows;
    size_t      n;
    int         rc;

    if (r->pos.top >= top) {
        return NOTHING;
    }
    a = arena_new(4096);
    rc = co_store_turns_of_user(a, r->feed->tenant, r->feed->user, r->pos.top, top + 1, ROWS, &rows, &n);
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        rc = co_go_on(r, &rows[i]);
        if (r->pos.n == FEED_OPEN_MAX - 1) {
            break;                                      /* first those that are over by now */
        }
    }
    while (rc == 0 && n == 0 && r->pos.top < top) {
        rc = feed_pos_next(&r->pos, false);
    }
    arena_free(a);
    return rc < 0 ? rc : SENT;
}

static bool level(const reader_t *r)
{
    const feed_pos_t *a = &r->pos, *b = &r->feed->pos;

    return a->top == b->top && a->n == b->n && memcmp(a->open, b->open, a->n * sizeof(a->open[0])) == 0;
}

/* An id alone: who loses the connection before the first event knows from where to resume. */
static int co_prime(reader_t *r)
{
    char text[FEED_ID_MAX + 1], line[FEED_ID_MAX + 8];
    int  n = snprintf(line, sizeof(line), "id: %s\n\n", feed_pos_text(&r->pos, text).p);

    return co_call_write(r->call, line, (size_t) n, clock_ms() + WRITE_MS);
}

/* 0 when reader and feed are level, and nothing was awaited since. */
static int co_catch_up(reader_t *r)
{
    int tries = 0, rc = 0;

    while (rc >= 0 && !r->feed->closed && !level(r)) {
        rc = co_step_open(r);
        rc = rc == NOTHING ? co_step_on(r) : rc;
        if (rc == SENT) {
            tries = 0;
        } else if (rc == NOTHING) {                     /* the reader is ahead: it comes from another worker */
            rc = co_feed_wait(r->feed);
            if (rc == SI_ETIMEDOUT && ++tries < TRIES) {
                rc = 0;
            }
        }
    }
    return r->feed->closed ? SI_ECONFLICT : rc < 0 ? rc : 0;
}

void co_feed_read(call_t *call, feed_t *f, feed_pos_t pos)
{
    reader_t r = { call, f, pos };
    char     text[FEED_ID_MAX + 1];
    int      rc = call->resume.n ? 0 : co_prime(&r);

    rc = rc ? rc : co_catch_up(&r);
    if (rc) {
        call_abort(call);
    } else if (call_attach(call, f->log)) {
        evlog_publish(f->log, feed_pos_text(&f->pos, text), STR_NULL);
    }
}
