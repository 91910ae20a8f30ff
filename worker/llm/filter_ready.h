/* Ready-made filters: what ops people look for. No I/O. */
#ifndef SI_FILTER_READY_H
#define SI_FILTER_READY_H

#include "base/base.h"

/*
 * Whether a match of the expression is what it looks like: text is the match and what is known of the text behind it, n
 * the length of the match. The length of what is meant, which may be shorter; 0: nothing.
 */
typedef size_t (*filter_check_t)(str_t text, size_t n);

typedef struct {
    const char    *name;            /* a word of filters.*.ready */
    const char    *pattern;
    filter_check_t check;           /* NULL: every match counts */
} filter_ready_t;

/* By name; NULL: there is none. */
const filter_ready_t *filter_ready(const char *name);

#endif
