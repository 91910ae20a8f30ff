/*
 * Private to openai.c: what the chunks of a streamed chat completion say, and the quirks of those
 * who speak the same format. No I/O.
 *
 *   usage       in a last chunk with choices [] (OpenAI, Azure, xAI), within the finish chunk (DeepSeek,
 *               Mistral), under x_groq (Groq), in a second finish chunk (OpenRouter); null elsewhere. The last one counts
 *   tokens      xAI's completion_tokens leave reasoning tokens out, everybody else's include them: told by the total
 *   reasoning   reasoning_content (DeepSeek, xAI, Alibaba), reasoning (Groq, OpenRouter), content parts of type "thinking" (Mistral)
 *   error       an object in a stream that began with 200; finish_reason "error" (OpenRouter, Mistral)
 *   end         [DONE] or a finish_reason: without either the answer is cut
 */
#ifndef SI_OPENAI_READ_H
#define SI_OPENAI_READ_H

#include "base/buf.h"
#include "io/sse.h"
#include "llm/provider.h"

typedef struct {
    arena_t     *arena;             /* of the call */
    const char  *secret;            /* never shown */
    size_t       max;               /* bytes of text, and as many of reasoning */
    size_t       bytes[2];          /* of each llm_kind_t so far */
    buf_t        text;              /* read and not handed out */
    buf_t        pieces;            /* llm_piece_t: how `text` is to be cut */
    size_t       handed;            /* bytes of `text` that the last piece has */
    bool         finished;          /* a finish_reason has come */
    bool         done;              /* [DONE] has come */
    bool         lenient;           /* the stream is over: half an event is not malformed but cut */
    llm_result_t result;
    llm_error_t  err;               /* when reading failed */
} openai_read_t;

void openai_read_init(openai_read_t *r, arena_t *arena, const char *secret, size_t max);
void openai_read_free(openai_read_t *r);
/* One event, for sse_feed(): arg is the openai_read_t. 0, or SI_E* with r->err. */
int  openai_read_event(const sse_event_t *e, void *arg);
/* A whole answer that is JSON and no stream. 0, or SI_E* with r->err. */
int  openai_read_whole(openai_read_t *r, str_t body);
/* The next piece of what was read; it lives until the next call. */
bool openai_read_piece(openai_read_t *r, llm_kind_t *kind, str_t *text);
/* Estimates what the provider did not say. */
void openai_read_estimate(openai_read_t *r, const llm_request_t *q);
/* What an answer of HTTP status >= 300 means; body is what came with it. Returns SI_E*. */
int  openai_read_status(llm_error_t *err, arena_t *arena, const char *secret, int status, str_t body);

#endif
