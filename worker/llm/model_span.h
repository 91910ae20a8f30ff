/*
 * The span of one call of a model (io/span.h): each try is one, under the turn or the request that it is for. Names are those
 * of OpenTelemetry's semantic conventions 1.41, docs/gen-ai/gen-ai-spans.md; what they have no word for begins with "si.".
 * Texts of messages, of tools and stop sequences are in none. Zeroed before its first use.
 */
#ifndef SI_MODEL_SPAN_H
#define SI_MODEL_SPAN_H

#include "io/span.h"
#include "llm/account.h"

typedef struct {
    span_t     *span;           /* of the try that is under way */
    trace_t     last;           /* of the one before */
    const char *model;          /* that was asked in it */
    uint64_t    start;          /* clock_us() */
    bool        begun;          /* the first piece has come */
    char        header[sizeof "traceparent: " + TRACE_PARENT_LEN];
} model_span_t;

/*
 * A try begins. operation: "chat", "embeddings"; model: at its endpoint; options: of a chat, or NULL; tries: so far, this one too.
 * Returns the header traceparent for the provider, good until the next one, or NULL.
 */
const char *model_span_start(model_span_t *m, arena_t *a, const char *operation, const conf_model_t *model, const chat_options_t *options,
                             unsigned tries);
/* The answer was there before, and no model is asked: a span that is over at once, with si.cache "hit". */
void model_span_cached(arena_t *a, const conf_model_t *model, const chat_options_t *options, const llm_result_t *r);
/* A piece of the answer has come. */
void model_span_piece(model_span_t *m);
/* The provider's status was this; 0: it is not known. */
void model_span_status(model_span_t *m, int status);
/*
 * It has ended: the failure's code, NULL: well; what the provider said, NULL: it has not accepted the request; what it is
 * charged for. More ends than one are ignored.
 */
void model_span_end(model_span_t *m, const char *code, const llm_result_t *result, const usage_t *usage);

#endif
