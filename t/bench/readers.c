/*
 * Readers for scripts/bench fanout: N connections that read server-sent events. One thread, epoll.
 *
 *   readers HOST PORT N PATH [HEADER...]
 *
 * "%d" in PATH becomes the reader's number; "@FILE" is a file with one path a line, for one reader each. Commands on stdin, one a line:
 *   round S M counts from now on; answers "armed", then one line of JSON when each reader has had S stamps and M events
 *             without one, or when nothing has come for 20 s: readers, connected, deliveries (events), stamps, missing
 *             (readers that have not had all), p50_ms, p99_ms, max_ms, errors
 *   size      answers the bytes on the wire, with framing, of the last event with a stamp
 *   end       ends, as does end of file
 * Prints "connected N" when all N have a head with status 200.
 *
 * An event is a line that begins with "data:". A stamp is "t=" and digits: the publisher's CLOCK_MONOTONIC in ns; an event
 * may carry several. One that is not newer than the reader's last is a repetition (a closing event with the whole text)
 * and does not count.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPENING     200u        /* connections without a head at once */
#define PER_SOURCE  10000u      /* connections from one 127.0.0.x */
#define GIVE_UP     20000u      /* ms without a byte */
#define DIGITS_MIN  12
#define LINE_DATA   5
#define LINE_OTHER  6
#define SAMPLES_MAX (16u << 20)

typedef struct {
    int       fd;
    uint32_t  stamps, plain;    /* in this round: stamps, and events without one */
    bool      fresh, full;      /* this line has a stamp; this round is over for it */
    uint64_t  last, stamp;      /* ns */
    uint8_t   head;             /* bytes of "\r\n\r\n" that have matched, 4: the head is over */
    uint8_t   line;             /* bytes of "data:" that have matched, or LINE_OTHER */
    uint8_t   digits;           /* 0: none, 1: "t", 2: "t=", 2 + n: n digits */
    char      status[16];
    uint8_t   nstatus;
} reader_t;

typedef struct {
    struct sockaddr_in to;
    const char  *path;
    FILE        *paths;
    char         one[256];
    char       **header;
    int          nheader;
    int          ep;
    reader_t    *all;
    uint32_t     n, opened, connected, errors, full;
    uint32_t     want, more;    /* stamps and plain events for each reader; want 0: no round */
    uint64_t     deliveries, stamps;
    uint32_t    *samples;       /* us */
    size_t       nsamples;
    uint32_t     size;
    uint64_t     heard;         /* ms */
    char         in[64];
    size_t       nin;
    struct epoll_event ev[512];
    char         buf[16384];
} client_t;

/* The next line of the file of paths. */
static const char *next_path(client_t *c)
{
    if (!c->paths) {
        return c->path;
    }
    if (!fgets(c->one, sizeof(c->one), c->paths)) {
        fprintf(stderr, "readers: too few paths in %s\n", c->path + 1);
        exit(1);
    }
    c->one[strcspn(c->one, "\n")] = '\0';
    return c->one;
}

static void send_request(client_t *c, reader_t *r, uint32_t number)
{
    char        text[3072];
    const char *path = next_path(c), *mark = strstr(path, "%d");
    int         n;

    n = mark ? snprintf(text, sizeof(text), "GET %.*s%u%s HTTP/1.1\r\nHost: bench\r\n", (int) (mark - path), path, number, mark + 2)
             : snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: bench\r\n", path);
    for (int i = 0; i < c->nheader && n > 0 && (size_t) n < sizeof(text); i++) {
        n += snprintf(text + n, sizeof(text) - (size_t) n, "%s\r\n", c->header[i]);
    }
    if (n < 0 || (size_t) n + 3 > sizeof(text)) {
        errno = EMSGSIZE;
        die("request");
    }
    memcpy(text + n, "\r\n", 2);
    if (write(r->fd, text, (size_t) n + 2) != n + 2) {
        die("write");
    }
}

/* Connects from one of several addresses: one alone has not ports enough. */
static void open_reader(client_t *c)
{
    reader_t *r = &c->all[c->opened];
    struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + c->opened / PER_SOURCE) };
    struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = r };
    int on = 1;

    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r->fd == -1 || setsockopt(r->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on))
        || bind(r->fd, (struct sockaddr *) &from, sizeof(from)) || connect(r->fd, (struct sockaddr *) &c->to, sizeof(c->to))) {
        die("connect");
    }
    send_request(c, r, c->opened);
    if (fcntl(r->fd, F_SETFL, O_NONBLOCK) || epoll_ctl(c->ep, EPOLL_CTL_ADD, r->fd, &ev)) {
        die("epoll_ctl");
    }
    c->opened++;
}

static void stamped(client_t *c, reader_t *r, uint64_t now)
{
    if (r->stamp <= r->last || r->stamp > now) {
        return;
    }
    r->last = r->stamp;
    r->fresh = true;
    r->stamps++;
    c->stamps++;
    if (c->want && c->nsamples < SAMPLES_MAX) {
        c->samples[c->nsamples++] = (uint32_t) ((now - r->stamp) / 1000);
    }
}

static void line_over(client_t *c, reader_t *r)
{
    if (r->line == LINE_DATA) {
        c->deliveries++;
        r->plain += !r->fresh;
        if (c->want && !r->full && r->stamps >= c->want && r->plain >= c->more) {
            r->full = true;
            c->full++;
        }
    }
    r->line = 0;
    r->fresh = false;
}

/* One byte of the body. Chunk heads are lines too, and none can look like "data:". */
static void body_byte(client_t *c, reader_t *r, char b, uint64_t now)
{
    if (r->digits >= 2 && b >= '0' && b <= '9' && r->digits < 22) {
        r->stamp = r->stamp * 10 + (uint64_t) (b - '0');
        r->digits++;
        return;
    }
    if (r->digits >= 2 + DIGITS_MIN) {
        stamped(c, r, now);
    }
    r->digits = b == 't' ? 1 : b == '=' && r->digits == 1 ? 2 : 0;
    r->stamp = 0;
    if (b == '\n') {
        line_over(c, r);
    } else if (r->line < LINE_DATA) {
        r->line = b == "data:"[r->line] ? r->line + 1 : LINE_OTHER;
    }
}

static void head_byte(client_t *c, reader_t *r, char b)
{
    if (r->nstatus < sizeof(r->status) - 1) {
        r->status[r->nstatus++] = b;
    }
    r->head = b == "\r\n\r\n"[r->head] ? r->head + 1 : b == '\r';
    if (r->head == 4) {
        if (strncmp(r->status, "HTTP/1.1 200", 12) != 0) {
            fprintf(stderr, "readers: answered %s\n", r->status);
            exit(1);
        }
        c->connected++;
    }
}

/* The bytes that came at once: with one new stamp, an event's size on the wire. */
static void feed(client_t *c, reader_t *r, const char *p, size_t n, uint64_t now)
{
    uint64_t deliveries = c->deliveries, stamps = c->stamps;

    for (size_t i = 0; i < n; i++) {
        if (r->head < 4) {
            head_byte(c, r, p[i]);
        } else {
            body_byte(c, r, p[i], now);
        }
    }
    if (c->stamps == stamps + 1 && c->deliveries == deliveries + 1) {
        c->size = (uint32_t) n;
    }
}

static void readable(client_t *c, reader_t *r)
{
    ssize_t n = recv(r->fd, c->buf, sizeof(c->buf), 0);

    if (n > 0) {
        feed(c, r, c->buf, (size_t) n, now_ns());
        c->heard = now_ns() / 1000000;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        c->errors++;
        close(r->fd);
        r->fd = -1;
        if (r->head < 4) {
            fprintf(stderr, "readers: closed without an answer\n");
            exit(1);
        }
    }
}

static int order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return (x > y) - (x < y);
}

static void report(client_t *c)
{
    size_t    n = c->nsamples;
    uint32_t *v = c->samples;

    qsort(v, n, sizeof(*v), order);
    printf("{\"readers\":%u,\"connected\":%u,\"deliveries\":%llu,\"stamps\":%llu,\"missing\":%u,\"p50_ms\":%.2f,\"p99_ms\":%.2f,"
           "\"max_ms\":%.2f,\"errors\":%u}\n", c->n, c->connected, (unsigned long long) c->deliveries,
           (unsigned long long) c->stamps, c->n - c->full, n ? v[n / 2] / 1e3 : -1, n ? v[n * 99 / 100] / 1e3 : -1, n ? v[n - 1] / 1e3 : -1, c->errors);
    fflush(stdout);
    c->want = 0;
}

static void command(client_t *c, const char *line)
{
    unsigned want, more;

    if (sscanf(line, "round %u %u", &want, &more) == 2 && want) {
        c->want = want;
        c->more = more;
        c->full = 0;
        c->deliveries = c->stamps = 0;
        c->nsamples = 0;
        c->heard = now_ns() / 1000000;
        for (uint32_t i = 0; i < c->n; i++) {
            c->all[i].stamps = c->all[i].plain = 0;
            c->all[i].full = false;
        }
        printf("armed\n");
    } else if (strcmp(line, "size") == 0) {
        printf("%u\n", c->size);
    } else {
        exit(0);
    }
    fflush(stdout);
}

static void commands(client_t *c)
{
    ssize_t n = read(0, c->in + c->nin, sizeof(c->in) - c->nin - 1);
    char   *end;

    if (n <= 0) {
        exit(0);
    }
    c->nin += (size_t) n;
    c->in[c->nin] = '\0';
    while ((end = strchr(c->in, '\n'))) {
        *end = '\0';
        command(c, c->in);
        c->nin -= (size_t) (end + 1 - c->in);
        memmove(c->in, end + 1, c->nin + 1);
    }
}

static void run(client_t *c)
{
    bool said = false;

    for (;;) {
        int n;

        while (c->opened < c->n && c->opened - c->connected < OPENING) {
            open_reader(c);
        }
        n = epoll_wait(c->ep, c->ev, sizeof(c->ev) / sizeof(*c->ev), 500);
        for (int i = 0; i < n; i++) {
            if (c->ev[i].data.ptr) {
                readable(c, c->ev[i].data.ptr);
            } else {
                commands(c);
            }
        }
        if (!said && c->connected == c->n) {
            said = true;
            printf("connected %u\n", c->n);
            fflush(stdout);
        }
        if (c->want && (c->full == c->n || now_ns() / 1000000 - c->heard > GIVE_UP)) {
            report(c);
        }
    }
}

int main(int argc, char **argv)
{
    client_t          *c = calloc(1, sizeof(*c));
    struct epoll_event ev = { .events = EPOLLIN };

    if (argc < 5 || !c || (c->n = (uint32_t) strtoul(argv[3], NULL, 10)) == 0) {
        fprintf(stderr, "usage: readers HOST PORT N PATH [HEADER...]\n");
        return 2;
    }
    all_files();
    c->to = (struct sockaddr_in) { .sin_family = AF_INET, .sin_port = htons((uint16_t) strtoul(argv[2], NULL, 10)) };
    inet_pton(AF_INET, argv[1], &c->to.sin_addr);
    c->path = argv[4];
    if (c->path[0] == '@' && !(c->paths = fopen(c->path + 1, "r"))) {
        die(c->path + 1);
    }
    c->header = argv + 5;
    c->nheader = argc - 5;
    c->all = calloc(c->n, sizeof(*c->all));
    c->samples = malloc(SAMPLES_MAX * sizeof(*c->samples));
    c->ep = epoll_create1(EPOLL_CLOEXEC);
    if (!c->all || !c->samples || c->ep == -1 || epoll_ctl(c->ep, EPOLL_CTL_ADD, 0, &ev)) {
        die("start");
    }
    run(c);
}
