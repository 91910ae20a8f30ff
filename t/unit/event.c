/* Events in wire form: one line of data each, ids, skipping, buffers that are full. */
#include "tap.h"
#include "turn/event.h"

static turn_row_t row(void)
{
    return (turn_row_t) { .id = "0190aaaa-0000-7000-8000-000000000001", .conversation = "0190aaaa-0000-7000-8000-000000000002",
                          .number = 12, .input = "a\nb\r\"c\"", .client_turn_id = "", .created = "2026-01-01T00:00:00.000Z",
                          .model_used = "offline", .agent = "default", .output = "hi", .error = "", .finish = "stop",
                          .message_id = "m", .input_tokens = 3, .output_tokens = -1, .first_token_ms = 1,
                          .duration_ms = 2, .state = TURN_COMPLETED };
}

static bool has(const buf_t *b, const char *z)
{
    return memmem(b->p, b->n, z, strlen(z)) != NULL;
}

static void test_ids(void)
{
    event_pos_t pos;
    char        text[48];

    ok(event_pos_parse(STR("12.7"), &pos) == 0 && pos.turn == 12 && pos.event == 7, "12.7 is an id");
    ok(event_pos_parse(STR("0.0"), &pos) == 0, "0.0 is before everything");
    const char *bad[] = { "", "12", "12.", ".7", "a.b", "-1.2", "1.-2", "1.2.3", " 1.2", "1.2 ", "99999999999.1", "1.9999999999999" };
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        ok(event_pos_parse(str_of(bad[i]), &pos) == SI_EINVAL, "'%s' is none", bad[i]);
    }
    is_str(event_pos_text((event_pos_t) { 3, 1000001 }, text).p, "3.1000001", "as text");
    ok(event_first(0) == 2 && event_first(1) == 1000001 && event_first(2) == 2000001, "where attempts begin");
}

static void test_wire(void)
{
    turn_row_t t = row();
    buf_t      b;

    buf_init(&b, 65536);
    ok(event_accepted(&b, &t) == 0, "turn.accepted");
    ok(strncmp(b.p, "id: 12.1\nevent: turn.accepted\ndata: {", 37) == 0, "its head");
    ok(event_end(b.p, b.n) == b.n, "one event, to the end");
    ok(!memchr(b.p, '\r', b.n), "no raw CR");
    ok(has(&b, "\"input\":\"a\\nb\\r\\\"c\\\"\""), "escaped input");
    size_t first = b.n;
    event_started(&b, &t, 2, STR("default"), STR("offline"));
    event_delta(&b, &t, 3, "delta", STR("x\n\ny"));
    size_t third = b.n;
    event_final(&b, &t, 4);
    ok(event_skip(b.p, b.n, 0) == 0 && event_skip(b.p, b.n, 1) == first && event_skip(b.p, b.n, 3) == third
       && event_skip(b.p, b.n, 9) == b.n, "skipping whole events");
    ok(event_end(b.p, first - 1) == 0, "no end in a half event");
    event_view_t v;
    ok(event_view(b.p, b.n, &v) == first && str_is(v.id, "12.1") && str_is(v.type, "turn.accepted") && v.data.p[0] == '{'
       && v.data.p[v.data.n - 1] == '}', "the parts of an event");
    ok(event_view("data: x\n\n", 9, &v) == 9 && v.id.n == 0 && v.type.n == 0 && str_is(v.data, "x"), "one without id and type");
    ok(event_view("data: x\n", 8, &v) == 0, "and none of half a one");
    ok(has(&b, "\"output_tokens\":null") && has(&b, "\"input_tokens\":3"), "unknown counts are null");
    ok(has(&b, "\"message\":{\"role\":\"assistant\",\"id\":\"m\",\"content\":\"hi\"}"), "the whole message");
    buf_free(&b);
}

static void test_ends(void)
{
    turn_row_t t = row();
    buf_t      b;

    buf_init(&b, 65536);
    t.state = TURN_FAILED;
    t.error = "provider_timeout";
    t.error_detail = "d";
    t.retryable = true;
    event_final(&b, &t, 4);
    ok(has(&b, "event: turn.failed\n") && has(&b, "\"code\":\"provider_timeout\"") && has(&b, "\"retryable\":true"), "turn.failed");
    buf_consume(&b, b.n);
    t.state = TURN_CANCELLED;
    t.message_id = "";
    event_final(&b, &t, 4);
    ok(has(&b, "event: turn.cancelled\n") && has(&b, "\"message\":null"), "turn.cancelled without text");
    buf_free(&b);
}

static void test_full(void)
{
    turn_row_t t = row();
    buf_t      b;

    buf_init(&b, 200);
    ok(event_delta(&b, &t, 3, "delta", STR("short")) == 0, "fits");
    size_t n = b.n;
    ok(event_delta(&b, &t, 4, "delta", STR("this one does not fit any more, whatever is done")) == SI_ENOMEM && b.n == n,
       "a full buffer keeps whole events only");
    buf_free(&b);
}

static void test_states(void)
{
    ok(event_state(STR("turn.completed")) == TURN_COMPLETED && event_state(STR("turn.failed")) == TURN_FAILED
       && event_state(STR("turn.cancelled")) == TURN_CANCELLED, "final events end their turn");
    ok(event_state(STR("delta")) == TURN_RUNNING && event_state(STR("turn.complete")) == TURN_RUNNING
       && event_state(STR("")) == TURN_RUNNING, "others do not");
}

int main(void)
{
    test_ids();
    test_wire();
    test_ends();
    test_full();
    test_states();
    return done_testing();
}
