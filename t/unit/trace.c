/* The header traceparent: the cases of W3C's own tests (trace-context, test/test.py), and ids. */
#include "base/trace.h"
#include "base/util.h"
#include "tap.h"

#define T  "4bf92f3577b34da6a3ce929d0e0e4736"
#define S  "00f067aa0ba902b7"

static void valid(void)
{
    static const struct {
        const char *header;
        bool        sampled;
    } all[] = {
        { "00-" T "-" S "-01", true }, { "00-" T "-" S "-00", false },
        { "00-" T "-" S "-09", true }, { "00-" T "-" S "-ff", true }, { "00-" T "-" S "-02", false }, { "00-" T "-" S "-fe", false },
        { " 00-" T "-" S "-01\t", true },
        { "01-" T "-" S "-01", true }, { "cc-" T "-" S "-01-what-the-future-will-be-like", true }, { "cc-" T "-" S "-01-", true },
    };

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        trace_t t = { .trace = "" };

        ok(trace_parse(str_of(all[i].header), &t) && strcmp(t.trace, T) == 0 && strcmp(t.span, S) == 0 && t.sampled == all[i].sampled,
           "\"%s\" is taken", all[i].header);
    }
}

static void invalid(void)
{
    static const char *const all[] = {
        "", " ", "00", "00-", "00-" T "-" S, "00-" T "-" S "-", "00-" T "-" S "-0", "00-" T "-" S "-1 ",
        "00-" T "-" S "-01.", "00-" T "-" S "-01-", "00-" T "-" S "-01-what-the-future-will-be-like", "00-" T "-" S "-011",
        "cc-" T "-" S "-01.what-the-future-will-be-like", "cc-" T "-" S "-0", "ff-" T "-" S "-01", "ff-" T "-" S "-01-x",
        ".0-" T "-" S "-01", "0.-" T "-" S "-01", "0-" T "-" S "-01", "000-" T "-" S "-01", "0A-" T "-" S "-01", "-" T "-" S "-01",
        "00-00000000000000000000000000000000-" S "-01", "00-" T "-0000000000000000-01",
        "00-.bf92f3577b34da6a3ce929d0e0e4736-" S "-01", "00-4bf92f3577b34da6a3ce929d0e0e473.-" S "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" S "-01", "00-" T "-00F067AA0BA902B7-01", "00-" T "-.0f067aa0ba902b7-01",
        "00-" T "-00f067aa0ba902b.-01", "00-" T "-" S "-.0", "00-" T "-" S "-0.", "00-" T "-" S "-0G", "00-" T "-" S "-0A",
        "00-4bf92f3577b34da6a3ce929d0e0e473-" S "-01", "00-" T "0-" S "-01", "00-" T "-0f067aa0ba902b7-01", "00-" T "-" S "0-01",
        "00_" T "-" S "-01", "00-" T "_" S "-01", "00-" T "-" S "_01",
        "00-" T "-" S "-01, 00-" T "-" S "-01",         /* the header came twice */
    };
    trace_t t = { .trace = "untouched", .span = "so" };

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        ok(!trace_parse(str_of(all[i]), &t), "\"%s\" is ignored", all[i]);
    }
    ok(!trace_parse(STR_NULL, &t), "so is none");
    ok(!trace_parse((str_t) { "00-" T "-" S "-01\0x", 57 }, &t), "and one with a NUL");
    is_str(t.trace, "untouched", "nothing was written");
}

static void ids(void)
{
    trace_t t = { .trace = "" }, back = { .trace = "" };
    char    header[TRACE_PARENT_LEN + 1], other[TRACE_ID_LEN + 1];
    size_t  bad = 0, same = 0;

    for (int i = 0; i < 10000; i++) {
        memcpy(other, t.trace, sizeof other);
        trace_new_id(t.trace);
        trace_new_span(t.span);
        t.sampled = i % 2 == 0;
        trace_header(&t, header);
        same += strcmp(other, t.trace) == 0;
        bad += strlen(header) != TRACE_PARENT_LEN || !trace_parse(str_of(header), &back) || strcmp(back.trace, t.trace) != 0
               || strcmp(back.span, t.span) != 0 || back.sampled != t.sampled;
    }
    is_int((long long) bad, 0, "10,000 ids are valid, as the header that is made of them");
    is_int((long long) same, 0, "and no two alike");
    ok(trace_id_ok(STR(T)) && !trace_id_ok(STR("4BF92F3577B34DA6A3CE929D0E0E4736")) && !trace_id_ok(STR(S)) && !trace_id_ok(STR_NULL)
       && !trace_id_ok(STR("00000000000000000000000000000000")), "what an id of a trace is");
}

static void shares(void)
{
    char   id[TRACE_ID_LEN + 1];
    size_t n = 0, other = 0;

    for (int i = 0; i < 20000; i++) {
        trace_new_id(id);
        n += trace_drawn(id, 0.25);
        other += trace_drawn(id, 0.25) && !trace_drawn(id, 0.5);
    }
    ok(n > 4500 && n < 5500, "a quarter of 20,000: %zu", n);
    is_int((long long) other, 0, "who records half of them has all of that quarter");
    ok(trace_drawn("ffffffffffffffffffffffffffffffff", 1), "all");
    ok(!trace_drawn("00000000000000010000000000000000", 0), "none");
    ok(trace_drawn("ffffffffffffffffff7fffffffffffff", 0.5) && !trace_drawn("00000000000000000080000000000000", 0.5), "the last 56 bits decide");
}

int main(void)
{
    valid();
    invalid();
    ids();
    shares();
    return done_testing();
}
