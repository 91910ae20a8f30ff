/*
 * The life of a turn. co_turn_run() shows its steps in order: read it first.
 */
#include "turn/turn.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "llm/account.h"
#include "run/loop.h"
#include "turn/bus.h"
#include "turn/conv.h"
#include "turn/feed.h"
#include "turn/history.h"
#include "turn/journal.h"
#include "turn/turn_span.h"

#define STORE_PATIENCE_MS  600000   /* how long a finished answer waits for Postgres before the turn is left to the sweep */
#define STORE_RETRY_MS     5000
#define UNSAID_PATIENCE_MS 30000    /* how long a turn waits for Postgres before the model is asked */

/* What a run gathers on its way. */
typedef struct {
    turn_t             *t;
    arena_t            *arena;
    const conf_agent_t *agent;
    const conf_model_t *model;
    span_t             *span;
    llm_request_t       request;
    llm_error_t         error;
    uint64_t            deadline;       /* clock_ms() */
} run_t;

static int  co_begin(run_t *r);
static int  co_recall(run_t *r);
static int  co_answer(run_t *r);
static void co_finish(run_t *r, int rc);

static int choose(run_t *r);
static void leave(run_t *r);

/* The recipe. Every step returns 0 or the reason why the turn ends; co_finish() writes the end down, whatever it is. */
static void co_turn_run(void *arg)
{
    turn_t *t = arg;
    run_t   r = { .t = t, .arena = arena_new(2048) };
    int     rc;

    log_line(LOG_DEBUG, "turn starts", "turn", t->row.id, "conversation", t->row.conversation, NULL);
    co_label(t->row.id);
    r.span = turn_span_begin(t);
    r.deadline = clock_ms() + proc.conf->turn_deadline;
    (void) co_deadline(r.deadline);

    rc = choose(&r);                    /* the agent, and the model to begin with */
    rc = rc ? rc : co_begin(&r);        /* state running, under our fence */
    rc = rc ? rc : co_recall(&r);       /* what the model gets to read */
    rc = rc ? rc : co_answer(&r);       /* the model speaks, every delta goes to the readers */
    co_finish(&r, rc);                  /* one transaction: message, usage, state */
    leave(&r);                          /* the next turn of the conversation */
}

/* --- events --- */

static void publish(turn_t *t, str_t wire)
{
    char  text[48];
    str_t id = event_pos_text((event_pos_t) { t->row.number, t->last }, text);

    evlog_publish(t->log, id, wire);
    if (t->shown && t->conv->state != CONV_LOST) {
        evlog_publish(t->conv->log, id, wire);
        leader_publish(t->conv, wire);
    }
}

/* After an event was appended to t->events behind `before`. */
static int emitted(turn_t *t, size_t before, int rc)
{
    if (rc) {
        log_line(LOG_ERROR, "the events of a turn exceed their buffer", "turn", t->row.id, NULL);
        return rc;
    }
    publish(t, (str_t) { t->events.p + before, t->events.n - before });
    return 0;
}

/* The number of the event that comes next. */
static int64_t event_to_come(const turn_t *t)
{
    int64_t first = event_first(t->row.attempt);

    return t->last < first ? first : t->last + 1;
}

static int64_t next_event(turn_t *t)
{
    return t->last = event_to_come(t);
}

static int emit_text(turn_t *t, const char *type, str_t text)
{
    size_t before = t->events.n;
    return emitted(t, before, event_delta(&t->events, &t->row, next_event(t), type, text));
}

/* --- the steps --- */

static int fail(run_t *r, const char *code, const char *detail, bool retryable)
{
    snprintf(r->error.code, sizeof(r->error.code), "%s", code);
    snprintf(r->error.detail, sizeof(r->error.detail), "%s", detail);
    r->error.retryable = retryable;
    return SI_EINVAL;
}

static int choose(run_t *r)
{
    turn_row_t   *row = &r->t->row;
    const conf_t *conf = proc.conf;
    const char   *name = row->agent[0] ? row->agent : conf->default_agent;

    if (r->t->cancel) {
        return SI_ECANCELED;
    }
    if (row->attempt >= (int) conf->turn_attempts) {
        return fail(r, "worker_died", "the worker that ran this turn died, and so did the one that took it over", false);
    }
    r->agent = conf_agent(conf, str_of(name));
    if (!r->agent) {
        return fail(r, "unknown_agent", "the agent of this turn is not configured any more", false);
    }
    r->model = gateway_first(&(gateway_spec_t) { .tenant = r->t->conv->tenant, .agent = r->agent->name, .model = row->model });
    if (!r->model) {
        return fail(r, "unknown_model", "the model of this turn is not configured any more", false);
    }
    row->agent = arena_strdup(r->t->arena, r->agent->name);
    row->model_used = arena_strdup(r->t->arena, r->model->name);
    turn_span_model(r->span, row, provider_word(r->model->provider));
    return 0;
}

/* Postgres may be away for a moment: nothing was said yet, so waiting loses nothing. True: try again. */
static bool co_patient(int *rc, uint64_t until)
{
    int slept;

    if ((*rc != SI_EUNAVAIL && *rc != SI_ETIMEDOUT) || clock_ms() > until) {
        return false;
    }
    slept = co_sleep(500, "turn:store");
    *rc = slept ? slept : *rc;
    return !slept;
}

static int co_begin(run_t *r)
{
    turn_t  *t = r->t;
    uint64_t until = clock_ms() + UNSAID_PATIENCE_MS;
    bool     again;
    size_t   before;
    int      rc;

    do {
        uint64_t epoch = t->conv->epoch;

        rc = co_store_turn_start(r->arena, t->conv->tenant, t->conv->user, proc.convs->me, epoch, t->row.id,
                                 t->row.attempt, t->row.model_used);
        again = rc == SI_ECONFLICT && epoch != t->conv->epoch && !t->dropped;       /* we took a new fence meanwhile */
    } while (again || co_patient(&rc, until));
    if (rc) {
        return rc == SI_EINVAL ? SI_EINTERNAL : rc;
    }
    t->row.state = TURN_RUNNING;
    /* Not before: when this worker dies, too, an attempt that is not stored is made again, with the same ids. */
    if (t->row.attempt > 0) {
        before = t->events.n;
        emitted(t, before, event_restarted(&t->events, &t->row, next_event(t), "worker_died"));
    }
    before = t->events.n;
    return emitted(t, before, event_started(&t->events, &t->row, next_event(t), str_of(r->agent->name),
                                            str_of(r->model->name)));
}

static int co_recall(run_t *r)
{
    history_t h = { .arena = r->arena, .conf = proc.conf, .agent = r->agent, .row = &r->t->row,
                    .tenant = r->t->conv->tenant, .user = r->t->conv->user,
                    .related = strcmp(r->model->provider->kind, "offline") == 0 };
    uint64_t  until = clock_ms() + UNSAID_PATIENCE_MS;
    int       rc;

    do {
        rc = co_history(&h);
    } while (co_patient(&rc, until));
    if (rc == SI_EUNAVAIL || rc == SI_ETIMEDOUT || rc == SI_EINTERNAL) {
        fail(r, "store_unavailable", "the conversation could not be read", true);
    }
    r->request = (llm_request_t) {
        .model = r->model, .messages = h.messages, .nmessages = h.n, .related = h.related_messages,
        .nrelated = h.nrelated, .answer_max = proc.conf->answer_max, .deadline = r->deadline,
        .options = CHAT_OPTIONS_NONE,
    };
    return rc;
}

static int took(turn_t *t, const chat_event_t *ev)
{
    str_t text = ev->text;

    if (ev->kind == CHAT_REASONING) {
        return emit_text(t, "reasoning", text);
    }
    if (ev->kind != CHAT_TEXT && ev->kind != CHAT_REFUSAL) {
        return 0;               /* no tools are offered; signatures matter to those who call them */
    }
    if (t->row.first_token_ms < 0) {
        t->row.first_token_ms = (int64_t) (clock_ms() - t->started);
    }
    if (buf_append(&t->answer, text.p, text.n)) {
        return SI_ENOMEM;
    }
    return emit_text(t, "delta", text);
}

/* The model broke off after it had spoken, and another one (or the same) begins anew: the readers discard what they have. */
static int restarted(run_t *r, const conf_model_t *model)
{
    turn_t *t = r->t;
    size_t  before = t->events.n;
    bool    other = strcmp(t->row.model_used, model->name) != 0;
    int     rc = emitted(t, before, event_restarted(&t->events, &t->row, next_event(t), other ? "fallback" : "retry"));

    buf_free(&t->answer);
    before = t->events.n;
    t->row.model_used = arena_strdup(t->arena, model->name);
    return rc ? rc : emitted(t, before, event_started(&t->events, &t->row, next_event(t), str_of(r->agent->name),
                                                      str_of(model->name)));
}

static void note_usage(turn_row_t *row, const usage_t *u)
{
    row->input_tokens = u->input_tokens;
    row->cached_tokens = u->cached_tokens;
    row->cache_write_tokens = u->cache_write_tokens;
    row->output_tokens = u->output_tokens;
    row->reasoning_tokens = u->reasoning_tokens;
    row->cost = u->cost;
    row->estimated = u->estimated;
    row->cached_answer = u->cached_answer;
}

static int co_answer(run_t *r)
{
    turn_t         *t = r->t;
    gateway_spec_t  spec = { .tenant = t->conv->tenant, .user = t->conv->user, .key = t->row.key[0] ? t->row.key : NULL, .source = "turn", .turn = t->row.id,
                             .agent = r->agent->name, .model = t->row.model, .restarts = true };
    gateway_call_t *call;
    chat_event_t    ev;
    int             rc = co_gateway_open(r->arena, &r->request, &spec, &call, &r->error);

    if (rc) {
        return rc;
    }
    t->row.model_used = arena_strdup(t->arena, gateway_model(call)->name);
    while ((rc = co_gateway_next(call, &ev, &r->error)) > 0) {
        rc = ev.kind == CHAT_RESTART ? restarted(r, gateway_model(call)) : took(t, &ev);
        if (rc) {
            fail(r, "answer_too_large", "the answer is longer than limits.answer_max allows", false);
            break;
        }
    }
    if (rc == 0) {
        t->row.finish = arena_strdup(t->arena, gateway_result(call)->finish);
    }
    if (rc == 0 || rc == SI_ECANCELED) {
        note_usage(&t->row, gateway_usage(call));
    }
    gateway_close(call);
    return rc;
}

/* --- the end --- */

/* The final row from how the run ended. t->row is to stay as it is until the end is stored. */
static void conclude(run_t *r, int rc, turn_row_t *row)
{
    turn_t     *t = r->t;
    char        id[UUID_LEN + 1];

    *row = t->row;
    row->last_event = event_to_come(t);
    row->state = rc == 0 ? TURN_COMPLETED : rc == SI_ECANCELED && t->cancel ? TURN_CANCELLED : TURN_FAILED;
    row->duration_ms = (int64_t) (clock_ms() - t->started);
    row->output = arena_dup(t->arena, t->answer.p ? t->answer.p : "", t->answer.n);
    buf_free(&t->answer);
    if (row->state == TURN_FAILED) {
        if (rc == SI_ETIMEDOUT && (!r->error.code[0] || clock_ms() >= r->deadline)) {
            fail(r, "turn_timeout", "the turn took longer than turn.deadline allows", true);
        } else if (!r->error.code[0]) {
            fail(r, "internal", si_strerror(rc), true);
        }
        row->error = arena_strdup(t->arena, r->error.code);
        row->error_detail = arena_strdup(t->arena, r->error.detail);
        row->retryable = r->error.retryable;
        return;
    }
    if (row->state == TURN_COMPLETED || row->output[0]) {
        uuid_new(id);
        row->message_id = arena_strdup(t->arena, id);
    }
    if (row->state == TURN_CANCELLED && row->output_tokens < 0 && row->output[0]) {
        row->output_tokens = (int64_t) token_estimate(str_of(row->output));
        row->estimated = true;
    }
}

/* Keeps trying while Postgres is away: the answer is there, and its readers have it. */
static int co_write_end(run_t *r, const turn_row_t *end)
{
    turn_t  *t = r->t;
    uint64_t until = clock_ms() + STORE_PATIENCE_MS, pause = 100;
    bool     kept = false;
    int      rc;

    for (;;) {
        uint64_t epoch = t->conv->epoch;

        rc = co_store_turn_end(r->arena, t->conv->tenant, t->conv->user, proc.convs->me, epoch, end);
        if (rc == SI_ECONFLICT && epoch != t->conv->epoch && !t->dropped) {
            continue;               /* we took a new fence meanwhile */
        }
        if (rc == 0 && kept) {
            journal_drop(end->id);
        }
        if (rc == 0 || rc == SI_ECONFLICT || clock_ms() > until) {
            return rc;
        }
        kept = kept || journal_put(end) == 0;       /* this process may die before Postgres is back */
        log_line(LOG_WARN, "the end of a turn could not be stored yet", "turn", t->row.id, "reason", si_strerror(rc), NULL);
        co_sleep(pause, "turn:store");
        pause = SI_MIN(pause * 2, STORE_RETRY_MS);
    }
}

/* Lets go of a turn that this worker must not or cannot end: its owner, or the sweep, will. */
static void abandon(run_t *r, int rc)
{
    turn_t *t = r->t;

    log_line(LOG_WARN, "a turn is left to another worker", "turn", t->row.id, "reason", si_strerror(rc), NULL);
    turn_span_end(r->span, NULL);
    t->dropped = true;
    conv_lose(t->conv);
}

static void co_finish(run_t *r, int rc)
{
    turn_t    *t = r->t;
    turn_row_t end;
    size_t     before;

    co_mask(true);
    (void) co_deadline(0);
    if (t->dropped || rc == SI_ECONFLICT || (rc == SI_EUNAVAIL && !r->error.code[0])) {
        abandon(r, rc);
        return;
    }
    conclude(r, rc, &end);
    rc = co_write_end(r, &end);
    if (rc) {
        abandon(r, rc);
        return;
    }
    /* Not before: a reader that joins while the store works must not find the end here already, and again in the log. */
    turn_span_end(r->span, &end);
    t->row = end;
    t->events.max += 8 * proc.conf->answer_max;     /* the last event always fits */
    before = t->events.n;
    emitted(t, before, event_final(&t->events, &t->row, next_event(t)));
    log_line(LOG_INFO, "turn ends", "turn", t->row.id, "state", turn_state_name(t->row.state), "error",
             t->row.error[0] ? t->row.error : NULL, "detail", t->row.error[0] ? t->row.error_detail : NULL, NULL);
}

static void leave(run_t *r)
{
    turn_t *t = r->t;
    conv_t *c = t->conv;

    arena_free(r->arena);
    t->co = NULL;
    proc.convs->running--;
    proc.convs->unfinished--;
    evlog_end(t->log, t->dropped);
    waiters_wake(&t->waiters, t->dropped ? SI_ECONFLICT : 0);
    if (c->current == t) {
        c->current = NULL;
    }
    conv_next(c);
    turn_unref(t);
    conv_unref(c);
}

/* --- the object --- */

static void insert_by_number(conv_t *c, turn_t *t)
{
    list_t *at = &c->turns;

    while (at->prev != &c->turns && list_entry(at->prev, turn_t, node)->row.number > t->row.number) {
        at = at->prev;
    }
    list_insert(at, &t->node);
    c->last_number = SI_MAX(c->last_number, t->row.number);
}

static void copy_row(turn_t *t, const turn_row_t *row)
{
    turn_row_t  *to = &t->row;
    const char **all[] = { &to->id, &to->conversation, &to->user, &to->input, &to->agent, &to->model,
                           &to->client_turn_id, &to->model_used, &to->output, &to->error, &to->error_detail,
                           &to->created, &to->finished, &to->message_id, &to->finish, &to->key, &to->traceparent };

    *to = *row;
    for (size_t i = 0; i < SI_COUNT(all); i++) {
        *all[i] = *all[i] && **all[i] ? arena_strdup(t->arena, *all[i]) : "";
    }
}

turn_t *turn_new(conv_t *conv, const turn_row_t *row, const char *idem)
{
    turn_t *t = si_calloc(sizeof(*t));
    char    key[128];

    t->conv = conv;
    t->arena = arena_new(1024);
    t->refs = 1;
    copy_row(t, row);
    t->idem = idem ? arena_strdup(t->arena, idem) : NULL;
    t->cancel = row->cancel_requested;
    t->started = clock_ms();
    (void) trace_parse(str_of(t->row.traceparent), &t->trace);
    t->shadow = conv->leader[0] != '\0';
    if (row->state == TURN_RUNNING && !t->shadow) {     /* its worker died: this is the takeover */
        t->row.attempt++;
    }
    t->row.first_token_ms = t->row.duration_ms = t->row.input_tokens = t->row.output_tokens = -1;
    t->row.cached_tokens = t->row.cache_write_tokens = t->row.reasoning_tokens = t->row.cost = -1;
    list_init(&t->waiters);
    buf_init(&t->accepted, 8 * proc.conf->input_max + 4096);
    buf_init(&t->events, 16 * proc.conf->answer_max + 65536);
    buf_init(&t->answer, proc.conf->answer_max);
    event_accepted(&t->accepted, &t->row);
    t->last = 1;
    snprintf(key, sizeof(key), "t:%s:%s:%s", conv->user, conv->id, t->row.id);
    t->log = evlog_new(key, NULL, NULL);
    insert_by_number(conv, t);
    if (t->shadow) {
        conv->refs++;           /* until its end; a turn of our own takes one when it starts */
    } else {
        proc.convs->unfinished++;
    }
    return t;
}

turn_t *turn_ref(turn_t *t)
{
    t->refs++;
    return t;
}

static void turn_free(void *arg)
{
    turn_t *t = arg;

    evlog_free(t->log);
    buf_free(&t->accepted);
    buf_free(&t->events);
    buf_free(&t->answer);
    arena_free(t->arena);
    free(t);
}

void turn_unref(turn_t *t)
{
    if (--t->refs == 0) {
        loop_defer(turn_free, t);
    }
}

bool turn_over(const turn_t *t)
{
    return t->row.state != TURN_QUEUED && t->row.state != TURN_RUNNING && !t->co;
}

void turn_show(turn_t *t)
{
    char  text[48];
    str_t id = event_pos_text((event_pos_t) { t->row.number, 1 }, text);

    if (t->shown) {
        return;
    }
    t->shown = true;
    feed_note(t->conv);
    evlog_publish(t->conv->log, id, (str_t) { t->accepted.p, t->accepted.n });
    leader_publish(t->conv, (str_t) { t->accepted.p, t->accepted.n });
    if (t->events.n) {
        leader_publish(t->conv, (str_t) { t->events.p, t->events.n });
        id = event_pos_text((event_pos_t) { t->row.number, t->last }, text);
        evlog_publish(t->conv->log, id, (str_t) { t->events.p, t->events.n });
    }
}

void turn_start(turn_t *t)
{
    t->conv->refs++;
    turn_ref(t);
    proc.convs->running++;
    t->co = co_spawn("turn", co_turn_run, t);
    if (t->cancel) {
        co_cancel(t->co);
    }
}

void turn_cancel(turn_t *t)
{
    if (turn_over(t)) {
        return;
    }
    if (t->shadow) {
        follower_wake(t->conv);     /* its owner finds the mark in Postgres */
        return;
    }
    if (t->cancel) {
        return;
    }
    t->cancel = true;
    if (t->co) {
        co_cancel(t->co);
    } else {
        turn_start(t);      /* out of its turn: it ends before it begins */
    }
}

void turn_drop(turn_t *t)
{
    if (turn_over(t) || t->dropped) {
        return;
    }
    t->dropped = true;
    if (t->co) {
        co_cancel(t->co);
        return;             /* leave() does the rest */
    }
    evlog_end(t->log, true);
    waiters_wake(&t->waiters, SI_ECONFLICT);
    if (t->shadow) {
        conv_unref(t->conv);
    } else {
        proc.convs->unfinished--;
    }
}

int co_turn_wait(turn_t *t, uint64_t deadline)
{
    if (t->dropped) {
        return SI_ECONFLICT;
    }
    return turn_over(t) ? 0 : co_wait_in(&t->waiters, "turn:wait", deadline);
}

size_t turns_unfinished(void)
{
    return proc.convs->unfinished;
}

size_t turns_running(void)
{
    return proc.convs->running;
}
