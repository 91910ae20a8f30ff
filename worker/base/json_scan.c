#include "base/json_scan.h"

uint32_t scan_unit(const char *p, const char *end)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++) {
        int digit = p + i < end ? hex_digit(p[i]) : -1;

        if (digit < 0) {
            return SCAN_NO_UNIT;
        }
        v = v << 4 | (uint32_t) digit;
    }
    return v;
}

/* The character that an escape with u at p stands for, and its length in *n; 0: none, or half of a pair. */
static uint32_t character(const char *p, const char *end, size_t *n)
{
    uint32_t v = scan_unit(p + 2, end), low;

    *n = 6;
    if (v < 0xd800 || v > 0xdfff) {
        return v != SCAN_NO_UNIT ? v : 0;
    }
    low = end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? scan_unit(p + 8, end) : SCAN_NO_UNIT;
    *n = 12;
    return v < 0xdc00 && low >= 0xdc00 && low <= 0xdfff ? 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00) : 0;
}

/* The length of the escape at p, or 0 when it is none. */
static size_t escape_len(const char *p, const char *end)
{
    size_t n;

    if (end - p < 2) {
        return 0;
    }
    if (p[1] == 'u') {
        return character(p, end, &n) != 0 ? n : 0;
    }
    return p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL ? 2 : 0;
}

bool scan_text_rest(scan_t *s, size_t n, scan_text_t *out)
{
    const char *p = s->p + n;

    out->escaped = false;
    while (p < s->end && *p != '"') {
        out->escaped = out->escaped || *p == '\\';
        n = *p == '\\' ? escape_len(p, s->end) : (unsigned char) *p < 0x20 ? 0 : utf8_step(p, (size_t) (s->end - p));
        if (n == 0) {
            return false;
        }
        p += n;
        p += utf8_plain(p, (size_t) (s->end - p));
    }
    out->raw = (str_t) { s->p, (size_t) (p - s->p) };
    s->p = p + 1;
    return p < s->end;
}

static size_t put_utf8(char *to, uint32_t v)
{
    static const unsigned char marks[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;

    for (size_t i = n - 1; i > 0; i--, v >>= 6) {
        to[i] = (char) (0x80 | (v & 0x3f));
    }
    to[0] = (char) (n == 1 ? v : (marks[n] | v));
    return n;
}

/* What an escape with this letter behind the backslash stands for. */
static char meant(char letter)
{
    switch (letter) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return letter;
    }
}

/* An escape is longer than its character. */
size_t scan_unescape(str_t raw, char *to)
{
    const char *p = raw.p, *end = raw.p + raw.n;
    size_t      n = 0, len;

    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t) (end - p));

        len = (size_t) ((escape != NULL ? escape : end) - p);
        memcpy(to + n, p, len);
        n += len;
        p += len;
        if (escape == NULL) {
            break;
        }
        if (p[1] == 'u') {
            n += put_utf8(to + n, character(p, end, &len));
            p += len;
        } else {
            to[n++] = meant(p[1]);
            p += 2;
        }
    }
    return n;
}
