#include "store/quota.h"

#include <inttypes.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/redis.h"
#include "link/frame.h"
#include "link/link.h"
#include "run/co.h"
#include "store/store.h"

#define QUESTIONS_MAX  512
#define NODES_MS       5000     /* the number of nodes is this old at most, if Postgres answers */

struct quotas {
    size_t   questions;
    uint32_t nodes;             /* 0: not known yet */
    uint64_t counted;           /* clock_ms() when they were counted, or could not be */
    bool     counting;
    bool     away;              /* logged */
};

typedef struct {
    uint64_t link;
    si_ask_t ask;
    uint8_t  name[SI_LIMIT_MAX];
} question_t;

/* KEYS: the bucket. ARGV: interval (ns), burst, want, debt, back. Returns what is granted, and the level in ns. */
static const char script[] =
    "local t = redis.call('TIME') "
    "local now = t[1] * 1000000 + t[2] "
    "local b = redis.call('HMGET', KEYS[1], 'at', 'level') "
    "local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]) "
    "local drained = math.max(now - (tonumber(b[1]) or now), 0) * 1000 / interval "
    "local level = math.max((tonumber(b[2]) or 0) - drained - ARGV[5], 0) + ARGV[4] "
    "local n = math.max(math.min(tonumber(ARGV[3]), math.floor(burst - level + 0.000001)), 0) "
    "level = level + n "
    "redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now), 'level', string.format('%.17g', level)) "
    "redis.call('PEXPIRE', KEYS[1], math.ceil(level * interval / 1000000) + 1000) "
    "return { n, math.ceil(level * interval) }";

static void co_nodes(void *arg)
{
    arena_t *a = arena_new(1024);
    uint32_t n;

    (void) arg;
    if (co_store_nodes(a, &n) == 0) {
        proc.quotas->nodes = n;
    }
    proc.quotas->counted = clock_ms();
    proc.quotas->counting = false;
    arena_free(a);
}

static void count_nodes(void)
{
    struct quotas *s = proc.quotas;

    if (!s->counting && (s->counted == 0 || clock_ms() >= s->counted + NODES_MS)) {
        s->counting = true;
        co_spawn("nodes", co_nodes, NULL);
    }
}

/* One line for each outage. */
static void tell(str_t reason)
{
    if (!proc.quotas->away) {
        log_fmt(LOG_WARN, "limits of the cluster: each node has its share until Redis answers: %.*s", (int) reason.n, reason.p);
    }
    proc.quotas->away = true;
}

static str_t complaint(str_t error)
{
    const char *comma = memchr(error.p, ',', error.n);      /* behind it Redis quotes arguments */

    return (str_t) { error.p, SI_MIN(comma ? (size_t) (comma - error.p) : error.n, (size_t) 80) };
}

static bool understood(const redis_reply_t *r, const si_ask_t *ask, si_grant_t *g)
{
    if (r->type != REDIS_ARRAY || r->n != 2 || r->items[0].type != REDIS_INTEGER || r->items[1].type != REDIS_INTEGER
        || r->items[0].integer < 0 || r->items[0].integer > ask->want || r->items[1].integer < 0)
    {
        tell(r->type == REDIS_ERROR ? complaint(r->str) : STR("its answer is not understood"));
        return false;
    }
    g->granted = (uint32_t) r->items[0].integer;
    g->level = (uint64_t) r->items[1].integer;
    return true;
}

static int co_take(arena_t *a, const si_ask_t *ask, redis_reply_t *reply)
{
    const char *tag = arena_printf(a, "%.*s:%016" PRIx64, (int) ask->name_len, (const char *) ask->name, ask->key);
    str_t       key = redis_key(a, "limit", str_of(tag), "");
    str_t       args[] = {
        STR("EVAL"), str_of(script), STR("1"), key,
        str_of(arena_printf(a, "%" PRIu64, ask->interval)),
        str_of(arena_printf(a, "%.17g", (double) ask->bucket / (double) ask->interval)),
        str_of(arena_printf(a, "%" PRIu32, ask->want)), str_of(arena_printf(a, "%" PRIu32, ask->debt)),
        str_of(arena_printf(a, "%" PRIu32, ask->back)),
    };

    return co_redis_key(a, reply, clock_ms() + QUOTA_MS, key, SI_COUNT(args), args);
}

static void co_answer(void *arg)
{
    question_t   *q = arg;
    arena_t      *a = arena_new(1024);
    redis_reply_t reply;
    si_grant_t    g = { .key = q->ask.key, .want = q->ask.want, .name_len = q->ask.name_len, .name = q->name };
    int           rc = co_take(a, &q->ask, &reply);

    if (rc != 0) {
        tell(str_of(si_strerror(rc)));
    }
    g.away = rc != 0 || !understood(&reply, &q->ask, &g);
    g.nodes = proc.quotas->nodes;
    if (!g.away) {
        proc.quotas->away = false;
    }
    if (proc.links != NULL) {
        links_grant(q->link, &g);
    }
    proc.quotas->questions--;
    arena_free(a);
    free(q);
}

static void got_ask(uint64_t link, const si_ask_t *ask)
{
    question_t *q;

    count_nodes();
    if (proc.quotas->questions >= QUESTIONS_MAX) {
        return;
    }
    proc.quotas->questions++;
    q = si_calloc(sizeof(*q));
    q->link = link;
    q->ask = *ask;
    memcpy(q->name, ask->name, ask->name_len);
    q->ask.name = q->name;
    co_spawn("quota", co_answer, q);
}

void quotas_init(void)
{
    proc.quotas = si_calloc(sizeof(*proc.quotas));
    links_asks(got_ask);
}
