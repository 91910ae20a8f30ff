/* Calls whose body has no end, answers in whole pieces, and calls that come over no link. */
#include "edge.h"

static wait_t  woken;
static int     ended_with;
static size_t  ended, taken;
static size_t  room = 1u << 20;

/* Echoes what comes, in pieces of what it took; a piece of SI_DATA_MAX for the path /big. */
static void co_handler(call_t *call)
{
    static const char big[SI_DATA_MAX];
    buf_t             b;

    buf_init(&b, room);
    call_head(call, &(call_head_t) { .status = 101, .length = -1 });
    call_wake(call, &woken);
    ended_with = 0;
    while (ended_with == 0) {
        wait_init(&woken);
        size_t n = call_take(call, &b);

        taken += n;
        if (n == 0) {
            ended_with = co_wait(&woken, "test", soon());
        } else if (str_is(call->path, "/big")) {
            ended_with = co_call_piece(call, big, sizeof big, soon());
            buf_consume(&b, b.n);
        } else {
            ended_with = co_call_piece(call, b.p, b.n, soon());
            buf_consume(&b, b.n);
        }
    }
    call_wake(call, NULL);
    buf_free(&b);
    call_abort(call);
    ended++;
}

static bool has_ended(void) { return ended > 0; }

static void co_test_tunnel(void)
{
    edge_t e;
    char   data[3000] = "";
    bool   good = true;

    co_edge_up(&e);
    co_edge_open(&e, 7, SI_FL_BODY, "GET", "/echo");
    ok(co_edge_next(&e) == SI_F_HEAD && edge_status(&e) == 101, "HEAD with 101");
    for (size_t i = 0; i < 100 && good; i++) {          /* more than a window in each direction */
        size_t in = 0, credit = 0;

        good = co_edge_send(&e, SI_F_BODY, 0, 7, data, sizeof data);
        while (good && (in < sizeof data || credit < sizeof data)) {
            int type = co_edge_next(&e);

            in += type == SI_F_DATA ? e.f.length : 0;
            credit += type == SI_F_CREDIT ? si_get32(e.p) : 0;
            good = type == SI_F_DATA ? co_edge_send32(&e, SI_F_CREDIT, 7, e.f.length) : type == SI_F_CREDIT;
        }
    }
    ok(good && taken == 100 * sizeof data, "bytes go through, credit comes as they are taken");
    co_edge_send(&e, SI_F_CANCEL, 0, 7, NULL, 0);
    ok(co_until(has_ended) && ended_with == SI_ECANCELED, "a client that leaves ends it");

    ended = taken = 0;
    co_edge_open(&e, 8, SI_FL_BODY, "GET", "/big");
    co_edge_next(&e);
    co_edge_send(&e, SI_F_BODY, 0, 8, data, 1);
    ok(co_edge_next(&e) == SI_F_CREDIT && co_edge_next(&e) == SI_F_DATA && e.f.length == SI_DATA_MAX, "a piece as large as the window");
    co_edge_send(&e, SI_F_BODY, 0, 8, data, 1);
    ok(co_edge_next(&e) == SI_F_CREDIT && co_edge_quiet(&e), "the next one waits");
    co_edge_send32(&e, SI_F_CREDIT, 8, SI_DATA_MAX - 1);
    ok(co_edge_quiet(&e), "as long as a byte of room is missing: it is not cut");
    co_edge_send32(&e, SI_F_CREDIT, 8, 1);
    ok(co_edge_next(&e) == SI_F_DATA && e.f.length == SI_DATA_MAX, "then it comes whole");
    edge_close(&e);
    ok(co_until(has_ended) && ended_with != 0, "and a link that dies ends it, too");

    ended = taken = 0;
    room = 10;
    co_edge_up(&e);
    co_edge_open(&e, 9, SI_FL_BODY, "GET", "/echo");
    co_edge_next(&e);
    co_edge_send(&e, SI_F_BODY, 0, 9, data, 25);
    size_t parts = 0, credit = 0;
    while (credit < 25 && co_edge_next(&e) != 0) {
        parts += e.f.type == SI_F_DATA;
        credit += e.f.type == SI_F_CREDIT ? si_get32(e.p) : 0;
    }
    ok(credit == 25 && parts >= 2, "a small buffer takes little at a time");
    edge_close(&e);
    ok(co_until(has_ended), "ended");
}

static void co_test_local(void)
{
    call_t *call = call_local("POST", "/x", STR("body"));
    str_t   body;

    call_local_header(call, "prefer", STR("a"));
    ok(call_is_local(call) && str_is(call->path, "/x") && call_alive(call), "a call without a link");
    ok(co_call_body(call, 100, &body, soon()) == 0 && str_is(body, "body"), "its body");
    ok(str_is(call_header(call, "prefer"), "a") && call_header(call, "host").n == 0, "its headers");
    ok(!call_local_answer(call, &body), "no answer yet");
    call_head(call, &(call_head_t) { .status = 202, .length = 6, .type = "text/plain" });
    ok(co_call_write(call, "ans", 3, soon()) == 0 && co_call_write(call, "wer", 3, soon()) == 0, "an answer");
    ok(!call_local_answer(call, &body), "is none before its end");
    call_end(call);
    ok(call_local_answer(call, &body) && str_is(body, "answer") && call->status == 202, "and is kept");
    call_local_free(call);

    call = call_local("GET", "/x", STR_NULL);
    ok(co_call_body(call, 100, &body, soon()) == 0 && body.n == 0, "one without a body");
    call_head(call, &(call_head_t) { .status = 200 });
    call_abort(call);
    ok(!call_local_answer(call, &body), "an answer that was cut is none");
    call_local_free(call);

    call = call_local("GET", "/x", STR_NULL);
    call_moved(call, "1.2");
    ok(!call_local_answer(call, &body) && call->status == 0, "it cannot be moved");
    call_local_free(call);
}

static void co_tests(void)
{
    co_test_tunnel();
    co_test_local();
}

int main(void)
{
    return edge_run(16, co_handler, co_tests);
}
