#include "api/input.h"
#include "api/own.h"
#include "api/problem.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "llm/gateway.h"
#include "turn/bus.h"
#include "turn/reader.h"

#define LOCK_MS    10000
#define CANCEL_MS  10000
#define WAIT_SLACK_MS  30000

typedef enum { MODE_WAIT, MODE_STREAM, MODE_ASYNC } turn_mode_t;

static bool mentions(str_t header, const char *word)
{
    return header.n && memmem(header.p, header.n, word, strlen(word));
}

static turn_mode_t mode_of(request_t *r)
{
    if (mentions(call_header(r->call, "prefer"), "respond-async")) {
        return MODE_ASYNC;
    }
    return mentions(call_header(r->call, "accept"), "text/event-stream") ? MODE_STREAM : MODE_WAIT;
}

/* Reads and checks the request. 0 or -1: answered. */
static int co_read(request_t *r, turn_new_t *n)
{
    static const char *const names[] = { "input", "model", "agent", "client_turn_id", NULL };
    const conf_t *conf = proc.conf;
    str_t         text, input, model, agent, client;
    json_t       *o;
    char          id[UUID_LEN + 1];

    if (co_input_idempotency(r, &n->idem)
        || !(o = co_input_object(r, 6 * conf->input_max + 8192, false, names, &text))
        || co_input_string(r, o, "input", true, conf->input_max, &input)
        || co_input_string(r, o, "model", false, 200, &model)
        || co_input_string(r, o, "agent", false, 200, &agent)
        || co_input_string(r, o, "client_turn_id", false, 128, &client))
    {
        return -1;
    }
    if (client.p && client.n == 0) {
        co_problem(r->call, 422, "invalid_field", "client_turn_id", "must not be empty");
        return -1;
    }
    if (model.n && !gateway_first(&(gateway_spec_t) { .tenant = r->who.tenant, .model = model.p })) {
        co_problem(r->call, 422, "unknown_model", "model", "there is no model of this name");
        return -1;
    }
    if (agent.n && !conf_agent(conf, agent)) {
        co_problem(r->call, 422, "unknown_agent", "agent", "there is no agent of this name");
        return -1;
    }
    uuid_new(id);
    n->id = arena_strdup(r->call->arena, id);
    n->conversation = r->id;
    n->input = input.p;
    n->model = model.n ? model.p : "";
    n->agent = agent.n ? agent.p : "";
    n->client_turn_id = client.n ? client.p : NULL;
    n->idem = n->idem ? n->idem : arena_printf(r->call->arena, "turn:%s", id);
    n->request_hash = input_hash(r, text);
    n->user_max = conf->turns_per_user;
    return 0;
}

static bool is_retry(conv_t *c, const turn_new_t *n)
{
    list_each(it, &c->turns) {
        const turn_t *t = list_entry(it, turn_t, node);

        if ((t->idem && strcmp(t->idem, n->idem) == 0)
            || (n->client_turn_id && strcmp(t->row.client_turn_id, n->client_turn_id) == 0))
        {
            return true;
        }
    }
    return false;
}

/* The turn in the store, under the conversation's lock. 0 or -1: answered. *t is the one in memory, NULL: over and only in *row. */
static int co_add(request_t *r, conv_t *c, const turn_new_t *n, turn_row_t *row, turn_t **t)
{
    bool existed = false;
    int  rc = co_conv_mend(c);

    if (rc) {
        co_problem_rc(r->call, rc);
        return -1;
    }
    if (!is_retry(c, n)) {
        if (conv_queued(c) >= proc.conf->turns_queued) {
            co_problem(r->call, 409, "queue_full", NULL, "%zu turns wait in this conversation already", conv_queued(c));
            return -1;
        }
        if (turns_unfinished() >= proc.conf->turns_max) {
            co_problem(r->call, 503, "overloaded", NULL, "too many turns run here, try again");
            return -1;
        }
    }
    /* A turn for another machine is written in its owner's name, under its fence. */
    bool here = c->state == CONV_OPEN;
    rc = co_store_turn_new(r->call->arena, &r->who, here ? proc.convs->me : c->leader, c->epoch, n, row, &existed);
    if (rc == SI_EEXIST) {
        co_problem(r->call, 422, "idempotency_conflict", n->client_turn_id ? "client_turn_id" : "Idempotency-Key",
                   "was used with another request");
        return -1;
    }
    if (rc == SI_ENOMEM) {
        co_problem(r->call, 429, "too_many_turns", NULL, "%llu turns of this user are not over yet",
                   (unsigned long long) n->user_max);
        return -1;
    }
    if (rc == SI_ECONFLICT) {
        conv_lose(c);
    } else if (rc && here) {
        conv_mend_later(c);         /* it may have been done all the same */
    }
    if (!rc && here && c->state == CONV_OPEN && row->number > c->last_number + 1) {
        rc = co_conv_reload(c);     /* another machine queued one before it */
    }
    if (rc || !conv_live(c)) {
        co_problem_rc(r->call, rc ? rc : SI_EAGAIN);
        return -1;
    }
    *t = conv_turn_id(c, row->id);
    if (!*t && row->state <= TURN_RUNNING) {
        *t = turn_new(c, row, n->idem);
        if (!here) {
            follower_wake(c);
        }
    }
    conv_next(c);                   /* a reload has found some, too */
    return 0;
}

static int co_accept(request_t *r, conv_t *c, const turn_new_t *n, turn_row_t *row, turn_t **t)
{
    int rc = co_conv_lock(c, clock_ms() + LOCK_MS);

    if (rc) {
        co_problem_rc(r->call, rc);
        return -1;
    }
    rc = conv_live(c) ? co_add(r, c, n, row, t) : (co_problem_rc(r->call, SI_EAGAIN), -1);
    conv_unlock(c);
    return rc;
}

/*
 * The turn as it stands in the store, where an end has its time; as we know it when the store is away, but not a turn of
 * another machine: only its events are here.
 */
static void co_put_over(request_t *r, int status, const turn_t *t)
{
    turn_row_t row;
    int        rc = co_store_turn(r->call->arena, &r->who, t->row.id, &row);

    if (rc && t->shadow) {
        co_problem_rc(r->call, rc);
    } else {
        co_put_turn(r, status, rc ? &t->row : &row, status == 202);
    }
}

/* Waits for the end; when another worker takes the turn over meanwhile, the call follows it there. */
static void co_put_finished(request_t *r, turn_t *t)
{
    int rc = co_turn_wait(t, clock_ms() + proc.conf->turn_deadline + WAIT_SLACK_MS);

    if (rc == SI_ECONFLICT) {
        call_moved(r->call, arena_printf(r->call->arena, "%d", proc.slot));
    } else if (rc) {
        co_problem_rc(r->call, rc);
    } else {
        co_put_over(r, 200, t);
    }
}

static void co_put_accepted(request_t *r, turn_mode_t mode, turn_t *t, const turn_row_t *row)
{
    r->call->turn = arena_strdup(r->call->arena, row->id);
    if (mode == MODE_ASYNC && t && turn_over(t)) {
        co_put_over(r, 202, t);
    } else if (mode == MODE_ASYNC) {
        co_put_turn(r, 202, t ? &t->row : row, true);
    } else if (mode == MODE_WAIT && t) {
        co_put_finished(r, t);
    } else if (mode == MODE_WAIT) {
        co_put_turn(r, 200, row, false);
    } else if (co_reader_head(r->call)) {
        call_abort(r->call);
    } else if (t) {
        co_reader_turn(r->call, t, 0);
    } else {
        co_reader_row(r->call, row, 0);
    }
}

/* The trace of this request goes on in its turn, wherever that runs. */
static const char *trace_of(arena_t *a)
{
    char text[TRACE_PARENT_LEN + 1];

    if (co_self_trace() == NULL) {
        return NULL;
    }
    trace_header(co_self_trace(), text);
    return arena_strdup(a, text);
}

void co_turn_create(request_t *r)
{
    turn_mode_t mode = mode_of(r);
    turn_new_t  n = { 0 };
    turn_row_t  row;
    turn_t     *t = NULL;
    conv_t     *c;

    if (co_read(r, &n)) {
        return;
    }
    n.traceparent = trace_of(r->call->arena);
    co_mask(true);          /* from here a client that leaves changes nothing */
    c = co_own(r, r->id);
    if (!c) {
        return;
    }
    if (co_accept(r, c, &n, &row, &t) == 0) {
        if (t) {
            turn_ref(t);
        }
        co_mask(false);
        co_put_accepted(r, mode, t, &row);
        if (t) {
            turn_unref(t);
        }
    }
    conv_unref(c);
}

void co_turn_get(request_t *r)
{
    turn_row_t row;
    int        rc = co_store_turn(r->call->arena, &r->who, r->id, &row);

    if (rc) {
        co_problem_rc(r->call, rc);
    } else {
        co_put_turn(r, 200, &row, false);
    }
}

/* Cuts the turn and waits until its end is written. 0 or -1: answered. */
static int co_cut(request_t *r, const turn_row_t *row)
{
    conv_t *c;
    turn_t *t;
    int     rc = co_store_turn_cancel_mark(r->call->arena, &r->who, r->id);

    if (rc && rc != SI_ENOENT && rc != SI_ECONFLICT) {
        co_problem_rc(r->call, rc);
        return -1;
    }
    c = co_own(r, row->conversation);
    if (!c) {
        return -1;
    }
    t = co_conv_turn(c, r->id);
    if (t) {
        turn_ref(t);
        turn_cancel(t);
        rc = co_turn_wait(t, clock_ms() + CANCEL_MS);
        turn_unref(t);
    }
    conv_unref(c);
    if (t && rc) {
        co_problem_rc(r->call, rc);
        return -1;
    }
    return 0;
}

void co_turn_cancel(request_t *r)
{
    turn_row_t row;
    str_t      body;
    int        rc;

    rc = co_call_body(r->call, 8192, &body, clock_ms() + LOCK_MS);
    if (rc == SI_ENOMEM) {
        co_problem(r->call, 413, "body_too_large", NULL, "no body is needed here");
        return;
    }
    rc = rc ? rc : co_store_turn(r->call->arena, &r->who, r->id, &row);
    if (rc) {
        co_problem_rc(r->call, rc);
        return;
    }
    if (row.state <= TURN_RUNNING && co_cut(r, &row)) {
        return;
    }
    co_turn_get(r);
}
