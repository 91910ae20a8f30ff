#include "base/arena.h"

#include <stdio.h>

#include "base/proc.h"

#define KEPT_BYTES  16384u      /* blocks of this size, as calls have, … */
#define KEPT_MAX    64u         /* … are kept for the next arenas, so many: 1 MiB */

#define ALIGN       _Alignof(max_align_t)
#define ALIGNED(n)  (((n) + ALIGN - 1) & ~(ALIGN - 1))

typedef struct block {
    struct block *next;
} block_t;

typedef struct defer {
    struct defer *next;
    void        (*fn)(void *arg);
    void         *arg;
} defer_t;

struct arena {
    char    *p, *end;       /* what is free of the present block */
    block_t *blocks;
    defer_t *defers;
    size_t   block;
    size_t   size;
};

arena_t *arena_new(size_t block)
{
    size_t head = ALIGNED(sizeof(arena_t));
    arena_t *a;

    block = ALIGNED(SI_MAX(block, (size_t) 256));
    a = block == KEPT_BYTES ? pieces_take(&proc.arenas) : NULL;
    a = a != NULL ? a : si_malloc(head + block);
    *a = (arena_t) { .block = block, .size = head + block };
    a->p = (char *) a + head;
    a->end = a->p + block;
    return a;
}

void arena_free(arena_t *a)
{
    if (a == NULL) {
        return;
    }
    while (a->defers != NULL) {         /* a deferred function may defer another */
        defer_t *d = a->defers;

        a->defers = d->next;
        d->fn(d->arg);
    }
    for (block_t *b = a->blocks, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    if (a->block == KEPT_BYTES) {
        pieces_give(&proc.arenas, a, KEPT_MAX);
    } else {
        free(a);
    }
}

static char *block_new(arena_t *a, size_t n)
{
    size_t head = ALIGNED(sizeof(block_t));
    block_t *b = si_malloc(head + n);

    b->next = a->blocks;
    a->blocks = b;
    a->size += head + n;
    return (char *) b + head;
}

void *arena_alloc(arena_t *a, size_t n)
{
    char *p;

    if (n > SIZE_MAX / 2) {
        si_die("arena: %zu bytes asked for", n);
    }
    if (SI_ASAN) {
        return block_new(a, n);         /* an allocation of its own, so that overruns are found */
    }
    n = ALIGNED(SI_MAX(n, (size_t) 1));
    if (n > (size_t) (a->end - a->p)) {
        if (n > a->block / 4) {
            return block_new(a, n);     /* the present block still serves small needs */
        }
        a->p = block_new(a, a->block);
        a->end = a->p + a->block;
    }
    p = a->p;
    a->p += n;
    return p;
}

void *arena_calloc(arena_t *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}

char *arena_dup(arena_t *a, const void *p, size_t n)
{
    char *q = arena_alloc(a, n + 1);

    if (n > 0) {
        memcpy(q, p, n);
    }
    q[n] = '\0';
    return q;
}

char *arena_strdup(arena_t *a, const char *z)
{
    return arena_dup(a, z, strlen(z));
}

char *arena_cat(arena_t *a, const char *first, ...)
{
    va_list ap, again;
    size_t  n = 0, len;
    char   *text;

    va_start(ap, first);
    va_copy(again, ap);
    for (const char *z = first; z != NULL; z = va_arg(ap, const char *)) {
        n += strlen(z);
    }
    text = arena_alloc(a, n + 1);
    n = 0;
    for (const char *z = first; z != NULL; z = va_arg(again, const char *), n += len) {
        len = strlen(z);
        memcpy(text + n, z, len);
    }
    text[n] = '\0';
    va_end(again);
    va_end(ap);
    return text;
}

char *arena_printf(arena_t *a, const char *fmt, ...)
{
    size_t  room = SI_ASAN ? 0 : (size_t) (a->end - a->p);
    va_list ap, again;
    char   *p;
    int     n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(room > 0 ? a->p : NULL, room, fmt, ap);
    if (n < 0) {
        si_die("arena_printf: bad format \"%s\"", fmt);
    }
    p = arena_alloc(a, (size_t) n + 1);
    if ((size_t) n >= room) {           /* else it stands there already */
        (void) vsnprintf(p, (size_t) n + 1, fmt, again);
    }
    va_end(again);
    va_end(ap);
    return p;
}

void arena_defer(arena_t *a, void (*fn)(void *arg), void *arg)
{
    defer_t *d = arena_alloc(a, sizeof(*d));

    *d = (defer_t) { a->defers, fn, arg };
    a->defers = d;
}

size_t arena_size(const arena_t *a)
{
    return a->size;
}
