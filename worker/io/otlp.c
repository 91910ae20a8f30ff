#include "io/otlp.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/json.h"
#include "base/list.h"
#include "base/logger.h"
#include "base/trace.h"
#include "base/util.h"
#include "io/http.h"
#include "run/co.h"
#include "run/loop.h"

#define BODY_MAX     (8u << 20)         /* bytes of a request; the specification recommends 64 MiB at most */
#define ANSWER_MAX   (64u << 10)        /* bytes read of an answer */
#define RETRY_MS     60000              /* a batch is tried for so long */
#define PAUSE_MIN    500
#define PAUSE_MAX    30000
#define SCOPE        "si"
/* Version of the semantic conventions whose names the spans use: the last one of that repository which has gen_ai. */
#define SCHEMA_URL   "https://opentelemetry.io/schemas/1.41.0"

typedef struct {
    list_t node;
    size_t n;
    char   text[];
} item_t;

/* What became of spans. */
typedef enum { SENT, OVERFLOW, REFUSED, GIVEN_UP, NRESULTS } result_t;

static const char *const result_names[] = { [SENT] = "sent", [OVERFLOW] = "overflow", [REFUSED] = "refused", [GIVEN_UP] = "given_up" };

struct otlp {
    otlp_spec_t spec;
    arena_t    *arena;          /* of the headers and the prefix */
    const char *lines[OTLP_HEADERS_MAX + 2];
    const char *prefix;         /* of every body, up to the first span */
    list_t      queue;          /* item_t, the oldest first */
    size_t      n;
    ltimer_t    timer;
    bool        sending;        /* the coroutine is there */
    bool        leaving;        /* the process ends: no pauses */
    bool        failing;        /* the last request failed: one line in the log says so */
    uint64_t    until;          /* clock_ms(): the end of all waits, when leaving */
    wait_t      pause;          /* of the coroutine between two tries */
    list_t      waiters;        /* who waits until it is done */
    uint64_t    counts[NRESULTS];
};

/* --- headers --- */

/* Appends the value, decoded: no control bytes. */
static int put_value(buf_t *line, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char) p[i];

        if (c == '%') {
            int hi = i + 2 < n ? hex_digit(p[i + 1]) : -1;

            if (hi < 0 || hex_digit(p[i + 2]) < 0) {
                return SI_EINVAL;
            }
            c = (unsigned char) (hi * 16 + hex_digit(p[i + 2]));
            i += 2;
        }
        if (c < ' ' || c == 0x7f || buf_append(line, &c, 1) != 0) {
            return SI_EINVAL;
        }
    }
    return 0;
}

/* One "name=value" into "name: value". */
static char *header_line(arena_t *a, const char *p, size_t n)
{
    static const char token[] = "!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const char *eq = memchr(p, '=', n);
    size_t      name = eq != NULL ? (size_t) (eq - p) : 0;
    char       *line = NULL;
    buf_t       b;

    if (name == 0 || strspn(p, token) < name) {
        return NULL;
    }
    buf_init(&b, 8192);
    if (buf_append(&b, p, name) == 0 && buf_puts(&b, ": ") == 0 && put_value(&b, eq + 1, n - name - 1) == 0) {
        line = arena_dup(a, b.p, b.n);
    }
    buf_free(&b);
    return line;
}

int otlp_headers(arena_t *a, const char *text, const char *lines[OTLP_HEADERS_MAX + 1])
{
    size_t n = 0;

    for (const char *p = text; *p != '\0'; ) {
        size_t len = strcspn(p, ",");

        if (n == OTLP_HEADERS_MAX || (lines[n++] = header_line(a, p, len)) == NULL) {
            return SI_EINVAL;
        }
        p += len + (p[len] == ',');
    }
    lines[n] = NULL;
    return 0;
}

/* --- the request --- */

static void put_attribute(buf_t *b, const char *key, const char *value, bool more)
{
    (void) buf_printf(b, "%s{\"key\":\"%s\",\"value\":{\"stringValue\":", more ? "," : "", key);
    (void) buf_json_str(b, str_of(value));
    (void) buf_puts(b, "}}");
}

/* The resource is this worker process: service.* and host.name of the conventions. */
static const char *make_prefix(arena_t *a, const otlp_spec_t *spec)
{
    const char *instance = arena_printf(a, "%s/%s", proc.node, proc.instance), *text;
    buf_t       b;

    buf_init(&b, 8192);
    (void) buf_puts(&b, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    put_attribute(&b, "service.name", spec->service, false);
    put_attribute(&b, "service.instance.id", instance, true);
    put_attribute(&b, "host.name", proc.node, true);
    (void) buf_puts(&b, "]},\"schemaUrl\":\"" SCHEMA_URL "\",\"scopeSpans\":[{\"scope\":{\"name\":\"" SCOPE "\"},\"schemaUrl\":\"" SCHEMA_URL "\",\"spans\":[");
    text = arena_dup(a, b.p, b.n);
    buf_free(&b);
    return text;
}

static void drop_first(struct otlp *o)
{
    item_t *i = list_first(&o->queue, item_t, node);

    list_remove(&i->node);
    o->n--;
    free(i);
}

/* The next batch as a body; the number of its spans. */
static size_t take_batch(struct otlp *o, buf_t *body)
{
    static const char end[] = "]}]}]}";
    size_t            n = 0;

    (void) buf_puts(body, o->prefix);
    while (o->n > 0 && n < o->spec.batch) {
        const item_t *i = list_first(&o->queue, item_t, node);

        if (body->n + i->n + sizeof end > body->max) {
            break;
        }
        (void) buf_append(body, ",", n > 0);
        (void) buf_append(body, i->text, i->n);
        drop_first(o);
        n++;
    }
    (void) buf_puts(body, end);
    return n;
}

static uint64_t due(const struct otlp *o, uint64_t ms)
{
    return o->leaving ? SI_MIN(clock_ms() + ms, o->until) : clock_ms() + ms;
}

/* Retry-After in ms: seconds, or a date. 0: it says nothing. */
static uint64_t retry_after_ms(http_t *h)
{
    const char *v = http_header(h, "retry-after");
    uint64_t    s;
    time_t      at;

    if (v == NULL) {
        return 0;
    }
    if (parse_u64(str_of(v), &s) == 0) {
        return SI_MIN(s, (uint64_t) RETRY_MS) * 1000;
    }
    at = curl_getdate(v, NULL);
    return at > time(NULL) ? (uint64_t) (at - time(NULL)) * 1000 : 0;
}

/* How many spans the collector says it has not taken, though it has taken the request. */
static uint64_t co_rejected(struct otlp *o, http_t *h, size_t n)
{
    arena_t    *a = arena_new(4096);
    str_t       text;
    json_t     *v, *count;
    uint64_t    rejected = 0;
    const char *why;

    if (co_http_body(h, a, ANSWER_MAX, &text, due(o, o->spec.timeout_ms)) == 0 && text.n > 0
        && (v = json_own(a, json_parse(a, text, &why))) != NULL)
    {
        count = json_object_get(json_object_get(v, "partialSuccess"), "rejectedSpans");
        if (json_is_integer(count)) {
            rejected = (uint64_t) SI_MAX(json_integer_value(count), 0);
        } else if (json_is_string(count) && parse_u64(str_of(json_string_value(count)), &rejected) != 0) {
            rejected = 0;
        }
    }
    arena_free(a);
    return SI_MIN(rejected, n);
}

/* Says once that the collector fails, and once that it is well again. */
static void note(struct otlp *o, bool fails, int status, const char *why)
{
    char text[16];

    if (fails != o->failing) {
        (void) snprintf(text, sizeof text, "%d", status);
        log_line(fails ? LOG_WARN : LOG_INFO, fails ? "the collector of traces does not take them" : "the collector of traces takes them again",
                 "status", status > 0 ? text : NULL, "reason", why, NULL);
    }
    o->failing = fails;
}

/* One try. 0: done, whatever became of the spans; SI_EAGAIN: again after *ms, 0: when you like. */
static int co_post(struct otlp *o, const buf_t *body, size_t n, uint64_t *ms)
{
    http_t *h = http_start(&(http_spec_t) {
        .method = "POST", .url = o->spec.url, .headers = o->lines, .body = { body->p, body->n }, .max_buffered = ANSWER_MAX,
        .connect_ms = (uint32_t) o->spec.timeout_ms,
    });
    int      status = co_http_head(h, due(o, o->spec.timeout_ms));
    uint64_t rejected = n;
    int      rc = 0;

    *ms = 0;
    if (status >= 200 && status < 300) {
        rejected = co_rejected(o, h, n);
        note(o, false, status, NULL);
    } else if (status < 0 || status == 429 || status == 502 || status == 503 || status == 504) {
        *ms = status > 0 ? retry_after_ms(h) : 0;
        note(o, true, status, status > 0 ? NULL : status == SI_EUNAVAIL ? http_error(h) : si_strerror(status));
        rc = SI_EAGAIN;
    } else {
        note(o, true, status, NULL);
    }
    http_close(h);
    if (rc == 0) {
        o->counts[REFUSED] += rejected;
        o->counts[SENT] += n - rejected;
    }
    return rc;
}

static void co_deliver(struct otlp *o, const buf_t *body, size_t n)
{
    uint64_t until = clock_ms() + RETRY_MS, ms;

    for (unsigned failures = 1; co_post(o, body, n, &ms) != 0; failures++) {
        ms = ms > 0 ? ms : backoff_ms(failures, PAUSE_MIN, PAUSE_MAX);
        if (o->leaving || clock_ms() + ms >= until) {
            o->counts[GIVEN_UP] += n;
            return;
        }
        wait_init(&o->pause);
        (void) co_wait(&o->pause, "otlp:pause", clock_ms() + ms);
    }
}

/* --- when --- */

static void on_timer(ltimer_t *t);

static void co_send(void *arg)
{
    struct otlp *o = arg;
    buf_t        body;
    size_t       n;

    do {
        buf_init(&body, BODY_MAX);
        n = take_batch(o, &body);
        co_deliver(o, &body, n);
        buf_free(&body);
    } while (o->n >= o->spec.batch || (o->leaving && o->n > 0 && !o->failing));
    o->sending = false;
    waiters_wake(&o->waiters, 0);
    if (o->n > 0 && !o->leaving) {
        loop_timer(&o->timer, o->spec.interval_ms, on_timer);
    }
}

static void start(struct otlp *o)
{
    loop_timer_del(&o->timer);
    o->sending = true;
    co_spawn("otlp", co_send, o);
}

static void on_timer(ltimer_t *t)
{
    struct otlp *o = container_of(t, struct otlp, timer);

    if (o->n > 0 && !o->sending) {
        start(o);
    }
}

void otlp_put(str_t span)
{
    struct otlp *o = proc.otlp;
    item_t      *i;

    if (o->n >= o->spec.queue) {
        drop_first(o);
        o->counts[OVERFLOW]++;
    }
    i = si_malloc(sizeof *i + span.n);
    i->n = span.n;
    memcpy(i->text, span.p, span.n);
    list_push(&o->queue, &i->node);
    if (++o->n == 1 && !o->sending) {
        loop_timer(&o->timer, o->spec.interval_ms, on_timer);
    }
    if (o->n >= o->spec.batch && !o->sending) {
        start(o);
    }
}

void co_otlp_flush(uint64_t deadline)
{
    struct otlp *o = proc.otlp;

    if (o == NULL) {
        return;
    }
    o->leaving = true;
    o->until = deadline;
    if (o->sending) {
        (void) wait_wake(&o->pause, 0);
    } else if (o->n > 0) {
        start(o);
    }
    if (o->sending) {
        (void) co_wait_in(&o->waiters, "otlp:flush", deadline);
    }
}

/* --- the rest --- */

void otlp_init(const otlp_spec_t *spec)
{
    static const char type[] = "Content-Type: application/json";
    struct otlp      *o;

    if (spec->url[0] == '\0') {
        return;
    }
    o = si_calloc(sizeof *o);
    o->spec = *spec;
    o->arena = arena_new(2048);
    o->lines[0] = type;
    if (otlp_headers(o->arena, spec->headers, o->lines + 1) != 0) {
        si_die("the headers for the collector of traces are malformed");
    }
    o->prefix = make_prefix(o->arena, spec);
    list_init(&o->queue);
    list_init(&o->waiters);
    wait_init(&o->pause);
    proc.otlp = o;
}

bool otlp_draws(const char *trace_id)
{
    return trace_drawn(trace_id, proc.otlp->spec.share);
}

bool otlp_follows(void)
{
    return proc.otlp != NULL && proc.otlp->spec.follows;
}

void otlp_metrics(buf_t *b)
{
    const struct otlp *o = proc.otlp;

    (void) buf_puts(b, "# HELP si_worker_spans_total Spans of traces, by what became of them.\n# TYPE si_worker_spans_total counter\n");
    for (size_t i = 0; i < NRESULTS; i++) {
        (void) buf_printf(b, "si_worker_spans_total{result=\"%s\"} %" PRIu64 "\n", result_names[i], o != NULL ? o->counts[i] : 0);
    }
    (void) buf_printf(b, "# HELP si_worker_spans_queued Spans that wait to be sent.\n# TYPE si_worker_spans_queued gauge\n"
                      "si_worker_spans_queued %zu\n", o != NULL ? o->n : 0);
}
