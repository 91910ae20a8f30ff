#include "io/redis.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/logger.h"
#include "base/proc.h"
#include "io/redis_cluster.h"
#include "run/co.h"

#define DEPTH_MAX          8
#define REPLY_BYTES_MAX    (8u << 20)
#define CHANNELS_MAX       65536

typedef struct {
    hash_node_t node;
    list_t      subscriptions;
    char        name[];
} channel_t;

typedef struct {
    list_t node;
    void (*fn)(str_t channel, str_t message, void *arg);
    void  *arg;
} subscription_t;

struct redis {
    redis_addr_t  addr;
    redis_conn_t  command;
    redis_conn_t  subscriber;
    hash_t        channels;
};

/* A command under way. Freed by the side that is through with it last. */
typedef struct {
    wait_t         wait;
    arena_t       *arena;       /* NULL: the waiter has gone, the reply is dropped */
    redis_reply_t *out;
    bool           replied;
} command_t;

/* ---- replies ---- */

static int copy_reply(arena_t *a, const redisReply *r, redis_reply_t *out, int depth, size_t *room);

static int copy_items(arena_t *a, const redisReply *r, redis_reply_t *out, int depth, size_t *room)
{
    size_t bytes = r->elements * sizeof(redis_reply_t);

    if (depth == DEPTH_MAX) {
        return SI_EPROTO;
    }
    if (bytes > *room) {
        return SI_ENOMEM;
    }
    *room -= bytes;
    out->type = REDIS_ARRAY;
    out->n = r->elements;
    out->items = arena_calloc(a, bytes + 1);
    for (size_t i = 0; i < out->n; i++) {
        int rc = copy_reply(a, r->element[i], &out->items[i], depth + 1, room);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int copy_text(arena_t *a, const redisReply *r, redis_reply_t *out, redis_type_t type, size_t *room)
{
    size_t n = (size_t) r->len;

    if (n > *room) {
        return SI_ENOMEM;
    }
    *room -= n;
    out->type = type;
    out->str = (str_t) { arena_dup(a, r->str, n), n };
    return 0;
}

static int copy_reply(arena_t *a, const redisReply *r, redis_reply_t *out, int depth, size_t *room)
{
    memset(out, 0, sizeof(*out));
    switch (r->type) {
    case REDIS_REPLY_NIL:
        out->type = REDIS_NIL;
        return 0;
    case REDIS_REPLY_INTEGER:
        out->type = REDIS_INTEGER;
        out->integer = r->integer;
        return 0;
    case REDIS_REPLY_STRING: case REDIS_REPLY_STATUS:
        return copy_text(a, r, out, REDIS_STRING, room);
    case REDIS_REPLY_ERROR:
        return copy_text(a, r, out, REDIS_ERROR, room);
    case REDIS_REPLY_ARRAY:
        return copy_items(a, r, out, depth, room);
    default:                                            /* RESP3, which is never asked for */
        return SI_EPROTO;
    }
}

static void on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
    command_t *cmd = arg;
    size_t     room = REPLY_BYTES_MAX;

    redis_conn_replied(ac->data);
    cmd->replied = true;
    if (cmd->arena == NULL) {
        free(cmd);
        return;
    }
    wait_wake(&cmd->wait, reply == NULL ? SI_EUNAVAIL : copy_reply(cmd->arena, reply, cmd->out, 0, &room));
}

static void on_forgotten(redisAsyncContext *ac, void *reply, void *arg)
{
    redisReply *r = reply;

    (void) arg;
    redis_conn_replied(ac->data);
    if (r != NULL && r->type == REDIS_REPLY_ERROR) {
        /* After a comma Redis quotes arguments. */
        log_fmt(LOG_WARN, "redis: command failed: %.*s", (int) SI_MIN(strcspn(r->str, ","), (size_t) 80), r->str);
    }
}

int co_redis_on(redis_conn_t *c, bool asking, arena_t *a, redis_reply_t *out, uint64_t deadline, size_t n, const str_t *args)
{
    command_t *cmd = si_calloc(sizeof(*cmd));
    wait_init(&cmd->wait);
    cmd->arena = a;
    cmd->out = out;

    memset(out, 0, sizeof(*out));
    int rc = asking ? redis_conn_send(c, 1, (str_t[]) { STR("ASKING") }, on_forgotten, NULL) : 0;
    rc = rc != 0 ? rc : redis_conn_send(c, n, args, on_reply, cmd);
    if (rc != 0) {
        free(cmd);
        return rc;
    }
    rc = co_wait(&cmd->wait, "redis", deadline);
    if (cmd->replied) {
        free(cmd);
    } else {
        cmd->arena = NULL;                              /* on_reply() frees it */
    }
    return rc;
}

int co_redis(arena_t *a, redis_reply_t *out, uint64_t deadline, size_t n, const str_t *args)
{
    memset(out, 0, sizeof(*out));
    return proc.redis != NULL ? co_redis_on(&proc.redis->command, false, a, out, deadline, n, args) : SI_EUNAVAIL;
}

int co_redis_key(arena_t *a, redis_reply_t *out, uint64_t deadline, str_t key, size_t n, const str_t *args)
{
    return proc.redis_cluster != NULL ? co_redis_cluster(proc.redis_cluster, a, out, deadline, key, n, args)
                                      : co_redis(a, out, deadline, n, args);
}

/* What a tag holds that would end it is escaped; an empty one would be none. */
str_t redis_key(arena_t *a, const char *family, str_t tag, const char *rest)
{
    buf_t b;

    buf_init(&b, strlen(family) + 3 * tag.n + strlen(rest) + 16);
    buf_printf(&b, tag.n > 0 ? "si:%s:{" : "si:%s:{%%", family);
    for (size_t i = 0; i < tag.n; i++) {
        const char *as = tag.p[i] == '}' ? "%7D" : tag.p[i] == '%' ? "%25" : NULL;
        buf_append(&b, as != NULL ? as : tag.p + i, as != NULL ? 3 : 1);
    }
    buf_puts(&b, "}");
    buf_puts(&b, rest);
    str_t key = { arena_dup(a, b.p, b.n), b.n };
    buf_free(&b);
    return key;
}

int redis_send(size_t n, const str_t *args)
{
    return proc.redis != NULL ? redis_conn_send(&proc.redis->command, n, args, on_forgotten, NULL) : SI_EUNAVAIL;
}

/* ---- subscriptions ---- */

static channel_t *channel_find(str_t name)
{
    hash_node_t *n = hash_get(&proc.redis->channels, name);

    return n ? container_of(n, channel_t, node) : NULL;
}

/* Answers to SUBSCRIBE, each message, and answers to UNSUBSCRIBE. */
static void on_message(redisAsyncContext *ac, void *reply, void *arg)
{
    redisReply *r = reply;
    channel_t  *c;
    str_t       message = STR_NULL;

    (void) ac;
    (void) arg;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 3 || r->element[0]->type != REDIS_REPLY_STRING
        || r->element[1]->type != REDIS_REPLY_STRING)
    {
        return;
    }
    if (strcmp(r->element[0]->str, "message") == 0 && r->element[2]->type == REDIS_REPLY_STRING) {
        message = (str_t) { r->element[2]->str, (size_t) r->element[2]->len };
    } else if (strcmp(r->element[0]->str, "subscribe") != 0) {
        return;
    }
    c = channel_find((str_t) { r->element[1]->str, (size_t) r->element[1]->len });
    if (c != NULL) {
        list_each_safe(it, &c->subscriptions) {
            subscription_t *s = list_entry(it, subscription_t, node);
            s->fn(c->node.key, message, s->arg);
        }
    }
}

/* Not counted as under way: it has no one reply. Refused only when the connection goes, and then sent again. */
static void subscriber_send(redis_conn_t *c, const char *command, const channel_t *channel)
{
    const char *argv[] = { command, channel->name };
    size_t      lens[] = { strlen(command), channel->node.key.n };

    (void) redisAsyncCommandArgv(c->ac, on_message, NULL, 2, argv, lens);
}

static void subscribe_again(hash_node_t *n, void *arg)
{
    subscriber_send(arg, "SUBSCRIBE", container_of(n, channel_t, node));
}

static void subscriber_changed(redis_conn_t *c)
{
    if (c->state == RCONN_READY) {
        hash_each(&container_of(c, struct redis, subscriber)->channels, subscribe_again, c);
    }
}

static channel_t *channel_new(const char *name)
{
    size_t     n = strlen(name) + 1;
    channel_t *c;

    if (proc.redis->channels.count == CHANNELS_MAX) {
        si_die("redis: more than %d channels", CHANNELS_MAX);
    }
    c = si_calloc(sizeof(*c) + n);
    memcpy(c->name, name, n);
    list_init(&c->subscriptions);
    hash_put(&proc.redis->channels, &c->node, str_of(c->name));
    return c;
}

void redis_subscribe(const char *channel, void (*fn)(str_t channel, str_t message, void *arg), void *arg)
{
    subscription_t *s;
    channel_t      *c;

    if (proc.redis == NULL) {
        return;
    }
    c = channel_find(str_of(channel));
    c = c ? c : channel_new(channel);
    s = si_calloc(sizeof(*s));
    s->fn = fn;
    s->arg = arg;
    list_push(&c->subscriptions, &s->node);
    if (proc.redis->subscriber.state == RCONN_READY) {
        subscriber_send(&proc.redis->subscriber, "SUBSCRIBE", c);
    }
}

static void channel_free(hash_node_t *n, void *arg)
{
    channel_t *c = container_of(n, channel_t, node);

    (void) arg;
    list_each_safe(it, &c->subscriptions) {
        free(list_entry(it, subscription_t, node));
    }
    hash_del(&proc.redis->channels, n);
    free(c);
}

void redis_unsubscribe(const char *channel, void (*fn)(str_t channel, str_t message, void *arg), void *arg)
{
    channel_t *c = proc.redis ? channel_find(str_of(channel)) : NULL;

    if (c == NULL) {
        return;
    }
    list_each_safe(it, &c->subscriptions) {
        subscription_t *s = list_entry(it, subscription_t, node);
        if (s->fn == fn && s->arg == arg) {
            list_remove(&s->node);
            free(s);
        }
    }
    if (list_empty(&c->subscriptions)) {
        if (proc.redis->subscriber.state == RCONN_READY) {
            subscriber_send(&proc.redis->subscriber, "UNSUBSCRIBE", c);
        }
        channel_free(&c->node, NULL);
    }
}

/* ---- life ---- */

bool redis_ready(void)
{
    return proc.redis != NULL && proc.redis->command.state == RCONN_READY;
}

static void command_changed(redis_conn_t *c)
{
    if (c->state == RCONN_READY && proc.redis_cluster != NULL) {
        redis_cluster_learn(proc.redis_cluster);
    }
}

int redis_init(const char *url)
{
    struct redis *r = si_calloc(sizeof(*r));

    if (redis_url_parse(url, &r->addr) != 0) {
        free(r);
        return SI_EINVAL;
    }
    hash_init(&r->channels);
    proc.redis = r;
    if (r->addr.kind == REDIS_CLUSTER) {
        proc.redis_cluster = redis_cluster_new(&r->addr, &r->command, &r->subscriber);
    }
    r->command.role = RCONN_COMMAND;
    r->command.on_change = command_changed;
    r->subscriber.role = RCONN_SUBSCRIBER;
    r->subscriber.on_change = subscriber_changed;
    redis_conn_init(&r->command, &r->addr, &r->subscriber);
    redis_conn_init(&r->subscriber, &r->addr, &r->command);
    return 0;
}

void redis_exit(void)
{
    struct redis *r = proc.redis;

    if (r == NULL) {
        return;
    }
    if (proc.redis_cluster != NULL) {
        redis_cluster_free(proc.redis_cluster);
        proc.redis_cluster = NULL;
    }
    redis_conn_exit(&r->command);
    redis_conn_exit(&r->subscriber);
    hash_each(&r->channels, channel_free, NULL);
    hash_free(&r->channels);
    proc.redis = NULL;
    loop_defer(free, r);                                /* a deferred flush may still point into it */
}
