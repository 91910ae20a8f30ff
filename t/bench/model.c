/*
 * A model for load tests: answers each POST with a stream of tokens in the form of OpenAI's chat completions, or, when that
 * does not ask for a stream, with one body. One thread, epoll, one timer heap; a thousand streams of 20 tokens 50 ms apart
 * take a small part of a core.
 *
 *   model PORT TOKENS DELAY_MS [stamp]
 *
 * With `stamp` a token is "t=" and CLOCK_MONOTONIC in ns, 15 digits: who reads it sees how old it is. With DELAY_MS 0 all
 * of an answer leaves at once: 1,000 tokens at most, and no stamps. Listens on 127.0.0.1; prints "ready PORT"; ends on SIGTERM.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HEAD_MAX    (16u << 10)     /* of a request */
#define TOKENS_MAX  100000u
#define OUT_MAX     (256u << 10)    /* unsent bytes of one answer: a reader this slow is cut */
#define PART_MAX    1024            /* bytes of a head, a token or an end */

typedef struct conn {
    int       fd;
    char     *in;               /* HEAD_MAX bytes, while a request is read */
    size_t    in_len;
    size_t    body_left;
    bool      answering, dead;
    uint32_t  sent;             /* tokens */
    uint64_t  at;               /* when the next one is due, ms */
    size_t    heap;             /* 1-based place in the heap, 0: not there */
    char     *out;
    size_t    out_len, out_off;
    struct conn *next_free;
} conn_t;

typedef struct {
    int       ep, listener;
    uint32_t  tokens;
    uint64_t  delay;
    bool      stamp;
    char     *whole, *burst;    /* answers that are ready: one body; a stream without pauses */
    size_t    whole_len, burst_len;
    conn_t  **heap;
    size_t    heap_len, heap_cap;
    conn_t   *free_list;        /* freed when the batch of events is over */
    struct epoll_event events[256];
    char      buf[8192];
} model_t;

static void *grown(void *p, size_t n)
{
    p = realloc(p, n);
    if (p == NULL) {
        die("realloc");
    }
    return p;
}

static void heap_put(model_t *m, size_t i, conn_t *c)
{
    m->heap[i] = c;
    c->heap = i;
}

static void heap_up(model_t *m, size_t i, conn_t *c)
{
    for (; i > 1 && m->heap[i / 2]->at > c->at; i /= 2) {
        heap_put(m, i, m->heap[i / 2]);
    }
    heap_put(m, i, c);
}

static void heap_down(model_t *m, size_t i, conn_t *c)
{
    size_t child;

    for (; (child = 2 * i) <= m->heap_len; i = child) {
        child += child < m->heap_len && m->heap[child + 1]->at < m->heap[child]->at;
        if (m->heap[child]->at >= c->at) {
            break;
        }
        heap_put(m, i, m->heap[child]);
    }
    heap_put(m, i, c);
}

static void heap_add(model_t *m, conn_t *c)
{
    if (m->heap_len + 2 > m->heap_cap) {
        m->heap_cap = m->heap_cap ? 2 * m->heap_cap : 1024;
        m->heap = grown(m->heap, m->heap_cap * sizeof(conn_t *));
    }
    heap_up(m, ++m->heap_len, c);
}

static void heap_remove(model_t *m, conn_t *c)
{
    size_t  i = c->heap;
    conn_t *last = m->heap[m->heap_len--];

    c->heap = 0;
    if (last == c) {
        return;
    }
    if (i > 1 && m->heap[i / 2]->at > last->at) {
        heap_up(m, i, last);
    } else {
        heap_down(m, i, last);
    }
}

static void conn_close(model_t *m, conn_t *c)
{
    if (c->dead) {
        return;
    }
    c->dead = true;
    if (c->heap) {
        heap_remove(m, c);
    }
    close(c->fd);
    c->next_free = m->free_list;
    m->free_list = c;
}

static void conn_watch(model_t *m, conn_t *c, int op, bool out)
{
    struct epoll_event ev = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c };

    if (epoll_ctl(m->ep, op, c->fd, &ev) == -1) {
        die("epoll_ctl");
    }
}

/* Sends what it can; the rest waits for EPOLLOUT. */
static void conn_flush(model_t *m, conn_t *c)
{
    while (c->out_off < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            conn_watch(m, c, EPOLL_CTL_MOD, true);
            return;
        }
        if (n < 0) {
            conn_close(m, c);
            return;
        }
        c->out_off += (size_t) n;
    }
    free(c->out);
    c->out = NULL;
    c->out_len = c->out_off = 0;
}

static void conn_write(model_t *m, conn_t *c, const char *bytes, size_t n)
{
    if (c->dead) {
        return;
    }
    if (c->out_len == 0) {          /* the common case needs no buffer */
        ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);

        if (sent == (ssize_t) n) {
            return;
        }
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            conn_close(m, c);
            return;
        }
        if (sent > 0) {
            bytes += sent;
            n -= (size_t) sent;
        }
        conn_watch(m, c, EPOLL_CTL_MOD, true);
    }
    if (c->out_len + n > OUT_MAX) {
        conn_close(m, c);
        return;
    }
    c->out = grown(c->out, c->out_len + n);
    memcpy(c->out + c->out_len, bytes, n);
    c->out_len += n;
}

/* One event as one HTTP chunk, appended to buf; returns the bytes used. */
static size_t event(char *buf, size_t size, const char *json)
{
    size_t n = strlen(json);
    int    len = snprintf(buf, size, "%zx\r\ndata: %s\n\n\r\n", n + 8, json);

    return len < 0 || (size_t) len >= size ? 0 : (size_t) len;
}

/* These put a part of an answer into PART_MAX bytes at buf and return its length. */

static size_t put_head(char *buf)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t n = sizeof(head) - 1;

    memcpy(buf, head, n);
    return n + event(buf + n, PART_MAX - n, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
                     "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}");
}

static size_t put_token(const model_t *m, uint32_t number, char *buf)
{
    char json[512], token[32];

    snprintf(token, sizeof(token), m->stamp ? "t=%015llu " : "t%llu ", m->stamp ? (unsigned long long) now_ns() : number);
    snprintf(json, sizeof(json), "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
             "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}", token);
    return event(buf, PART_MAX, json);
}

static size_t put_end(const model_t *m, char *buf)
{
    static const char done[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    char   json[512];
    size_t n;

    n = event(buf, PART_MAX, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
              "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}");
    snprintf(json, sizeof(json), "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
             "\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%u,\"total_tokens\":%u}}", m->tokens, m->tokens + 10);
    n += event(buf + n, PART_MAX - n, json);
    memcpy(buf + n, done, sizeof(done) - 1);
    return n + sizeof(done) - 1;
}

/* The answer to who wants no stream: the same text in one body. */
static void make_whole(model_t *m)
{
    char  *text = grown(NULL, 16 * (size_t) m->tokens + 1), *at = text;
    size_t room = 16 * (size_t) m->tokens + 1024;
    char  *json = grown(NULL, room);

    for (uint32_t i = 1; i <= m->tokens; i++) {
        at += snprintf(at, 16, "t%u ", i);
    }
    snprintf(json, room, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"bench\",\"choices\":[{\"index\":0,"
             "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":\"stop\"}],"
             "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%u,\"total_tokens\":%u}}", text, m->tokens, m->tokens + 10);
    m->whole = grown(NULL, room + 256);
    m->whole_len = (size_t) snprintf(m->whole, room + 256, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                     strlen(json), json);
    free(json);
    free(text);
}

/* A whole stream, for when nothing is to be waited for. */
static void make_burst(model_t *m)
{
    char *at = m->burst = grown(NULL, ((size_t) m->tokens + 2) * PART_MAX);

    at += put_head(at);
    for (uint32_t i = 1; i <= m->tokens; i++) {
        at += put_token(m, i, at);
    }
    at += put_end(m, at);
    m->burst_len = (size_t) (at - m->burst);
}

/* A token that is due, and the time of the next. Late ones do not bunch up: each is a delay after its forerunner's due time. */
static void step(model_t *m, conn_t *c)
{
    char   buf[2 * PART_MAX];
    size_t n = put_token(m, ++c->sent, buf);

    if (c->sent == m->tokens) {
        n += put_end(m, buf + n);
        c->answering = false;
    } else {
        c->at += m->delay;
        heap_add(m, c);
    }
    conn_write(m, c, buf, n);
}

static void request_whole(model_t *m, conn_t *c)
{
    char buf[PART_MAX];
    bool stream = strstr(c->in, "\"stream\":true") != NULL;

    free(c->in);
    c->in = NULL;
    c->in_len = 0;
    if (!stream) {
        conn_write(m, c, m->whole, m->whole_len);
    } else if (m->delay == 0) {
        conn_write(m, c, m->burst, m->burst_len);
    } else {
        c->answering = true;
        c->sent = 0;
        c->at = now_ms() + m->delay;
        heap_add(m, c);
        conn_write(m, c, buf, put_head(buf));
    }
}

/* Notes the head, and of the body as much as there is room for. */
static void note(conn_t *c, const char *bytes, size_t n)
{
    if (c->in == NULL) {
        c->in = grown(NULL, HEAD_MAX);
    }
    n = n < HEAD_MAX - 1 - c->in_len ? n : HEAD_MAX - 1 - c->in_len;
    memcpy(c->in + c->in_len, bytes, n);
    c->in_len += n;
    c->in[c->in_len] = '\0';
}

static void request_bytes(model_t *m, conn_t *c, const char *bytes, size_t n)
{
    char *end, *length;

    note(c, bytes, n);
    if (c->body_left == 0) {
        end = strstr(c->in, "\r\n\r\n");
        if (end == NULL) {
            if (c->in_len == HEAD_MAX - 1) {
                conn_close(m, c);
            }
            return;
        }
        length = strcasestr(c->in, "\r\ncontent-length:");
        c->body_left = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        n = c->in_len - (size_t) (end + 4 - c->in);
    }
    /* What follows a whole body would be pipelining, which no client here does. */
    c->body_left -= n < c->body_left ? n : c->body_left;
    if (c->body_left == 0) {
        request_whole(m, c);
    }
}

static void conn_readable(model_t *m, conn_t *c)
{
    ssize_t n = recv(c->fd, m->buf, sizeof(m->buf), 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        conn_close(m, c);
    } else if (!c->answering) {
        request_bytes(m, c, m->buf, (size_t) n);
    }
}

static void conn_accept(model_t *m)
{
    for (;;) {
        int     fd = accept4(m->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        conn_t *c;

        if (fd == -1) {
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        c = grown(NULL, sizeof(*c));
        memset(c, 0, sizeof(*c));
        c->fd = fd;
        conn_watch(m, c, EPOLL_CTL_ADD, false);
    }
}

static void reap(model_t *m)
{
    while (m->free_list) {
        conn_t *c = m->free_list;

        m->free_list = c->next_free;
        free(c->in);
        free(c->out);
        free(c);
    }
}

static void run(model_t *m)
{
    struct epoll_event *ev = m->events;

    for (;;) {
        uint64_t now = now_ms();
        int      wait = m->heap_len == 0 ? -1 : m->heap[1]->at <= now ? 0 : (int) (m->heap[1]->at - now);
        int      n = epoll_wait(m->ep, ev, sizeof(m->events) / sizeof(*ev), wait);

        for (int i = 0; i < n; i++) {
            conn_t *c = ev[i].data.ptr;

            if (c == NULL) {
                conn_accept(m);
                continue;
            }
            if (!c->dead && ev[i].events & EPOLLOUT) {
                conn_flush(m, c);
                if (!c->dead && c->out_len == 0) {
                    conn_watch(m, c, EPOLL_CTL_MOD, false);
                }
            }
            if (!c->dead && ev[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
                conn_readable(m, c);
            }
        }
        for (now = now_ms(); m->heap_len && m->heap[1]->at <= now; ) {
            conn_t *c = m->heap[1];

            heap_remove(m, c);
            step(m, c);
        }
        reap(m);
    }
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1 || listen(fd, 8192) == -1) {
        die("listen");
    }
    return fd;
}

int main(int argc, char **argv)
{
    model_t *m = grown(NULL, sizeof(*m));
    struct epoll_event ev = { .events = EPOLLIN };
    unsigned long port, tokens, delay;

    if (argc < 4 || argc > 5 || (argc == 5 && strcmp(argv[4], "stamp") != 0)
        || (port = strtoul(argv[1], NULL, 10)) == 0 || port > 65535
        || (tokens = strtoul(argv[2], NULL, 10)) == 0 || tokens > TOKENS_MAX
        || (delay = strtoul(argv[3], NULL, 10)) > 60000 || (delay == 0 && (argc == 5 || tokens > 1000))) {
        fprintf(stderr, "usage: model PORT TOKENS DELAY_MS [stamp]\n");
        return 2;
    }
    all_files();
    memset(m, 0, sizeof(*m));
    signal(SIGPIPE, SIG_IGN);
    m->tokens = (uint32_t) tokens;
    m->delay = delay;
    m->stamp = argc == 5;
    make_whole(m);
    if (m->delay == 0) {
        make_burst(m);
    }
    m->listener = listen_on((uint16_t) port);
    m->ep = epoll_create1(EPOLL_CLOEXEC);
    if (m->ep == -1 || epoll_ctl(m->ep, EPOLL_CTL_ADD, m->listener, &ev) == -1) {
        die("epoll");
    }
    printf("ready %lu\n", port);
    fflush(stdout);
    run(m);
}
