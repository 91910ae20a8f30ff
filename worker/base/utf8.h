/* One step of UTF-8, for those who walk through text. See util.h for whole strings. */
#ifndef SI_UTF8_H
#define SI_UTF8_H

#include "base/base.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Length of the valid sequence at p of n >= 1 bytes (RFC 3629, section 4; NUL counts as valid), or 0. */
size_t utf8_step(const char *p, size_t n);
/* How many of the n bytes at p are printable ASCII but '"' and '\\', which stand for themselves in a JSON string, before another comes. */
size_t utf8_plain_words(const char *p, size_t n);

#ifdef __SSE2__
/* The same; most strings end within 16 bytes, and the text they are in goes on. */
static inline size_t utf8_plain(const char *p, size_t n)
{
    size_t i = 0;

    for (; n - i >= sizeof(__m128i); i += sizeof(__m128i)) {
        __m128i  v = _mm_loadu_si128((const __m128i *) (const void *) (p + i));
        __m128i  other = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));       /* signed: also bytes from 0x80 on */
        __m128i  marks = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
        unsigned bits = (unsigned) _mm_movemask_epi8(_mm_or_si128(other, marks));

        if (bits != 0) {
            return i + (size_t) __builtin_ctz(bits);
        }
    }
    return i + utf8_plain_words(p + i, n - i);
}
#else
static inline size_t utf8_plain(const char *p, size_t n) { return utf8_plain_words(p, n); }
#endif

#endif
