#include "io/redis_cluster.h"

#include <stdio.h>

#include "base/list.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "run/co.h"

#define NOBODY     UINT8_MAX
#define ANSWER_MS  2000             /* for a map */
#define PAUSE_MS   100              /* between two questions for one, and before a command is tried again */
#define KEEP_MS    60000            /* a node without slots that nobody has used for so long is left */

typedef struct {
    redis_conn_t conn;
    redis_addr_t addr;
    list_t       waiters;           /* for the connection */
    bool         owner;             /* of slots */
    uint64_t     until;             /* clock_ms(): commands may use it */
} node_t;

struct redis_cluster {
    redis_addr_t       *addr;
    size_t              given;      /* addresses of the URL */
    const redis_conn_t *command, *subscriber;
    node_t             *nodes[REDIS_MASTERS];
    uint8_t             map[REDIS_SLOTS];
    list_t              waiters;    /* for the first map */
    bool                known;      /* there is a map */
    bool                asking, again;
};

/* ---- slots ---- */

static uint16_t crc16(str_t s)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < s.n; i++) {
        crc ^= (uint16_t) ((uint8_t) s.p[i] << 8);
        for (int bit = 0; bit < 8; bit++) {
            crc = (uint16_t) ((crc & 0x8000) ? (crc << 1) ^ 0x1021 : crc << 1);
        }
    }
    return crc;
}

unsigned redis_slot(str_t key)
{
    const char *open = key.n > 0 ? memchr(key.p, '{', key.n) : NULL;
    const char *close = open != NULL ? memchr(open, '}', (size_t) (key.p + key.n - open)) : NULL;

    if (close != NULL && close > open + 1) {
        key = (str_t) { open + 1, (size_t) (close - open - 1) };
    }
    return crc16(key) % REDIS_SLOTS;
}

/* ---- nodes ---- */

static void node_changed(redis_conn_t *c)
{
    node_t *node = container_of(c, node_t, conn);

    if (c->state == RCONN_READY) {
        waiters_wake(&node->waiters, 0);
    } else {
        waiters_wake(&node->waiters, SI_EUNAVAIL);
        redis_cluster_learn(proc.redis_cluster);
    }
}

static node_t *node_open(const redis_cluster_t *cl, str_t host, int port)
{
    node_t *node = si_calloc(sizeof(*node));

    node->addr = *cl->addr;
    node->addr.n = 1;
    memset(node->addr.nodes, 0, sizeof(node->addr.nodes));
    memcpy(node->addr.nodes[0].host, host.p, host.n);
    node->addr.nodes[0].port = port;
    node->until = clock_ms() + KEEP_MS;
    list_init(&node->waiters);
    node->conn.role = RCONN_NODE;
    node->conn.on_change = node_changed;
    redis_conn_init(&node->conn, &node->addr, NULL);
    return node;
}

static void node_close(redis_cluster_t *cl, size_t at)
{
    node_t *node = cl->nodes[at];

    cl->nodes[at] = NULL;
    redis_conn_exit(&node->conn);
    waiters_wake(&node->waiters, SI_EUNAVAIL);
    loop_defer(free, node);                 /* a deferred flush may still point into it */
}

/* Its number, or NOBODY: no sound address, or too many. */
static uint8_t node_at(redis_cluster_t *cl, str_t host, uint64_t port)
{
    uint8_t room = NOBODY;

    if (host.n == 0 || host.n >= sizeof(cl->addr->nodes[0].host) || port == 0 || port > 65535) {
        return NOBODY;
    }
    for (uint8_t i = 0; i < REDIS_MASTERS; i++) {
        const node_t *node = cl->nodes[i];
        if (node == NULL) {
            room = room == NOBODY ? i : room;
        } else if (str_is(host, node->addr.nodes[0].host) && node->addr.nodes[0].port == (int) port) {
            return i;
        }
    }
    if (room == NOBODY) {
        log_fmt(LOG_ERROR, "redis: more than %d masters", REDIS_MASTERS);
    } else {
        cl->nodes[room] = node_open(cl, host, (int) port);
    }
    return room;
}

/* ---- the map ---- */

/* The two connections that name no keys may come up at any master: those of the URL may all have gone one day. */
static void tell_addresses(redis_cluster_t *cl)
{
    size_t n = cl->given;

    for (size_t i = 0; i < REDIS_MASTERS; i++) {
        const redis_node_t *is = cl->nodes[i] != NULL && cl->nodes[i]->owner ? &cl->nodes[i]->addr.nodes[0] : NULL;
        bool                old = false;
        for (size_t k = 0; is != NULL && k < n; k++) {
            old = old || (strcmp(cl->addr->nodes[k].host, is->host) == 0 && cl->addr->nodes[k].port == is->port);
        }
        while (n < REDIS_NODES_MAX && (&cl->addr->nodes[n] == cl->command->target || &cl->addr->nodes[n] == cl->subscriber->target)) {
            n++;                            /* in use: it keeps its name */
        }
        if (is != NULL && !old && n < REDIS_NODES_MAX) {
            cl->addr->nodes[n++] = *is;
        }
    }
    cl->addr->n = SI_MAX(cl->addr->n, n);
}

/* One item of CLUSTER SLOTS: first slot, last slot, the master's [host, port, …], replicas. False: not understood. */
static bool take_range(redis_cluster_t *cl, const redis_reply_t *r, str_t asked, uint8_t *map)
{
    const redis_reply_t *master = r->type == REDIS_ARRAY && r->n >= 3 ? &r->items[2] : NULL;
    str_t                host;
    uint8_t              at;

    if (master == NULL || master->type != REDIS_ARRAY || master->n < 2 || r->items[0].type != REDIS_INTEGER
        || r->items[1].type != REDIS_INTEGER || master->items[1].type != REDIS_INTEGER || r->items[0].integer < 0
        || r->items[1].integer >= REDIS_SLOTS)
    {
        return false;
    }
    /* No host: that of the node which was asked. */
    host = master->items[0].type == REDIS_STRING && master->items[0].str.n > 0 ? master->items[0].str : asked;
    at = node_at(cl, host, (uint64_t) master->items[1].integer);
    for (int64_t i = r->items[0].integer; i <= r->items[1].integer; i++) {
        map[i] = at;
    }
    if (at != NOBODY) {
        cl->nodes[at]->owner = true;
    }
    return true;
}

static void take_map(redis_cluster_t *cl, const redis_reply_t *r, str_t asked)
{
    uint8_t *map = si_malloc(REDIS_SLOTS);

    memset(map, NOBODY, REDIS_SLOTS);
    for (size_t i = 0; i < REDIS_MASTERS; i++) {
        if (cl->nodes[i] != NULL) {
            cl->nodes[i]->owner = false;
        }
    }
    for (size_t i = 0; i < r->n; i++) {
        if (!take_range(cl, &r->items[i], asked, map)) {
            log_line(LOG_WARN, "redis: the answer to CLUSTER SLOTS is not understood", NULL);
        }
    }
    memcpy(cl->map, map, REDIS_SLOTS);
    free(map);
    for (size_t i = 0; i < REDIS_MASTERS; i++) {
        if (cl->nodes[i] != NULL && !cl->nodes[i]->owner && cl->nodes[i]->until < clock_ms()) {
            node_close(cl, i);
        }
    }
    cl->known = true;
    tell_addresses(cl);
}

/* Somebody who can be asked: the master of the commands' connection, or any other. */
static const redis_conn_t *someone(const redis_cluster_t *cl)
{
    if (cl->command->state == RCONN_READY) {
        return cl->command;
    }
    for (size_t i = 0; i < REDIS_MASTERS; i++) {
        if (cl->nodes[i] != NULL && cl->nodes[i]->conn.state == RCONN_READY) {
            return &cl->nodes[i]->conn;
        }
    }
    return NULL;
}

static int co_ask(redis_cluster_t *cl, arena_t *a)
{
    const redis_conn_t *c = someone(cl);
    redis_reply_t       r;
    const char         *host;
    int                 rc;

    if (c == NULL) {
        return SI_EUNAVAIL;                 /* the next connection asks */
    }
    host = arena_strdup(a, c->target->host);
    rc = co_redis_on((redis_conn_t *) c, false, a, &r, clock_ms() + ANSWER_MS, 2, (str_t[]) { STR("CLUSTER"), STR("SLOTS") });
    if (rc == 0 && proc.redis_cluster == cl && r.type == REDIS_ARRAY) {
        take_map(cl, &r, str_of(host));
    }
    return rc;
}

static void co_learn(void *arg)
{
    redis_cluster_t *cl = arg;

    do {
        arena_t *a = arena_new(4096);
        cl->again = false;
        (void) co_ask(cl, a);
        arena_free(a);
        if (proc.redis_cluster == cl) {
            waiters_wake(&cl->waiters, cl->known ? 0 : SI_EUNAVAIL);
        }
    } while (co_sleep(PAUSE_MS, "redis:slots") == 0 && proc.redis_cluster == cl && cl->again);
    if (proc.redis_cluster == cl) {
        cl->asking = false;
    }
}

void redis_cluster_learn(redis_cluster_t *cl)
{
    cl->again = true;
    if (!cl->asking) {
        cl->asking = true;
        co_spawn("redis slots", co_learn, cl);
    }
}

/* ---- commands ---- */

/* A connection to the node that comes up for the first time, or again after a while, is waited for; one that fails is not. */
static int co_ready(redis_cluster_t *cl, node_t *node, uint64_t deadline)
{
    node->until = SI_MAX(node->until, SI_MAX(deadline, clock_ms() + KEEP_MS));
    while (node->conn.state != RCONN_READY) {
        int rc = node->conn.failures > 0 ? SI_EUNAVAIL : co_wait_in(&node->waiters, "redis:node", deadline);
        if (proc.redis_cluster != cl) {
            return SI_EUNAVAIL;
        }
        if (rc != 0) {
            redis_cluster_learn(cl);
            return rc;
        }
    }
    return 0;
}

/* The node that has the slot by the map, which is waited for at the start. */
static int co_owner(redis_cluster_t *cl, unsigned slot, uint64_t deadline, node_t **out)
{
    int rc = 0;

    if (!cl->known) {
        redis_cluster_learn(cl);
        rc = co_wait_in(&cl->waiters, "redis:slots", deadline);
    }
    if (rc != 0 || proc.redis_cluster != cl) {
        return rc != 0 ? rc : SI_EUNAVAIL;
    }
    if (cl->map[slot] == NOBODY) {
        redis_cluster_learn(cl);
        return SI_EUNAVAIL;
    }
    *out = cl->nodes[cl->map[slot]];
    return 0;
}

static bool starts(str_t s, const char *with)
{
    return s.n >= strlen(with) && memcmp(s.p, with, strlen(with)) == 0;
}

/* The node of "MOVED 3999 127.0.0.1:6381" or "ASK …": without a host that of `from`, who said so. */
static uint8_t named(redis_cluster_t *cl, str_t error, const node_t *from)
{
    const char *space = memrchr(error.p, ' ', error.n), *colon = memrchr(error.p, ':', error.n);
    uint64_t    port;

    if (space == NULL || colon == NULL || colon < space
        || parse_u64((str_t) { colon + 1, (size_t) (error.p + error.n - colon - 1) }, &port) != 0)
    {
        return NOBODY;
    }
    str_t host = { space + 1, (size_t) (colon - space - 1) };
    return node_at(cl, host.n > 0 ? host : str_of(from->addr.nodes[0].host), port);
}

/* The slot is on its way, or its new master not yet elected. */
static bool passing(str_t error)
{
    return starts(error, "TRYAGAIN ") || starts(error, "CLUSTERDOWN ") || starts(error, "LOADING ");
}

/*
 * What to do after an error. 0: again, at *to, or at the slot's owner if it is NULL; 1: the error is the reply; or SI_E*.
 */
static int co_follow(redis_cluster_t *cl, unsigned slot, str_t error, uint64_t deadline, node_t **to, bool *asking)
{
    uint8_t at = NOBODY;
    bool    moved = starts(error, "MOVED ");

    *asking = starts(error, "ASK ");
    if (moved || *asking) {
        at = named(cl, error, *to);
        *to = at != NOBODY ? cl->nodes[at] : NULL;
    }
    if (moved && at != NOBODY) {
        cl->map[slot] = at;
        cl->nodes[at]->owner = true;
    }
    if (moved) {
        redis_cluster_learn(cl);
    }
    if (at != NOBODY || !passing(error)) {
        return at != NOBODY ? 0 : 1;
    }
    if (clock_ms() + PAUSE_MS >= deadline) {
        return 1;
    }
    *to = NULL;
    redis_cluster_learn(cl);
    int rc = co_sleep(PAUSE_MS, "redis:slot");
    return rc != 0 ? rc : proc.redis_cluster == cl ? 0 : SI_EUNAVAIL;
}

int co_redis_cluster(redis_cluster_t *cl, arena_t *a, redis_reply_t *out, uint64_t deadline, str_t key, size_t n, const str_t *args)
{
    unsigned slot = redis_slot(key);
    node_t  *to = NULL;
    bool     asking = false;
    int      rc;

    for (int tries = 0; ; tries++) {
        rc = to != NULL ? 0 : co_owner(cl, slot, deadline, &to);
        rc = rc != 0 ? rc : co_ready(cl, to, deadline);
        rc = rc != 0 ? rc : co_redis_on(&to->conn, asking, a, out, deadline, n, args);
        if (rc != 0 || out->type != REDIS_ERROR || tries == REDIS_REDIRECTS || proc.redis_cluster != cl) {
            return rc;
        }
        rc = co_follow(cl, slot, out->str, deadline, &to, &asking);
        if (rc != 0) {
            return rc == 1 ? 0 : rc;
        }
    }
}

/* ---- life ---- */

redis_cluster_t *redis_cluster_new(redis_addr_t *addr, const redis_conn_t *command, const redis_conn_t *subscriber)
{
    redis_cluster_t *cl = si_calloc(sizeof(*cl));

    cl->addr = addr;
    cl->given = addr->n;
    cl->command = command;
    cl->subscriber = subscriber;
    memset(cl->map, NOBODY, sizeof(cl->map));
    list_init(&cl->waiters);
    return cl;
}

void redis_cluster_free(redis_cluster_t *cl)
{
    for (size_t i = 0; i < REDIS_MASTERS; i++) {
        if (cl->nodes[i] != NULL) {
            node_close(cl, i);
        }
    }
    waiters_wake(&cl->waiters, SI_EUNAVAIL);
    loop_defer(free, cl);
}
