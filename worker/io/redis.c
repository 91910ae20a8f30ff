#include "io/redis.h"

#include "base/list.h"
#include "base/logger.h"
#include "base/proc.h"
#include "io/redis_conn.h"
#include "run/co.h"

#define DEPTH_MAX          8
#define REPLY_BYTES_MAX    (8u << 20)
#define SUBSCRIPTIONS_MAX  256

typedef struct {
    list_t   node;
    str_t    channel;
    void   (*fn)(str_t channel, str_t message, void *arg);
    void    *arg;
} subscription_t;

struct redis {
    redis_addr_t  addr;
    redis_conn_t  command;
    redis_conn_t  subscriber;
    list_t        subscriptions;
    size_t        nsubscriptions;
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

int co_redis(arena_t *a, redis_reply_t *out, uint64_t deadline, size_t n, const str_t *args)
{
    memset(out, 0, sizeof(*out));
    if (proc.redis == NULL) {
        return SI_EUNAVAIL;
    }
    command_t *cmd = si_calloc(sizeof(*cmd));
    wait_init(&cmd->wait);
    cmd->arena = a;
    cmd->out = out;

    int rc = redis_conn_send(&proc.redis->command, n, args, on_reply, cmd);
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

int redis_send(size_t n, const str_t *args)
{
    return proc.redis != NULL ? redis_conn_send(&proc.redis->command, n, args, on_forgotten, NULL) : SI_EUNAVAIL;
}

/* ---- subscriptions ---- */

/* Answers to SUBSCRIBE come here too; then each message. */
static void on_message(redisAsyncContext *ac, void *reply, void *arg)
{
    redisReply *r = reply;

    (void) ac;
    (void) arg;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 3
        || r->element[0]->type != REDIS_REPLY_STRING || strcmp(r->element[0]->str, "message") != 0
        || r->element[2]->type != REDIS_REPLY_STRING)
    {
        return;
    }
    str_t channel = { r->element[1]->str, (size_t) r->element[1]->len };
    str_t message = { r->element[2]->str, (size_t) r->element[2]->len };

    list_each_safe(it, &proc.redis->subscriptions) {
        subscription_t *s = list_entry(it, subscription_t, node);
        if (str_eq(s->channel, channel)) {
            s->fn(channel, message, s->arg);
        }
    }
}

static void subscribe(redis_conn_t *c, const subscription_t *s)
{
    const char *argv[] = { "SUBSCRIBE", s->channel.p };
    size_t      lens[] = { 9, s->channel.n };

    /* Not counted as under way: it has no one reply. Refused only when the connection goes, and then sent again. */
    (void) redisAsyncCommandArgv(c->ac, on_message, NULL, 2, argv, lens);
}

static void subscriber_ready(redis_conn_t *c)
{
    struct redis *r = container_of(c, struct redis, subscriber);

    list_each(it, &r->subscriptions) {
        subscribe(c, list_entry(it, subscription_t, node));
    }
}

void redis_subscribe(const char *channel, void (*fn)(str_t channel, str_t message, void *arg), void *arg)
{
    struct redis *r = proc.redis;

    if (r == NULL) {
        return;
    }
    if (r->nsubscriptions == SUBSCRIPTIONS_MAX) {
        si_die("redis: more than %d subscriptions", SUBSCRIPTIONS_MAX);
    }
    subscription_t *s = si_calloc(sizeof(*s));
    s->channel = str_of(si_strdup(channel));
    s->fn = fn;
    s->arg = arg;
    list_push(&r->subscriptions, &s->node);
    r->nsubscriptions++;
    if (r->subscriber.state == RCONN_READY) {
        subscribe(&r->subscriber, s);
    }
}

/* ---- life ---- */

bool redis_ready(void)
{
    return proc.redis != NULL && proc.redis->command.state == RCONN_READY;
}

int redis_init(const char *url)
{
    struct redis *r = si_calloc(sizeof(*r));

    if (redis_url_parse(url, &r->addr) != 0) {
        free(r);
        return SI_EINVAL;
    }
    list_init(&r->subscriptions);
    proc.redis = r;
    redis_conn_init(&r->command, &r->addr, &r->subscriber, NULL);
    redis_conn_init(&r->subscriber, &r->addr, &r->command, subscriber_ready);
    return 0;
}

void redis_exit(void)
{
    struct redis *r = proc.redis;

    if (r == NULL) {
        return;
    }
    redis_conn_exit(&r->command);
    redis_conn_exit(&r->subscriber);
    list_each_safe(it, &r->subscriptions) {
        subscription_t *s = list_entry(it, subscription_t, node);
        free((char *) s->channel.p);
        free(s);
    }
    proc.redis = NULL;
    loop_defer(free, r);                                /* a deferred flush may still point into it */
}
