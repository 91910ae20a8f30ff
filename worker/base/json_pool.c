/* jansson's memory: a tree has dozens of pieces, and most are of few sizes. */
#include <malloc.h>

#include "base/json.h"
#include "base/proc.h"

#define SIZES  8                /* glibc's pieces: of 24 bytes, and of 16 more each, up to 136 */
#define KEPT   512u             /* pieces of a size: 360 KiB at most in all */

struct json_pool {
    pieces_t sizes[SIZES];
};

static void *take(size_t n)
{
    size_t i = n <= 24 ? 0 : (n - 24 + 15) / 16;
    void  *p = i < SIZES ? pieces_take(&proc.json_pool->sizes[i]) : NULL;

    return p != NULL ? p : si_malloc(n);
}

static void give(void *p)
{
    size_t n = malloc_usable_size(p), i = (n - 24) / 16;        /* of NULL: 0 */

    if (n < 24 || i >= SIZES) {
        free(p);
    } else {
        pieces_give(&proc.json_pool->sizes[i], p, KEPT);
    }
}

void json_init(void)
{
    if (!SI_ASAN) {
        proc.json_pool = si_calloc(sizeof(*proc.json_pool));
        json_set_alloc_funcs(take, give);
    }
}
