/* Places in a conversation's events: from memory, while turns go on, restart, show themselves and leave. */
#include "edge.h"

#include "turn/tail.h"

#define ID  "0190aaaa-0000-7000-8000-00000000000"

static int woken;

static void on_more(tail_t *t)
{
    (void) t;
    woken++;
}

static void co_handler(call_t *call) { call_abort(call); }

static turn_t *turn(conv_t *c, int64_t number, turn_state_t state)
{
    turn_t *t = si_calloc(sizeof *t);

    t->conv = c;
    t->row = (turn_row_t) { .id = ID "1", .number = number, .state = state };
    t->last = 1;
    t->shown = true;
    buf_init(&t->accepted, 1u << 20);
    buf_init(&t->events, 1u << 20);
    buf_printf(&t->accepted, "id: %d.1\ndata: {}\n\n", (int) number);
    list_push(&c->turns, &t->node);
    c->last_number = number;
    return t;
}

/* Appends an event and publishes it. */
static void emit(turn_t *t, int64_t number, size_t size)
{
    char   id[48], *fill = si_calloc(size + 1);
    size_t before = t->events.n;

    memset(fill, 'x', size);
    event_pos_text((event_pos_t) { t->row.number, number }, id);
    buf_printf(&t->events, "id: %s\ndata: %s\n\n", id, fill);
    t->last = number;
    evlog_publish(t->conv->log, str_of(id), (str_t) { t->events.p + before, t->events.n - before });
    free(fill);
}

static void turn_gone(turn_t *t)
{
    list_remove(&t->node);
    buf_free(&t->accepted);
    buf_free(&t->events);
    free(t);
}

static void conv_begin(conv_t *c)
{
    *c = (conv_t) { .state = CONV_OPEN, .refs = 1 };
    list_init(&c->turns);
    c->log = evlog_new("c:1", NULL, NULL);
    woken = 0;
}

/* All that can be had, as "3.1 3.2 …", and how many pieces it took. */
static const char *co_all(tail_t *t, int *pieces)
{
    static char ids[4096];
    buf_t       b;
    size_t      n = 0, at = 0, step;

    buf_init(&b, 4u << 20);
    for (*pieces = 0; co_tail_take(t, &b) > 0; ++*pieces) {}
    ids[0] = '\0';
    for (; (step = event_end(b.p + at, b.n - at)); at += step) {
        const char *id = b.p + at + 4;
        n += (size_t) snprintf(ids + n, sizeof ids - n, "%s%.*s", n ? " " : "", (int) strcspn(id, "\n"), id);
    }
    ok(at == b.n, "whole events");
    buf_free(&b);
    return ids;
}

static void co_test_memory(void)
{
    conv_t  c;
    tail_t  t;
    turn_t *over, *runs, *queued;
    int     pieces;

    conv_begin(&c);
    over = turn(&c, 3, TURN_COMPLETED);
    emit(over, 2, 1);
    emit(over, 3, 1);
    runs = turn(&c, 4, TURN_RUNNING);
    emit(runs, 2, 10000);
    emit(runs, 3, 10000);
    queued = turn(&c, 5, TURN_QUEUED);
    queued->shown = false;

    tail_open(&t, &c, (event_pos_t) { 3, 2 }, on_more);
    is_str(co_all(&t, &pieces), "3.3 4.1 4.2 4.3", "behind an id, to the newest of the running turn");
    is_int(pieces, 4, "in pieces");
    ok(t.id.turn == 4 && t.id.event == 3, "and knows its place");
    is_str(co_all(&t, &pieces), "", "then nothing");
    emit(runs, 4, 1);
    emit(runs, 5, 1);
    is_int(woken, 2, "it is woken");
    is_str(co_all(&t, &pieces), "4.4 4.5", "and gets what came");
    buf_consume(&runs->events, runs->events.n);
    runs->row.attempt = 1;
    emit(runs, 1000001, 1);
    is_str(co_all(&t, &pieces), "4.1000001", "a new attempt goes on with its own numbers");
    runs->row.state = TURN_FAILED;
    is_str(co_all(&t, &pieces), "", "what waits in the queue is not shown");
    queued->shown = true;
    emit(queued, 2, 1);
    is_str(co_all(&t, &pieces), "5.1 5.2", "until its turn comes");
    turn_gone(over);
    turn_gone(runs);
    emit(queued, 3, 1);
    is_str(co_all(&t, &pieces), "5.3", "old turns may leave");
    tail_close(&t);
    emit(queued, 4, 1);
    is_int((long long) evlog_readers(c.log), 0, "closed");

    tail_open(&t, &c, (event_pos_t) { 5, EVENT_ALL }, on_more);
    is_str(co_all(&t, &pieces), "", "from now: nothing of the past");
    emit(queued, 5, 1);
    tail_close(&t);
    tail_open(&t, &c, (event_pos_t) { 5, 3 }, on_more);
    is_str(co_all(&t, &pieces), "5.4 5.5", "from the middle");
    woken = 0;
    evlog_end(c.log, true);
    buf_t none;
    buf_init(&none, 10);
    ok(woken == 1 && co_tail_take(&t, &none) == SI_ECONFLICT, "a conversation that leaves ends it");
    tail_close(&t);
    turn_gone(queued);
    evlog_free(c.log);
}

static void co_test_rows(void)
{
    turn_row_t row = { .id = ID "1", .conversation = ID "2", .number = 7, .last_event = 9, .input = "i", .client_turn_id = "",
                       .created = "", .model_used = "m", .agent = "a", .output = "o", .error = "", .finish = "stop",
                       .message_id = "", .state = TURN_COMPLETED };
    int64_t    seen = 0;
    buf_t      b;

    buf_init(&b, 65536);
    ok(tail_row(&row, &seen, &b) == 1 && seen == 1 && strncmp(b.p, "id: 7.1\n", 8) == 0, "a stored turn: its first event");
    buf_consume(&b, b.n);
    ok(tail_row(&row, &seen, &b) == 1 && seen == 9 && strncmp(b.p, "id: 7.9\n", 8) == 0, "and its last");
    ok(tail_row(&row, &seen, &b) == 0, "and no more");
    b.max = b.n + 10;
    seen = 4;
    ok(tail_row(&row, &seen, &b) == SI_ENOMEM, "a buffer that is too small is an error, not a gap");
    buf_free(&b);
}

static void co_tests(void)
{
    co_test_memory();
    co_test_rows();
}

int main(void)
{
    return edge_run(16, co_handler, co_tests);
}
