/*
 * Freed memory of one size that is kept for whoever asks next: malloc() keeps seven pieces of a size at hand, and none above
 * 1,032 bytes. The pieces are malloc()'s own, so that free() takes them, too. Under ASan nothing is kept: it finds what is used
 * after it was given back.
 */
#ifndef SI_PIECES_H
#define SI_PIECES_H

#include "base/base.h"

typedef struct freed {
    struct freed *next;
} freed_t;

/* Zeroed before its first use. */
typedef struct {
    freed_t *first;
    size_t   n;
} pieces_t;

/* A piece, or NULL: none is kept. */
static inline void *pieces_take(pieces_t *k)
{
    freed_t *p = k->first;

    if (p != NULL) {
        k->first = p->next;
        k->n--;
    }
    return p;
}

/* Keeps p, of at least sizeof(freed_t) bytes, unless there are max of them already: then it is freed. */
static inline void pieces_give(pieces_t *k, void *p, size_t max)
{
    freed_t *piece = p;

    if (SI_ASAN || k->n >= max) {
        free(p);
        return;
    }
    piece->next = k->first;
    k->first = piece;
    k->n++;
}

#endif
