#include "ctl/tell.h"

#include "base/logger.h"
#include "io/redis.h"
#include "run/co.h"
#include "run/loop.h"
#include "turn/bus.h"

#define PATIENCE_MS  5000

typedef struct {
    str_t    text;
    uint64_t until;
    int      rc;
} tell_t;

static void co_tell(void *arg)
{
    tell_t       *t = arg;
    arena_t      *a = arena_new(1024);
    redis_reply_t reply = { 0 };

    while (!redis_ready() && clock_ms() < t->until) {
        co_sleep(10, "ctl:redis");
    }
    str_t args[] = { STR("PUBLISH"), STR(BUS_EVERYBODY), t->text };
    t->rc = co_redis(a, &reply, t->until, SI_COUNT(args), args);
    t->rc = t->rc == 0 && reply.type == REDIS_ERROR ? SI_EINTERNAL : t->rc;
    arena_free(a);
    loop_stop();
}

static int tell(const char *redis_url, const buf_t *text)
{
    tell_t t = { .text = { text->p, text->n }, .until = clock_ms() + PATIENCE_MS, .rc = SI_EUNAVAIL };

    logger_open(NULL, LOG_ALERT);
    loop_init();
    co_init();
    if (redis_init(redis_url) == 0) {
        co_spawn("tell", co_tell, &t);
        loop_run();
    }
    redis_exit();
    co_exit();
    loop_free();
    return t.rc;
}

int tell_key_gone(const char *redis_url, const admin_gone_t *gone)
{
    buf_t text;
    int   rc;

    bus_text(&text, "key", gone->tenant, gone->user, gone->key, "sictl", 0, 0, str_of(gone->hash));
    rc = tell(redis_url, &text);
    buf_free(&text);
    return rc;
}

/* The tenant's id stands also where a user's and a conversation's would. */
int tell_tokens_gone(const char *redis_url, const admin_tokens_t *gone)
{
    buf_t text;
    int   rc;

    bus_text(&text, "token", gone->tenant, gone->tenant, gone->tenant, "sictl", gone->before, gone->until, str_of(gone->marks));
    rc = tell(redis_url, &text);
    buf_free(&text);
    return rc;
}
