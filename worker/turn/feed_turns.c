#include "turn/feed_in.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/util.h"
#include "link/frame.h"

/* --- the wire --- */

/* Where the second member of an event's data ends, which names its turn. NULL: it names none. */
static const char *behind_turn(str_t data)
{
    static const char mark[] = "\"turn\":\"";
    const char       *at = memmem(data.p, data.n, mark, sizeof(mark) - 1);

    at = at ? at + sizeof(mark) - 1 + UUID_LEN + 1 : NULL;
    return at && at <= data.p + data.n ? at : NULL;
}

static bool begins_with(str_t s, const char *z)
{
    return s.n >= strlen(z) && memcmp(s.p, z, strlen(z)) == 0;
}

int feed_append(buf_t *b, feed_pos_t *pos, int64_t ordinal, const char *conversation, str_t wire)
{
    char         text[FEED_ID_MAX + 1];
    event_view_t e;
    event_pos_t  at;
    size_t       n;
    int          rc = 0;

    for (; rc == 0 && (n = event_view(wire.p, wire.n, &e)) > 0; wire.p += n, wire.n -= n) {
        const char *behind = behind_turn(e.data);
        str_t       rest;

        if (event_pos_parse(e.id, &at) || !behind) {
            continue;                   /* of the conversation's stream and no turn */
        }
        if (at.event <= feed_pos_seen(pos, ordinal)) {
            continue;
        }
        rest = (str_t) { behind, (size_t) (e.data.p + e.data.n - behind) };
        feed_pos_set(pos, ordinal, event_state(e.type) != TURN_RUNNING ? EVENT_ALL : at.event);
        rc = buf_printf(b, "id: %s\nevent: %.*s\ndata: %.*s", feed_pos_text(pos, text).p, STR_ARG(e.type),
                        (int) (behind - e.data.p), e.data.p);
        if (rc == 0 && !begins_with(rest, ",\"conversation\":")) {
            rc = buf_printf(b, ",\"conversation\":\"%s\"", conversation);
        }
        rc = rc ? rc : buf_printf(b, ",\"id\":\"%.*s\"", STR_ARG(e.id));
        rc = rc ? rc : buf_append(b, rest.p, rest.n);
        rc = rc ? rc : buf_puts(b, "\n\n");
    }
    return rc;
}

int feed_append_row(buf_t *b, feed_pos_t *pos, const turn_row_t *row)
{
    int64_t seen = feed_pos_seen(pos, row->ordinal);
    buf_t   wire;
    int     rc = 0;

    buf_init(&wire, b->max);
    while (rc == 0 && tail_row(row, &seen, &wire) > 0) {
        rc = feed_append(b, pos, row->ordinal, row->conversation, (str_t) { wire.p, wire.n });
        buf_consume(&wire, wire.n);
    }
    buf_free(&wire);
    feed_pos_set(pos, row->ordinal, EVENT_ALL);         /* it was whole already, if nothing was appended */
    return rc;
}

void feed_publish(feed_t *f, str_t wire)
{
    char text[FEED_ID_MAX + 1];

    evlog_publish(f->log, feed_pos_text(&f->pos, text), wire);
    waiters_wake(&f->waiters, 0);
}

/* What was appended, or could not be. */
static void show(feed_t *f, const char *conversation, buf_t *b, int rc)
{
    if (rc) {
        log_line(LOG_ALERT, "an event is too long for a feed", "conversation", conversation, NULL);
    } else if (b->n) {
        feed_publish(f, (str_t) { b->p, b->n });
    }
    buf_free(b);
}

static void show_events(feed_t *f, int64_t ordinal, const char *conversation, str_t wire)
{
    buf_t b;

    buf_init(&b, SI_FRAME_MAX - FEED_ID_MAX - 1);
    show(f, conversation, &b, feed_append(&b, &f->pos, ordinal, conversation, wire));
}

void feed_show_row(feed_t *f, const turn_row_t *row)
{
    buf_t b;

    buf_init(&b, SI_FRAME_MAX - FEED_ID_MAX - 1);
    show(f, row->conversation, &b, feed_append_row(&b, &f->pos, row));
}

/* --- open turns --- */

feed_open_t *feed_find_turn(const feed_t *f, int64_t ordinal)
{
    list_each(it, &f->turns) {
        feed_open_t *o = list_entry(it, feed_open_t, node);
        if (o->ordinal == ordinal) {
            return o;
        }
    }
    return NULL;
}

const turn_t *feed_turn_here(const feed_t *f, int64_t ordinal)
{
    const feed_open_t *o = feed_find_turn(f, ordinal);
    const turn_t      *t = o && o->in->conv ? conv_turn(o->in->conv, o->tail.pos.turn) : NULL;

    return t && t->shown ? t : NULL;
}

static void drop_conv(feed_conv_t *in)
{
    if (in->turns == 0 && !in->opening) {
        evlog_untap(&in->tap);
        list_remove(&in->node);
        free(in);
    }
}

/* All of it has been shown. */
void feed_close_turn(feed_open_t *o)
{
    feed_conv_t *in = o->in;

    list_remove(&o->node);
    free(o);
    in->turns--;
    if (in->feed->full) {
        in->feed->full = false;
        feed_stale(in->feed);
    }
    drop_conv(in);
}

/* Shows what the turn has come to. If that was its end it is gone then, and perhaps its conversation with it. */
static void pull(feed_t *f, feed_open_t *o)
{
    feed_conv_t *in = o->in;
    turn_t      *t = in->conv ? conv_turn(in->conv, o->tail.pos.turn) : NULL;
    buf_t        b;

    if (!t || !t->shown) {
        return;
    }
    if (o->tail.at_turn == 0) {         /* in a turn object that may have less so far than was seen of an earlier one */
        o->tail.pos.event = feed_pos_seen(&f->pos, o->ordinal);
    }
    buf_init(&b, SI_FRAME_MAX);
    while (tail_turn(&o->tail, t, &b) > 0) {
        show_events(f, o->ordinal, in->id, (str_t) { b.p, b.n });
        buf_consume(&b, b.n);
    }
    buf_free(&b);
    if (feed_pos_seen(&f->pos, o->ordinal) >= EVENT_ALL) {
        feed_close_turn(o);
    }
}

static void pull_all(feed_t *f, const feed_conv_t *in)
{
    list_each_safe(it, &f->turns) {
        feed_open_t *o = list_entry(it, feed_open_t, node);
        if (o->in == in) {
            pull(f, o);
        }
    }
}

/* One place is left to readers that catch up. */
bool feed_has_room(const feed_t *f)
{
    return f->pos.n < FEED_OPEN_MAX - 1;
}

bool feed_open_turn(feed_t *f, feed_conv_t *in, int64_t ordinal, int64_t number)
{
    feed_open_t *o;

    if (!feed_has_room(f) || feed_pos_next(&f->pos, true)) {
        f->full = true;
        return false;
    }
    o = si_calloc(sizeof(*o));
    o->ordinal = ordinal;
    o->in = in;
    o->tail.pos = (event_pos_t) { number, 0 };
    in->turns++;
    list_push(&f->turns, &o->node);
    return true;
}

/* --- their conversations --- */

static void new_turn(feed_conv_t *in, const turn_t *t)
{
    feed_t *f = in->feed;

    if (t->row.ordinal <= f->pos.top || f->full) {
        return;                         /* it is over, and was seen whole; or it has to wait */
    }
    if (t->row.ordinal == f->pos.top + 1 && feed_open_turn(f, in, t->row.ordinal, t->row.number)) {
        pull(f, feed_find_turn(f, t->row.ordinal));
    } else {
        feed_stale(f);                  /* another one came before it */
    }
}

static void conv_lost(feed_conv_t *in)
{
    in->conv = NULL;
    list_each(it, &in->feed->turns) {
        feed_open_t *o = list_entry(it, feed_open_t, node);
        if (o->in == in) {
            o->tail.at_turn = 0;
        }
    }
    feed_stale(in->feed);
}

static void told(evlog_tap_t *tap, str_t id, str_t wire)
{
    feed_conv_t *in = container_of(tap, feed_conv_t, tap);
    feed_t      *f = in->feed;
    event_pos_t  pos;
    turn_t      *t;

    if (!id.p) {
        conv_lost(in);
        return;
    }
    if (wire.n == 0 || event_pos_parse(id, &pos) || (t = conv_turn(in->conv, pos.turn)) == NULL) {
        return;
    }
    list_each(it, &f->turns) {
        feed_open_t *o = list_entry(it, feed_open_t, node);
        if (o->in == in && o->tail.pos.turn == pos.turn) {
            pull(f, o);
            return;
        }
    }
    new_turn(in, t);
}

feed_conv_t *feed_conv_of(feed_t *f, const char *id)
{
    feed_conv_t *in;

    list_each(it, &f->convs) {
        in = list_entry(it, feed_conv_t, node);
        if (strcmp(in->id, id) == 0) {
            return in;
        }
    }
    in = si_calloc(sizeof(*in));
    in->feed = f;
    snprintf(in->id, sizeof(in->id), "%s", id);
    list_push(&f->convs, &in->node);
    return in;
}

static void co_open_conv(void *arg)
{
    feed_conv_t *in = arg;
    feed_t      *f = in->feed;
    arena_t     *a = arena_new(1024);
    conv_t      *c = NULL;
    int          rc = co_conv_open_here(f->tenant, f->user, in->id, &c, a);

    arena_free(a);
    if (rc == 0 && !f->closed && conv_live(c)) {
        in->conv = c;
        evlog_tap(c->log, &in->tap, told);
        f->failures = 0;
        pull_all(f, in);
    } else if (!f->closed) {
        co_sleep(backoff_ms(++f->failures, FEED_PAUSE_MS, FEED_PAUSE_MAX), "feed:conv");
    }
    in->opening = false;
    feed_stale(f);                      /* it may have ended before we came */
    drop_conv(in);
    if (c) {
        conv_unref(c);
    }
    feed_unref(f);
}

void feed_open_conv(feed_t *f, feed_conv_t *in)
{
    if (in->turns == 0) {
        drop_conv(in);                  /* its turn had to wait */
    } else if (!in->conv && !in->opening && !f->closed) {
        in->opening = true;
        f->refs++;
        co_spawn("feed:conv", co_open_conv, in);
    }
}

