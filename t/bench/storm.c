/*
 * Readers for scripts/bench storm: N connections that read one event stream as EventSource does, and come back by their
 * last id when it ends. One thread, epoll.
 *
 *   storm PORT N PATH [HEADER...]
 *
 * Connects to 127.0.0.1 and prints "connected N" when all N have had an id. Commands on stdin, one a line:
 *   status    answers one line of JSON, see report()
 *   end       ends, as does end of file
 *
 * An event is right when its id follows the reader's last one: the next of the same turn, the end of it (a finished turn may
 * come from the store without its deltas), or the first of the next turn after an end.
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

#define OPENING     200u        /* connections without an answer at once, at the start; later there is no limit */
#define PER_SOURCE  10000u      /* connections from one 127.0.0.x */
#define RETRY       1000u       /* ms to wait when a stream did not say */
#define SECONDS     4096u       /* that are counted */

typedef enum { HEAD, SIZE, DATA, AFTER } part_t;

typedef struct {
    int       fd;
    part_t    part;
    uint32_t  left;             /* bytes of the chunk */
    bool      open, known;      /* has had an id on this connection; ever */
    bool      event, final;     /* the block so far names a type, and one that ends its turn */
    bool      over;             /* the last turn has ended */
    uint32_t  turn, n;          /* the last id */
    uint32_t  new_turn, new_n;  /* that of the block, 0.0: none */
    uint32_t  done;             /* turns read to their end */
    uint32_t  retry;            /* ms */
    uint64_t  at, closed;       /* ms: when to come back, and since when it is away */
    uint32_t  nline;
    char      line[64];         /* the beginning of this line */
} reader_t;

typedef struct {
    struct sockaddr_in to;
    const char  *path;
    char       **header;
    int          nheader, ep;
    reader_t    *all;
    uint32_t     n, started, open, asked, cut, refused, back, blind, wrong, away_max;
    uint64_t     begin;         /* ms: when all were there */
    uint32_t     rate[SECONDS]; /* connections begun in each second after that */
    struct epoll_event ev[512];
    char         in[64], buf[16384];
    size_t       nin;
} storm_t;

static void send_request(storm_t *s, reader_t *r)
{
    char text[3072];
    int  n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: storm\r\n", s->path);

    for (int i = 0; i < s->nheader && n > 0 && (size_t) n < sizeof(text); i++) {
        n += snprintf(text + n, sizeof(text) - (size_t) n, "%s\r\n", s->header[i]);
    }
    if (r->known && n > 0 && (size_t) n < sizeof(text)) {
        n += snprintf(text + n, sizeof(text) - (size_t) n, "Last-Event-ID: %u.%u\r\n", r->turn, r->n);
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
static void reader_open(storm_t *s, reader_t *r)
{
    struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t) (r - s->all) / PER_SOURCE) };
    struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = r };
    uint64_t second = s->begin ? (now_ms() - s->begin) / 1000 : SECONDS;
    int      on = 1;

    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r->fd == -1 || setsockopt(r->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on))
        || bind(r->fd, (struct sockaddr *) &from, sizeof(from)) || connect(r->fd, (struct sockaddr *) &s->to, sizeof(s->to))) {
        die("connect");
    }
    r->part = HEAD;
    r->nline = 0;
    r->event = r->final = false;
    r->new_turn = r->new_n = 0;
    send_request(s, r);
    if (fcntl(r->fd, F_SETFL, O_NONBLOCK) || epoll_ctl(s->ep, EPOLL_CTL_ADD, r->fd, &ev)) {
        die("epoll_ctl");
    }
    if (second < SECONDS) {
        s->rate[second]++;
        s->blind += !r->known;
    }
}

/* The stream has ended; *count tells how. */
static void reader_close(storm_t *s, reader_t *r, uint32_t *count)
{
    close(r->fd);
    r->fd = -1;
    (*count)++;
    s->open -= r->open;
    r->closed = r->open || !r->closed ? now_ms() : r->closed;
    r->open = false;
    r->at = now_ms() + (r->retry ? r->retry : RETRY);
}

static void reader_is_open(storm_t *s, reader_t *r)
{
    uint32_t away = r->closed ? (uint32_t) (now_ms() - r->closed) : 0;

    r->open = r->known = true;
    s->open++;
    s->back += r->closed != 0;
    s->away_max = away > s->away_max ? away : s->away_max;
}

/* An empty line: the block is an event, or only tells an id. */
static void block_over(storm_t *s, reader_t *r, bool has_id)
{
    bool same = r->new_turn == r->turn;

    if (r->event && has_id) {
        bool right = same ? !r->over && (r->new_n == r->n + 1 || (r->final && r->new_n > r->n))
                          : (r->over || r->turn == 0) && r->new_turn == r->turn + 1 && r->new_n == 1;

        s->wrong += !right;
        r->over = r->final;
        r->done += r->final;
    } else if (has_id && r->known && (!same || r->new_n != r->n)) {
        s->wrong++;
    }
    if (has_id) {
        r->turn = r->new_turn;
        r->n = r->new_n;
        if (!r->open) {
            reader_is_open(s, r);
        }
    }
    r->event = r->final = false;
    r->new_turn = r->new_n = UINT32_MAX;
}

static void line_over(storm_t *s, reader_t *r)
{
    const char *p = r->line;

    r->line[r->nline < sizeof(r->line) ? r->nline : sizeof(r->line) - 1] = '\0';
    if (r->nline == 0) {
        block_over(s, r, r->new_turn != UINT32_MAX);
    } else if (strncmp(p, "event: ", 7) == 0) {
        r->event = true;
        r->final = strcmp(p + 7, "turn.completed") == 0;
    } else if (strncmp(p, "retry: ", 7) == 0) {
        r->retry = (uint32_t) strtoul(p + 7, NULL, 10);
    } else if (strncmp(p, "id: ", 4) == 0 && sscanf(p + 4, "%u.%u", &r->new_turn, &r->new_n) != 2) {
        s->wrong++;
    }
    r->nline = 0;
}

/* A line of the head or of the framing, without its CR LF; false: the connection is over. */
static bool frame_line(storm_t *s, reader_t *r)
{
    r->line[r->nline < sizeof(r->line) ? r->nline : sizeof(r->line) - 1] = '\0';
    switch (r->part) {
    case HEAD:
        if (strncmp(r->line, "HTTP/1.1 ", 9) == 0 && strncmp(r->line + 9, "200", 3) != 0) {
            if (s->refused == 0) {
                fprintf(stderr, "storm: answered %s\n", r->line);
            }
            reader_close(s, r, &s->refused);
            return false;
        }
        r->part = r->nline == 0 ? SIZE : HEAD;
        r->new_turn = UINT32_MAX;
        break;
    case SIZE:
        r->left = (uint32_t) strtoul(r->line, NULL, 16);
        if (r->left == 0) {
            reader_close(s, r, &s->asked);
            return false;
        }
        r->part = DATA;
        break;
    default:
        r->part = SIZE;
    }
    r->nline = 0;
    return true;
}

/* Lines of the stream may run over several chunks, so the beginning of one is kept aside while framing is read. */
static void feed(storm_t *s, reader_t *r, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char b = p[i];

        if (r->part == DATA) {
            if (b == '\n') {
                line_over(s, r);
            } else if (r->nline++ < sizeof(r->line)) {
                r->line[r->nline - 1] = b;
            }
            if (--r->left == 0) {
                if (r->nline != 0) {
                    s->wrong++;         /* Si ends each chunk with a line */
                    r->nline = 0;
                }
                r->part = AFTER;
            }
        } else if (b == '\n') {
            if (!frame_line(s, r)) {
                return;
            }
        } else if (b != '\r' && r->nline++ < sizeof(r->line)) {
            r->line[r->nline - 1] = b;
        }
    }
}

static void readable(storm_t *s, reader_t *r)
{
    ssize_t n;

    if (r->fd == -1) {
        return;
    }
    n = recv(r->fd, s->buf, sizeof(s->buf), 0);
    if (n > 0) {
        feed(s, r, s->buf, (size_t) n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        reader_close(s, r, &s->cut);
    }
}

/*
 * open: readers that have had an id on their connection; asked: streams that ended whole; cut: that did not; refused: answers
 * but 200; back: readers that came back; blind: without an id; wrong: events that do not follow; rate_max: most connections
 * begun in one second; away_max_ms: longest time between two streams; done_min, done_max: turns read to their end by a reader.
 */
static void report(storm_t *s)
{
    uint32_t rate = 0, least = UINT32_MAX, most = 0;

    for (uint32_t i = 0; i < SECONDS; i++) {
        rate = s->rate[i] > rate ? s->rate[i] : rate;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        least = s->all[i].done < least ? s->all[i].done : least;
        most = s->all[i].done > most ? s->all[i].done : most;
    }
    printf("{\"open\":%u,\"asked\":%u,\"cut\":%u,\"refused\":%u,\"back\":%u,\"blind\":%u,\"wrong\":%u,\"rate_max\":%u,\"away_max_ms\":%u,"
           "\"done_min\":%u,\"done_max\":%u}\n", s->open, s->asked, s->cut, s->refused, s->back, s->blind, s->wrong, rate, s->away_max, least, most);
    fflush(stdout);
}

static void commands(storm_t *s)
{
    ssize_t n = read(0, s->in + s->nin, sizeof(s->in) - s->nin - 1);
    char   *end;

    if (n <= 0) {
        exit(0);
    }
    s->nin += (size_t) n;
    s->in[s->nin] = '\0';
    while ((end = strchr(s->in, '\n'))) {
        *end = '\0';
        if (strcmp(s->in, "status") != 0) {
            exit(0);
        }
        report(s);
        s->nin -= (size_t) (end + 1 - s->in);
        memmove(s->in, end + 1, s->nin + 1);
    }
}

/* Opens who has not been opened yet, and who has waited long enough to come back. */
static void open_due(storm_t *s)
{
    uint64_t now = now_ms();

    while (s->started < s->n && s->started - s->open < OPENING) {
        reader_open(s, &s->all[s->started++]);
    }
    for (uint32_t i = 0; i < s->started; i++) {
        if (s->all[i].fd == -1 && s->all[i].at <= now) {
            reader_open(s, &s->all[i]);
        }
    }
    if (!s->begin && s->open == s->n) {
        s->begin = now;
        printf("connected %u\n", s->n);
        fflush(stdout);
    }
}

static void run(storm_t *s)
{
    for (;;) {
        int n;

        open_due(s);
        n = epoll_wait(s->ep, s->ev, sizeof(s->ev) / sizeof(*s->ev), 10);
        for (int i = 0; i < n; i++) {
            if (s->ev[i].data.ptr) {
                readable(s, s->ev[i].data.ptr);
            } else {
                commands(s);
            }
        }
    }
}

int main(int argc, char **argv)
{
    storm_t           *s = calloc(1, sizeof(*s));
    struct epoll_event ev = { .events = EPOLLIN };

    if (argc < 4 || !s || (s->n = (uint32_t) strtoul(argv[2], NULL, 10)) == 0) {
        fprintf(stderr, "usage: storm PORT N PATH [HEADER...]\n");
        return 2;
    }
    all_files();
    s->to = (struct sockaddr_in) { .sin_family = AF_INET, .sin_port = htons((uint16_t) strtoul(argv[1], NULL, 10)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    s->path = argv[3];
    s->header = argv + 4;
    s->nheader = argc - 4;
    s->all = calloc(s->n, sizeof(*s->all));
    s->ep = epoll_create1(EPOLL_CLOEXEC);
    if (!s->all || s->ep == -1 || epoll_ctl(s->ep, EPOLL_CTL_ADD, 0, &ev)) {
        die("start");
    }
    run(s);
}
