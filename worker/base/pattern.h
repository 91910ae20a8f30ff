/*
 * Regular expressions (PCRE2 10, UTF-8, Unicode classes) for text that comes piece by piece. Every match is bounded: see
 * PATTERN_STEPS. No I/O.
 */
#ifndef SI_PATTERN_H
#define SI_PATTERN_H

#include "base/arena.h"

#define PATTERN_LEN         65536u      /* bytes of an expression */
#define PATTERN_LOOKBEHIND  64u         /* code points that one may look behind its match */
#define PATTERN_STEPS       30000u      /* steps of backtracking from one position; of the heap it may use 1 MiB */

typedef struct pattern pattern_t;

/* NULL with *err in the arena: what is wrong, and where. Compiled for the processor where PCRE2 can. */
pattern_t *pattern_new(arena_t *a, const char *text, bool any_case, const char **err);
void       pattern_free(pattern_t *p);

typedef enum {
    PATTERN_NONE,       /* no match begins in this text, whatever follows */
    PATTERN_OPEN,       /* the text ends within what may become a match: it would begin at *start, none does before */
    PATTERN_FOUND,      /* from *start to *end; never empty */
    PATTERN_LIMIT       /* a bound was hit: nothing is known */
} pattern_rc_t;

/*
 * The first match from byte `from` on; what stands before it is looked at by lookbehinds only. text is valid UTF-8 and
 * `from` at a code point. begins: the text is whole at its front; ends: at its end, then nothing is open.
 */
pattern_rc_t pattern_find(const pattern_t *p, str_t text, size_t from, bool begins, bool ends, size_t *start, size_t *end);

#endif
