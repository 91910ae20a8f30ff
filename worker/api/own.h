/* Getting hold of a conversation or turn for a call: opens it here, or sends the call where it lives. */
#ifndef SI_OWN_H
#define SI_OWN_H

#include "api/routes.h"
#include "turn/conv.h"
#include "turn/feed.h"

/* The conversation, owned here, with a reference; NULL when the call was answered (moved, 404, 503). */
conv_t *co_own(request_t *r, const char *conversation);
/* While this worker drains: sends the call to the one that has taken its slot. False: there is none. */
bool    co_to_successor(request_t *r);
/* The conversation r->id with a reference, and where its stream begins by Last-Event-ID and ?from=; NULL: answered. */
conv_t *co_stream_open(request_t *r, event_pos_t *pos);    /* streams.c */
/* 0 when the stream has come to this place, or -1: answered. */
int     co_stream_known(request_t *r, conv_t *c, event_pos_t pos);
/* The caller's feed, feed_leave() gives it back, or NULL: answered; and where its stream begins. feeds.c */
feed_t *co_feed(request_t *r);
feed_t *co_feed_stream(request_t *r, feed_pos_t *pos);
/* Last-Event-ID or ?last_event_id=: 1 with *id, 0 when absent or empty, -1: answered with 400. */
int     co_last_id(request_t *r, str_t *id);
/* The same as a position in a conversation. */
int     co_last_event_id(request_t *r, event_pos_t *pos);
/* Answers with 400: an id that is none of this stream; one that it has not given out yet. */
void    co_bad_id(request_t *r);
void    co_future_id(request_t *r);
/* ?from=: 0 with which of the two it is, or neither; -1: answered with 422. */
int     co_from(request_t *r, bool *start, bool *now);
/* HEAD of a stream: what GET would say, and no more. True: answered. */
bool    co_head_only(request_t *r);
/* Answers with a turn object; `location` adds that header. */
void    co_put_turn(request_t *r, int status, const turn_row_t *row, bool location);

#endif
