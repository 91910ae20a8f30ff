#include "turn/reader.h"

#include <stdio.h>

#include "base/logger.h"
#include "run/loop.h"
#include "link/frame.h"
#include "store/store.h"
#include "turn/bus.h"
#include "turn/tail.h"

#define WRITE_MS     60000      /* a client that takes nothing for so long is given up */
#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 2000
#define KNOWN_MS     5000       /* how long an id that is not known here waits for the owner's word */

/* `retry:` differs from reader to reader, so that those of a process that died do not come back in the same moment. */
int co_reader_head(call_t *call)
{
    char        first[48];
    uint32_t    r;
    int         n;
    call_head_t head = { .status = 200, .length = -1, .stream = true, .type = "text/event-stream" };

    call_head(call, &head);
    if (call->resume.n) {
        return 0;
    }
    random_bytes(&r, sizeof(r));
    n = snprintf(first, sizeof(first), "retry: %u\n: si\n\n", RETRY_MIN_MS + r % (RETRY_MAX_MS - RETRY_MIN_MS + 1));
    return co_call_write(call, first, (size_t) n, clock_ms() + WRITE_MS);
}

static int co_send(call_t *call, event_pos_t pos, const char *p, size_t n)
{
    char  text[48];
    str_t id = event_pos_text(pos, text);

    return n ? co_call_event(call, id, (str_t) { p, n }, clock_ms() + WRITE_MS) : 0;
}

static event_pos_t newest(conv_t *c, event_pos_t pos)
{
    turn_t *t = conv_turn(c, pos.turn);

    if (pos.event >= EVENT_ALL && t) {
        pos.event = t->last;
    }
    return pos;
}

static void attach(call_t *call, evlog_t *log, event_pos_t pos)
{
    char text[48];

    if (call_attach(call, log)) {
        evlog_publish(log, event_pos_text(pos, text), STR_NULL);    /* where a resume would begin */
    }
}

int co_reader_prime(call_t *call, str_t id)
{
    char line[SI_ID_MAX + 8];
    int  n = snprintf(line, sizeof(line), "id: %.*s\n\n", STR_ARG(id));

    return co_call_write(call, line, (size_t) n, clock_ms() + WRITE_MS);
}

static int co_prime(call_t *call, conv_t *c, event_pos_t *pos)
{
    char text[48];
    int  rc = co_tail_exact(c, pos);

    return rc ? rc : co_reader_prime(call, event_pos_text(*pos, text));
}

/* Everything behind pos, then *pos is the last event's. 0: nothing is left, and nothing was awaited since that look. */
static int co_catch_up(call_t *call, conv_t *c, event_pos_t *pos)
{
    tail_t t;
    buf_t  b;
    int    rc;

    tail_open(&t, c, *pos, NULL);
    buf_init(&b, SI_FRAME_MAX);
    while ((rc = co_tail_take(&t, &b)) > 0) {
        rc = co_send(call, t.id, b.p, b.n);
        buf_consume(&b, b.n);
        if (rc) {
            break;
        }
    }
    *pos = t.pos;
    buf_free(&b);
    tail_close(&t);
    return rc;
}

void co_reader_conv(call_t *call, conv_t *c, event_pos_t pos)
{
    int rc = call->resume.n ? 0 : co_prime(call, c, &pos);

    rc = rc ? rc : co_catch_up(call, c, &pos);
    if (rc || !conv_live(c)) {
        call_abort(call);
    } else {
        attach(call, c->log, newest(c, pos));
    }
}

void co_reader_turn(call_t *call, turn_t *t, int64_t seen)
{
    tail_t  tail = { .pos = { t->row.number, seen } };
    buf_t   b;
    ssize_t n;
    int     rc = 0;

    buf_init(&b, SI_FRAME_MAX);
    while (rc == 0 && (n = tail_turn(&tail, t, &b)) != 0) {
        rc = n < 0 ? (int) n : co_send(call, tail.id, b.p, b.n);
        buf_consume(&b, b.n);
    }
    buf_free(&b);
    if (rc || t->dropped) {
        call_abort(call);
    } else if (turn_over(t)) {
        call_end(call);
    } else {
        attach(call, t->log, tail.pos);
    }
}

void co_reader_row(call_t *call, const turn_row_t *row, int64_t seen)
{
    buf_t b;
    int   rc;

    buf_init(&b, SI_FRAME_MAX);
    while ((rc = tail_row(row, &seen, &b)) > 0) {
        rc = co_send(call, (event_pos_t) { row->number, seen }, b.p, b.n);
        buf_consume(&b, b.n);
        if (rc) {
            break;
        }
    }
    buf_free(&b);
    if (rc) {
        call_abort(call);
    } else {
        call_end(call);
    }
}

/* A turn that was taken over and has not begun again yet: readers have ids of the attempts before. */
static bool turn_future(const turn_t *t, int64_t seen)
{
    return seen > SI_MAX(t->last, event_first(t->row.attempt) - 1);
}

/* Turns of another machine may be missing here between those that are there. */
static bool future(conv_t *c, const turn_t *one, event_pos_t pos)
{
    const turn_t *t = one ? one : conv_turn(c, pos.turn);

    if (!t) {
        return pos.turn >= conv_lowest(c);
    }
    if (!one && !t->shown) {
        return true;
    }
    return pos.event >= EVENT_ALL ? !turn_over(t) : turn_future(t, pos.event);
}

int co_reader_known(conv_t *c, const turn_t *one, event_pos_t pos)
{
    uint64_t until = clock_ms() + KNOWN_MS, asked = 0;
    int      rc;

    while (future(c, one, pos)) {
        if (c->state == CONV_OPEN) {
            rc = co_conv_sure(c);
            return rc ? rc : SI_EINVAL;
        }
        if (c->state != CONV_FOLLOW || clock_ms() >= until) {
            return SI_EAGAIN;
        }
        if (!asked) {
            asked = follower_ask(c);
        } else if (c->told >= asked) {
            return SI_EINVAL;
        }
        rc = co_sleep(SHADOW_LOOK_MS, "reader:follow");
        if (rc) {
            return rc;
        }
    }
    return 0;
}
