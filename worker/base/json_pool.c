/*
 * jansson's memory. malloc() keeps seven pieces of a size at hand, a tree has dozens, and most are of few sizes: here more
 * are kept, each a piece of malloc()'s own, so that whoever frees one by free() does no harm.
 */
#include <malloc.h>

#include "base/json.h"
#include "base/proc.h"

#define SIZES  8                /* glibc's pieces: of 24 bytes, and of 16 more each, up to 136 */
#define KEPT   512              /* pieces of a size: 360 KiB at most in all */

typedef struct piece {
    struct piece *next;
} piece_t;

struct json_pool {
    piece_t *first[SIZES];
    unsigned n[SIZES];
};

static void *take(size_t n)
{
    struct json_pool *pool = proc.json_pool;
    size_t            i = n <= 24 ? 0 : (n - 24 + 15) / 16;
    piece_t          *p;

    if (i >= SIZES || pool->first[i] == NULL) {
        return si_malloc(n);
    }
    p = pool->first[i];
    pool->first[i] = p->next;
    pool->n[i]--;
    return p;
}

static void give(void *p)
{
    struct json_pool *pool = proc.json_pool;
    size_t            n = malloc_usable_size(p), i = (n - 24) / 16;      /* of NULL: 0 */
    piece_t          *piece = p;

    if (n < 24 || i >= SIZES || pool->n[i] == KEPT) {
        free(p);
        return;
    }
    piece->next = pool->first[i];
    pool->first[i] = piece;
    pool->n[i]++;
}

void json_init(void)
{
    if (SI_ASAN) {
        return;                 /* it finds what is used after it was given back */
    }
    proc.json_pool = si_calloc(sizeof(*proc.json_pool));
    json_set_alloc_funcs(take, give);
}
