/*
 * Private to gemini.c: what the chunks of Google's Gemini API say (ai.google.dev/api/generate-content), and of Vertex AI. No I/O.
 * Each event, each element of an array, and a whole answer is a GenerateContentResponse, or {"error": …}.
 *
 *   usage       cumulative: the last one counts. Thoughts stand beside candidates and belong to the output; the prompt has
 *               the cached tokens in it, and not what was fed back from tools
 *   thoughts    parts with "thought": true. A signature is that of the call or the thought it came with; one that came with
 *               text, or with nothing, is a redacted block, which gemini.c makes an empty text with a signature of again
 *   calls       `args` at once, or in pieces by their JSONPath (Vertex), ended by an empty functionCall or not at all
 *   finish      STOP and MAX_TOKENS end an answer, what a filter stops is content_filter, everything else cuts it
 *   blocked     promptFeedback.blockReason without candidates: content_filter
 *   ours        what the provider's own tools did (code, searches) and made pictures have no word in a chat: unsaid
 */
#ifndef SI_GEMINI_READ_H
#define SI_GEMINI_READ_H

#include "llm/reply.h"

/* As format.h says. */
int gemini_read_event(reply_t *r, str_t type, str_t data);
int gemini_status(llm_error_t *err, arena_t *a, const char *secret, int status, str_t body);

#endif
