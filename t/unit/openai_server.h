/*
 * A scripted provider for t/unit/openai.c: a process of its own, and one for each connection. The path
 * says what it does: POST /<script>/chat/completions. What it sees it tells on a pipe, a letter each.
 */
#ifndef SI_TEST_OPENAI_SERVER_H
#define SI_TEST_OPENAI_SERVER_H

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
} recording_t;

typedef struct {
    int    fd, report, go;
    char   in[65536];
    size_t n;                       /* head and body */
    const recording_t *recordings;
} peer_t;

#define HEAD_OK    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
#define TEXT(t)    "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"
#define FINISH     "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n"
#define DONE       "data: [DONE]\n\n"

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

    snprintf(size, sizeof size, "%zx\r\n", n);
    puts_(p, size);
    put(p, bytes, n);
    puts_(p, "\r\n");
}

static void chunks(peer_t *p, const char *z) { chunk(p, z, strlen(z)); }

static void stream(peer_t *p, const char *z)
{
    puts_(p, HEAD_OK);
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
    static char body[sizeof p->in * 2 + 200];
    size_t      n = (size_t) snprintf(body, 100, "{\"choices\":[{\"message\":{\"content\":\"");

    for (size_t i = 0; i < p->n; i++) {
        n += (size_t) snprintf(body + n, 3, "%02x", (unsigned char) p->in[i]);
    }
    snprintf(body + n, 60, "\"},\"finish_reason\":\"stop\"}]}");
    answer(p, "200 OK", "application/json", body);
}

static void send_recording(peer_t *p, const char *path)
{
    size_t index, piece;

    if (sscanf(path, "c/%zu/%zu", &index, &piece) != 2) {
        _exit(1);
    }
    puts_(p, HEAD_OK);
    for (size_t at = 0; at < p->recordings[index].n; at += piece) {
        size_t left = p->recordings[index].n - at;
        chunk(p, p->recordings[index].wire + at, left < piece ? left : piece);
    }
    puts_(p, "0\r\n\r\n");
}

static void send_big_event(peer_t *p)
{
    static char big[(1 << 20) + 4096];

    memset(big, 'x', sizeof big);
    memcpy(big, "data: ", 6);
    puts_(p, HEAD_OK);
    chunk(p, big, sizeof big);
    _exit(0);
}

/* Scripts that are one stream and no more. */
static const struct { const char *path, *stream; } streams[] = {
    { "whole", TEXT("Hel") TEXT("lo") FINISH USAGE DONE },
    { "no-done", TEXT("Hello") FINISH USAGE },
    { "no-finish", TEXT("Hello") DONE },
    { "neither", TEXT("Hello") },
    { "nothing", "" },
    { "no-blank", TEXT("Hello") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}" },
    { "half", TEXT("Hello") "data: {\"choices\":[{\"delta\":{\"content\":\"wor" },
    { "malformed", TEXT("Hello") "data: {\"choices\":[{]}\n\n" TEXT("no") FINISH DONE },
    { "no-object", TEXT("Hello") "data: 17\n\n" FINISH DONE },
    { "error", TEXT("Hello") "data: {\"error\":{\"message\":\"overloaded, key sk-abcdefgh12345\",\"type\":\"server_error\",\"code\":null}}\n\n" FINISH DONE },
    { "error-429", "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n" },
    { "error-type", "data: {\"error\":{\"message\":\"too long\",\"type\":\"invalid_request_error\"}}\n\n" },
    { "error-event", TEXT("Hello") "event: error\ndata: {\"message\":\"broken\"}\n\n" DONE },
    { "error-finish", TEXT("Hello") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n" DONE },
    { "quirks", "\xEF\xBB\xBF: hello\r\rdata:\r\rdata: \r\r"
                "data: {\"model\":\"q\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"reasoning\":\"th\",\"reasoning_content\":\"th\"}}],\"usage\":null}\r\r"
                "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}},{\"index\":0,\"delta\":{\"content\":\"\\u00e4b\"}}],\"error\":null}\r\r"
                "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}]}\r\r"
                "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\r\r"
                "data: [DONE]\r\r" },
};

static const struct { const char *path, *status, *type, *body; } answers[] = {
    { "400", "400 Bad Request", "application/json", "{\"error\":{\"message\":\"This model's maximum context\\nlength is 8192, key-of-test\",\"type\":\"x\"}}" },
    { "401", "401 Unauthorized", "application/json", "{\"error\":{\"message\":\"Incorrect API key provided: key-of-test\"}}" },
    { "403", "403 Forbidden", "text/html", "<html>" },
    { "404", "404 Not Found", "application/json", "{\"error\":\"no model \\u00e4\"}" },
    { "408", "408 Request Timeout", "text/plain", "" },
    { "429", "429 Too Many Requests", "application/json", "[{\"error\":{\"message\":\"quota of sk-1234567890\"}}]" },
    { "500", "500 Internal Server Error", "text/plain", "oops" },
    { "529", "529 Overloaded", "application/json", "{\"detail\":\"busy\"}" },
    { "302", "302 Found", "text/plain", "" },
    { "html", "200 OK", "text/html", "<html>captive portal</html>" },
    { "json", "200 OK", "application/json; charset=utf-8",
      "{\"model\":\"j\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"content\":\"whole\"},\"finish_reason\":\"stop\"}],"
      "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}" },
    { "json-error", "200 OK", "application/json", "{\"error\":{\"message\":\"no\",\"code\":503}}" },
    { "json-none", "200 OK", "application/json", "{\"choices\":[],\"error\":null}" },
    { "json-bad", "200 OK", "application/json", "{\"choices\":[" },
};

static void serve_other(peer_t *p, const char *path)
{
    if (strncmp(path, "c/", 2) == 0) {
        send_recording(p, path);
    } else if (strcmp(path, "echo") == 0) {
        echo(p);
    } else if (strcmp(path, "gate") == 0) {
        puts_(p, HEAD_OK);
        chunks(p, TEXT("first"));
        wait_go(p);
        chunks(p, TEXT("second") FINISH DONE);
        puts_(p, "0\r\n\r\n");
    } else if (strcmp(path, "cut") == 0) {
        puts_(p, HEAD_OK);
        chunks(p, TEXT("Hello"));
        _exit(0);
    } else if (strcmp(path, "cut-late") == 0) {
        puts_(p, HEAD_OK);
        chunks(p, TEXT("Hello") FINISH);
        _exit(0);
    } else if (strcmp(path, "silent") == 0) {
        puts_(p, HEAD_OK);
        chunks(p, TEXT("Hello"));
        hold(p);
    } else if (strcmp(path, "tail") == 0) {
        puts_(p, HEAD_OK);
        chunks(p, TEXT("Hello") FINISH);
        hold(p);
    } else if (strcmp(path, "big") == 0) {
        send_big_event(p);
    } else {                            /* "hang" */
        hold(p);
    }
}

static void serve_path(peer_t *p, const char *path)
{
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        if (strcmp(path, streams[i].path) == 0) {
            stream(p, streams[i].stream);
            return;
        }
    }
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (strcmp(path, answers[i].path) == 0) {
            answer(p, answers[i].status, answers[i].type, answers[i].body);
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

static void serve(int fd, int report, int go, const void *arg)
{
    static peer_t peer;
    peer_t       *p = &peer;
    char          path[128], *tail;
    int           on = 1;

    p->fd = fd;
    p->report = report;
    p->go = go;
    p->recordings = arg;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (read_request(p)) {
        if (sscanf(p->in, "POST /%127s HTTP/1.1\r\n", path) != 1 || (tail = strstr(path, "/chat/completions")) == NULL) {
            break;
        }
        *tail = '\0';
        serve_path(p, path);
    }
}

#endif
