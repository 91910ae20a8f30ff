/*
 * What is answered in Anthropic's dialect: events, or one message, and errors.
 * Reference: https://platform.claude.com/docs/en/build-with-claude/streaming, …/api/errors
 */
#include "api/face_anthropic.h"

#include <inttypes.h>
#include <stdio.h>

/* --- ends --- */

/* OpenAI says stop of a call that was asked for by name, some servers of all calls; here clients go by the word. */
static const char *stop_reason(const llm_result_t *r, bool refused, bool called)
{
    static const struct { const char *ours, *theirs; } words[] = {
        { "length", "max_tokens" }, { "tool_calls", "tool_use" }, { "pause", "pause_turn" }, { "refusal", "refusal" },
        { "content_filter", "refusal" },
    };

    for (size_t i = 0; i < SI_COUNT(words); i++) {
        if (strcmp(r->finish, words[i].ours) == 0) {
            return words[i].theirs;
        }
    }
    return called ? "tool_use" : refused ? "refusal" : r->stop_sequence[0] != '\0' ? "stop_sequence" : "end_turn";
}

/* The members of an end, without braces. refusal: what the model says of it, or {NULL, 0}. */
static int put_stop(buf_t *b, const llm_result_t *r, str_t refusal, bool called)
{
    const char *reason = stop_reason(r, refusal.n > 0, called);
    int         rc = buf_printf(b, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);

    rc = rc != 0 ? rc : strcmp(reason, "stop_sequence") == 0 ? buf_json_str(b, str_of(r->stop_sequence)) : buf_puts(b, "null");
    if (strcmp(reason, "refusal") == 0) {
        rc = rc != 0 ? rc : buf_puts(b, ",\"stop_details\":{\"type\":\"refusal\",\"category\":null,\"explanation\":");
        rc = rc != 0 ? rc : refusal.n > 0 ? buf_json_str(b, refusal) : buf_puts(b, "null");
        rc = rc != 0 ? rc : buf_puts(b, "}");
    }
    return rc;
}

/* What is cached stands beside input_tokens in this dialect. Nothing is known yet: zeros. */
static int put_usage(buf_t *b, const llm_result_t *r, bool last)
{
    int64_t in = r->input_tokens - r->cached_tokens - r->cache_write_tokens, out = last ? r->output_tokens : 0;
    int     rc = buf_printf(b, "\"usage\":{\"input_tokens\":%" PRId64 ",\"cache_creation_input_tokens\":%" PRId64
                            ",\"cache_read_input_tokens\":%" PRId64 ",\"output_tokens\":%" PRId64,
                            SI_MAX(in, 0), r->cache_write_tokens, r->cached_tokens, SI_MAX(out, 0));

    if (last && r->reasoning_tokens > 0) {
        rc = rc != 0 ? rc : buf_printf(b, ",\"output_tokens_details\":{\"thinking_tokens\":%" PRId64 "}", r->reasoning_tokens);
    }
    return rc != 0 ? rc : buf_puts(b, "}");
}

static int put_head(face_call_t *c)
{
    int rc = buf_printf(&c->out, "{\"id\":\"msg_%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", c->id);

    rc = rc != 0 ? rc : buf_json_str(&c->out, str_of(c->name));
    return rc != 0 ? rc : buf_puts(&c->out, ",\"content\":[");
}

/* --- events --- */

static int open_event(face_call_t *c, const char *type)
{
    return buf_printf(&c->out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static int close_event(face_call_t *c)
{
    return buf_puts(&c->out, "}\n\n");
}

int anthropic_begin(face_call_t *c, const chat_event_t *first)
{
    int rc = open_event(c, "message_start");

    (void) first;
    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"message\":");
    rc = rc != 0 ? rc : put_head(c);
    rc = rc != 0 ? rc : buf_puts(&c->out, "],\"stop_reason\":null,\"stop_sequence\":null,");
    rc = rc != 0 ? rc : put_usage(&c->out, c->so_far, false);
    rc = rc != 0 ? rc : buf_puts(&c->out, "}");
    rc = rc != 0 ? rc : close_event(c);
    rc = rc != 0 ? rc : open_event(c, "ping");
    return rc != 0 ? rc : close_event(c);
}

static int end_block(face_call_t *c)
{
    anthropic_state_t *s = c->state;
    int                rc;

    if (s->open == ANTHROPIC_NONE) {
        return 0;
    }
    s->open = ANTHROPIC_NONE;
    rc = open_event(c, "content_block_stop");
    rc = rc != 0 ? rc : buf_printf(&c->out, ",\"index\":%u", s->blocks - 1);
    return rc != 0 ? rc : close_event(c);
}

/* Up to where the block itself begins; ended with end_start(). */
static int start_block(face_call_t *c, chat_kind_t kind)
{
    anthropic_state_t *s = c->state;
    int                rc = end_block(c);

    s->open = (int) kind;
    s->sealed = false;
    s->blocks++;
    rc = rc != 0 ? rc : open_event(c, "content_block_start");
    return rc != 0 ? rc : buf_printf(&c->out, ",\"index\":%u,\"content_block\":{", s->blocks - 1);
}

static int end_start(face_call_t *c)
{
    int rc = buf_puts(&c->out, "}");

    return rc != 0 ? rc : close_event(c);
}

static int put_delta(face_call_t *c, const char *type, const char *member, str_t text)
{
    const anthropic_state_t *s = c->state;
    int                      rc = open_event(c, "content_block_delta");

    rc = rc != 0 ? rc : buf_printf(&c->out, ",\"index\":%u,\"delta\":{\"type\":\"%s\",\"%s\":", s->blocks - 1, type, member);
    rc = rc != 0 ? rc : buf_json_str(&c->out, text);
    return rc != 0 ? rc : end_start(c);
}

static int put_text(face_call_t *c, str_t text)
{
    const anthropic_state_t *s = c->state;
    int                      rc = 0;

    if (s->open != CHAT_TEXT) {
        rc = start_block(c, CHAT_TEXT);
        rc = rc != 0 ? rc : buf_puts(&c->out, "\"type\":\"text\",\"text\":\"\"");
        rc = rc != 0 ? rc : end_start(c);
    }
    return rc != 0 ? rc : put_delta(c, "text_delta", "text", text);
}

/* Thoughts, or the signature that ends them; it may come alone, of thoughts that are not shown. */
static int put_thought(face_call_t *c, const char *type, const char *member, str_t text)
{
    const anthropic_state_t *s = c->state;
    int                      rc = 0;

    if (s->open != CHAT_REASONING || s->sealed) {
        rc = start_block(c, CHAT_REASONING);
        rc = rc != 0 ? rc : buf_puts(&c->out, "\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"");
        rc = rc != 0 ? rc : end_start(c);
    }
    return rc != 0 ? rc : put_delta(c, type, member, text);
}

static int put_signature(face_call_t *c, str_t text)
{
    anthropic_state_t *s = c->state;
    int                rc = 0;

    if (s->open != CHAT_CALL) {         /* a call has no place for one */
        rc = put_thought(c, "signature_delta", "signature", text);
        s->sealed = true;
    }
    return rc;
}

static int put_redacted(face_call_t *c, str_t data)
{
    int rc = start_block(c, CHAT_REDACTED);

    rc = rc != 0 ? rc : buf_puts(&c->out, "\"type\":\"redacted_thinking\",\"data\":");
    rc = rc != 0 ? rc : buf_json_str(&c->out, data);
    rc = rc != 0 ? rc : end_start(c);
    return rc != 0 ? rc : end_block(c);
}

int anthropic_put_call(face_call_t *c, uint32_t index, const char *id, const char *name)
{
    anthropic_state_t *s = c->state;
    int                rc = start_block(c, CHAT_CALL);

    s->call = index;
    s->called = true;
    s->args = (args_t) { 0 };
    rc = rc != 0 ? rc : buf_puts(&c->out, "\"type\":\"tool_use\",\"id\":");
    rc = rc != 0 ? rc : buf_json_str(&c->out, str_of(id));
    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"name\":");
    rc = rc != 0 ? rc : buf_json_str(&c->out, str_of(name));
    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"input\":{}");
    return rc != 0 ? rc : end_start(c);
}

int anthropic_put_args(face_call_t *c, str_t piece)
{
    anthropic_state_t *s = c->state;

    args_follow(&s->args, piece);
    return piece.n == 0 ? 0 : put_delta(c, "input_json_delta", "partial_json", piece);
}

int anthropic_event(face_call_t *c, const chat_event_t *ev)
{
    anthropic_state_t *s = c->state;
    bool               more = ev->kind == CHAT_CALL || ev->kind == CHAT_ARGS || ev->kind == CHAT_SIGNATURE || ev->kind == CHAT_REFUSAL;
    int                rc = more ? 0 : anthropic_release(c);

    if (rc != 0) {
        return rc;
    }
    switch (ev->kind) {
    case CHAT_TEXT:
        return put_text(c, ev->text);
    case CHAT_REASONING:
        return put_thought(c, "thinking_delta", "thinking", ev->text);
    case CHAT_SIGNATURE:
        return put_signature(c, ev->text);
    case CHAT_REDACTED:
        return put_redacted(c, ev->text);
    case CHAT_REFUSAL:
        return buf_append(&s->refusal, ev->text.p, ev->text.n);
    case CHAT_CALL:
        return anthropic_call(c, ev);
    case CHAT_ARGS:
        return anthropic_args(c, ev);
    default:                            /* CHAT_RESTART is not for faces */
        return SI_EPROTO;
    }
}

int anthropic_end(face_call_t *c, const llm_result_t *res)
{
    const anthropic_state_t *s = c->state;
    int                      rc = anthropic_release(c);

    rc = rc != 0 ? rc : end_block(c);
    rc = rc != 0 ? rc : open_event(c, "message_delta");
    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"delta\":{");
    rc = rc != 0 ? rc : put_stop(&c->out, res, (str_t) { s->refusal.p, s->refusal.n }, s->called);
    rc = rc != 0 ? rc : buf_puts(&c->out, "},");
    rc = rc != 0 ? rc : put_usage(&c->out, res, true);
    rc = rc != 0 ? rc : close_event(c);
    rc = rc != 0 ? rc : open_event(c, "message_stop");
    return rc != 0 ? rc : close_event(c);
}

int anthropic_broken(face_call_t *c)
{
    int rc = buf_puts(&c->out, "event: error\ndata: ");

    rc = rc != 0 ? rc : anthropic_error(&c->out, &c->err);
    return rc != 0 ? rc : buf_puts(&c->out, "\n\n");
}

/* --- one message --- */

/* Arguments that are no object, as of a call that was cut at the limit, are put into one, as Anthropic's documentation has it. */
static int put_input(face_call_t *c, str_t args)
{
    const char *why;
    json_t     *v = json_parse_loose(c->arena, args, &why);
    bool        good = json_is_object(v);
    int         rc;

    json_decref(v);
    if (good || args.n == 0) {
        return args.n == 0 ? buf_puts(&c->out, "{}") : buf_append(&c->out, args.p, args.n);
    }
    rc = buf_puts(&c->out, "{\"INVALID_JSON\":");
    rc = rc != 0 ? rc : buf_json_str(&c->out, args);
    return rc != 0 ? rc : buf_puts(&c->out, "}");
}

static int put_whole_call(face_call_t *c, const face_block_t *b)
{
    int rc = buf_puts(&c->out, "{\"type\":\"tool_use\",\"id\":");

    rc = rc != 0 ? rc : buf_json_str(&c->out, str_of(b->id));
    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"name\":");
    rc = rc != 0 ? rc : buf_json_str(&c->out, str_of(b->name));
    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"input\":");
    return rc != 0 ? rc : put_input(c, (str_t) { b->text.p, b->text.n });
}

static int put_block(face_call_t *c, const face_block_t *b)
{
    static const char *const heads[] = {
        [CHAT_TEXT] = "{\"type\":\"text\",\"text\":", [CHAT_REASONING] = "{\"type\":\"thinking\",\"thinking\":",
        [CHAT_REDACTED] = "{\"type\":\"redacted_thinking\",\"data\":",
    };
    int rc;

    if (b->kind == CHAT_CALL) {
        rc = put_whole_call(c, b);
    } else {
        rc = buf_puts(&c->out, heads[b->kind]);
        rc = rc != 0 ? rc : buf_json_str(&c->out, (str_t) { b->text.p, b->text.n });
    }
    if (b->kind == CHAT_REASONING) {
        rc = rc != 0 ? rc : buf_puts(&c->out, ",\"signature\":");
        rc = rc != 0 ? rc : buf_json_str(&c->out, (str_t) { b->signature.p, b->signature.n });
    }
    return rc != 0 ? rc : buf_puts(&c->out, "}");
}

int anthropic_whole(face_call_t *c, const llm_result_t *res)
{
    str_t refusal = STR_NULL;
    bool  first = true, called = false;
    int   rc = put_head(c);

    for (size_t i = 0; i < c->nblocks && rc == 0; i++) {
        const face_block_t *b = &c->blocks[i];

        called = called || b->kind == CHAT_CALL;
        if (b->kind == CHAT_REFUSAL) {
            refusal = (str_t) { b->text.p, b->text.n };
        } else {
            rc = first ? 0 : buf_puts(&c->out, ",");
            rc = rc != 0 ? rc : put_block(c, b);
            first = false;
        }
    }
    rc = rc != 0 ? rc : buf_puts(&c->out, "],");
    rc = rc != 0 ? rc : put_stop(&c->out, res, refusal, called);
    rc = rc != 0 ? rc : buf_puts(&c->out, ",");
    rc = rc != 0 ? rc : put_usage(&c->out, res, true);
    return rc != 0 ? rc : buf_puts(&c->out, "}");
}

/* --- errors --- */

static const char *error_type(int status)
{
    static const struct { int status; const char *type; } types[] = {
        { 401, "authentication_error" }, { 402, "billing_error" }, { 403, "permission_error" }, { 404, "not_found_error" },
        { 413, "request_too_large" }, { 429, "rate_limit_error" }, { 504, "timeout_error" }, { 529, "overloaded_error" },
    };

    for (size_t i = 0; i < SI_COUNT(types); i++) {
        if (types[i].status == status) {
            return types[i].type;
        }
    }
    return status >= 500 ? "api_error" : "invalid_request_error";
}

int anthropic_error(buf_t *b, const face_error_t *e)
{
    int rc = buf_printf(b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", error_type(e->status));

    if (e->field != NULL) {             /* a member of its own would be shown by no client */
        char text[640];

        (void) snprintf(text, sizeof text, "%s: %s", e->field, e->message);
        rc = rc != 0 ? rc : buf_json_str(b, str_of(text));
    } else {
        rc = rc != 0 ? rc : buf_json_str(b, str_of(e->message));
    }
    rc = rc != 0 ? rc : buf_printf(b, ",\"details\":{\"error_code\":\"%s\"}},\"request_id\":", e->code);
    rc = rc != 0 ? rc : e->request.n > 0 ? buf_json_str(b, e->request) : buf_puts(b, "null");
    return rc != 0 ? rc : buf_puts(b, "}");
}
