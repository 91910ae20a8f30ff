/* What a client of a WebSocket asks for. Turns and cancels are calls like those over HTTP, answered in a message. */
#include <stdio.h>

#include "api/input.h"
#include "api/own.h"
#include "api/problem.h"
#include "api/socket.h"
#include "base/json.h"
#include "base/proc.h"
#include "run/loop.h"

#define GIVE_UP_MS  30000       /* a conversation that cannot be opened again for so long is given up */
#define REF_MAX     128
#define RETRY_MIN   100
#define RETRY_MAX   3000

typedef struct {
    socket_t *s;
    arena_t  *arena;
    json_t   *o;                /* the command, NULL when it is no object */
    call_t   *call;             /* keeps the answer */
} command_t;

/* --- answers --- */

static void put_ref(buf_t *b, const json_t *ref)
{
    if (json_is_string(ref)) {
        buf_json_str(b, (str_t) { json_string_value(ref), json_string_length(ref) });
    } else {
        buf_puts(b, "null");
    }
}

/* {"type":"reply","ref":…,"status":…,"body":…} from what the call was answered. */
static void put_reply(command_t *c)
{
    buf_t b;
    str_t body;

    if (!call_local_answer(c->call, &body)) {
        return;                                 /* the socket is being closed */
    }
    buf_init(&b, SOCKET_OUT_MAX);
    buf_puts(&b, "{\"type\":\"reply\",\"ref\":");
    put_ref(&b, json_object_get(c->o, "ref"));
    buf_printf(&b, ",\"status\":%d,\"body\":", c->call->status);
    buf_append(&b, body.p, body.n);
    buf_puts(&b, body.n ? "}" : "null}");
    socket_put(c->s, WS_TEXT, (str_t) { b.p, b.n });
    buf_free(&b);
}

/* Answers a local call: that never waits. */
static void co_put_ok(command_t *c, const char *json)
{
    co_json(c->call, 200, str_of(json), 0, NULL);
}

/* --- subscriptions --- */

static socket_sub_t *sub_find(const socket_t *s, const char *conversation)
{
    list_each(it, &s->subs) {
        socket_sub_t *sub = list_entry(it, socket_sub_t, node);
        if (strcmp(sub->conversation, conversation) == 0) {
            return sub;
        }
    }
    return NULL;
}

/* Until nobody reads the tails: then subs may be touched, up to the next yield. */
static int co_take_over(socket_t *s)
{
    int rc = 0;

    while (rc == 0 && s->taking) {
        wait_init(&s->idle);
        rc = co_wait(&s->idle, "socket:events", CO_NO_DEADLINE);
    }
    return rc;
}

/* An id of a conversation, in lower case, or "*" if that may be. 0 or -1: answered. */
static int co_conversation(command_t *c, request_t *r, bool all)
{
    str_t id;

    if (co_input_string(r, c->o, "conversation", true, UUID_LEN, &id)) {
        return -1;
    }
    if (all && str_is(id, "*")) {
        snprintf(r->id, sizeof(r->id), "*");
        return 0;
    }
    if (!uuid_lower(id, r->id)) {
        co_problem(c->call, 404, "not_found", "conversation", "is no valid id");
        return -1;
    }
    return 0;
}

/* Adds it, or lets one that is there begin anew. NULL: there are too many. */
static socket_sub_t *sub_place(socket_t *s, const char *conversation)
{
    socket_sub_t *sub = sub_find(s, conversation);

    if (sub) {
        socket_sub_close(sub);
    }
    if (!sub && s->nsubs < SOCKET_SUBS_MAX) {
        sub = si_calloc(sizeof(*sub));
        sub->socket = s;
        snprintf(sub->conversation, sizeof(sub->conversation), "%s", conversation);
        list_push(&s->subs, &sub->node);
        s->nsubs++;
    }
    return sub;
}

/* Its place among the socket's subscriptions, while what it is to read is here. NULL: answered. */
static socket_sub_t *co_place(command_t *c, const char *conversation, bool here)
{
    socket_sub_t *sub = here ? sub_place(c->s, conversation) : NULL;

    if (!here) {
        co_problem_rc(c->call, SI_EAGAIN);
    } else if (!sub) {
        co_problem(c->call, 409, "too_many_subscriptions", NULL, "a socket has %d subscriptions at most", SOCKET_SUBS_MAX);
    }
    return sub;
}

static void co_put_begun(command_t *c, const socket_sub_t *sub)
{
    char id[FEED_ID_MAX + 1];

    co_put_ok(c, arena_printf(c->arena, "{\"conversation\":\"%s\",\"last_event_id\":\"%s\"}", sub->conversation,
                              socket_sub_id(sub, id)));
}

static void co_begin(command_t *c, request_t *r, conv_t *conv, event_pos_t pos)
{
    socket_sub_t *sub;

    if (co_take_over(c->s)) {
        return;
    }
    sub = co_place(c, r->id, conv_live(conv));
    if (sub) {
        socket_sub_begin(sub, conv, pos);
        co_put_begun(c, sub);
    }
}

/* "*": everything the caller does. */
static void co_begin_all(command_t *c, request_t *r)
{
    feed_pos_t    pos;
    feed_t       *f = co_feed_stream(r, &pos);
    socket_sub_t *sub;

    if (!f) {
        return;
    }
    sub = co_take_over(c->s) ? NULL : co_place(c, "*", !f->closed);
    if (sub) {
        socket_sub_begin_all(sub, f, &pos);
        co_put_begun(c, sub);
    }
    feed_leave(f);
}

static void co_subscribe(command_t *c)
{
    request_t   r = { .call = c->call, .who = c->s->r->who };
    str_t       id, from;
    event_pos_t pos;
    conv_t     *conv;
    int         rc;

    if (co_conversation(c, &r, true) || co_input_string(&r, c->o, "last_event_id", false, FEED_ID_MAX, &id)
        || co_input_string(&r, c->o, "from", false, 8, &from))
    {
        return;
    }
    call_local_header(c->call, "last-event-id", id);
    if (from.n) {
        c->call->query = str_of(arena_printf(c->arena, "from=%.*s", STR_ARG(from)));
    }
    if (r.id[0] == '*') {
        co_begin_all(c, &r);
        return;
    }
    conv = co_stream_open(&r, &pos);
    if (!conv) {
        return;
    }
    rc = co_tail_exact(conv, &pos);
    if (rc) {
        co_problem_rc(c->call, rc);
    } else {
        co_begin(c, &r, conv, pos);
    }
    conv_unref(conv);
}

static void co_unsubscribe(command_t *c)
{
    request_t     r = { .call = c->call, .who = c->s->r->who };
    socket_sub_t *sub;

    if (co_conversation(c, &r, true) || co_take_over(c->s)) {
        return;
    }
    sub = sub_find(c->s, r.id);
    if (!sub) {
        co_problem(c->call, 404, "not_found", "conversation", "is not subscribed");
        return;
    }
    socket_sub_free(sub);
    co_put_ok(c, arena_printf(c->arena, "{\"conversation\":\"%s\"}", r.id));
}

/* --- conversations that left this worker --- */

static void put_unsubscribed(socket_t *s, const socket_sub_t *sub, int status, str_t problem)
{
    char  text[FEED_ID_MAX + 1];
    buf_t b;

    buf_init(&b, 16384);
    buf_printf(&b, "{\"type\":\"unsubscribed\",\"conversation\":\"%s\",\"last_event_id\":\"%s\",\"status\":%d,\"body\":",
               sub->conversation, socket_sub_id(sub, text), status);
    buf_append(&b, problem.p, problem.n);
    buf_puts(&b, "}");
    socket_put(s, WS_TEXT, (str_t) { b.p, b.n });
    buf_free(&b);
}

static socket_sub_t *sub_due(const socket_t *s)
{
    list_each(it, &s->subs) {
        socket_sub_t *sub = list_entry(it, socket_sub_t, node);
        if (!sub->open && clock_ms() >= sub->retry) {
            return sub;
        }
    }
    return NULL;
}

/* It could not be opened again: later, or not at all. */
static void sub_failed(socket_sub_t *sub, int status, str_t problem)
{
    if (status == 503 && clock_ms() < sub->lost + GIVE_UP_MS) {
        sub->retry = clock_ms() + backoff_ms(++sub->failures, RETRY_MIN, RETRY_MAX);
    } else {
        put_unsubscribed(sub->socket, sub, status, problem);
        socket_sub_free(sub);
    }
}

/* Opens what it reads where that is now, and goes on behind the last event that was sent. */
static void co_reopen(socket_t *s, socket_sub_t *sub)
{
    request_t r = { .call = call_local("GET", "/", STR_NULL), .who = s->r->who };
    conv_t   *c = sub->all ? NULL : co_own(&r, sub->conversation);
    feed_t   *f = sub->all ? co_feed(&r) : NULL;
    str_t     problem;

    if (c && co_stream_known(&r, c, sub->tail.id) == 0) {
        socket_sub_begin(sub, c, sub->tail.id);
    } else if (f) {
        feed_pos_t pos = sub->feed.pos;
        socket_sub_begin_all(sub, f, &pos);
    } else if (call_local_answer(r.call, &problem)) {
        sub_failed(sub, r.call->status, problem);
    }
    if (c) {
        conv_unref(c);
    }
    if (f) {
        feed_leave(f);
    }
    call_local_free(r.call);
}

uint64_t command_due(const socket_t *s)
{
    uint64_t at = UINT64_MAX;

    if (s->doer) {
        return at;                              /* it looks itself before it ends */
    }
    list_each(it, &s->subs) {
        const socket_sub_t *sub = list_entry(it, socket_sub_t, node);
        at = sub->open ? at : SI_MIN(at, sub->retry);
    }
    return at;
}

/* --- turns --- */

/* Runs a command as the call that it is over HTTP. */
static void co_as_call(command_t *c, const char *path, const json_t *body)
{
    str_t  text = body ? str_of(json_text(c->arena, body)) : STR("");
    call_t *plain = c->call;
    str_t   key = json_str(c->o, "idempotency_key", STR_NULL);

    c->call = call_local("POST", path, text);
    call_local_free(plain);
    call_local_header(c->call, "prefer", STR("respond-async"));
    call_local_header(c->call, "idempotency-key", key);
    co_route_as(c->call, &c->s->r->who);
    co_mask(false);                             /* a handler is the last thing that its coroutine does, mostly */
}

static void co_turn(command_t *c)
{
    static const char *const ours[] = { "type", "ref", "conversation", "idempotency_key" };
    request_t r = { .call = c->call };
    json_t   *body = json_own(c->arena, json_copy(c->o));
    str_t     key;

    if (co_conversation(c, &r, false) || co_input_string(&r, c->o, "idempotency_key", false, 255, &key)) {
        return;
    }
    for (size_t i = 0; i < SI_COUNT(ours); i++) {
        json_object_del(body, ours[i]);
    }
    co_as_call(c, arena_printf(c->arena, "/v1/conversations/%s/turns", r.id), body);
}

static void co_cancel_turn(command_t *c)
{
    request_t r = { .call = c->call };
    str_t     id;

    if (co_input_string(&r, c->o, "turn", true, UUID_LEN, &id)) {
        return;
    }
    if (!uuid_valid(id)) {
        co_problem(c->call, 404, "not_found", "turn", "is no valid id");
        return;
    }
    co_as_call(c, arena_printf(c->arena, "/v1/turns/%.*s/cancel", STR_ARG(id)), NULL);
}

static void co_ping(command_t *c)
{
    co_put_ok(c, "{}");
}

/* --- each command --- */

static void co_dispatch(command_t *c)
{
    static const struct { const char *type; void (*co_fn)(command_t *c); const char *members[6]; } all[] = {
        { "subscribe", co_subscribe, { "type", "ref", "conversation", "last_event_id", "from" } },
        { "unsubscribe", co_unsubscribe, { "type", "ref", "conversation" } },
        { "turn", co_turn, { NULL } },          /* the call looks at them */
        { "cancel", co_cancel_turn, { "type", "ref", "turn" } },
        { "ping", co_ping, { "type", "ref" } },
    };
    request_t     r = { .call = c->call };
    str_t         type = json_str(c->o, "type", STR_NULL);
    const json_t *ref = json_object_get(c->o, "ref");

    if (ref && !json_is_null(ref) && (!json_is_string(ref) || json_string_length(ref) > REF_MAX)) {
        json_object_del(c->o, "ref");
        co_problem(c->call, 422, "invalid_field", "ref", "must be a string of %d bytes at most", REF_MAX);
        return;
    }
    for (size_t i = 0; i < SI_COUNT(all); i++) {
        if (str_is(type, all[i].type)) {
            if (!all[i].members[0] || co_input_members(&r, c->o, all[i].members) == 0) {
                all[i].co_fn(c);
            }
            return;
        }
    }
    co_problem(c->call, 422, "invalid_field", "type", "must be subscribe, unsubscribe, turn, cancel or ping");
}

static void co_command(socket_t *s, str_t text)
{
    command_t   c = { .s = s, .arena = arena_new(4096), .call = call_local("POST", "/v1/socket", STR_NULL) };
    const char *err = NULL;

    c.o = json_own(c.arena, json_parse(c.arena, text, &err));
    if (json_is_object(c.o)) {
        co_dispatch(&c);
    } else if (c.o) {
        co_problem(c.call, 422, "invalid_field", NULL, "a message must be a JSON object");
    } else {
        co_problem(c.call, 400, "invalid_json", NULL, "the message is not JSON: %s", err);
    }
    put_reply(&c);
    call_local_free(c.call);
    arena_free(c.arena);
}

/* --- in order --- */

void command_add(socket_t *s, str_t text)
{
    socket_command_t *c = si_malloc(sizeof(*c) + text.n);

    c->n = text.n;
    memcpy(c->text, text.p, text.n);
    list_push(&s->commands, &c->node);
    s->ncommands++;
    s->command_bytes += text.n;
}

bool command_full(const socket_t *s)
{
    return s->ncommands >= SOCKET_QUEUE_MAX || s->command_bytes >= SOCKET_QUEUE_BYTES;
}

static void command_free(socket_t *s, socket_command_t *c)
{
    list_remove(&c->node);
    s->ncommands--;
    s->command_bytes -= c->n;
    free(c);
}

/* Until what is to be sent has become little. */
static void co_room(socket_t *s)
{
    while (!s->closing && s->next.n >= SOCKET_OUT_SOFT && !co_cancelled(co_self())) {
        wait_init(&s->idle);
        (void) co_wait(&s->idle, "socket:room", CO_NO_DEADLINE);
    }
}

static void co_do(void *arg)
{
    socket_t         *s = arg;
    socket_command_t *c;
    socket_sub_t     *sub;

    while (!s->closing && !co_cancelled(co_self())) {
        co_room(s);
        if ((sub = sub_due(s))) {
            co_reopen(s, sub);
        } else if ((c = list_first(&s->commands, socket_command_t, node))) {
            co_command(s, (str_t) { c->text, c->n });
            command_free(s, c);
        } else {
            break;
        }
        wait_wake(&s->wake, 0);
    }
    s->doer = NULL;
    wait_wake(&s->wake, 0);
    wait_wake(&s->done, 0);
}

void command_start(socket_t *s)
{
    if (!s->doer && !s->closing && (s->ncommands || sub_due(s))) {
        s->doer = co_spawn("socket", co_do, s);
    }
}

void co_command_stop(socket_t *s)
{
    bool masked = co_mask(true);

    if (s->doer) {
        wait_init(&s->done);
        co_cancel(s->doer);
        (void) co_wait(&s->done, "socket:end", CO_NO_DEADLINE);
    }
    co_mask(masked);
    while (!list_empty(&s->commands)) {
        command_free(s, list_first(&s->commands, socket_command_t, node));
    }
}
