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

/* url: redis://[:password@]host:port[/db] or unix:///path[?db=n]. Sets proc.redis. 0 or SI_EINVAL. */
int  redis_init(const char *url);
void redis_exit(void);
bool redis_ready(void);
/* One command of n arguments. 0 with *out in the arena (an error reply is a reply), SI_EUNAVAIL, SI_ETIMEDOUT, SI_ECANCELED. */
int  co_redis(arena_t *a, redis_reply_t *out, uint64_t deadline, size_t n, const str_t *args);
/* Sends and forgets. 0 or SI_EUNAVAIL. */
int  redis_send(size_t n, const str_t *args);
/* Subscribes for the life of the process, again after each reconnect. fn runs on the main stack. */
void redis_subscribe(const char *channel, void (*fn)(str_t channel, str_t message, void *arg), void *arg);

#endif
