/*
 * Private to gemini_read.c: arguments of a call that come in pieces, each a value and the JSONPath (RFC 9535, names and
 * indexes only) of its place. A string may come in several.
 */
#ifndef SI_GEMINI_ARGS_H
#define SI_GEMINI_ARGS_H

#include "llm/reply.h"

typedef struct {
    json_t *root;           /* the object so far; NULL: none */
    char   *path;           /* of the string that goes on; NULL: none */
    buf_t   text;           /* that string */
    size_t  bytes;          /* taken so far: paths and values */
} gemini_args_t;

/* max: bytes of paths and values together. Its memory is freed with the arena. */
gemini_args_t *gemini_args_new(arena_t *a, size_t max);
/* One element of partialArgs. 0, SI_ENOMEM, or SI_EPROTO: no such place. */
int     gemini_args_add(gemini_args_t *args, const json_t *piece);
/* The whole object, a new reference; the next one begins. NULL: SI_EPROTO, the last string has no place. */
json_t *gemini_args_take(gemini_args_t *args);

#endif
