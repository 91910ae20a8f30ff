/* Where requests of OpenAI's dialect go, and with which key: the same for chats and for embeddings. */
#ifndef SI_OPENAI_URL_H
#define SI_OPENAI_URL_H

#include "llm/format.h"

/* The provider's base_url with the model's name for "{model}", the path ("/chat/completions"), and ?api-version= if it has one. */
const char *openai_url(arena_t *a, const conf_model_t *m, const char *path);
/* Adds the header with the provider's key, if it has one. */
void        openai_key(arena_t *a, const conf_provider_t *p, format_request_t *out);

#endif
