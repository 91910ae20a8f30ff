/* Spans: what is written down, within its bounds. The exporter is a variable here. */
#include "io/span.h"

#include "base/json.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/otlp.h"
#include "run/co.h"
#include "run/loop.h"
#include "tap.h"

static struct {
    char   text[65536];
    size_t n;
    int    spans;
    bool   draws;
} out = { .draws = true };

void otlp_put(str_t span)
{
    out.n = SI_MIN(span.n, sizeof out.text);
    memcpy(out.text, span.p, out.n);
    out.spans++;
}

bool otlp_draws(const char *trace_id)
{
    return trace_id[0] != '\0' && out.draws;
}

static json_t *last(arena_t *a)
{
    const char *why = "";
    json_t     *v = json_own(a, json_parse(a, (str_t) { out.text, out.n }, &why));

    if (!ok(v != NULL && out.n < OTLP_SPAN_MAX, "it is JSON")) {
        diag("%s: %.*s", why, (int) out.n, out.text);
    }
    return v;
}

static const char *text(const json_t *v, const char *name)
{
    const char *z = json_string_value(json_object_get(v, name));

    return z != NULL ? z : "";
}

static const json_t *attribute(const json_t *v, const char *key)
{
    size_t  i;
    json_t *a;

    json_array_foreach(json_object_get(v, "attributes"), i, a) {
        if (strcmp(text(a, "key"), key) == 0) {
            return json_object_get(a, "value");
        }
    }
    return NULL;
}

static void one(arena_t *a)
{
    trace_t  up = { "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", true };
    span_t  *s = span_new(a, SPAN_SERVER, (span_from_t) { .caller = &up }, "GET \"/x\"");
    json_t  *v;

    span_text(s, "t", "a\"b\nc\xff");
    span_text(s, "empty", "");
    span_text(s, "null", NULL);
    span_int(s, "i", -9007199254740993);
    span_real(s, "r", 0.25);
    span_real(s, "nan", __builtin_nan(""));
    span_flag(s, "f", true);
    span_list(s, "l", "stop");
    span_event(s, "first");
    span_event(s, "second");
    span_link(s, &up, "retry");
    span_fail(s, "boom");
    span_fail(s, "later");
    span_end(s);
    span_end(s);
    is_int(out.spans, 1, "a span ends once");
    v = last(a);
    is_str(text(v, "traceId"), up.trace, "in the caller's trace");
    is_str(text(v, "parentSpanId"), up.span, "under the caller");
    ok(strlen(text(v, "spanId")) == 16 && strcmp(text(v, "spanId"), up.span) != 0, "with an id of its own");
    is_int(json_integer_value(json_object_get(v, "flags")), 0x301, "sampled, the parent is elsewhere");
    is_int(json_integer_value(json_object_get(v, "kind")), 2, "an enum is a number");
    is_str(text(v, "name"), "GET \"/x\"", "name");
    ok(strlen(text(v, "startTimeUnixNano")) == 19 && strcmp(text(v, "startTimeUnixNano"), text(v, "endTimeUnixNano")) <= 0, "times are texts");
    is_str(text(attribute(v, "t"), "stringValue"), "a\"b\nc\xef\xbf\xbd", "text");
    is_str(text(attribute(v, "i"), "intValue"), "-9007199254740993", "a 64-bit number is a text");
    ok(json_real_value(json_object_get(attribute(v, "r"), "doubleValue")) == 0.25, "a real one");
    ok(json_is_true(json_object_get(attribute(v, "f"), "boolValue")), "a flag");
    is_str(text(json_array_get(json_object_get(json_object_get(attribute(v, "l"), "arrayValue"), "values"), 0), "stringValue"), "stop", "a list");
    ok(attribute(v, "empty") == NULL && attribute(v, "null") == NULL && attribute(v, "nan") == NULL, "nothing is left out");
    is_int((long long) json_array_size(json_object_get(v, "events")), 2, "two events");
    is_str(text(json_array_get(json_object_get(v, "links"), 0), "spanId"), up.span, "a link");
    is_str(text(attribute(v, "error.type"), "stringValue"), "boom", "the first failure counts");
    is_int(json_integer_value(json_object_get(json_object_get(v, "status"), "code")), 2, "status error");
}

static void below(arena_t *a)
{
    span_t *s = span_new(a, SPAN_INTERNAL, (span_from_t) { .id = STR("0191d7d18a2b7c3d9e4f5a6b7c8d9e0f") }, "up"), *t;
    json_t *v;
    char    parent[17];

    span_text_below(s, "conversation", "c1");
    snprintf(parent, sizeof parent, "%s", span_trace(s)->span);
    t = span_new(a, SPAN_CLIENT, (span_from_t) { .parent = s }, "down");
    span_end(t);
    v = last(a);
    is_str(text(v, "traceId"), "0191d7d18a2b7c3d9e4f5a6b7c8d9e0f", "a trace of the id that was offered");
    is_str(text(v, "parentSpanId"), parent, "under its parent");
    is_int(json_integer_value(json_object_get(v, "flags")), 0x101, "which is of this process");
    is_str(text(attribute(v, "conversation"), "stringValue"), "c1", "what it has is handed down");
    ok(json_object_get(v, "status") == NULL, "no status when nothing failed");
    span_end(s);
    v = last(a);
    ok(json_object_get(v, "parentSpanId") == NULL, "the first one has no parent");
    is_str(text(attribute(v, "conversation"), "stringValue"), "c1", "and has it, too");
}

static void bounds(arena_t *a)
{
    span_t *s = span_new(a, SPAN_CLIENT, (span_from_t) { .id = STR("not an id") }, "x");
    char    large[2000], name[400];
    json_t *v;

    memset(large, '\n', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    for (int i = 0; i < 20; i++) {
        char *key = arena_printf(a, "k%d", i);
        span_text(s, key, large);
        span_text_below(s, key, large);
    }
    for (int i = 0; i < 1000; i++) {
        span_event(s, "again");
        span_link(s, span_trace(s), "again");
    }
    memset(name, 'n', sizeof name);
    memcpy(name + 120, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 13);
    span_name(s, name);
    span_end(s);
    v = last(a);
    is_int(json_integer_value(json_object_get(v, "droppedAttributesCount")), 38, "what has no room is counted");
    is_int((long long) strlen(text(v, "name")), 126, "a long name is cut at a code point");
    ok(json_array_size(json_object_get(v, "events")) > 10 && json_array_size(json_object_get(v, "links")) > 10, "events and links, as many as there is room for");
    ok(strlen(text(v, "traceId")) == 32, "an id that is none is not taken");
}

static void unsampled(arena_t *a)
{
    trace_t  up = { "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", false };
    int      before = out.spans;
    span_t  *s = span_new(a, SPAN_SERVER, (span_from_t) { .caller = &up }, "x"), *t;

    span_text(s, "a", "b");
    t = span_new(a, SPAN_CLIENT, (span_from_t) { .parent = s }, "y");
    is_str(span_trace(t)->trace, up.trace, "a trace that is not sampled has its ids all the same");
    span_end(t);
    span_end(s);
    out.draws = false;
    s = span_new(a, SPAN_SERVER, (span_from_t) { .caller = NULL }, "x");
    ok(s != NULL && !span_trace(s)->sampled, "who begins a trace draws");
    span_end(s);
    out.draws = true;
    s = span_new(a, SPAN_SERVER, (span_from_t) { .caller = NULL }, "x");
    span_drop(s);
    span_end(s);
    is_int(out.spans, before, "and nothing was written down, nor what was dropped");
}

static void off(arena_t *a)
{
    struct otlp *on = proc.otlp;
    size_t       before = arena_size(a);
    span_t      *s;

    proc.otlp = NULL;
    s = span_new(a, SPAN_SERVER, (span_from_t) { .caller = NULL }, "x");
    ok(s == NULL && span_trace(s) == NULL && arena_size(a) == before, "off: there is no span, and no memory");
    span_text(s, "a", "b");
    span_int(s, "a", 1);
    span_event(s, "a");
    span_fail(s, "a");
    span_end(s);
    span_drop(s);
    proc.otlp = on;
}

static void co_here(void *arg)
{
    arena_t *a = arg;
    span_t  *s = span_new(a, SPAN_SERVER, (span_from_t) { .caller = NULL }, "x");

    ok(span_here() == NULL, "a coroutine begins without a trace");
    co_trace(span_trace(s));
    ok(span_here() == s, "its span is found");
    ok(co_yield() == 0 && span_here() == s, "also later");
    co_trace(NULL);
    ok(span_here() == NULL, "until it is taken off");
    span_drop(s);
    loop_stop();
}

int main(void)
{
    arena_t *a = arena_new(4096);

    /* Only that it is there counts. */
    proc.otlp = (struct otlp *) (void *) a;
    one(a);
    below(a);
    bounds(a);
    unsampled(a);
    off(a);
    loop_init();
    co_init();
    ok(span_here() == NULL, "none on the main stack");
    co_spawn("here", co_here, a);
    loop_run();
    co_exit();
    loop_free();
    arena_free(a);
    return done_testing();
}
