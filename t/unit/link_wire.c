/* The bytes of a link: frames cut anywhere, frames that must be refused, garbage. */
#include "edge.h"

/* Answers once the body is whole; "/long" never by itself. */
static void co_handler(call_t *call)
{
    str_t body;

    if (str_is(call->path, "/long")) {
        while (co_sleep(1, "test") == 0) {
        }
        return;
    }
    if (co_call_body(call, 1 << 20, &body, soon()) != 0) {
        return;
    }
    call_head(call, &(call_head_t) { .status = 200, .length = 2 });
    co_call_write(call, "ok", 2, soon());
    call_end(call);
}

static bool no_calls(void) { return links_calls() == 0; }

/* All that an edge may send in one go, and what comes back. */
static void put_script(buf_t *b)
{
    buf_t f;

    buf_init(&f, 4096);
    put_hello(b, SI_LINK_VERSION);
    put_text(&f, SI_T_METHOD, "GET");
    put_text(&f, SI_T_PATH, "/x");
    put_text(&f, SI_T_ARGS, "a=1&b");
    put_text(&f, SI_T_ADDR, "192.0.2.1");
    put_text(&f, SI_T_CALL_KEY, "k-1");
    put_header(&f, "accept", "a");
    put_frame(b, SI_F_OPEN, 0, 1, f.p, f.n);
    put_open(b, 2, SI_FL_BODY, "POST", "/body");
    put_frame(b, SI_F_BODY, 0, 2, "abc", 3);
    put_frame(b, SI_F_PING, 0, 8, NULL, 0);
    put_frame(b, SI_F_BODY, SI_FL_LAST, 2, "de", 2);
    buf_free(&f);
}

static bool co_check_script(edge_t *e)
{
    size_t bytes = 0;
    int    ends = 0, heads = 0, pongs = 0;

    while (ends < 2 || pongs < 1) {
        switch (co_edge_next(e)) {
        case SI_F_HELLO:
        case SI_F_CREDIT:
            break;
        case SI_F_HEAD:
            heads += edge_status(e) == 200;
            break;
        case SI_F_DATA:
            bytes += e->f.length;
            break;
        case SI_F_END:
            ends += e->f.flags == 0;
            break;
        case SI_F_PONG:
            pongs++;
            break;
        default:
            return false;
        }
    }
    return heads == 2 && bytes == 2 + 2;
}

static void co_test_split(void)
{
    buf_t  b;
    edge_t e;
    size_t good = 0;

    buf_init(&b, 8192);
    put_script(&b);
    for (size_t at = 1; at < b.n; at++) {
        edge_init(&e);
        co_edge_raw(&e, b.p, at);
        co_yield();
        co_yield();
        co_edge_raw(&e, b.p + at, b.n - at);
        good += co_check_script(&e);
        edge_close(&e);
    }
    is_int((long long) good, (long long) b.n - 1, "frames cut at every byte");
    edge_init(&e);
    for (size_t at = 0; at < b.n; at++) {
        co_edge_raw(&e, b.p + at, 1);
        co_yield();
    }
    ok(co_check_script(&e), "frames byte by byte");
    edge_close(&e);
    buf_free(&b);
    ok(co_until(no_calls), "no call is left");
}

/* Bytes after a good HELLO that must close the link. */
static void co_refused(const buf_t *b, const char *why)
{
    edge_t e;

    co_edge_up(&e);
    co_edge_raw(&e, b->p, b->n);
    ok(co_edge_closed(&e), "refused: %s", why);
    edge_close(&e);
}

static void co_refuse(uint8_t type, uint8_t flags, uint64_t id, const void *p, size_t n, const char *why)
{
    buf_t b;

    buf_init(&b, 1 << 20);
    put_frame(&b, type, flags, id, p, n);
    co_refused(&b, why);
    buf_free(&b);
}

static void co_test_first_frame(void)
{
    edge_t e;
    buf_t  b;

    buf_init(&b, 4096);
    edge_init(&e);
    put_hello(&b, SI_LINK_VERSION + 1);
    co_edge_raw(&e, b.p, b.n);
    ok(co_edge_closed(&e), "refused: another version");
    edge_close(&e);

    edge_init(&e);
    co_edge_open(&e, 1, 0, "GET", "/hello");
    ok(co_edge_closed(&e), "refused: OPEN before HELLO");
    edge_close(&e);

    edge_init(&e);
    co_edge_raw(&e, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    ok(co_edge_closed(&e), "refused: HTTP");
    edge_close(&e);
    buf_free(&b);
}

static void co_test_refused(void)
{
    static uint8_t zeros[70000];
    buf_t b;

    buf_init(&b, 1 << 20);
    put_hello(&b, SI_LINK_VERSION);
    co_refused(&b, "HELLO twice");
    co_refuse(0, 0, 1, NULL, 0, "type 0");
    co_refuse(SI_F_TYPES, 0, 1, NULL, 0, "a type that is none");
    co_refuse(SI_F_DATA, 0, 1, "x", 1, "a worker's frame");
    co_refuse(SI_F_PING, 1, 1, NULL, 0, "unknown flags");
    co_refuse(SI_F_PING, 0, 1, "x", 1, "PING with bytes");
    co_refuse(SI_F_CREDIT, 0, 1, "abc", 3, "a short CREDIT");
    co_refuse(SI_F_CANCEL, 0, 0, NULL, 0, "id 0");
    co_refuse(SI_F_READERS, 0, 1, "abcd", 4, "a short READERS");
    co_refuse(SI_F_READERS, 0, 1, "abcdefghi", 9, "a long one");
    co_refuse(SI_F_READERS, SI_FL_LOG, 1, "abcdefgh", 8, "READERS with flags");
    co_refuse(SI_F_READERS, 0, 0, "abcdefgh", 8, "READERS of log 0");
    co_refuse(SI_F_WANT, 0, 0, NULL, 0, "WANT without a name");
    co_refuse(SI_F_WANT, 0, 0, zeros, SI_KEYS_NAME + 1, "WANT with too long a name");
    co_refuse(SI_F_PUSH, 0, 0, "x", 1, "PUSH, a worker's frame");
    co_refuse(SI_F_BODY, 0, 5, zeros, SI_DATA_MAX + 1, "BODY too long");
    co_refuse(SI_F_OPEN, 0, 1, "x", 1, "malformed fields");
    co_refuse(SI_F_OPEN, 0, 1, "\x03\xff\xff\xff\xff", 5, "a field longer than its frame");
    co_refuse(SI_F_OPEN, 0, 1, NULL, 0, "OPEN without fields");
    co_refuse(SI_F_OPEN, 0, 1, "\x0c\x04\0\0\0abcd", 9, "OPEN with a field of HEAD");
    co_refuse(SI_F_OPEN, 0, 1, "\x06\x01\0\0\0x\x03\x01\0\0\0G\x04\x01\0\0\0/", 18, "a header without NUL");
    co_refuse(SI_F_OPEN, 0, 1, "\x03\x01\0\0\0G\x04\x01\0\0\0/\x04\x01\0\0\0/", 18, "two paths");
    co_refuse(SI_F_OPEN, 0, 1, "\x09\x01\0\0\0c\x04\x01\0\0\0/", 12, "a resume with a path");

    buf_consume(&b, b.n);
    put_open(&b, 1, 0, "GET", "/long");
    put_open(&b, 1, 0, "GET", "/long");
    co_refused(&b, "an id in use");
    buf_consume(&b, b.n);
    put_open(&b, 1, 0, "GET", "/long");
    put_frame(&b, SI_F_CREDIT, 0, 1, "\xff\xff\xff\xff", 4);
    co_refused(&b, "credit for what was not sent");
    buf_consume(&b, b.n);
    put_open(&b, 1, 0, "GET", "/long");
    put_frame(&b, SI_F_BODY, 0, 1, "x", 1);
    co_refused(&b, "BODY that was not announced");
    buf_consume(&b, b.n);
    put_open(&b, 1, SI_FL_BODY, "GET", "/long");
    put_frame(&b, SI_F_BODY, SI_FL_LAST, 1, "x", 1);
    put_frame(&b, SI_F_BODY, 0, 1, "x", 1);
    co_refused(&b, "BODY after the last");
    buf_consume(&b, b.n);
    put_open(&b, 1, SI_FL_BODY, "GET", "/long");
    put_frame(&b, SI_F_BODY, 0, 1, zeros, SI_WINDOW);
    put_frame(&b, SI_F_BODY, 0, 1, "x", 1);
    co_refused(&b, "BODY beyond the window");
    buf_free(&b);
    ok(co_until(no_calls), "no call is left");
}

/* OPEN with what the edge keeps of a key, and one further field, or none (tag 0). */
static void co_refuse_verdict(const uint8_t *p, size_t n, uint8_t tag, const char *why)
{
    buf_t f;

    buf_init(&f, 4096);
    put_text(&f, SI_T_METHOD, "GET");
    put_text(&f, SI_T_PATH, "/x");
    put_field(&f, SI_T_VERDICT, p, n);
    if (tag != 0) {
        put_text(&f, tag, "x");
    }
    if (tag == SI_T_SUBJECT) {
        put_text(&f, SI_T_ISSUER, "x");
        put_text(&f, SI_T_ORG, "x");
    }
    co_refuse(SI_F_OPEN, 0, 1, f.p, f.n, why);
    buf_free(&f);
}

static void co_test_verdict(void)
{
    static const uint8_t good[SI_VERDICT_GOOD + 1] = { [SI_DIGEST + 20] = 1 }, bad[SI_VERDICT_BAD];

    co_refuse_verdict(good, sizeof(good), 0, "a verdict that is too long");
    co_refuse_verdict(good, 1, 0, "one that is cut");
    co_refuse_verdict(bad, sizeof(bad), 0, "one that is bad: the edge answers that");
    co_refuse_verdict(good, SI_VERDICT_GOOD, SI_T_TICKET, "one beside a ticket");
    co_refuse_verdict(good, SI_VERDICT_GOOD, SI_T_SUBJECT, "one beside a token");
}

/* The script with a few bytes changed: whatever happens, the next link works. */
static void co_test_garbage(void)
{
    uint64_t seed = 4711;
    buf_t    b;
    edge_t   e;

    buf_init(&b, 8192);
    for (int round = 0; round < 400; round++) {
        buf_consume(&b, b.n);
        put_script(&b);
        for (int i = 0; i <= round % 4; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            b.p[(seed >> 33) % b.n] = (char) (seed >> 25);
        }
        edge_init(&e);
        co_edge_raw(&e, b.p, b.n);
        co_yield();
        (void) edge_fill(&e);
        edge_close(&e);
    }
    buf_free(&b);
    ok(co_until(no_calls), "400 damaged conversations leave no call");
    co_edge_up(&e);
    co_edge_open(&e, 1, 0, "GET", "/x");
    ok(co_edge_next(&e) == SI_F_HEAD && co_edge_next(&e) == SI_F_DATA && co_edge_next(&e) == SI_F_END,
       "and the next one works");
    edge_close(&e);
}

static void co_tests(void)
{
    edge_t silent;

    edge_init(&silent);
    co_test_split();
    co_test_first_frame();
    co_test_refused();
    co_test_verdict();
    co_test_garbage();
    ok(co_edge_closed(&silent), "a link without HELLO is closed in the end");
    edge_close(&silent);
}

int main(void)
{
    return edge_run(1000, co_handler, co_tests);
}
