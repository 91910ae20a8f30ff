#include <stdio.h>

#include "api/own.h"
#include "api/problem.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "turn/reader.h"

/* Without a position: a running turn from its beginning, then what comes. */
static event_pos_t present(conv_t *c, bool running_too)
{
    event_pos_t at = conv_at(c);
    turn_t     *t = conv_turn(c, at.turn);

    return running_too && t && !turn_over(t) ? (event_pos_t) { at.turn - 1, EVENT_ALL } : at;
}

/* 0 or -1: answered, since the id was not given out, or nobody can say. */
static int co_known(request_t *r, conv_t *c, const turn_t *t, event_pos_t pos)
{
    int rc = co_reader_known(c, t, pos);

    if (rc == SI_EINVAL) {
        co_future_id(r);
    } else if (rc) {
        co_problem_rc(r->call, rc);
    }
    return rc ? -1 : 0;
}

int co_stream_known(request_t *r, conv_t *c, event_pos_t pos)
{
    return co_known(r, c, NULL, pos);
}

/* Where to begin, from Last-Event-ID and ?from=. 0 or -1: answered. */
static int co_begin_at(request_t *r, conv_t *c, event_pos_t *pos)
{
    bool start, now;
    int  given = co_last_event_id(r, pos);

    if (given < 0) {
        return -1;
    }
    if (given) {
        return co_known(r, c, NULL, *pos);
    }
    if (co_from(r, &start, &now)) {
        return -1;
    }
    *pos = start ? (event_pos_t) { 0, EVENT_ALL } : present(c, !now);
    return 0;
}

conv_t *co_stream_open(request_t *r, event_pos_t *pos)
{
    conv_t *c = co_own(r, r->id);

    if (c && co_begin_at(r, c, pos)) {
        conv_unref(c);
        return NULL;
    }
    return c;
}

void co_conversation_events(request_t *r)
{
    event_pos_t pos;
    conv_t     *c = co_stream_open(r, &pos);

    if (!c) {
        return;
    }
    if (!co_head_only(r)) {
        if (co_reader_head(r->call)) {
            call_abort(r->call);
        } else {
            co_reader_conv(r->call, c, pos);
        }
    }
    conv_unref(c);
}

static void co_stream_turn(request_t *r, turn_t *t, int64_t seen)
{
    if (co_reader_head(r->call)) {
        call_abort(r->call);
    } else {
        co_reader_turn(r->call, t, seen);
    }
}

/* From memory if the turn is there. True: answered. */
static bool co_live_turn(request_t *r, const turn_row_t *row, int64_t seen)
{
    conv_t *c = co_own(r, row->conversation);
    turn_t *t = c ? co_conv_turn(c, row->id) : NULL;

    if (!c) {
        return true;
    }
    if (t) {
        turn_ref(t);
        if (co_known(r, c, t, (event_pos_t) { row->number, seen }) == 0) {
            co_stream_turn(r, t, seen);
        }
        turn_unref(t);
    }
    conv_unref(c);
    return t != NULL;
}

static void co_stored_turn(request_t *r, const turn_row_t *row, int64_t seen)
{
    if (seen >= row->last_event) {
        call_head_t none = { .status = 204, .length = 0 };
        call_head(r->call, &none);
        call_end(r->call);
    } else if (co_reader_head(r->call)) {
        call_abort(r->call);
    } else {
        co_reader_row(r->call, row, seen);
    }
}

void co_turn_events(request_t *r)
{
    event_pos_t pos = { 0, 0 };
    turn_row_t  row;
    int         given = co_last_event_id(r, &pos), rc;

    if (given < 0) {
        return;
    }
    rc = co_store_turn(r->call->arena, &r->who, r->id, &row);
    if (rc) {
        co_problem_rc(r->call, rc);
        return;
    }
    if (given && (pos.turn != row.number || (row.last_event && pos.event > row.last_event))) {
        co_problem(r->call, 400, "invalid_event_id", "Last-Event-ID", "is not an id of this turn");
        return;
    }
    r->call->turn = row.id;
    if (co_head_only(r)) {
        return;
    }
    if (row.state <= TURN_RUNNING) {
        if (co_live_turn(r, &row, pos.event)) {
            return;
        }
        rc = co_store_turn(r->call->arena, &r->who, r->id, &row);      /* it ended between the two looks */
        if (rc || row.state <= TURN_RUNNING) {
            co_problem_rc(r->call, rc ? rc : SI_EAGAIN);
            return;
        }
    }
    co_stored_turn(r, &row, pos.event);
}

/* --- a mirror of the edge goes on here --- */

/* Takes "c:<user>:<conversation>" or "t:<user>:<conversation>:<turn>" apart. */
static int parse_key(str_t key, char user[40], char conversation[40], char turn[40])
{
    char text[128], kind = key.n ? key.p[0] : '\0';
    int  n;

    if (key.n >= sizeof(text) || key.n < 2) {
        return SI_EINVAL;
    }
    memcpy(text, key.p, key.n);
    text[key.n] = '\0';
    n = sscanf(text + 1, ":%36[0-9a-f-]:%36[0-9a-f-]:%36[0-9a-f-]", user, conversation, turn);
    if ((kind != 'c' || n != 2) && (kind != 't' || n != 3)) {
        return SI_EINVAL;
    }
    return uuid_valid(str_of(user)) && uuid_valid(str_of(conversation)) ? 0 : SI_EINVAL;
}

static void co_resume_turn(request_t *r, conv_t *c, const char *id, int64_t seen)
{
    turn_t    *t = co_conv_turn(c, id);
    turn_row_t row;

    if (t) {
        turn_ref(t);
        if (co_known(r, c, t, (event_pos_t) { t->row.number, seen }) == 0) {
            co_stream_turn(r, t, seen);
        }
        turn_unref(t);
        return;
    }
    if (co_store_turn(r->call->arena, &r->who, id, &row) || row.state <= TURN_RUNNING) {
        co_problem_rc(r->call, SI_EAGAIN);
    } else if (co_reader_head(r->call) == 0) {
        co_reader_row(r->call, &row, seen);
    }
}

void co_stream_resume(call_t *call)
{
    request_t   r = { .call = call };
    char        user[40], conversation[40], turn[40];
    event_pos_t pos = { 0, 0 };
    conv_t     *c;

    if (call->resume.p[0] == 'u') {
        co_feed_resume(call);
        return;
    }
    if (parse_key(call->resume, user, conversation, turn) || (call->resume_id.n && event_pos_parse(call->resume_id, &pos))) {
        co_problem(call, 400, "invalid_event_id", NULL, "this log cannot be resumed");
        return;
    }
    r.who.user = user;
    r.who.tenant = arena_printf(call->arena, "%.*s", STR_ARG(call->resume_tenant));
    if (!uuid_valid(str_of(r.who.tenant))) {
        co_problem(call, 400, "invalid_event_id", NULL, "this log cannot be resumed");
        return;
    }
    c = co_own(&r, conversation);
    if (!c) {
        return;
    }
    if (call->resume.p[0] == 't') {
        co_resume_turn(&r, c, turn, pos.event);
    } else if (co_known(&r, c, NULL, pos) == 0 && co_reader_head(call) == 0) {
        co_reader_conv(call, c, pos);
    }
    conv_unref(c);
}
