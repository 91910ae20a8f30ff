#include "base/json_read.h"

#include <errno.h>

#include "base/json.h"
#include "base/json_scan.h"

#define NUMBER_MAX  63          /* bytes of a number */
#define FEW_DIGITS  15          /* make a number below 2^53 in any case */

typedef struct {
    scan_t at;
    char  *text;                /* what the last copied string stands for */
    size_t room;
} reader_t;

static json_t *read_value(reader_t *r, unsigned depth);

/* Into r->text with a NUL behind it, until the next; its length. */
static size_t copy(reader_t *r, const scan_text_t *t)
{
    size_t n = t->raw.n;

    if (n >= r->room) {
        free(r->text);
        r->room = 2 * n + 64;   /* doubled: many long ones cost no more than their bytes */
        r->text = si_malloc(r->room);
    }
    if (t->escaped) {
        n = scan_unescape(t->raw, r->text);
    } else {
        memcpy(r->text, t->raw.p, n);
    }
    r->text[n] = '\0';
    return n;
}

static json_t *read_string(reader_t *r)
{
    scan_text_t t;
    size_t      n;

    if (!scan_text(&r->at, &t)) {
        return NULL;
    }
    if (!t.escaped) {
        return json_stringn_nocheck(t.raw.p, t.raw.n);
    }
    n = copy(r, &t);
    return json_stringn_nocheck(r->text, n);
}

static size_t digits(const char *p)
{
    size_t n = 0;

    while (p[n] >= '0' && p[n] <= '9') {
        n++;
    }
    return n;
}

/* Length of the number (RFC 8259, section 6) that a text with NUL begins with, and whether it has a fraction or an exponent; 0: it is none. */
static size_t number_len(const char *p, bool *real)
{
    size_t n = *p == '-', more = digits(p + n);

    if (more == 0 || (more > 1 && p[n] == '0')) {
        return 0;
    }
    n += more;
    *real = p[n] == '.' || p[n] == 'e' || p[n] == 'E';
    if (p[n] == '.') {
        more = digits(p + n + 1);
        n += 1 + more;
    }
    if (more > 0 && (p[n] == 'e' || p[n] == 'E')) {
        n += p[n + 1] == '+' || p[n + 1] == '-' ? 2 : 1;
        more = digits(p + n);
        n += more;
    }
    return more > 0 ? n : 0;
}

/*
 * A real without exponent, of few digits: they make an integer below 2^53, that and a power of ten up to 10^22 are doubles, and
 * a quotient of doubles is rounded correctly (IEEE 754). False: it is left to strtod().
 */
static bool few_digits(const char *p, size_t n, double *out)
{
    static const double tens[] = { 1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15 };
    bool     minus = *p == '-';
    size_t   whole = digits(p + minus), places = n - minus - whole - 1;
    uint64_t v = 0;

    if (p[minus + whole] != '.' || digits(p + minus + whole + 1) != places || whole + places > FEW_DIGITS) {
        return false;
    }
    for (const char *end = p + n, *at = p + minus; at < end; at++) {
        v = *at != '.' ? 10 * v + (uint64_t) (*at - '0') : v;
    }
    *out = (minus ? -(double) v : (double) v) / tens[places];
    return true;
}

static json_t *read_real(const char *text, size_t n)
{
    double v;

    if (!few_digits(text, n, &v)) {
        v = strtod(text, NULL);
    }
    return json_real(v);                /* NULL of what is infinite */
}

static json_t *read_number(reader_t *r)
{
    char      text[NUMBER_MAX + 1];
    bool      real;
    size_t    n = SI_MIN((size_t) (r->at.end - r->at.p), (size_t) NUMBER_MAX);
    long long v;

    memcpy(text, r->at.p, n);
    text[n] = '\0';
    n = number_len(text, &real);
    if (n == 0 || n == NUMBER_MAX) {
        return NULL;
    }
    r->at.p += n;
    if (real) {
        return read_real(text, n);
    }
    errno = 0;
    v = strtoll(text, NULL, 10);
    return errno == 0 ? json_integer(v) : NULL;
}

static json_t *read_list(reader_t *r, unsigned depth)
{
    json_t *list = json_array();
    bool    good = true;

    r->at.p++;
    if (scan_byte(&r->at, ']')) {
        return list;
    }
    do {
        good = json_array_append_new(list, read_value(r, depth)) == 0;
    } while (good && scan_byte(&r->at, ','));
    if (good && scan_byte(&r->at, ']')) {
        return list;
    }
    json_decref(list);
    return NULL;
}

static int set_member(reader_t *r, json_t *o, const scan_text_t *name, json_t *v)
{
#if JANSSON_VERSION_HEX >= 0x020E00
    if (!name->escaped) {       /* needs no NUL behind it */
        return json_object_setn_new_nocheck(o, name->raw.p, name->raw.n, v);
    }
#endif
    (void) copy(r, name);
    return json_object_set_new_nocheck(o, r->text, v);
}

/* "name": value. A name that was there already leaves the object as large as it was. */
static bool read_member(reader_t *r, json_t *o, unsigned depth)
{
    size_t      size = json_object_size(o);
    scan_text_t name;
    json_t     *v;

    if (!scan_text(&r->at, &name) || !scan_byte(&r->at, ':')) {
        return false;
    }
    v = read_value(r, depth);
    return set_member(r, o, &name, v) == 0 && json_object_size(o) > size;
}

static json_t *read_object(reader_t *r, unsigned depth)
{
    json_t *o = json_object();
    bool    good = true;

    r->at.p++;
    if (scan_byte(&r->at, '}')) {
        return o;
    }
    do {
        good = read_member(r, o, depth);
    } while (good && scan_byte(&r->at, ','));
    if (good && scan_byte(&r->at, '}')) {
        return o;
    }
    json_decref(o);
    return NULL;
}

static json_t *word(reader_t *r, str_t text, json_t *v)
{
    return scan_word(&r->at, text) ? v : NULL;
}

/* depth: of the lists and objects around it. NULL is refused by jansson's functions, too, which are given it above. */
static json_t *read_value(reader_t *r, unsigned depth)
{
    scan_space(&r->at);
    if (r->at.p == r->at.end) {
        return NULL;
    }
    switch (*r->at.p) {
    case '"':
        return read_string(r);
    case '{':
        return depth < JSON_DEPTH_MAX ? read_object(r, depth + 1) : NULL;
    case '[':
        return depth < JSON_DEPTH_MAX ? read_list(r, depth + 1) : NULL;
    case 't':
        return word(r, STR("true"), json_true());
    case 'f':
        return word(r, STR("false"), json_false());
    case 'n':
        return word(r, STR("null"), json_null());
    default:
        return read_number(r);
    }
}

json_t *json_read(str_t text)
{
    reader_t r = { .at = { text.p, text.p + text.n } };
    json_t  *v = text.n > 0 ? read_value(&r, 0) : NULL;

    scan_space(&r.at);
    if (r.at.p != r.at.end) {
        json_decref(v);
        v = NULL;
    }
    free(r.text);
    return v;
}
