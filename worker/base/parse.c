#include "base/util.h"

int parse_u64(str_t s, uint64_t *out)
{
    uint64_t v = 0;

    if (s.n == 0) {
        return SI_EINVAL;
    }
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned) (unsigned char) s.p[i] - '0';

        if (digit > 9 || v > UINT64_MAX / 10 || v * 10 > UINT64_MAX - digit) {
            return SI_EINVAL;
        }
        v = v * 10 + digit;
    }
    *out = v;
    return SI_OK;
}

int parse_decimal(str_t s, unsigned places, uint64_t *out)
{
    const char *dot = s.n > 0 ? memchr(s.p, '.', s.n) : NULL;
    size_t      whole = dot != NULL ? (size_t) (dot - s.p) : s.n, n = dot != NULL ? s.n - whole - 1 : 0;
    uint64_t    v, rest = 0, unit = 1;

    if (n > places || (dot != NULL && n == 0) || parse_u64((str_t) { s.p, whole }, &v) != SI_OK
        || (n > 0 && parse_u64((str_t) { dot + 1, n }, &rest) != SI_OK)) {
        return SI_EINVAL;
    }
    for (unsigned i = 0; i < places; i++) {
        unit *= 10;
        rest *= i >= n ? 10 : 1;
    }
    if (v > UINT64_MAX / unit || v * unit > UINT64_MAX - rest) {
        return SI_EINVAL;
    }
    *out = v * unit + rest;
    return SI_OK;
}

typedef struct {
    const char *name;
    uint64_t    factor;
} unit_t;

/* A number and one of the units; the first unit that fits the end wins, "" fits all. */
static int parse_unit(str_t s, const unit_t *units, uint64_t *out)
{
    uint64_t v;

    for (const unit_t *u = units; ; u++) {
        size_t n = strlen(u->name);

        if (s.n < n || memcmp(s.p + s.n - n, u->name, n) != 0) {
            continue;
        }
        s.n -= n;
        if (parse_u64(s, &v) != SI_OK || v > UINT64_MAX / u->factor) {
            return SI_EINVAL;
        }
        *out = v * u->factor;
        return SI_OK;
    }
}

int parse_duration(str_t s, uint64_t *ms)
{
    static const unit_t units[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { "", 1 }
    };

    return s.n == 0 ? SI_EINVAL : parse_unit(s, units, ms);
}

int parse_size(str_t s, uint64_t *bytes)
{
    static const unit_t units[] = {
        { "k", 1u << 10 }, { "m", 1u << 20 }, { "g", 1u << 30 }, { "", 1 }
    };

    return s.n == 0 ? SI_EINVAL : parse_unit(s, units, bytes);
}

/* Percent-decodes s. Length, or SI_EINVAL: malformed, a NUL, or no room for the text and its NUL. */
static int percent_decode(str_t s, char *out, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int c = (unsigned char) s.p[i];

        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int hi = s.n - i > 2 ? hex_digit(s.p[i + 1]) : -1;
            int lo = s.n - i > 2 ? hex_digit(s.p[i + 2]) : -1;

            if (hi < 0 || lo < 0) {
                return SI_EINVAL;
            }
            c = hi << 4 | lo;
            i += 2;
        }
        if (c == 0 || n + 1 >= cap) {
            return SI_EINVAL;
        }
        out[n++] = (char) c;
    }
    if (n >= cap || n > INT32_MAX) {
        return SI_EINVAL;
    }
    out[n] = '\0';
    return (int) n;
}

int query_arg(str_t query, const char *name, char *out, size_t cap)
{
    const char *p = query.p, *end = query.n > 0 ? query.p + query.n : p;

    while (p < end) {
        const char *stop = memchr(p, '&', (size_t) (end - p));
        str_t key = { p, (size_t) ((stop ? stop : end) - p) }, value = { "", 0 };
        const char *eq = memchr(key.p, '=', key.n);

        if (eq != NULL) {
            value = (str_t) { eq + 1, (size_t) (key.p + key.n - eq - 1) };
            key.n = (size_t) (eq - key.p);
        }
        if (str_is(key, name)) {
            return percent_decode(value, out, cap);
        }
        p = stop ? stop + 1 : end;
    }
    return SI_ENOENT;
}
