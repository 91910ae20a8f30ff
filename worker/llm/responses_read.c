#include "llm/responses_read.h"

#include "base/util.h"
#include "llm/openai_read.h"
#include "llm/same.h"

#define ITEMS  1024                 /* output items of an answer, at most */

typedef struct {
    bool     said;                  /* some of its text came in deltas */
    bool     call, args;            /* a call has begun; arguments came */
    uint32_t index;                 /* of the call */
} item_t;

typedef struct {
    item_t items[ITEMS];
    size_t last;                    /* the one that an event without output_index is about */
} state_t;

/* The item that an event is about, or NULL with r->err. */
static item_t *item_of(reply_t *r, const json_t *v)
{
    state_t      *s = r->state;
    const json_t *index = json_object_get(v, "output_index");

    if (s == NULL) {
        r->state = s = arena_calloc(r->arena, sizeof *s);
    }
    if (json_is_integer(index)) {
        json_int_t i = json_integer_value(index);

        if (i < 0 || i >= ITEMS) {
            (void) reply_malformed(r, "output_index is out of range");
            return NULL;
        }
        s->last = (size_t) i;
    }
    return &s->items[s->last];
}

/* Items */

static int begin_call(reply_t *r, item_t *item, const json_t *call)
{
    if (item->call) {
        return 0;
    }
    item->call = true;
    return reply_call(r, json_str(call, "call_id", STR_NULL), json_str(call, "name", STR_NULL), &item->index);
}

static int add_args(reply_t *r, item_t *item, str_t args)
{
    item->args = item->args || args.n > 0;
    return item->call ? reply_args(r, item->index, args) : 0;
}

/* The texts of the parts in a list, with `between` between them. */
static int add_texts(reply_t *r, const json_t *parts, chat_kind_t kind, str_t between)
{
    const json_t *part;
    size_t        i;
    int           rc = 0;

    json_array_foreach(parts, i, part) {
        rc = rc != 0 || i == 0 ? rc : reply_text(r, kind, between);
        rc = rc != 0 ? rc : reply_text(r, kind, json_str(part, "text", STR_NULL));
        rc = rc != 0 ? rc : reply_text(r, CHAT_REFUSAL, json_str(part, "refusal", STR_NULL));
    }
    return rc;
}

static int end_reasoning(reply_t *r, item_t *item, const json_t *v)
{
    str_t encrypted = json_str(v, "encrypted_content", STR_NULL);
    int   rc = 0;

    if (!item->said) {
        const json_t *texts = json_object_get(v, "content");

        texts = json_array_size(texts) > 0 ? texts : json_object_get(v, "summary");
        rc = add_texts(r, texts, CHAT_REASONING, STR("\n\n"));
        item->said = json_array_size(texts) > 0;
    }
    if (rc != 0 || encrypted.n == 0) {
        return rc;
    }
    return reply_text(r, item->said ? CHAT_SIGNATURE : CHAT_REDACTED, encrypted);
}

static int end_call(reply_t *r, item_t *item, const json_t *v)
{
    str_t args = json_str(v, "arguments", STR_NULL);
    int   rc = begin_call(r, item, v);

    return rc != 0 || item->args ? rc : add_args(r, item, args.n > 0 ? args : STR("{}"));
}

/* An item as it is in the end: all of it that no delta has brought. */
static int end_item(reply_t *r, item_t *item, const json_t *v)
{
    str_t type = json_str(v, "type", STR_NULL);

    if (str_is(type, "message")) {
        return item->said ? 0 : add_texts(r, json_object_get(v, "content"), CHAT_TEXT, STR_NULL);
    }
    if (str_is(type, "reasoning")) {
        return end_reasoning(r, item, v);
    }
    if (str_is(type, "function_call")) {
        return end_call(r, item, v);
    }
    r->result.unsaid++;
    return 0;
}

/* The end of the answer */

static void read_usage(reply_t *r, const json_t *u)
{
    const json_t *of_input = json_object_get(u, "input_tokens_details");
    int64_t       in = reply_count(u, "input_tokens"), out = reply_count(u, "output_tokens");

    if (in < 0 || out < 0) {
        return;
    }
    r->result.input_tokens = in;
    r->result.output_tokens = out;
    r->result.cached_tokens = SI_MAX(reply_count(of_input, "cached_tokens"), 0);
    r->result.cache_write_tokens = SI_MAX(reply_count(of_input, "cache_write_tokens"), 0);
    r->result.reasoning_tokens = SI_MAX(reply_count(json_object_get(u, "output_tokens_details"), "reasoning_tokens"), 0);
}

static int read_incomplete(reply_t *r, str_t reason)
{
    if (str_is(reason, "max_output_tokens")) {
        reply_finish(r, "length");
    } else if (str_is(reason, "content_filter")) {
        reply_finish(r, "content_filter");
    } else {
        return provider_fail(&r->err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider says that the answer is incomplete");
    }
    return 0;
}

/* A response object, as far as it has got. */
static int read_response(reply_t *r, const json_t *v)
{
    const json_t *error = json_object_get(v, "error");
    str_t         status = json_str(v, "status", STR_NULL);

    reply_name(r->result.model, sizeof r->result.model, json_str(v, "model", STR_NULL));
    reply_name(r->result.id, sizeof r->result.id, json_str(v, "id", STR_NULL));
    read_usage(r, json_object_get(v, "usage"));
    if (json_is_object(error)) {
        return reply_error(r, openai_error_status(error), reply_message_of(v));
    }
    if (str_is(status, "completed")) {
        reply_finish(r, r->calls > 0 ? "tool_calls" : "stop");
    } else if (str_is(status, "incomplete")) {
        return read_incomplete(r, json_str(json_object_get(v, "incomplete_details"), "reason", STR_NULL));
    } else if (str_is(status, "failed") || str_is(status, "cancelled")) {
        return provider_fail(&r->err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider gave the answer up: %.*s", STR_ARG(status));
    }
    return 0;
}

/* Events */

static int on_response(reply_t *r, const json_t *v, item_t *item)
{
    (void) item;
    return read_response(r, json_object_get(v, "response"));
}

static int on_created(reply_t *r, const json_t *v, item_t *item)
{
    memset(r->state, 0, sizeof(state_t));       /* a relay may join several responses in one stream */
    return on_response(r, v, item);
}

static int on_error(reply_t *r, const json_t *v, item_t *item)
{
    const json_t *inner = json_object_get(v, "error");

    (void) item;
    return reply_error(r, openai_error_status(json_is_object(inner) ? inner : v), reply_message_of(v));
}

static int on_added(reply_t *r, const json_t *v, item_t *item)
{
    const json_t *what = json_object_get(v, "item");

    memset(item, 0, sizeof *item);
    return str_is(json_str(what, "type", STR_NULL), "function_call") ? begin_call(r, item, what) : 0;
}

static int on_done(reply_t *r, const json_t *v, item_t *item)
{
    return end_item(r, item, json_object_get(v, "item"));
}

static int add_delta(reply_t *r, const json_t *v, item_t *item, chat_kind_t kind)
{
    str_t delta = json_str(v, "delta", STR_NULL);

    item->said = item->said || delta.n > 0;
    return reply_text(r, kind, delta);
}

static int on_text(reply_t *r, const json_t *v, item_t *item)
{
    return add_delta(r, v, item, CHAT_TEXT);
}

static int on_refusal(reply_t *r, const json_t *v, item_t *item)
{
    return add_delta(r, v, item, CHAT_REFUSAL);
}

static int on_reasoning(reply_t *r, const json_t *v, item_t *item)
{
    return add_delta(r, v, item, CHAT_REASONING);
}

static int on_summary_part(reply_t *r, const json_t *v, item_t *item)
{
    (void) v;
    return item->said ? reply_text(r, CHAT_REASONING, STR("\n\n")) : 0;
}

static int on_annotation(reply_t *r, const json_t *v, item_t *item)
{
    (void) v;
    (void) item;
    r->result.unsaid++;
    return 0;
}

static int on_args(reply_t *r, const json_t *v, item_t *item)
{
    return add_args(r, item, json_str(v, "delta", STR_NULL));
}

static const struct {
    const char *type;
    int       (*on)(reply_t *r, const json_t *v, item_t *item);
} events[] = {
    { "response.output_text.delta", on_text },
    { "response.function_call_arguments.delta", on_args },
    { "response.reasoning_summary_text.delta", on_reasoning },
    { "response.reasoning_text.delta", on_reasoning },
    { "response.reasoning_summary_part.added", on_summary_part },
    { "response.refusal.delta", on_refusal },
    { "response.output_text.annotation.added", on_annotation },
    { "response.output_item.added", on_added },
    { "response.output_item.done", on_done },
    { "response.created", on_created },
    { "response.completed", on_response },
    { "response.incomplete", on_response },
    { "response.failed", on_response },
    { "response.cancelled", on_response },
    { "error", on_error },
};

static int read_object(reply_t *r, str_t type, const json_t *v)
{
    item_t *item = item_of(r, v);

    if (item == NULL) {
        return r->err.code[0] != '\0' ? SI_EPROTO : SI_EINTERNAL;
    }
    type = json_str(v, "type", type);
    if (type.n == 0 && json_object_get(v, "error") != NULL) {
        return on_error(r, v, item);
    }
    for (size_t i = 0; i < SI_COUNT(events); i++) {
        if (str_is(type, events[i].type)) {
            return events[i].on(r, v, item);
        }
    }
    return 0;
}

/* A piece of one thing, which names itself; the events are numbered, and as long as each other. */
static void learn(reply_t *r, const json_t *v, str_t data)
{
    static const struct { const char *type; chat_kind_t kind; } pieces[] = {
        { "response.output_text.delta", CHAT_TEXT }, { "response.reasoning_summary_text.delta", CHAT_REASONING },
        { "response.reasoning_text.delta", CHAT_REASONING }, { "response.refusal.delta", CHAT_REFUSAL },
        { "response.function_call_arguments.delta", CHAT_ARGS },
    };
    static const same_member_t members[] = { { { "delta", 5 }, 1, false }, { { "sequence_number", 15 }, 1, true }, { { "obfuscation", 11 }, 1, false } };
    const item_t *item = item_of(r, v);
    str_t         type = json_str(v, "type", STR_NULL);

    for (size_t i = 0; i < SI_COUNT(pieces) && type.n > 0; i++) {
        bool args = pieces[i].kind == CHAT_ARGS;

        if (str_is(type, pieces[i].type) && (!args || item->call)) {
            same_learn_members(r, data, args ? reply_args : same_text, args ? item->index : pieces[i].kind, json_str(v, "delta", STR_NULL),
                               members, SI_COUNT(members));
        }
    }
}

int responses_read_event(reply_t *r, str_t type, str_t data)
{
    json_t *v;
    int     rc;

    if (data.n == 0 || r->done) {
        return 0;
    }
    if (str_is(data, "[DONE]")) {
        r->done = r->finished;      /* it alone ends nothing */
        return 0;
    }
    rc = same_read(r, data);
    if (rc != 0) {
        return SI_MIN(rc, 0);
    }
    v = reply_object(r, data, &rc);
    if (v == NULL) {
        return rc;
    }
    rc = read_object(r, type, v);
    if (rc == 0) {
        learn(r, v, data);
    }
    json_decref(v);
    return rc;
}

static int read_output(reply_t *r, const json_t *v)
{
    const json_t *output = json_object_get(v, "output"), *what;
    size_t        i;
    int           rc = 0;

    if (!json_is_array(output) && !json_is_object(json_object_get(v, "error"))) {
        return reply_malformed(r, "it has no output");
    }
    json_array_foreach(output, i, what) {
        rc = rc != 0 ? rc : end_item(r, &(item_t) { 0 }, what);
    }
    return rc;
}

int responses_read_whole(reply_t *r, str_t body)
{
    const char *why;
    json_t     *v = json_parse_loose(r->arena, body, &why);
    int         rc;

    if (v == NULL) {
        return reply_malformed(r, why);
    }
    rc = read_output(r, v);
    rc = rc != 0 ? rc : read_response(r, v);
    if (rc == 0 && !r->finished) {
        rc = reply_malformed(r, "it does not say that it is complete");
    }
    r->done = true;
    json_decref(v);
    return rc;
}
