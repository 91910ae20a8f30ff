/* A context made shorter. No I/O. */
#ifndef SI_TRIM_H
#define SI_TRIM_H

#include "llm/chat.h"

/* Where what stays begins, see below; 0: nothing can go. */
size_t chat_cut(const chat_message_t *messages, size_t n, unsigned percent);
/*
 * What is left of n messages when the oldest go, until no more than `percent` of their tokens (estimated) stay: those of the
 * system all stay, and so does the last that is the user's own with what follows it. What stays begins with a message of the
 * user that is no result of a tool. The list is new, in the arena, the messages are the same. Their number; n: nothing can go.
 */
size_t chat_trim(arena_t *a, const chat_message_t *messages, size_t n, unsigned percent, const chat_message_t **out);

#endif
