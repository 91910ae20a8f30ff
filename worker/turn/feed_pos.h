/*
 * A position in a user's whole stream, the feed: which events of which turns have been seen. Turns are named by their
 * ordinals. Every turn up to `top` has been seen whole, but for the open ones; behind `top` nothing has been seen.
 *
 * As text, the event id of that stream: "421", or with open turns, each as its distance from top and the number of
 * its newest event seen: "421-1.7-6" has seen all of the user's 421 turns, of turn 420 seven events, of 415 none.
 */
#ifndef SI_FEED_POS_H
#define SI_FEED_POS_H

#include "turn/event.h"

#define FEED_OPEN_MAX  14
#define FEED_ID_MAX    240     /* SI_ID_MAX */

typedef struct {
    int64_t ordinal, seen;
} feed_turn_t;

typedef struct {
    int64_t     top;
    size_t      n;
    feed_turn_t open[FEED_OPEN_MAX];    /* by ordinal, the newest first */
} feed_pos_t;

/* 0 or SI_EINVAL. */
int  feed_pos_parse(str_t id, feed_pos_t *pos);
/* Writes the text with NUL. */
str_t feed_pos_text(const feed_pos_t *pos, char out[FEED_ID_MAX + 1]);
/* The newest event seen of a turn: EVENT_ALL for the whole, 0 for none. */
int64_t feed_pos_seen(const feed_pos_t *pos, int64_t ordinal);
/* Sets that of a turn up to top. */
void feed_pos_set(feed_pos_t *pos, int64_t ordinal, int64_t seen);
/* top goes on by one turn, which is open (nothing of it seen) or not. SI_ENOMEM, and nothing changed, when its text could grow too long. */
int  feed_pos_next(feed_pos_t *pos, bool open);

#endif
