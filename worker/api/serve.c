#include "api/serve.h"

#include <stdio.h>
#include <unistd.h>

#include "api/face.h"
#include "api/identity.h"
#include "api/issuers.h"
#include "api/routes.h"
#include "api/socket.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/aws_creds.h"
#include "io/http.h"
#include "io/otlp.h"
#include "io/pg.h"
#include "io/redis.h"
#include "link/link.h"
#include "llm/budget.h"
#include "llm/gateway.h"
#include "llm/ledger.h"
#include "run/co.h"
#include "run/loop.h"
#include "run/master.h"
#include "store/allowance.h"
#include "store/quota.h"
#include "store/revoked.h"
#include "store/verdict.h"
#include "turn/bus.h"
#include "turn/conv.h"
#include "turn/feed.h"
#include "turn/journal.h"
#include "turn/lease.h"

#define DRAIN_LOOK_MS  50
#define LEDGER_MS      2000     /* what is left of usage has so long to reach Postgres; then it stays on disk */
#define FLUSH_MS       3000     /* for the traces that were not sent yet, when the worker leaves */
#define SUCCESSOR_MS   3000     /* a successor is waited for this long */

static void co_start(void *arg)
{
    if (co_lease_begin(arg) == 0 && links_publish() == 0) {
        log_line(LOG_INFO, "worker serves", NULL);
        lease_keep();
    } else {
        si_die("the worker could not start");
    }
}

static void co_leave(void *arg)
{
    (void) arg;
    co_ledger_end(LEDGER_MS);
    co_lease_end();
    co_otlp_flush(clock_ms() + FLUSH_MS);
    loop_stop();
}

static void leave(void)
{
    if (!proc.convs->stopping) {
        proc.convs->stopping = true;
        co_spawn("leave", co_leave, NULL);
    }
}

static void drain_look(ltimer_t *t)
{
    if ((turns_unfinished() == 0 && links_calls() == 0 && convs_count() == 0) || loop_now() >= proc.convs->drain_until) {
        log_line(LOG_INFO, "worker has drained", NULL);
        leave();
        return;
    }
    feeds_drain();
    convs_drain();
    loop_timer(t, DRAIN_LOOK_MS, drain_look);
}

/* In a reload the successor takes the slot first, so that no call finds nobody. When the pool ends there is none. */
static void drain_begin(ltimer_t *t)
{
    if (!links_succeeded() && loop_now() < proc.convs->drain_until - proc.conf->drain_ms + SUCCESSOR_MS) {
        loop_timer(t, DRAIN_LOOK_MS, drain_begin);
        return;
    }
    log_line(LOG_INFO, "worker drains", NULL);
    proc.draining = true;
    links_drain();
    sockets_drain();
    drain_look(t);
}

static void on_drain(void)
{
    if (proc.convs->drain_until == 0) {
        proc.convs->drain_until = loop_now() + proc.conf->drain_ms;
        drain_begin(&proc.convs->drain);
    }
}

static void reopen(void)
{
    (void) logger_reopen();
}

_Noreturn void worker_run(int slot, const char *died, conf_t *conf)
{
    static const bus_hooks_t hooks = { .key_gone = key_gone };

    proc.slot = slot;
    proc.conf = conf;
    snprintf(proc.node, sizeof(proc.node), "%s", conf->node);

    buf_pool_init();
    json_init();
    loop_init();
    co_init();
    signals_init(on_drain, leave, reopen);
    http_init();
    otlp_init(&(otlp_spec_t) {
        .url = conf->telemetry_url, .headers = conf->telemetry_headers, .service = conf->telemetry_service,
        .share = conf->telemetry_sample, .follows = strcmp(conf->telemetry_parent, "follow") == 0, .batch = conf->telemetry_batch,
        .queue = conf->telemetry_queue, .interval_ms = conf->telemetry_interval, .timeout_ms = conf->telemetry_timeout,
    });
    aws_init();
    gateway_init();
    /* Readers that all come back at once must wait, for a 503 ends a browser's EventSource: no call is refused here. */
    pg_init(conf->database_url, conf->database_pool, conf->calls_max + conf->turns_max);
    if (redis_init(conf->redis_url)) {
        si_die("redis.url is not a Redis address");
    }
    verdicts_init(key_gone);
    allowances_init();
    budgets_init();
    convs_init();
    bus_init(&hooks);
    feeds_init();
    journal_init();
    ledger_init();
    identities_init();
    sockets_init();
    faces_init();
    if (links_init(conf->sockets, conf->calls_max, co_route)) {
        si_die("cannot listen in %s", conf->sockets);
    }
    links_load(turns_running);
    quotas_init();
    revoked_init(sockets_tokens_gone);
    issuers_init();
    co_spawn("start", co_start, (void *) (uintptr_t) died);
    loop_run();

    links_exit();
    log_line(LOG_INFO, "worker leaves", NULL);
    _exit(0);
}
