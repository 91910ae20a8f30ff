#include "api/own.h"

#include "api/problem.h"
#include "conf/conf.h"
#include "base/proc.h"

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

int co_last_event_id(request_t *r, event_pos_t *pos)
{
    char  text[64];
    str_t id = call_header(r->call, "last-event-id");
    int   rc = 0;

    if (id.n == 0) {
        rc = query_arg(r->call->query, "last_event_id", text, sizeof(text));
        id = rc > 0 ? str_of(text) : STR_NULL;
    }
    if (rc == SI_EINVAL || (id.n && event_pos_parse(id, pos))) {
        co_problem(r->call, 400, "invalid_event_id", "Last-Event-ID", "is not an id that this stream gave out");
        return -1;
    }
    return id.n > 0;
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
