/*
 * libFuzzer target: answers of HTTP/1.1. The first byte says how the rest is cut (and, by its top bit, that HEAD was asked);
 * what comes out must be the same as when it is fed whole, and keep its bounds. Run by scripts/fuzz.
 */
#include "io/http_answer.h"

#include <stdlib.h>

#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

/* Pieces of 1 to 16 bytes by a simple generator; seed 0: whole. Returns what is left behind the answer. */
static size_t feed(http_answer_t *a, buf_t *body, const uint8_t *p, size_t n, uint32_t seed, int *rc)
{
    size_t used = 0, piece;

    for (*rc = 0; *rc == 0 && n > 0 && !a->done; p += used, n -= used) {
        seed = seed != 0 ? seed * 1103515245u + 12345u : 0;
        piece = seed != 0 ? SI_MIN(n, (seed >> 16) % 16 + 1) : n;
        char *copy = si_malloc(piece);
        memcpy(copy, p, piece);
        *rc = http_answer_feed(a, copy, piece, body, &used);
        free(copy);
        check(used <= piece && (*rc != 0 || used == piece || a->done));
        check(a->fields.n <= HTTP_FIELDS_MAX && a->nfields <= HTTP_FIELDS && a->line.n <= HTTP_LINE_MAX);
        check(!a->head_done || a->status == 101 || (a->status >= 200 && a->status <= 999));
    }
    *rc = *rc == 0 && !a->done ? http_answer_eof(a) : *rc;
    check((*rc == 0) == (a->why == NULL) && (*rc != 0 || a->done));
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    http_answer_t a, b;
    buf_t         in_a, in_b;
    bool          head;
    size_t        left_a, left_b;
    int           rc_a, rc_b;

    if (n == 0) {
        return 0;
    }
    head = (p[0] & 0x80) != 0;
    http_answer_init(&a, head);
    http_answer_init(&b, head);
    buf_init(&in_a, 1u << 20);
    buf_init(&in_b, 1u << 20);
    left_a = feed(&a, &in_a, p + 1, n - 1, 0, &rc_a);
    left_b = feed(&b, &in_b, p + 1, n - 1, (p[0] & 0x7fu) + 1, &rc_b);
    check(rc_a == rc_b && a.status == b.status && a.head_done == b.head_done && a.last == b.last && a.nfields == b.nfields);
    check(in_a.n == in_b.n && (in_a.n == 0 || memcmp(in_a.p, in_b.p, in_a.n) == 0));
    check(a.fields.n == b.fields.n && (a.fields.n == 0 || memcmp(a.fields.p, b.fields.p, a.fields.n) == 0));
    check(rc_a != 0 || left_a == left_b);
    check(a.nfields == 0 || http_answer_field(&a, a.fields.p) != NULL);
    http_answer_free(&a);
    http_answer_free(&b);
    buf_free(&in_a);
    buf_free(&in_b);
    return 0;
}
