#include "ctl/tell.h"

#include "base/logger.h"
#include "io/redis.h"
#include "run/co.h"
#include "run/loop.h"
#include "turn/bus.h"

#define PATIENCE_MS  5000

typedef struct {
    const admin_gone_t *gone;
    uint64_t            until;
    int                 rc;
} tell_t;

static void co_tell(void *arg)
{
    tell_t       *t = arg;
    arena_t      *a = arena_new(1024);
    redis_reply_t reply = { 0 };
    buf_t         text;

    bus_text(&text, "key", t->gone->tenant, t->gone->user, t->gone->key, "sictl", 0, 0, str_of(t->gone->hash));
    while (!redis_ready() && clock_ms() < t->until) {
        co_sleep(10, "ctl:redis");
    }
    str_t args[] = { STR("PUBLISH"), STR(BUS_EVERYBODY), { text.p, text.n } };
    t->rc = co_redis(a, &reply, t->until, SI_COUNT(args), args);
    t->rc = t->rc == 0 && reply.type == REDIS_ERROR ? SI_EINTERNAL : t->rc;
    buf_free(&text);
    arena_free(a);
    loop_stop();
}

int tell_key_gone(const char *redis_url, const admin_gone_t *gone)
{
    tell_t t = { .gone = gone, .until = clock_ms() + PATIENCE_MS, .rc = SI_EUNAVAIL };

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
