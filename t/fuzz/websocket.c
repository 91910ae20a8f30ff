/*
 * libFuzzer target: WebSocket frames of a client. The first two bytes choose the maximum and how the rest is cut; the
 * messages must be the same as when it comes whole, and keep their bounds. Run by scripts/fuzz.
 */
#include "io/websocket.h"

#include <stdlib.h>

#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

typedef struct {
    uint64_t sum;       /* of all messages in order (FNV-1a) */
    size_t   n;
    int      code;
} seen_t;

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

static void add(seen_t *s, const ws_msg_t *m, size_t max)
{
    check(m->data.n <= (m->op == WS_TEXT ? max : WS_CONTROL_MAX));
    check(m->op == WS_TEXT || m->op >= WS_CLOSE);
    check(m->op != WS_TEXT || memchr(m->data.p, 0, m->data.n) || utf8_valid(m->data));
    s->sum = (s->sum ^ (unsigned) m->op) * 0x100000001b3u;
    for (size_t i = 0; i < m->data.n; i++) {
        s->sum = (s->sum ^ (uint8_t) m->data.p[i]) * 0x100000001b3u;
    }
    s->n++;
}

/* Pieces of 1 to 16 bytes by a simple generator; seed 0: whole. */
static seen_t feed(size_t max, const uint8_t *p, size_t n, uint32_t seed)
{
    seen_t   s = { 0 };
    ws_t     ws;
    ws_msg_t m;
    int      rc = 0;

    ws_init(&ws, max);
    while (rc == 0 && n > 0) {
        seed = seed != 0 ? seed * 1103515245u + 12345u : 0;
        size_t piece = seed != 0 ? SI_MIN(n, (seed >> 16) % 16 + 1) : n;
        char  *copy = si_malloc(piece);
        str_t  in = { copy, piece };

        memcpy(copy, p, piece);
        while ((rc = ws_next(&ws, &in, &m)) > 0) {
            add(&s, &m, max);
        }
        check(rc < 0 || in.n == 0);
        free(copy);
        p += piece;
        n -= piece;
    }
    check((rc < 0) == (ws.code != 0) && (rc == 0 || ws.reason != NULL));
    s.code = ws.code;
    ws_free(&ws);
    return s;
}

/* What we send is made of whole frames. */
static void send_back(const uint8_t *p, size_t n)
{
    buf_t  b;
    size_t at = 0;

    buf_init(&b, 1u << 20);
    check(ws_put(&b, WS_TEXT, (str_t) { (const char *) p, n }) == 0 && ws_put_close(&b, WS_NORMAL, (str_t) { (const char *) p, n }) == 0);
    while (at < b.n) {
        at += ws_frame_size(b.p + at, b.n - at);
    }
    check(at == b.n);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n < 2) {
        return 0;
    }
    size_t max = (size_t) p[0] * 8;
    seen_t a = feed(max, p + 2, n - 2, 0), b = feed(max, p + 2, n - 2, p[1] + 1u);

    check(a.n == b.n && a.sum == b.sum && a.code == b.code);
    send_back(p + 2, n - 2);
    return 0;
}
