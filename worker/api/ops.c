#include <inttypes.h>
#include <stdio.h>

#include "api/openapi.h"
#include "api/problem.h"
#include "api/routes.h"
#include "api/socket.h"
#include "base/buf.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/pg.h"
#include "io/redis.h"
#include "link/link.h"
#include "run/co.h"
#include "run/loop.h"
#include "store/verdict.h"
#include "turn/conv.h"
#include "turn/feed.h"

#define STATUS_MAX  (4u << 20)

static const char *yes(bool b)
{
    return b ? "true" : "false";
}

void co_readyz(request_t *r)
{
    bool  database = pg_ready() > 0;
    bool  ready = database && !proc.draining;
    char  text[160];
    int   n = snprintf(text, sizeof(text), "{\"ready\":%s,\"database\":%s,\"redis\":%s,\"draining\":%s}", yes(ready),
                       yes(database), yes(redis_ready()), yes(proc.draining));
    const char *retry[][2] = { { "Retry-After", ready ? NULL : "1" } };

    co_json(r->call, ready ? 200 : 503, (str_t) { text, (size_t) n }, 1, retry);
}

typedef struct {
    buf_t   *b;
    uint64_t now;
    bool     more;
} census_t;

/* Every turn that runs, with the step it waits at. */
static void put_turn(co_t *co, const char *name, const char *label, const char *where, uint64_t since, void *arg)
{
    census_t *s = arg;

    (void) co;
    if (strcmp(name, "turn") != 0) {
        return;
    }
    buf_printf(s->b, "%s{\"turn\":\"%s\",\"waits\":\"%s\",\"ms\":%" PRIu64 "}", s->more ? "," : "", label, where,
               s->now - SI_MIN(since, s->now));
    s->more = true;
}

void co_status(request_t *r)
{
    buf_t    b;
    census_t s = { &b, loop_now(), false };
    verdicts_count_t keys = verdicts_count();

    if (call_header(r->call, "x-si-internal").n == 0) {
        co_problem(r->call, 404, "not_found", NULL, "the edge answers this, with si_status");
        return;
    }
    buf_init(&b, STATUS_MAX);
    buf_printf(&b, "{\"worker\":\"%s\",\"node\":", proc.instance);
    buf_json_str(&b, str_of(proc.node));
    buf_printf(&b, ",\"draining\":%s,\"database\":{\"connections\":%zu},\"redis\":%s,\"calls\":%zu,\"sockets\":%zu,"
               "\"conversations\":%zu,\"feeds\":%zu,"
               "\"keys\":{\"known\":%zu,\"unknown\":%zu,\"hits\":%" PRIu64 ",\"asked\":%" PRIu64 "},"
               "\"turns\":{\"running\":%zu,\"unfinished\":%zu},\"coroutines\":%zu,\"running\":[",
               yes(proc.draining), pg_ready(), yes(redis_ready()), links_calls(), sockets_count(), convs_count(), feeds_count(),
               keys.good, keys.bad, keys.hits, keys.asked, turns_running(), turns_unfinished(), co_count());
    co_each(put_turn, &s);
    buf_puts(&b, "]}");
    co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
    buf_free(&b);
}

void co_openapi(request_t *r)
{
    co_json(r->call, 200, (str_t) { si_openapi_json, si_openapi_json_len }, 0, NULL);
}
