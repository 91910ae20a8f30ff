#include "turn/feed_in.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/redis.h"
#include "turn/bus.h"

#define IDLE_MS    30000        /* without readers it is given up after this */
#define TICK_MS    3000
#define LOOK_MS    60000        /* it looks again so often although nothing was noted */
#define WAIT_MS    10000

struct feeds {
    hash_t table;
};

static void feed_free(void *arg)
{
    feed_t *f = arg;

    evlog_free(f->log);
    free(f);
}

void feed_unref(feed_t *f)
{
    if (--f->refs == 0) {
        loop_defer(feed_free, f);
    }
}

void feed_stale(feed_t *f)
{
    f->stale = true;
    wait_wake(&f->kick, 0);
}

static void co_feed(void *arg)
{
    feed_t  *f = arg;
    unsigned failures = 0;

    while (!f->closed) {
        if (!f->stale) {
            wait_init(&f->kick);
            f->stale = co_wait(&f->kick, "feed", clock_ms() + LOOK_MS) != 0 || f->stale;
            continue;
        }
        f->stale = false;
        if (co_feed_look(f) == 0) {
            failures = 0;
        } else {
            f->stale = true;
            co_sleep(backoff_ms(++failures, FEED_PAUSE_MS, FEED_PAUSE_MAX), "feed:look");
        }
    }
    feed_unref(f);
}


/* --- notes --- */

static void channel_of(char out[128], const char *tenant, const char *user)
{
    snprintf(out, 128, "si:u:%s:%s", tenant, user);
}

static feed_t *find_feed(const char *tenant, const char *user)
{
    char         key[2 * (UUID_LEN + 1)];
    hash_node_t *n;

    snprintf(key, sizeof(key), "%s:%s", tenant, user);
    n = hash_get(&proc.feeds->table, str_of(key));
    return n ? container_of(n, feed_t, node) : NULL;
}

static bool follows(const feed_t *f, const conv_t *c)
{
    list_each(it, &f->convs) {
        if (list_entry(it, feed_conv_t, node)->conv == c) {
            return true;
        }
    }
    return false;
}

void feed_note(const conv_t *c)
{
    char    channel[128];
    feed_t *f = find_feed(c->tenant, c->user);

    if (f && !follows(f, c)) {
        feed_stale(f);
    }
    channel_of(channel, c->tenant, c->user);
    redis_send(3, (str_t[]) { STR("PUBLISH"), str_of(channel), str_of(proc.convs->me) });
}

/* Without a message the subscription begins: what was noted before is lost, so it looks, too. */
static void noted(str_t channel, str_t message, void *arg)
{
    feed_t *f = arg;

    (void) channel;
    if (!str_is(message, proc.convs->me)) {
        feed_stale(f);
    }
}

static void tick(ltimer_t *timer)
{
    feed_t *f = container_of(timer, feed_t, tick);
    bool    away = !redis_ready();

    loop_timer(timer, TICK_MS, tick);
    if (away && !f->degraded) {
        feed_publish(f, follower_degraded());
    } else if (!away && f->degraded) {
        feed_stale(f);
    }
    f->degraded = away;
}

/* --- life --- */

/* Its readers go on elsewhere, or there are none. */
static void close_feed(feed_t *f)
{
    char channel[128];

    f->closed = true;
    hash_del(&proc.feeds->table, &f->node);
    loop_timer_del(&f->tick);
    loop_timer_del(&f->idle);
    channel_of(channel, f->tenant, f->user);
    redis_unsubscribe(channel, noted, f);
    list_each_safe(it, &f->turns) {
        feed_close_turn(list_entry(it, feed_open_t, node));
    }
    evlog_end(f->log, true);
    waiters_wake(&f->waiters, SI_ECONFLICT);
    feed_stale(f);                      /* its coroutine sees it, and ends */
}

static bool is_read(const feed_t *f)
{
    return f->readers > 0 || evlog_readers(f->log) > 0;
}

static void idle(ltimer_t *timer)
{
    feed_t *f = container_of(timer, feed_t, idle);

    if (!is_read(f)) {
        close_feed(f);
    }
}

static void quiet(void *arg)
{
    feed_t *f = arg;

    if (!f->closed && !is_read(f)) {
        loop_timer(&f->idle, IDLE_MS, idle);
    }
}

static feed_t *feed_new(const char *tenant, const char *user)
{
    feed_t *f = si_calloc(sizeof(*f));
    char    key[8 + UUID_LEN], channel[128];

    snprintf(f->key, sizeof(f->key), "%s:%s", tenant, user);
    snprintf(f->tenant, sizeof(f->tenant), "%s", tenant);
    snprintf(f->user, sizeof(f->user), "%s", user);
    snprintf(key, sizeof(key), "u:%s", user);
    list_init(&f->turns);
    list_init(&f->convs);
    list_init(&f->waiters);
    wait_init(&f->kick);
    f->log = evlog_new(key, quiet, f);
    f->stale = true;
    f->degraded = !redis_ready();
    f->refs = 1;                        /* the coroutine's */
    hash_put(&proc.feeds->table, &f->node, str_of(f->key));
    channel_of(channel, tenant, user);
    redis_subscribe(channel, noted, f);
    loop_timer(&f->tick, TICK_MS, tick);
    co_spawn("feed", co_feed, f);
    return f;
}

void feed_leave(feed_t *f)
{
    f->readers--;
    quiet(f);
    feed_unref(f);
}

bool feed_opening(const feed_t *f)
{
    list_each(it, &f->convs) {
        if (list_entry(it, feed_conv_t, node)->opening) {
            return true;
        }
    }
    return false;
}

int co_feed_wait(feed_t *f)
{
    return f->closed ? SI_ECONFLICT : co_wait_in(&f->waiters, "feed:wait", clock_ms() + WAIT_MS);
}

int co_feed_open(const char *tenant, const char *user, feed_t **out)
{
    feed_t *f = find_feed(tenant, user);
    int     rc = 0;

    if (!f && (proc.draining || proc.feeds->table.count >= FEEDS_MAX)) {
        return SI_EAGAIN;
    }
    f = f ? f : feed_new(tenant, user);
    f->readers++;
    f->refs++;
    while (rc == 0 && !f->ready) {
        rc = co_feed_wait(f);
    }
    if (rc) {
        feed_leave(f);
        return rc == SI_ECONFLICT ? SI_EAGAIN : rc;
    }
    *out = f;
    return 0;
}

void feeds_init(void)
{
    proc.feeds = si_calloc(sizeof(*proc.feeds));
    hash_init(&proc.feeds->table);
}

static void drain_one(hash_node_t *n, void *arg)
{
    (void) arg;
    close_feed(container_of(n, feed_t, node));
}

void feeds_drain(void)
{
    hash_each(&proc.feeds->table, drain_one, NULL);
}

size_t feeds_count(void)
{
    return proc.feeds->table.count;
}
