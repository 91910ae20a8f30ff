/*
 * libFuzzer target: the SSE parser. The first two bytes choose the maximum and how the rest is cut; the events must
 * be the same as when it is fed whole, and keep their bounds. Run by scripts/fuzz.
 */
#include "io/sse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

typedef struct {
    uint64_t sum;       /* of all bytes of all events in order (FNV-1a) */
    size_t   n;
    size_t   max;
} seen_t;

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

static void add(seen_t *s, str_t v)
{
    for (size_t i = 0; i < v.n; i++) {
        s->sum = (s->sum ^ (uint8_t) v.p[i]) * 0x100000001b3u;
    }
    s->sum = (s->sum ^ 0x100u) * 0x100000001b3u;
}

static int on_event(const sse_event_t *e, void *arg)
{
    seen_t *s = arg;

    check(e->data.n <= s->max && e->event.n <= s->max && e->id.n <= s->max);
    check(e->id.n == 0 || memchr(e->id.p, '\0', e->id.n) == NULL);
    check(e->data.n == 0 || memchr(e->data.p, '\r', e->data.n) == NULL);
    add(s, e->event);
    add(s, e->data);
    add(s, e->id);
    s->n++;
    return 0;
}

/* Pieces of 1 to 16 bytes by a simple generator; seed 0: whole. */
static int feed(sse_t *s, seen_t *seen, const uint8_t *p, size_t n, uint32_t seed)
{
    int rc = 0;

    while (rc == 0 && n > 0) {
        seed = seed != 0 ? seed * 1103515245u + 12345u : 0;
        size_t piece = seed != 0 ? SI_MIN(n, (seed >> 16) % 16 + 1) : n;
        char  *copy = si_malloc(piece);
        memcpy(copy, p, piece);
        rc = sse_feed(s, copy, piece, on_event, seen);
        free(copy);
        p += piece;
        n -= piece;
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n < 2) {
        return 0;
    }
    size_t   max = 8 + (size_t) p[0] * 4;
    uint32_t seed = p[1] + 1u;
    seen_t   a = { .max = max }, b = { .max = max };
    sse_t    whole, cut;

    sse_init(&whole, max);
    sse_init(&cut, max);
    int ra = feed(&whole, &a, p + 2, n - 2, 0);
    int rb = feed(&cut, &b, p + 2, n - 2, seed);

    check(ra == rb && a.n == b.n && a.sum == b.sum && whole.retry_ms == cut.retry_ms);
    check(whole.retry_ms >= -1);
    sse_free(&whole);
    sse_free(&cut);
    return 0;
}
