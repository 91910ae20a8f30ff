#include "run/co.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "run/co_stack.h"
#include "run/loop.h"

#define EXIT_ROUNDS  64     /* how often co_exit() runs those that it has cancelled */

struct co {
    list_t       all, ready;        /* `ready` is in no list unless the coroutine is to run */
    const char  *name, *where;
    uint64_t     since;             /* clock_ms() of the last park */
    void       (*fn)(void *arg);
    void        *arg;
    wait_t      *wait;              /* what it is parked on; NULL when ready or running */
    int          rc;                /* what the wait returns */
    uint64_t     deadline;          /* 0: none */
    ltimer_t     timer;
    bool         started, ended, cancelled, masked;
    char         label[CO_LABEL_MAX + 1];
    const trace_t *trace;
    co_stack_t   stack;
    co_ctx_t     ctx;
};

struct co_sched {
    list_t       all, ready;
    size_t       count;
    co_t        *current;
    co_ctx_t     main;
    co_stacks_t  stacks;
};

co_t *co_self(void)
{
    return proc.co ? proc.co->current : NULL;
}

static co_t *self_in(const char *what)
{
    co_t *co = co_self();

    if (co == NULL) {
        si_die("%s: not in a coroutine", what);
    }
    return co;
}

/* ---- running ---- */

static void co_entry(void)
{
    co_t *co;

    co_ctx_entered(&proc.co->main);
    co = proc.co->current;
    co->fn(co->arg);
    co->ended = true;
    co_ctx_leave(&co->ctx, &proc.co->main);
}

static void co_free(co_t *co)
{
    loop_timer_del(&co->timer);
    list_remove(&co->ready);
    list_remove(&co->all);
    if (co->started && co->ended) {
        co_stack_put(&proc.co->stacks, co->stack);
    }                       /* else it is dropped at exit: waits on its stack may still be completed */
    proc.co->count--;
    free(co);
}

/* The only place that enters a coroutine; called from the loop, or from co_exit(). */
static void co_resume(co_t *co)
{
    struct co_sched *s = proc.co;

    if (s->current != NULL) {
        si_die("coroutine \"%s\" resumed from within \"%s\"", co->name, s->current->name);
    }
    list_remove(&co->ready);
    if (!co->started) {
        co->started = true;
        co->stack = co_stack_get(&s->stacks);
        co_ctx_make(&co->ctx, co->stack, co_entry);
    }
    s->current = co;
    co_ctx_switch(&s->main, &co->ctx);
    s->current = NULL;
    if (co->ended) {
        co_free(co);
    }
}

static bool co_pending(void)
{
    return !list_empty(&proc.co->ready);
}

/* Those that become ready meanwhile have their turn in the next batch, after new events. */
static void co_run(void)
{
    struct co_sched *s = proc.co;
    list_t batch;

    list_init(&batch);
    if (!list_empty(&s->ready)) {
        list_insert(&s->ready, &batch);     /* cut the ring: `batch` becomes the head of what is there */
        list_remove(&s->ready);
    }
    while (!list_empty(&batch)) {
        co_resume(list_entry(batch.next, co_t, ready));
    }
}

static void make_ready(co_t *co, int rc)
{
    if (!list_empty(&co->ready)) {
        si_die("coroutine \"%s\" woken twice", co->name);
    }
    co->wait = NULL;
    co->rc = rc;
    co->where = "ready";
    loop_timer_del(&co->timer);
    list_push(&proc.co->ready, &co->ready);
}

/* Takes a parked coroutine off its wait, which then has nobody to wake. */
static void unhook(co_t *co, int rc)
{
    co->wait->co = NULL;
    make_ready(co, rc);
}

static int park(co_t *co, const char *where, uint64_t now)
{
    co->where = where;
    co->since = now;
    co_ctx_switch(&co->ctx, &proc.co->main);
    co->where = "running";
    return co->rc;
}

co_t *co_spawn(const char *name, void (*fn)(void *arg), void *arg)
{
    struct co_sched *s = proc.co;
    co_t *co = si_calloc(sizeof(*co));

    co->name = name;
    co->fn = fn;
    co->arg = arg;
    co->since = clock_ms();
    list_init(&co->ready);
    list_push(&s->all, &co->all);
    s->count++;
    make_ready(co, SI_OK);
    return co;
}

/* ---- waiting ---- */

static void on_timeout(ltimer_t *t)
{
    co_t *co = container_of(t, co_t, timer);

    unhook(co, SI_ETIMEDOUT);
}

bool co_cancelled(const co_t *co)
{
    return co->cancelled;
}

static bool must_end(const co_t *co)
{
    return co->cancelled && !co->masked;
}

int co_wait(wait_t *w, const char *where, uint64_t deadline)
{
    co_t *co = self_in("co_wait");
    uint64_t now;

    if (must_end(co)) {
        return SI_ECANCELED;
    }
    if (w->done) {
        return w->rc;
    }
    if (w->co != NULL) {
        si_die("co_wait: \"%s\" already waits at \"%s\"", w->co->name, w->co->where);
    }
    if (co->deadline != 0) {
        deadline = SI_MIN(deadline, co->deadline);
    }
    now = clock_ms();
    if (deadline != CO_NO_DEADLINE) {
        if (deadline <= now) {
            return SI_ETIMEDOUT;
        }
        loop_timer_at(&co->timer, deadline, on_timeout);
    }
    w->co = co;
    co->wait = w;
    return park(co, where, now);
}

bool wait_wake(wait_t *w, int rc)
{
    co_t *co = w->co;

    if (w->done) {
        return false;
    }
    w->done = true;
    w->rc = rc;
    if (co != NULL) {
        unhook(co, rc);
    }
    return true;
}

int co_yield(void)
{
    co_t *co = self_in("co_yield");

    if (must_end(co)) {
        return SI_ECANCELED;
    }
    make_ready(co, SI_OK);
    (void) park(co, "ready", clock_ms());
    return must_end(co) ? SI_ECANCELED : SI_OK;
}

int co_wait_in(list_t *waiters, const char *where, uint64_t deadline)
{
    waiter_t w;
    int      rc;

    wait_init(&w.wait);
    list_push(waiters, &w.node);
    rc = co_wait(&w.wait, where, deadline);
    list_remove(&w.node);
    return rc;
}

void waiters_wake(list_t *waiters, int rc)
{
    list_each_safe(it, waiters) {
        waiter_t *w = list_entry(it, waiter_t, node);
        list_remove(&w->node);
        wait_wake(&w->wait, rc);
    }
}

int co_sleep(uint64_t ms, const char *where)
{
    co_t *co = self_in("co_sleep");
    uint64_t now = clock_ms(), until = ms < CO_NO_DEADLINE - now ? now + ms : CO_NO_DEADLINE - 1;
    wait_t w;
    int rc;

    if (ms == 0) {
        return co_yield();
    }
    wait_init(&w);
    rc = co_wait(&w, where, until);
    return rc == SI_ETIMEDOUT && (co->deadline == 0 || co->deadline >= until) ? SI_OK : rc;
}

void co_cancel(co_t *co)
{
    co->cancelled = true;
    if (co->wait != NULL && !co->masked) {
        unhook(co, SI_ECANCELED);
    }
}

bool co_mask(bool on)
{
    co_t *co = self_in("co_mask");
    bool before = co->masked;

    co->masked = on;
    return before;
}

uint64_t co_deadline(uint64_t at)
{
    co_t    *co = self_in("co_deadline");
    uint64_t before = co->deadline;

    co->deadline = at;
    return before;
}

/* ---- who is there ---- */

void co_label(const char *turn_id)
{
    co_t *co = self_in("co_label");

    (void) snprintf(co->label, sizeof(co->label), "%s", turn_id ? turn_id : "");
}

const char *co_self_label(void)
{
    co_t *co = co_self();

    return co != NULL && co->label[0] != '\0' ? co->label : NULL;
}

void co_trace(const trace_t *trace)
{
    self_in("co_trace")->trace = trace;
}

const trace_t *co_self_trace(void)
{
    co_t *co = co_self();

    return co != NULL ? co->trace : NULL;
}

static const char *self_trace_id(void)
{
    const trace_t *t = co_self_trace();

    return t != NULL ? t->trace : NULL;
}

void co_each(void (*fn)(co_t *co, const char *name, const char *label, const char *where, uint64_t since, void *arg),
             void *arg)
{
    list_each(it, &proc.co->all) {
        co_t *co = list_entry(it, co_t, all);

        fn(co, co->name, co->label, co->where, co->since, arg);
    }
}

size_t co_count(void)
{
    return proc.co ? proc.co->count : 0;
}

/* ---- life of the scheduler ---- */

void co_init(void)
{
    struct co_sched *s = si_calloc(sizeof(*s));

    list_init(&s->all);
    list_init(&s->ready);
    proc.co = s;
    loop_hook(co_run, co_pending);
    logger_turn_source(co_self_label);
    logger_trace_source(self_trace_id);
}

void co_exit(void)
{
    struct co_sched *s = proc.co;

    if (s == NULL) {
        return;
    }
    list_each(it, &s->all) {
        co_cancel(list_entry(it, co_t, all));
    }
    for (int i = 0; i < EXIT_ROUNDS && co_pending(); i++) {
        co_run();
    }
    while (!list_empty(&s->all)) {
        co_t *co = list_first(&s->all, co_t, all);

        log_line(LOG_WARN, "coroutine dropped at exit", "name", co->name, "where", co->where,
                 "turn", co->label[0] ? co->label : NULL, NULL);
        co_free(co);
    }
    loop_hook(NULL, NULL);
    logger_turn_source(NULL);
    logger_trace_source(NULL);
    co_stacks_free(&s->stacks);
    free(s);
    proc.co = NULL;
}
