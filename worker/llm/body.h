/* What formats that build their request as a JSON value share. Values are new references; strings are copied into them. */
#ifndef SI_BODY_H
#define SI_BODY_H

#include "llm/format.h"

json_t *body_str(str_t s);
/* JSON text of the client's, a schema or arguments; NULL with *err "unsupported" when it is no object. what: "arguments", … */
json_t *body_object(arena_t *a, str_t text, const char *kind, const char *what, llm_error_t *err);
/* The schema of the answer, for formats that have no place for what it is for: "description" says that. NULL as body_object(). */
json_t *body_shape(arena_t *a, const chat_options_t *o, const char *kind, llm_error_t *err);
/* "data:image/png;base64,…" of a part with media, else its URL. */
json_t *body_url(arena_t *a, const chat_part_t *p);
/* A number unless it is NAN, a whole number unless it is below 0. */
void    body_real(json_t *o, const char *name, double v);
void    body_count(json_t *o, const char *name, int64_t v);
/* Tokens that the answer may have: the client's word, else the configuration's; -1: neither. */
int64_t body_max_tokens(const llm_request_t *q);
/* Lays the client's other members over the request when they came in this dialect; refuses those of another. */
int     body_extra(json_t *body, const llm_request_t *q, const char *kind, const char *dialect, llm_error_t *err);

#endif
