#include "si_json.h"

typedef struct {
    si_json_t  *j;
    const char *p, *end;
} reader_t;

static bool read_value(reader_t *r, unsigned depth);

/* UTF-8 (RFC 3629 section 4): the length of the code point at p, 0 if it is none. */
static size_t utf8_length(const char *text, const char *end)
{
    const uint8_t *p = (const uint8_t *) text;
    size_t         n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

    if (n == 0 || n > (size_t) (end - text)) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return n;
}

static size_t utf8_put(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char) c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char) (0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char) (0xf00 >> n | c);
    return n;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;

    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int  d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

        if (d < 0) {
            return -1;
        }
        v = v << 4 | d;
    }
    return v;
}

/* The escape at p, which is behind the backslash. Bytes of the text it takes, 0: it is none; *c is what it says. */
static size_t escape(const char *p, const char *end, uint32_t *c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char       *s;
    int               hi, lo;

    if (p == end) {
        return 0;
    }
    if (*p != 'u') {
        s = *p != '\0' ? strchr(from, *p) : NULL;
        *c = s ? (uint8_t) to[s - from] : 0;
        return s ? 1 : 0;
    }
    hi = hex4(p + 1, end);
    if (hi <= 0 || (hi >= 0xdc00 && hi < 0xe000)) {
        return 0;
    }
    *c = (uint32_t) hi;
    if (hi < 0xd800 || hi >= 0xe000) {
        return 5;
    }
    lo = end - p > 7 && p[5] == '\\' && p[6] == 'u' ? hex4(p + 7, end) : -1;
    if (lo < 0xdc00 || lo >= 0xe000) {
        return 0;
    }
    *c = 0x10000 + (((uint32_t) hi & 0x3ff) << 10 | ((uint32_t) lo & 0x3ff));
    return 11;
}

static void skip_space(reader_t *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r')) {
        r->p++;
    }
}

static bool take(reader_t *r, char c)
{
    skip_space(r);
    if (r->p == r->end || *r->p != c) {
        return false;
    }
    r->p++;
    return true;
}

static si_json_value_t *add(reader_t *r, si_json_type_t type)
{
    si_json_t *j = r->j;

    if (j->count == j->max) {
        return NULL;
    }
    j->v[j->count] = (si_json_value_t) { .at = (uint32_t) (r->p - j->text), .type = (uint8_t) type };
    return &j->v[j->count++];
}

static bool done(reader_t *r, si_json_value_t *v)
{
    v->len = (uint32_t) (r->p - r->j->text) - v->at;
    v->next = r->j->count;
    return true;
}

static bool read_string(reader_t *r)
{
    si_json_value_t *v;
    uint32_t         c;
    size_t           n;

    if (!take(r, '"') || (v = add(r, SI_JSON_STRING)) == NULL) {
        return false;
    }
    while (r->p < r->end && *r->p != '"') {
        if ((uint8_t) *r->p < 0x20) {
            return false;
        }
        if (*r->p == '\\') {
            v->escaped = true;
            r->p++;
            n = escape(r->p, r->end, &c);
        } else {
            n = utf8_length(r->p, r->end);
        }
        if (n == 0) {
            return false;
        }
        r->p += n;
    }
    return r->p < r->end && done(r, v) && r->p++ < r->end;
}

static size_t digits(reader_t *r)
{
    const char *from = r->p;

    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
        r->p++;
    }
    return (size_t) (r->p - from);
}

static bool read_number(reader_t *r)
{
    si_json_value_t *v = add(r, SI_JSON_NUMBER);
    const char      *from;

    if (v == NULL) {
        return false;
    }
    r->p += *r->p == '-';
    from = r->p;
    if (digits(r) == 0 || (*from == '0' && r->p - from > 1)) {
        return false;
    }
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        if (digits(r) == 0) {
            return false;
        }
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        r->p++;
        r->p += r->p < r->end && (*r->p == '+' || *r->p == '-');
        if (digits(r) == 0) {
            return false;
        }
    }
    return done(r, v);
}

static bool read_word(reader_t *r, const char *word, si_json_type_t type)
{
    si_json_value_t *v = add(r, type);
    size_t           n = strlen(word);

    if (v == NULL || (size_t) (r->end - r->p) < n || memcmp(r->p, word, n) != 0) {
        return false;
    }
    r->p += n;
    return done(r, v);
}

static bool same_name(const si_json_t *j, const si_json_value_t *a, const si_json_value_t *b)
{
    char      x[SI_JSON_NAME];
    ptrdiff_t n;

    if (!a->escaped && !b->escaped) {
        return a->len == b->len && memcmp(j->text + a->at, j->text + b->at, a->len) == 0;
    }
    n = si_json_string(j, a, x, sizeof(x));
    return n >= 0 && si_json_is(j, b, x, (size_t) n);
}

/* The name at index `name` of the object at index `object` is a new one, and not too long. */
static bool name_is_new(const si_json_t *j, uint32_t object, uint32_t name)
{
    char x[SI_JSON_NAME];

    if (si_json_string(j, &j->v[name], x, sizeof(x)) < 0) {
        return false;
    }
    for (uint32_t i = object + 1; i < name; i = j->v[i + 1].next) {
        if (same_name(j, &j->v[i], &j->v[name])) {
            return false;
        }
    }
    return true;
}

static bool read_member(reader_t *r, uint32_t object, unsigned depth)
{
    uint32_t name = r->j->count;

    return read_string(r) && name_is_new(r->j, object, name) && take(r, ':') && read_value(r, depth);
}

/* An object or an array; r is at its bracket. */
static bool read_group(reader_t *r, si_json_type_t type, unsigned depth)
{
    char             close = type == SI_JSON_OBJECT ? '}' : ']';
    uint32_t         self = r->j->count;
    si_json_value_t *v = add(r, type);

    if (v == NULL || depth == SI_JSON_DEPTH) {
        return false;
    }
    r->p++;
    if (take(r, close)) {
        return done(r, v);
    }
    do {
        if (type == SI_JSON_OBJECT ? !read_member(r, self, depth + 1) : !read_value(r, depth + 1)) {
            return false;
        }
    } while (take(r, ','));
    return take(r, close) && done(r, v);
}

static bool read_value(reader_t *r, unsigned depth)
{
    skip_space(r);
    if (r->p == r->end) {
        return false;
    }
    switch (*r->p) {
    case '{':
        return read_group(r, SI_JSON_OBJECT, depth);
    case '[':
        return read_group(r, SI_JSON_ARRAY, depth);
    case '"':
        return read_string(r);
    case 't':
        return read_word(r, "true", SI_JSON_TRUE);
    case 'f':
        return read_word(r, "false", SI_JSON_FALSE);
    case 'n':
        return read_word(r, "null", SI_JSON_NULL);
    default:
        return read_number(r);
    }
}

bool si_json_read(si_json_t *j, const char *text, size_t n, si_json_value_t *v, uint32_t max)
{
    reader_t r = { j, text, text + n };

    *j = (si_json_t) { .text = text, .n = n, .v = v, .max = max };
    if (n > SI_JSON_TEXT || !read_value(&r, 0)) {
        return false;
    }
    skip_space(&r);
    return r.p == r.end;
}

const si_json_value_t *si_json_get(const si_json_t *j, const si_json_value_t *object, const char *name)
{
    if (object == NULL || object->type != SI_JSON_OBJECT) {
        return NULL;
    }
    for (uint32_t i = (uint32_t) (object - j->v) + 1; i < object->next; i = j->v[i + 1].next) {
        if (si_json_is(j, &j->v[i], name, strlen(name))) {
            return &j->v[i + 1];
        }
    }
    return NULL;
}

const si_json_value_t *si_json_first(const si_json_t *j, const si_json_value_t *array)
{
    uint32_t i = array ? (uint32_t) (array - j->v) + 1 : 0;

    return array && array->type == SI_JSON_ARRAY && i < array->next ? &j->v[i] : NULL;
}

const si_json_value_t *si_json_after(const si_json_t *j, const si_json_value_t *array, const si_json_value_t *element)
{
    return element->next < array->next ? &j->v[element->next] : NULL;
}

ptrdiff_t si_json_string(const si_json_t *j, const si_json_value_t *v, char *out, size_t cap)
{
    const char *p, *end;
    size_t      n = 0;

    if (v == NULL || v->type != SI_JSON_STRING) {
        return -1;
    }
    for (p = j->text + v->at, end = p + v->len; p < end; ) {
        char     c[4] = { *p };
        size_t   more = 1, used = 1;
        uint32_t code = 0;

        if (*p == '\\') {
            used += escape(p + 1, end, &code);
            more = utf8_put(c, code);
        }
        if (more > cap - n) {
            return -1;
        }
        memcpy(out + n, c, more);
        n += more;
        p += used;
    }
    return (ptrdiff_t) n;
}

bool si_json_is(const si_json_t *j, const si_json_value_t *v, const char *z, size_t n)
{
    char      x[SI_JSON_NAME];
    ptrdiff_t len;

    if (v == NULL || v->type != SI_JSON_STRING) {
        return false;
    }
    if (!v->escaped) {
        return v->len == n && memcmp(j->text + v->at, z, n) == 0;
    }
    len = si_json_string(j, v, x, sizeof(x));
    return len >= 0 && (size_t) len == n && memcmp(x, z, n) == 0;
}

bool si_json_whole(const si_json_t *j, const si_json_value_t *v, int64_t *out)
{
    const char *p, *end;
    int64_t     n = 0;
    bool        minus;

    if (v == NULL || v->type != SI_JSON_NUMBER) {
        return false;
    }
    p = j->text + v->at;
    end = p + v->len;
    minus = *p == '-';
    p += minus;
    for (int i = 0; p < end && *p >= '0' && *p <= '9'; p++, i++) {
        if (i == 15) {
            return false;
        }
        n = 10 * n + (*p - '0');
    }
    *out = minus ? -n : n;
    return memchr(p, 'e', (size_t) (end - p)) == NULL && memchr(p, 'E', (size_t) (end - p)) == NULL;
}

static int sextet(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '-' ? 62 : c == '_' ? 63 : -1;
}

ptrdiff_t si_base64url(uint8_t *out, size_t cap, const char *p, size_t n)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t   len = 0;

    if (n % 4 == 1 || n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0) > cap) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        int d = sextet(p[i]);

        if (d < 0) {
            return -1;
        }
        bits = (bits << 6 | (uint32_t) d) & 0xffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[len++] = (uint8_t) (bits >> have);
        }
    }
    return (bits & ((1u << have) - 1)) == 0 ? (ptrdiff_t) len : -1;
}
