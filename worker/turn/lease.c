#include "turn/lease.h"

#include <stdio.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "conf/conf.h"
#include "link/link.h"
#include "run/loop.h"
#include "store/store.h"
#include "turn/conv.h"

#define SWEEP_MS       2000
#define COMPARE_MS     500
#define ADOPTIONS_MAX  32      /* conversations opened at once by a sweep */

static int co_bury(arena_t *a, const char *died)
{
    char name[192];

    snprintf(name, sizeof(name), "%s/%s", proc.node, died);
    return co_store_bury(a, name);
}

int co_lease_begin(const char *died)
{
    uint64_t pause = 100;

    for (;;) {
        proc.convs->renewed = clock_ms();
        arena_t *a = arena_new(1024);
        int      rc = died ? co_bury(a, died) : 0;

        rc = rc ? rc : co_store_lease(a, proc.convs->me, proc.conf->lease_ms);
        arena_free(a);
        if (rc == 0) {
            return 0;
        }
        if (rc == SI_ECONFLICT) {
            log_line(LOG_WARN, "a dead worker had this name a moment ago; the next process has another", NULL);
            _exit(1);
        }
        log_line(LOG_WARN, "waiting for Postgres", "reason", si_strerror(rc), NULL);
        rc = co_sleep(pause, "lease:begin");
        if (rc) {
            return rc;
        }
        pause = SI_MIN(pause * 2, 2000);
    }
}

/* --- after a lapse --- */

typedef struct {
    conv_t **all;
    size_t   n;
} held_t;

static void hold(hash_node_t *n, void *arg)
{
    held_t *h = arg;

    h->all[h->n] = container_of(n, conv_t, node);
    h->all[h->n++]->refs++;
}

/* Others may have taken what is ours. Those with a turn would meet the fence; the readers of quiet ones would wait for ever. */
static void co_compare(void *arg)
{
    held_t h = { .all = si_malloc((convs_count() + 1) * sizeof(*h.all)) };

    (void) arg;
    hash_each(&proc.convs->table, hold, &h);
    for (size_t i = 0; i < h.n; i++) {
        conv_t *c = h.all[i];
        int     rc = SI_EUNAVAIL;

        while (c->state == CONV_OPEN && (rc == SI_EUNAVAIL || rc == SI_ETIMEDOUT)) {
            rc = co_conv_sure(c);
            if ((rc == SI_EUNAVAIL || rc == SI_ETIMEDOUT) && co_sleep(COMPARE_MS, "lease:compare")) {
                break;
            }
        }
        conv_unref(c);
    }
    free(h.all);
}

static void co_renew(void *arg)
{
    arena_t *a = arena_new(1024);
    uint64_t sent = clock_ms();
    int      rc = co_store_lease(a, proc.convs->me, proc.conf->lease_ms);

    (void) arg;
    arena_free(a);
    if (rc == 0) {
        if (clock_ms() - proc.convs->renewed > proc.conf->lease_ms) {
            log_line(LOG_WARN, "the lease had lapsed", NULL);
            co_spawn("compare", co_compare, NULL);
        }
        proc.convs->renewed = SI_MAX(proc.convs->renewed, sent);
    }
    if (rc == SI_ECONFLICT) {
        /* Others have taken our conversations: nothing here is ours any more. A new process begins clean. */
        log_line(LOG_ERROR, "this worker was declared dead, it leaves", NULL);
        _exit(1);
    }
}

static void renew(ltimer_t *t)
{
    loop_timer(t, proc.conf->lease_ms / 3, renew);
    co_spawn("lease", co_renew, NULL);
}

/* --- the sweep --- */

typedef struct {
    arena_t *arena;
    claim_t *claims;
    size_t   n, next, running;
} adoption_t;

/* A lease may have lapsed only because Postgres was away: a neighbour that listens still has its turns in hand. */
static bool lives_here(const char *owner)
{
    const char *instance = owner && strcmp(owner, proc.convs->me) != 0 ? owner_here(owner) : NULL;

    return instance && links_alive(instance);
}

/* It has a turn in Postgres and runs none here: another machine queued it, and its wake-up was lost. */
static void co_look(conv_t *c)
{
    if (c->state == CONV_OPEN && !c->current) {
        c->refs++;
        co_conv_refresh(c);
        conv_unref(c);
    }
}

static void co_adopt(void *arg)
{
    adoption_t *s = arg;

    while (s->next < s->n && !proc.draining) {
        const claim_t *k = &s->claims[s->next++];
        const char    *moved = NULL;
        conv_t        *c = conv_find(k->tenant, k->user, k->conversation);
        int            rc;

        if (c) {
            co_look(c);
            continue;
        }
        if (lives_here(k->owner)) {
            continue;
        }
        rc = co_conv_open(k->tenant, k->user, k->conversation, &c, &moved, s->arena);
        if (rc == 0) {
            log_line(LOG_INFO, "took over a conversation", "conversation", c->id, "owner", k->owner, NULL);
            conv_unref(c);
        } else if (rc != SI_ECONFLICT && rc != SI_EAGAIN) {
            log_line(LOG_WARN, "could not take a conversation over", "conversation", k->conversation, "reason",
                     si_strerror(rc), NULL);
        }
    }
    if (--s->running == 0) {
        arena_free(s->arena);
        free(s);
    }
}

static void co_sweep(void *arg)
{
    adoption_t *s = si_calloc(sizeof(*s));
    int         rc;

    (void) arg;
    s->arena = arena_new(4096);
    rc = co_store_orphans(s->arena, proc.convs->me, &s->claims, &s->n);
    if (rc || s->n == 0) {
        arena_free(s->arena);
        free(s);
        return;
    }
    s->running = SI_MIN(s->n, ADOPTIONS_MAX);
    for (size_t i = 0, n = s->running; i < n; i++) {
        co_spawn("adopt", co_adopt, s);
    }
}

static void sweep(ltimer_t *t)
{
    if (proc.draining || proc.convs->stopping) {
        return;
    }
    loop_timer(t, SWEEP_MS + hash_bytes((uint64_t) getpid(), &t->at, sizeof(t->at)) % 500, sweep);
    co_spawn("sweep", co_sweep, NULL);
}

void lease_keep(void)
{
    loop_timer(&proc.convs->lease, proc.conf->lease_ms / 3, renew);
    loop_timer(&proc.convs->sweep, 0, sweep);
}

void co_lease_end(void)
{
    arena_t *a = arena_new(1024);

    co_mask(true);
    (void) co_deadline(clock_ms() + 2000);
    loop_timer_del(&proc.convs->lease);
    loop_timer_del(&proc.convs->sweep);
    co_store_bury(a, proc.convs->me);
    arena_free(a);
}
