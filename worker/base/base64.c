#include "base/base64.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode(char *out, const unsigned char *p, size_t n, const char *alphabet)
{
    char *to = out;
    size_t i = 0;

    for (; n - i >= 3; i += 3) {
        uint32_t v = (uint32_t) p[i] << 16 | (uint32_t) p[i + 1] << 8 | p[i + 2];

        *to++ = alphabet[v >> 18];
        *to++ = alphabet[v >> 12 & 63];
        *to++ = alphabet[v >> 6 & 63];
        *to++ = alphabet[v & 63];
    }
    if (n - i > 0) {
        uint32_t v = (uint32_t) p[i] << 16 | (n - i == 2 ? (uint32_t) p[i + 1] << 8 : 0);

        *to++ = alphabet[v >> 18];
        *to++ = alphabet[v >> 12 & 63];
        if (n - i == 2) {
            *to++ = alphabet[v >> 6 & 63];
        }
    }
    *to = '\0';
    return (size_t) (to - out);
}

size_t base64_encode(char *out, const void *p, size_t n)
{
    size_t len = encode(out, p, n, standard);

    while (len % 4 != 0) {
        out[len++] = '=';
    }
    out[len] = '\0';
    return len;
}

size_t base64url_encode(char *out, const void *p, size_t n)
{
    return encode(out, p, n, url_safe);
}

static int value_of(char c, const char *alphabet)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == alphabet[62] ? 62 : c == alphabet[63] ? 63 : -1;
}

static ssize_t decode(unsigned char *out, size_t cap, str_t s, const char *alphabet)
{
    size_t len = 0;
    uint32_t bits = 0;
    unsigned nbits = 0;

    if (s.n % 4 == 1) {
        return SI_EINVAL;
    }
    for (size_t i = 0; i < s.n; i++) {
        int v = value_of(s.p[i], alphabet);

        if (v < 0) {
            return SI_EINVAL;
        }
        bits = bits << 6 | (uint32_t) v;
        nbits += 6;
        if (nbits >= 8) {
            nbits -= 8;
            if (len == cap) {
                return SI_EINVAL;
            }
            out[len++] = (unsigned char) (bits >> nbits);
            bits &= (1u << nbits) - 1;
        }
    }
    return bits == 0 ? (ssize_t) len : SI_EINVAL;
}

ssize_t base64_decode(void *out, size_t cap, str_t s)
{
    if (s.n % 4 != 0) {
        return SI_EINVAL;
    }
    for (int pad = 0; pad < 2 && s.n > 0 && s.p[s.n - 1] == '='; pad++) {
        s.n--;
    }
    return decode(out, cap, s, standard);
}

ssize_t base64url_decode(void *out, size_t cap, str_t s)
{
    return decode(out, cap, s, url_safe);
}
