#include "turn/conv.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "conf/conf.h"
#include "link/link.h"
#include "store/store.h"
#include "turn/bus.h"
#include "turn/journal.h"

#define CONV_IDLE_MS     30000   /* without readers and calls it is given up after this */
#define CONV_RECENT      2       /* finished turns kept for exact resumes */
#define CONV_WAIT_MS     10000
#define CLAIM_TRIES      4
#define MEND_MS          300

void convs_init(void)
{
    convs_t *s = si_calloc(sizeof(*s));

    hash_init(&s->table);
    list_init(&s->questions);
    snprintf(s->me, sizeof(s->me), "%s/%s", proc.node, proc.instance);
    proc.convs = s;
}

size_t convs_count(void)
{
    return proc.convs->table.count;
}

static void co_release(void *arg);

/* --- life of one conversation --- */

static void conv_idle(ltimer_t *t)
{
    conv_t *c = container_of(t, conv_t, idle);

    if (c->refs > 0 || evlog_readers(c->log) > 0 || !conv_live(c)) {
        return;
    }
    if (leader_busy(c)) {
        loop_timer(t, CONV_IDLE_MS, conv_idle);
    } else {
        c->refs++;
        co_spawn("release", co_release, c);
    }
}

/* The last link has detached, or the last user has gone: a good moment to think of leaving. */
static void conv_quiet(void *arg)
{
    conv_t *c = arg;

    if (c->refs > 0 || !conv_live(c)) {
        return;
    }
    if (proc.draining) {
        c->refs++;
        co_spawn("release", co_release, c);
    } else if (!c->idle.at && evlog_readers(c->log) == 0) {
        loop_timer(&c->idle, CONV_IDLE_MS, conv_idle);
    }
}

static void conv_key(char out[3 * (UUID_LEN + 1)], const char *tenant, const char *user, const char *id)
{
    snprintf(out, 3 * (UUID_LEN + 1), "%s:%s:%s", tenant, user, id);
}

conv_t *conv_find(const char *tenant, const char *user, const char *id)
{
    char         key[3 * (UUID_LEN + 1)];
    hash_node_t *n;

    conv_key(key, tenant, user, id);
    n = hash_get(&proc.convs->table, str_of(key));
    return n ? container_of(n, conv_t, node) : NULL;
}

static conv_t *conv_new(const char *tenant, const char *user, const char *id)
{
    conv_t *c = si_calloc(sizeof(*c));
    char    key[128];

    snprintf(c->id, sizeof(c->id), "%s", id);
    snprintf(c->tenant, sizeof(c->tenant), "%s", tenant);
    snprintf(c->user, sizeof(c->user), "%s", user);
    snprintf(key, sizeof(key), "c:%s:%s", user, id);
    list_init(&c->turns);
    list_init(&c->opening);
    list_init(&c->lock);
    list_init(&c->followers);
    wait_init(&c->snap);
    c->log = evlog_new(key, conv_quiet, c);
    c->refs = 1;
    conv_key(c->key, tenant, user, id);
    hash_put(&proc.convs->table, &c->node, str_of(c->key));
    return c;
}

static void conv_free(void *arg)
{
    conv_t *c = arg;

    list_each_safe(it, &c->turns) {
        turn_t *t = list_entry(it, turn_t, node);
        list_remove(&t->node);
        turn_unref(t);
    }
    evlog_free(c->log);
    free(c);
}

/* Out of the table; freed when its last user has gone. */
static void conv_close(conv_t *c)
{
    if (c->state != CONV_LOST) {
        c->state = CONV_LOST;
        hash_del(&proc.convs->table, &c->node);
    }
    loop_timer_del(&c->idle);
    loop_timer_del(&c->renew);
    leader_end(c);
    evlog_end(c->log, true);        /* its readers go on elsewhere */
}

void conv_unref(conv_t *c)
{
    if (--c->refs > 0) {
        return;
    }
    if (c->state == CONV_LOST) {
        loop_defer(conv_free, c);
    } else {
        conv_quiet(c);
    }
}

/* First in Postgres, then here: whoever asks meanwhile waits, so that no new claim of ours is released by mistake. */
static void co_release(void *arg)
{
    conv_t  *c = arg;
    arena_t *a = arena_new(1024);

    if (c->refs == 1 && c->state == CONV_FOLLOW) {
        follower_leave(c);
        conv_close(c);
    } else if (c->refs == 1 && c->state == CONV_OPEN && !c->current && conv_queued(c) == 0) {
        c->state = CONV_OPENING;
        co_store_release(a, c->id, proc.convs->me, c->epoch);
        conv_close(c);
        waiters_wake(&c->opening, SI_EAGAIN);
    }
    arena_free(a);
    conv_unref(c);
}

void conv_lose(conv_t *c)
{
    if (c->state == CONV_LOST) {
        return;
    }
    if (c->state == CONV_OPEN) {
        log_line(LOG_WARN, "conversation was taken over by another worker", "conversation", c->id, NULL);
    }
    c->refs++;
    conv_close(c);
    list_each_safe(it, &c->turns) {
        turn_drop(list_entry(it, turn_t, node));
    }
    waiters_wake(&c->lock, SI_ECONFLICT);
    conv_unref(c);
}

/* --- opening --- */

const char *owner_here(const char *owner)
{
    size_t node = strlen(proc.node);

    return strncmp(owner, proc.node, node) == 0 && owner[node] == '/' ? owner + node + 1 : NULL;
}

/* Asks Postgres for the conversation, past owners that are known to be dead. */
static int co_claim(conv_t *c, arena_t *a, const char **moved)
{
    const char *dead = NULL;

    for (int i = 0; i < CLAIM_TRIES; i++) {
        const char *owner = NULL, *instance;
        int rc = co_store_claim(a, c->tenant, c->user, c->id, proc.convs->me, dead, &c->epoch, &owner);

        if (rc != SI_ECONFLICT) {
            return rc;
        }
        if (!owner) {
            continue;
        }
        instance = owner_here(owner);
        if (!instance || (c->anywhere && links_alive(instance))) {
            return co_follow(c, owner);
        }
        if (links_alive(instance)) {
            *moved = instance;
            return SI_ECONFLICT;
        }
        dead = owner;
    }
    return SI_EAGAIN;
}

int co_conv_sure(conv_t *c)
{
    arena_t    *a;
    uint64_t    epoch;
    const char *owner;
    int         rc = co_conv_lock(c, clock_ms() + CONV_WAIT_MS);    /* the epoch stays as it is */

    if (rc) {
        return rc;
    }
    a = arena_new(1024);
    rc = c->state == CONV_OPEN ? co_store_claim(a, c->tenant, c->user, c->id, proc.convs->me, NULL, &epoch, &owner) : SI_EAGAIN;
    arena_free(a);
    if (rc == SI_ECONFLICT || (rc == 0 && epoch != c->epoch)) {
        conv_lose(c);
        rc = SI_EAGAIN;
    }
    conv_unlock(c);
    return rc;
}

/* A turn whose end a worker has kept on disk ends so, and no model is asked again. SI_ENOENT: it has none; or the store's error. */
static int co_replay(conv_t *c, arena_t *a, const turn_row_t *row)
{
    turn_row_t end;
    int        rc;

    if (row->state != TURN_RUNNING || journal_get(a, row, &end) || end.attempt != row->attempt) {
        return SI_ENOENT;           /* none, or another worker has begun anew since: readers have ids behind that end */
    }
    rc = co_store_turn_end(a, c->tenant, c->user, proc.convs->me, c->epoch, &end);
    if (rc == 0) {
        log_line(LOG_INFO, "the end of a turn was written from the journal", "turn", row->id, NULL);
        journal_drop(row->id);
    }
    return rc == SI_ENOENT ? SI_EINTERNAL : rc;
}

static int co_load(conv_t *c, arena_t *a)
{
    turn_row_t *rows;
    size_t      n;
    int         rc = co_store_turns_open(a, c->tenant, c->user, c->id, &rows, &n, &c->last_number);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        turn_t *t = conv_turn(c, rows[i].number);

        if (!t) {
            rc = co_replay(c, a, &rows[i]);
            if (rc == SI_ENOENT) {
                rc = 0;
                turn_new(c, &rows[i], NULL);
            }
        } else if (rows[i].cancel_requested) {
            turn_cancel(t);
        }
    }
    return rc;
}

int co_conv_reload(conv_t *c)
{
    arena_t *a = arena_new(4096);
    int      rc = co_load(c, a);

    arena_free(a);
    return rc;
}

void co_conv_refresh(conv_t *c)
{
    if (co_conv_lock(c, clock_ms() + CONV_WAIT_MS)) {
        return;
    }
    if (c->state == CONV_OPEN && co_conv_reload(c) == 0) {
        conv_next(c);
    }
    conv_unlock(c);
}

static int co_open_new(conv_t *c, arena_t *a, const char **moved)
{
    bool masked = co_mask(true);    /* others may wait for this opening */
    int  rc = co_claim(c, a, moved);

    if (rc == 0 && c->state == CONV_OPENING) {
        rc = co_load(c, a);
    }
    co_mask(masked);
    if (rc == 0 && c->state == CONV_OPENING) {
        c->state = CONV_OPEN;
        conv_next(c);
    } else if (rc || c->state != CONV_FOLLOW) {
        conv_close(c);
        snprintf(c->moved, sizeof(c->moved), "%s", rc == SI_ECONFLICT && *moved ? *moved : "");
    }
    waiters_wake(&c->opening, rc);
    return rc;
}

/* A neighbour owns what is only followed here: its readers and turns are better off there. */
static const char *neighbour(const conv_t *c)
{
    return c->state == CONV_FOLLOW ? owner_here(c->leader) : NULL;
}

static int co_open_known(conv_t *c, conv_t **out, const char **moved, bool anywhere, arena_t *a)
{
    int rc;

    if (conv_live(c)) {
        if (neighbour(c) && !links_alive(neighbour(c))) {
            conv_lose(c);               /* it died a moment ago */
            return SI_EAGAIN;
        }
        if (!anywhere && neighbour(c)) {
            *moved = arena_strdup(a, neighbour(c));
            return SI_ECONFLICT;
        }
        c->refs++;
        loop_timer_del(&c->idle);
        *out = c;
        return 0;
    }
    c->refs++;
    rc = co_wait_in(&c->opening, "conv:open", clock_ms() + CONV_WAIT_MS);
    *moved = c->moved[0] ? arena_strdup(a, c->moved) : NULL;
    conv_unref(c);
    return rc == 0 || (rc == SI_ECONFLICT && anywhere) ? SI_EAGAIN : rc;
}

static int co_open(const char *tenant, const char *user, const char *id, bool anywhere, conv_t **out, const char **moved, arena_t *a)
{
    int rc = SI_EAGAIN;

    for (int i = 0; rc == SI_EAGAIN && i < CLAIM_TRIES; i++) {
        conv_t *c = conv_find(tenant, user, id);

        if (c) {
            rc = co_open_known(c, out, moved, anywhere, a);
            continue;
        }
        if (proc.draining) {
            *moved = links_succeeded() ? arena_printf(a, "%d", proc.slot) : NULL;
            return *moved ? SI_ECONFLICT : SI_EAGAIN;
        }
        c = conv_new(tenant, user, id);
        c->anywhere = anywhere;
        rc = co_open_new(c, a, moved);
        if (rc) {
            conv_unref(c);
            return rc;
        }
        *out = c;
    }
    return rc;
}

int co_conv_open(const char *tenant, const char *user, const char *id, conv_t **out, const char **moved, arena_t *a)
{
    return co_open(tenant, user, id, false, out, moved, a);
}

int co_conv_open_here(const char *tenant, const char *user, const char *id, conv_t **out, arena_t *a)
{
    const char *moved = NULL;
    int         rc = co_open(tenant, user, id, true, out, &moved, a);

    return rc == SI_ECONFLICT ? SI_EAGAIN : rc;
}

/* --- doubt --- */

int co_conv_mend(conv_t *c)
{
    arena_t *a;
    int      rc;

    if (!c->doubt) {
        return 0;
    }
    a = arena_new(1024);
    rc = co_store_refence(a, c->id, proc.convs->me, &c->epoch);
    arena_free(a);
    rc = rc ? rc : co_conv_reload(c);
    if (rc == 0) {
        c->doubt = false;
        log_line(LOG_INFO, "conversation was compared with the store again", "conversation", c->id, NULL);
        conv_next(c);
    } else if (rc == SI_ECONFLICT) {
        conv_lose(c);
    }
    return rc;
}

static void co_mend_later(void *arg)
{
    conv_t *c = arg;

    while (c->doubt && c->state == CONV_OPEN && co_sleep(MEND_MS, "conv:mend") == 0) {
        if (co_conv_lock(c, clock_ms() + CONV_WAIT_MS) == 0) {
            if (c->state == CONV_OPEN) {
                co_conv_mend(c);
            }
            conv_unlock(c);
        }
    }
    conv_unref(c);
}

void conv_mend_later(conv_t *c)
{
    if (!c->doubt) {
        c->doubt = true;
        c->refs++;
        co_spawn("mend", co_mend_later, c);
    }
}

/* --- turns in it --- */

int co_conv_lock(conv_t *c, uint64_t deadline)
{
    if (!c->locked) {
        c->locked = true;
        return 0;
    }
    waiter_t w;

    wait_init(&w.wait);
    list_push(&c->lock, &w.node);
    int rc = co_wait(&w.wait, "conv:lock", deadline);
    list_remove(&w.node);
    if (rc && w.wait.done && w.wait.rc == 0) {
        conv_unlock(c);             /* it had just become ours */
    }
    return rc;
}

void conv_unlock(conv_t *c)
{
    waiter_t *w = list_first(&c->lock, waiter_t, node);

    if (!w) {
        c->locked = false;
        return;
    }
    list_remove(&w->node);          /* the lock passes to the first in line */
    wait_wake(&w->wait, 0);
}

size_t conv_queued(const conv_t *c)
{
    size_t n = 0;

    list_each(it, &c->turns) {
        const turn_t *t = list_entry(it, turn_t, node);
        n += !turn_over(t) && t != c->current && !t->dropped;
    }
    return n;
}

turn_t *conv_turn(conv_t *c, int64_t number)
{
    list_each(it, &c->turns) {
        turn_t *t = list_entry(it, turn_t, node);
        if (t->row.number == number) {
            return t;
        }
    }
    return NULL;
}

turn_t *conv_turn_id(conv_t *c, const char *id)
{
    list_each(it, &c->turns) {
        turn_t *t = list_entry(it, turn_t, node);
        if (strcmp(t->row.id, id) == 0) {
            return t;
        }
    }
    return NULL;
}

int64_t conv_lowest(const conv_t *c)
{
    const turn_t *oldest = list_first(&c->turns, turn_t, node);

    return c->leader[0] ? c->stored + 1 : oldest ? oldest->row.number : c->last_number + 1;
}

event_pos_t conv_at(conv_t *c)
{
    turn_t *last = NULL;

    list_each(it, &c->turns) {
        turn_t *t = list_entry(it, turn_t, node);
        last = t->shown ? t : last;
    }
    return last ? (event_pos_t) { last->row.number, last->last } : (event_pos_t) { conv_lowest(c) - 1, EVENT_ALL };
}

turn_t *co_conv_turn(conv_t *c, const char *id)
{
    turn_t  *t = conv_turn_id(c, id);
    uint64_t until = clock_ms() + SHADOW_MS;

    while (!t && c->state == CONV_FOLLOW && clock_ms() < until && co_sleep(SHADOW_LOOK_MS, "conv:turn") == 0) {
        t = conv_turn_id(c, id);
    }
    return t;
}

/* Only from the old end, so that what is in memory stays a run of consecutive turns. */
void conv_forget_old(conv_t *c)
{
    size_t over = 0;

    list_each(it, &c->turns) {
        over += turn_over(list_entry(it, turn_t, node));
    }
    while (over > CONV_RECENT) {
        turn_t *t = list_first(&c->turns, turn_t, node);

        if (!turn_over(t) || !t->shown) {
            return;
        }
        c->stored = t->row.number;
        list_remove(&t->node);
        turn_unref(t);
        over--;
    }
}

void conv_next(conv_t *c)
{
    if (c->state != CONV_OPEN || c->current) {
        return;
    }
    conv_forget_old(c);
    list_each(it, &c->turns) {
        turn_t *t = list_entry(it, turn_t, node);

        if (t->dropped || (turn_over(t) && t->shown)) {
            continue;
        }
        turn_show(t);
        if (!turn_over(t)) {
            c->current = t;
            if (!t->co) {           /* it may be ending already: cancelled while it waited */
                turn_start(t);
            }
            return;
        }
    }
}

static void drain_one(hash_node_t *n, void *arg)
{
    (void) arg;
    conv_quiet(container_of(n, conv_t, node));
}

void convs_drain(void)
{
    hash_each(&proc.convs->table, drain_one, NULL);
}
