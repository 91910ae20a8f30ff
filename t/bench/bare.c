/*
 * The bare loop that scripts/bench fanout compares with: what it costs to send K events to N sockets and nothing else.
 *
 *   bare PORT N SIZE
 *
 * Answers N readers on 127.0.0.1 with a minimal head, prints "connected". Then commands on stdin, one a line:
 *   go K DELAY_MS   sends K events of SIZE bytes (with HTTP's chunk framing) to all, DELAY_MS apart, each one send() per
 *                   reader; answers one line of JSON: events, deliveries, cpu_us (own CPU time per delivery), errors
 *   end             ends, as does end of file
 * An event carries "t=" and CLOCK_MONOTONIC in ns. A socket that does not take an event whole at once is an error: the
 * buffers of the kernel hold more than a run.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE_MAX_EVENT  8192u

typedef struct {
    int       ep, listener;
    int      *fds;
    uint32_t  n, wanted, size;
    uint64_t  errors;
    char      event[SIZE_MAX_EVENT + 1];
    struct epoll_event ev[256];
} bare_t;

static uint64_t cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (uint64_t) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u + (uint64_t) (u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void watch(bare_t *b, int fd)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP, .data.fd = fd };

    if (epoll_ctl(b->ep, EPOLL_CTL_ADD, fd, &ev)) {
        die("epoll_ctl");
    }
}

static void accept_all(bare_t *b)
{
    int fd, on = 1;

    while (b->n < b->wanted && (fd = accept4(b->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        b->fds[b->n++] = fd;
        watch(b, fd);
    }
}

/* A request fits one segment here: whatever a reader sends is answered with the head. */
static void answer(bare_t *b, int fd)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    char    buf[2048];
    ssize_t n = recv(fd, buf, sizeof(buf), 0);

    if (n > 0 && send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL) == (ssize_t) sizeof(head) - 1) {
        return;
    }
    b->errors++;
    epoll_ctl(b->ep, EPOLL_CTL_DEL, fd, NULL);
}

/* Waits for `ms`, or -1: for a line on stdin. True: stdin has something. */
static bool pump(bare_t *b, int ms)
{
    int  n = epoll_wait(b->ep, b->ev, sizeof(b->ev) / sizeof(*b->ev), ms);
    bool input = false;

    for (int i = 0; i < n; i++) {
        if (b->ev[i].data.fd == b->listener) {
            accept_all(b);
        } else if (b->ev[i].data.fd == 0) {
            input = true;
        } else {
            answer(b, b->ev[i].data.fd);
        }
    }
    return input;
}

/* An event of exactly `size` bytes on the wire: chunk head, "id:", "data:" with the stamp, filling, chunk end. */
static void event_make(bare_t *b, uint32_t number)
{
    int n = snprintf(b->event, 16, "%04x\r\n", b->size - 8);

    memset(b->event + n, 'x', b->size - (size_t) n);
    memcpy(b->event + b->size - 4, "\n\n\r\n", 4);
    n += snprintf(b->event + n, 64, "id: %u\ndata: t=%015llu ", number, (unsigned long long) now_ns());
    b->event[n] = 'x';
}

static void send_all(bare_t *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        b->errors += send(b->fds[i], b->event, b->size, MSG_NOSIGNAL) != (ssize_t) b->size;
    }
}

static void go(bare_t *b, uint32_t k, uint32_t delay)
{
    uint64_t before = cpu_us(), due = now_ns();

    for (uint32_t i = 0; i < k; i++, due += (uint64_t) delay * 1000000) {
        for (uint64_t now; (now = now_ns()) < due; ) {
            pump(b, (int) ((due - now) / 1000000) + 1);
        }
        event_make(b, i);
        send_all(b);
    }
    printf("{\"events\":%u,\"deliveries\":%llu,\"cpu_us\":%.3f,\"errors\":%llu}\n", k, (unsigned long long) k * b->n,
           (double) (cpu_us() - before) / ((double) k * b->n), (unsigned long long) b->errors);
    fflush(stdout);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) || bind(fd, (struct sockaddr *) &sin, sizeof(sin))
        || listen(fd, 8192)) {
        die("listen");
    }
    return fd;
}

int main(int argc, char **argv)
{
    bare_t       *b = calloc(1, sizeof(*b));
    char          line[64];
    unsigned      k, delay;
    bool          said = false;

    if (argc != 4 || !b || (b->wanted = (uint32_t) strtoul(argv[2], NULL, 10)) == 0
        || (b->size = (uint32_t) strtoul(argv[3], NULL, 10)) < 80 || b->size > SIZE_MAX_EVENT) {
        fprintf(stderr, "usage: bare PORT N SIZE\n");
        return 2;
    }
    all_files();
    b->fds = calloc(b->wanted, sizeof(*b->fds));
    b->ep = epoll_create1(EPOLL_CLOEXEC);
    b->listener = listen_on((uint16_t) strtoul(argv[1], NULL, 10));
    if (!b->fds || b->ep == -1) {
        die("start");
    }
    watch(b, b->listener);
    watch(b, 0);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        bool input = pump(b, -1);

        if (!said && b->n == b->wanted) {
            said = true;
            printf("connected\n");
            fflush(stdout);
        }
        if (input) {
            ssize_t n = read(0, line, sizeof(line) - 1);

            if (n <= 0) {
                return 0;
            }
            line[n] = '\0';
            if (sscanf(line, "go %u %u", &k, &delay) == 2) {
                go(b, k, delay);
            } else {
                return 0;
            }
        }
    }
}
