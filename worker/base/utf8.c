#include "base/utf8.h"

#include "base/util.h"

/* Bytes that a sequence with this first byte has; 0 if none begins so. */
static size_t sequence_len(unsigned char c)
{
    if (c < 0x80) {
        return 1;
    }
    if (c >= 0xc2 && c <= 0xdf) {
        return 2;
    }
    if (c >= 0xe0 && c <= 0xef) {
        return 3;
    }
    return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

size_t utf8_step(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *) text;
    size_t len = sequence_len(p[0]);

    if (len == 0 || len > n) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)
        || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
    {
        return 0;       /* overlong, surrogate, above U+10FFFF */
    }
    return len;
}

#define EACH(byte)  ((byte) * 0x0101010101010101ull)

size_t utf8_plain_words(const char *p, size_t n)
{
    size_t   i = 0;
    uint64_t v;

    /* Eight at once: the top bit of a byte is set in v beyond ASCII, and in a difference when the byte is less. */
    for (; i + sizeof v <= n; i += sizeof v) {
        memcpy(&v, p + i, sizeof v);
        if (((v | (v - EACH(0x20)) | ((v ^ EACH('"')) - EACH(1)) | ((v ^ EACH('\\')) - EACH(1))) & EACH(0x80)) != 0) {
            break;
        }
    }
    while (i < n && (signed char) p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
        i++;
    }
    return i;
}

bool utf8_valid(str_t s)
{
    for (size_t i = 0; i < s.n; ) {
        size_t len = utf8_step(s.p + i, s.n - i);

        if (len == 0 || s.p[i] == '\0') {
            return false;
        }
        i += len;
    }
    return true;
}

size_t utf8_cut(const char *p, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char) p[n - back];

        if ((c & 0xc0) != 0x80) {
            return sequence_len(c) > back ? n - back : n;
        }
    }
    return n;
}

size_t token_estimate(str_t s)
{
    return s.n / 4 + (s.n % 4 != 0);
}
