#include "turn/reader.h"

#include <stdio.h>

#include "base/logger.h"
#include "run/loop.h"
#include "store/store.h"

#define WRITE_MS     60000      /* a client that takes nothing for so long is given up */
#define PIECE        16384
#define REPLAY_ROWS  20

int co_reader_head(call_t *call)
{
    static const char first[] = "retry: 1000\n: si\n\n";
    call_head_t       head = { .status = 200, .length = -1, .stream = true, .type = "text/event-stream" };

    call_head(call, &head);
    return call->resume.n ? 0 : co_call_write(call, first, sizeof(first) - 1, clock_ms() + WRITE_MS);
}

static int co_send(call_t *call, event_pos_t pos, const char *p, size_t n)
{
    char  text[48];
    str_t id = event_pos_text(pos, text);

    return n ? co_call_event(call, id, (str_t) { p, n }, clock_ms() + WRITE_MS) : 0;
}

/* Length of a run of whole events in p..p+n, about PIECE bytes; *count of them. */
static size_t piece(const char *p, size_t n, int64_t *count)
{
    size_t at = 0, step;

    *count = 0;
    while (at < PIECE && (step = event_end(p + at, n - at))) {
        if (at && at + step > PIECE) {
            break;
        }
        at += step;
        ++*count;
    }
    return at;
}

/* Sends what a turn has behind `*seen`, and goes on until nothing is left: then, and only then, no yield lies between the look and the return. */
static int co_send_turn(call_t *call, turn_t *t, int64_t *seen)
{
    int64_t first = event_first(t->row.attempt), count;
    size_t  at, n;
    int     rc;

    if (*seen < 1) {
        *seen = 1;
        rc = co_send(call, (event_pos_t) { t->row.number, 1 }, t->accepted.p, t->accepted.n);
        if (rc) {
            return rc;
        }
    }
    if (*seen < first) {
        *seen = first - 1;
    }
    at = event_skip(t->events.p, t->events.n, *seen - first + 1);
    while ((n = piece(t->events.p + at, t->events.n - at, &count)) > 0) {
        char *copy = si_malloc(n);      /* the buffer may move while we wait */

        memcpy(copy, t->events.p + at, n);
        *seen += count;
        rc = co_send(call, (event_pos_t) { t->row.number, *seen }, copy, n);
        free(copy);
        if (rc) {
            return rc;
        }
        at += n;
    }
    return 0;
}

/* From the store: a finished turn comes back as its first and its last event, the same bytes as live. */
static int co_send_row(call_t *call, const turn_row_t *row, int64_t seen)
{
    buf_t b;
    int   rc = 0;

    buf_init(&b, SIZE_MAX / 2);
    if (seen < 1) {
        event_accepted(&b, row);
        rc = co_send(call, (event_pos_t) { row->number, 1 }, b.p, b.n);
        buf_consume(&b, b.n);
    }
    if (rc == 0 && seen < row->last_event) {
        event_final(&b, row, row->last_event);
        rc = co_send(call, (event_pos_t) { row->number, row->last_event }, b.p, b.n);
    }
    buf_free(&b);
    return rc;
}

static int co_send_stored(call_t *call, conv_t *c, event_pos_t *pos, int64_t before)
{
    arena_t    *a = arena_new(4096);
    turn_row_t *rows;
    size_t      n;
    int         rc = co_store_turns_between(a, c->tenant, c->user, c->id, pos->turn - 1, before, REPLAY_ROWS, &rows, &n);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = co_send_row(call, &rows[i], rows[i].number == pos->turn ? pos->event : 0);
        *pos = (event_pos_t) { rows[i].number, EVENT_ALL };
    }
    if (rc == 0 && n < REPLAY_ROWS) {
        *pos = (event_pos_t) { SI_MAX(before - 1, pos->turn), EVENT_ALL };
    }
    arena_free(a);
    return rc;
}

static event_pos_t newest(conv_t *c, event_pos_t pos)
{
    turn_t *t = conv_turn(c, pos.turn);

    if (pos.event >= EVENT_ALL && t) {
        pos.event = t->last;
    }
    return pos;
}

/* One step of catching up. 1: there may be more, 0: nothing is left at this moment, or an error. */
static int co_catch_up(call_t *call, conv_t *c, event_pos_t *pos)
{
    turn_t *t, *oldest = list_first(&c->turns, turn_t, node);
    int64_t lowest = oldest ? oldest->row.number : c->last_number + 1;
    int     rc;

    if (pos->event >= EVENT_ALL || pos->turn == 0) {
        *pos = (event_pos_t) { pos->turn + 1, 0 };
    }
    if (pos->turn < lowest) {
        rc = co_send_stored(call, c, pos, lowest);
        return rc ? rc : 1;
    }
    t = conv_turn(c, pos->turn);
    if (!t || !t->shown) {
        *pos = (event_pos_t) { pos->turn - 1, EVENT_ALL };
        return 0;
    }
    turn_ref(t);
    rc = co_send_turn(call, t, &pos->event);
    if (rc == 0 && turn_over(t)) {
        pos->event = EVENT_ALL;
        rc = 1;
    }
    turn_unref(t);
    return rc;
}

static void attach(call_t *call, evlog_t *log, event_pos_t pos)
{
    char text[48];

    if (call_attach(call, log)) {
        evlog_publish(log, event_pos_text(pos, text), STR_NULL);    /* where a resume would begin */
    }
}

/* The number of the last event of a turn that has been seen whole. */
static int co_exact(conv_t *c, event_pos_t *pos)
{
    arena_t    *a;
    turn_row_t *rows;
    size_t      n;
    int         rc;

    *pos = newest(c, *pos);
    if (pos->event < EVENT_ALL || pos->turn == 0) {
        pos->event = pos->turn ? pos->event : 0;
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

/* An id alone: no event, but who loses the connection before the first one knows from where to resume. */
static int co_prime(call_t *call, conv_t *c, event_pos_t *pos)
{
    char text[48], line[64];
    int  rc = co_exact(c, pos), n;

    if (rc) {
        return rc;
    }
    n = snprintf(line, sizeof(line), "id: %s\n\n", event_pos_text(*pos, text).p);
    return co_call_write(call, line, (size_t) n, clock_ms() + WRITE_MS);
}

void co_reader_conv(call_t *call, conv_t *c, event_pos_t pos)
{
    int rc = call->resume.n ? 0 : co_prime(call, c, &pos);

    if (rc) {
        call_abort(call);
        return;
    }
    while ((rc = co_catch_up(call, c, &pos)) > 0) {
        if (!conv_live(c)) {
            rc = SI_ECONFLICT;
            break;
        }
    }
    if (rc || !conv_live(c)) {
        call_abort(call);
        return;
    }
    attach(call, c->log, newest(c, pos));
}

void co_reader_turn(call_t *call, turn_t *t, int64_t seen)
{
    int rc = co_send_turn(call, t, &seen);

    if (rc || t->dropped) {
        call_abort(call);
    } else if (turn_over(t)) {
        call_end(call);
    } else {
        attach(call, t->log, (event_pos_t) { t->row.number, seen });
    }
}

void co_reader_row(call_t *call, const turn_row_t *row, int64_t seen)
{
    if (co_send_row(call, row, seen)) {
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

static bool future(conv_t *c, event_pos_t pos)
{
    turn_t *t = conv_turn(c, pos.turn);

    return pos.turn > c->last_number || (t && (turn_future(t, pos.event) || !t->shown));
}

bool co_reader_future(conv_t *c, event_pos_t pos)
{
    uint64_t until = clock_ms() + SHADOW_MS;

    while (future(c, pos)) {
        if (c->state != CONV_FOLLOW || clock_ms() >= until || co_sleep(SHADOW_LOOK_MS, "reader:follow")) {
            return true;
        }
    }
    return false;
}

bool co_reader_turn_future(const turn_t *t, int64_t seen)
{
    uint64_t until = clock_ms() + SHADOW_MS;

    while (turn_future(t, seen)) {
        if (!t->shadow || clock_ms() >= until || co_sleep(SHADOW_LOOK_MS, "reader:follow")) {
            return true;
        }
    }
    return false;
}
