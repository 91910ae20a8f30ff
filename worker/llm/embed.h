/*
 * The one way to embeddings: vectors of texts, for recall, ingest and POST /v1/embeddings. Filters look at the texts first, as at
 * messages (filter.h). Those whose vectors Redis has are not asked for again (embed_cache.h); the others go to a model in batches
 * of what its provider takes in one request, EMBED_PARALLEL of them at a time, each with retries, keys, breakers and deadlines as
 * every call of a model (attempt.h), on the account of its caller (account.h).
 *
 * A vector space is the name that the configuration gives it (models.*.space, by default the provider's name of the model) with
 * a number of dimensions. All vectors of one answer are of one space: what stands in for a model that fails is the same model
 * elsewhere, never another one, whose vectors would look right and mean nothing.
 */
#ifndef SI_EMBED_H
#define SI_EMBED_H

#include "llm/gateway.h"

#define EMBED_INPUTS_MAX      2048      /* of one call: as many as OpenAI takes */
#define EMBED_TOKENS_MAX      8192      /* of one input that is tokens */
#define EMBED_DIMENSIONS_MAX  8192
#define EMBED_PARALLEL        4         /* requests of one call at a time */

/* One thing to embed: a text, or tokens, which few providers take. */
typedef struct {
    str_t           text;               /* valid UTF-8, not empty */
    const uint32_t *tokens;             /* NULL: it is a text */
    size_t          ntokens;
} embed_input_t;

/* What the vectors are for: some models make others of a question than of what is searched. */
typedef enum { EMBED_ANY, EMBED_QUERY, EMBED_DOCUMENT } embed_use_t;

typedef struct {
    const embed_input_t *inputs;
    size_t               n;             /* 1 to EMBED_INPUTS_MAX */
    size_t               dimensions;    /* 0: what the configuration says, else the model's own */
    const char          *space;         /* only models of this space; NULL: that of the first model that is well named */
    embed_use_t          use;
    const char          *end_user;      /* opaque id for the provider's abuse checks, or NULL */
    uint64_t             deadline;      /* clock_ms(); 0: gateway.deadline from now */
} embed_request_t;

typedef struct {
    float              *vectors;        /* one after the other, in the order of the inputs; in the arena */
    size_t              dimensions;     /* of each */
    const char         *space;
    const conf_model_t *model;          /* the one that was asked first; of proc.conf */
    const char         *name;           /* as its provider names it, else as the configuration does */
    int64_t             input_tokens;   /* of all inputs */
    int64_t             cached_tokens;  /* of them, of those whose vectors were kept: estimated by length; they cost nothing */
    size_t              cached;         /* inputs whose vectors were kept */
} embed_result_t;

/*
 * Waits for the vectors of all inputs. 0; or SI_E* with *err filled (SI_ECANCELED: untouched), and nothing of them. spec->model:
 * a name under models or tasks; NULL: the task "embeddings". Everything in q and spec lives as long as the call.
 */
int co_embed(arena_t *a, const embed_request_t *q, const gateway_spec_t *spec, embed_result_t *out, llm_error_t *err);
/* The model that will be asked first; NULL: there is none of that name, or none that the tenant may use. Does not wait. */
const conf_model_t *embed_first(const gateway_spec_t *spec);

#endif
