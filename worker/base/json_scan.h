/*
 * A walk over a JSON text (RFC 8259) that needs no tree: each function skips white space, then takes what it is called for
 * or says no. After a no the place is of no use: who was refused begins anew with a parser that says what is wrong.
 */
#ifndef SI_JSON_SCAN_H
#define SI_JSON_SCAN_H

#include "base/utf8.h"

typedef struct {
    const char *p, *end;
} scan_t;

/* A string between its quotes, within the text. */
typedef struct {
    str_t raw;
    bool  escaped;          /* it has escapes: scan_unescape() says what it stands for */
} scan_text_t;

#define SCAN_NO_UNIT  0x10000u

/* The four hexadecimal digits at p, or SCAN_NO_UNIT. */
uint32_t scan_unit(const char *p, const char *end);
/* scan_text() behind the quote and n plain bytes. */
bool   scan_text_rest(scan_t *s, size_t n, scan_text_t *out);
/* What such a string stands for, into `to`, which has room for raw.n bytes. Its length. */
size_t scan_unescape(str_t raw, char *to);

static inline void scan_space(scan_t *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) {
        s->p++;
    }
}

/* The next byte that is no space, if it is c. */
static inline bool scan_byte(scan_t *s, char c)
{
    scan_space(s);
    if (s->p == s->end || *s->p != c) {
        return false;
    }
    s->p++;
    return true;
}

/* Valid strings only: UTF-8, no raw control, every escape whole, neither NUL nor half of a surrogate pair. Most are plain to their end. */
static inline bool scan_text(scan_t *s, scan_text_t *out)
{
    size_t n;

    if (!scan_byte(s, '"')) {
        return false;
    }
    n = utf8_plain(s->p, (size_t) (s->end - s->p));
    if (s->p + n == s->end || s->p[n] != '"') {
        return scan_text_rest(s, n, out);
    }
    *out = (scan_text_t) { { s->p, n }, false };
    s->p += n + 1;
    return true;
}

/* null, true or false; what must come behind a word is for the caller to take. */
static inline bool scan_word(scan_t *s, str_t word)
{
    scan_space(s);
    if ((size_t) (s->end - s->p) < word.n || memcmp(s->p, word.p, word.n) != 0) {
        return false;
    }
    s->p += word.n;
    return true;
}

/* A whole number of at most 15 digits. */
static inline bool scan_count(scan_t *s, uint64_t *out)
{
    const char *from;

    scan_space(s);
    *out = 0;
    for (from = s->p; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++) {
        *out = *out * 10 + (uint64_t) (*s->p - '0');
        if (s->p - from >= 15 || (s->p > from && *from == '0')) {
            return false;
        }
    }
    return s->p > from;
}

#endif
