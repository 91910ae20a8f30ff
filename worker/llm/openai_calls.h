/*
 * Private to openai_read.c: calls of tools as the pieces of a chat completion tell them.
 *
 *   index       tells the calls apart; missing (Mistral's first versions, some relays) it goes by the id, or by what is complete
 *   id, name    in the first piece; "" or the same again in later ones (Mistral, relays). Another id begins another call, also
 *               under the same index (servers that send whole calls, each with index 0)
 *   arguments   pieces of text, or the whole as an object (Ollama's older versions); none at all means {}
 *   function_call   the form before tools: one call without id
 *   extra_content.google.thought_signature   Gemini's seal of the call
 */
#ifndef SI_OPENAI_CALLS_H
#define SI_OPENAI_CALLS_H

#include "llm/reply.h"

#define OPENAI_NO_INDEX  (-1)

typedef struct {
    int64_t index;                  /* theirs, or OPENAI_NO_INDEX */
    str_t   id, name, args, seal;   /* n == 0: not in this piece */
    bool    object;                 /* the arguments were no text: they begin no call */
} openai_piece_t;

/* Whether the piece is certain to go on with a call that has begun, and so does any that differs in its arguments alone: *which. */
bool openai_goes_on(const reply_t *r, const openai_piece_t *p, uint32_t *which);
/* More arguments of that call. */
int openai_more_args(reply_t *r, uint32_t which, str_t args);
/* One piece. 0, or SI_E* with r->err. */
int openai_read_piece(reply_t *r, const openai_piece_t *p);
/* The calls in a delta, or in a whole message (each complete then). 0, or SI_E* with r->err. */
int openai_read_calls(reply_t *r, const json_t *delta, bool whole);
/* The answer has its finish: a call without arguments has none to come. */
int openai_end_calls(reply_t *r);

#endif
