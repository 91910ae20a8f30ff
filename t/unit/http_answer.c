/* Answers of HTTP/1.1: each is fed at every split point and byte by byte; what is ambiguous about its end is refused. */
#include "io/http_answer.h"

#include "tap.h"

typedef struct {
    int  rc;            /* 0: done; 1: more is expected; SI_E* */
    int  status;
    bool last;
    size_t used;
    char body[256];
    char why[128];
    char field[64];     /* X-A */
} result_t;

/* Feeds p in two pieces, or one by one when cut is n. */
static result_t feed(const char *p, size_t n, size_t cut, bool head)
{
    http_answer_t a;
    buf_t         body;
    result_t      r = { .rc = 1 };
    const char   *field;

    http_answer_init(&a, head);
    buf_init(&body, 65536);
    for (size_t at = 0, used = 0, len; at < n && r.rc == 1 && used == 0; at += len) {
        len = cut == n ? 1 : at < cut ? cut : n - at;
        int rc = http_answer_feed(&a, p + at, len, &body, &used);
        r.used = at + used;
        used = rc == 0 && used < len;
        r.rc = rc != 0 ? rc : a.done ? 0 : 1;
    }
    if (r.rc == 1 && http_answer_eof(&a) == 0) {
        r.rc = 0;
    }
    r.status = a.head_done ? a.status : 0;
    r.last = a.last;
    field = http_answer_field(&a, "x-a");
    (void) snprintf(r.body, sizeof r.body, "%.*s", (int) body.n, body.n > 0 ? body.p : "");
    (void) snprintf(r.why, sizeof r.why, "%s", a.why != NULL ? a.why : "");
    (void) snprintf(r.field, sizeof r.field, "%s", field != NULL ? field : "-");
    http_answer_free(&a);
    buf_free(&body);
    return r;
}

static bool same(const result_t *a, const result_t *b)
{
    return a->rc == b->rc && a->status == b->status && a->last == b->last && (a->rc < 0 || a->used == b->used)
           && strcmp(a->body, b->body) == 0 && strcmp(a->why, b->why) == 0 && strcmp(a->field, b->field) == 0;
}

static result_t feed_all_ways(const char *p, size_t n, bool head)
{
    result_t whole = feed(p, n, 0, head), other;

    for (size_t cut = 1; cut <= n; cut++) {
        other = feed(p, n, cut, head);
        if (!same(&whole, &other)) {
            diag("cut at %zu: rc %d and %d, body \"%s\" and \"%s\", %s and %s", cut, whole.rc, other.rc, whole.body, other.body, whole.why, other.why);
            whole.rc = -99;
            break;
        }
    }
    return whole;
}

#define OK_HEAD  "HTTP/1.1 200 OK\r\n"
#define CHUNKED  OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
    const char *name, *text;
    bool        head;
    int         status;
    const char *body, *field;
    bool        last;
    size_t      rest;           /* bytes behind the answer */
} good[] = {
    { "a length", "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello", "1", false, 0 },
    { "no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, 200, "", "-", false, 0 },
    { "LF alone", "HTTP/1.1 200 OK\nX-A:  1 \t\ncontent-length:2\n\nok", false, 200, "ok", "1", false, 0 },
    { "the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok", "-", false, 0 },
    { "chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", false, 200,
      "abc0123456789", "-", false, 0 },
    { "chunks in a row, some of which are written oddly", CHUNKED "1\r\na\r\n2\r\nb\r\r\n0000001\r\nc\r\n00000001\r\nd\r\n1\ne\r\n1\r\nf\n1;x\r\ng\r\nA\r\n\r\n0\r\n\r\n123\r\n"
      "1 \r\nh\r\n1\r\ni\r\n0\r\n\r\n1\r\n", false, 200, "ab\rcdefg\r\n0\r\n\r\n123hi", "-", false, 3 },
    { "chunks, LF alone", "HTTP/1.1 200 OK\nTransfer-Encoding:chunked\n\n1 \na\n0\n\n", false, 200, "a", "-", false, 0 },
    { "trailers are passed over", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: 2\r\nContent-Length: 9\r\n\r\n", false, 200, "", "-", false, 0 },
    { "until the end", "HTTP/1.1 200 OK\r\nX-A:\r\n\r\nab\r\n\r\ncd", false, 200, "ab\r\n\r\ncd", "", true, 0 },
    { "interim answers", "HTTP/1.1 100 Continue\r\nX-A: 1\r\nContent-Length: 7\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 201 Made\r\nX-A: 3\r\nContent-Length: 1\r\n\r\n!",
      false, 201, "!", "3", false, 0 },
    { "HEAD has no body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", true, 200, "", "-", false, 0 },
    { "204 has none", "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\nHTTP", false, 204, "", "-", false, 4 },
    { "304 has none", "HTTP/1.1 304 Same\r\nContent-Length: 10\r\n\r\n", false, 304, "", "-", false, 0 },
    { "what follows is left", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", false, 200, "ok", "-", false, 19 },
    { "close", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n", false, 200, "", "-", true, 0 },
    { "no close", "HTTP/1.1 200 OK\r\nConnection: closed,keep-alive\r\nContent-Length: 0\r\n\r\n", false, 200, "", "-", false, 0 },
    { "HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", false, 200, "a", "-", true, 0 },
    { "chunks and a length: chunks count, and nothing else follows",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", false, 200, "ab", "-", true, 0 },
    { "101", "HTTP/1.1 101 Switching\r\nContent-Length: 1\r\n\r\nab", false, 101, "ab", "-", true, 0 },
};

static const struct { const char *name, *text, *why; } bad[] = {
    { "nothing", "", "empty reply" },
    { "SSH", "SSH-2.0-x\r\n", "no HTTP/1" },
    { "HTTP/0.9", "hello\n", "no HTTP/1" },
    { "HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", "no HTTP/1" },
    { "a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "no HTTP/1" },
    { "a status of four", "HTTP/1.1 2000 OK\r\n\r\n", "no HTTP/1" },
    { "status 099", "HTTP/1.1 099 OK\r\n\r\n", "no HTTP/1" },
    { "a line before", "\r\nHTTP/1.1 200 OK\r\n\r\n", "no HTTP/1" },
    { "two lengths", OK_HEAD "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "two lengths" },
    { "a list of lengths", OK_HEAD "Content-Length: 5, 5\r\n\r\nhello", "no number" },
    { "length +5", OK_HEAD "Content-Length: +5\r\n\r\nhello", "no number" },
    { "length 0x5", OK_HEAD "Content-Length: 0x5\r\n\r\nhello", "no number" },
    { "length -1", OK_HEAD "Content-Length: -1\r\n\r\nhello", "no number" },
    { "no length", OK_HEAD "Content-Length:\r\n\r\nhello", "no number" },
    { "a length above 2^63", OK_HEAD "Content-Length: 9223372036854775808\r\n\r\n", "no number" },
    { "another coding", OK_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "not chunked" },
    { "identity", OK_HEAD "Transfer-Encoding: identity\r\n\r\n", "not chunked" },
    { "chunked twice", OK_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not chunked" },
    { "a blank before the colon", OK_HEAD "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "malformed header" },
    { "no name", OK_HEAD ": x\r\n\r\n", "malformed header" },
    { "no colon", OK_HEAD "Content-Length 5\r\n\r\nhello", "malformed header" },
    { "a folded line", OK_HEAD "X: a\r\n Content-Length: 5\r\n\r\nhello", "folded" },
    { "a bare CR", OK_HEAD "X: a\rContent-Length: 5\r\n\r\nhello", "bare CR" },
    { "a size that is none", CHUNKED "x\r\n", "malformed chunk" },
    { "an empty size", CHUNKED "\r\n", "malformed chunk" },
    { "a size with a sign", CHUNKED "+1\r\na\r\n", "malformed chunk" },
    { "a size with 0x", CHUNKED "0x1\r\na\r\n", "malformed chunk" },
    { "a size with a blank before", CHUNKED " 1\r\na\r\n", "malformed chunk" },
    { "a size above 2^63", CHUNKED "80000000000000000\r\na\r\n", "too long" },
    { "a chunk that goes on", CHUNKED "1\r\nab\r\n0\r\n\r\n", "longer than it says" },
    { "chunks in a row, of which one goes on", CHUNKED "1\r\na\r\n1\r\nab\r\n1\r\na\r\n0\r\n\r\n", "longer than it says" },
    { "chunks in a row, and a size that is none", CHUNKED "1\r\na\r\n1\r\nb\r\n-1\r\na\r\n0\r\n\r\n", "malformed chunk" },
    { "cut in the head", "HTTP/1.1 200 OK\r\nX", "within the head" },
    { "cut in an interim answer", "HTTP/1.1 100 C\r\n\r\n", "within the head" },
    { "cut in the body", OK_HEAD "Content-Length: 5\r\n\r\nhell", "within the answer" },
    { "cut in a chunk", CHUNKED "5\r\nhell", "within the answer" },
    { "cut behind a chunk", CHUNKED "1\r\na\r\n", "within the answer" },
    { "cut before the last line", CHUNKED "0\r\nX: 1\r\n", "within the answer" },
};

static void test_good(void)
{
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        result_t r = feed_all_ways(good[i].text, strlen(good[i].text), good[i].head);

        ok(r.rc == 0 && r.status == good[i].status && strcmp(r.body, good[i].body) == 0 && strcmp(r.field, good[i].field) == 0
           && r.last == good[i].last && strlen(good[i].text) - r.used == good[i].rest, "%s", good[i].name);
    }
}

static void test_bad(void)
{
    static const char nul[] = OK_HEAD "X: a\0b\r\n\r\n";
    result_t          r = feed_all_ways(nul, sizeof nul - 1, false);

    ok(r.rc == SI_EPROTO && strstr(r.why, "NUL") != NULL, "a NUL");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        r = feed_all_ways(bad[i].text, strlen(bad[i].text), false);
        ok(r.rc != 0 && r.rc != -99 && strstr(r.why, bad[i].why) != NULL, "%s: %s", bad[i].name, r.why);
    }
}

/* A head without an end, in lines and in one line; and a full buffer. */
static void test_bounds(void)
{
    static char   line[4097];
    http_answer_t a;
    buf_t         body;
    size_t        used, fed = 0;
    int           rc = 0;

    memset(line, 'x', sizeof line - 1);
    memcpy(line, "X: ", 3);
    http_answer_init(&a, false);
    buf_init(&body, 4);
    rc = http_answer_feed(&a, line, 4096, &body, &used);
    for (; rc == 0 && fed < 1u << 20; fed += 4096) {
        rc = http_answer_feed(&a, line, 4096, &body, &used);
    }
    ok(rc == SI_EPROTO && fed <= HTTP_LINE_MAX, "a line without an end");
    http_answer_free(&a);

    http_answer_init(&a, false);
    line[4095] = '\n';
    rc = http_answer_feed(&a, OK_HEAD, strlen(OK_HEAD), &body, &used);
    for (fed = 0; rc == 0 && fed < 1u << 20; fed += 4096) {
        rc = http_answer_feed(&a, line, 4096, &body, &used);
    }
    ok(rc == SI_EPROTO && fed <= HTTP_HEAD_MAX && a.fields.n <= HTTP_FIELDS_MAX, "a head without an end");
    http_answer_free(&a);

    http_answer_init(&a, false);
    is_int(http_answer_feed(&a, OK_HEAD "\r\n12345", strlen(OK_HEAD) + 7, &body, &used), SI_ENOMEM, "no room");
    http_answer_free(&a);
    buf_free(&body);
}

int main(void)
{
    test_good();
    test_bad();
    test_bounds();
    return done_testing();
}
