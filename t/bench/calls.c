/*
 * Calls of a chat completions API, one after the other on each of some kept-alive connections.
 *
 *   calls PORT PATH MODEL STREAM TOKENS TOTAL CONNECTIONS KEY
 *
 * STREAM is 1 or 0. KEY: the bearer. Every answer must be whole, of status 200, and report TOKENS tokens of output. Prints
 * one line: calls a second, then the 50th and 99th percentile in us of the time to the first byte of an answer, to its end,
 * and of the age of tokens that are stamps ("t=" and CLOCK_MONOTONIC in ns, 15 digits), 0 when there are none.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define CONNECTIONS_MAX  256
#define ROOM             (1u << 20)
#define SAMPLES_MAX      1000000u
#define SILENCE          30000     /* ms without an answer: give up */
#define STAMP            17        /* bytes of "t=" and its digits */

typedef struct {
    int      fd;
    size_t   n, seen;              /* bytes of the answer; those that were looked through for stamps */
    uint64_t asked;
    char    *in;
} conn_t;

typedef struct {
    uint32_t us10[SAMPLES_MAX];    /* tenths of us */
    size_t   n;
} samples_t;

static conn_t    conns[CONNECTIONS_MAX];
static samples_t first, whole, ages;
static char      request[4096], usage[64];
static size_t    request_n;
static bool      stream;
static long      sent, total;

static void sample(samples_t *s, uint64_t from, uint64_t to)
{
    if (s->n < SAMPLES_MAX) {
        s->us10[s->n++] = to > from ? (uint32_t) ((to - from) / 100) : 0;
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return x < y ? -1 : x > y;
}

static void print_percentiles(samples_t *s)
{
    qsort(s->us10, s->n, sizeof(*s->us10), by_size);
    printf(" %.1f %.1f", s->n ? s->us10[s->n / 2] / 10.0 : 0, s->n ? s->us10[s->n * 99 / 100] / 10.0 : 0);
}

static _Noreturn void wrong(conn_t *c, const char *what)
{
    fprintf(stderr, "calls: %s: %.*s\n", what, (int) (c->n < 2000 ? c->n : 2000), c->in);
    exit(1);
}

static void make_request(char **argv)
{
    char body[2048];
    int  n;

    n = snprintf(body, sizeof(body), "{\"model\":\"%s\"%s,\"messages\":[{\"role\":\"system\",\"content\":\"You are an assistant that answers questions "
                 "about the products of a shop. Be brief, be friendly, and say so when you do not know.\"},{\"role\":\"user\",\"content\":"
                 "\"I bought a kettle last week and the lid does not close any more. Can I send it back, and who pays for that?\"}],"
                 "\"temperature\":0.3,\"max_tokens\":1000}", argv[3],
                 stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : "");
    request_n = (size_t) snprintf(request, sizeof(request), "POST %s HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer %s\r\n"
                                  "Content-Type: application/json\r\nContent-Length: %d\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n%s",
                                  argv[2], argv[8], n, body);
    snprintf(usage, sizeof(usage), "\"completion_tokens\":%s,", argv[5]);
}

static void ask(conn_t *c)
{
    sent++;
    c->n = c->seen = 0;
    c->asked = now_ns();
    if (write(c->fd, request, request_n) != (ssize_t) request_n) {
        die("write");
    }
}

/* The stamps of what has come since the last time. One that is not whole is looked at again. */
static void take_stamps(conn_t *c, uint64_t now)
{
    char *at;

    while ((at = memmem(c->in + c->seen, c->n - c->seen, "t=", 2)) != NULL) {
        if (at + STAMP > c->in + c->n) {
            c->seen = (size_t) (at - c->in);
            return;
        }
        if (strspn(at + 2, "0123456789") == STAMP - 2) {         /* headers have "t=", too */
            sample(&ages, strtoull(at + 2, NULL, 10), now);
        }
        c->seen = (size_t) (at - c->in) + STAMP;
    }
    c->seen = c->n > c->seen ? c->n - 1 : c->seen;      /* a 't' may be its last byte */
}

static bool is_whole(conn_t *c)
{
    char  *end, *at;
    size_t head;

    if (stream) {
        return c->n > 12 && memcmp(c->in + c->n - 7, "\r\n0\r\n\r\n", 7) == 0;
    }
    end = memmem(c->in, c->n, "\r\n\r\n", 4);
    if (end == NULL) {
        return false;
    }
    head = (size_t) (end + 4 - c->in);
    at = memmem(c->in, head, "Content-Length: ", 16);
    return at != NULL && c->n >= head + strtoul(at + 16, NULL, 10);
}

/* Reads what there is: true when the answer is whole. */
static bool take(conn_t *c)
{
    ssize_t  n = read(c->fd, c->in + c->n, ROOM - 1 - c->n);
    uint64_t now = now_ns();

    if (n <= 0) {
        wrong(c, n ? strerror(errno) : "closed");
    }
    if (c->n == 0) {
        sample(&first, c->asked, now);
    }
    c->n += (size_t) n;
    c->in[c->n] = '\0';
    if (c->n > 12 && atoi(c->in + sizeof("HTTP/1.1")) != 200) {
        wrong(c, "not 200");
    }
    if (stream) {
        take_stamps(c, now);
    }
    if (!is_whole(c)) {
        return false;
    }
    sample(&whole, c->asked, now);
    if (memmem(c->in, c->n, usage, strlen(usage)) == NULL) {
        wrong(c, "not the usage that was expected");
    }
    return true;
}

static int open_all(int n, uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int                ep = epoll_create1(0), on = 1;

    for (int i = 0; i < n; i++) {
        conns[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        conns[i].in = malloc(ROOM);
        if (conns[i].fd < 0 || conns[i].in == NULL || connect(conns[i].fd, (struct sockaddr *) &to, sizeof(to))) {
            die("connect");
        }
        setsockopt(conns[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &(struct epoll_event) { .events = EPOLLIN, .data.ptr = &conns[i] });
    }
    return ep;
}

static void run(int ep)
{
    for (long done = 0; done < total; ) {
        struct epoll_event ev[64];
        int                k = epoll_wait(ep, ev, 64, SILENCE);

        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k <= 0) {
            fprintf(stderr, "calls: no answer\n");
            exit(1);
        }
        for (int i = 0; i < k; i++) {
            if (take(ev[i].data.ptr)) {
                done++;
                if (sent < total) {
                    ask(ev[i].data.ptr);
                }
            }
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t start;
    int      n, ep;

    if (argc != 9 || (n = atoi(argv[7])) < 1 || n > CONNECTIONS_MAX) {
        fprintf(stderr, "usage: calls PORT PATH MODEL STREAM TOKENS TOTAL CONNECTIONS KEY\n");
        return 2;
    }
    stream = atoi(argv[4]) != 0;
    total = atol(argv[6]);
    make_request(argv);
    ep = open_all(n, (uint16_t) atoi(argv[1]));
    start = now_ns();
    for (int i = 0; i < n && sent < total; i++) {
        ask(&conns[i]);
    }
    run(ep);
    printf("%.1f", (double) total * 1e9 / (double) (now_ns() - start));
    print_percentiles(&first);
    print_percentiles(&whole);
    print_percentiles(&ages);
    printf("\n");
    return 0;
}
