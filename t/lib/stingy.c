/*
 * LD_PRELOAD shim for tests: stream sockets give and take one byte at a time, with EAGAIN between, as the network may.
 * Finds what only works when a frame or an event comes in one piece. Events become level-triggered: nginx takes a short
 * read for the last one and would wait for an edge that never comes.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS  65536

enum { READS, WRITES };

static unsigned char calls_of[FDS][2];  /* every third one gets EAGAIN */

static int stingy(int fd)
{
    int       type = 0, saved = errno;
    socklen_t n = sizeof(type);
    int       is = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;

    errno = saved;
    return is && fd < FDS;
}

/* True when this call is to fail with EAGAIN. Blocking sockets never do. */
static int hesitate(int fd, int which)
{
    if (!(fcntl(fd, F_GETFL) & O_NONBLOCK)) {
        return 0;
    }
    if (++calls_of[fd][which] % 3) {
        return 0;
    }
    errno = EAGAIN;
    return 1;
}

#define REAL(name)  static __typeof__(name) *real; if (!real) real = (__typeof__(name) *) dlsym(RTLD_NEXT, #name)

int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    REAL(epoll_ctl);
    if (ev && (ev->events & EPOLLET)) {
        struct epoll_event level = { ev->events & ~(uint32_t) EPOLLET, ev->data };
        return real(ep, op, fd, &level);
    }
    return real(ep, op, fd, ev);
}

ssize_t read(int fd, void *p, size_t n)
{
    REAL(read);
    if (n < 2 || !stingy(fd)) {
        return real(fd, p, n);
    }
    return hesitate(fd, READS) ? -1 : real(fd, p, 1);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
    REAL(recv);
    if (n < 2 || (flags & MSG_PEEK) || !stingy(fd)) {
        return real(fd, p, n, flags);
    }
    return hesitate(fd, READS) ? -1 : real(fd, p, 1, flags);
}

ssize_t readv(int fd, const struct iovec *v, int n)
{
    REAL(readv);
    if (n < 1 || !stingy(fd)) {
        return real(fd, v, n);
    }
    struct iovec one = { v[0].iov_base, v[0].iov_len ? 1 : 0 };
    return hesitate(fd, READS) ? -1 : real(fd, &one, 1);
}

ssize_t write(int fd, const void *p, size_t n)
{
    REAL(write);
    if (n < 2 || !stingy(fd)) {
        return real(fd, p, n);
    }
    return hesitate(fd, WRITES) ? -1 : real(fd, p, 1);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    REAL(send);
    if (n < 2 || !stingy(fd)) {
        return real(fd, p, n, flags);
    }
    return hesitate(fd, WRITES) ? -1 : real(fd, p, 1, flags);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    REAL(writev);
    if (n < 1 || !stingy(fd)) {
        return real(fd, v, n);
    }
    while (n > 1 && v->iov_len == 0) {
        v++;
        n--;
    }
    struct iovec one = { v->iov_base, v->iov_len ? 1 : 0 };
    return hesitate(fd, WRITES) ? -1 : real(fd, &one, 1);
}
