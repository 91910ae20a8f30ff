#include "api/own.h"

#include "api/problem.h"
#include "conf/conf.h"
#include "base/proc.h"
#include "link/frame.h"
#include "link/link.h"

conv_t *co_own(request_t *r, const char *conversation)
{
    const char *moved = NULL;
    conv_t     *c = NULL;
    int         rc;

    if (call_is_local(r->call)) {       /* it cannot be sent elsewhere */
        rc = co_conv_open_here(r->who.tenant, r->who.user, conversation, &c, r->call->arena);
    } else {
        rc = co_conv_open(r->who.tenant, r->who.user, conversation, &c, &moved, r->call->arena);
    }
    if (rc == 0) {
        return c;
    }
    if (rc == SI_ECONFLICT && moved) {
        call_moved(r->call, moved);
    } else {
        co_problem_rc(r->call, rc);
    }
    return NULL;
}

bool co_to_successor(request_t *r)
{
    if (!links_succeeded()) {
        return false;
    }
    call_moved(r->call, arena_printf(r->call->arena, "%d", proc.slot));
    return true;
}

int co_last_id(request_t *r, str_t *id)
{
    char text[SI_ID_MAX + 1];
    int  rc;

    *id = call_header(r->call, "last-event-id");
    if (id->n > 0) {
        return 1;
    }
    rc = query_arg(r->call->query, "last_event_id", text, sizeof(text));
    if (rc == SI_EINVAL) {
        co_bad_id(r);
        return -1;
    }
    *id = rc > 0 ? str_of(arena_strdup(r->call->arena, text)) : STR_NULL;
    return id->n > 0;
}

void co_bad_id(request_t *r)
{
    co_problem(r->call, 400, "invalid_event_id", "Last-Event-ID", "is not an id that this stream gave out");
}

void co_future_id(request_t *r)
{
    co_problem(r->call, 400, "invalid_event_id", "Last-Event-ID", "this stream has not come so far");
}

int co_last_event_id(request_t *r, event_pos_t *pos)
{
    str_t id;
    int   rc = co_last_id(r, &id);

    if (rc > 0 && event_pos_parse(id, pos)) {
        co_bad_id(r);
        return -1;
    }
    return rc;
}

int co_from(request_t *r, bool *start, bool *now)
{
    char from[16] = "";

    *start = *now = false;
    if (query_arg(r->call->query, "from", from, sizeof(from)) != SI_EINVAL) {
        *start = strcmp(from, "start") == 0;
        *now = strcmp(from, "now") == 0;
        if (*start || *now || !from[0]) {
            return 0;
        }
    }
    co_problem(r->call, 422, "invalid_field", "from", "must be start or now");
    return -1;
}

bool co_head_only(request_t *r)
{
    call_head_t head = { .status = 200, .length = -1, .stream = true, .type = "text/event-stream" };

    if (!str_is(r->call->method, "HEAD")) {
        return false;
    }
    call_head(r->call, &head);
    call_end(r->call);
    return true;
}

void co_put_turn(request_t *r, int status, const turn_row_t *row, bool location)
{
    const char *headers[][2] = { { "Location", location ? arena_printf(r->call->arena, "/v1/turns/%s", row->id) : NULL } };
    buf_t       b;

    buf_init(&b, 8 * (proc.conf->answer_max + proc.conf->input_max) + 16384);
    r->call->turn = arena_strdup(r->call->arena, row->id);
    event_turn_json(&b, row);
    co_json(r->call, status, (str_t) { b.p, b.n }, 1, headers);
    buf_free(&b);
}
