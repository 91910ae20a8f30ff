/* Reading what clients send: bodies, fields, page arguments. Each answers the call itself when something is wrong. */
#ifndef SI_INPUT_H
#define SI_INPUT_H

#include "api/routes.h"
#include "base/json.h"

/* The body, to be JSON by its type, of max bytes. 0, or a negative number: answered. */
int  co_input_body(request_t *r, size_t max, str_t *text);
/*
 * The body as a JSON object (an empty body is an empty object if `optional`), with no members but those named
 * (NULL-terminated). NULL: answered. `text` is the raw body.
 */
json_t *co_input_object(request_t *r, size_t max, bool optional, const char *const *names, str_t *text);
/* 0 when the object has no members but these (NULL-terminated), or -1: answered. */
int  co_input_members(request_t *r, json_t *o, const char *const *names);
/* A string member: 0 and *out (STR_NULL when absent or null and not required), or -1: answered. Lengths in bytes. */
int  co_input_string(request_t *r, const json_t *o, const char *name, bool required, size_t max, str_t *out);
/* A time to come, RFC 3339, in a member that may be absent or null (0): ms since 1970. 0, or -1: answered. */
int  co_input_time(request_t *r, const json_t *o, const char *name, uint64_t *out);
/* ?limit= (1..100, default 50) and ?cursor= of a list. 0 or -1: answered. */
int  co_input_page(request_t *r, int *limit, const char **cursor);
/* A page of a list as the store gave it, `next` is the cursor of the one behind it or NULL; put() appends a row as JSON. */
typedef struct {
    const void *rows;
    size_t      n, size;            /* of a row, bytes */
    void      (*put)(buf_t *b, const void *row);
    size_t      max;                /* bytes of the answer */
    const char *next;
} page_t;

/* Answers with a page, or with the store's error: SI_EINVAL is a bad cursor. */
void co_put_page(request_t *r, int rc, const page_t *p);
/* Idempotency-Key: 0 and *out (NULL when absent), or -1: answered. */
int  co_input_idempotency(request_t *r, const char **out);
/* SHA-256 of a request, as hex in the arena: to tell a repeated request from another one with the same key. */
const char *input_hash(request_t *r, str_t body);

/* RFC 3339, of the form 2026-01-31T23:59:59[.123]Z or with an offset as +01:00: ms since 1970, of whole seconds, or 0. */
uint64_t input_time(str_t s);

#endif
