/* Turns that run on another machine, as their events show them. */
#include "turn/turn.h"

#include "turn/conv.h"

static void tell(turn_t *t, int64_t number, str_t wire)
{
    char  text[48];
    str_t id = event_pos_text((event_pos_t) { t->row.number, number }, text);

    evlog_publish(t->log, id, wire);
    evlog_publish(t->conv->log, id, wire);
}

bool turn_shadow_accepted(turn_t *t, str_t wire)
{
    char  text[48];
    str_t id = event_pos_text((event_pos_t) { t->row.number, 1 }, text);

    if (!t->shadow || t->shown) {
        return false;
    }
    buf_consume(&t->accepted, t->accepted.n);
    if (buf_append(&t->accepted, wire.p, wire.n)) {
        return false;
    }
    t->shown = true;
    evlog_publish(t->conv->log, id, wire);      /* readers of the turn alone have it already */
    return true;
}

bool turn_shadow_event(turn_t *t, int64_t number, const char *type, str_t wire)
{
    int attempt = (int) (number / EVENT_ATTEMPT);

    if (!t->shadow || !t->shown || turn_over(t) || number <= t->last) {
        return false;
    }
    if (attempt != t->row.attempt) {            /* a new attempt discards what the last one said */
        t->row.attempt = attempt;
        buf_consume(&t->events, t->events.n);
    }
    if (buf_append(&t->events, wire.p, wire.n)) {
        return false;
    }
    t->last = number;
    t->row.state = event_state(str_of(type));
    tell(t, number, wire);
    if (turn_over(t)) {
        conv_t *c = t->conv;

        t->row.last_event = number;
        evlog_end(t->log, false);
        waiters_wake(&t->waiters, 0);
        conv_forget_old(c);
        conv_unref(c);
    }
    return true;
}
