/*
 * Inside of io/redis: who has which keys in a Redis Cluster (Redis Cluster Specification: 16,384 slots, MOVED, ASK). Each
 * master has a connection of its own, opened when the map of slots names it, besides the two of redis.c, which name no keys.
 */
#ifndef SI_REDIS_CLUSTER_H
#define SI_REDIS_CLUSTER_H

#include "io/redis.h"
#include "io/redis_conn.h"

#define REDIS_SLOTS      16384
#define REDIS_MASTERS    128        /* keys of further masters cannot be reached */
#define REDIS_REDIRECTS  8          /* of one command; then the last answer is its reply */

typedef struct redis_cluster redis_cluster_t;

/* CRC16 (XMODEM) of the key's tag, the part within its first pair of braces if there is any, else of the key. */
unsigned redis_slot(str_t key);

/* `addr` gets the masters that are learned behind those of the URL. All live longer than the cluster. */
redis_cluster_t *redis_cluster_new(redis_addr_t *addr, const redis_conn_t *command, const redis_conn_t *subscriber);
void redis_cluster_free(redis_cluster_t *cl);
/* The map may be old: it is asked for, now or as soon as somebody can tell. */
void redis_cluster_learn(redis_cluster_t *cl);
/* co_redis_key() of a cluster. */
int  co_redis_cluster(redis_cluster_t *cl, arena_t *a, redis_reply_t *out, uint64_t deadline, str_t key, size_t n, const str_t *args);

/* In redis.c: co_redis() on this connection; `asking` after ASK. */
int  co_redis_on(redis_conn_t *c, bool asking, arena_t *a, redis_reply_t *out, uint64_t deadline, size_t n, const str_t *args);

#endif
