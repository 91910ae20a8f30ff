/* The owner's side of a conversation that workers of other machines read. */
#include "turn/bus.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"

#define FOLLOWER_MS  15000      /* a follower that has not renewed for so long has gone */
#define GATHER_MS    20
#define AHEAD_MAX    (16u << 20)
#define PIECE        (128u << 10)

typedef struct {
    list_t   node;
    char     name[BUS_NAME_MAX];
    uint64_t seq, until;
} follower_t;

static void forget(follower_t *f)
{
    list_remove(&f->node);
    free(f);
}

static follower_t *find(conv_t *c, const char *name)
{
    list_each(it, &c->followers) {
        follower_t *f = list_entry(it, follower_t, node);
        if (strcmp(f->name, name) == 0) {
            return f;
        }
    }
    return NULL;
}

bool leader_busy(conv_t *c)
{
    list_each_safe(it, &c->followers) {
        follower_t *f = list_entry(it, follower_t, node);
        if (f->until < clock_ms()) {
            forget(f);
        }
    }
    return !list_empty(&c->followers);
}

/* Whole events to one follower, in pieces. One that cannot be reached is forgotten: it will miss a number. */
static bool send_events(conv_t *c, follower_t *f, str_t wire)
{
    while (wire.n > 0) {
        size_t n = 0, step;

        while ((step = event_end(wire.p + n, wire.n - n)) && (n == 0 || n + step <= PIECE)) {
            n += step;
        }
        if (n == 0 || bus_send(f->name, "ev", c, c->epoch, ++f->seq, (str_t) { wire.p, n })) {
            return false;
        }
        wire.p += n;
        wire.n -= n;
    }
    return true;
}

static void flush_now(conv_t *c)
{
    loop_timer_del(&c->gather);
    if (leader_busy(c)) {
        list_each_safe(it, &c->followers) {
            follower_t *f = list_entry(it, follower_t, node);
            if (!send_events(c, f, (str_t) { c->ahead.p, c->ahead.n })) {
                forget(f);
            }
        }
    }
    buf_free(&c->ahead);
}

static void flush_due(ltimer_t *t)
{
    flush_now(container_of(t, conv_t, gather));
}

void leader_publish(conv_t *c, str_t wire)
{
    if (list_empty(&c->followers)) {
        return;
    }
    c->ahead.max = AHEAD_MAX;
    if (buf_append(&c->ahead, wire.p, wire.n)) {
        leader_end(c);
    } else if (!c->gather.at) {
        loop_timer(&c->gather, GATHER_MS, flush_due);
    }
}

void leader_end(conv_t *c)
{
    loop_timer_del(&c->gather);
    buf_free(&c->ahead);
    list_each_safe(it, &c->followers) {
        follower_t *f = list_entry(it, follower_t, node);
        bus_send(f->name, "gone", c, 0, 0, STR_NULL);
        forget(f);
    }
}

/* What a new follower must know: which turns are in Postgres, and the running one so far. */
static void admit(conv_t *c, const char *name)
{
    follower_t *f = find(c, name);
    turn_t     *t = c->current;
    int64_t     last = c->last_number;
    char        attempt[16];

    snprintf(attempt, sizeof(attempt), "%d", t ? t->row.attempt : 0);
    flush_now(c);
    if (!f) {
        f = si_calloc(sizeof(*f));
        snprintf(f->name, sizeof(f->name), "%s", name);
        list_push(&c->followers, &f->node);
    }
    f->seq = 0;
    f->until = clock_ms() + FOLLOWER_MS;
    if (t) {
        last = t->row.number - 1;
    }
    if (bus_send(name, "snap", c, c->epoch, (uint64_t) last, str_of(attempt))
        || (t && (!send_events(c, f, (str_t) { t->accepted.p, t->accepted.n })
                  || !send_events(c, f, (str_t) { t->events.p, t->events.n }))))
    {
        forget(f);
    }
}

/* --- messages --- */

static void refuse(const bus_msg_t *m)
{
    bus_reply(m, "gone", 0, 0);
}

/* Opens the conversation here if it is not, since Postgres says that it is ours, and does what was asked. */
static void co_serve(void *arg)
{
    bus_msg_t  *m = arg;
    arena_t    *a = arena_new(1024);
    const char *moved = NULL;
    conv_t     *c = NULL;
    int         rc = co_conv_open(m->tenant, m->user, m->conversation, &c, &moved, a);

    if (rc == 0 && c->state == CONV_OPEN) {
        if (m->type[0] == 'f') {
            admit(c, m->from);
        } else {
            co_conv_refresh(c);
        }
    } else {
        refuse(m);
    }
    if (c) {
        conv_unref(c);
    }
    arena_free(a);
    free(m);
}

static void serve(const bus_msg_t *m)
{
    bus_msg_t *copy = si_malloc(sizeof(*copy));

    *copy = *m;
    copy->body = STR_NULL;
    co_spawn("bus", co_serve, copy);
}

void leader_got(const bus_msg_t *m)
{
    conv_t     *c = conv_find(m->tenant, m->user, m->conversation);
    bool        ours = c && c->state == CONV_OPEN;
    follower_t *f = ours ? find(c, m->from) : NULL;

    if (strcmp(m->type, "follow") == 0 || strcmp(m->type, "wake") == 0) {
        serve(m);
    } else if (strcmp(m->type, "leave") == 0) {
        if (f) {
            forget(f);
        }
    } else if (!f) {
        refuse(m);
    } else {                                    /* renew */
        flush_now(c);
        f->until = clock_ms() + FOLLOWER_MS;
        bus_send(m->from, "ok", c, c->epoch, f->seq, m->body);
    }
}
