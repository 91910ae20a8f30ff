/*
 * What a chat completion answers: chunks, or one body, and errors.
 * Reference: https://platform.openai.com/docs/api-reference/chat/streaming, …/chat/object, …/guides/error-codes
 */
#include "api/face_openai.h"

#include <stdio.h>

/* Ends that OpenAI has no word for are "length", which says that the answer is not all there is, or what blocks one. */
static const char *finish_word(const char *finish)
{
    static const struct { const char *ours, *theirs; } words[] = {
        { "length", "length" }, { "content_filter", "content_filter" }, { "tool_calls", "tool_calls" },
        { "refusal", "content_filter" }, { "pause", "length" },
    };

    for (size_t i = 0; i < SI_COUNT(words); i++) {
        if (strcmp(finish, words[i].ours) == 0) {
            return words[i].theirs;
        }
    }
    return "stop";
}

/* A printf() of it all takes longer than the rest of the chunk. */
static int put_count(buf_t *b, const char *before, int64_t n)
{
    int rc = buf_puts(b, before);

    return rc != 0 ? rc : buf_int(b, n);
}

static int put_usage(buf_t *b, const llm_result_t *r)
{
    int rc = put_count(b, "{\"prompt_tokens\":", r->input_tokens);

    rc = rc != 0 ? rc : put_count(b, ",\"completion_tokens\":", r->output_tokens);
    rc = rc != 0 ? rc : put_count(b, ",\"total_tokens\":", r->input_tokens + r->output_tokens);
    rc = rc != 0 ? rc : put_count(b, ",\"prompt_tokens_details\":{\"cached_tokens\":", r->cached_tokens);
    if (r->cache_write_tokens > 0) {
        rc = rc != 0 ? rc : put_count(b, ",\"cache_write_tokens\":", r->cache_write_tokens);
    }
    rc = rc != 0 ? rc : put_count(b, "},\"completion_tokens_details\":{\"reasoning_tokens\":", r->reasoning_tokens);
    return rc != 0 ? rc : buf_puts(b, "}}");
}

/* What an answer, and every chunk of one, begins with: up to the model's name. object: its name with what is around it. */
static int put_head(face_call_t *c, buf_t *b, const char *object)
{
    int rc = buf_puts(b, "{\"id\":\"chatcmpl-");

    rc = rc != 0 ? rc : buf_puts(b, c->id);
    rc = rc != 0 ? rc : put_count(b, object, (int64_t) c->created);
    rc = rc != 0 ? rc : buf_puts(b, ",\"model\":");
    return rc != 0 ? rc : buf_json_str(b, str_of(c->name));
}

/* --- chunks --- */

/* How every chunk begins is written once, when the model's name is known: there are hundreds of chunks. */
static int make_open(face_call_t *c, str_t *open)
{
    buf_t b;
    int   rc;

    buf_init(&b, c->out.max);
    rc = buf_puts(&b, "data: ");
    rc = rc != 0 ? rc : put_head(c, &b, "\",\"object\":\"chat.completion.chunk\",\"created\":");
    rc = rc != 0 ? rc : buf_puts(&b, ",\"choices\":[");
    if (rc == 0) {
        *open = (str_t) { arena_dup(c->arena, b.p, b.n), b.n };
    }
    buf_free(&b);
    return rc;
}

static int put_open(face_call_t *c)
{
    openai_state_t *s = c->state;
    int             rc = s->open.n == 0 ? make_open(c, &s->open) : 0;

    return rc != 0 ? rc : buf_append(&c->out, s->open.p, s->open.n);
}

static int delta_open(face_call_t *c)
{
    int rc = put_open(c);

    return rc != 0 ? rc : buf_puts(&c->out, "{\"index\":0,\"delta\":{");
}

/* finish: with its quotes, or null. */
static int delta_close(face_call_t *c, const char *finish)
{
    const openai_state_t *s = c->state;
    int                   rc = buf_puts(&c->out, "},\"logprobs\":null,\"finish_reason\":");

    rc = rc != 0 ? rc : buf_puts(&c->out, finish);
    return rc != 0 ? rc : buf_puts(&c->out, s->usage ? "}],\"usage\":null}\n\n" : "}]}\n\n");
}

int openai_begin(face_call_t *c, const chat_event_t *first)
{
    bool text = first == NULL || first->kind == CHAT_TEXT;
    int  rc = delta_open(c);

    rc = rc != 0 ? rc : buf_puts(&c->out, text ? "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null"
                                                 : "\"role\":\"assistant\",\"content\":null,\"refusal\":null");
    return rc != 0 ? rc : delta_close(c, "null");
}

/* name: with its quotes and colon. */
static int put_member(face_call_t *c, const char *name, str_t text)
{
    int rc = buf_puts(&c->out, name);

    return rc != 0 ? rc : buf_json_str(&c->out, text);
}

static int put_call(face_call_t *c, const chat_event_t *ev)
{
    int rc = buf_printf(&c->out, "\"tool_calls\":[{\"index\":%u,\"id\":", ev->index);

    rc = rc != 0 ? rc : buf_json_str(&c->out, str_of(ev->id));
    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"type\":\"function\",\"function\":{\"name\":");
    rc = rc != 0 ? rc : buf_json_str(&c->out, str_of(ev->name));
    return rc != 0 ? rc : buf_puts(&c->out, ",\"arguments\":\"\"}}]");
}

static int put_args(face_call_t *c, const chat_event_t *ev)
{
    int rc = put_count(&c->out, "\"tool_calls\":[{\"index\":", ev->index);

    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"function\":{\"arguments\":");
    rc = rc != 0 ? rc : buf_json_str(&c->out, ev->text);
    return rc != 0 ? rc : buf_puts(&c->out, "}}]");
}

/* Of a call only: as Google's own endpoint of this dialect shows it. */
static int put_signature(buf_t *b, str_t signature)
{
    int rc = buf_puts(b, "\"extra_content\":{\"google\":{\"thought_signature\":");

    rc = rc != 0 ? rc : buf_json_str(b, signature);
    return rc != 0 ? rc : buf_puts(b, "}}");
}

/* The AI SDK takes no piece of a call without a function. */
static int put_call_signature(face_call_t *c, const chat_event_t *ev)
{
    const openai_state_t *s = c->state;
    int                   rc = buf_printf(&c->out, "\"tool_calls\":[{\"index\":%u,\"function\":{\"arguments\":\"\"},", s->call);

    rc = rc != 0 ? rc : put_signature(&c->out, ev->text);
    return rc != 0 ? rc : buf_puts(&c->out, "}]");
}

static int put_delta(face_call_t *c, const chat_event_t *ev)
{
    switch (ev->kind) {
    case CHAT_TEXT:
        return put_member(c, "\"content\":", ev->text);
    case CHAT_REASONING:
        return put_member(c, "\"reasoning_content\":", ev->text);
    case CHAT_REFUSAL:
        return put_member(c, "\"refusal\":", ev->text);
    case CHAT_CALL:
        return put_call(c, ev);
    case CHAT_ARGS:
        return put_args(c, ev);
    default:
        return put_call_signature(c, ev);
    }
}

int openai_event(face_call_t *c, const chat_event_t *ev)
{
    openai_state_t *s = c->state;
    int             rc;

    if (ev->kind == CHAT_CALL) {
        s->called = true;
        s->call = ev->index;
    }
    if (ev->kind == CHAT_REDACTED || (ev->kind == CHAT_SIGNATURE && !s->called)) {
        return 0;                       /* of a reasoning: this dialect has no place for it */
    }
    rc = delta_open(c);
    rc = rc != 0 ? rc : put_delta(c, ev);
    return rc != 0 ? rc : delta_close(c, "null");
}

int openai_end(face_call_t *c, const llm_result_t *res)
{
    const openai_state_t *s = c->state;
    int                   rc = delta_open(c);

    rc = rc != 0 ? rc : delta_close(c, arena_printf(c->arena, "\"%s\"", finish_word(res->finish)));
    if (s->usage) {
        rc = rc != 0 ? rc : put_open(c);
        rc = rc != 0 ? rc : buf_puts(&c->out, "],\"usage\":");
        rc = rc != 0 ? rc : put_usage(&c->out, res);
        rc = rc != 0 ? rc : buf_puts(&c->out, "}\n\n");
    }
    return rc != 0 ? rc : buf_puts(&c->out, "data: [DONE]\n\n");
}

int openai_broken(face_call_t *c)
{
    int rc = buf_puts(&c->out, "data: ");

    rc = rc != 0 ? rc : openai_error(&c->out, &c->err);
    return rc != 0 ? rc : buf_puts(&c->out, "\n\n");
}

/* --- one body --- */

/* The texts of one kind as a member, or null; `always`: also when there is none. name: with its comma, quotes and colon. */
static int put_texts(face_call_t *c, const char *name, chat_kind_t kind, bool always)
{
    buf_t all;
    bool  any = false;
    int   rc = 0;

    buf_init(&all, c->out.max);
    for (size_t i = 0; i < c->nblocks && rc == 0; i++) {
        if (c->blocks[i].kind == kind) {
            any = true;
            rc = buf_append(&all, c->blocks[i].text.p, c->blocks[i].text.n);
        }
    }
    if (rc == 0 && (any || always)) {
        rc = buf_puts(&c->out, name);
        rc = rc != 0 || any ? rc : buf_puts(&c->out, "null");
        rc = rc != 0 || !any ? rc : buf_json_str(&c->out, (str_t) { all.p, all.n });
    }
    buf_free(&all);
    return rc;
}

static int put_whole_call(buf_t *b, const face_block_t *call)
{
    int rc = buf_puts(b, "{\"id\":");

    rc = rc != 0 ? rc : buf_json_str(b, str_of(call->id));
    rc = rc != 0 ? rc : buf_puts(b, ",\"type\":\"function\",\"function\":{\"name\":");
    rc = rc != 0 ? rc : buf_json_str(b, str_of(call->name));
    rc = rc != 0 ? rc : buf_puts(b, ",\"arguments\":");
    rc = rc != 0 ? rc : buf_json_str(b, (str_t) { call->text.p, call->text.n });
    rc = rc != 0 ? rc : buf_puts(b, "}");
    if (call->signature.n > 0) {
        rc = rc != 0 ? rc : buf_puts(b, ",");
        rc = rc != 0 ? rc : put_signature(b, (str_t) { call->signature.p, call->signature.n });
    }
    return rc != 0 ? rc : buf_puts(b, "}");
}

static int put_calls(face_call_t *c)
{
    const char *between = ",\"tool_calls\":[";
    int         rc = 0;

    for (size_t i = 0; i < c->nblocks && rc == 0; i++) {
        if (c->blocks[i].kind == CHAT_CALL) {
            rc = buf_puts(&c->out, between);
            rc = rc != 0 ? rc : put_whole_call(&c->out, &c->blocks[i]);
            between = ",";
        }
    }
    return rc != 0 || between[1] == '\0' ? (rc != 0 ? rc : buf_puts(&c->out, "]")) : 0;
}

int openai_whole(face_call_t *c, const llm_result_t *res)
{
    int rc = put_head(c, &c->out, "\",\"object\":\"chat.completion\",\"created\":");

    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"");
    rc = rc != 0 ? rc : put_texts(c, ",\"content\":", CHAT_TEXT, true);
    rc = rc != 0 ? rc : put_texts(c, ",\"refusal\":", CHAT_REFUSAL, true);
    rc = rc != 0 ? rc : put_texts(c, ",\"reasoning_content\":", CHAT_REASONING, false);
    rc = rc != 0 ? rc : put_calls(c);
    rc = rc != 0 ? rc : buf_puts(&c->out, "},\"logprobs\":null,\"finish_reason\":\"");
    rc = rc != 0 ? rc : buf_puts(&c->out, finish_word(res->finish));
    rc = rc != 0 ? rc : buf_puts(&c->out, "\"}],\"usage\":");
    rc = rc != 0 ? rc : put_usage(&c->out, res);
    return rc != 0 ? rc : buf_puts(&c->out, "}");
}

/* --- errors --- */

static const char *error_type(int status)
{
    static const struct { int status; const char *type; } types[] = {
        { 401, "authentication_error" }, { 402, "insufficient_quota" }, { 403, "permission_error" }, { 429, "rate_limit_error" },
    };

    for (size_t i = 0; i < SI_COUNT(types); i++) {
        if (types[i].status == status) {
            return types[i].type;
        }
    }
    return status >= 500 ? "server_error" : "invalid_request_error";
}

/* Ours, but where clients look for OpenAI's own. */
static const char *error_code(const char *code)
{
    return strcmp(code, "budget_exceeded") == 0 ? "insufficient_quota" : strcmp(code, "context_length") == 0 ? "context_length_exceeded" : code;
}

int openai_error(buf_t *b, const face_error_t *e)
{
    bool broke = strcmp(e->code, "budget_exceeded") == 0;       /* 429 as well, but a word of its own: to be told from a limit */
    int  rc = buf_puts(b, "{\"error\":{\"message\":");

    if (e->field != NULL) {             /* most clients show the message alone */
        char text[640];

        (void) snprintf(text, sizeof text, "%s: %s", e->field, e->message);
        rc = rc != 0 ? rc : buf_json_str(b, str_of(text));
    } else {
        rc = rc != 0 ? rc : buf_json_str(b, str_of(e->message));
    }
    rc = rc != 0 ? rc : buf_printf(b, ",\"type\":\"%s\",\"param\":", broke ? "insufficient_quota" : error_type(e->status));
    rc = rc != 0 ? rc : e->field != NULL ? buf_json_str(b, str_of(e->field)) : buf_puts(b, "null");
    return rc != 0 ? rc : buf_printf(b, ",\"code\":\"%s\"}}", error_code(e->code));
}
