/* Streams of events to one call: first what it has missed, as private bytes, then it is attached to the log. */
#ifndef SI_READER_H
#define SI_READER_H

#include "link/call.h"
#include "turn/conv.h"

/* Sends the head of an event stream and its first bytes (not for a call that resumes a mirror). 0 or SI_ECLOSED … */
int  co_reader_head(call_t *call);
/* Sends an id alone: no event, but who loses the connection before the first one knows from where to resume. 0 or SI_ECLOSED … */
int  co_reader_prime(call_t *call, str_t id);
/*
 * Everything of the conversation behind pos, then live. The call is over afterwards, whatever the result is
 * (attached, ended or aborted).
 */
void co_reader_conv(call_t *call, conv_t *c, event_pos_t pos);
/* The same for one turn, of which events up to `seen` are known; ends with the turn. */
void co_reader_turn(call_t *call, turn_t *t, int64_t seen);
/* A turn that is over and only in the store. */
void co_reader_row(call_t *call, const turn_row_t *row, int64_t seen);
/*
 * Whether an id (of the turn `one`, if given) has been given out: 0; SI_EINVAL, surely not: the owner itself says so, and
 * since the question; SI_EAGAIN: it is not known here and the owner was not heard in 5 s, or has changed; or the store's
 * error. The owner may be another machine that gave it out a moment ago, and may be dead since.
 */
int  co_reader_known(conv_t *c, const turn_t *one, event_pos_t pos);
#endif
