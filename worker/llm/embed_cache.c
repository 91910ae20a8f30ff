#include "llm/embed_cache.h"

#include "base/proc.h"
#include "base/util.h"
#include "io/redis.h"

#define CACHE_MS  250                   /* Redis is given up after so long, each time */
#define PIECE     64                    /* vectors of one round trip: far below the bounds of io/redis.h */

bool embed_cache_on(const embed_cache_t *c)
{
    return proc.conf->gateway_embed_cache > 0 && strcmp(c->model->provider->kind, "lexical") != 0;      /* which is faster than Redis */
}

str_t embed_cache_key(arena_t *a, const embed_cache_t *c, const embed_input_t *in)
{
    bool        tokens = in->tokens != NULL;
    const char *head = arena_printf(a, "%s\n%zu\n%d %s %s\n%s\n", c->model->space, c->dimensions, (int) c->use, c->model->task_type,
                                    c->model->normalize, tokens ? "tokens" : "text");
    size_t      n = strlen(head), more = tokens ? in->ntokens * sizeof *in->tokens : in->text.n;
    char       *all = arena_alloc(a, n + more), hex[2 * SHA256_LEN + 1];
    uint8_t     digest[SHA256_LEN];

    memcpy(all, head, n);
    memcpy(all + n, tokens ? (const char *) in->tokens : in->text.p, more);
    sha256(digest, all, n + more);
    hex_encode(hex, digest, sizeof digest);
    return redis_key(a, "embed", str_of(c->tenant != NULL ? c->tenant : ""), arena_printf(a, ":%s", hex));
}

/* A string of Redis as a vector of *dimensions numbers; 0: of any, which it sets. NULL: it is none. */
static const float *vector_of(arena_t *a, const redis_reply_t *r, size_t *dimensions)
{
    size_t n = r->str.n / sizeof(float);
    float *v;

    if (r->type != REDIS_STRING || n == 0 || n > EMBED_DIMENSIONS_MAX || r->str.n % sizeof(float) != 0 || (*dimensions != 0 && n != *dimensions)) {
        return NULL;
    }
    *dimensions = n;
    v = arena_alloc(a, r->str.n);       /* aligned, which the reply is not */
    memcpy(v, r->str.p, r->str.n);
    return v;
}

int co_embed_cache_get(arena_t *a, const str_t *keys, size_t n, size_t *dimensions, const float **found)
{
    str_t         args[PIECE + 1] = { STR("MGET") };
    redis_reply_t reply;
    int           have = 0, rc = 0;

    for (size_t at = 0; at < n && rc == 0; at += PIECE) {
        size_t some = SI_MIN(n - at, (size_t) PIECE);

        for (size_t i = 0; i < some; i++) {
            args[i + 1] = keys[at + i];
        }
        rc = co_redis_key(a, &reply, clock_ms() + CACHE_MS, keys[at], some + 1, args);
        for (size_t i = 0; rc == 0 && reply.type == REDIS_ARRAY && i < SI_MIN(some, reply.n); i++) {
            found[at + i] = vector_of(a, &reply.items[i], dimensions);
            have += found[at + i] != NULL;
        }
    }
    return rc == SI_ECANCELED ? rc : have;
}

/* All of a piece in one command, of keys of one slot: ARGV[1] is how long they are kept. */
static const char put_script[] = "for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[1]) end";

int co_embed_cache_put(arena_t *a, const str_t *keys, const float *const *vectors, size_t n, size_t dimensions)
{
    str_t         args[2 * PIECE + 4] = { STR("EVAL"), STR(put_script) };
    const char   *ms = arena_printf(a, "%llu", (unsigned long long) proc.conf->gateway_embed_cache);
    redis_reply_t reply;
    int           rc = 0;

    for (size_t at = 0; at < n && rc == 0; at += PIECE) {
        size_t some = SI_MIN(n - at, (size_t) PIECE);

        args[2] = str_of(arena_printf(a, "%zu", some));
        args[3 + some] = str_of(ms);
        for (size_t i = 0; i < some; i++) {
            args[3 + i] = keys[at + i];
            args[4 + some + i] = (str_t) { (const char *) vectors[at + i], dimensions * sizeof(float) };
        }
        rc = co_redis_key(a, &reply, clock_ms() + CACHE_MS, keys[at], 2 * some + 4, args);
    }
    return rc == SI_ECANCELED ? rc : 0;
}
