/*
 * Signatures of reasoning and of calls of tools, and reasoning that is hidden, can be read by the provider that made them and by
 * nobody else: of another one they are refused ("Invalid signature", "Corrupted thought signature"), also of the same house at
 * another address (github.com/BerriAI/litellm/issues/32140). A conversation goes from one to the other with each fallback, so
 * what leaves the gateway is marked with the name of its provider, "si:NAME:…", and what comes back goes to that one only,
 * without the mark. What has no mark came to the client in another way and is taken for the asked provider's.
 */
#ifndef SI_SEAL_H
#define SI_SEAL_H

#include "llm/provider.h"

/* Marks CHAT_SIGNATURE and CHAT_REDACTED of a model of proc.conf. The new text is in the arena. */
void seal_mark(arena_t *a, const conf_model_t *m, chat_event_t *ev);

/*
 * Fills messages and nmessages of *to with those of `from` as this model's provider (not its endpoint) may get them. Of another
 * one's, signatures of calls and hidden reasoning are left out, and reasoning too, but where it is sent back as plain text
 * (kind openai). Anthropic takes no reasoning without a signature, whoever made it.
 */
void seal_open(arena_t *a, const llm_request_t *from, const conf_model_t *m, llm_request_t *to);

#endif
