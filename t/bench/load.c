/*
 * Load client for scripts/bench: N turns at once, each a streaming POST on a connection of its own.
 *
 *   load HOST PORT KEY N
 *
 * Makes N conversations, sends all N turns, reads every stream to its end. Prints one line of JSON: how many completed,
 * how many did not, and percentiles (ms) of the time to turn.accepted, to the first delta and to the end. Prints
 * "running" alone on a line when every turn has had its first delta, so that a script can weigh the processes then.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TAIL      512       /* bytes kept of a stream, to find words that span reads */
#define BATCH     200       /* conversations made at once */
#define GIVE_UP   120000    /* ms */

typedef struct {
    int    fd;
    char   conversation[40];
    char   tail[TAIL + 1];
    size_t ntail;
    double sent, accepted, delta, ended;
    bool   completed, closed;
} reader_t;

static struct sockaddr_in address;
static const char        *key;
static int                ep;

/* With fractions. */
static double moment(void)
{
    return (double) now_ns() / 1e6;
}

static void request(reader_t *r, const char *path, const char *accept, const char *body)
{
    char text[2048];
    int  one = 1, n;

    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (r->fd < 0 || connect(r->fd, (struct sockaddr *) &address, sizeof(address))) {
        die("connect");
    }
    setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    n = snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nAccept: %s\r\n"
                 "Content-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                 path, key, accept, strlen(body), body);
    r->sent = moment();
    if (write(r->fd, text, (size_t) n) != n) {
        die("write");
    }
    fcntl(r->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(ep, EPOLL_CTL_ADD, r->fd, &(struct epoll_event) { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = r });
}

static void look(reader_t *r, double now)
{
    char *id;

    if (!r->conversation[0] && (id = strstr(r->tail, "{\"id\":\"")) && strlen(id) >= 7 + 36) {
        memcpy(r->conversation, id + 7, 36);
    }
    if (!r->accepted && strstr(r->tail, "event: turn.accepted")) {
        r->accepted = now;
    }
    if (!r->delta && strstr(r->tail, "event: delta")) {
        r->delta = now;
    }
    if (!r->completed && strstr(r->tail, "event: turn.completed")) {
        r->completed = true;
    }
}

static void feed(reader_t *r)
{
    char    piece[TAIL / 2];
    ssize_t n;

    while ((n = read(r->fd, piece, sizeof(piece))) > 0) {
        size_t keep = r->ntail < TAIL / 2 ? r->ntail : TAIL / 2;

        memmove(r->tail, r->tail + r->ntail - keep, keep);
        memcpy(r->tail + keep, piece, (size_t) n);
        r->ntail = keep + (size_t) n;
        r->tail[r->ntail] = '\0';
        look(r, moment());
    }
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        r->ended = moment();
        r->closed = true;
        close(r->fd);
    }
}

/* Runs until `want` of the readers have closed. */
static size_t pump(reader_t *all, size_t n, size_t want, bool turns)
{
    struct epoll_event ev[256];
    size_t             closed = 0, speaking = 0;
    double             until = moment() + GIVE_UP;
    bool               said = false;

    while (closed < want && moment() < until) {
        int k = epoll_wait(ep, ev, 256, 1000);

        for (int i = 0; i < k; i++) {
            reader_t *r = ev[i].data.ptr;
            bool      spoke = r->delta > 0;

            feed(r);
            speaking += !spoke && r->delta > 0;
            closed += r->closed;
        }
        if (turns && !said && speaking == n) {
            said = true;
            printf("running\n");
            fflush(stdout);
        }
    }
    (void) all;
    return closed;
}

static int order(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static void percentiles(const char *name, double *v, size_t n)
{
    qsort(v, n, sizeof(*v), order);
    printf(",\"%s\":{\"p50\":%.1f,\"p95\":%.1f,\"p99\":%.1f}", name, n ? v[n / 2] : -1, n ? v[n * 95 / 100] : -1,
           n ? v[n * 99 / 100] : -1);
}

static void report(reader_t *all, size_t n)
{
    double *v[3];
    size_t  k[3] = { 0, 0, 0 }, completed = 0;

    for (int i = 0; i < 3; i++) {
        v[i] = calloc(n, sizeof(double));
    }
    for (size_t i = 0; i < n; i++) {
        completed += all[i].completed;
        if (all[i].accepted) {
            v[0][k[0]++] = all[i].accepted - all[i].sent;
        }
        if (all[i].delta) {
            v[1][k[1]++] = all[i].delta - all[i].sent;
        }
        if (all[i].closed) {
            v[2][k[2]++] = all[i].ended - all[i].sent;
        }
    }
    printf("{\"turns\":%zu,\"completed\":%zu,\"failed\":%zu", n, completed, n - completed);
    percentiles("accepted_ms", v[0], k[0]);
    percentiles("first_delta_ms", v[1], k[1]);
    percentiles("end_ms", v[2], k[2]);
    printf("}\n");
}

static void make_conversations(reader_t *all, size_t n)
{
    for (size_t from = 0; from < n; from += BATCH) {
        size_t to = from + BATCH < n ? from + BATCH : n;

        for (size_t i = from; i < to; i++) {
            request(&all[i], "/v1/conversations", "application/json", "{}");
        }
        pump(all, n, to - from, false);
    }
    for (size_t i = 0; i < n; i++) {
        char id[40];

        if (!all[i].conversation[0]) {
            fprintf(stderr, "load: no conversation could be made: %s\n", all[i].tail);
            exit(1);
        }
        memcpy(id, all[i].conversation, sizeof(id));
        memset(&all[i], 0, sizeof(all[i]));
        memcpy(all[i].conversation, id, sizeof(id));
    }
}

int main(int argc, char **argv)
{
    reader_t     *all;
    size_t        n;

    if (argc != 5) {
        fprintf(stderr, "usage: load HOST PORT KEY N\n");
        return 2;
    }
    all_files();
    address = (struct sockaddr_in) { .sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(argv[2])) };
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    key = argv[3];
    n = (size_t) atol(argv[4]);
    all = calloc(n, sizeof(*all));
    ep = epoll_create1(0);

    make_conversations(all, n);
    for (size_t i = 0; i < n; i++) {
        char path[128];

        snprintf(path, sizeof(path), "/v1/conversations/%s/turns", all[i].conversation);
        request(&all[i], path, "text/event-stream", "{\"input\":\"Count to twenty, please.\"}");
    }
    pump(all, n, n, true);
    report(all, n);
    return 0;
}
