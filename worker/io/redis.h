/*
 * Redis by hiredis' async interface (0.14 and 1.x): one command connection
 * and one subscriber; reconnects with back-off. Redis is a cache and a bus:
 * every caller goes on without it.
 */
#ifndef SI_REDIS_H
#define SI_REDIS_H

#include "base/arena.h"

typedef enum { REDIS_NIL, REDIS_STRING, REDIS_INTEGER, REDIS_ARRAY, REDIS_ERROR } redis_type_t;

typedef struct redis_reply {
    redis_type_t         type;
    int64_t              integer;
    str_t                str;           /* string or error */
    size_t               n;             /* of an array */
    struct redis_reply  *items;
} redis_reply_t;

/*
 * url: see io/redis_url.h. Sets proc.redis. 0 or SI_EINVAL (logged). Host names are resolved synchronously: use
 * addresses or a socket. Without redis_init(), and after redis_exit(), every command is SI_EUNAVAIL.
 *
 * Several servers: they are tried in turn, from the one that worked last, and only a master is taken (ROLE), for what
 * is published at a replica does not come to the master's subscribers. So no two of them may be masters. Sentinels are
 * asked in turn at each connect, then the same holds. A master that steps down is left within 2 s; one that is cut off
 * from its sentinels but not from here is kept until they reach it again.
 *
 * A cluster: any node will do for what names no key, since what is published at one comes to the subscribers of all. For
 * co_redis_key() each master has a connection of its own, by the map of slots that is asked for at the start, after MOVED,
 * and when one is lost.
 */
int  redis_init(const char *url);
void redis_exit(void);
bool redis_ready(void);
/*
 * One command of n arguments. 0 with *out in the arena (an error reply is a reply), SI_EUNAVAIL (not connected: at
 * once; lost meanwhile: it may have been done; 1,024 under way), SI_ENOMEM (a reply above 8 MiB), SI_EPROTO
 * (nested deeper than 8), SI_ETIMEDOUT, SI_ECANCELED. A command that blocks holds up all others, and the
 * connection is given up when no reply comes for 10 s.
 */
int  co_redis(arena_t *a, redis_reply_t *out, uint64_t deadline, size_t n, const str_t *args);
/*
 * The same for a command with keys: `key` is one of them, all have the tag of redis_key(). In a cluster it goes to the master
 * that has the key, by up to 8 MOVED and ASK; while that cannot be reached, as long as no other is elected, SI_EUNAVAIL. Then,
 * and elsewhere, as co_redis().
 */
int  co_redis_key(arena_t *a, redis_reply_t *out, uint64_t deadline, str_t key, size_t n, const str_t *args);
/*
 * "si:<family>:{<tag>}<rest>", in the arena. All keys with one tag are in one slot, so that a script may name several of them. No
 * two tags are written alike; family has no brace.
 */
str_t redis_key(arena_t *a, const char *family, str_t tag, const char *rest);
/* Sends and forgets. 0 or SI_EUNAVAIL. */
int  redis_send(size_t n, const str_t *args);
/*
 * Subscribes, again after each reconnect: 65,536 channels at most. fn gets each message; and none (message.p is NULL) when
 * a subscription has begun: what was published before then is lost. It runs on the main stack and must not unsubscribe or
 * call redis_exit(); its arguments live until it returns.
 */
void redis_subscribe(const char *channel, void (*fn)(str_t channel, str_t message, void *arg), void *arg);
/* Takes the subscription with these very arguments back; harmless without one. */
void redis_unsubscribe(const char *channel, void (*fn)(str_t channel, str_t message, void *arg), void *arg);

#endif
