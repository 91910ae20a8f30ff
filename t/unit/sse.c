/* The SSE parser: hand-written cases cut at every point, and the cases of web-platform-tests. */
#include "io/sse.h"

#include <stdlib.h>

#include "base/json.h"
#include "tap.h"

#define MAX  (64u << 10)

/* What came, as text: "<event|data|id>" each. */
static int collect(const sse_event_t *e, void *arg)
{
    buf_t *got = arg;

    return buf_puts(got, "<") || buf_append(got, e->event.p, e->event.n) || buf_puts(got, "|")
           || buf_append(got, e->data.p, e->data.n) || buf_puts(got, "|")
           || buf_append(got, e->id.p, e->id.n) || buf_puts(got, ">");
}

/* Feeds in pieces that end at a, at b and at the end; step > 0: pieces of that many bytes instead. */
static int64_t parse(str_t in, size_t a, size_t b, size_t step, str_t id, buf_t *got)
{
    sse_t  s;
    size_t from = 0;

    sse_init(&s, MAX);
    buf_append(&s.id, id.n > 0 ? id.p : "", id.n);
    buf_consume(got, got->n);
    while (from < in.n) {
        size_t to = step > 0 ? SI_MIN(from + step, in.n) : from < a ? a : from < b ? b : in.n;
        /* A copy of just this piece, so that a sanitizer sees any step beyond it. */
        char *piece = si_malloc(to - from);
        memcpy(piece, in.p + from, to - from);
        if (sse_feed(&s, piece, to - from, collect, got) != 0) {
            buf_puts(got, "<failed>");
        }
        free(piece);
        from = to;
    }
    int64_t retry = s.retry_ms;
    sse_free(&s);
    return retry;
}

static bool same(const buf_t *got, str_t want)
{
    return str_eq((str_t) { got->p, got->n }, want);
}

/* Whole, in pieces of 1 to 4 bytes, cut at each point, and (short ones) at each two points. */
static void check_cuts(const char *name, str_t in, str_t want, str_t id, int64_t retry)
{
    buf_t  got;
    size_t bad = 0, runs = 0;

    buf_init(&got, 1u << 20);
    int64_t r = parse(in, in.n, in.n, 0, id, &got);
    if (!ok(same(&got, want) && r == retry, "%s", name)) {
        diag("  got '%.*s' retry %lld, expected '%.*s' retry %lld", (int) got.n, got.p ? got.p : "",
             (long long) r, STR_ARG(want), (long long) retry);
    }
    for (size_t step = 1; step <= 4; step++, runs++) {
        r = parse(in, 0, 0, step, id, &got);
        bad += !same(&got, want) || r != retry;
    }
    for (size_t a = 1; a < in.n; a++) {
        for (size_t b = in.n < 100 ? a : in.n; b <= in.n; b++, runs++) {
            r = parse(in, a, b, 0, id, &got);
            bad += !same(&got, want) || r != retry;
        }
    }
    ok(bad == 0, "%s: the same in %zu other ways to cut it", name, runs);
    buf_free(&got);
}

static const struct {
    const char *name, *in, *want;
    int64_t     retry;
} cases[] = {
    { "one event", "data: x\n\n", "<|x|>", -1 },
    { "CRLF", "event: a\r\ndata: x\r\n\r\ndata: y\r\n\r\n", "<a|x|><|y|>", -1 },
    { "CR only", "event: a\rdata: x\r\rdata: y\r\r", "<a|x|><|y|>", -1 },
    { "all line ends mixed", "data: 1\r\ndata: 2\rdata: 3\n\r\ndata: 4\r\n\r", "<|1\n2\n3|><|4|>", -1 },
    { "CR ends the input", "data: x\r\n\r", "<|x|>", -1 },
    { "byte order mark", "\xEF\xBB\xBF" "data: x\n\n", "<|x|>", -1 },
    { "half a byte order mark is a field name", "\xEF\xBB" "data: x\ndata: y\n\n", "<|y|>", -1 },
    { "only a byte order mark", "\xEF\xBB\xBF", "", -1 },
    { "byte order mark, then a line end", "\xEF\xBB\xBF\n\ndata: x\n\n", "<|x|>", -1 },
    { "comments and keep-alives", ": ping\n\n:\n\n:x\ndata: 1\n: y\ndata: 2\n\n", "<|1\n2|>", -1 },
    { "field without colon", "data\n\ndata\ndata\n\n", "<||><|\n|>", -1 },
    { "one space is stripped, no more", "data:  x\ndata:y \ndata:\tz\n\n", "<| x\ny \n\tz|>", -1 },
    { "event without data is dropped and its name too", "event: a\n\ndata: x\n\n", "<|x|>", -1 },
    { "last event name wins, an empty one resets", "event: a\nevent: b\ndata: 1\n\nevent: a\nevent\ndata: 2\n\n",
      "<b|1|><|2|>", -1 },
    { "id stays in force", "id: 7\ndata: 1\n\ndata: 2\n\nid\ndata: 3\n\n", "<|1|7><|2|7><|3|>", -1 },
    { "id without data counts", "id: 7\n\ndata: 1\n\n", "<|1|7>", -1 },
    { "retry", "retry: 1500\ndata: x\n\n", "<|x|>", 1500 },
    { "retry with a sign, a point, nothing", "retry: 10\nretry: -1\nretry: +2\nretry: 1.5\nretry:\nretry\nretry: 1 \n\n", "", 10 },
    { "retry beyond all bounds", "retry: 99999999999999999999999\n\n", "", INT64_MAX },
    { "no blank line at the end: no event", "data: 1\n\ndata: 2\n", "<|1|>", -1 },
    { "no line end at the end", "data: 1\n\ndata: 2", "<|1|>", -1 },
    { "unknown and miscased fields", "Data: 1\nDATA: 2\n data: 3\ndata : 4\nfoo: 5\ndata: 6\n\n", "<|6|>", -1 },
    { "colons in the value", "data: {\"a\":\"b: c\"}\n\n", "<|{\"a\":\"b: c\"}|>", -1 },
    { "OpenAI's end", "data: {}\n\ndata: [DONE]\n\n", "<|{}|><|[DONE]|>", -1 },
    { "events of one line, in a row, and what is none of them", "data: 1\n\ndata: 2\r\n\r\ndata:3\n\r\ndata: 4\n\rdata: 5\r6\n\ndata:\n\ndata: \n\ndata: 7\r\r\n\n:\ndata: 8\n\n"
      "event: a\ndata: 9\n\ndata: 10\n\ndata: 11\ndata: 12\n\ndata: 13\n\n",
      "<|1|><|2|><|3|><|4|><|5|><||><||><|7|><|8|><a|9|><|10|><|11\n12|><|13|>", -1 },
    { "empty", "", "", -1 },
    { "only line ends", "\n\r\n\r\r\n\n", "", -1 },
};

static void check_nul(void)
{
    static const char id[] = "id: 1\nid: a\0b\ndata: x\0y\n\n", want[] = "<|x\0y|1>";
    static const char name[] = "data\0: x\ndata: y\n\n";

    check_cuts("NUL: kept in data, an id with it is ignored", STR(id), STR(want), STR_NULL, -1);
    check_cuts("NUL in a field name", STR(name), STR("<|y|>"), STR_NULL, -1);
}

/* ---- bounds and errors ---- */

static int count(const sse_event_t *e, void *arg)
{
    (void) e;
    ++*(int *) arg;
    return 0;
}

static int refuse(const sse_event_t *e, void *arg)
{
    (void) e;
    return ++*(int *) arg == 2 ? SI_EPROTO : 0;
}

static int feed_z(sse_t *s, const char *z, int (*fn)(const sse_event_t *, void *), int *n)
{
    return sse_feed(s, z, strlen(z), fn, n);
}

static void check_bounds(void)
{
    sse_t s;
    int   n = 0;

    sse_init(&s, 16);
    is_int(feed_z(&s, "data: 0123456789\n\n", count, &n), 0, "a line of just the maximum");
    is_int(n, 1, "  is an event");
    is_int(feed_z(&s, "data: 01234567890\n", count, &n), SI_ENOMEM, "a longer one is refused");
    sse_free(&s);

    sse_init(&s, 16);
    is_int(feed_z(&s, "data: 01234", count, &n), 0, "the beginning of a line");
    is_int(feed_z(&s, "567890", count, &n), SI_ENOMEM, "its continuation beyond the maximum is refused");
    sse_free(&s);

    sse_init(&s, 16);
    is_int(feed_z(&s, "data:12345678\ndata:1234567\n\n", count, &n), 0, "data of just the maximum");
    is_int(feed_z(&s, "data:12345678\ndata:12345678\n\n", count, &n), SI_ENOMEM, "longer data is refused");
    sse_free(&s);

    n = 0;
    sse_init(&s, 16);
    is_int(feed_z(&s, "data:1\n\ndata:2\n\ndata:3\n\n", refuse, &n), SI_EPROTO, "the callback's error comes back");
    is_int(n, 2, "  and ends the feeding");
    is_int(feed_z(&s, "data:4\n\n", count, &n), 0, "the parser goes on after it");
    is_int(n, 3, "  with the next event");
    sse_free(&s);
}

/* ---- web-platform-tests ---- */

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "r");
    char *p = NULL;

    *n = 0;
    if (f == NULL) {
        return NULL;
    }
    for (size_t got = 1; got > 0; *n += got) {
        p = si_realloc(p, *n + 65536);
        got = fread(p + *n, 1, 65536, f);
    }
    fclose(f);
    return p;
}

static void expected_text(const json_t *c, buf_t *want)
{
    json_t *e;
    size_t  i;

    json_array_foreach(json_object_get(c, "expected"), i, e) {
        sse_event_t ev = {
            .event = json_str(e, "event", STR_NULL), .data = json_str(e, "data", STR_NULL),
            .id = json_str(e, "lastEventId", STR_NULL),
        };
        if (str_is(ev.event, "message")) {
            ev.event = STR("");
        }
        collect(&ev, want);
    }
}

/* json_parse() refuses NUL in strings, and these cases need it. */
static json_t *load_cases(const char *path)
{
    size_t       n;
    char        *text = read_file(path, &n);
    json_error_t err;
    json_t      *all = text != NULL ? json_loadb(text, n, JSON_ALLOW_NUL, &err) : NULL;

    free(text);
    return all;
}

static void check_corpus(void)
{
    const char *root = getenv("SI_CORPUS");
    char        path[1024];
    json_t     *all, *c;
    size_t      i;

    snprintf(path, sizeof(path), "%s/eventsource/cases.json", root != NULL ? root : "../shared/corpus");
    all = load_cases(path);
    if (!ok(json_array_size(all) >= 30, "the corpus is there")) {
        diag("  %s cannot be read, or holds no cases: set SI_CORPUS to the folder \"corpus\","
             " or run in the root of the repository", path);
    }
    json_array_foreach(all, i, c) {
        str_t       body = json_str(c, "body", STR_NULL);
        json_t     *retry = json_object_get(c, "retry_ms");
        buf_t       want;

        if (json_is_false(json_object_get(c, "accepted"))) {
            continue;                                   /* about the content type, which is not the parser's */
        }
        buf_init(&want, 1u << 20);
        expected_text(c, &want);
        check_cuts(json_string_value(json_object_get(c, "name")), body, (str_t) { want.p, want.n },
                   json_str(c, "last_event_id_before", STR_NULL),
                   json_is_integer(retry) ? json_integer_value(retry) : -1);
        buf_free(&want);
    }
    json_decref(all);
}

int main(void)
{
    for (size_t i = 0; i < SI_COUNT(cases); i++) {
        check_cuts(cases[i].name, str_of(cases[i].in), str_of(cases[i].want), STR_NULL, cases[i].retry);
    }
    check_nul();
    check_bounds();
    check_corpus();
    return done_testing();
}
