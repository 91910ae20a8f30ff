/*
 * A scripted server for unit tests: a process of its own, and one for each connection, so that blocking code will do.
 * What it sees it tells on a pipe; a byte on another one lets an answer that waits go on.
 */
#ifndef SI_TEST_SERVER_H
#define SI_TEST_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    pid_t pid;
    int   port;
    int   report;       /* to be read by the test */
    int   go;           /* to be written by the test */
} server_t;

/* Serves one connection in its own process, and ends with it. */
typedef void (*serve_fn)(int fd, int report, int go, const void *arg);

static void accept_all(int lfd, int report, int go, serve_fn serve, const void *arg)
{
    signal(SIGCHLD, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int fd = accept(lfd, NULL, NULL);

        if (fd < 0) {
            _exit(1);
        }
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(lfd);
            serve(fd, report, go, arg);
            _exit(0);
        }
        close(fd);
    }
}

static int listen_any(int *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof(a);
    int                fd = socket(AF_INET, SOCK_STREAM, 0);

    if (bind(fd, (struct sockaddr *) &a, sizeof(a)) != 0 || listen(fd, 512) != 0
        || getsockname(fd, (struct sockaddr *) &a, &len) != 0)
    {
        perror("listen");
        exit(1);
    }
    *port = ntohs(a.sin_port);
    return fd;
}

/* Call it before anything else is open. `arg` is what serve() gets. */
static server_t server_start(serve_fn serve, const void *arg)
{
    server_t s;
    int      lfd = listen_any(&s.port), report[2], go[2];

    if (pipe(report) != 0 || pipe(go) != 0) {
        perror("pipe");
        exit(1);
    }
    fflush(stdout);
    s.pid = fork();
    if (s.pid == 0) {
        close(report[0]);
        close(go[1]);
        accept_all(lfd, report[1], go[0], serve, arg);
    }
    close(lfd);
    close(report[1]);
    close(go[0]);
    s.report = report[0];
    s.go = go[1];
    return s;
}

static void server_stop(server_t *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    close(s->report);
    close(s->go);
}

#endif
