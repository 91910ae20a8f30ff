/*
 * Requests as fast as they are answered.
 *
 *   ask PORT PATH STATUS TOTAL CONNECTIONS CREDENTIALS
 *
 * GETs PATH of 127.0.0.1 over so many kept-alive connections, one request at a time on each, with the lines of the file
 * CREDENTIALS as bearers in turn. Ends with 1 unless all are answered with STATUS. Prints nothing: who answers is measured.
 */
#include <arpa/inet.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define CONNECTIONS_MAX  256
#define CREDENTIALS_MAX  10000
#define ROOM             8192
#define SILENCE          30000     /* ms without an answer: give up */

typedef struct {
    int    fd;
    size_t n;
    char   in[ROOM + 1];
} conn_t;

static conn_t conns[CONNECTIONS_MAX];
static char  *requests[CREDENTIALS_MAX];
static size_t lengths[CREDENTIALS_MAX];
static long   nrequests, sent;

static void read_credentials(const char *name, const char *path)
{
    FILE *file = fopen(name, "r");
    char  line[4096];

    if (!file) {
        die(name);
    }
    while (nrequests < CREDENTIALS_MAX && fgets(line, sizeof(line), file)) {
        char *at;
        int   n;

        line[strcspn(line, "\n")] = '\0';
        n = asprintf(&at, "GET %s HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer %s\r\n\r\n", path, line);
        if (n < 0) {
            die("asprintf");
        }
        requests[nrequests] = at;
        lengths[nrequests++] = (size_t) n;
    }
    fclose(file);
    if (nrequests == 0) {
        die("no credentials");
    }
}

static void send_next(conn_t *c)
{
    long i = sent++ % nrequests;

    c->n = 0;
    if (write(c->fd, requests[i], lengths[i]) != (ssize_t) lengths[i]) {
        die("write");
    }
}

/* Reads what there is: 1 when the answer is whole. */
static int take(conn_t *c, int status)
{
    ssize_t n = read(c->fd, c->in + c->n, ROOM - c->n);
    char   *end, *at;

    if (n <= 0) {
        die("read");
    }
    c->n += (size_t) n;
    c->in[c->n] = '\0';
    end = strstr(c->in, "\r\n\r\n");
    at = end ? strcasestr(c->in, "\r\nContent-Length: ") : NULL;
    if (!end || (at && at < end && c->n < (size_t) (end + 4 - c->in) + (size_t) atol(at + 18))) {
        return 0;
    }
    if (atoi(c->in + sizeof("HTTP/1.1")) != status) {
        fprintf(stderr, "ask: not %d: %s\n", status, c->in);
        exit(1);
    }
    return 1;
}

static int open_all(int n, uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int                ep = epoll_create1(0);

    for (int i = 0; i < n; i++) {
        conns[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (conns[i].fd < 0 || connect(conns[i].fd, (struct sockaddr *) &to, sizeof(to))) {
            die("connect");
        }
        epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &(struct epoll_event) { .events = EPOLLIN, .data.ptr = &conns[i] });
    }
    return ep;
}

int main(int argc, char **argv)
{
    long total, done = 0;
    int  n, ep, status;

    if (argc != 7 || (n = atoi(argv[5])) < 1 || n > CONNECTIONS_MAX) {
        fprintf(stderr, "usage: ask PORT PATH STATUS TOTAL CONNECTIONS CREDENTIALS\n");
        return 2;
    }
    status = atoi(argv[3]);
    total = atol(argv[4]);
    read_credentials(argv[6], argv[2]);
    ep = open_all(n, (uint16_t) atoi(argv[1]));
    for (int i = 0; i < n && sent < total; i++) {
        send_next(&conns[i]);
    }
    while (done < total) {
        struct epoll_event ev[64];
        int                k = epoll_wait(ep, ev, 64, SILENCE);

        if (k <= 0) {
            fprintf(stderr, "ask: no answer\n");
            return 1;
        }
        for (int i = 0; i < k; i++) {
            if (take(ev[i].data.ptr, status)) {
                done++;
                if (sent < total) {
                    send_next(ev[i].data.ptr);
                }
            }
        }
    }
    return 0;
}
