#include "io/redis_conn.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/util.h"

#define STEP_MS      3000               /* of coming up: long enough for a SYN lost once, short enough to try 16 addresses */
#define BACKOFF_MIN  100
#define BACKOFF_MAX  5000
#define WATCHDOG_MS  2000
#define STALLED_MS   10000              /* no reply for so long: the connection is dead */
#define PLACE_MAX    (sizeof(redis_node_t) + 8)     /* "host:port" */

static void conn_start(redis_conn_t *c);

static const char *const state_names[] = {
    "down", "connecting to a sentinel", "asking a sentinel", "connecting", "setup", "ready"
};

static const char *conn_name(const redis_conn_t *c)
{
    static const char *const names[] = { "command", "subscriber", "node" };

    return names[c->role];
}

static const char *conn_place(const redis_conn_t *c, char out[PLACE_MAX])
{
    if (c->target == NULL) {
        return c->addr->path;
    }
    snprintf(out, PLACE_MAX, "%s:%d", c->target->host, c->target->port);
    return out;
}

static void conn_state(redis_conn_t *c, redis_conn_state_t state)
{
    if (log_enabled(LOG_DEBUG)) {
        log_fmt(LOG_DEBUG, "redis %s: %s -> %s", conn_name(c), state_names[c->state], state_names[state]);
    }
    c->state = state;
}

/* PUBLISH on a replica does not come to the master's subscribers: then all workers must be at the master. */
static bool needs_master(const redis_conn_t *c)
{
    return c->addr->kind == REDIS_SENTINEL || (c->addr->kind == REDIS_SERVERS && c->addr->n > 1);
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

/* An outage is told once a connection, not at each try. */
static void tell_lost(const redis_conn_t *c, const char *why)
{
    char place[PLACE_MAX];

    log_fmt(c->failures == 1 ? LOG_WARN : LOG_DEBUG, "redis %s: %s: %s: %s", conn_name(c), conn_place(c, place),
            state_names[c->state], why[0] != '\0' ? why : "connection closed");
}

/* The connection has gone, or is going: a new try is made later, elsewhere if this one never came up. */
static void conn_lost(redis_conn_t *c, const char *why)
{
    c->ac = NULL;
    loop_unwatch(&c->watch);
    loop_timer_del(&c->timer);
    if (c->closed) {
        return;
    }
    c->failures++;
    tell_lost(c, why);
    unsigned rounds = (c->failures - 1) / (unsigned) SI_MAX(c->addr->n, (size_t) 1);    /* over all addresses */
    if (c->state != RCONN_READY && c->addr->n > 1) {
        c->at = (c->at + 1) % c->addr->n;
    }
    conn_state(c, RCONN_DOWN);
    loop_timer(&c->timer, backoff_ms(rounds + 1, BACKOFF_MIN, BACKOFF_MAX), on_backoff);
    if (c->on_change != NULL) {
        c->on_change(c);
    }
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

/* ---- READY ---- */

/* A reply to the connection's own command: false when there is nothing to go on with. */
static bool own_reply(redisAsyncContext *ac, const redisReply *r)
{
    redis_conn_t *c = ac->data;

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
    (void) own_reply(ac, reply);
}

static void on_role(redisAsyncContext *ac, void *reply, void *arg)
{
    redisReply *r = reply;

    (void) arg;
    if (own_reply(ac, r) && !(r->type == REDIS_REPLY_ARRAY && r->elements > 0 && r->element[0]->type == REDIS_REPLY_STRING
                              && strcmp(r->element[0]->str, "master") == 0))
    {
        conn_drop(ac->data, "not the master");          /* the other connection follows to where this one gets ready */
    }
}

/* A master that steps down does not always close its connections, and PUBLISH, which is no write, is not refused there. */
static void on_watchdog(ltimer_t *t)
{
    redis_conn_t *c = container_of(t, redis_conn_t, timer);

    if (c->inflight > 0 && clock_ms() - c->progress > STALLED_MS) {
        conn_drop(c, "no reply for 10 s");
        return;
    }
    loop_timer(&c->timer, WATCHDOG_MS, on_watchdog);
    if (c->role == RCONN_COMMAND && needs_master(c)) {  /* a subscriber may send nothing */
        (void) conn_command(c, 1, (str_t[]) { STR("ROLE") }, on_role, NULL);
    }
}

static bool same_node(const redis_node_t *a, const redis_node_t *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static void conn_ready(redis_conn_t *c)
{
    redis_conn_t *twin = c->twin;
    char          place[PLACE_MAX];

    if (c->failures > 0) {
        log_fmt(LOG_INFO, "redis %s: connected to %s", conn_name(c), conn_place(c, place));
    }
    c->failures = 0;
    conn_state(c, RCONN_READY);
    loop_timer(&c->timer, WATCHDOG_MS, on_watchdog);
    if (needs_master(c) && twin->state == RCONN_READY && !same_node(c->target, twin->target)) {
        conn_drop(twin, "the master is elsewhere");
        twin->at = c->at;
    }
    if (c->on_change != NULL) {
        c->on_change(c);
    }
}

/* ---- SETUP: who we are, what it is ---- */

/* The last answer of the setup: also a server that is still loading its data says so here. */
static void on_ping(redisAsyncContext *ac, void *reply, void *arg)
{
    (void) arg;
    if (own_reply(ac, reply)) {
        conn_ready(ac->data);
    }
}

static int send_login(redis_conn_t *c)
{
    const redis_addr_t *a = c->addr;

    if (a->password[0] == '\0') {
        return 0;
    }
    if (a->user[0] == '\0') {
        return conn_command(c, 2, (str_t[]) { STR("AUTH"), str_of(a->password) }, on_setup, NULL);
    }
    return conn_command(c, 3, (str_t[]) { STR("AUTH"), str_of(a->user), str_of(a->password) }, on_setup, NULL);
}

/* What is no cluster would say so, and keep what is published for itself. */
static int send_questions(redis_conn_t *c)
{
    int rc = 0;

    if (c->addr->kind == REDIS_CLUSTER) {
        rc = conn_command(c, 2, (str_t[]) { STR("CLUSTER"), STR("INFO") }, on_setup, NULL);
    } else if (needs_master(c)) {
        rc = conn_command(c, 1, (str_t[]) { STR("ROLE") }, on_role, NULL);
    }
    return rc != 0 ? rc : conn_command(c, 1, (str_t[]) { STR("PING") }, on_ping, NULL);
}

static void conn_setup(redis_conn_t *c)
{
    int rc = send_login(c);

    conn_state(c, RCONN_SETUP);
    if (rc == 0 && c->addr->db != 0 && c->role == RCONN_COMMAND) {
        char db[12];
        snprintf(db, sizeof(db), "%d", c->addr->db);
        rc = conn_command(c, 2, (str_t[]) { STR("SELECT"), str_of(db) }, on_setup, NULL);
    }
    rc = rc != 0 ? rc : send_questions(c);
    /* The context must not be freed in here: hiredis goes on with it. */
    loop_timer(&c->timer, rc == 0 ? STEP_MS : 0, on_too_slow);
}

/* ---- FINDING or CONNECTING: until the socket stands ---- */

static void conn_ask(redis_conn_t *c);

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
    if (c->target != NULL) {
        (void) redisEnableKeepAlive(&c->ac->c);         /* finds a host that has gone; the subscriber has no commands */
    }
    if (c->state == RCONN_FINDING) {
        conn_ask(c);
    } else {
        conn_setup(c);
    }
}

static void conn_open(redis_conn_t *c, const redis_node_t *target, redis_conn_state_t state)
{
    redisAsyncContext *ac = target != NULL ? redisAsyncConnect(target->host, target->port)
                                           : redisAsyncConnectUnix(c->addr->path);

    if (ac == NULL) {
        si_die("redis: no memory for a connection");
    }
    c->ac = ac;
    c->target = target;
    ac->data = c;
    conn_state(c, state);
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
    loop_timer(&c->timer, STEP_MS, on_too_slow);
    redisAsyncSetDisconnectCallback(ac, on_disconnect);
    redisAsyncSetConnectCallback(ac, on_connect);       /* asks for the first write event */
}

static void conn_start(redis_conn_t *c)
{
    conn_open(c, c->addr->n > 0 ? &c->addr->nodes[c->at] : NULL,
              c->addr->kind == REDIS_SENTINEL ? RCONN_FINDING : RCONN_CONNECTING);
}

/* ---- ASKING a sentinel ---- */

static void on_found(ltimer_t *t)
{
    redis_conn_t *c = container_of(t, redis_conn_t, timer);

    conn_open(c, &c->master, RCONN_CONNECTING);
}

/* Lets the sentinel go. The master is next, but not in here: hiredis still cleans up. */
static void conn_found(redis_conn_t *c)
{
    redisAsyncContext *ac = c->ac;

    c->ac = NULL;
    loop_unwatch(&c->watch);
    redisAsyncFree(ac);
    loop_timer(&c->timer, 0, on_found);
}

static int take_master(const redisReply *r, redis_node_t *out)
{
    uint64_t port;

    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || r->element[0]->type != REDIS_REPLY_STRING
        || r->element[1]->type != REDIS_REPLY_STRING || (size_t) r->element[0]->len >= sizeof(out->host)
        || parse_u64((str_t) { r->element[1]->str, (size_t) r->element[1]->len }, &port) != 0 || port == 0 || port > 65535)
    {
        return SI_EPROTO;
    }
    snprintf(out->host, sizeof(out->host), "%s", r->element[0]->str);
    out->port = (int) port;
    return 0;
}

static void send_question(redis_conn_t *c, bool logged_in);

/* The login is the master's. A sentinel that asks for one gets the same, one that does not would refuse it. */
static void on_master(redisAsyncContext *ac, void *reply, void *logged_in)
{
    redis_conn_t *c = ac->data;
    redisReply   *r = reply;

    if (r != NULL && c->ac == ac && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOAUTH", 6) == 0
        && logged_in == NULL && c->addr->password[0] != '\0')
    {
        redis_conn_replied(c);
        send_question(c, true);
    } else if (own_reply(ac, r)) {
        if (take_master(r, &c->master) == 0) {
            conn_found(c);
        } else {
            conn_drop(c, r->type == REDIS_REPLY_NIL ? "it knows no master of that name" : "no address in its answer");
        }
    }
}

static void send_question(redis_conn_t *c, bool logged_in)
{
    str_t ask[] = { STR("SENTINEL"), STR("get-master-addr-by-name"), str_of(c->addr->master) };
    int   rc = logged_in ? send_login(c) : 0;

    rc = rc != 0 ? rc : conn_command(c, SI_COUNT(ask), ask, on_master, logged_in ? c : NULL);
    loop_timer(&c->timer, rc == 0 ? STEP_MS : 0, on_too_slow);
}

static void conn_ask(redis_conn_t *c)
{
    conn_state(c, RCONN_ASKING);
    send_question(c, false);
}

/* ---- life ---- */

void redis_conn_init(redis_conn_t *c, const redis_addr_t *addr, redis_conn_t *twin)
{
    c->addr = addr;
    c->twin = twin;
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
