/* Arenas: alignment, growth, deferred functions. */
#include "base/arena.h"

#include "tap.h"

static char order[16];

static void note(void *arg)
{
    size_t n = strlen(order);

    (void) snprintf(order + n, sizeof(order) - n, "%s", (const char *) arg);
}

static void note_late(void *arg)
{
    arena_defer(arg, note, "L");
}

static bool fill_many(arena_t *a)
{
    static char *p[500];
    bool good = true;

    for (size_t i = 0; i < SI_COUNT(p); i++) {
        p[i] = arena_alloc(a, i);
        memset(p[i], (int) (i & 0xff), i);
        good &= (uintptr_t) p[i] % _Alignof(max_align_t) == 0;
    }
    for (size_t i = 0; i < SI_COUNT(p); i++) {
        for (size_t j = 0; j < i; j++) {
            good &= p[i][j] == (char) (i & 0xff);
        }
    }
    return good;
}

int main(void)
{
    arena_t *a = arena_new(1024);
    size_t before;
    char *z;

    ok(arena_size(a) >= 1024, "the first block counts");
    ok(fill_many(a), "500 objects are aligned and apart");
    ok(arena_size(a) >= 500 * 499 / 2, "what is taken is counted");
    z = arena_calloc(a, 5000);
    ok(z[0] == 0 && z[4999] == 0 && memcmp(z, z + 1, 4999) == 0, "arena_calloc() zeroes");
    before = arena_size(a);
    memset(arena_alloc(a, 1 << 20), 1, 1 << 20);
    ok(arena_size(a) >= before + (1 << 20), "a large object has a block of its own");
    is_str(arena_dup(a, "abc\0def", 3), "abc", "arena_dup() terminates");
    is_str(arena_dup(a, NULL, 0), "", "and takes nothing");
    is_str(arena_strdup(a, "text"), "text", "arena_strdup()");
    z = arena_printf(a, "%s-%05d-%2000s", "x", 42, "y");
    ok(strncmp(z, "x-00042- ", 9) == 0 && strlen(z) == 8 + 2000, "arena_printf() of any length");
    is_str(arena_cat(a, "a", "", "bcd", "e", NULL), "abcde", "arena_cat()");
    is_str(arena_cat(a, "", NULL), "", "of nothing");
    arena_defer(a, note, "1");
    arena_defer(a, note_late, a);
    arena_defer(a, note, "2");
    arena_free(a);
    is_str(order, "2L1", "deferred functions run last first, also one that a deferred one added");
    arena_free(NULL);
    a = arena_new(0);
    memset(arena_alloc(a, 10), 0, 10);
    arena_free(a);
    ok(true, "an arena of no size, and NULL, are allowed");
    return done_testing();
}
