#include "run/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"

#define BATCH         256       /* events taken from the kernel at once */
#define DEFER_ROUNDS  16        /* functions deferred by deferred ones: the rest waits for the next batch */
#define DEFER_MAX     (1u << 20)

typedef struct {
    void (*fn)(void *arg);
    void  *arg;
} deferred_t;

struct loop {
    int        epfd;
    bool       stop;
    uint64_t   now;
    heap_t     timers;
    watch_t  **by_fd;           /* who watches a descriptor: a number may be used again by another */
    size_t     nfds;
    deferred_t *deferred;
    size_t     ndeferred, cap_deferred;
    void     (*run)(void);
    bool     (*pending)(void);
    int        nevents, next;   /* of the present batch */
    struct epoll_event events[BATCH];
};

void loop_init(void)
{
    struct loop *lp = si_calloc(sizeof(*lp));

    lp->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (lp->epfd < 0) {
        si_die("epoll_create1: %s", strerror(errno));
    }
    heap_init(&lp->timers);
    lp->now = clock_ms();
    proc.loop = lp;
}

/* ---- descriptors ---- */

static bool watched(const watch_t *w)
{
    return w->fn != NULL && w->fd >= 0;
}

static void fd_table_grow(struct loop *lp, size_t fd)
{
    size_t n = lp->nfds ? lp->nfds : 64;

    if (fd < lp->nfds) {
        return;
    }
    while (n <= fd) {
        n *= 2;
    }
    lp->by_fd = si_realloc(lp->by_fd, n * sizeof(*lp->by_fd));
    memset(lp->by_fd + lp->nfds, 0, (n - lp->nfds) * sizeof(*lp->by_fd));
    lp->nfds = n;
}

/* A descriptor that was closed while watched has left epoll by itself, and its number may be another's by now. */
static int epoll_set(struct loop *lp, int fd, struct epoll_event *ev, bool known)
{
    int rc = epoll_ctl(lp->epfd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, ev);

    if (rc != 0 && known && errno == ENOENT) {
        rc = epoll_ctl(lp->epfd, EPOLL_CTL_ADD, fd, ev);
    } else if (rc != 0 && !known && errno == EEXIST) {
        rc = epoll_ctl(lp->epfd, EPOLL_CTL_MOD, fd, ev);
    }
    return rc;
}

int loop_watch(watch_t *w, int fd, uint32_t events, void (*fn)(watch_t *, uint32_t))
{
    struct loop *lp = proc.loop;
    struct epoll_event ev = { .events = events, .data.ptr = w };

    if (watched(w) && w->fd != fd) {
        loop_unwatch(w);
    }
    if (fd >= 0) {
        fd_table_grow(lp, (size_t) fd);
    }
    if (fd < 0 || fn == NULL || epoll_set(lp, fd, &ev, lp->by_fd[fd] == w) != 0) {
        log_fmt(LOG_ERROR, "descriptor %d cannot be watched: %s", fd,
                fd < 0 || fn == NULL ? "bad argument" : strerror(errno));
        return SI_EINVAL;
    }
    lp->by_fd[fd] = w;
    w->fd = fd;
    w->events = events;
    w->fn = fn;
    return SI_OK;
}

void loop_unwatch(watch_t *w)
{
    struct loop *lp = proc.loop;

    if (watched(w)) {
        if ((size_t) w->fd < lp->nfds && lp->by_fd[w->fd] == w) {
            lp->by_fd[w->fd] = NULL;
            (void) epoll_ctl(lp->epfd, EPOLL_CTL_DEL, w->fd, NULL);  /* fails if fd was closed: then it is done */
        }
        for (int i = lp->next; i < lp->nevents; i++) {
            if (lp->events[i].data.ptr == w) {
                lp->events[i].data.ptr = NULL;
            }
        }
    }
    w->fd = -1;
    w->fn = NULL;
}

static void run_events(struct loop *lp)
{
    for (lp->next = 0; lp->next < lp->nevents; ) {
        struct epoll_event *ev = &lp->events[lp->next++];
        watch_t *w = ev->data.ptr;
        uint32_t events;

        if (w == NULL) {
            continue;
        }
        /* What is no longer wanted since an earlier event of this batch is not delivered. */
        events = ev->events & (w->events | EPOLLERR | EPOLLHUP);
        if (events != 0) {
            w->fn(w, events);
        }
    }
    lp->nevents = lp->next = 0;
}

/* ---- timers ---- */

uint64_t loop_now(void)
{
    return proc.loop->now;
}

void loop_timer(ltimer_t *t, uint64_t ms, void (*fn)(ltimer_t *))
{
    uint64_t now = clock_ms();      /* not that of the batch: a timer must not fire early */

    loop_timer_at(t, ms < UINT64_MAX - now ? now + ms : UINT64_MAX, fn);
}

void loop_timer_at(ltimer_t *t, uint64_t at, void (*fn)(ltimer_t *))
{
    t->fn = fn;
    heap_put(&proc.loop->timers, &t->node, at);
}

void loop_timer_del(ltimer_t *t)
{
    heap_del(&proc.loop->timers, &t->node);
    t->at = 0;
}

static void run_timers(struct loop *lp)
{
    /* Bounded: a timer that sets itself to 0 ms must not keep the others waiting. */
    for (size_t left = lp->timers.n; left > 0; left--) {
        heap_node_t *n = heap_min(&lp->timers);
        ltimer_t *t;

        if (n == NULL || n->at > lp->now) {
            break;
        }
        t = container_of(n, ltimer_t, node);
        loop_timer_del(t);
        t->fn(t);
    }
}

/* ---- deferred functions ---- */

void loop_defer(void (*fn)(void *arg), void *arg)
{
    struct loop *lp = proc.loop;

    if (lp->ndeferred == lp->cap_deferred) {
        if (lp->ndeferred >= DEFER_MAX) {
            si_die("loop_defer: %zu functions wait", lp->ndeferred);
        }
        lp->cap_deferred = lp->cap_deferred ? lp->cap_deferred * 2 : 64;
        lp->deferred = si_realloc(lp->deferred, lp->cap_deferred * sizeof(*lp->deferred));
    }
    lp->deferred[lp->ndeferred++] = (deferred_t) { fn, arg };
}

static void run_deferred(struct loop *lp)
{
    size_t done = 0;

    for (int round = 0; round < DEFER_ROUNDS && done < lp->ndeferred; round++) {
        for (size_t end = lp->ndeferred; done < end; done++) {
            deferred_t d = lp->deferred[done];      /* a copy: the array may move */

            d.fn(d.arg);
        }
    }
    lp->ndeferred -= done;
    if (lp->ndeferred > 0) {
        memmove(lp->deferred, lp->deferred + done, lp->ndeferred * sizeof(*lp->deferred));
    }
}

/* ---- the loop ---- */

void loop_hook(void (*run)(void), bool (*pending)(void))
{
    proc.loop->run = run;
    proc.loop->pending = pending;
}

static int sleep_ms(struct loop *lp)
{
    heap_node_t *n = heap_min(&lp->timers);
    uint64_t now;

    if (lp->ndeferred > 0 || (lp->pending != NULL && lp->pending())) {
        return 0;
    }
    if (n == NULL) {
        return -1;
    }
    now = clock_ms();
    return n->at <= now ? 0 : (int) SI_MIN(n->at - now, (uint64_t) INT_MAX);
}

static void loop_once(struct loop *lp)
{
    int n = epoll_wait(lp->epfd, lp->events, BATCH, sleep_ms(lp));

    if (n < 0 && errno != EINTR) {
        si_die("epoll_wait: %s", strerror(errno));
    }
    lp->nevents = SI_MAX(n, 0);
    lp->now = clock_ms();
    run_events(lp);
    run_timers(lp);
    if (lp->run != NULL) {
        lp->run();
    }
    run_deferred(lp);
}

void loop_run(void)
{
    struct loop *lp = proc.loop;

    lp->stop = false;
    while (!lp->stop) {
        loop_once(lp);
    }
}

void loop_stop(void)
{
    proc.loop->stop = true;
}

void loop_free(void)
{
    struct loop *lp = proc.loop;

    if (lp == NULL) {
        return;
    }
    run_deferred(lp);       /* frees mostly */
    (void) close(lp->epfd);
    heap_free(&lp->timers);
    free(lp->by_fd);
    free(lp->deferred);
    free(lp);
    proc.loop = NULL;
}
