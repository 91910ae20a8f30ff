/*
 * Private to anthropic.c: what the events of a streamed message say, and the quirks of those who relay them. No I/O.
 *
 *   usage       message_start has the input, and a placeholder for the output; message_delta the final counts, of which each is
 *               cumulative and the last one counts. Tokens read from and written to the prompt cache stand beside input_tokens;
 *               so do those of a compaction, in iterations[]
 *   blocks      come one after the other. Those of the provider's own tools (server_tool_use, …_tool_result, mcp_…), of
 *               compaction and fallback, and citations have no event: they are counted in result.unsaid, and the engine logs it
 *   again       a second message_start before any block begins the answer anew; after one the answer is cut: a relay has lost
 *               its connection and spliced another answer behind it (vercel/ai#18331)
 *   refusal     stop_details.explanation is what the model says
 *   end         message_stop, or a stop_reason: without either the answer is cut
 */
#ifndef SI_ANTHROPIC_READ_H
#define SI_ANTHROPIC_READ_H

#include "llm/reply.h"

/* As format.h says. */
int anthropic_read_event(reply_t *r, str_t type, str_t data);
int anthropic_read_whole(reply_t *r, str_t body);

#endif
