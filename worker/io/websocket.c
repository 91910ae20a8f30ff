#include "io/websocket.h"

#include "base/base64.h"
#include "base/utf8.h"
#include "base/util.h"

#define FIN       0x80
#define RSV       0x70
#define MASK      0x80

void ws_init(ws_t *ws, size_t max)
{
    *ws = (ws_t) { 0 };
    buf_init(&ws->message, max);
}

void ws_free(ws_t *ws)
{
    buf_free(&ws->message);
}

static int broken(ws_t *ws, int code, const char *reason)
{
    ws->code = code;
    ws->reason = reason;
    return SI_EPROTO;
}

/* --- a frame's head --- */

/* Bytes that the head has, as far as its first two tell. */
static size_t head_size(const ws_t *ws)
{
    unsigned n = ws->head_n < 2 ? 0 : ws->head[1] & 0x7f;

    return 2 + 4 + (n == 126 ? 2 : n == 127 ? 8 : 0);
}

/* What the first two bytes can do wrong. */
static int check_start(ws_t *ws)
{
    unsigned op = ws->head[0] & 0x0f, n = ws->head[1] & 0x7f;

    if (ws->head[0] & RSV) {
        return broken(ws, WS_PROTOCOL, "a reserved bit is set: no extension was agreed");
    }
    if (!(ws->head[1] & MASK)) {
        return broken(ws, WS_PROTOCOL, "frames of a client must be masked");
    }
    if (op == WS_BINARY) {
        return broken(ws, WS_UNSUPPORTED, "messages must be text");
    }
    if (op != WS_CONTINUED && op != WS_TEXT && op != WS_CLOSE && op != WS_PING && op != WS_PONG) {
        return broken(ws, WS_PROTOCOL, "unknown opcode");
    }
    if (op >= WS_CLOSE && (!(ws->head[0] & FIN) || n > WS_CONTROL_MAX)) {
        return broken(ws, WS_PROTOCOL, "a control frame must be whole and short");
    }
    if (op == WS_CONTINUED && !ws->open) {
        return broken(ws, WS_PROTOCOL, "nothing is to be continued");
    }
    return op == WS_TEXT && ws->open ? broken(ws, WS_PROTOCOL, "the message before is not whole") : 0;
}

static int check_length(ws_t *ws)
{
    unsigned n = ws->head[1] & 0x7f, bytes = n == 126 ? 2 : n == 127 ? 8 : 0;

    ws->length = bytes ? 0 : n;
    for (unsigned i = 0; i < bytes; i++) {
        ws->length = ws->length << 8 | ws->head[2 + i];
    }
    if ((bytes == 2 && ws->length < 126) || (bytes == 8 && (ws->length <= UINT16_MAX || ws->length >> 63))) {
        return broken(ws, WS_PROTOCOL, "a length is not in its shortest form");
    }
    if (ws->op < WS_CLOSE && ws->length > ws->message.max - ws->message.n) {
        return broken(ws, WS_TOO_BIG, "the message is too long");
    }
    return 0;
}

/* Takes the head. 1: it is there, 0: more is needed. */
static int take_head(ws_t *ws, str_t *in)
{
    while (ws->head_n < head_size(ws)) {
        if (in->n == 0) {
            return 0;
        }
        ws->head[ws->head_n++] = (uint8_t) *in->p++;
        in->n--;
        if (ws->head_n == 2 && check_start(ws)) {
            return SI_EPROTO;
        }
    }
    ws->op = ws->head[0] & 0x0f;
    ws->fin = (ws->head[0] & FIN) != 0;
    ws->at = 0;
    return check_length(ws) ? SI_EPROTO : 1;
}

/* --- its payload --- */

static void unmask(const ws_t *ws, char *to, const char *from, size_t n)
{
    const uint8_t *mask = ws->head + ws->head_n - 4;

    for (size_t i = 0; i < n; i++) {
        to[i] = (char) ((uint8_t) from[i] ^ mask[(ws->at + i) & 3]);
    }
}

static void take_payload(ws_t *ws, str_t *in)
{
    size_t n = (size_t) SI_MIN(ws->length - ws->at, in->n);

    if (n == 0) {
        return;
    }
    if (ws->op >= WS_CLOSE) {
        unmask(ws, ws->control + ws->at, in->p, n);
    } else {
        unmask(ws, buf_reserve(&ws->message, n), in->p, n);     /* the head's check made sure that it fits */
        buf_commit(&ws->message, n);
    }
    ws->at += n;
    in->p += n;
    in->n -= n;
}

/* Unlike utf8_valid() this lets NUL pass: here it is text. */
static bool is_text(str_t s)
{
    size_t step;

    for (size_t i = 0; i < s.n; i += step) {
        step = utf8_step(s.p + i, s.n - i);
        if (step == 0) {
            return false;
        }
    }
    return true;
}

/* --- whole frames --- */

static bool code_ok(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static int got_close(ws_t *ws, ws_msg_t *m)
{
    m->code = WS_NO_CODE;
    if (m->data.n == 0) {
        return 1;
    }
    m->code = m->data.n == 1 ? 0 : (uint8_t) m->data.p[0] << 8 | (uint8_t) m->data.p[1];
    if (!code_ok(m->code)) {
        return broken(ws, WS_PROTOCOL, "no valid code of a close");
    }
    m->data = (str_t) { m->data.p + 2, m->data.n - 2 };
    return is_text(m->data) ? 1 : broken(ws, WS_BAD_DATA, "the reason of a close is not UTF-8");
}

/* 1: a message is whole, 0: it goes on. */
static int got_frame(ws_t *ws, ws_msg_t *m)
{
    ws->head_n = 0;
    *m = (ws_msg_t) { .op = ws->op, .data = { ws->control, (size_t) ws->length } };
    if (ws->op >= WS_CLOSE) {
        return ws->op == WS_CLOSE ? got_close(ws, m) : 1;
    }
    ws->open = !ws->fin;
    if (ws->open) {
        return 0;
    }
    ws->given = true;
    *m = (ws_msg_t) { .op = WS_TEXT, .data = { ws->message.n ? ws->message.p : "", ws->message.n } };
    return is_text(m->data) ? 1 : broken(ws, WS_BAD_DATA, "a message is not UTF-8");
}

int ws_next(ws_t *ws, str_t *in, ws_msg_t *m)
{
    int rc;

    if (ws->code) {
        return SI_EPROTO;
    }
    if (ws->given) {
        ws->given = false;
        buf_consume(&ws->message, ws->message.n);
    }
    for (;;) {
        rc = ws->head_n < head_size(ws) ? take_head(ws, in) : 1;
        if (rc <= 0) {
            return rc;
        }
        take_payload(ws, in);
        if (ws->at < ws->length) {
            return 0;
        }
        rc = got_frame(ws, m);
        if (rc) {
            return rc;
        }
    }
}

/* --- sending --- */

static size_t put_head(uint8_t head[4], unsigned first, size_t n)
{
    head[0] = (uint8_t) first;
    if (n <= WS_CONTROL_MAX) {
        head[1] = (uint8_t) n;
        return 2;
    }
    head[1] = 126;
    head[2] = (uint8_t) (n >> 8);
    head[3] = (uint8_t) n;
    return 4;
}

int ws_put(buf_t *b, ws_op_t op, str_t data)
{
    size_t  frames = SI_MAX((data.n + WS_FRAME_MAX - 1) / WS_FRAME_MAX, 1), n;
    uint8_t head[4];

    if (data.n + 4 * frames > b->max - b->n) {
        return SI_ENOMEM;
    }
    for (size_t i = 0; i < frames; i++) {
        n = SI_MIN(data.n, WS_FRAME_MAX);
        (void) buf_append(b, head, put_head(head, (i + 1 == frames ? FIN : 0) | (i ? WS_CONTINUED : op), n));
        (void) buf_append(b, data.p, n);
        data = (str_t) { data.p + n, data.n - n };
    }
    return 0;
}

int ws_put_close(buf_t *b, int code, str_t reason)
{
    char   text[WS_CONTROL_MAX] = { (char) (code >> 8), (char) code };
    size_t n = reason.n > WS_CONTROL_MAX - 2 ? utf8_cut(reason.p, WS_CONTROL_MAX - 2) : reason.n;

    if (n > 0) {
        memcpy(text + 2, reason.p, n);
    }
    return ws_put(b, WS_CLOSE, (str_t) { text, code == WS_NO_CODE ? 0 : n + 2 });
}

size_t ws_frame_size(const char *p, size_t n)
{
    size_t length = n < 2 ? 0 : (uint8_t) p[1];

    return length <= WS_CONTROL_MAX ? 2 + length : 4 + (size_t) ((uint8_t) p[2] << 8 | (uint8_t) p[3]);
}

/* --- the handshake --- */

int ws_accept(char out[WS_ACCEPT_LEN + 1], str_t key)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";     /* section 1.3 */
    char              text[24 + sizeof(guid)];
    uint8_t           nonce[BASE64_BYTES(24)], digest[SHA1_LEN];

    if (key.n != 24 || base64_decode(nonce, sizeof(nonce), key) != 16) {
        return SI_EINVAL;
    }
    memcpy(text, key.p, 24);
    memcpy(text + 24, guid, sizeof(guid));
    sha1(digest, text, 24 + sizeof(guid) - 1);
    base64_encode(out, digest, sizeof(digest));
    return 0;
}
