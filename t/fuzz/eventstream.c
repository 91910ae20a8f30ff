/*
 * libFuzzer target: the event-stream decoder. The first byte chooses the maximum, the second how the rest is cut; the
 * messages must be the same as when it is fed whole, and keep their bounds. The third says whether the right checksums
 * are put into the first message, since nobody guesses them. Run by scripts/fuzz.
 */
#include "io/eventstream.h"

#include <stdlib.h>

#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

typedef struct {
    uint64_t sum;       /* of all bytes of all messages in order (FNV-1a) */
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

static int on_message(const es_message_t *m, void *arg)
{
    seen_t     *s = arg;
    str_t       rest = m->headers;
    es_header_t h;
    int         rc;

    check(m->headers.n <= ES_HEADERS_MAX && m->payload.n <= s->max);
    while ((rc = es_next(&rest, &h)) == 1) {
        check(h.name.n > 0 && h.type <= ES_UUID && (h.type != ES_STRING || utf8_valid(h.bytes)));
        add(s, h.name);
        add(s, h.bytes);
        s->sum += (uint64_t) h.number;
    }
    check(rc == 0);
    add(s, m->payload);
    s->n++;
    return 0;
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t) (v >> (24 - 8 * i));
    }
}

/* The input is one message: its length and checksums become right. */
static void repair(uint8_t *p, size_t n)
{
    put32(p, (uint32_t) n);
    put32(p + 8, crc32_of(p, 8));
    put32(p + n - 4, crc32_of(p, n - 4));
}

/* Pieces of 1 to 16 bytes by a simple generator; seed 0: whole. */
static int feed(eventstream_t *s, seen_t *seen, const uint8_t *p, size_t n, uint32_t seed)
{
    int rc = 0;

    while (rc == 0 && n > 0) {
        seed = seed != 0 ? seed * 1103515245u + 12345u : 0;
        size_t piece = seed != 0 ? SI_MIN(n, (seed >> 16) % 16 + 1) : n;
        char  *copy = si_malloc(piece);
        memcpy(copy, p, piece);
        rc = eventstream_feed(s, copy, piece, on_message, seen);
        free(copy);
        p += piece;
        n -= piece;
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n < 3 + 16) {
        return 0;
    }
    size_t        max = (size_t) p[0] * 16;
    seen_t        a = { .max = max }, b = { .max = max };
    eventstream_t whole, cut;
    uint8_t      *in = si_malloc(n - 3);

    memcpy(in, p + 3, n - 3);
    if (p[2] % 4 != 0) {
        repair(in, n - 3);
    }
    eventstream_init(&whole, max);
    eventstream_init(&cut, max);
    int ra = feed(&whole, &a, in, n - 3, 0);
    int rb = feed(&cut, &b, in, n - 3, p[1] + 1u);

    check(ra == rb && a.n == b.n && a.sum == b.sum && whole.why == cut.why);
    check((ra == SI_EPROTO) == (whole.why != NULL) && (ra == 0 || ra == SI_EPROTO));
    eventstream_free(&whole);
    eventstream_free(&cut);
    free(in);
    return 0;
}
