/* Inside of the feed: its open turns and where they are (feed_turns.c), and how it learns of them (feed_look.c). */
#ifndef SI_FEED_IN_H
#define SI_FEED_IN_H

#include "turn/feed.h"

#define FEED_PAUSE_MS   200     /* before what failed is tried again, growing */
#define FEED_PAUSE_MAX  5000

/* A conversation with open turns. */
typedef struct feed_conv {
    list_t      node;
    feed_t     *feed;
    char        id[UUID_LEN + 1];
    conv_t     *conv;           /* NULL: not here at the moment */
    evlog_tap_t tap;
    bool        opening;
    unsigned    turns;          /* that are open */
} feed_conv_t;

/* An open turn of feed.pos. */
typedef struct feed_open {
    list_t       node;
    int64_t      ordinal;
    feed_conv_t *in;
    tail_t       tail;          /* where the feed is in the turn's events */
} feed_open_t;

void feed_unref(feed_t *f);
/* It looks again, soon. */
void feed_stale(feed_t *f);

/* --- feed_turns.c --- */

/* To the log, under the id of feed.pos. */
void feed_publish(feed_t *f, str_t wire);
/* A turn that is over, to the log: what has not been shown of it. */
void feed_show_row(feed_t *f, const turn_row_t *row);
/* True while one more turn may be opened: the last place is left to readers that catch up. */
bool feed_has_room(const feed_t *f);
/* Opens the turn behind feed.pos.top. False: it has to wait until an open one is over. */
bool feed_open_turn(feed_t *f, feed_conv_t *in, int64_t ordinal, int64_t number);
/* An open turn, or NULL. */
feed_open_t *feed_find_turn(const feed_t *f, int64_t ordinal);
/* It has been shown whole; frees it, and its conversation when that has no other. */
void feed_close_turn(feed_open_t *o);
/* The conversation, made when it is not there. */
feed_conv_t *feed_conv_of(feed_t *f, const char *id);
/* Gets it here, if it is not. */
void feed_open_conv(feed_t *f, feed_conv_t *in);

/* --- feed_look.c --- */

/* Compares the feed with Postgres. 0 or the store's error. */
int co_feed_look(feed_t *f);

#endif
