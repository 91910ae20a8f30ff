#include "api/socket.h"

#include <stdio.h>

#include "api/own.h"
#include "api/problem.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "link/frame.h"
#include "run/loop.h"
#include "store/revoked.h"

#define PIECE        (32u << 10)        /* of one DATA frame: at least a frame of WS_FRAME_MAX */
#define WRITE_MS     300000             /* the edge closes clients that take nothing long before (si_stream_stall) */
#define SPREAD_MS    5000               /* a drain */
#define EVENTS_MAX   (8u << 20)         /* as SI_FRAME_MAX: one event */

struct sockets {
    list_t all;
    size_t n;
};

void sockets_init(void)
{
    proc.sockets = si_calloc(sizeof(*proc.sockets));
    list_init(&proc.sockets->all);
}

size_t sockets_count(void)
{
    return proc.sockets->n;
}

void sockets_drain(void)
{
    list_each(it, &proc.sockets->all) {
        socket_t *s = list_entry(it, socket_t, node);
        uint32_t  r;

        random_bytes(&r, sizeof(r));
        s->leave = loop_now() + 1 + r % SPREAD_MS;
        wait_wake(&s->wake, 0);
    }
}

void sockets_key_gone(const char *key_id)
{
    list_each(it, &proc.sockets->all) {
        socket_t *s = list_entry(it, socket_t, node);

        if (s->r->who.key_id && strcmp(s->r->who.key_id, key_id) == 0) {
            s->revoked = true;
            wait_wake(&s->wake, 0);
        }
    }
}

void sockets_tokens_gone(void)
{
    list_each(it, &proc.sockets->all) {
        socket_t  *s = list_entry(it, socket_t, node);
        si_marks_t marks;

        if (s->r->call->marks != NULL) {
            si_marks_get(s->r->call->marks, &marks);
            s->revoked = s->revoked || revoked(&marks);
            wait_wake(&s->wake, 0);
        }
    }
}

/* --- frames out --- */

void socket_put(socket_t *s, ws_op_t op, str_t data)
{
    if (!s->closing && ws_put(&s->next, op, data)) {
        socket_close(s, WS_INTERNAL, STR("what was to be sent is too long"));
    }
}

void socket_close(socket_t *s, int code, str_t reason)
{
    if (!s->closing) {
        s->next.max += 2 + WS_CONTROL_MAX;      /* always fits */
        (void) ws_put_close(&s->next, code, reason);
        s->closing = true;
    }
}

/* Sends what is queued, whole frames in each piece: so the edge may close a socket between any two. 0, SI_ECLOSED … */
static int co_flush(socket_t *s)
{
    int rc = 0;

    while (rc == 0 && s->next.n + s->out.n > 0) {
        size_t n = 0, step;

        if (s->out.n == 0) {
            buf_t sent = s->out;
            s->out = s->next;
            s->next = sent;
            s->next.max = SOCKET_OUT_MAX;
        }
        while (n < s->out.n && n + (step = ws_frame_size(s->out.p + n, s->out.n - n)) <= PIECE) {
            n += step;
        }
        rc = co_call_piece(s->r->call, s->out.p, n, clock_ms() + WRITE_MS);
        buf_consume(&s->out, n);
        wait_wake(&s->idle, 0);
    }
    return rc;
}

/* --- frames in --- */

static void got(socket_t *s, const ws_msg_t *m)
{
    switch (m->op) {
    case WS_TEXT:
        command_add(s, m->data);
        break;
    case WS_PING:
        socket_put(s, WS_PONG, m->data);
        break;
    case WS_CLOSE:
        socket_close(s, m->code, STR_NULL);
        break;
    default:
        break;
    }
}

static void take_input(socket_t *s)
{
    ws_msg_t m;

    while (!s->closing && !command_full(s)) {
        str_t rest;
        int   rc;

        if (s->in.n == 0 && call_take(s->r->call, &s->in) == 0) {
            return;
        }
        s->heard = loop_now();
        s->asked = 0;
        rest = (str_t) { s->in.p, s->in.n };
        rc = ws_next(&s->ws, &rest, &m);
        buf_consume(&s->in, s->in.n - rest.n);
        if (rc > 0) {
            got(s, &m);
        } else if (rc < 0) {
            socket_close(s, s->ws.code, str_of(s->ws.reason));
        }
    }
}

/* --- events --- */

static void more(socket_sub_t *sub)
{
    sub->more = true;
    wait_wake(&sub->socket->wake, 0);
}

static void on_more(tail_t *t)
{
    more(container_of(t, socket_sub_t, tail));
}

static void on_more_of_all(feed_tail_t *t)
{
    more(container_of(t, socket_sub_t, feed));
}

static void sub_begun(socket_sub_t *sub, bool all)
{
    sub->all = all;
    sub->open = sub->more = true;
    sub->lost = sub->retry = sub->failures = 0;
}

void socket_sub_begin(socket_sub_t *sub, conv_t *c, event_pos_t pos)
{
    tail_open(&sub->tail, c, pos, on_more);
    sub_begun(sub, false);
}

void socket_sub_begin_all(socket_sub_t *sub, feed_t *f, const feed_pos_t *pos)
{
    feed_tail_open(&sub->feed, f, pos, on_more_of_all);
    sub_begun(sub, true);
}

void socket_sub_close(socket_sub_t *sub)
{
    if (sub->open && sub->all) {
        feed_tail_close(&sub->feed);
    } else if (sub->open) {
        tail_close(&sub->tail);
    }
    sub->open = false;
}

const char *socket_sub_id(const socket_sub_t *sub, char out[FEED_ID_MAX + 1])
{
    char text[48];

    if (sub->all) {
        return feed_pos_text(&sub->feed.pos, out).p;
    }
    snprintf(out, FEED_ID_MAX + 1, "%s", event_pos_text(sub->tail.id, text).p);
    return out;
}

static void sub_lose(socket_sub_t *sub)
{
    socket_sub_close(sub);
    sub->lost = clock_ms();
}

void socket_sub_free(socket_sub_t *sub)
{
    socket_sub_close(sub);
    list_remove(&sub->node);
    sub->socket->nsubs--;
    free(sub);
}

/* An event as a message. */
static void put_event(socket_t *s, const socket_sub_t *sub, const event_view_t *e)
{
    buf_t b;

    buf_init(&b, EVENTS_MAX + 512);
    if (e->id.n) {
        buf_printf(&b, "{\"id\":\"%.*s\"", STR_ARG(e->id));
    } else {
        buf_puts(&b, "{\"id\":null");
    }
    buf_printf(&b, ",\"event\":\"%.*s\"", STR_ARG(e->type));
    if (sub->all) {                     /* the data say which conversation it is */
        buf_puts(&b, ",\"subscription\":\"*\",\"data\":");
    } else {
        buf_printf(&b, ",\"conversation\":\"%s\",\"data\":", sub->conversation);
    }
    buf_append(&b, e->data.p, e->data.n);
    buf_puts(&b, "}");
    socket_put(s, WS_TEXT, (str_t) { b.p, b.n });
    buf_free(&b);
}

static void put_events(socket_t *s, const socket_sub_t *sub, str_t wire)
{
    event_view_t e;
    size_t       n;

    while ((n = event_view(wire.p, wire.n, &e)) > 0) {
        put_event(s, sub, &e);
        wire = (str_t) { wire.p + n, wire.n - n };
    }
}

/* What has come of one subscription, as far as there is room. */
static void co_take_sub(socket_t *s, socket_sub_t *sub)
{
    buf_t b;
    int   rc;

    buf_init(&b, EVENTS_MAX);
    while (sub->open && sub->more && !s->closing && s->next.n < SOCKET_OUT_SOFT) {
        sub->more = false;
        rc = sub->all ? co_feed_take(&sub->feed, &b) : co_tail_take(&sub->tail, &b);
        if (rc > 0) {
            sub->more = true;
            put_events(s, sub, (str_t) { b.p, b.n });
            buf_consume(&b, b.n);
        } else if (rc < 0) {
            sub_lose(sub);
        }
    }
    buf_free(&b);
}

static void co_take_events(socket_t *s)
{
    s->taking = true;
    list_each(it, &s->subs) {
        co_take_sub(s, list_entry(it, socket_sub_t, node));
    }
    s->taking = false;
    wait_wake(&s->idle, 0);
}

/* --- its life --- */

/* Asks a silent client whether it is there, and leaves one that does not answer; and all of them when the worker drains. */
static void watch_time(socket_t *s)
{
    uint64_t now = loop_now(), ping = proc.conf->websocket_ping;

    if (s->revoked) {
        socket_close(s, WS_POLICY, STR("the credential was revoked"));
    } else if (s->leave && now >= s->leave) {
        socket_close(s, WS_RESTART, STR("the worker restarts"));
    } else if (s->asked ? now >= s->asked + ping : now >= s->heard + ping) {
        if (s->asked) {
            socket_close(s, WS_POLICY, STR("no answer to a ping"));
        } else {
            socket_put(s, WS_PING, STR_NULL);
            s->asked = now;
        }
    }
}

static uint64_t deadline(const socket_t *s)
{
    uint64_t at = (s->asked ? s->asked : s->heard) + proc.conf->websocket_ping;

    at = SI_MIN(at, command_due(s));
    return s->leave ? SI_MIN(at, s->leave) : at;
}

static bool quiet(const socket_t *s)
{
    list_each(it, &s->subs) {
        const socket_sub_t *sub = list_entry(it, socket_sub_t, node);
        if (sub->open && sub->more) {
            return false;
        }
    }
    return s->next.n == 0;
}

/* 0: closed as the protocol wants it, after its last frame. */
static int co_serve(socket_t *s)
{
    int rc = 0;

    while (rc == 0) {
        wait_init(&s->wake);
        take_input(s);
        command_start(s);
        co_take_events(s);
        watch_time(s);
        if (!quiet(s)) {
            rc = co_flush(s);
            if (rc == 0 && s->closing) {
                return 0;
            }
        } else {
            rc = co_wait(&s->wake, "socket", deadline(s));
            rc = rc == SI_ETIMEDOUT ? 0 : rc;
        }
    }
    return rc;
}

static void socket_init(socket_t *s, request_t *r)
{
    *s = (socket_t) { .r = r, .heard = loop_now() };
    ws_init(&s->ws, 6 * proc.conf->input_max + 8192);      /* as the body of a turn */
    buf_init(&s->in, SI_WINDOW);
    buf_init(&s->out, SOCKET_OUT_MAX);
    buf_init(&s->next, SOCKET_OUT_MAX);
    list_init(&s->subs);
    list_init(&s->commands);
    list_push(&proc.sockets->all, &s->node);
    proc.sockets->n++;
    call_wake(r->call, &s->wake);
}

static void co_socket_free(socket_t *s)
{
    call_wake(s->r->call, NULL);
    list_remove(&s->node);
    proc.sockets->n--;
    co_command_stop(s);
    list_each_safe(it, &s->subs) {
        socket_sub_free(list_entry(it, socket_sub_t, node));
    }
    ws_free(&s->ws);
    buf_free(&s->in);
    buf_free(&s->out);
    buf_free(&s->next);
}

/* --- the handshake --- */

/* A browser that offers subprotocols wants one to be chosen (section 4.1). */
static bool offers(str_t list, const char *name)
{
    size_t n = strlen(name);

    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        str_t       one = { list.p, comma ? (size_t) (comma - list.p) : list.n };

        list = comma ? (str_t) { comma + 1, list.n - one.n - 1 } : STR_NULL;
        for (; one.n > 0 && (*one.p == ' ' || *one.p == '\t'); one.p++, one.n--) {}
        for (; one.n > 0 && (one.p[one.n - 1] == ' ' || one.p[one.n - 1] == '\t'); one.n--) {}
        if (one.n == n && memcmp(one.p, name, n) == 0) {
            return true;
        }
    }
    return false;
}

/* Checks the request (section 4.2.1) and answers it with 101. False: answered otherwise. */
static bool co_handshake(request_t *r)
{
    call_t     *call = r->call;
    char        accept[WS_ACCEPT_LEN + 1];
    call_head_t head = { .status = 101, .length = -1, .nheaders = 2 };

    if (!call_header(call, "upgrade").n) {          /* the edge passes it on when HTTP/1.1 and the rest allow it */
        co_problem_upgrade(call, "this is a WebSocket: ask for it over HTTP/1.1 with GET, Connection: Upgrade and Upgrade: websocket");
        return false;
    }
    if (!str_is(call_header(call, "sec-websocket-version"), "13")) {
        co_problem_upgrade(call, "the version of the WebSocket protocol must be 13");
        return false;
    }
    if (ws_accept(accept, call_header(call, "sec-websocket-key"))) {
        co_problem(call, 400, "invalid_field", "Sec-WebSocket-Key", "must be 16 bytes in base64");
        return false;
    }
    if (proc.draining) {
        if (!co_to_successor(r)) {
            co_problem_rc(call, SI_EAGAIN);
        }
        return false;
    }
    head.headers[0][0] = "Upgrade";
    head.headers[0][1] = "websocket";
    head.headers[1][0] = "Sec-WebSocket-Accept";
    head.headers[1][1] = accept;
    if (offers(call_header(call, "sec-websocket-protocol"), "si")) {
        head.headers[head.nheaders][0] = "Sec-WebSocket-Protocol";
        head.headers[head.nheaders++][1] = "si";
    }
    call_head(call, &head);
    return true;
}

void co_socket(request_t *r)
{
    socket_t s;
    int      rc;

    if (!co_handshake(r)) {
        return;
    }
    socket_init(&s, r);
    rc = co_serve(&s);
    co_socket_free(&s);
    if (rc) {
        call_abort(r->call);
    } else {
        call_end(r->call);
    }
}
