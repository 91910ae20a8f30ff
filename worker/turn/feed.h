/*
 * The feed of a user: the events of all their conversations as one stream, whoever runs the turns.
 *
 * A worker that has readers of a user's feed keeps one feed for all of them. It learns from Postgres which turns there
 * are (their ordinals have no holes), follows the conversations with unfinished ones as any reader would, and shows in
 * its log what comes, under ids of its own (turn/feed_pos.h). A turn that begins is noted on the Redis channel
 * "si:u:<tenant>:<user>": then it looks again. What ended unseen is shown from Postgres, as its first and last event.
 */
#ifndef SI_FEED_H
#define SI_FEED_H

#include "base/hash.h"
#include "link/call.h"
#include "turn/conv.h"
#include "turn/feed_pos.h"
#include "turn/tail.h"

#define FEEDS_MAX  16384       /* users whose feeds are read in one worker */

typedef struct feed {
    hash_node_t node;
    char        key[2 * (UUID_LEN + 1)];    /* "tenant:user" */
    char        tenant[UUID_LEN + 1], user[UUID_LEN + 1];
    evlog_t    *log;            /* "u:<user>" */
    feed_pos_t  pos;            /* what the log has shown */
    list_t      turns;          /* feed_turn: the open ones of pos */
    list_t      convs;          /* feed_conv: where those are */
    bool        ready;          /* it has looked once */
    bool        stale;          /* it is to look again */
    bool        closed;         /* out of the table; its readers go elsewhere */
    bool        full;           /* a turn has to wait until an open one is over */
    bool        degraded;       /* Redis is away */
    unsigned    failures;       /* to reach the owner of a conversation */
    unsigned    readers;        /* calls */
    unsigned    refs;           /* theirs, and of coroutines */
    wait_t      kick;
    list_t      waiters;        /* waiter_t: readers, until it has come further */
    ltimer_t    tick, idle;
} feed_t;

/* Sets proc.feeds. After convs_init(). */
void feeds_init(void);
/* Gives all feeds up: their readers resume at other workers. */
void feeds_drain(void);
size_t feeds_count(void);
/*
 * The feed of a user, which has looked; feed_leave() gives it back. 0; SI_EAGAIN: this worker drains, or has too many; SI_ETIMEDOUT: Postgres
 * did not answer; SI_ECANCELED.
 */
int  co_feed_open(const char *tenant, const char *user, feed_t **out);
void feed_leave(feed_t *f);
/* True while it still opens conversations whose turns it will show from their beginning. */
bool feed_opening(const feed_t *f);
/* A turn of this conversation begins: tells the feeds of its user, here and elsewhere. */
void feed_note(const conv_t *c);
/* Waits until it has come further, for 10 s at most. */
int  co_feed_wait(feed_t *f);

/*
 * Appends the events in `wire`, of the turn `ordinal`, in the form of the feed, but for those that pos has seen: the ids are those
 * of pos, which goes on with each, and every event names its conversation and its id there. 0 or SI_ENOMEM.
 */
int  feed_append(buf_t *b, feed_pos_t *pos, int64_t ordinal, const char *conversation, str_t wire);
/* The same for a turn that is over, as its first and its last event. */
int  feed_append_row(buf_t *b, feed_pos_t *pos, const turn_row_t *row);
/* The turn in memory that an open ordinal stands for; NULL when it is not here at the moment. */
const turn_t *feed_turn_here(const feed_t *f, int64_t ordinal);

/* --- feed_tail.c --- */

/*
 * A place in a feed, for who reads it: first what lies behind it, from the turns in memory and the store; then, once it is
 * level with the feed, what comes, kept until it is taken. Who takes too little falls behind and reads from there again.
 */
typedef struct feed_tail {
    feed_pos_t  pos;            /* everything up to here has been given out */
    feed_t     *feed;           /* NULL: closed, or the feed has gone */
    bool        level;
    evlog_tap_t tap;
    buf_t       live;           /* what came since */
    void      (*on_more)(struct feed_tail *t);
} feed_tail_t;

/* No reference is kept: a feed that goes ends its tails. on_more as in turn/tail.h. */
void feed_tail_open(feed_tail_t *t, feed_t *f, const feed_pos_t *pos, void (*on_more)(feed_tail_t *t));
void feed_tail_close(feed_tail_t *t);
/*
 * Appends whole events behind t->pos to b. 1; 0 when nothing is left: t->level tells whether it has come up with the feed (no yield
 * lies between that look and the return), or is ahead of it, coming from another worker; SI_ECONFLICT: the feed has gone;
 * SI_ENOMEM: b; or the store's error.
 */
int  co_feed_take(feed_tail_t *t, buf_t *b);

/* --- feed_reader.c --- */

/* Everything behind pos, then live. The call is over afterwards, as with co_reader_conv(). */
void co_feed_read(call_t *call, feed_t *f, const feed_pos_t *pos);

#endif
