#include "io/redis_conn.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/util.h"

#define CONNECT_MS   5000
#define SETUP_MS     5000
#define BACKOFF_MIN  100
#define BACKOFF_MAX  5000
#define WATCHDOG_MS  2000
#define STALLED_MS   10000              /* no reply for so long: the connection is dead */

static void conn_start(redis_conn_t *c);

static const char *const state_names[] = { "down", "connecting", "setup", "ready" };

static void conn_state(redis_conn_t *c, redis_conn_state_t state)
{
    if (log_enabled(LOG_DEBUG)) {
        log_fmt(LOG_DEBUG, "redis %s: %s -> %s", c->name, state_names[c->state], state_names[state]);
    }
    c->state = state;
}

/* ---- hiredis and the loop ---- */

static void on_io(watch_t *w, uint32_t events)
{
    redis_conn_t *c = container_of(w, redis_conn_t, watch);

    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && c->ac != NULL && c->want_read) {
        redisAsyncHandleRead(c->ac);
    }
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) && c->ac != NULL && c->want_write) {
        redisAsyncHandleWrite(c->ac);
    }
}

static void rewatch(redis_conn_t *c)
{
    uint32_t events = (c->want_read ? EPOLLIN : 0) | (c->want_write && !c->flush_due ? EPOLLOUT : 0);

    if (c->ac == NULL || events == 0) {
        loop_unwatch(&c->watch);
    } else if (c->watch.fd != c->ac->c.fd || c->watch.events != events) {
        (void) loop_watch(&c->watch, c->ac->c.fd, events, on_io);   /* a failure is logged; the watchdog ends it */
    }
}

/* Commands of one batch of the loop leave in one write, and need no event for it. */
static void conn_flush(void *arg)
{
    redis_conn_t *c = arg;

    c->flush_due = false;
    if (c->ac == NULL || !c->want_write) {
        return;
    }
    c->flushing = true;
    redisAsyncHandleWrite(c->ac);
    c->flushing = false;
    rewatch(c);
}

static void hook_add_read(void *arg)
{
    redis_conn_t *c = arg;

    c->want_read = true;
    rewatch(c);
}

static void hook_del_read(void *arg)
{
    redis_conn_t *c = arg;

    c->want_read = false;
    rewatch(c);
}

static void hook_add_write(void *arg)
{
    redis_conn_t *c = arg;

    if (!c->want_write && !c->flushing && !c->flush_due && c->state >= RCONN_SETUP) {
        c->flush_due = true;
        loop_defer(conn_flush, c);
    }
    c->want_write = true;
    rewatch(c);
}

static void hook_del_write(void *arg)
{
    redis_conn_t *c = arg;

    c->want_write = false;
    rewatch(c);
}

static void hook_cleanup(void *arg)
{
    redis_conn_t *c = arg;

    c->want_read = c->want_write = false;
    loop_unwatch(&c->watch);
}

/* ---- going down ---- */

static void on_backoff(ltimer_t *t)
{
    conn_start(container_of(t, redis_conn_t, timer));
}

/* The connection has gone, or is going: a new try is made later. */
static void conn_lost(redis_conn_t *c, const char *why)
{
    c->ac = NULL;
    loop_unwatch(&c->watch);
    loop_timer_del(&c->timer);
    if (c->closed) {
        return;
    }
    c->failures++;
    /* An outage is told once a connection, not at each try. */
    log_fmt(c->failures == 1 ? LOG_WARN : LOG_DEBUG, "redis %s: %s: %s", c->name, state_names[c->state],
            why[0] != '\0' ? why : "connection closed");
    conn_state(c, RCONN_DOWN);
    loop_timer(&c->timer, backoff_ms(c->failures, BACKOFF_MIN, BACKOFF_MAX), on_backoff);
}

/* Ends it from this side. hiredis then calls the callbacks of all commands under way with no reply. */
static void conn_drop(redis_conn_t *c, const char *why)
{
    redisAsyncContext *ac = c->ac;

    conn_lost(c, why);
    redisAsyncFree(ac);
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    redis_conn_t *c = ac->data;

    (void) status;
    if (c->ac == ac) {
        conn_lost(c, ac->errstr != NULL ? ac->errstr : "");
    }
}

static void on_too_slow(ltimer_t *t)
{
    conn_drop(container_of(t, redis_conn_t, timer), "timed out");
}

static void on_watchdog(ltimer_t *t)
{
    redis_conn_t *c = container_of(t, redis_conn_t, timer);

    if (c->inflight > 0 && clock_ms() - c->progress > STALLED_MS) {
        conn_drop(c, "no reply for 10 s");
        return;
    }
    loop_timer(&c->timer, WATCHDOG_MS, on_watchdog);
}

/* ---- commands ---- */

void redis_conn_replied(redis_conn_t *c)
{
    c->inflight--;
    c->progress = clock_ms();
}

static int conn_command(redis_conn_t *c, size_t n, const str_t *args, redisCallbackFn *fn, void *arg)
{
    const char **argv = si_malloc(n * sizeof(*argv));
    size_t      *lens = si_malloc(n * sizeof(*lens));

    for (size_t i = 0; i < n; i++) {
        argv[i] = args[i].p != NULL ? args[i].p : "";
        lens[i] = args[i].n;
    }
    int rc = redisAsyncCommandArgv(c->ac, fn, arg, (int) n, argv, lens);
    free(argv);
    free(lens);
    if (rc != REDIS_OK) {
        return SI_EUNAVAIL;
    }
    if (c->inflight++ == 0) {
        c->progress = clock_ms();
    }
    return 0;
}

int redis_conn_send(redis_conn_t *c, size_t n, const str_t *args, redisCallbackFn *fn, void *arg)
{
    if (n == 0 || c->state != RCONN_READY || c->inflight >= REDIS_INFLIGHT_MAX) {
        return SI_EUNAVAIL;
    }
    return conn_command(c, n, args, fn, arg);
}

/* ---- coming up: AUTH, SELECT, PING ---- */

static bool setup_reply(redisAsyncContext *ac, void *reply)
{
    redis_conn_t *c = ac->data;
    redisReply   *r = reply;

    redis_conn_replied(c);
    if (r == NULL || c->ac != ac) {
        return false;
    }
    if (r->type == REDIS_REPLY_ERROR) {
        conn_drop(c, r->str);
        return false;
    }
    return true;
}

static void on_setup(redisAsyncContext *ac, void *reply, void *arg)
{
    (void) arg;
    (void) setup_reply(ac, reply);
}

/* The last answer of the setup: also a server that is still loading its data says so here. */
static void on_ping(redisAsyncContext *ac, void *reply, void *arg)
{
    redis_conn_t *c = ac->data;

    (void) arg;
    if (!setup_reply(ac, reply)) {
        return;
    }
    if (c->failures > 0) {
        log_fmt(LOG_INFO, "redis %s: connected again", c->name);
    }
    c->failures = 0;
    conn_state(c, RCONN_READY);
    loop_timer(&c->timer, WATCHDOG_MS, on_watchdog);
    if (c->on_ready != NULL) {
        c->on_ready(c);
    }
}

static int setup_commands(redis_conn_t *c)
{
    const redis_addr_t *a = c->addr;
    int                 rc = 0;

    if (a->password[0] != '\0' && a->user[0] != '\0') {
        rc = conn_command(c, 3, (str_t[]) { STR("AUTH"), str_of(a->user), str_of(a->password) }, on_setup, NULL);
    } else if (a->password[0] != '\0') {
        rc = conn_command(c, 2, (str_t[]) { STR("AUTH"), str_of(a->password) }, on_setup, NULL);
    }
    if (rc == 0 && c->db != 0) {
        char db[12];
        snprintf(db, sizeof(db), "%d", c->db);
        rc = conn_command(c, 2, (str_t[]) { STR("SELECT"), str_of(db) }, on_setup, NULL);
    }
    return rc != 0 ? rc : conn_command(c, 1, (str_t[]) { STR("PING") }, on_ping, NULL);
}

static void on_connect(const redisAsyncContext *ac, int status)
{
    redis_conn_t *c = ac->data;

    if (c->ac != ac) {
        return;
    }
    if (status != REDIS_OK) {
        conn_lost(c, ac->c.errstr);                     /* hiredis frees the context itself */
        return;
    }
    if (c->addr->path[0] == '\0') {
        (void) redisEnableKeepAlive(&c->ac->c);         /* finds a host that has gone; the subscriber has no commands */
    }
    conn_state(c, RCONN_SETUP);
    /* The context must not be freed in here: hiredis goes on with it. */
    loop_timer(&c->timer, setup_commands(c) == 0 ? SETUP_MS : 0, on_too_slow);
}

static void conn_start(redis_conn_t *c)
{
    const redis_addr_t *a = c->addr;
    redisAsyncContext  *ac = a->path[0] != '\0' ? redisAsyncConnectUnix(a->path) : redisAsyncConnect(a->host, a->port);

    if (ac == NULL) {
        si_die("redis: no memory for a connection");
    }
    c->ac = ac;
    ac->data = c;
    conn_state(c, RCONN_CONNECTING);
    if (ac->err != 0) {
        conn_drop(c, ac->errstr);
        return;
    }
    ac->ev.data = c;
    ac->ev.addRead = hook_add_read;
    ac->ev.delRead = hook_del_read;
    ac->ev.addWrite = hook_add_write;
    ac->ev.delWrite = hook_del_write;
    ac->ev.cleanup = hook_cleanup;
    loop_timer(&c->timer, CONNECT_MS, on_too_slow);
    redisAsyncSetDisconnectCallback(ac, on_disconnect);
    redisAsyncSetConnectCallback(ac, on_connect);       /* asks for the first write event */
}

void redis_conn_init(redis_conn_t *c, const redis_addr_t *addr, const char *name, int db,
                     void (*on_ready)(redis_conn_t *c))
{
    c->addr = addr;
    c->name = name;
    c->db = db;
    c->on_ready = on_ready;
    c->watch.fd = -1;
    conn_start(c);
}

void redis_conn_exit(redis_conn_t *c)
{
    c->closed = true;
    loop_timer_del(&c->timer);
    if (c->ac != NULL) {
        conn_drop(c, "");
    }
    conn_state(c, RCONN_DOWN);
}
