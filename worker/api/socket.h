/*
 * WebSockets, GET /v1/socket (RFC 6455): the events of several conversations as JSON text messages, turns and cancels. The edge
 * is a tunnel; here are the frames. socket.c moves bytes, frames and events; command.c does what the client asks for.
 *
 * A socket is two coroutines: the call's own never waits for anything but its client and the stores of what it replays; the
 * other one, there while commands are, runs them in order. Memory of one: SOCKET_QUEUE_BYTES and one message more of
 * commands, an event and an answer on their way out. A slow reader costs no more: its tails are positions.
 */
#ifndef SI_SOCKET_H
#define SI_SOCKET_H

#include "api/routes.h"
#include "io/websocket.h"
#include "turn/feed.h"
#include "turn/tail.h"

#define SOCKET_SUBS_MAX     32
#define SOCKET_QUEUE_MAX    16              /* commands that wait; past it nothing more is read */
#define SOCKET_QUEUE_BYTES  (256u << 10)    /* likewise */
#define SOCKET_OUT_SOFT     (64u << 10)     /* no event is taken and no command begun while more waits to be sent */
#define SOCKET_OUT_MAX      (64u << 20)     /* above SOCKET_OUT_SOFT, one event and one answer */

/* One conversation that is followed, or all of them. */
typedef struct socket_sub {
    list_t         node;
    struct socket *socket;
    bool           all;             /* conversation is "*" */
    union {                         /* their positions are kept while it is not open */
        tail_t      tail;
        feed_tail_t feed;
    };
    bool           open;            /* else it has to be opened again */
    bool           more;            /* something may have come */
    uint64_t       lost, retry;     /* clock_ms() of the loss and of the next attempt */
    unsigned       failures;
    char           conversation[UUID_LEN + 1];
} socket_sub_t;

typedef struct socket_command {
    list_t node;
    size_t n;
    char   text[];
} socket_command_t;

typedef struct socket {
    list_t     node;                /* proc.sockets */
    request_t *r;
    ws_t       ws;
    buf_t      in;                  /* come, and not looked at */
    buf_t      out, next;           /* whole frames: being sent, and to be sent then */
    wait_t     wake;                /* of the socket's own coroutine */
    bool       closing;             /* the last frame is in `next` */

    list_t     subs, commands;
    size_t     nsubs, ncommands, command_bytes;
    co_t      *doer;                /* runs commands, or NULL */
    bool       taking;              /* a tail is being read: open subs must not be touched */
    wait_t     idle;                /* the doer waits for the end of that, or for room in `next` */
    wait_t     done;                /* somebody waits for the doer's end */

    uint64_t   heard, asked;        /* loop_now() of the last byte of the client; of a ping since, 0: none */
    uint64_t   leave;               /* when it is asked to reconnect because the worker drains; 0: not yet */
    bool       revoked;             /* its credential is */
} socket_t;

/* Sets proc.sockets. */
void   sockets_init(void);
size_t sockets_count(void);
/* Every socket is closed with 1012, spread over a few seconds. */
void   sockets_drain(void);
/* Those of a key that was revoked are closed with 1008. */
void   sockets_key_gone(const char *key_id);
/* Likewise those of tokens that are revoked by now. */
void   sockets_tokens_gone(void);

/* Queues the frames of a message, or closes the socket when they do not fit. */
void   socket_put(socket_t *s, ws_op_t op, str_t data);
/* Queues a close frame, the last one. */
void   socket_close(socket_t *s, int code, str_t reason);
void   socket_sub_free(socket_sub_t *sub);
/* Its events follow from `pos` on, in the open conversation c. */
void   socket_sub_begin(socket_sub_t *sub, conv_t *c, event_pos_t pos);
void   socket_sub_begin_all(socket_sub_t *sub, feed_t *f, const feed_pos_t *pos);
/* Takes it off what it reads; its position stays. */
void   socket_sub_close(socket_sub_t *sub);
/* The id of the last event that was sent, with NUL. */
const char *socket_sub_id(const socket_sub_t *sub, char out[FEED_ID_MAX + 1]);

/* --- command.c --- */

/* Takes a text message. */
void   command_add(socket_t *s, str_t text);
/* No further one is to be added now. */
bool   command_full(const socket_t *s);
/* Starts the coroutine that runs commands and opens lost conversations again, if there is something for it to do. */
void   command_start(socket_t *s);
/* Waits until it has ended. */
void   co_command_stop(socket_t *s);
/* When it next has something to do by itself; UINT64_MAX: never. */
uint64_t command_due(const socket_t *s);

#endif
