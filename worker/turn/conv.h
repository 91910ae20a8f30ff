/*
 * The conversations this worker owns. Ownership is a row in Postgres (claim) with an epoch as its fence;
 * here stands what is in memory: recent, running and queued turns, and the shared log.
 */
#ifndef SI_CONV_H
#define SI_CONV_H

#include "base/hash.h"
#include "base/util.h"
#include "run/loop.h"
#include "turn/turn.h"

typedef enum {
    CONV_OPENING,
    CONV_OPEN,          /* owned by this worker */
    CONV_FOLLOW,        /* owned by another worker, read here (turn/bus.h) */
    CONV_LOST           /* out of the table; freed with its last reference */
} conv_state_t;

typedef struct conv {
    hash_node_t  node;
    char         key[3 * (UUID_LEN + 1)];   /* "tenant:user:id": whoever names another's id meets nothing of it */
    char         id[UUID_LEN + 1], tenant[UUID_LEN + 1], user[UUID_LEN + 1];
    conv_state_t state;
    uint64_t     epoch;
    int64_t      last_number;   /* newest turn */
    list_t       turns;         /* a run of consecutive numbers up to last_number; where we follow, some may be missing yet */
    turn_t      *current;       /* the running one */
    evlog_t     *log;           /* "c:…" */
    bool         anywhere;      /* while it opens: followed also when a neighbour owns it */
    list_t       opening;       /* waiter_t: calls that wait until it is open */
    char         moved[64];     /* that is why it could not be opened: the instance that owns it */
    list_t       lock;          /* and those that wait to add a turn */
    bool         locked;
    bool         doubt;         /* a turn was sent to the store and no answer came: it may be there, unknown to us */
    unsigned     refs;          /* calls and turns that use it */
    ltimer_t     idle;

    list_t       followers;     /* leader.c: workers of other machines that read it */
    buf_t        ahead;         /* events gathered for them */
    ltimer_t     gather;

    char         leader[192];   /* follower.c: who owns it, "" when we do */
    uint64_t     seq, heard;    /* of the last message from there; clock_ms() of it */
    uint64_t     asked, told;   /* newest renew that was sent, and that was answered */
    bool         snapped, degraded;
    int64_t      stored;        /* turns up to this one are over and not in memory */
    int          attempt;       /* of the turn that ran when we came, until its first event is here */
    wait_t       snap;
    ltimer_t     renew;
} conv_t;

typedef struct convs {
    hash_t  table;
    char    me[192];            /* "<node>/<slot>.<pid>" */
    size_t  unfinished, running;
    list_t  questions;          /* presence.c: those under way */
    size_t  nquestions;
    uint64_t question_ids;      /* the last one given out */
    ltimer_t lease, sweep, drain;
    uint64_t renewed;           /* clock_ms(): the lease held until lease_ms after this, at least */
    uint64_t drain_until;       /* clock_ms(): leaves then, whatever still runs */
    bool    stopping;
} convs_t;

/* Sets proc.convs. */
void convs_init(void);
/*
 * The conversation, open, with a reference: owned by this worker, or followed when a worker of another machine owns it.
 * 0; SI_ENOENT (not there, or another's); SI_ECONFLICT: *moved names the instance of this machine that owns it;
 * SI_EAGAIN: it is changing hands, try again; SI_EUNAVAIL and other results of the store.
 */
int  co_conv_open(const char *tenant, const char *user, const char *id, conv_t **out, const char **moved, arena_t *a);
/* The same, but never sends elsewhere: what a neighbour owns is followed as well. SI_EAGAIN while Redis is away. */
int  co_conv_open_here(const char *tenant, const char *user, const char *id, conv_t **out, arena_t *a);
void conv_unref(conv_t *c);
/* The instance in an owner's name, "<slot>.<pid>", if it is one of this machine; else NULL. Points into `owner`. */
const char *owner_here(const char *owner);
/* Open or opening here, or NULL. */
conv_t *conv_find(const char *tenant, const char *user, const char *id);
/* One at a time adds turns, so that numbers are in the order of memory. 0, SI_ECANCELED, SI_ETIMEDOUT. */
int  co_conv_lock(conv_t *c, uint64_t deadline);
void conv_unlock(conv_t *c);
/* Under the lock: clears a doubt. A new epoch stops what is under way, then the store tells what is there. 0 or the store's error. */
int  co_conv_mend(conv_t *c);
/* The same, as soon as the store answers, with the lock taken. */
void conv_mend_later(conv_t *c);
#define SHADOW_MS       1000    /* what happens on another machine is seen here within this time */
#define SHADOW_LOOK_MS  20

/* Whether it is ours still, by Postgres: 0, SI_EAGAIN (no: it is lost), or the store's error. */
int  co_conv_sure(conv_t *c);
/* Looks in Postgres for turns that another machine queued, and for cancels that were asked for there. Takes the lock. */
void co_conv_refresh(conv_t *c);
/* The same for who holds the lock: 0 or the store's error. */
int  co_conv_reload(conv_t *c);
/* Open here, or followed. */
static inline bool conv_live(const conv_t *c) { return c->state == CONV_OPEN || c->state == CONV_FOLLOW; }
/* Lets old finished turns go. */
void conv_forget_old(conv_t *c);
/* Turns before this one are in the store alone. */
int64_t conv_lowest(const conv_t *c);
/* How far its log has come: turns behind that are queued. */
event_pos_t conv_at(conv_t *c);
/* Waiting turns. */
size_t conv_queued(const conv_t *c);
/* In memory, or NULL. */
turn_t *conv_turn(conv_t *c, int64_t number);
turn_t *conv_turn_id(conv_t *c, const char *id);
/* The same for a turn that is not over: what runs on another machine is seen here a moment later. */
turn_t *co_conv_turn(conv_t *c, const char *id);
/* Starts the oldest queued turn if none runs; lets old finished ones go. */
void conv_next(conv_t *c);
/* The fence broke: another worker owns it. Everything of it is dropped. */
void conv_lose(conv_t *c);
/* Draining: gives up what has no unfinished turn, its readers resume elsewhere. */
void convs_drain(void);
/* Conversations in memory. */
size_t convs_count(void);

#endif
