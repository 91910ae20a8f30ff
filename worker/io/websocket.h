/* Frames of the WebSocket protocol (RFC 6455), the server's side, text only, without extensions. Bytes in, messages out. */
#ifndef SI_WEBSOCKET_H
#define SI_WEBSOCKET_H

#include "base/buf.h"

#define WS_CONTROL_MAX  125u            /* payload of a control frame (section 5.5) */
#define WS_FRAME_MAX    (16u << 10)     /* payload of one frame we send; a longer message goes in several */

enum {                                  /* codes of a close (section 7.4.1, and IANA's registry) */
    WS_NORMAL = 1000, WS_GOING_AWAY = 1001, WS_PROTOCOL = 1002, WS_UNSUPPORTED = 1003, WS_BAD_DATA = 1007,
    WS_POLICY = 1008, WS_TOO_BIG = 1009, WS_INTERNAL = 1011, WS_RESTART = 1012, WS_NO_CODE = 1005 /* never sent */
};

typedef enum { WS_CONTINUED = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 } ws_op_t;

typedef struct {
    ws_op_t op;             /* WS_TEXT, a whole message of valid UTF-8; WS_CLOSE, WS_PING, WS_PONG */
    str_t   data;           /* lives until the next call */
    int     code;           /* of WS_CLOSE: what the client says, WS_NO_CODE if nothing; data is its reason */
} ws_msg_t;

typedef struct {
    int         code;       /* after SI_EPROTO: the close that says what was wrong, */
    const char *reason;     /* and its text, static */

    buf_t       message;    /* private: the text so far */
    bool        open;       /* in a message that goes on */
    bool        given;      /* the message was given out */
    uint8_t     head[14];
    size_t      head_n;
    ws_op_t     op;         /* of the present frame */
    bool        fin;
    uint64_t    length, at; /* of its payload */
    char        control[WS_CONTROL_MAX];
} ws_t;

/* max: bytes of one message; a longer one is WS_TOO_BIG. */
void ws_init(ws_t *ws, size_t max);
void ws_free(ws_t *ws);
/*
 * Takes bytes off the front of *in until a message is whole: 1 with *m; 0: all are taken and more are needed; SI_EPROTO:
 * the client broke the protocol, nothing more can be read.
 */
int  ws_next(ws_t *ws, str_t *in, ws_msg_t *m);

/* Appends a message, in frames of WS_FRAME_MAX at most. 0 or SI_ENOMEM (then nothing is appended). */
int  ws_put(buf_t *b, ws_op_t op, str_t data);
/* Appends a close frame; code WS_NO_CODE: without one. reason: cut to fit. */
int  ws_put_close(buf_t *b, int code, str_t reason);
/* Bytes of the frame that p..p+n, made by the above, begins with. */
size_t ws_frame_size(const char *p, size_t n);

/* The value of Sec-WebSocket-Accept for a key (section 4.2.2), with NUL. 0, or SI_EINVAL: not 16 bytes in base64. */
#define WS_ACCEPT_LEN  28
int  ws_accept(char out[WS_ACCEPT_LEN + 1], str_t key);

#endif
