/*
 * What a response says: the sequence of events, or one body. An item of the output is a message of one part, a reasoning, or
 * the call of a function; its text stands in a delta each, in the event that ends it, and in the response at the end.
 * Reference: https://platform.openai.com/docs/api-reference/responses-streaming, …/responses/object
 */
#include "api/face_responses.h"

#include <inttypes.h>

#include "base/proc.h"
#include "llm/body.h"

/* --- items --- */

static const char *id_prefix(chat_kind_t kind)
{
    return kind == CHAT_CALL ? "fc" : kind == CHAT_REASONING || kind == CHAT_REDACTED ? "rs" : "msg";
}

static const char *item_id(const face_call_t *c, size_t index, chat_kind_t kind)
{
    return arena_printf(c->arena, "%s_%s%03zx", id_prefix(kind), c->id, index);
}

static json_t *content_part(chat_kind_t kind, str_t text)
{
    if (kind == CHAT_REFUSAL) {
        return json_pack("{s:s,s:o}", "type", "refusal", "refusal", body_str(text));
    }
    return json_pack("{s:s,s:o,s:[],s:[]}", "type", "output_text", "text", body_str(text), "annotations", "logprobs");
}

static json_t *summary_part(str_t text)
{
    return json_pack("{s:s,s:o}", "type", "summary_text", "text", body_str(text));
}

static json_t *call_item(const char *id, const face_block_t *b, const char *status)
{
    json_t *v = json_pack("{s:s,s:s,s:s,s:o,s:s,s:s}", "id", id, "type", "function_call", "status", status, "arguments",
                          body_str((str_t) { b->text.p, b->text.n }), "call_id", b->id, "name", b->name);

    if (b->signature.n > 0) {       /* as in chat completions */
        json_object_set_new(v, "extra_content", json_pack("{s:{s:o}}", "google", "thought_signature",
                            body_str((str_t) { b->signature.p, b->signature.n })));
    }
    return v;
}

static json_t *reasoning_item(const char *id, const face_block_t *b)
{
    const buf_t *sealed = b->kind == CHAT_REDACTED ? &b->text : &b->signature;
    json_t      *v = json_pack("{s:s,s:s,s:[]}", "id", id, "type", "reasoning", "summary");

    if (b->kind == CHAT_REASONING && b->text.n > 0) {
        json_array_append_new(json_object_get(v, "summary"), summary_part((str_t) { b->text.p, b->text.n }));
    }
    if (sealed->n > 0) {
        json_object_set_new(v, "encrypted_content", body_str((str_t) { sealed->p, sealed->n }));
    }
    return v;
}

/* status: "in_progress": as it begins, without its text. */
static json_t *item_json(const face_call_t *c, size_t index, const face_block_t *b, const char *status)
{
    const char *id = item_id(c, index, b->kind);
    json_t     *v;

    if (b->kind == CHAT_CALL) {
        return call_item(id, b, status);
    }
    if (b->kind == CHAT_REASONING || b->kind == CHAT_REDACTED) {
        return reasoning_item(id, b);
    }
    v = json_pack("{s:s,s:s,s:s,s:[],s:s}", "id", id, "type", "message", "status", status, "content", "role", "assistant");
    if (strcmp(status, "in_progress") != 0) {
        json_array_append_new(json_object_get(v, "content"), content_part(b->kind, (str_t) { b->text.p, b->text.n }));
    }
    return v;
}

/* --- the response --- */

/* Why an answer is not all there is; NULL: it is. */
static const char *incomplete(const llm_result_t *res)
{
    bool filtered = strcmp(res->finish, "content_filter") == 0 || strcmp(res->finish, "refusal") == 0;

    return filtered ? "content_filter" : strcmp(res->finish, "length") == 0 || strcmp(res->finish, "pause") == 0 ? "max_output_tokens" : NULL;
}

static json_t *usage_json(const llm_result_t *r)
{
    return json_pack("{s:I,s:{s:I,s:I},s:I,s:{s:I},s:I}", "input_tokens", (json_int_t) r->input_tokens, "input_tokens_details",
                     "cached_tokens", (json_int_t) r->cached_tokens, "cache_write_tokens", (json_int_t) r->cache_write_tokens,
                     "output_tokens", (json_int_t) r->output_tokens, "output_tokens_details", "reasoning_tokens", (json_int_t) r->reasoning_tokens,
                     "total_tokens", (json_int_t) r->input_tokens + (json_int_t) r->output_tokens);
}

/* What the response repeats of the request, and what holds where it says nothing. */
static void echo(json_t *v, const json_t *body)
{
    static const struct { const char *name, *usual; } members[] = {
        { "instructions", "null" }, { "max_output_tokens", "null" }, { "metadata", "{}" }, { "parallel_tool_calls", "true" },
        { "reasoning", "{\"effort\":null,\"summary\":null}" }, { "temperature", "1.0" }, { "text", "{\"format\":{\"type\":\"text\"}}" },
        { "tool_choice", "\"auto\"" }, { "tools", "[]" }, { "top_p", "1.0" }, { "truncation", "\"disabled\"" }, { "user", "null" },
    };

    for (size_t i = 0; i < SI_COUNT(members); i++) {
        json_t *given = json_object_get(body, members[i].name);

        if (given != NULL && !json_is_null(given)) {
            json_object_set(v, members[i].name, given);
        } else {
            json_object_set_new(v, members[i].name, json_loads(members[i].usual, JSON_DECODE_ANY, NULL));
        }
    }
}

/* res: of an answer that has ended; NULL: it runs, or c->err says why it broke off. Takes the reference of output. */
static json_t *response_json(face_call_t *c, const llm_result_t *res, bool failed, json_t *output)
{
    const responses_state_t *s = c->state;
    const char *why = res != NULL ? incomplete(res) : NULL;
    const char *status = failed ? "failed" : res == NULL ? "in_progress" : why != NULL ? "incomplete" : "completed";
    json_t     *v = json_pack("{s:s,s:s,s:I,s:s,s:b,s:n,s:n,s:o,s:o,s:n,s:b}", "id", arena_printf(c->arena, "resp_%s", c->id), "object", "response",
                              "created_at", (json_int_t) c->created, "status", status, "background", 0, "error", "incomplete_details",
                              "model", body_str(str_of(c->name)), "output", output, "previous_response_id", "store", 0);

    if (why != NULL) {
        json_object_set_new(v, "incomplete_details", json_pack("{s:s}", "reason", why));
    }
    if (failed) {
        json_object_set_new(v, "error", json_pack("{s:s,s:o}", "code", c->err.status == 429 ? "rate_limit_exceeded" : "server_error",
                            "message", body_str(str_of(c->err.message))));
    }
    echo(v, s->body);
    json_object_set_new(v, "usage", res != NULL ? usage_json(res) : json_null());
    return v;
}

/* --- events --- */

static int put_head(face_call_t *c, const char *type)
{
    responses_state_t *s = c->state;

    return buf_printf(&c->out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%" PRIu64, type, type, s->sequence++);
}

/* An event of these members, whose reference it takes. */
static int put_event(face_call_t *c, const char *type, json_t *v)
{
    char *text = json_text(c->arena, v);
    int   rc = put_head(c, type);

    json_decref(v);
    rc = rc != 0 ? rc : buf_puts(&c->out, ",");
    rc = rc != 0 ? rc : buf_puts(&c->out, text + 1);
    return rc != 0 ? rc : buf_puts(&c->out, "\n\n");
}

/* The members that tell an item apart, and its part. */
static json_t *about(const face_call_t *c, size_t index, const char *part)
{
    const responses_state_t *s = c->state;
    json_t *v = json_pack("{s:s,s:I}", "item_id", item_id(c, index, s->items[index].kind), "output_index", (json_int_t) index);

    if (part != NULL) {
        json_object_set_new(v, part, json_integer(0));
    }
    return v;
}

static int put_part(face_call_t *c, const char *type, size_t index, const char *which, json_t *part)
{
    json_t *v = about(c, index, which);

    json_object_set_new(v, "part", part);
    return put_event(c, type, v);
}

/* How the events of an item are called, by its kind. */
static const struct words {
    const char *delta, *done, *member;          /* of its text; the member of `done` */
    const char *part_added, *part_done, *index; /* of its part; NULL: it has none */
} words[CHAT_KINDS] = {
    [CHAT_TEXT] = { "response.output_text.delta", "response.output_text.done", "text",
                    "response.content_part.added", "response.content_part.done", "content_index" },
    [CHAT_REFUSAL] = { "response.refusal.delta", "response.refusal.done", "refusal",
                       "response.content_part.added", "response.content_part.done", "content_index" },
    [CHAT_REASONING] = { "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done", "text",
                         "response.reasoning_summary_part.added", "response.reasoning_summary_part.done", "summary_index" },
    [CHAT_CALL] = { "response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments", NULL, NULL, NULL },
};

static json_t *part_of(chat_kind_t kind, str_t text)
{
    return kind == CHAT_REASONING ? summary_part(text) : content_part(kind, text);
}

static int begin_item(face_call_t *c, const chat_event_t *ev)
{
    responses_state_t  *s = c->state;
    size_t              index = s->nitems;
    face_block_t       *b = &s->items[index];
    const struct words *w;
    int                 rc;

    if (index == FACE_BLOCKS) {
        return SI_ENOMEM;
    }
    *b = (face_block_t) { .kind = ev->kind == CHAT_SIGNATURE ? CHAT_REASONING : ev->kind };
    buf_init(&b->text, proc.conf->answer_max);
    buf_init(&b->signature, proc.conf->answer_max);
    if (ev->kind == CHAT_CALL) {
        b->id = arena_strdup(c->arena, ev->id);
        b->name = arena_strdup(c->arena, ev->name);
    }
    s->nitems++;
    w = &words[b->kind];
    rc = put_event(c, "response.output_item.added", json_pack("{s:I,s:o}", "output_index", (json_int_t) index, "item", item_json(c, index, b, "in_progress")));
    return rc != 0 || w->part_added == NULL ? rc : put_part(c, w->part_added, index, w->index, part_of(b->kind, STR_NULL));
}

static int end_item(face_call_t *c, size_t index, const char *status)
{
    responses_state_t  *s = c->state;
    const face_block_t *b = &s->items[index];
    const struct words *w = &words[b->kind];
    str_t               text = { b->text.p, b->text.n };
    json_t             *v;
    int                 rc = 0;

    if (s->ended[index]) {
        return 0;
    }
    s->ended[index] = true;
    if (w->done != NULL) {
        v = about(c, index, w->index);
        json_object_set_new(v, w->member, body_str(text));
        if (b->kind == CHAT_TEXT) {
            json_object_set_new(v, "logprobs", json_array());
        } else if (b->kind == CHAT_CALL) {
            json_object_set_new(v, "name", json_string(b->name));
        }
        rc = put_event(c, w->done, v);
    }
    if (rc == 0 && w->part_done != NULL) {
        rc = put_part(c, w->part_done, index, w->index, part_of(b->kind, text));
    }
    return rc != 0 ? rc : put_event(c, "response.output_item.done",
                                    json_pack("{s:I,s:o}", "output_index", (json_int_t) index, "item", item_json(c, index, b, status)));
}

/* The piece of an item's text that has come; this is what there is most of, so it is written at once. */
static int put_delta(face_call_t *c, size_t index, str_t text)
{
    const responses_state_t *s = c->state;
    const face_block_t      *b = &s->items[index];
    const struct words      *w = &words[b->kind];
    int                      rc = put_head(c, w->delta);

    rc = rc != 0 ? rc : buf_printf(&c->out, ",\"item_id\":\"%s_%s%03zx\",\"output_index\":%zu", id_prefix(b->kind), c->id, index, index);
    if (rc == 0 && w->index != NULL) {
        rc = buf_printf(&c->out, ",\"%s\":0", w->index);
    }
    rc = rc != 0 ? rc : buf_puts(&c->out, ",\"delta\":");
    rc = rc != 0 ? rc : buf_json_str(&c->out, text);
    return rc != 0 ? rc : buf_puts(&c->out, b->kind == CHAT_TEXT ? ",\"logprobs\":[]}\n\n" : "}\n\n");
}

static void free_items(void *p)
{
    responses_state_t *s = p;

    for (size_t i = 0; i < s->nitems; i++) {
        buf_free(&s->items[i].text);
        buf_free(&s->items[i].signature);
    }
}

static int put_state(face_call_t *c, const char *type)
{
    return put_event(c, type, json_pack("{s:o}", "response", response_json(c, NULL, false, json_array())));
}

int responses_begin(face_call_t *c, const chat_event_t *first)
{
    responses_state_t *s = c->state;
    int                rc;

    (void) first;
    s->items = arena_alloc(c->arena, FACE_BLOCKS * sizeof *s->items);
    s->ended = arena_calloc(c->arena, FACE_BLOCKS * sizeof *s->ended);
    arena_defer(c->arena, free_items, s);
    rc = put_state(c, "response.created");
    return rc != 0 ? rc : put_state(c, "response.in_progress");
}

/* The item that an event goes on with; nitems: it begins one. */
static size_t goes_on(const responses_state_t *s, const chat_event_t *ev)
{
    size_t   last = s->nitems - 1;
    uint32_t n = 0;

    for (size_t i = 0; ev->kind == CHAT_ARGS && i < s->nitems; i++) {
        if (s->items[i].kind == CHAT_CALL && n++ == ev->index) {
            return i;
        }
    }
    if (s->nitems == 0 || ev->kind == CHAT_CALL || ev->kind == CHAT_REDACTED) {
        return s->nitems;
    }
    if (ev->kind == CHAT_SIGNATURE) {
        return s->items[last].kind == CHAT_REASONING || s->items[last].kind == CHAT_CALL ? last : s->nitems;
    }
    return s->items[last].kind == ev->kind && s->items[last].signature.n == 0 ? last : s->nitems;
}

int responses_event(face_call_t *c, const chat_event_t *ev)
{
    responses_state_t *s = c->state;
    size_t             at = goes_on(s, ev);
    face_block_t      *b;
    int                rc = 0;

    if (at == s->nitems) {
        if (at > 0 && s->items[at - 1].kind != CHAT_CALL) {
            rc = end_item(c, at - 1, "completed");
        }
        rc = rc != 0 ? rc : begin_item(c, ev);
    }
    if (rc != 0 || ev->text.n == 0) {
        return rc;
    }
    b = &s->items[at];
    if (ev->kind == CHAT_SIGNATURE || ev->kind == CHAT_REDACTED) {      /* seen with the end of the item */
        return buf_append(ev->kind == CHAT_SIGNATURE ? &b->signature : &b->text, ev->text.p, ev->text.n);
    }
    rc = buf_append(&b->text, ev->text.p, ev->text.n);
    return rc != 0 ? rc : put_delta(c, at, ev->text);
}

/* All items, finished; the last one may be cut. */
static json_t *output_json(const face_call_t *c, const face_block_t *items, size_t n, const char *last)
{
    json_t *output = json_array();

    for (size_t i = 0; i < n; i++) {
        json_array_append_new(output, item_json(c, i, &items[i], i + 1 == n ? last : "completed"));
    }
    return output;
}

int responses_end(face_call_t *c, const llm_result_t *res)
{
    const responses_state_t *s = c->state;
    const char              *last = incomplete(res) != NULL ? "incomplete" : "completed";
    int                      rc = 0;

    for (size_t i = 0; i < s->nitems && rc == 0; i++) {
        rc = end_item(c, i, i + 1 == s->nitems ? last : "completed");
    }
    return rc != 0 ? rc : put_event(c, incomplete(res) != NULL ? "response.incomplete" : "response.completed",
                                    json_pack("{s:o}", "response", response_json(c, res, false, output_json(c, s->items, s->nitems, last))));
}

/* Clients look for either: the error, and the response that has failed. */
int responses_broken(face_call_t *c)
{
    const responses_state_t *s = c->state;
    int rc = put_event(c, "error", json_pack("{s:s,s:o,s:n}", "code", c->err.code, "message", body_str(str_of(c->err.message)), "param"));

    return rc != 0 ? rc : put_event(c, "response.failed",
                                    json_pack("{s:o}", "response", response_json(c, NULL, true, output_json(c, s->items, s->nitems, "incomplete"))));
}

int responses_whole(face_call_t *c, const llm_result_t *res)
{
    const char *last = incomplete(res) != NULL ? "incomplete" : "completed";
    json_t     *v = response_json(c, res, false, output_json(c, c->blocks, c->nblocks, last));
    int         rc = json_dump(&c->out, v);

    json_decref(v);
    return rc;
}
