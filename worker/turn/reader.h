/* Streams of events to one call: first what it has missed, as private bytes, then it is attached to the log. */
#ifndef SI_READER_H
#define SI_READER_H

#include "link/call.h"
#include "turn/conv.h"

/* Sends the head of an event stream and its first bytes (not for a call that resumes a mirror). 0 or SI_ECLOSED … */
int  co_reader_head(call_t *call);
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
 * True when an id cannot be one that was given out yet. Of a conversation that another machine owns it may have been given
 * out there a moment ago: then it is waited for.
 */
bool co_reader_future(conv_t *c, event_pos_t pos);
/* The same for an event number of one turn. */
bool co_reader_turn_future(const turn_t *t, int64_t seen);
#endif
