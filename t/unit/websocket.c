/* WebSocket frames: each rule of RFC 6455 that a client can break, at every cut; and what we send. */
#include "io/websocket.h"

#include <stdlib.h>

#include "tap.h"

#define MAX  1000u

/* A masked frame appended to b. */
static void frame(buf_t *b, unsigned first, const char *p, size_t n)
{
    static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
    uint8_t head[14] = { (uint8_t) first };
    size_t  h = 2;

    if (n < 126) {
        head[1] = (uint8_t) (0x80 | n);
    } else {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t) (n >> 8);
        head[3] = (uint8_t) n;
        h = 4;
    }
    memcpy(head + h, mask, 4);
    buf_append(b, head, h + 4);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t) p[i] ^ mask[i & 3];
        buf_append(b, &c, 1);
    }
}

static void text(buf_t *b, unsigned first, const char *z) { frame(b, first, z, strlen(z)); }

/* All messages as "<op:data>", then "!code" if the protocol was broken. `piece`: bytes that come at once. */
static const char *parse_in(str_t in, size_t piece)
{
    static char out[4096];
    size_t      n = 0;
    ws_t        ws;
    ws_msg_t    m;
    int         rc = 0;

    ws_init(&ws, MAX);
    out[0] = '\0';
    while (in.n > 0 && rc == 0) {
        size_t step = SI_MIN(piece, in.n);
        char  *copy = malloc(step);
        str_t  now = { copy, step };

        memcpy(copy, in.p, step);
        while ((rc = ws_next(&ws, &now, &m)) > 0) {
            n += (size_t) snprintf(out + n, sizeof out - n, "<%d:%.*s%s>", m.op, STR_ARG(m.data), m.op == WS_CLOSE ? "|" : "");
            if (m.op == WS_CLOSE) {
                n += (size_t) snprintf(out + n, sizeof out - n, "%d", m.code);
            }
        }
        free(copy);
        in = (str_t) { in.p + step, in.n - step };
    }
    if (rc < 0) {
        snprintf(out + n, sizeof out - n, "!%d", ws.code);
        ok(ws.reason && ws_next(&ws, &in, &m) == SI_EPROTO, "a broken stream stays broken");
    }
    ws_free(&ws);
    return out;
}

static void is_parsed(buf_t *b, const char *want, const char *what)
{
    bool same = true;

    for (size_t piece = 1; piece <= 7; piece++) {
        same = same && strcmp(parse_in((str_t) { b->p, b->n }, piece), want) == 0;
    }
    ok(same, "%s, at every cut", what);
    is_str(parse_in((str_t) { b->p, b->n }, b->n), want, what);
    buf_consume(b, b->n);
}

static void test_good(void)
{
    buf_t b;
    char  big[MAX];

    buf_init(&b, 1u << 20);
    buf_append(&b, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
    is_parsed(&b, "<1:Hello>", "the masked example of section 5.7");
    text(&b, 0x01, "Hel");
    text(&b, 0x89, "in");
    text(&b, 0x00, "");
    text(&b, 0x8a, "");
    text(&b, 0x80, "lo");
    text(&b, 0x81, "");
    is_parsed(&b, "<9:in><10:><1:Hello><1:>", "fragments with control frames between them, and an empty message");
    text(&b, 0x01, "\xe2\x82");
    text(&b, 0x80, "\xac");
    is_parsed(&b, "<1:\xe2\x82\xac>", "a character cut by a fragment");
    frame(&b, 0x88, "\x03\xe9" "bye", 5);
    is_parsed(&b, "<8:bye|>1001", "a close with code and reason");
    frame(&b, 0x88, "", 0);
    is_parsed(&b, "<8:|>1005", "one without");
    memset(big, 'x', sizeof big);
    frame(&b, 0x81, big, sizeof big);
    text(&b, 0x81, "next");
    ws_t ws;
    ws_msg_t m;
    str_t in = { b.p, b.n };
    ws_init(&ws, MAX);
    ok(ws_next(&ws, &in, &m) == 1 && m.data.n == MAX && memcmp(m.data.p, big, MAX) == 0, "a message of the greatest size");
    ok(ws_next(&ws, &in, &m) == 1 && str_is(m.data, "next") && in.n == 0, "and the next one");
    ws_free(&ws);
    buf_free(&b);
}

static void bad(const char *bytes, size_t n, const char *want, const char *what)
{
    buf_t b;

    buf_init(&b, 1u << 20);
    buf_append(&b, bytes, n);
    is_parsed(&b, want, what);
    buf_free(&b);
}

#define BAD(bytes, want, what)  bad(bytes, sizeof(bytes) - 1, want, what)

static void test_bad(void)
{
    static const int codes[] = { 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535 };
    buf_t b;

    BAD("\x81\x05Hello", "!1002", "not masked");
    BAD("\xc1\x80\0\0\0\0", "!1002", "RSV1 without an extension");
    BAD("\x91\x80\0\0\0\0", "!1002", "RSV3");
    BAD("\x82\x80\0\0\0\0", "!1003", "binary");
    BAD("\x83\x80\0\0\0\0", "!1002", "a reserved opcode");
    BAD("\x8b\x80\0\0\0\0", "!1002", "a reserved control opcode");
    BAD("\x80\x80\0\0\0\0", "!1002", "a continuation of nothing");
    BAD("\x01\x80\0\0\0\0\x81\x80\0\0\0\0", "!1002", "a message within a message");
    BAD("\x09\x80\0\0\0\0", "!1002", "a fragmented ping");
    BAD("\x89\xfe\x00\x7e\0\0\0\0", "!1002", "a long ping");
    BAD("\x81\xfe\x00\x7d\0\0\0\0", "!1002", "a length that is not the shortest");
    BAD("\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0", "!1002", "a long one likewise");
    BAD("\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0", "!1002", "a length with the highest bit");
    BAD("\x81\xfe\x03\xe9\0\0\0\0", "!1009", "one byte too many, before they come");
    BAD("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", "!1009", "as many as can be");
    BAD("\x88\x81\0\0\0\0\x03", "!1002", "half a close code");
    BAD("\x88\x83\0\0\0\0\x03\xe8\xff", "!1007", "a close whose reason is not UTF-8");
    BAD("\x81\x81\0\0\0\0\xff", "!1007", "text that is not UTF-8");
    BAD("\x01\x81\0\0\0\0\xe2\x80\x81\0\0\0\0\x82", "!1007", "text that ends in a character");
    BAD("\x81\x83\0\0\0\0\xed\xa0\x80", "!1007", "a surrogate");
    buf_init(&b, 1u << 20);
    for (size_t i = 0; i < SI_COUNT(codes); i++) {
        char code[2] = { (char) (codes[i] >> 8), (char) codes[i] };

        frame(&b, 0x88, code, 2);
        is_parsed(&b, "!1002", "a code that may not be sent");
    }
    char most[600];
    memset(most, 'x', sizeof most);
    frame(&b, 0x01, most, sizeof most);
    frame(&b, 0x80, most, sizeof most);
    is_parsed(&b, "!1009", "fragments that are too long together");
    buf_free(&b);
}

static void test_sending(void)
{
    buf_t  b;
    size_t n = 3 * WS_FRAME_MAX + 5, at = 0, frames = 0, bytes = 0;
    char  *big = calloc(1, n);

    buf_init(&b, 1u << 20);
    ok(ws_put(&b, WS_TEXT, STR("Hello")) == 0 && b.n == 7 && memcmp(b.p, "\x81\x05Hello", 7) == 0, "a short message");
    is_int((long long) ws_frame_size(b.p, b.n), 7, "its size");
    buf_consume(&b, b.n);
    ok(ws_put(&b, WS_TEXT, (str_t) { big, 126 }) == 0 && memcmp(b.p, "\x81\x7e\x00\x7e", 4) == 0 && b.n == 130, "one of 126 bytes");
    is_int((long long) ws_frame_size(b.p, b.n), 130, "its size");
    buf_consume(&b, b.n);
    ok(ws_put(&b, WS_PING, STR_NULL) == 0 && b.n == 2 && memcmp(b.p, "\x89\x00", 2) == 0, "an empty ping");
    buf_consume(&b, b.n);
    ok(ws_put(&b, WS_TEXT, (str_t) { big, n }) == 0, "a long message");
    for (; at < b.n; frames++) {
        size_t size = ws_frame_size(b.p + at, b.n - at);
        unsigned first = (uint8_t) b.p[at];

        ok(size <= WS_FRAME_MAX + 4 && first == (frames == 0 ? 0x01 : frames == 3 ? 0x80 : 0x00), "frame %zu of it", frames);
        bytes += size - (size >= 130 ? 4 : 2);
        at += size;
    }
    ok(frames == 4 && at == b.n && bytes == n, "in four whole frames");
    b.max = b.n + n;
    ok(ws_put(&b, WS_TEXT, (str_t) { big, n }) == SI_ENOMEM && at == b.n, "what does not fit is not begun");
    b.max = 1u << 20;
    buf_consume(&b, b.n);
    ok(ws_put_close(&b, WS_RESTART, STR("restart")) == 0 && memcmp(b.p, "\x88\x09\x03\xf4restart", 11) == 0, "a close");
    buf_consume(&b, b.n);
    ok(ws_put_close(&b, WS_NO_CODE, STR_NULL) == 0 && b.n == 2 && memcmp(b.p, "\x88\x00", 2) == 0, "one without a code");
    buf_consume(&b, b.n);
    ok(ws_put_close(&b, WS_NORMAL, (str_t) { big, 500 }) == 0 && b.n == 127, "a long reason is cut");
    buf_free(&b);
    free(big);
}

static void test_accept(void)
{
    char out[WS_ACCEPT_LEN + 1];

    ok(ws_accept(out, STR("dGhlIHNhbXBsZSBub25jZQ==")) == 0, "a key");
    is_str(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the answer of section 1.3");
    ok(ws_accept(out, STR_NULL) == SI_EINVAL && ws_accept(out, STR("dGhlIHNhbXBsZSBub25jZQ")) == SI_EINVAL
       && ws_accept(out, STR("AAAAAAAAAAAAAAAAAAAAAAAA")) == SI_EINVAL, "what is none");
}

int main(void)
{
    test_good();
    test_bad();
    test_sending();
    test_accept();
    return done_testing();
}
