/*
 * Answers that were given before, in Redis: an equal request (cache_key.h) of the same tenant gets the same answer, event by
 * event, for as long as the configuration says; what it says of when and for whom is told at gateway.cache_ttl in conf/si.yaml.
 *
 *   si:cache:{DIGEST}     the time, the result and the events of one whole answer, as cache.c writes them
 *
 * Kept are answers that are whole, of the model that was meant and not of one instead of it, with a natural end ("stop",
 * "tool_calls"). Redis away, slow or full: as if nothing were kept.
 */
#ifndef SI_CACHE_H
#define SI_CACHE_H

#include "llm/filter.h"
#include "llm/reply.h"

typedef struct cache cache_t;               /* of the process: counters */
typedef struct cache_call cache_call_t;

cache_t *cache_new(void);
void     cache_free(cache_t *c);
void     cache_print(const cache_t *c, buf_t *b);

/* For a call of this model; q as the filters let it through. NULL: nothing is kept for it. Its memory is freed with the arena. */
cache_call_t *cache_open(cache_t *c, const conf_t *conf, arena_t *a, const gateway_spec_t *spec, const llm_request_t *q,
                         const conf_model_t *m, const filter_call_t *f);
/* 1: the answer is there: read it by cache_next(). 0: it is not, or not wanted; SI_ECANCELED. Waits for Redis, but not long. */
int  co_cache_find(cache_call_t *c);
/* The next event; false: that was all, and cache_result() is good. */
bool cache_next(cache_call_t *c, chat_event_t *ev);
const llm_result_t *cache_result(const cache_call_t *c);

/* An event of an answer that a model gives now; CHAT_RESTART too. */
void cache_note(cache_call_t *c, const chat_event_t *ev);
/* It is whole, and was given by m: keeps it if it is fit for that. Does not wait. */
void cache_keep(cache_call_t *c, const llm_result_t *r, const conf_model_t *m);

/* For the header Cache-Status (RFC 9211): "si; hit; ttl=59"; "si; fwd=miss". c may be NULL: NULL. */
const char *cache_status(const cache_call_t *c);

/* --- of the form that is kept, for tests --- */

/* Writes a result and all events of `events`, which are used up. 0 or SI_ENOMEM. */
int  cache_pack(buf_t *b, uint64_t time, const llm_result_t *r, reply_t *events);
/* Reads it: events->result and the events. 0, or SI_EPROTO: it is none, or damaged. */
int  cache_unpack(str_t bytes, uint64_t *time, reply_t *events);

#endif
