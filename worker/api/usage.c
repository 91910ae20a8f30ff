/* GET /v1/usage: what model calls took and cost. */
#include <inttypes.h>
#include <time.h>

#include "api/input.h"
#include "api/problem.h"
#include "base/buf.h"
#include "base/util.h"
#include "link/frame.h"
#include "store/key.h"
#include "store/usage.h"

#define DAY_MS    86400000ull
#define SPAN_MS   (400 * DAY_MS)    /* what one question may be about */
#define USUAL_MS  (30 * DAY_MS)     /* and what it is about when it does not say */
#define BYTES_MAX (2u << 20)        /* USAGE_GROUPS_MAX groups, and the total: each less than 1.5 KiB, also when all of its name is escaped */

/* A time or a day; absent: *at stays. 0, or -1: answered. */
static int co_time(request_t *r, const char *name, uint64_t *at)
{
    char text[40];
    int  n = query_arg(r->call->query, name, text, sizeof text);

    if (n == SI_ENOENT || n == 0) {
        return 0;
    }
    *at = n > 0 ? input_time(n == 10 ? str_of(arena_printf(r->call->arena, "%sT00:00:00Z", text)) : str_of(text)) : 0;
    if (*at == 0) {
        co_problem(r->call, 422, "invalid_field", name, "must be a day as 2030-01-31, or a time as 2030-01-31T12:00:00Z");
        return -1;
    }
    return 0;
}

static int co_group(request_t *r, usage_by_t *by)
{
    char text[16];
    int  n = query_arg(r->call->query, "group", text, sizeof text);

    for (*by = 0; n > 0 && *by < USAGE_GROUPS && strcmp(usage_by_name(*by), text) != 0; (*by)++) {
    }
    if (n == SI_EINVAL || *by == USAGE_GROUPS) {
        co_problem(r->call, 422, "invalid_field", "group", "must be one of model, agent, user, key and day");
        return -1;
    }
    return 0;
}

static void put_time(buf_t *b, const char *name, uint64_t ms)
{
    time_t    at = (time_t) (ms / 1000);
    struct tm t;
    char      text[24];

    (void) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&at, &t));
    (void) buf_printf(b, "\"%s\":\"%s.%03uZ\",", name, text, (unsigned) (ms % 1000));
}

static void put_sum(buf_t *b, const usage_sum_t *u, bool named)
{
    (void) buf_puts(b, "{");
    if (named) {
        (void) buf_puts(b, "\"name\":");
        (void) buf_json_str(b, str_of(u->name));
        (void) buf_puts(b, ",");
    }
    (void) buf_printf(b, "\"calls\":%" PRId64 ",\"failed\":%" PRId64 ",\"estimated\":%" PRId64 ",\"cached_answers\":%" PRId64 ",\"input_tokens\":%" PRId64
                      ",\"cached_tokens\":%" PRId64 ",\"cache_write_tokens\":%" PRId64 ",\"output_tokens\":%" PRId64
                      ",\"reasoning_tokens\":%" PRId64 ",\"cost_micros\":%" PRId64 "}", u->calls, u->failed, u->estimated, u->cached_answers, u->input_tokens,
                      u->cached_tokens, u->cache_write_tokens, u->output_tokens, u->reasoning_tokens, u->cost);
}

void co_usage(request_t *r)
{
    uint64_t     to = clock_wall_ms() + 1, from;
    usage_by_t   by;
    usage_sum_t *sums = NULL, total;
    size_t       n = 0;
    bool         more = false;
    buf_t        b;
    int          rc;

    if (co_time(r, "to", &to) != 0) {
        return;
    }
    from = to - SI_MIN(to, USUAL_MS);
    if (co_time(r, "from", &from) != 0 || co_group(r, &by) != 0) {
        return;
    }
    if (from >= to || to - from > SPAN_MS) {
        co_problem(r->call, 422, "invalid_field", "from", "must be before `to`, and by 400 days at most");
        return;
    }
    rc = co_store_usage(r->call->arena, &r->who, scope_has(r->who.scopes, "admin"), (int64_t) from, (int64_t) to, by, &sums, &n, &more, &total);
    if (rc != 0) {
        co_problem_rc(r->call, rc);
        return;
    }
    buf_init(&b, BYTES_MAX);
    (void) buf_puts(&b, "{");
    put_time(&b, "from", from);
    put_time(&b, "to", to);
    (void) buf_printf(&b, "\"group\":\"%s\",\"data\":[", usage_by_name(by));
    for (size_t i = 0; i < n; i++) {
        (void) buf_puts(&b, i > 0 ? "," : "");
        put_sum(&b, &sums[i], true);
    }
    (void) buf_printf(&b, "],\"truncated\":%s,\"total\":", more ? "true" : "false");
    put_sum(&b, &total, false);
    (void) buf_puts(&b, "}");
    co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
    buf_free(&b);
}
