/* jansson with the bounds that the worker needs (it recurses: its own limit of 2,048 levels would overrun a coroutine's stack). */
#ifndef SI_JSON_H
#define SI_JSON_H

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"

#define JSON_DEPTH_MAX  64

/*
 * Once at the start of a process: jansson's memory comes from base's, which ends the process when there is none, and small
 * pieces that it gives back (a tree of a request has seventy) are kept for the next, a few hundred KiB at most.
 */
void    json_init(void);
/*
 * Parses one value. Returns a new reference, or NULL with *err (in the arena, or static) saying
 * what and where: "line 1, column 7: …", "nested deeper than 64". Refuses duplicate keys, NUL in
 * strings, invalid UTF-8 and bytes after the value.
 */
json_t *json_parse(arena_t *a, str_t text, const char **err);
/*
 * The same for what others have written, which RFC 8259 lets them: of duplicate keys the last counts, an integer beyond
 * 64 bits is a real (a seed of Together's), and U+FFFD stands for an escaped NUL or half of a surrogate pair.
 */
json_t *json_parse_loose(arena_t *a, str_t text, const char **err);
/* Compact JSON into b, numbers in the fewest digits that give them back. 0 or SI_ENOMEM (b's maximum). */
int     json_dump(buf_t *b, const json_t *v);
/* So does this, of neither NAN nor infinity. */
int     json_real_text(buf_t *b, double real);
/* As json_dump() in the arena. */
char   *json_text(arena_t *a, const json_t *v);
/* Frees v when the arena is freed; returns v. */
json_t *json_own(arena_t *a, json_t *v);
/* Member as string (its bytes live in o), or `missing` when absent, null or of another type. */
str_t   json_str(const json_t *o, const char *name, str_t missing);

#endif
