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
 * A cluster: any node will do, since what is published at one comes to the subscribers of all. A command with a key of
 * another node's slots gets the error reply MOVED or ASK, which is not followed: Si's commands name no keys.
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
