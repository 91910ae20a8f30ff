/*
 * Private to openai.c: what the chunks of a streamed chat completion say, and the quirks of those
 * who speak the same format. No I/O.
 *
 *   usage       in a last chunk with choices [] (OpenAI, Azure, xAI), within the finish chunk (DeepSeek,
 *               Mistral), under x_groq (Groq), in a second finish chunk (OpenRouter); null elsewhere. The last one counts
 *   tokens      xAI's completion_tokens leave reasoning tokens out, everybody else's include them: told by the total
 *   reasoning   reasoning_content (DeepSeek, xAI, Alibaba), reasoning (Groq, OpenRouter), content parts of type "thinking" (Mistral)
 *   cached      prompt_tokens_details.cached_tokens; prompt_cache_hit_tokens (DeepSeek); cached_tokens of usage itself (Moonshot)
 *   calls       see openai_calls.h
 *   error       an object in a stream that began with 200; finish_reason "error" (OpenRouter, Mistral)
 *   end         [DONE] or a finish_reason: without either the answer is cut
 */
#ifndef SI_OPENAI_READ_H
#define SI_OPENAI_READ_H

#include "llm/reply.h"

/* As format.h says. */
int openai_read_event(reply_t *r, str_t type, str_t data);
int openai_read_whole(reply_t *r, str_t body);
/* What a usage says; -1: nothing (in, out, total), of the others 0. */
typedef struct {
    int64_t in, out, total, reasoning, cached, written;
} openai_usage_t;

void openai_read_usage(reply_t *r, const openai_usage_t *u);
/* A finish_reason; one without bytes is none. */
int openai_read_finish(reply_t *r, str_t reason);
/* The HTTP status that an error object of OpenAI's stands for, also within a stream; 0: it does not say. */
int openai_error_status(const json_t *e);

#endif
