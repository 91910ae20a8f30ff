/*
 * Events of a turn in wire form: "id: <turn>.<event>\nevent: <type>\ndata: {…}\n\n".
 *
 * Numbers: turn.accepted is 1; attempt 0 goes on with 2; attempt k > 0 begins at k * EVENT_ATTEMPT + 1 with
 * turn.restarted. So ids grow although a worker that takes a turn over does not know how far the dead one came.
 */
#ifndef SI_EVENT_H
#define SI_EVENT_H

#include "base/buf.h"
#include "store/store.h"

#define EVENT_ATTEMPT  1000000

/* A position in a conversation's events: everything up to and with (turn, event) has been seen. */
typedef struct {
    int64_t turn, event;
} event_pos_t;

#define EVENT_ALL  999999999999    /* as `event`: the whole turn has been seen */

/* "12.7". 0 or SI_EINVAL. */
int  event_pos_parse(str_t id, event_pos_t *pos);
/* Writes "12.7" with NUL. */
str_t event_pos_text(event_pos_t pos, char out[48]);
/* The number of the first event after turn.accepted in this attempt. */
int64_t event_first(int attempt);

/* Each appends one event to b: 0, or SI_ENOMEM at b's maximum. `t` names the turn. */
int  event_accepted(buf_t *b, const turn_row_t *t);
int  event_started(buf_t *b, const turn_row_t *t, int64_t n, str_t agent, str_t model);
int  event_delta(buf_t *b, const turn_row_t *t, int64_t n, const char *type, str_t text);     /* type: "delta" or "reasoning" */
int  event_restarted(buf_t *b, const turn_row_t *t, int64_t n, const char *reason);
/* turn.completed, turn.failed or turn.cancelled, by the state of the row: the same bytes live and from the store. */
int  event_final(buf_t *b, const turn_row_t *t, int64_t n);

/* The end of the next whole event in p..p+n, as an offset; 0 when there is none. */
size_t event_end(const char *p, size_t n);
/* Offset behind the first k events of p..p+n. */
size_t event_skip(const char *p, size_t n, int64_t k);

typedef struct {
    str_t id, type, data;       /* of one event; an id or a type that it has not is empty */
} event_view_t;

/* The first whole event of p..p+n, which *e then points into: its length, 0 when there is none. */
size_t event_view(const char *p, size_t n, event_view_t *e);

/* The state that an event of this type leaves its turn in: a final one, or running. */
turn_state_t event_state(str_t type);

/* The turn object of the API, one line of JSON. 0 or SI_ENOMEM. */
int  event_turn_json(buf_t *b, const turn_row_t *t);

#endif
