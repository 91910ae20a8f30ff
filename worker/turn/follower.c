/*
 * A conversation that another worker owns, read here. Its events make shadows of its turns, so that
 * readers find them as they find turns of our own.
 */
#include "turn/bus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "io/redis.h"
#include "link/link.h"

#define SNAP_MS   1500
#define SNAP_TRIES  2
#define RENEW_MS  3000
#define RENEW_HERE_MS  500      /* a neighbour's death is seen within this time */

static void renew(ltimer_t *t);

/* Often enough that one message may be lost before a silent leader is taken for dead. */
static void renew_later(conv_t *c)
{
    loop_timer(&c->renew, SI_MIN(owner_here(c->leader) ? RENEW_HERE_MS : RENEW_MS, proc.conf->lease_ms / 3), renew);
}

int co_follow(conv_t *c, const char *leader)
{
    int rc = SI_EAGAIN;

    snprintf(c->leader, sizeof(c->leader), "%s", leader);
    for (int i = 0; i < SNAP_TRIES; i++) {
        wait_init(&c->snap);
        c->seq = 0;
        c->snapped = false;
        if (bus_send(c->leader, "follow", c, 0, 0, STR_NULL)) {
            return SI_EAGAIN;
        }
        rc = co_wait(&c->snap, "conv:follow", clock_ms() + SNAP_MS);
        if (rc != SI_ETIMEDOUT) {
            break;
        }
    }
    if (rc == 0) {
        c->state = CONV_FOLLOW;
        c->heard = clock_ms();
        renew_later(c);
    }
    return rc == SI_ETIMEDOUT || rc == SI_ECONFLICT ? SI_EAGAIN : rc;
}

void follower_leave(conv_t *c)
{
    loop_timer_del(&c->renew);
    bus_send(c->leader, "leave", c, 0, 0, STR_NULL);
}

void follower_wake(conv_t *c)
{
    bus_send(c->leader, "wake", c, 0, 0, STR_NULL);
}

/* Something is missing: readers begin again from what they have, here or where the conversation is now. */
static void drop(conv_t *c, const char *why)
{
    log_line(LOG_INFO, "a conversation is followed no longer", "conversation", c->id, "reason", why, NULL);
    wait_wake(&c->snap, SI_ECONFLICT);
    if (c->state == CONV_FOLLOW) {
        conv_lose(c);
    }
}

str_t follower_degraded(void)
{
    return STR("event: stream.degraded\ndata: {\"type\":\"stream.degraded\",\"reason\":\"redis\"}\n\n");
}

/* Without Redis nothing comes: readers are told, once, and begin again when it is back. */
static void degrade(conv_t *c)
{
    char              text[48];

    if (c->degraded) {
        return;
    }
    c->degraded = true;
    evlog_publish(c->log, event_pos_text(conv_at(c), text), follower_degraded());
}

static bool waits_for_leader(conv_t *c)
{
    list_each(it, &c->turns) {
        if (!list_entry(it, turn_t, node)->shown) {
            return true;
        }
    }
    return false;
}

/* Known of a neighbour long before its lease lapses. */
static bool owner_died(const conv_t *c)
{
    const char *instance = owner_here(c->leader);

    return instance && !links_alive(instance);
}

uint64_t follower_ask(conv_t *c)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, ++c->asked);
    bus_send(c->leader, "renew", c, c->seq, 0, str_of(text));
    return c->asked;
}

static void renew(ltimer_t *t)
{
    conv_t *c = container_of(t, conv_t, renew);

    renew_later(c);
    if (owner_died(c)) {
        drop(c, "its owner died");
        return;
    }
    if (!redis_ready()) {
        degrade(c);
        return;
    }
    if (c->degraded || clock_ms() - c->heard > proc.conf->lease_ms) {
        drop(c, c->degraded ? "Redis is back" : "its owner is silent");
        return;
    }
    follower_ask(c);
    if (waits_for_leader(c)) {
        follower_wake(c);
    }
}

/* --- events --- */

/* Value of "turn" in an event's data: every event names its turn second. */
static bool turn_id_of(str_t event, char id[UUID_LEN + 1])
{
    static const char mark[] = "\"turn\":\"";
    const char       *at = memmem(event.p, event.n, mark, sizeof(mark) - 1);

    if (!at || (size_t) (event.p + event.n - at) < sizeof(mark) + UUID_LEN) {
        return false;
    }
    memcpy(id, at + sizeof(mark) - 1, UUID_LEN);
    id[UUID_LEN] = '\0';
    return uuid_valid(str_of(id));
}

/* Value of "ordinal" in turn.accepted: it stands before all text of the user's, and there a quote is escaped. */
static int64_t ordinal_of(str_t event)
{
    static const char mark[] = "\"ordinal\":";
    const char       *at = memmem(event.p, event.n, mark, sizeof(mark) - 1);

    return at ? strtoll(at + sizeof(mark) - 1, NULL, 10) : 0;       /* a comma follows */
}

static turn_t *shadow_of(conv_t *c, str_t event, int64_t number)
{
    turn_t    *t = conv_turn(c, number);
    char       id[UUID_LEN + 1];
    turn_row_t row = { .number = number, .conversation = c->id, .user = c->user, .id = id };

    if (!t && turn_id_of(event, id)) {
        row.ordinal = ordinal_of(event);
        t = turn_new(c, &row, NULL);
    }
    return t;
}

/* One event: "id: 12.7\nevent: delta\ndata: …\n\n". False if it cannot be placed. */
static bool feed(conv_t *c, str_t event)
{
    char        id[48] = "", type[24] = "";
    event_pos_t pos;
    turn_t     *t;
    char        head[96];
    size_t      n = SI_MIN(event.n, sizeof(head) - 1);

    memcpy(head, event.p, n);
    head[n] = '\0';
    if (sscanf(head, "id: %47[0-9.]\nevent: %23[a-z.]\n", id, type) != 2 || event_pos_parse(str_of(id), &pos)) {
        return false;
    }
    if (strcmp(type, "turn.accepted") == 0) {
        t = shadow_of(c, event, pos.turn);
        if (!t || !turn_shadow_accepted(t, event)) {
            return false;
        }
        t->row.attempt = SI_MAX(t->row.attempt, c->attempt);    /* readers have ids of the attempts before */
        c->attempt = 0;
        return true;
    }
    t = conv_turn(c, pos.turn);
    return t && turn_shadow_event(t, pos.event, type, event);
}

static void got_events(conv_t *c, const bus_msg_t *m)
{
    str_t wire = m->body;

    if (!c->snapped) {
        return;                                 /* of an earlier follow */
    }
    if (m->a != c->epoch || m->b != c->seq + 1) {
        drop(c, "events were lost");
        return;
    }
    c->seq++;
    c->refs++;
    while (wire.n > 0 && c->state != CONV_LOST) {
        size_t n = event_end(wire.p, wire.n);

        if (n == 0 || !feed(c, (str_t) { wire.p, n })) {
            drop(c, "an event could not be placed");
            break;
        }
        wire.p += n;
        wire.n -= n;
    }
    conv_unref(c);
}

void follower_got(const bus_msg_t *m)
{
    conv_t  *c = conv_find(m->tenant, m->user, m->conversation);
    uint64_t n;

    if (!c || strcmp(c->leader, m->from) != 0) {
        return;
    }
    c->heard = clock_ms();
    if (strcmp(m->type, "ev") == 0) {
        got_events(c, m);
    } else if (strcmp(m->type, "gone") == 0) {
        drop(c, "it has moved");
    } else if (strcmp(m->type, "ok") == 0) {
        if (c->state == CONV_FOLLOW && (m->a != c->epoch || m->b != c->seq)) {
            drop(c, "events were lost");
        } else if (parse_u64(m->body, &n) == 0) {
            c->told = SI_MAX(c->told, n);
        }
    } else if (strcmp(m->type, "snap") == 0 && c->state == CONV_OPENING && !c->snapped) {
        c->epoch = m->a;
        c->last_number = c->stored = (int64_t) m->b;
        c->attempt = parse_u64(m->body, &n) || n > INT32_MAX / EVENT_ATTEMPT ? 0 : (int) n;
        c->seq = 0;
        c->snapped = true;
        wait_wake(&c->snap, 0);
    }
}
