/*
 * Requests at a steady pace, to see what a limit lets through.
 *
 *   rate PORT PATH TOTAL PER_SECOND CONNECTIONS
 *
 * GETs PATH of 127.0.0.1 over so many kept-alive connections; a request that is late is sent as soon as a connection is free,
 * so that a pause of the machine changes nothing of their number. Prints one line of JSON: answers with 2xx, with 429, others,
 * the seconds from the first request to the last answer, the longest time without an answer, and how many answers each value of
 * the header X-Pid had.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX  256
#define PIDS_MAX         16
#define ROOM             8192
#define SILENCE          30000     /* ms without an answer: give up */

typedef struct {
    int    fd;
    bool   busy;
    size_t n;
    char   in[ROOM + 1];
} conn_t;

static conn_t conns[CONNECTIONS_MAX];
static long   passed, limited, others, pids[PIDS_MAX], answers[PIDS_MAX];
static int    npids;

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void note_pid(const char *head)
{
    const char *at = strcasestr(head, "\r\nX-Pid: ");
    long        pid = at ? atol(at + 9) : 0;

    for (int i = 0; i < npids; i++) {
        if (pids[i] == pid) {
            answers[i]++;
            return;
        }
    }
    if (pid && npids < PIDS_MAX) {
        answers[npids] = 1;
        pids[npids++] = pid;
    }
}

/* Reads what there is; true when the answer is whole. */
static bool take(conn_t *c)
{
    ssize_t n = read(c->fd, c->in + c->n, ROOM - c->n);
    char   *end, *at;
    int     status;

    if (n <= 0) {
        die("read");
    }
    c->n += (size_t) n;
    c->in[c->n] = '\0';
    end = strstr(c->in, "\r\n\r\n");
    at = end ? strcasestr(c->in, "\r\nContent-Length: ") : NULL;
    if (!end || (at && at < end && c->n < (size_t) (end + 4 - c->in) + (size_t) atol(at + 18))) {
        return false;
    }
    status = atoi(c->in + sizeof("HTTP/1.1"));
    passed += status / 100 == 2;
    limited += status == 429;
    others += status / 100 != 2 && status != 429;
    note_pid(c->in);
    c->n = 0;
    c->busy = false;
    return true;
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

static void send_due(const char *path, long *sent, long due, int n)
{
    char text[1024];
    int  len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: t\r\n\r\n", path);

    /* from another one each time, so that all processes get their share */
    for (int i = 0; i < n && *sent < due; i++) {
        conn_t *c = &conns[(*sent + i) % n];

        if (!c->busy) {
            c->busy = true;
            *sent += 1;
            if (write(c->fd, text, (size_t) len) != len) {
                die("write");
            }
        }
    }
}

int main(int argc, char **argv)
{
    long   total, sent = 0, done = 0;
    int    n, ep;
    double pace, start, pause = 0;

    if (argc != 6 || (n = atoi(argv[5])) < 1 || n > CONNECTIONS_MAX) {
        fprintf(stderr, "usage: rate PORT PATH TOTAL PER_SECOND CONNECTIONS\n");
        return 2;
    }
    total = atol(argv[3]);
    pace = atof(argv[4]);
    ep = open_all(n, (uint16_t) atoi(argv[1]));
    start = now();
    for (double heard = start; done < total;) {
        struct epoll_event ev[64];
        double             due = (now() - start) * pace + 1;
        int                k;

        send_due(argv[2], &sent, due < (double) total ? (long) due : total, n);
        k = epoll_wait(ep, ev, 64, 1);
        for (int i = 0; i < k; i++) {
            done += take(ev[i].data.ptr);
        }
        if (k > 0) {
            double t = now();
            pause = t - heard > pause ? t - heard : pause;
            heard = t;
        } else if ((now() - heard) * 1e3 > SILENCE) {
            fprintf(stderr, "rate: no answer\n");
            return 1;
        }
    }
    printf("{\"passed\":%ld,\"limited\":%ld,\"others\":%ld,\"seconds\":%.4f,\"pause\":%.4f,\"pids\":[", passed, limited, others, now() - start, pause);
    for (int i = 0; i < npids; i++) {
        printf("%s%ld", i ? "," : "", answers[i]);
    }
    puts("]}");
    return 0;
}
