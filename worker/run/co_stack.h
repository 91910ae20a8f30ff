/* Private to run/: stacks of coroutines, and the switch between them. */
#ifndef SI_CO_STACK_H
#define SI_CO_STACK_H

#include "base/base.h"

#ifdef SI_CO_UCONTEXT
#include <ucontext.h>
#endif

#define CO_STACK_BYTES   (512u << 10)   /* usable; committed as it is touched */
#define CO_STACK_GUARD   (16u << 10)    /* below it, no access */
#define CO_STACK_KEEP    (16u << 10)    /* bytes at the top that a pooled stack keeps */
#define CO_STACK_IDLE    64             /* stacks kept for reuse */

typedef struct {
    char     *base;         /* lowest usable byte */
    unsigned  valgrind_id;
} co_stack_t;

typedef struct {
    co_stack_t idle[CO_STACK_IDLE];
    size_t     nidle;
} co_stacks_t;

/* From the pool or new. Ends the process when the system gives none. */
co_stack_t co_stack_get(co_stacks_t *pool);
/* Back to the pool, without the memory below CO_STACK_KEEP, or to the system. */
void       co_stack_put(co_stacks_t *pool, co_stack_t s);
void       co_stacks_free(co_stacks_t *pool);

/* One side of a switch: a coroutine, or the main stack. */
typedef struct {
#ifdef SI_CO_UCONTEXT
    ucontext_t  uc;
#else
    void       *sp;
#endif
    const void *bottom;         /* of its stack, for the sanitizer */
    size_t      size;
    void       *fake_stack;
} co_ctx_t;

/* Prepares c to run entry() on s at its first switch. entry() must not return. */
void co_ctx_make(co_ctx_t *c, co_stack_t s, void (*entry)(void));
/* Leaves `from` and goes on in `to`. Returns when something switches back to `from`. */
void co_ctx_switch(co_ctx_t *from, co_ctx_t *to);
/* The first thing entry() calls: `from` is who switched to it. */
void co_ctx_entered(co_ctx_t *from);
/* Leaves a context that is never entered again. */
_Noreturn void co_ctx_leave(co_ctx_t *from, co_ctx_t *to);

#endif
