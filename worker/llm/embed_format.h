/* Inside of llm/embed: a wire format of providers of embeddings, and one request in it. */
#ifndef SI_EMBED_FORMAT_H
#define SI_EMBED_FORMAT_H

#include "llm/attempt.h"
#include "llm/body.h"
#include "llm/embed.h"

/* What one request asks for. */
typedef struct {
    const conf_model_t  *model;         /* at the key that is asked */
    const embed_input_t *inputs;
    size_t               n;
    size_t               dimensions;    /* as asked for; 0: the model's own */
    embed_use_t          use;
    const char          *end_user;
    uint64_t             deadline;      /* clock_ms() */
    const char          *traceparent;   /* a header for the provider, "name: value"; NULL: none */
} embed_batch_t;

/* What came of it. */
typedef struct {
    const embed_batch_t *q;
    arena_t             *arena;         /* of the vectors */
    const char          *secret;        /* never shown */
    float               *vectors;       /* q->n of them, in the order of the inputs; NULL: none has come */
    bool                *have;          /* which have */
    size_t               dimensions;    /* of each */
    bool                 accepted;      /* the provider has taken the request (2xx): it may cost something */
    int64_t              tokens;        /* that the provider counted; -1: it did not say */
    char                 model[128];    /* as it names itself, or "" */
    llm_error_t         *err;
    const char          *why;           /* all that the transport said of its failure, with names of hosts: for the log; NULL: nothing */
} embed_answer_t;

typedef struct {
    const char *kind;                   /* as in providers.*.kind */
    size_t      inputs_max;             /* of one request, as the provider documents */
    size_t      bytes_max;              /* of all their texts together; 0: no bound but those of each text */
    bool        shrinks;                /* can be asked for a number of dimensions */
    /* Writes the request; may wait. 0, or SI_E* with *err: what the format cannot say is refused ("unsupported"). */
    int (*co_put)(arena_t *a, const embed_batch_t *q, format_request_t *out, llm_error_t *err);
    /* Reads the answer, a JSON value, with embed_vector(). 0, or SI_E* with *r->err. */
    int (*read)(embed_answer_t *r, const json_t *answer);
    /* What an answer of HTTP status >= 300 means; NULL: reply_status(). Returns SI_E*. */
    int (*status)(llm_error_t *err, arena_t *a, const char *secret, int status, str_t body);
} embed_format_t;

extern const embed_format_t embed_openai, embed_titan, embed_sagemaker, embed_gemini;

/* By kind; NULL: it makes none over the network. */
const embed_format_t *embed_format(const char *kind);

/* --- for formats --- */

/* The vector of input i: a list of numbers, or base64 of float32, little-endian. 0, or SI_EPROTO with *r->err. */
int  embed_vector(embed_answer_t *r, size_t i, const json_t *v);
/* The answer is not what it should be. Returns SI_EPROTO. */
int  embed_malformed(embed_answer_t *r, const char *why);
/* Makes the length of every vector 1 that is not 1 already. */
void embed_normalize(embed_answer_t *r);

/* --- for the engine --- */

/* One request to one provider, up to its answer. 0, or SI_E* with *r->err (SI_ECANCELED: untouched). */
int  co_embed_post(const embed_format_t *f, embed_answer_t *r);
/* One batch, at whatever models of the route and keys it takes; r->q becomes a copy of q, with the model that was asked. model: the same, of proc.conf. */
int  co_embed_ask(const route_t *route, const gateway_spec_t *spec, const embed_batch_t *q, embed_answer_t *r, const conf_model_t **model);

#endif
