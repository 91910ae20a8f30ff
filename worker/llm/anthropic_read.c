#include "llm/anthropic_read.h"

#include <stdio.h>

#include "base/util.h"
#include "llm/same.h"

typedef enum { BLOCK_NONE, BLOCK_SAID, BLOCK_THINKING, BLOCK_CALL, BLOCK_OTHER } block_t;

/* reply_t.state */
typedef struct {
    bool        begun;              /* a block has come: the answer cannot begin anew */
    block_t     block;              /* that is open */
    uint32_t    call;               /* BLOCK_CALL: which, and whether arguments have come */
    bool        args;
    const char *input;              /* and those that came with its start, or NULL */
    buf_t       signature;          /* BLOCK_THINKING */
    int64_t     in, cache_read, cache_write, out;
} state_t;

static void free_state(void *arg)
{
    buf_free(&((state_t *) arg)->signature);
}

static state_t *state_of(reply_t *r)
{
    state_t *st = r->state;

    if (st == NULL) {
        r->state = st = arena_calloc(r->arena, sizeof *st);
        st->in = st->out = -1;
        buf_init(&st->signature, r->max);
        arena_defer(r->arena, free_state, st);
    }
    return st;
}

/* Errors */

static int read_error(reply_t *r, const json_t *v)
{
    static const struct { const char *type; int status; } types[] = {
        { "invalid_request_error", 400 }, { "authentication_error", 401 }, { "billing_error", 402 }, { "permission_error", 403 },
        { "not_found_error", 404 }, { "request_too_large", 413 }, { "rate_limit_error", 429 }, { "api_error", 500 },
        { "timeout_error", 504 }, { "overloaded_error", 529 },
    };
    str_t type = json_str(json_object_get(v, "error"), "type", STR_NULL);
    int   status = 0;

    for (size_t i = 0; i < SI_COUNT(types); i++) {
        status = str_is(type, types[i].type) ? types[i].status : status;
    }
    return reply_error(r, status, reply_message_of(v));
}

/* Usage and ends */

static void note(int64_t *to, const json_t *usage, const char *name)
{
    int64_t n = reply_count(usage, name);

    *to = n >= 0 ? n : *to;
}

static int64_t all_input(const json_t *usage)
{
    return SI_MAX(reply_count(usage, "input_tokens"), 0) + SI_MAX(reply_count(usage, "cache_read_input_tokens"), 0)
           + SI_MAX(reply_count(usage, "cache_creation_input_tokens"), 0);
}

/* last: output_tokens is no placeholder. */
static void read_usage(reply_t *r, state_t *st, const json_t *u, bool last)
{
    llm_result_t *res = &r->result;
    int64_t       in = 0, out = 0;
    const json_t *step;
    size_t        i;

    note(&st->in, u, "input_tokens");
    note(&st->cache_read, u, "cache_read_input_tokens");
    note(&st->cache_write, u, "cache_creation_input_tokens");
    json_array_foreach(json_object_get(u, "iterations"), i, step) {
        if (str_is(json_str(step, "type", STR_NULL), "compaction")) {
            in += all_input(step);
            out += SI_MAX(reply_count(step, "output_tokens"), 0);
        }
    }
    res->cached_tokens = st->cache_read;
    res->cache_write_tokens = st->cache_write;
    res->input_tokens = st->in < 0 ? -1 : st->in + st->cache_read + st->cache_write + in;
    if (last) {
        note(&st->out, u, "output_tokens");
        note(&res->reasoning_tokens, json_object_get(u, "output_tokens_details"), "thinking_tokens");
        res->output_tokens = st->out < 0 ? -1 : st->out + out;
    }
}

/* m: the delta of a message_delta, or a whole message. */
static int read_stop(reply_t *r, const json_t *m)
{
    static const struct { const char *theirs, *ours; } names[] = {
        { "max_tokens", "length" }, { "model_context_window_exceeded", "length" }, { "tool_use", "tool_calls" },
        { "pause_turn", "pause" }, { "compaction", "pause" }, { "refusal", "refusal" },
    };
    str_t       reason = json_str(m, "stop_reason", STR_NULL);
    const char *finish = "stop";            /* end_turn, stop_sequence */

    if (reason.n == 0) {
        return 0;
    }
    for (size_t i = 0; i < SI_COUNT(names); i++) {
        finish = str_is(reason, names[i].theirs) ? names[i].ours : finish;
    }
    reply_finish(r, finish);
    reply_name(r->result.stop_sequence, sizeof r->result.stop_sequence, json_str(m, "stop_sequence", STR_NULL));
    return reply_text(r, CHAT_REFUSAL, json_str(json_object_get(m, "stop_details"), "explanation", STR_NULL));
}

/* Blocks */

static int begin_call(reply_t *r, state_t *st, const json_t *block)
{
    const json_t *input = json_object_get(block, "input");

    st->block = BLOCK_CALL;
    st->args = false;
    st->input = json_object_size(input) > 0 ? json_text(r->arena, input) : NULL;
    return reply_call(r, json_str(block, "id", STR_NULL), json_str(block, "name", STR_NULL), &st->call);
}

static int add_signature(reply_t *r, state_t *st, str_t s)
{
    return buf_append(&st->signature, s.p, s.n) == 0 ? 0 : reply_malformed(r, "a signature is too long");
}

static int begin_block(reply_t *r, state_t *st, const json_t *block)
{
    str_t type = json_str(block, "type", STR_NULL);
    int   rc;

    st->begun = true;
    st->block = BLOCK_SAID;
    if (str_is(type, "text")) {
        r->result.unsaid += json_array_size(json_object_get(block, "citations")) > 0;
        return reply_text(r, CHAT_TEXT, json_str(block, "text", STR_NULL));
    }
    if (str_is(type, "thinking")) {
        st->block = BLOCK_THINKING;
        rc = reply_text(r, CHAT_REASONING, json_str(block, "thinking", STR_NULL));
        return rc != 0 ? rc : add_signature(r, st, json_str(block, "signature", STR("")));
    }
    if (str_is(type, "redacted_thinking")) {
        return reply_text(r, CHAT_REDACTED, json_str(block, "data", STR("")));
    }
    if (str_is(type, "tool_use")) {
        return begin_call(r, st, block);
    }
    st->block = BLOCK_OTHER;
    r->result.unsaid++;
    return 0;
}

static int read_delta(reply_t *r, state_t *st, const json_t *d)
{
    str_t type = json_str(d, "type", STR_NULL), piece;

    if (str_is(type, "text_delta")) {
        return reply_text(r, CHAT_TEXT, json_str(d, "text", STR_NULL));
    }
    if (str_is(type, "thinking_delta")) {
        return reply_text(r, CHAT_REASONING, json_str(d, "thinking", STR_NULL));
    }
    if (str_is(type, "signature_delta")) {
        return add_signature(r, st, json_str(d, "signature", STR("")));
    }
    if (str_is(type, "input_json_delta") && st->block == BLOCK_CALL) {
        piece = json_str(d, "partial_json", STR_NULL);
        st->args = st->args || piece.n > 0;
        return reply_args(r, st->call, piece);
    }
    r->result.unsaid += str_is(type, "citations_delta");
    return 0;
}

static int end_block(reply_t *r, state_t *st)
{
    block_t block = st->block;
    int     rc = 0;

    st->block = BLOCK_NONE;
    if (block == BLOCK_CALL && !st->args) {
        rc = reply_args(r, st->call, str_of(st->input != NULL ? st->input : "{}"));
    } else if (block == BLOCK_THINKING) {
        rc = reply_text(r, CHAT_SIGNATURE, (str_t) { st->signature.p, st->signature.n });
        buf_consume(&st->signature, st->signature.n);
    }
    return rc;
}

/* Events */

/*
 * A message as it stands: whole, or as a stream begins with it. That is empty and will be filled, but for one that goes on
 * with a call that another tool has made: it is whole already, and nothing but message_stop follows.
 */
static int read_message(reply_t *r, state_t *st, const json_t *m)
{
    const json_t *block;
    size_t        i;
    int           rc = 0;

    if (st->begun) {
        return provider_fail(&r->err, SI_EUNAVAIL, "answer_cut", 0, true, "another answer began before the first one had ended");
    }
    r->result.id[0] = r->result.model[0] = '\0';
    reply_name(r->result.id, sizeof r->result.id, json_str(m, "id", STR_NULL));
    reply_name(r->result.model, sizeof r->result.model, json_str(m, "model", STR_NULL));
    json_array_foreach(json_object_get(m, "content"), i, block) {
        rc = rc != 0 ? rc : begin_block(r, st, block);
        rc = rc != 0 ? rc : end_block(r, st);
    }
    read_usage(r, st, json_object_get(m, "usage"), json_is_string(json_object_get(m, "stop_reason")));
    return rc != 0 ? rc : read_stop(r, m);
}

static int read_event(reply_t *r, state_t *st, str_t type, const json_t *v)
{
    int rc;

    if (str_is(type, "content_block_delta")) {
        return read_delta(r, st, json_object_get(v, "delta"));
    }
    if (str_is(type, "content_block_start")) {
        rc = end_block(r, st);
        return rc != 0 ? rc : begin_block(r, st, json_object_get(v, "content_block"));
    }
    if (str_is(type, "content_block_stop")) {
        return end_block(r, st);
    }
    if (str_is(type, "message_start")) {
        return read_message(r, st, json_object_get(v, "message"));
    }
    if (str_is(type, "message_delta")) {
        read_usage(r, st, json_object_get(v, "usage"), true);
        rc = end_block(r, st);
        return rc != 0 ? rc : read_stop(r, json_object_get(v, "delta"));
    }
    if (str_is(type, "message_stop")) {
        r->done = true;
        return end_block(r, st);
    }
    /* Else a ping, or what is not known yet. A relay may leave the type out. */
    return str_is(type, "error") || (type.n == 0 && json_object_get(v, "error") != NULL) ? read_error(r, v) : 0;
}

/* A delta that names itself and is a piece of one thing; the name of the SSE event says nothing then. */
static void learn(reply_t *r, const state_t *st, const json_t *v, str_t data)
{
    static const struct { const char *type, *member; chat_kind_t kind; } pieces[] = {
        { "text_delta", "text", CHAT_TEXT }, { "thinking_delta", "thinking", CHAT_REASONING }, { "input_json_delta", "partial_json", CHAT_ARGS },
    };
    const json_t *d = json_object_get(v, "delta");
    str_t         type = json_str(d, "type", STR_NULL);

    for (size_t i = 0; i < SI_COUNT(pieces) && str_is(json_str(v, "type", STR_NULL), "content_block_delta"); i++) {
        const same_member_t member = { str_of(pieces[i].member), 2, false };
        bool                args = pieces[i].kind == CHAT_ARGS;

        if (str_is(type, pieces[i].type) && (!args || st->block == BLOCK_CALL)) {
            same_learn_members(r, data, args ? reply_args : same_text, args ? st->call : pieces[i].kind, json_str(d, pieces[i].member, STR_NULL), &member, 1);
        }
    }
}

int anthropic_read_event(reply_t *r, str_t type, str_t data)
{
    json_t *v;
    int     rc;

    if (r->done || data.n == 0 || str_is(data, "[DONE]")) {     /* a relay's; it proves nothing */
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
    rc = read_event(r, state_of(r), json_str(v, "type", type), v);
    if (rc == 0) {
        learn(r, state_of(r), v, data);
    }
    json_decref(v);
    return rc;
}

int anthropic_read_whole(reply_t *r, str_t body)
{
    const char *why;
    json_t     *v = json_parse_loose(r->arena, body, &why);
    int         rc;

    if (v == NULL) {
        return reply_malformed(r, why);
    }
    if (json_is_object(json_object_get(v, "error"))) {
        rc = read_error(r, v);
    } else if (!json_is_array(json_object_get(v, "content"))) {
        rc = reply_malformed(r, "it is no message");
    } else {
        rc = read_message(r, state_of(r), v);
        r->done = true;                 /* the body came whole */
    }
    json_decref(v);
    return rc;
}
