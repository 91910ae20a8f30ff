/* The event-stream decoder: all vectors of botocore and smithy-rs, whole and in pieces of any size, and its bounds. */
#include "io/eventstream.h"

#include "base/json.h"
#include "base/util.h"
#include "tap.h"

#define TYPES  10

static arena_t *arena;

static const char *const type_names[TYPES] = {
    "bool_true", "bool_false", "byte", "short", "integer", "long", "byte_array", "string", "timestamp", "uuid",
};

/* ---- what came, in the form of expected.json ---- */

static json_t *hex(str_t s)
{
    char *text = arena_alloc(arena, 2 * s.n + 1);

    hex_encode(text, s.p, s.n);
    return json_string(text);
}

static json_t *header_json(const es_header_t *h)
{
    json_t *o = json_object();

    json_object_set_new(o, "name", json_stringn(h->name.p, h->name.n));
    json_object_set_new(o, "type", json_string(type_names[h->type]));
    if (h->type == ES_BYTES || h->type == ES_UUID) {
        json_object_set_new(o, "value_hex", hex(h->bytes));
    } else if (h->type == ES_STRING) {
        json_object_set_new(o, "value", json_stringn(h->bytes.p, h->bytes.n));
    } else if (h->type == ES_TRUE || h->type == ES_FALSE) {
        json_object_set_new(o, "value", json_boolean((int) h->number));
    } else {
        json_object_set_new(o, "value", json_integer(h->number));
    }
    return o;
}

static int collect(const es_message_t *m, void *arg)
{
    json_t     *headers = json_array(), *o = json_object();
    str_t       rest = m->headers;
    es_header_t h;

    while (es_next(&rest, &h) == 1) {
        json_array_append_new(headers, header_json(&h));
    }
    json_object_set_new(o, "headers", headers);
    json_object_set_new(o, "payload_hex", hex(m->payload));
    json_array_append_new(arg, o);
    return 0;
}

/* The same members of the expected messages. */
static json_t *wanted_json(const json_t *messages)
{
    json_t *all = json_array(), *m;
    size_t  i;

    json_array_foreach(messages, i, m) {
        json_array_append_new(all, json_pack("{s:O,s:O}", "headers", json_object_get(m, "headers"),
                                             "payload_hex", json_object_get(m, "payload_hex")));
    }
    return all;
}

/* ---- feeding ---- */

/* Pieces of `step` bytes (0: whole), each in memory of its own, so that a sanitizer sees any step beyond it. */
static int feed(eventstream_t *s, str_t in, size_t step, json_t *got)
{
    int rc = 0;

    for (size_t at = 0; at < in.n && rc == 0; ) {
        size_t n = step == 0 ? in.n : SI_MIN(step, in.n - at);
        char  *piece = si_malloc(n);

        memcpy(piece, in.p + at, n);
        rc = eventstream_feed(s, piece, n, collect, got);
        free(piece);
        at += n;
    }
    return rc;
}

/* All messages in pieces of `step` bytes are as wanted, and nothing is left. */
static bool decodes(str_t in, size_t step, const json_t *want)
{
    eventstream_t s;
    json_t       *got = json_array();
    bool          good;

    eventstream_init(&s, ES_PAYLOAD_MAX);
    good = feed(&s, in, step, got) == 0 && eventstream_between(&s) && s.why == NULL && json_equal(got, want);
    eventstream_free(&s);
    json_decref(got);
    return good;
}

/* Refused in pieces of `step` bytes, with nothing handed out, and for good. Returns why. */
static const char *refused(str_t in, size_t step)
{
    eventstream_t s;
    json_t       *got = json_array();
    const char   *why = NULL;

    eventstream_init(&s, ES_PAYLOAD_MAX);
    if (feed(&s, in, step, got) == SI_EPROTO && json_array_size(got) == 0
        && eventstream_feed(&s, "x", 1, collect, got) == SI_EPROTO) {
        why = s.why;
    }
    eventstream_free(&s);
    json_decref(got);
    return why;
}

static void check_decodes(const char *name, str_t in, const json_t *messages)
{
    json_t *want = wanted_json(messages);
    size_t  bad = 0;

    ok(json_array_size(want) > 0 && decodes(in, 0, want), "%s: the expected messages", name);
    for (size_t step = 1; step < in.n; step++) {
        bad += !decodes(in, step, want);
    }
    ok(bad == 0, "%s: in pieces of 1 to %zu bytes", name, in.n);
    json_decref(want);
}

static void check_refused(const char *name, str_t in, const char *part)
{
    const char *why = refused(in, 0);
    size_t      bad = 0;

    if (!ok(why != NULL && strstr(why, part) != NULL, "%s: refused (%s)", name, part)) {
        diag("  says '%s'", why != NULL ? why : "nothing");
    }
    for (size_t step = 1; step < in.n; step++) {
        const char *again = refused(in, step);
        bad += again == NULL || why == NULL || strcmp(again, why) != 0;
    }
    ok(bad == 0, "%s: in pieces of any size", name);
}

/* ---- the corpus ---- */

static str_t read_file(const char *folder, const char *name)
{
    const char *root = getenv("SI_CORPUS");
    char       *path = arena_printf(arena, "%s/eventstream/%s/%s", root != NULL ? root : "../shared/corpus", folder, name);
    FILE       *f = fopen(path, "r");
    buf_t       b;
    char        piece[2048];
    size_t      n;
    str_t       all;

    buf_init(&b, 1u << 20);
    while (f != NULL && (n = fread(piece, 1, sizeof piece, f)) > 0) {
        buf_append(&b, piece, n);
    }
    if (f == NULL) {
        diag("%s cannot be read: set SI_CORPUS to the folder \"corpus\"", path);
    } else {
        fclose(f);
    }
    all = (str_t) { arena_dup(arena, b.n > 0 ? b.p : "", b.n), b.n };
    buf_free(&b);
    return all;
}

/* The message again, with the checksum that its changed headers would need: now the headers themselves are read. */
static void check_with_crc(const char *name, str_t in, const char *crc)
{
    uint32_t length = (uint32_t) (uint8_t) in.p[2] << 8 | (uint8_t) in.p[3];
    char    *copy = arena_dup(arena, in.p, length);
    unsigned long v = strtoul(crc, NULL, 16);

    for (int i = 0; i < 4; i++) {
        copy[length - 4 + (uint32_t) i] = (char) (v >> (24 - 8 * i));
    }
    check_refused(arena_printf(arena, "%s with crc %s", name, crc), (str_t) { copy, length },
                  strcmp(name, "invalid_headers_length") == 0 ? "lengths" : "header is malformed");
}

static void check_case(const char *folder, const json_t *c)
{
    const char *name = json_string_value(json_object_get(c, "file"));
    const char *crc = json_string_value(json_object_get(c, "message_crc_that_would_match"));
    const char *error = json_string_value(json_object_get(c, "error"));
    str_t       in = read_file(folder, name);

    if (error == NULL) {
        check_decodes(name, in, json_object_get(c, "messages"));
        return;
    }
    check_refused(name, in, "");
    if (strstr(error, "checksum") != NULL) {
        const char *where = json_string_value(json_object_get(c, "where"));
        bool        prelude = strstr(error, "prelude") != NULL || (where != NULL && strcmp(where, "prelude") == 0);
        check_refused(name, in, prelude ? "checksum of a prelude" : "checksum of a message");
    }
    if (crc != NULL) {
        check_with_crc(name, in, crc);
    }
}

static str_t concatenated(const char *folder, const json_t *names)
{
    buf_t   b;
    json_t *name;
    size_t  i;
    str_t   all;

    buf_init(&b, 1u << 20);
    json_array_foreach(names, i, name) {
        str_t one = read_file(folder, json_string_value(name));
        buf_append(&b, one.p, one.n);
    }
    all = (str_t) { arena_dup(arena, b.p, b.n), b.n };
    buf_free(&b);
    return all;
}

/* Pieces as the case gives them: nothing comes before the last one. */
static bool feeds_in(str_t in, const json_t *pieces, size_t count)
{
    eventstream_t s;
    json_t       *got = json_array(), *piece;
    size_t        i, at = 0;
    bool          good = true;

    eventstream_init(&s, ES_PAYLOAD_MAX);
    json_array_foreach(pieces, i, piece) {
        size_t n = (size_t) json_integer_value(piece);

        good = good && json_array_size(got) == 0 && feed(&s, (str_t) { in.p + at, n }, 0, got) == 0;
        at += n;
    }
    good = good && at == in.n && json_array_size(got) == count && eventstream_between(&s);
    eventstream_free(&s);
    json_decref(got);
    return good;
}

static void check_stream(const char *folder, const json_t *c)
{
    json_t     *names = json_object_get(c, "concatenate"), *pieces = json_object_get(c, "pieces"), *count = json_object_get(c, "message_count");
    json_t     *messages = json_object_get(c, "messages");
    const char *file = json_string_value(json_object_get(c, "file"));
    str_t       in = names != NULL ? concatenated(folder, names) : read_file(folder, file);
    size_t      n = messages != NULL ? json_array_size(messages) : (size_t) json_integer_value(count), bad = 0;

    if (messages != NULL) {
        check_decodes(file, in, messages);
    }
    if (pieces != NULL) {
        ok(feeds_in(in, pieces, n), "%s in the pieces of the case", file);
    }
    for (size_t step = 0; step <= in.n; step++) {
        eventstream_t s;
        json_t       *got = json_array();

        eventstream_init(&s, ES_PAYLOAD_MAX);
        bad += feed(&s, in, step, got) != 0 || json_array_size(got) != n || !eventstream_between(&s);
        eventstream_free(&s);
        json_decref(got);
    }
    ok(n > 0 && bad == 0, "%s: %zu messages in pieces of any size", file != NULL ? file : "one after the other", n);
}

static void check_corpus(const char *folder, size_t cases)
{
    const char *why;
    json_t     *all = json_own(arena, json_parse(arena, read_file(folder, "expected.json"), &why)), *c;
    size_t      i;

    is_int((long long) json_array_size(json_object_get(all, "cases")), (long long) cases, "cases of the corpus");
    json_array_foreach(json_object_get(all, "cases"), i, c) {
        check_case(folder, c);
    }
    json_array_foreach(json_object_get(all, "streams"), i, c) {
        check_stream(folder, c);
    }
}

/* ---- bounds ---- */

static void put32(buf_t *b, uint32_t v)
{
    char p[4] = { (char) (v >> 24), (char) (v >> 16), (char) (v >> 8), (char) v };

    buf_append(b, p, 4);
}

/* A message with right checksums. */
static void message(buf_t *b, str_t headers, size_t payload)
{
    char *zeros = si_calloc(payload + 1);

    buf_consume(b, b->n);
    put32(b, (uint32_t) (16 + headers.n + payload));
    put32(b, (uint32_t) headers.n);
    put32(b, crc32_of(b->p, 8));
    buf_append(b, headers.p, headers.n);
    buf_append(b, zeros, payload);
    put32(b, crc32_of(b->p, b->n));
    free(zeros);
}

/* n headers of type ES_TRUE with names of three digits. */
static void many_headers(buf_t *b, unsigned n)
{
    buf_consume(b, b->n);
    for (unsigned i = 0; i < n; i++) {
        buf_printf(b, "\x03%03u", i);
        buf_append(b, "", 1);
    }
}

static int count(const es_message_t *m, void *arg)
{
    (void) m;
    ++*(int *) arg;
    return 0;
}

static int feed_max(const buf_t *b, size_t max, int *n)
{
    eventstream_t s;
    int           rc;

    *n = 0;
    eventstream_init(&s, max);
    rc = eventstream_feed(&s, b->p, b->n, count, n);
    eventstream_free(&s);
    return rc;
}

static void check_bounds(void)
{
    static const struct { const char *name; str_t headers; int rc; } cases[] = {
        { "a name of no bytes", { "\x00\x00", 2 }, SI_EPROTO },
        { "a name that is no UTF-8", { "\x01\xff\x00", 3 }, SI_EPROTO },
        { "a string that is no UTF-8", { "\x01" "a\x07\x00\x01\xff", 6 }, SI_EPROTO },
        { "bytes that are no UTF-8", { "\x01" "a\x06\x00\x01\xff", 6 }, 0 },
        { "type 10", { "\x01" "a\x0a", 3 }, SI_EPROTO },
        { "a name without a type", { "\x01" "a", 2 }, SI_EPROTO },
        { "an empty string", { "\x01" "a\x07\x00\x00", 5 }, 0 },
        { "half a uuid", { "\x01" "a\x09" "01234567", 11 }, SI_EPROTO },
    };
    buf_t b, h;
    int   n;

    buf_init(&b, 1u << 20);
    buf_init(&h, 1u << 20);
    for (size_t i = 0; i < SI_COUNT(cases); i++) {
        message(&b, cases[i].headers, 0);
        is_int(feed_max(&b, 100, &n), cases[i].rc, cases[i].name);
        is_int(n, cases[i].rc == 0, "  is handed out or not");
    }
    message(&b, STR(""), 100);
    is_int(feed_max(&b, 100, &n), 0, "a payload of just the maximum");
    is_int(n, 1, "  is a message");
    is_int(feed_max(&b, 99, &n), SI_EPROTO, "a longer one is refused");
    is_int(n, 0, "  and is none");
    many_headers(&h, ES_COUNT_MAX);
    message(&b, (str_t) { h.p, h.n }, 0);
    is_int(feed_max(&b, 0, &n), 0, "as many headers as may be");
    many_headers(&h, ES_COUNT_MAX + 1);
    message(&b, (str_t) { h.p, h.n }, 0);
    is_int(feed_max(&b, 0, &n), SI_EPROTO, "one more is refused");
    buf_free(&b);
    buf_free(&h);
}

static int refuse_second(const es_message_t *m, void *arg)
{
    (void) m;
    return ++*(int *) arg == 2 ? SI_EINVAL : 0;
}

static void check_callback(void)
{
    eventstream_t s;
    buf_t         b;
    int           n = 0;

    buf_init(&b, 1000);
    message(&b, STR(""), 5);
    eventstream_init(&s, 100);
    is_int(eventstream_feed(&s, b.p, b.n, refuse_second, &n), 0, "the first message is taken");
    is_int(eventstream_feed(&s, b.p, b.n, refuse_second, &n), SI_EINVAL, "the callback's error comes back");
    is_int(eventstream_feed(&s, b.p, b.n - 1, refuse_second, &n), 0, "the decoder goes on after it");
    ok(n == 2 && !eventstream_between(&s), "half a message is noticed");
    eventstream_free(&s);
    buf_free(&b);
}

/* A message that announces much and brings little costs little. */
static void check_memory(void)
{
    eventstream_t s;
    buf_t         b;
    int           n = 0;

    buf_init(&b, 100);
    put32(&b, 16 + ES_PAYLOAD_MAX);
    put32(&b, 0);
    put32(&b, crc32_of(b.p, 8));
    eventstream_init(&s, SIZE_MAX);
    is_int(eventstream_feed(&s, b.p, b.n, count, &n), 0, "a message of 24 MiB begins");
    ok(s.in.cap < 4096, "and takes %zu bytes of memory so far", s.in.cap);
    eventstream_free(&s);
    buf_free(&b);
}

int main(void)
{
    arena = arena_new(1u << 16);
    is_int(crc32_of("123456789", 9), 0xcbf43926, "the check value of CRC-32");
    check_corpus("botocore", 16);
    check_corpus("smithy-rs", 11);
    check_bounds();
    check_callback();
    check_memory();
    arena_free(arena);
    return done_testing();
}
