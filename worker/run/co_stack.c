#include "run/co_stack.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(start, end)  0u
#define VALGRIND_STACK_DEREGISTER(id)        ((void) (id))
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CO_ASAN  1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CO_ASAN  1
#endif
#endif
#ifdef CO_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define FILLER        0x5a
#define FILLER_BYTES  1024

/* ---- stacks ---- */

/*
 * Clears the red zones of frames that were never returned from. Only above the lowest page that
 * was used, and some more for frames with holes: the shadow of a whole stack is 64 KiB.
 */
static void unpoison(co_stack_t s)
{
#ifdef CO_ASAN
    unsigned char used[CO_STACK_BYTES / 4096] = { 0 };
    size_t page = 0;

    if (sysconf(_SC_PAGESIZE) == 4096 && mincore(s.base, CO_STACK_BYTES, used) == 0) {
        while (page < SI_COUNT(used) && !(used[page] & 1)) {
            page++;
        }
        page = page > 8 ? page - 8 : 0;
    }
    __asan_unpoison_memory_region(s.base + page * 4096, CO_STACK_BYTES - page * 4096);
#else
    (void) s;
#endif
}

static co_stack_t stack_new(void)
{
    co_stack_t s;
    char *p = mmap(NULL, CO_STACK_GUARD + CO_STACK_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

    if (p == MAP_FAILED || mprotect(p, CO_STACK_GUARD, PROT_NONE) != 0) {
        si_die("no stack for a coroutine: %s", strerror(errno));    /* too little vm.max_map_count? */
    }
    s.base = p + CO_STACK_GUARD;
    s.valgrind_id = VALGRIND_STACK_REGISTER(s.base, s.base + CO_STACK_BYTES);
    return s;
}

static void stack_free(co_stack_t s)
{
    VALGRIND_STACK_DEREGISTER(s.valgrind_id);
    if (munmap(s.base - CO_STACK_GUARD, CO_STACK_GUARD + CO_STACK_BYTES) != 0) {
        si_die("munmap: %s", strerror(errno));
    }
}

co_stack_t co_stack_get(co_stacks_t *pool)
{
    return pool->nidle > 0 ? pool->idle[--pool->nidle] : stack_new();
}

/*
 * The lowest KiB that a pooled stack keeps is filled with one byte. As long as it stands nothing below was used either, but by
 * a frame that is longer and touched none of it, which a later one will betray; and the system need not be asked to take that back.
 */
static bool filler_stands(const char *at)
{
    return at[0] == FILLER && memcmp(at, at + 1, FILLER_BYTES - 1) == 0;
}

void co_stack_put(co_stacks_t *pool, co_stack_t s)
{
    unpoison(s);
    if (pool->nidle == CO_STACK_IDLE) {
        stack_free(s);
        return;
    }
    if (!filler_stands(s.base + CO_STACK_BYTES - CO_STACK_KEEP)) {
        (void) madvise(s.base, CO_STACK_BYTES - CO_STACK_KEEP, MADV_DONTNEED);
        memset(s.base + CO_STACK_BYTES - CO_STACK_KEEP, FILLER, FILLER_BYTES);
    }
    pool->idle[pool->nidle++] = s;
}

void co_stacks_free(co_stacks_t *pool)
{
    while (pool->nidle > 0) {
        stack_free(pool->idle[--pool->nidle]);
    }
}

/* ---- the switch ---- */

#ifdef SI_CO_UCONTEXT

static void ctx_make(co_ctx_t *c, co_stack_t s, void (*entry)(void))
{
    if (getcontext(&c->uc) != 0) {
        si_die("getcontext: %s", strerror(errno));
    }
    c->uc.uc_stack.ss_sp = s.base;
    c->uc.uc_stack.ss_size = CO_STACK_BYTES;
    c->uc.uc_link = NULL;
    makecontext(&c->uc, entry, 0);
}

static void ctx_switch(co_ctx_t *from, co_ctx_t *to)
{
    if (swapcontext(&from->uc, &to->uc) != 0) {
        si_die("swapcontext: %s", strerror(errno));
    }
}

#else

/* run/co_switch.S: saves what a call must keep on the present stack, *save = its pointer; goes on at `load`. */
void co_switch(void **save, void *load);

/* The picture that co_switch() takes from a stack, lowest address first; the last slot is a return address of 0. */
#if defined(__x86_64__)
enum { SLOTS = 9, SLOT_FLOAT = 0, SLOT_PC = 7 };
#define FLOAT_STATE  0x0000037f00001f80ull      /* x87 control word and MXCSR as the ABI starts a process */
#elif defined(__aarch64__)
enum { SLOTS = 20, SLOT_PC = 11 };
#else
#error "no coroutine switch for this processor: build with UCONTEXT=1"
#endif

static void ctx_make(co_ctx_t *c, co_stack_t s, void (*entry)(void))
{
    uint64_t *sp = (uint64_t *) (void *) (s.base + CO_STACK_BYTES) - SLOTS;

    memset(sp, 0, SLOTS * sizeof(*sp));
    sp[SLOT_PC] = (uint64_t) (uintptr_t) entry;
#ifdef __x86_64__
    sp[SLOT_FLOAT] = FLOAT_STATE;
#endif
    c->sp = sp;
}

static void ctx_switch(co_ctx_t *from, co_ctx_t *to)
{
    co_switch(&from->sp, to->sp);
}

#endif

static void switch_start(co_ctx_t *to, void **fake_stack)
{
#ifdef CO_ASAN
    __sanitizer_start_switch_fiber(fake_stack, to->bottom, to->size);
#else
    (void) to;
    (void) fake_stack;
#endif
}

/* `from` is who was left; its bounds are learned here: those of the main stack are not known otherwise. */
static void switch_finish(void *fake_stack, co_ctx_t *from)
{
#ifdef CO_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, from ? &from->bottom : NULL, from ? &from->size : NULL);
#else
    (void) fake_stack;
    (void) from;
#endif
}

void co_ctx_make(co_ctx_t *c, co_stack_t s, void (*entry)(void))
{
    *c = (co_ctx_t) { .bottom = s.base, .size = CO_STACK_BYTES };
    ctx_make(c, s, entry);
}

void co_ctx_switch(co_ctx_t *from, co_ctx_t *to)
{
    switch_start(to, &from->fake_stack);
    ctx_switch(from, to);
    switch_finish(from->fake_stack, NULL);
}

void co_ctx_entered(co_ctx_t *from)
{
    switch_finish(NULL, from);
}

_Noreturn void co_ctx_leave(co_ctx_t *from, co_ctx_t *to)
{
    switch_start(to, NULL);         /* NULL: the fake stack goes with the coroutine */
    ctx_switch(from, to);
    si_die("a coroutine that has ended was resumed");
}
