/*
 * Memory that is freed whole: one arena per call or turn. Not for objects
 * that outlive their call. Never returns NULL (out of memory ends the process).
 */
#ifndef SI_ARENA_H
#define SI_ARENA_H

#include "base/base.h"

typedef struct arena arena_t;

/* First block of `block` bytes is allocated with the arena itself; larger needs get blocks of their own. */
arena_t *arena_new(size_t block);
/* Runs the deferred functions in reverse order, then frees everything. NULL is allowed. */
void     arena_free(arena_t *a);
/* Aligned for any type, uninitialised / zeroed. */
void    *arena_alloc(arena_t *a, size_t n);
void    *arena_calloc(arena_t *a, size_t n);
/* Copies, terminated with NUL. */
char    *arena_dup(arena_t *a, const void *p, size_t n);
char    *arena_strdup(arena_t *a, const char *z);
/* One behind the other; NULL ends the list. For what is made for each call: a fifth of the time of arena_printf(). */
char    *arena_cat(arena_t *a, const char *first, ...) __attribute__((sentinel));
char    *arena_printf(arena_t *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Calls fn(arg) when the arena is freed. */
void     arena_defer(arena_t *a, void (*fn)(void *arg), void *arg);
/* Bytes taken from the system so far. */
size_t   arena_size(const arena_t *a);

#endif
