/*
 * Private to responses.c: what the events of OpenAI's Responses API say, and of those who speak it (Azure, xAI, GitHub). No I/O.
 *
 *   items       told apart by output_index: GitHub gives an item another id in each event
 *   reasoning   summaries, or the text itself; a blank line between two parts. Encrypted content is the signature of what
 *               was read, and a redacted block when nothing was
 *   calls       those of functions. Tools that the provider runs itself, and those of other kinds, have no word in a chat,
 *               and Si asks for none: their items, and citations, are counted as unsaid
 *   pieces      what comes in no delta is taken from the finished item
 *   end         response.completed, .incomplete with its reason, .failed, .cancelled, `error`: without any the answer is cut
 */
#ifndef SI_RESPONSES_READ_H
#define SI_RESPONSES_READ_H

#include "llm/reply.h"

/* As format.h says. */
int responses_read_event(reply_t *r, str_t type, str_t data);
int responses_read_whole(reply_t *r, str_t body);

#endif
