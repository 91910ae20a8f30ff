/*
 * A scripted HTTP server for t/unit/http.c: a process of its own, and one for each connection, so that
 * blocking code will do. What it sees it tells on a pipe, a line each: "stalled 123\n", "closed\n".
 */
#ifndef SI_HTTP_SERVER_H
#define SI_HTTP_SERVER_H

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server.h"

#define BIG_BYTES  (5u << 20)

typedef struct {
    int    fd, report, go;
    char   in[65536];
    size_t n;           /* bytes in `in` */
    size_t head;        /* length of the head */
    size_t body;        /* Content-Length */
    int    last;        /* the next request is not answered */
} peer_t;

static void tell(peer_t *p, const char *what, long n)
{
    char line[64];
    int  len = n >= 0 ? snprintf(line, sizeof(line), "%s %ld\n", what, n) : snprintf(line, sizeof(line), "%s\n", what);

    if (write(p->report, line, (size_t) len) != len) {
        _exit(1);
    }
}

static void put(peer_t *p, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t w = send(p->fd, bytes, n, MSG_NOSIGNAL);
        if (w <= 0) {
            tell(p, "closed", -1);
            _exit(0);
        }
        bytes += w;
        n -= (size_t) w;
    }
}

static void puts_(peer_t *p, const char *z) { put(p, z, strlen(z)); }

static void wait_go(peer_t *p)
{
    char c;

    if (read(p->go, &c, 1) != 1) {
        _exit(0);
    }
}

/* Nothing more is sent: when does the client go? */
static void wait_close(peer_t *p)
{
    char c;

    while (recv(p->fd, &c, 1, 0) > 0) {
    }
    tell(p, "closed", -1);
    _exit(0);
}

static void answer(peer_t *p, const char *type, const char *body, size_t n)
{
    char head[256];

    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nX-Conn: %d\r\nContent-Length: %zu\r\n\r\n",
             type, (int) getpid(), n);
    puts_(p, head);
    put(p, body, n);
}

static void send_big(peer_t *p)
{
    static char piece[16384];
    size_t      sent = 0;
    int         stalled = 0, small = 65536;

    setsockopt(p->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    puts_(p, "HTTP/1.1 200 OK\r\nContent-Length: 5242880\r\n\r\n");
    while (sent < BIG_BYTES) {
        struct pollfd pfd = { p->fd, POLLOUT, 0 };
        if (!stalled && poll(&pfd, 1, 500) == 0) {
            tell(p, "stalled", (long) sent);
            stalled = 1;
        }
        for (size_t i = 0; i < sizeof(piece); i++) {
            piece[i] = (char) ((sent + i) * 7 / 3);
        }
        put(p, piece, sizeof(piece));
        sent += sizeof(piece);
    }
    if (!stalled) {
        tell(p, "stalled", (long) sent);
    }
}

static void send_headers(peer_t *p)
{
    char line[300];

    puts_(p, "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\nRetry-After:   7 \t\r\nX-Empty:\r\n");
    for (int i = 0; i < 100; i++) {
        snprintf(line, sizeof(line), "X-Number-%d: %d\r\n", i, i);
        puts_(p, line);
    }
    puts_(p, "\r\n");
}

static void serve_path(peer_t *p, const char *path)
{
    if (strcmp(path, "/hello") == 0) {
        answer(p, "text/plain", "hello", 5);
    } else if (strcmp(path, "/echo") == 0) {
        answer(p, "text/plain", p->in, p->head);
    } else if (strcmp(path, "/length") == 0) {
        char text[32];
        snprintf(text, sizeof(text), "%zu", p->body);
        answer(p, "text/plain", text, strlen(text));
    } else if (strcmp(path, "/chunked") == 0) {
        puts_(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        wait_go(p);
        puts_(p, "2\r\nb");
        wait_go(p);
        puts_(p, "c\r\n0\r\nX-Trailer: 1\r\n\r\n");
    } else if (strcmp(path, "/last") == 0) {
        p->last = 1;
        answer(p, "text/plain", "last", 4);
    } else if (strcmp(path, "/more") == 0) {
        puts_(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Conn: evil\r\nContent-Length: 4\r\n\r\nevil");
        wait_close(p);
    } else if (strcmp(path, "/more-later") == 0) {
        answer(p, "text/plain", "ok", 2);
        wait_go(p);
        puts_(p, "HTTP/1.1 200 OK\r\nX-Conn: evil\r\nContent-Length: 4\r\n\r\nevil");
        wait_close(p);
    } else if (strcmp(path, "/smuggle") == 0) {
        puts_(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 20\r\n\r\nok");
        wait_close(p);
    } else if (strcmp(path, "/cut") == 0) {
        puts_(p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
        _exit(0);
    } else if (strcmp(path, "/cut-chunked") == 0) {
        puts_(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n");
        _exit(0);
    } else if (strcmp(path, "/until-close") == 0) {
        puts_(p, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcd");
        _exit(0);
    } else if (strcmp(path, "/vanish") == 0) {
        tell(p, "asked", -1);
        _exit(0);
    } else if (strcmp(path, "/tell") == 0) {
        tell(p, "told", -1);
        answer(p, "text/plain", "", 0);
    } else if (strcmp(path, "/nothing") == 0) {
        _exit(0);
    } else if (strcmp(path, "/early") == 0) {
        puts_(p, "HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-A: 2\r\n\r\n"
                 "HTTP/1.1 429 Slow Down\r\nX-B: 3\r\nContent-Length: 2\r\n\r\n{}");
    } else if (strcmp(path, "/big") == 0) {
        send_big(p);
    } else if (strcmp(path, "/headers") == 0) {
        send_headers(p);
    } else if (strcmp(path, "/redirect") == 0) {
        puts_(p, "HTTP/1.1 302 Found\r\nLocation: /hello\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(path, "/slow") == 0) {
        puts_(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        wait_close(p);
    } else {                                            /* "/hang" */
        wait_close(p);
    }
}

/* One request with its body. 0 when the client has gone. */
static int read_request(peer_t *p)
{
    char *end = NULL, *length;

    p->n = p->body = 0;
    while (end == NULL) {
        ssize_t r = recv(p->fd, p->in + p->n, sizeof(p->in) - 1 - p->n, 0);
        if (r <= 0) {
            return 0;
        }
        p->n += (size_t) r;
        p->in[p->n] = '\0';
        end = strstr(p->in, "\r\n\r\n");
    }
    p->head = (size_t) (end - p->in) + 4;
    length = strcasestr(p->in, "\r\nContent-Length:");
    if (length != NULL && length < end) {
        p->body = strtoul(length + 17, NULL, 10);
    }
    if (strncmp(p->in, "POST /too-large ", 16) == 0) {
        puts_(p, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
        wait_close(p);
    }
    for (size_t got = p->n - p->head; got < p->body; ) {
        char    skip[2048];
        ssize_t r = recv(p->fd, skip, sizeof(skip), 0);
        if (r <= 0) {
            return 0;
        }
        got += (size_t) r;
    }
    return 1;
}

static void serve(int fd, int report, int go, const void *arg)
{
    static peer_t peer;
    peer_t       *p = &peer;
    char          path[64];

    (void) arg;
    p->fd = fd;
    p->report = report;
    p->go = go;
    while (read_request(p) && !p->last) {
        if (sscanf(p->in, "%*s %63s", path) != 1) {
            break;
        }
        serve_path(p, path);
    }
}

#endif
