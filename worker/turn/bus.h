/*
 * Messages between workers, over Redis pub/sub: a worker listens on "si:w:<its name>" and, as all do, on "si:w". They
 * are delivered at most once, so whoever sends a sequence numbers it, and whoever misses a number starts again.
 *
 * A conversation has one owner, its leader; a worker of another machine with readers follows it:
 *
 *   follower                      leader
 *   follow                  ->                       may open the conversation for that
 *                           <-    snap epoch, last; attempt    turns up to `last` are in Postgres; attempt of the running one
 *                           <-    ev epoch, seq      whole events; first those of the running turn, then what comes
 *   renew seq; n            ->                       every 3 s, and when the newest is asked for
 *                           <-    ok epoch, seq; n   nothing was lost, or the follower would see another seq
 *   wake                    ->                       look in Postgres: a turn was queued, or a cancel asked for
 *   leave                   ->
 *                           <-    gone               not the leader (any more): open it anew
 *
 * Who wants to know how many read a conversation asks all workers (presence.h):
 *
 *   asker                         every worker, on "si:w"
 *   count question          ->
 *                           <-    readers question, n
 *
 * Who has revoked a key tells all workers, on "si:w"; a message that was lost is made good by auth.cache:
 *
 *   key key's id; hash      ->                       forget the verdict, close its sockets
 *   token before, until; marks  ->                   tokens are revoked, or until 0: no more (store/revoked.h); in the place of the
 *                                                    conversation nobody
 */
#ifndef SI_BUS_H
#define SI_BUS_H

#include "turn/conv.h"

#define BUS_NAME_MAX   192
#define BUS_EVERYBODY  "si:w"       /* the channel of all workers */

typedef struct {
    char     type[8], tenant[UUID_LEN + 1], user[UUID_LEN + 1], conversation[UUID_LEN + 1];
    char     from[BUS_NAME_MAX];
    uint64_t a, b;
    str_t    body;              /* lives while the message is handled */
} bus_msg_t;

/* Where the bus leads to what stands above it. */
typedef struct {
    void (*key_gone)(const char *key_id);
} bus_hooks_t;

/* Listens. After redis_init() and convs_init(). `hooks` is static. */
void bus_init(const bus_hooks_t *hooks);
/* A key was revoked by this caller: here it counts at once, at the other workers as soon as they hear of it. */
void bus_key_gone(const char *tenant, const char *user, const char *key_id, str_t hash);
/* Tokens were revoked by this caller, or restored (until 0), and are here: the other workers are told. */
void bus_token_gone(const char *tenant, const char *user, str_t marks, uint64_t before, uint64_t until);
/* The text of a message from `from`; the caller frees *out. */
void bus_text(buf_t *out, const char *type, const char *tenant, const char *user, const char *conversation, const char *from,
              uint64_t a, uint64_t b, str_t body);
/* 0, or SI_EUNAVAIL without Redis. */
int  bus_send(const char *to, const char *type, const conv_t *c, uint64_t a, uint64_t b, str_t body);
/* The same about the conversation of a message, to whom it came from. */
int  bus_reply(const bus_msg_t *m, const char *type, uint64_t a, uint64_t b);
/* The same to every worker, the sender too. */
int  bus_ask_all(const char *type, const char *tenant, const char *user, const char *conversation, uint64_t a);

/* --- leader.c: the owner's side --- */

void leader_got(const bus_msg_t *m);
/* Events that the conversation's log shows: for followers, gathered for 20 ms. Costs nothing without followers. */
void leader_publish(conv_t *c, str_t wire);
/* True while somebody follows. */
bool leader_busy(conv_t *c);
/* Tells all followers that it is over here. */
void leader_end(conv_t *c);

/* --- follower.c --- */

void follower_got(const bus_msg_t *m);
/* Follows `leader`: 0 with the conversation in state CONV_FOLLOW, or SI_EAGAIN (no Redis, or no answer), SI_ECANCELED. */
int  co_follow(conv_t *c, const char *leader);
/* Says so to the leader; the conversation is closed by the caller. */
void follower_leave(conv_t *c);
/* The event that tells readers that the conversation stands still here (conv->degraded). */
str_t follower_degraded(void);
/* Asks the leader how far it has come; c->told reaches the result when all that it had then is here. */
uint64_t follower_ask(conv_t *c);
/* Tells the leader that Postgres has something new for this conversation. */
void follower_wake(conv_t *c);

#endif
