/*
 * The event loop of a process: epoll, a timer heap, a ready queue, frees
 * deferred to the end of a batch. Single-threaded; everything runs from here.
 */
#ifndef SI_LOOP_H
#define SI_LOOP_H

#include <sys/epoll.h>

#include "base/heap.h"

typedef struct watch {
    int       fd;               /* -1: not watched; `fn` is NULL then, so a zeroed watch is not watched either */
    uint32_t  events;           /* EPOLLIN, EPOLLOUT, … level-triggered */
    void    (*fn)(struct watch *w, uint32_t events);
} watch_t;

typedef struct ltimer {
    union {
        heap_node_t   node;     /* private */
        struct {
            uint64_t  at;       /* clock_ms(); 0: not set */
            size_t    index;    /* private */
        };
    };
    void    (*fn)(struct ltimer *t);
} ltimer_t;

/* Sets proc.loop. Dies on failure. */
void loop_init(void);
void loop_free(void);
/* Runs until loop_stop(): the batch that stops it is still carried through. */
void loop_run(void);
void loop_stop(void);
/* Milliseconds of the monotonic clock, read once per batch. */
uint64_t loop_now(void);

/* Starts or changes a watch. The watch lives in its owner. 0 or SI_EINVAL (epoll refused; logged). */
int  loop_watch(watch_t *w, int fd, uint32_t events, void (*fn)(watch_t *, uint32_t));
/* Ends it; no event of it is delivered afterwards, also none of the present batch. Does not close fd. */
void loop_unwatch(watch_t *w);

/* Sets (or moves) a timer to now + ms. `t` must be zeroed before its first use. */
void loop_timer(ltimer_t *t, uint64_t ms, void (*fn)(ltimer_t *));
/* At that clock_ms(). */
void loop_timer_at(ltimer_t *t, uint64_t at, void (*fn)(ltimer_t *));
void loop_timer_del(ltimer_t *t);

/* Calls fn(arg) at the end of the present batch: the place to free objects and to flush what was gathered. */
void loop_defer(void (*fn)(void *arg), void *arg);

/*
 * For run/co: run() is called after the events and timers of each batch and before the deferred
 * functions; while pending() the loop does not sleep.
 */
void loop_hook(void (*run)(void), bool (*pending)(void));

#endif
