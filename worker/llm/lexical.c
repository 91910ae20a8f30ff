#include "llm/lexical.h"

#include <math.h>

#include "base/utf8.h"

#define WORD_MAX    64                  /* characters of a word that are looked at */
#define PART_MIN    3
#define PART_MAX    5
#define SEED        0xcbf29ce484222325ull   /* FNV-1a, 64 bits (draft-eastlake-fnv) */
#define PRIME       0x100000001b3ull
/* Weights: whole numbers, so that sums are exact. */
#define WEIGHT_PART 3
#define WEIGHT_PAIR 6
#define WEIGHT_ONE  8                   /* of each character of a word, up to eight */

typedef struct {
    int64_t *sums;
    size_t   n;
    uint64_t before;                    /* hash of the word before; 0: there is none */
} lexical_t;

static uint64_t step(uint64_t h, uint32_t c)
{
    return (h ^ c) * PRIME;
}

/* All bits of the hash reach the low ones (the finish of MurmurHash3). */
static uint64_t finish(uint64_t h)
{
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdull;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ull;
    return h ^ (h >> 33);
}

static void feature(lexical_t *l, uint64_t hash, int64_t weight)
{
    uint64_t h = finish(hash);

    l->sums[(h >> 1) % l->n] += (h & 1) != 0 ? weight : -weight;
}

static bool is_ideograph(uint32_t c)
{
    return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7a3)
           || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3ffff);
}

/* Letters, digits and what belongs to them; beyond ASCII all but the punctuation and the spaces of common scripts. */
static bool in_word(uint32_t c)
{
    if (c < 0x80) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
    }
    return c >= 0xaa && c != 0xab && c != 0xac && !(c >= 0xad && c <= 0xb4) && !(c >= 0xb6 && c <= 0xb9) && c != 0xbb && c != 0xbf && c != 0xd7
           && c != 0xf7 && !(c >= 0x2000 && c <= 0x206f) && !(c >= 0x2e00 && c <= 0x2e7f) && !(c >= 0x3000 && c <= 0x303f)
           && !(c >= 0xfe30 && c <= 0xfe4f) && !(c >= 0xff00 && c <= 0xff0f) && !(c >= 0xff1a && c <= 0xff20);
}

/* Simple folding of the letters whose small form is at a fixed distance: Latin-1, Latin Extended-A, Greek, Cyrillic, Armenian. */
static uint32_t fold(uint32_t c)
{
    if (c < 0x80) {
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    }
    if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f)) {
        return c + 32;
    }
    if ((c >= 0x100 && c <= 0x137 && c != 0x130 && c != 0x131) || (c >= 0x14a && c <= 0x177) || (c >= 0x460 && c <= 0x481)
        || (c >= 0x48a && c <= 0x4bf) || (c >= 0x4d0 && c <= 0x52f) || (c >= 0x1e00 && c <= 0x1e95) || (c >= 0x1ea0 && c <= 0x1eff))
    {
        return c | 1;
    }
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e)) {
        return c + (c & 1);
    }
    return c >= 0x400 && c <= 0x40f ? c + 80 : c >= 0x531 && c <= 0x556 ? c + 48 : c == 0x178 ? 0xff : c == 0x3c2 ? 0x3c3 : c;
}

/* A word of n folded characters. */
static void word(lexical_t *l, const uint32_t *c, size_t n)
{
    uint32_t marked[WORD_MAX + 2];
    uint64_t whole = step(SEED, 'w');

    marked[0] = '<';
    for (size_t i = 0; i < n; i++) {
        marked[i + 1] = c[i];
        whole = step(whole, c[i]);
    }
    marked[n + 1] = '>';
    feature(l, whole, WEIGHT_ONE * (int64_t) SI_MIN(n, (size_t) 8));
    if (l->before != 0) {
        feature(l, finish(l->before) + whole, WEIGHT_PAIR);
    }
    l->before = whole;
    for (size_t i = 0; i + PART_MIN <= n + 2; i++) {
        uint64_t part = step(SEED, 'p');

        for (size_t k = 0; k < PART_MAX && i + k < n + 2; k++) {
            part = step(part, marked[i + k]);
            if (k + 1 >= PART_MIN) {
                feature(l, part, WEIGHT_PART);
            }
        }
    }
}

/* One character of valid UTF-8, of `bytes` bytes. */
static uint32_t decode(const unsigned char *p, size_t bytes)
{
    switch (bytes) {
    case 2:
        return (uint32_t) (p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    case 3:
        return (uint32_t) (p[0] & 0x0f) << 12 | (uint32_t) (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    case 4:
        return (uint32_t) (p[0] & 0x07) << 18 | (uint32_t) (p[1] & 0x3f) << 12 | (uint32_t) (p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    default:
        return p[0];
    }
}

static void words(lexical_t *l, str_t text)
{
    uint32_t run[WORD_MAX];
    size_t   n = 0, bytes;

    for (size_t at = 0; at < text.n; at += bytes) {
        uint32_t c;

        bytes = SI_MAX(utf8_step(text.p + at, text.n - at), (size_t) 1);
        c = fold(decode((const unsigned char *) text.p + at, bytes));
        if (n > 0 && (!in_word(c) || is_ideograph(c))) {
            word(l, run, n);
            n = 0;
        }
        if (is_ideograph(c)) {
            word(l, &c, 1);
        } else if (in_word(c) && n < WORD_MAX) {
            run[n++] = c;
        }
    }
    if (n > 0) {
        word(l, run, n);
    }
}

static uint64_t total(const lexical_t *l)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < l->n; i++) {
        sum += (uint64_t) llabs(l->sums[i]);
    }
    return sum;
}

void lexical_vector(str_t text, float *out, size_t n)
{
    lexical_t l = { .sums = si_calloc(n * sizeof *l.sums), .n = n };
    uint64_t  sum;

    words(&l, text);
    sum = total(&l);
    if (sum == 0) {                     /* no words: the text as it stands is the one feature */
        uint64_t h = step(SEED, 't');

        for (size_t i = 0; i < text.n; i++) {
            h = step(h, (unsigned char) text.p[i]);
        }
        feature(&l, h, 1);
        sum = 1;
    }
    for (size_t i = 0; i < n; i++) {    /* the squares of the roots add up to `sum` */
        double root = sqrt((double) llabs(l.sums[i]) / (double) sum);

        out[i] = (float) (l.sums[i] < 0 ? -root : root);
    }
    free(l.sums);
}
