#include "base/json.h"
#include "base/json_scan.h"

/* A byte or an escape within a string, mended; its length there. */
static size_t put_character(buf_t *out, const char *p, const char *end)
{
    size_t   n = *p == '\\' ? SI_MIN((size_t) (end - p), (size_t) 2) : 1;
    uint32_t high, low;

    if (n == 2 && p[1] == 'u') {
        high = scan_unit(p + 2, end);
        low = end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? scan_unit(p + 8, end) : SCAN_NO_UNIT;
        n = high >= 0xd800 && high < 0xdc00 && low >= 0xdc00 && low < 0xe000 ? 12 : SI_MIN((size_t) (end - p), (size_t) 6);
        if (n == 6 && (high == 0 || (high >= 0xd800 && high < 0xe000))) {
            (void) buf_puts(out, "\\ufffd");
            return n;
        }
    }
    (void) buf_append(out, p, n);
    return n;
}

/* A number, made a real when it is an integer that 64 bits cannot hold; its length. */
static size_t put_number(buf_t *out, const char *p, const char *end)
{
    static const char ends[2][20] = { "9223372036854775807", "9223372036854775808" };
    size_t n, sign = *p == '-', whole;

    for (n = sign; p + n < end && p[n] >= '0' && p[n] <= '9'; n++) {
    }
    whole = n - sign;
    (void) buf_append(out, p, n);
    if (p + n < end && (p[n] == '.' || p[n] == 'e' || p[n] == 'E')) {
        return n;                       /* the rest is copied as it stands */
    }
    if (whole >= sizeof ends[0] || (whole == sizeof ends[0] - 1 && memcmp(p + sign, ends[sign], whole) > 0)) {
        (void) buf_puts(out, ".0");
    }
    return n;
}

static void mend(buf_t *out, str_t text)
{
    const char *p = text.p, *end = text.p + text.n;
    bool        string = false, number = false;

    while (p < end) {
        bool digit = *p >= '0' && *p <= '9';

        if (string && *p != '"') {
            p += put_character(out, p, end);
        } else if (!string && !number && (digit || *p == '-')) {
            number = true;
            p += put_number(out, p, end);
        } else {
            string = string != (*p == '"');
            number = number && (digit || strchr(".eE+-", *p) != NULL);
            (void) buf_append(out, p++, 1);
        }
    }
}

json_t *json_parse_loose(arena_t *a, str_t text, const char **err)
{
    json_t *v = json_parse(a, text, err);
    buf_t   mended;

    if (v != NULL || text.n == 0 || strstr(*err, "nested deeper") != NULL) {
        return v;
    }
    buf_init(&mended, 6 * text.n);
    mend(&mended, text);
    v = json_loadb(mended.p, mended.n, JSON_DECODE_ANY, NULL);
    buf_free(&mended);
    return v;
}
