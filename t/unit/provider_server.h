/*
 * A scripted provider for the unit tests of the wire formats: a process of its own, and one for each connection. The path
 * says what it does: POST /<script><tail>. What it sees it tells on a pipe, a letter each.
 */
#ifndef SI_TEST_PROVIDER_SERVER_H
#define SI_TEST_PROVIDER_SERVER_H

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server.h"

typedef struct {
    const char *name;               /* "groq/groq-text" */
    char       *wire;               /* framed */
    size_t      n;
    bool        array;              /* as one JSON array */
} recording_t;

typedef struct { const char *path, *stream; } stream_t;                     /* a script that is one stream and no more */
typedef struct { const char *path, *status, *type, *body; } answer_t;       /* and one that is no stream */

/* What a format's provider says; each text is framed events. */
typedef struct {
    const char        *tail;        /* of the path: "/chat/completions" */
    const char        *hello;       /* the text "Hello", and nothing of an end */
    const char        *finish;      /* the end of an answer that is whole, but for the marker behind it, if any */
    const char        *first, *second;      /* two texts; the second one ends the answer */
    const char        *array_first, *array_second;          /* the same in a JSON array */
    const char        *echo_head, *echo_tail;   /* a whole answer that is JSON: around its text */
    const stream_t    *streams;     /* until path is NULL */
    const answer_t    *answers;
    const recording_t *recordings;
    bool               unmarked;    /* nothing but the connection says that no more will come */
    const char        *type;        /* of streams; NULL: text/event-stream */
    char            *(*encode)(const char *text, size_t *n);    /* of those texts, to what is sent, to be freed; NULL: as they are */
} script_t;

typedef struct {
    int    fd, report, go;
    char   in[65536];
    size_t n;                       /* head and body */
    const script_t *script;
} peer_t;

static void put(peer_t *p, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t w = send(p->fd, bytes, n, MSG_NOSIGNAL);
        if (w <= 0) {
            _exit(0);
        }
        bytes += w;
        n -= (size_t) w;
    }
}

static void puts_(peer_t *p, const char *z) { put(p, z, strlen(z)); }

static void chunk(peer_t *p, const char *bytes, size_t n)
{
    char size[32];

    if (n > 0) {
        snprintf(size, sizeof size, "%zx\r\n", n);
        puts_(p, size);
        put(p, bytes, n);
        puts_(p, "\r\n");
    }
}

static void chunks(peer_t *p, const char *z)
{
    size_t n = strlen(z);
    char  *encoded = p->script->encode != NULL ? p->script->encode(z, &n) : NULL;

    chunk(p, encoded != NULL ? encoded : z, n);
    free(encoded);
}

static void head_of(peer_t *p, const char *type)
{
    puts_(p, "HTTP/1.1 200 OK\r\nContent-Type: ");
    puts_(p, type);
    puts_(p, "\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static void head_ok(peer_t *p)
{
    head_of(p, p->script->type != NULL ? p->script->type : "text/event-stream; charset=utf-8");
}

static void stream(peer_t *p, const char *z)
{
    head_ok(p);
    chunks(p, z);
    puts_(p, "0\r\n\r\n");
}

static void answer(peer_t *p, const char *status, const char *type, const char *body)
{
    char head[256];

    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", status, type, strlen(body));
    puts_(p, head);
    puts_(p, body);
}

static void hold(peer_t *p)
{
    char c;

    while (recv(p->fd, &c, 1, 0) > 0) {
    }
    if (write(p->report, "c", 1) != 1) {
        _exit(1);
    }
    _exit(0);
}

static void wait_go(peer_t *p)
{
    char c;

    if (read(p->go, &c, 1) != 1) {
        _exit(0);
    }
}

/* The whole request in hex, as the text of an answer that is no stream. */
static void echo(peer_t *p)
{
    static char body[sizeof p->in * 2 + 2000];
    size_t      n = (size_t) snprintf(body, 1000, "%s", p->script->echo_head);

    for (size_t i = 0; i < p->n; i++) {
        n += (size_t) snprintf(body + n, 3, "%02x", (unsigned char) p->in[i]);
    }
    snprintf(body + n, 1000, "%s", p->script->echo_tail);
    answer(p, "200 OK", "application/json", body);
}

static void send_recording(peer_t *p, const char *path)
{
    const recording_t *r = p->script->recordings;
    size_t             index, piece;

    if (sscanf(path, "c/%zu/%zu", &index, &piece) != 2) {
        _exit(1);
    }
    if (r[index].array) {
        head_of(p, "application/json; charset=UTF-8");
    } else {
        head_ok(p);
    }
    for (size_t at = 0; at < r[index].n; at += piece) {
        size_t left = r[index].n - at;
        chunk(p, r[index].wire + at, left < piece ? left : piece);
    }
    puts_(p, "0\r\n\r\n");
}

static void send_big_event(peer_t *p)
{
    static char big[(16 << 20) + 4096];

    memset(big, 'x', sizeof big);
    memcpy(big, "data: ", 6);
    head_ok(p);
    chunk(p, big, sizeof big);
    _exit(0);
}

static void serve_other(peer_t *p, const char *path)
{
    if (strncmp(path, "c/", 2) == 0) {
        send_recording(p, path);
    } else if (strcmp(path, "echo") == 0) {
        echo(p);
    } else if (strcmp(path, "gate") == 0) {
        head_ok(p);
        chunks(p, p->script->first);
        wait_go(p);
        chunks(p, p->script->second);
        puts_(p, "0\r\n\r\n");
    } else if (strcmp(path, "gate-array") == 0) {
        head_of(p, "application/json; charset=UTF-8");
        chunks(p, p->script->array_first);
        wait_go(p);
        chunks(p, p->script->array_second);
        puts_(p, "0\r\n\r\n");
    } else if (strcmp(path, "cut") == 0 || strcmp(path, "cut-late") == 0) {
        head_ok(p);
        chunks(p, p->script->hello);
        chunks(p, strcmp(path, "cut") == 0 ? "" : p->script->finish);
        _exit(0);
    } else if (strcmp(path, "silent") == 0 || strcmp(path, "tail") == 0) {
        head_ok(p);
        chunks(p, p->script->hello);
        chunks(p, strcmp(path, "silent") == 0 ? "" : p->script->finish);
        hold(p);
    } else if (strcmp(path, "big") == 0) {
        send_big_event(p);
    } else {                            /* "hang" */
        hold(p);
    }
}

static void serve_path(peer_t *p, const char *path)
{
    const script_t *s = p->script;

    for (size_t i = 0; s->streams[i].path != NULL; i++) {
        if (strcmp(path, s->streams[i].path) == 0) {
            stream(p, s->streams[i].stream);
            return;
        }
    }
    for (size_t i = 0; s->answers[i].path != NULL; i++) {
        if (strcmp(path, s->answers[i].path) == 0) {
            answer(p, s->answers[i].status, s->answers[i].type, s->answers[i].body);
            return;
        }
    }
    serve_other(p, path);
}

/* One request with its body. 0 when the client has gone. */
static int read_request(peer_t *p)
{
    size_t want = 0;

    p->n = 0;
    while (want == 0 || p->n < want) {
        ssize_t r = recv(p->fd, p->in + p->n, sizeof p->in - 1 - p->n, 0);
        char   *end, *length;

        if (r <= 0) {
            return 0;
        }
        p->n += (size_t) r;
        p->in[p->n] = '\0';
        end = strstr(p->in, "\r\n\r\n");
        length = strcasestr(p->in, "\r\nContent-Length:");
        if (end != NULL) {
            want = (size_t) (end - p->in) + 4 + (length != NULL ? strtoul(length + 17, NULL, 10) : 0);
        }
    }
    return 1;
}

/* arg: script_t. */
static void serve(int fd, int report, int go, const void *arg)
{
    static peer_t peer;
    peer_t       *p = &peer;
    char          path[128], *tail;
    int           on = 1;

    p->fd = fd;
    p->report = report;
    p->go = go;
    p->script = arg;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (read_request(p)) {
        if (sscanf(p->in, "POST /%127s HTTP/1.1\r\n", path) != 1 || (tail = strstr(path, p->script->tail)) == NULL) {
            break;
        }
        *tail = '\0';
        serve_path(p, path);
    }
}

#endif
