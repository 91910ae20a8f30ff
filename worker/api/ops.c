#include <inttypes.h>
#include <stdio.h>

#include "api/face.h"
#include "api/openapi.h"
#include "api/issuers.h"
#include "api/problem.h"
#include "api/routes.h"
#include "api/socket.h"
#include "base/buf.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/otlp.h"
#include "io/pg.h"
#include "io/redis.h"
#include "link/link.h"
#include "llm/budget.h"
#include "llm/gateway.h"
#include "run/co.h"
#include "run/loop.h"
#include "store/revoked.h"
#include "store/verdict.h"
#include "turn/conv.h"
#include "turn/feed.h"

#define STATUS_MAX  (4u << 20)
#define METRICS_MAX (768u << 10)     /* the edge takes 1 MiB */

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

/* Every call that waits for a model, or its provider. */
static void put_call(co_t *co, const char *name, const char *label, const char *where, uint64_t since, void *arg)
{
    census_t *s = arg;

    (void) co;
    (void) label;
    if (strcmp(name, "call") != 0 || (strncmp(where, "llm:", 4) != 0 && strncmp(where, "http:", 5) != 0)) {
        return;
    }
    buf_printf(s->b, "%s{\"waits\":\"%s\",\"ms\":%" PRIu64 "}", s->more ? "," : "", where, s->now - SI_MIN(since, s->now));
    s->more = true;
}

/* Whether the edge itself asks; anybody else was answered. */
static bool co_is_edge(request_t *r, const char *directive)
{
    if (call_header(r->call, "x-si-internal").n) {
        return true;
    }
    co_problem(r->call, 404, "not_found", NULL, "the edge answers this, with %s", directive);
    return false;
}

void co_status(request_t *r)
{
    buf_t    b;
    census_t s = { &b, loop_now(), false };
    verdicts_count_t keys = verdicts_count();

    if (!co_is_edge(r, "si_status")) {
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
    buf_puts(&b, "],\"dialects\":[");
    s.more = false;
    co_each(put_call, &s);
    buf_puts(&b, "]}");
    co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
    buf_free(&b);
}

/* In the text format of Prometheus 0.0.4. The edge puts those of all workers together and adds labels that say which. */
void co_metrics(request_t *r)
{
    issuers_count_t issuers = issuers_count();
    const struct {
        const char *name, *help;
        size_t      value;
    } values[] = {
        { "si_worker_draining", "Whether the worker takes no new turns.", proc.draining },
        { "si_worker_database_connections", "Connections to Postgres that are up.", pg_ready() },
        { "si_worker_redis_up", "Whether Redis answers.", redis_ready() },
        { "si_worker_calls", "Requests in the worker, WebSockets too.", links_calls() },
        { "si_worker_sockets", "WebSockets.", sockets_count() },
        { "si_worker_conversations", "Conversations in memory.", convs_count() },
        { "si_worker_feeds", "Users whose whole stream is read here.", feeds_count() },
        { "si_worker_turns_running", "Turns that run.", turns_running() },
        { "si_worker_turns_unfinished", "Turns that run or wait for their conversation's running one.", turns_unfinished() },
        { "si_worker_dialect_calls", "Calls of models in the dialects of others that run.", faces_running() },
        { "si_worker_issuers_known", "Issuers of tokens whose keys are known.", issuers.known },
        { "si_worker_token_revocations", "Revocations of tokens that count, of all tenants.", revoked_count() },
        { "si_worker_key_sets_fetched_total", "Key sets that this worker got from issuers.", issuers.fetched },
        { "si_worker_key_sets_failed_total", "Times that it got none, or one that cannot be used.", issuers.failed },
        { "si_worker_coroutines", "Coroutines: calls, turns and the worker's own.", co_count() },
    };
    buf_t       b;
    call_head_t head = { .status = 200, .type = "text/plain; version=0.0.4; charset=utf-8" };

    if (!co_is_edge(r, "si_metrics")) {
        return;
    }
    buf_init(&b, METRICS_MAX);
    for (size_t i = 0; i < SI_COUNT(values); i++) {
        bool total = memmem(values[i].name, strlen(values[i].name), "_total", 6) != NULL;
        buf_printf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %zu\n", values[i].name, values[i].help, values[i].name,
                   total ? "counter" : "gauge", values[i].name, values[i].value);
    }
    otlp_metrics(&b);
    gateway_metrics(&b);
    budget_metrics(&b);
    co_whole(r->call, &head, (str_t) { b.p, b.n });
    buf_free(&b);
}

void co_openapi(request_t *r)
{
    co_json(r->call, 200, (str_t) { si_openapi_json, si_openapi_json_len }, 0, NULL);
}
