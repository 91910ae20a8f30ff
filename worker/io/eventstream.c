#include "io/eventstream.h"

#include "base/util.h"

#define PRELUDE   12u           /* bytes: two lengths and their checksum */
#define OVERHEAD  16u           /* PRELUDE and the checksum at the end */

static uint64_t big_endian(const char *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++) {
        v = v << 8 | (uint8_t) p[i];
    }
    return v;
}

static uint32_t u32_at(const char *p)
{
    return (uint32_t) big_endian(p, 4);
}

/* ---- headers ---- */

/* The first n bytes of *rest, which lose them; false when there are fewer. */
static bool take(str_t *rest, size_t n, str_t *out)
{
    if (rest->n < n) {
        return false;
    }
    *out = (str_t) { rest->p, n };
    rest->p += n;
    rest->n -= n;
    return true;
}

/* Bytes behind a length of `size` bytes. */
static bool take_counted(str_t *rest, size_t size, str_t *out)
{
    str_t length;

    return take(rest, size, &length) && take(rest, (size_t) big_endian(length.p, size), out);
}

/* A number with a sign, of n bytes. */
static bool take_number(str_t *rest, size_t n, int64_t *out)
{
    str_t    s;
    unsigned unused = 64 - 8 * (unsigned) n;

    if (!take(rest, n, &s)) {
        return false;
    }
    *out = (int64_t) (big_endian(s.p, n) << unused) >> unused;
    return true;
}

static bool take_value(str_t *rest, es_header_t *h)
{
    switch (h->type) {
    case ES_TRUE:
    case ES_FALSE:
        h->number = h->type == ES_TRUE;
        return true;
    case ES_BYTE:
        return take_number(rest, 1, &h->number);
    case ES_SHORT:
        return take_number(rest, 2, &h->number);
    case ES_INTEGER:
        return take_number(rest, 4, &h->number);
    case ES_LONG:
    case ES_TIMESTAMP:
        return take_number(rest, 8, &h->number);
    case ES_BYTES:
        return take_counted(rest, 2, &h->bytes);
    case ES_STRING:
        return take_counted(rest, 2, &h->bytes) && utf8_valid(h->bytes);
    case ES_UUID:
        return take(rest, 16, &h->bytes);
    }
    return false;                       /* another type */
}

int es_next(str_t *rest, es_header_t *h)
{
    str_t type;

    if (rest->n == 0) {
        return 0;
    }
    memset(h, 0, sizeof *h);
    if (!take_counted(rest, 1, &h->name) || h->name.n == 0 || !utf8_valid(h->name) || !take(rest, 1, &type)) {
        return SI_EPROTO;
    }
    h->type = (es_type_t) (uint8_t) type.p[0];
    return take_value(rest, h) ? 1 : SI_EPROTO;
}

str_t es_string(const es_message_t *m, const char *name)
{
    str_t       rest = m->headers;
    es_header_t h;

    while (es_next(&rest, &h) == 1) {
        if (h.type == ES_STRING && str_is(h.name, name)) {
            return h.bytes;
        }
    }
    return STR_NULL;
}

/* Does a header before this one have its name? */
static bool is_repeated(str_t headers, const es_header_t *h)
{
    es_header_t earlier;

    while (es_next(&headers, &earlier) == 1 && earlier.name.p != h->name.p) {
        if (str_eq(earlier.name, h->name)) {
            return true;
        }
    }
    return false;
}

/* NULL, or what is wrong. */
static const char *check_headers(str_t headers)
{
    es_header_t h;
    str_t       rest = headers;
    size_t      count = 0;
    int         rc;

    while ((rc = es_next(&rest, &h)) == 1) {
        if (++count > ES_COUNT_MAX) {
            return "a message has too many headers";
        }
        if (is_repeated(headers, &h)) {
            return "a header comes twice";
        }
    }
    return rc == 0 ? NULL : "a header is malformed";
}

/* ---- messages ---- */

void eventstream_init(eventstream_t *s, size_t max)
{
    s->max = SI_MIN(max, (size_t) ES_PAYLOAD_MAX);
    s->why = NULL;
    buf_init(&s->in, OVERHEAD + ES_HEADERS_MAX + s->max);
}

void eventstream_free(eventstream_t *s)
{
    buf_free(&s->in);
}

bool eventstream_between(const eventstream_t *s)
{
    return s->in.n == 0;
}

/* NULL, or what is wrong with the first PRELUDE bytes. */
static const char *check_prelude(const eventstream_t *s)
{
    const char *p = s->in.p;
    size_t      whole = u32_at(p), headers = u32_at(p + 4);

    if (u32_at(p + 8) != crc32_of(p, 8)) {
        return "the checksum of a prelude does not match";
    }
    if (headers > ES_HEADERS_MAX) {
        return "the headers of a message are too long";
    }
    if (whole < OVERHEAD + headers) {
        return "the lengths of a message contradict each other";
    }
    return whole - OVERHEAD - headers > s->max ? "the payload of a message is too long" : NULL;
}

/* Of a message that is complete: NULL and *m, or what is wrong. */
static const char *take_message(const eventstream_t *s, es_message_t *m)
{
    const char *p = s->in.p;
    size_t      n = s->in.n, headers = u32_at(p + 4);

    if (u32_at(p + n - 4) != crc32_of(p, n - 4)) {
        return "the checksum of a message does not match";
    }
    m->headers = (str_t) { p + PRELUDE, headers };
    m->payload = (str_t) { p + PRELUDE + headers, n - OVERHEAD - headers };
    return check_headers(m->headers);
}

/* Bytes that are held when the next step can be done: the prelude, or the whole message. */
static size_t wanted(const eventstream_t *s)
{
    return s->in.n < PRELUDE ? PRELUDE : u32_at(s->in.p);
}

int eventstream_feed(eventstream_t *s, const char *p, size_t n, int (*fn)(const es_message_t *m, void *arg), void *arg)
{
    es_message_t m;
    int          rc = SI_OK;

    while (rc == SI_OK && s->why == NULL && n > 0) {
        size_t piece = SI_MIN(wanted(s) - s->in.n, n);

        if (buf_append(&s->in, p, piece) != 0) {
            si_die("eventstream: a message is longer than was checked");
        }
        p += piece;
        n -= piece;
        if (s->in.n == PRELUDE) {
            s->why = check_prelude(s);
        } else if (s->in.n == wanted(s)) {
            s->why = take_message(s, &m);
            rc = s->why == NULL ? fn(&m, arg) : rc;
            buf_consume(&s->in, s->in.n);
        }
    }
    return s->why != NULL ? SI_EPROTO : rc;
}
