/*
 * Vectors that were made before, in Redis: one string of float32, little-endian, for each text, kept for gateway.embed_cache.
 *
 *   si:embed:{TENANT}:DIGEST     DIGEST: SHA-256, in hex, of the space, the dimensions, what the vector is for, and the text
 *
 * Each tenant has its own: the vector of a text is the same for all, but how fast it comes would tell one tenant what another has
 * asked for. The keys of a tenant are at one node of a Redis Cluster, so that one command finds them. Redis away, slow or full:
 * as if nothing were kept.
 */
#ifndef SI_EMBED_CACHE_H
#define SI_EMBED_CACHE_H

#include "llm/embed.h"

typedef struct {
    const char         *tenant;         /* id; NULL: nobody's */
    const conf_model_t *model;
    size_t              dimensions;     /* as asked for; 0: the model's own */
    embed_use_t         use;
} embed_cache_t;

/* Whether anything is kept of this model. */
bool  embed_cache_on(const embed_cache_t *c);
/* The key of an input, in the arena. */
str_t embed_cache_key(arena_t *a, const embed_cache_t *c, const embed_input_t *in);
/*
 * The vectors of n keys: found[i] is its numbers, in the arena, or {NULL, 0}; all have *dimensions numbers, those of another
 * length count as not found. Number of those found, 0 also when Redis is away; or SI_ECANCELED.
 */
int   co_embed_cache_get(arena_t *a, const str_t *keys, size_t n, size_t *dimensions, const float **found);
/* Keeps vectors[i] under keys[i], as far as Redis takes it. 0 or SI_ECANCELED. */
int   co_embed_cache_put(arena_t *a, const str_t *keys, const float *const *vectors, size_t n, size_t dimensions);

#endif
