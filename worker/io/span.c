#include "io/span.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/util.h"
#include "io/otlp.h"
#include "run/co.h"

#define ATTRIBUTES_MAX  8192u
#define BELOW_MAX       512u
#define EVENTS_MAX      4096u
#define LINKS_MAX       4096u
#define NAME_BYTES      128u

/* Flags of OTLP's Span and Link (opentelemetry/proto/trace/v1/trace.proto): the W3C flag, and whether the parent is elsewhere is known. */
#define FLAG_SAMPLED     0x001
#define FLAG_HAS_REMOTE  0x100
#define FLAG_IS_REMOTE   0x200

#define STATUS_ERROR     2

struct span {
    trace_t     trace;              /* first: span_here() */
    char        parent[TRACE_SPAN_LEN + 1];
    char        name[NAME_BYTES];
    span_kind_t kind;
    bool        remote;             /* the parent is not of this process */
    bool        open;               /* it is recorded */
    bool        failed;
    uint64_t    start_ns;           /* since 1970 */
    uint64_t    start_us;           /* clock_us(): durations do not jump with the wall clock */
    unsigned    lost;               /* attributes without room */
    buf_t       attributes, below, events, links;       /* members of lists, with commas between */
};

static uint64_t wall_ns(void)
{
    struct timespec ts = { 0 };

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

/* Now, by the clock that it began with. */
static uint64_t now_ns(const span_t *s)
{
    return s->start_ns + (clock_us() - s->start_us) * 1000;
}

/* --- its beginning --- */

static void free_parts(span_t *s)
{
    s->open = false;
    buf_free(&s->attributes);
    buf_free(&s->below);
    buf_free(&s->events);
    buf_free(&s->links);
}

static void drop(void *arg)
{
    free_parts(arg);
}

/* Where it stands. A caller who samples is followed; who begins a trace draws. */
static void place(span_t *s, span_from_t from)
{
    const trace_t *up = from.parent != NULL ? &from.parent->trace : from.caller;

    if (up != NULL && up->trace[0] != '\0') {
        s->trace = *up;
        memcpy(s->parent, up->span, sizeof s->parent);
        s->remote = from.parent == NULL && !from.here;
    } else {
        if (trace_id_ok(from.id)) {
            memcpy(s->trace.trace, from.id.p, TRACE_ID_LEN);
        } else {
            trace_new_id(s->trace.trace);
        }
        s->trace.sampled = otlp_draws(s->trace.trace);
    }
    trace_new_span(s->trace.span);
}

span_t *span_new(arena_t *a, span_kind_t kind, span_from_t from, const char *name)
{
    span_t *s;

    if (!otlp_on()) {
        return NULL;
    }
    s = arena_calloc(a, sizeof *s);
    place(s, from);
    s->open = s->trace.sampled;
    if (!s->open) {
        return s;
    }
    s->kind = kind;
    s->start_ns = wall_ns();
    s->start_us = clock_us();
    buf_init(&s->attributes, ATTRIBUTES_MAX);
    buf_init(&s->below, BELOW_MAX);
    buf_init(&s->events, EVENTS_MAX);
    buf_init(&s->links, LINKS_MAX);
    arena_defer(a, drop, s);
    span_name(s, name);
    if (from.parent != NULL && from.parent->below.n > 0) {
        (void) buf_append(&s->below, from.parent->below.p, from.parent->below.n);
        (void) buf_append(&s->attributes, s->below.p, s->below.n);
    }
    return s;
}

void span_name(span_t *s, const char *name)
{
    if (s != NULL && s->open) {
        (void) snprintf(s->name, sizeof s->name, "%s", name);
        s->name[utf8_cut(s->name, strlen(s->name))] = '\0';
    }
}

const trace_t *span_trace(const span_t *s)
{
    return s != NULL ? &s->trace : NULL;
}

span_t *span_here(void)
{
    const trace_t *t = co_self_trace();

    return t != NULL ? container_of(t, span_t, trace) : NULL;
}

/* --- what it says --- */

/* ,{"key":"…","value":{"<type>":<value>}}; false, and nothing added, when there is no room. */
static bool put(buf_t *b, const char *key, const char *type, const char *quote, const char *value)
{
    size_t before = b->n;

    if (buf_printf(b, "%s{\"key\":\"%s\",\"value\":{\"%s\":", before > 0 ? "," : "", key, type) == 0
        && (quote == NULL ? buf_json_str(b, str_of(value)) : buf_printf(b, "%s%s%s", quote, value, quote)) == 0 && buf_puts(b, "}}") == 0)
    {
        return true;
    }
    b->n = before;
    return false;
}

static void attribute(span_t *s, const char *key, const char *type, const char *quote, const char *value)
{
    if (!put(&s->attributes, key, type, quote, value)) {
        s->lost++;
    }
}

static bool said(const span_t *s, const char *value)
{
    return s != NULL && s->open && value != NULL && value[0] != '\0';
}

void span_text(span_t *s, const char *key, const char *value)
{
    if (said(s, value)) {
        attribute(s, key, "stringValue", NULL, value);
    }
}

/* 64-bit numbers are texts in OTLP's JSON. */
void span_int(span_t *s, const char *key, int64_t value)
{
    char text[24];

    if (s != NULL && s->open) {
        (void) snprintf(text, sizeof text, "%" PRId64, value);
        attribute(s, key, "intValue", "\"", text);
    }
}

void span_real(span_t *s, const char *key, double value)
{
    char text[32];

    if (s != NULL && s->open && isfinite(value)) {
        (void) snprintf(text, sizeof text, "%.9g", value);
        attribute(s, key, "doubleValue", "", text);
    }
}

void span_flag(span_t *s, const char *key, bool value)
{
    if (s != NULL && s->open) {
        attribute(s, key, "boolValue", "", value ? "true" : "false");
    }
}

void span_list(span_t *s, const char *key, const char *value)
{
    buf_t list;

    if (!said(s, value)) {
        return;
    }
    buf_init(&list, ATTRIBUTES_MAX);
    if (buf_puts(&list, "{\"values\":[{\"stringValue\":") == 0 && buf_json_str(&list, str_of(value)) == 0
        && buf_append(&list, "}]}", 4) == 0)    /* with its NUL */
    {
        attribute(s, key, "arrayValue", "", list.p);
    }
    buf_free(&list);
}

void span_text_below(span_t *s, const char *key, const char *value)
{
    if (said(s, value)) {
        span_text(s, key, value);
        (void) put(&s->below, key, "stringValue", NULL, value);
    }
}

void span_event_of(span_t *s, const char *name, const char *const (*texts)[2], size_t n)
{
    size_t before;
    buf_t  b;

    if (s == NULL || !s->open) {
        return;
    }
    before = s->events.n;
    buf_init(&b, EVENTS_MAX);
    for (size_t i = 0; i < n; i++) {
        (void) put(&b, texts[i][0], "stringValue", NULL, texts[i][1]);
    }
    if (buf_printf(&s->events, "%s{\"timeUnixNano\":\"%" PRIu64 "\",\"name\":\"%s\"", before > 0 ? "," : "", now_ns(s), name) != 0
        || (b.n > 0 && buf_printf(&s->events, ",\"attributes\":[%.*s]", (int) b.n, b.p) != 0) || buf_puts(&s->events, "}") != 0)
    {
        s->events.n = before;
    }
    buf_free(&b);
}

void span_event(span_t *s, const char *name)
{
    span_event_of(s, name, NULL, 0);
}

void span_link(span_t *s, const trace_t *to, const char *how)
{
    size_t before;

    if (s != NULL && s->open && to != NULL && to->trace[0] != '\0') {
        before = s->links.n;
        if (buf_printf(&s->links, "%s{\"traceId\":\"%s\",\"spanId\":\"%s\",\"flags\":%d,\"attributes\":"
                       "[{\"key\":\"si.link\",\"value\":{\"stringValue\":\"%s\"}}]}", before > 0 ? "," : "", to->trace, to->span,
                       FLAG_HAS_REMOTE | (to->sampled ? FLAG_SAMPLED : 0), how) != 0)
        {
            s->links.n = before;
        }
    }
}

void span_fail(span_t *s, const char *type)
{
    if (s != NULL && s->open && !s->failed) {
        s->failed = true;
        span_text(s, "error.type", type);
    }
}

/* --- its end --- */

static void put_list(buf_t *b, const char *name, const buf_t *list)
{
    if (list->n > 0) {
        (void) buf_printf(b, ",\"%s\":[", name);
        (void) buf_append(b, list->p, list->n);
        (void) buf_puts(b, "]");
    }
}

static void write_down(const span_t *s, uint64_t end_ns, buf_t *b)
{
    (void) buf_printf(b, "{\"traceId\":\"%s\",\"spanId\":\"%s\"", s->trace.trace, s->trace.span);
    if (s->parent[0] != '\0') {
        (void) buf_printf(b, ",\"parentSpanId\":\"%s\"", s->parent);
    }
    (void) buf_printf(b, ",\"flags\":%d,\"name\":", FLAG_SAMPLED | FLAG_HAS_REMOTE | (s->remote ? FLAG_IS_REMOTE : 0));
    (void) buf_json_str(b, str_of(s->name));
    (void) buf_printf(b, ",\"kind\":%d,\"startTimeUnixNano\":\"%" PRIu64 "\",\"endTimeUnixNano\":\"%" PRIu64 "\"", (int) s->kind,
                      s->start_ns, end_ns);
    put_list(b, "attributes", &s->attributes);
    if (s->lost > 0) {
        (void) buf_printf(b, ",\"droppedAttributesCount\":%u", s->lost);
    }
    put_list(b, "events", &s->events);
    put_list(b, "links", &s->links);
    if (s->failed) {
        (void) buf_printf(b, ",\"status\":{\"code\":%d}", STATUS_ERROR);
    }
    (void) buf_puts(b, "}");
}

void span_end(span_t *s)
{
    buf_t b;

    if (s == NULL || !s->open) {
        return;
    }
    buf_init(&b, OTLP_SPAN_MAX);
    write_down(s, now_ns(s), &b);
    free_parts(s);
    otlp_put((str_t) { b.p, b.n });
    buf_free(&b);
}

void span_drop(span_t *s)
{
    if (s != NULL && s->open) {
        free_parts(s);
    }
}
