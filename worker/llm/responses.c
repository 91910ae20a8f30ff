/*
 * OpenAI's Responses API (developers.openai.com/api/reference/resources/responses), asked without state: `store` is false, so
 * all that was said goes along each time, reasoning as its encrypted content.
 *
 * The address is base_url + "/responses". Leading system messages are `instructions`, later ones items. Signatures of
 * reasoning are `encrypted_content`; items are sent without their ids, which a provider that stores nothing cannot look up.
 * The result of a failed tool says so in a text of its own. There is no word for top_k, seed, penalties, stop sequences and budgets of reasoning tokens: refused. Cache points are
 * not sent: OpenAI caches by itself.
 */
#include <math.h>

#include "llm/body.h"
#include "llm/responses_read.h"

#define KIND  "openai-responses"

typedef struct {
    arena_t     *a;
    llm_error_t *err;
    json_t      *input;
    json_t      *content;           /* of the message that is being written; NULL: none */
    chat_role_t  role;
} items_t;

/* Content */

static json_t *text_part(chat_role_t role, str_t text)
{
    return json_pack("{s:s,s:o}", "type", role == CHAT_ASSISTANT ? "output_text" : "input_text", "text", body_str(text));
}

static json_t *image_part(arena_t *a, const chat_part_t *p)
{
    json_t *v = json_pack("{s:s,s:o}", "type", "input_image", "image_url", body_url(a, p));

    json_object_set_new(v, "detail", json_string(p->detail != NULL ? p->detail : "auto"));
    return v;
}

static json_t *file_part(arena_t *a, const chat_part_t *p)
{
    json_t *v = json_pack("{s:s}", "type", "input_file");

    if (p->media != NULL) {         /* data needs a name */
        bool pdf = strcmp(p->media, "application/pdf") == 0;

        json_object_set_new(v, "filename", json_string(p->name != NULL ? p->name : pdf ? "document.pdf" : "document.txt"));
    }
    json_object_set_new(v, p->media != NULL ? "file_data" : "file_url", body_url(a, p));
    return v;
}

/* Text, image or file; NULL: none of these. */
static json_t *content_part(arena_t *a, chat_role_t role, const chat_part_t *p)
{
    switch (p->kind) {
    case PART_TEXT:
        return text_part(role, p->text);
    case PART_IMAGE:
        return image_part(a, p);
    case PART_FILE:
        return file_part(a, p);
    default:
        return NULL;
    }
}

/* Items */

static void add_item(items_t *s, json_t *item)
{
    json_array_append_new(s->input, item);
    s->content = NULL;
}

static int add_content(items_t *s, chat_role_t role, const chat_part_t *p)
{
    if (role == CHAT_ASSISTANT && p->kind != PART_TEXT) {
        return format_unsupported(s->err, KIND, "an image or a file in the assistant's message");
    }
    if (s->content == NULL || s->role != role) {
        json_t *content = json_array();

        add_item(s, json_pack("{s:s,s:s,s:o}", "type", "message", "role", chat_role_name(role), "content", content));
        s->content = content;
        s->role = role;
    }
    json_array_append_new(s->content, content_part(s->a, role, p));
    return 0;
}

/* What has no encrypted content, of another provider, goes as a summary. */
static void add_reasoning(items_t *s, str_t summary, str_t encrypted)
{
    json_t *texts = json_array(), *item;

    if (summary.n > 0) {
        json_array_append_new(texts, json_pack("{s:s,s:o}", "type", "summary_text", "text", body_str(summary)));
    }
    item = json_pack("{s:s,s:o}", "type", "reasoning", "summary", texts);
    if (encrypted.n > 0) {
        json_object_set_new(item, "encrypted_content", body_str(encrypted));
    }
    add_item(s, item);
}

static void add_call(items_t *s, const chat_part_t *p)
{
    str_t args = p->text.n > 0 ? p->text : STR("{}");

    add_item(s, json_pack("{s:s,s:s,s:s,s:o}", "type", "function_call", "call_id", p->id, "name", p->name, "arguments", body_str(args)));
}

/* That a tool has failed is said in words: there is no mark for it. */
static void add_result(items_t *s, const chat_part_t *p)
{
    json_t *output = json_array();

    if (p->failed) {
        json_array_append_new(output, text_part(CHAT_USER, STR("The tool has failed.")));
    }
    for (size_t i = 0; i < p->nparts; i++) {
        json_array_append_new(output, content_part(s->a, CHAT_USER, &p->parts[i]));
    }
    if (json_array_size(output) == 0 || (json_array_size(output) == 1 && p->nparts == 1 && p->parts[0].kind == PART_TEXT)) {
        json_decref(output);
        output = body_str(p->nparts > 0 ? p->parts[0].text : STR(""));
    }
    add_item(s, json_pack("{s:s,s:s,s:o}", "type", "function_call_output", "call_id", p->id, "output", output));
}

static int add_part(items_t *s, chat_role_t role, const chat_part_t *p)
{
    switch (p->kind) {
    case PART_REASONING:
        add_reasoning(s, p->text, p->signature);
        return 0;
    case PART_REDACTED:
        add_reasoning(s, STR_NULL, p->text);
        return 0;
    case PART_CALL:
        add_call(s, p);
        return 0;
    case PART_RESULT:
        add_result(s, p);
        return 0;
    default:
        return add_content(s, role, p);
    }
}

static int put_input(json_t *body, arena_t *a, const llm_request_t *q, llm_error_t *err)
{
    items_t s = { .a = a, .err = err, .input = json_array() };
    char   *instructions = NULL;
    size_t  i = 0;
    int     rc = 0;

    json_object_set_new(body, "input", s.input);
    for (; i < q->nmessages && q->messages[i].role == CHAT_SYSTEM; i++) {
        str_t text = chat_text_of(a, &q->messages[i]);

        instructions = arena_printf(a, "%s%s%.*s", instructions ? instructions : "", instructions ? "\n\n" : "", STR_ARG(text));
    }
    if (instructions != NULL) {
        json_object_set_new(body, "instructions", body_str(str_of(instructions)));
    }
    for (; i < q->nmessages && rc == 0; i++) {
        s.content = NULL;
        for (size_t k = 0; k < q->messages[i].nparts && rc == 0; k++) {
            rc = add_part(&s, q->messages[i].role, &q->messages[i].parts[k]);
        }
    }
    return rc;
}

/* Options */

static int put_tools(json_t *body, arena_t *a, const chat_options_t *o, llm_error_t *err)
{
    static const char *const words[] = { [CHOICE_AUTO] = "auto", [CHOICE_NONE] = "none", [CHOICE_ANY] = "required" };
    json_t *tools = json_array();

    if (o->ntools == 0) {
        json_decref(tools);
        return 0;
    }
    json_object_set_new(body, "tools", tools);
    for (size_t i = 0; i < o->ntools; i++) {
        const chat_tool_t *t = &o->tools[i];
        str_t   none = t->strict ? STR("{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}") : STR("{\"type\":\"object\",\"properties\":{}}");
        json_t *schema = body_object(a, t->schema.n > 0 ? t->schema : none, KIND, "schema", err), *tool;

        if (schema == NULL) {
            return SI_EINVAL;
        }
        tool = json_pack("{s:s,s:s,s:o,s:b}", "type", "function", "name", t->name, "parameters", schema, "strict", t->strict);
        if (t->description != NULL && t->description[0] != '\0') {
            json_object_set_new(tool, "description", json_string(t->description));
        }
        json_array_append_new(tools, tool);
    }
    json_object_set_new(body, "tool_choice", o->choice == CHOICE_ONE
                        ? json_pack("{s:s,s:s}", "type", "function", "name", o->choice_name) : json_string(words[o->choice]));
    if (o->parallel >= 0) {
        json_object_set_new(body, "parallel_tool_calls", json_boolean(o->parallel));
    }
    return 0;
}

static int put_shape(json_t *body, arena_t *a, const chat_options_t *o, llm_error_t *err)
{
    json_t *schema;

    if (o->shape == SHAPE_JSON) {
        json_object_set_new(body, "text", json_pack("{s:{s:s}}", "format", "type", "json_object"));
    }
    if (o->shape != SHAPE_SCHEMA) {
        return 0;
    }
    schema = body_object(a, o->shape_schema, KIND, "schema", err);
    if (schema == NULL) {
        return SI_EINVAL;
    }
    json_object_set_new(body, "text", json_pack("{s:{s:s,s:s,s:o,s:b,s:s*}}", "format", "type", "json_schema", "name",
                        o->shape_name != NULL ? o->shape_name : "answer", "schema", schema, "strict", o->shape_strict, "description", o->shape_about));
    return 0;
}

static int put_reasoning(json_t *body, const chat_options_t *o, llm_error_t *err)
{
    const char *effort = o->effort != NULL ? o->effort : o->reasoning_tokens == 0 ? "none" : NULL;

    if (o->reasoning_tokens > 0) {
        return format_unsupported(err, KIND, "a budget of reasoning tokens");
    }
    if (effort == NULL) {
        return 0;
    }
    json_object_set_new(body, "reasoning", json_pack("{s:s}", "effort", effort));
    if (strcmp(effort, "none") != 0) {
        json_object_set_new(json_object_get(body, "reasoning"), "summary", json_string("auto"));
        json_object_set_new(body, "include", json_pack("[s]", "reasoning.encrypted_content"));
    }
    return 0;
}

/* The first option that is given and has no word here, or NULL. */
static const char *no_word(const chat_options_t *o)
{
    return o->top_k >= 0 ? "top_k" : o->has_seed ? "seed" : o->nstop > 0 ? "stop sequences"
           : fabs(o->frequency_penalty) > 0 ? "frequency_penalty" : fabs(o->presence_penalty) > 0 ? "presence_penalty" : NULL;
}

static int put_options(json_t *body, arena_t *a, const llm_request_t *q, llm_error_t *err)
{
    const chat_options_t *o = &q->options;
    const char *none = no_word(o);
    int         rc;

    if (none != NULL) {
        return format_unsupported(err, KIND, none);
    }
    body_real(body, "temperature", o->temperature);
    body_real(body, "top_p", o->top_p);
    body_count(body, "max_output_tokens", body_max_tokens(q));
    if (o->end_user != NULL) {
        json_object_set_new(body, "safety_identifier", json_string(o->end_user));
    }
    rc = put_tools(body, a, o, err);
    rc = rc != 0 ? rc : put_shape(body, a, o, err);
    rc = rc != 0 ? rc : put_reasoning(body, o, err);
    return rc != 0 ? rc : body_extra(body, q, KIND, "responses", err);
}

static int co_put(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    const conf_provider_t *p = q->model->provider;
    json_t *body = json_pack("{s:o,s:b,s:b}", "model", body_str(str_of(q->model->upstream)), "stream", 1, "store", 0);
    int     rc;

    out->url = arena_printf(a, "%s/responses", p->base_url);
    if (p->api_key != NULL && p->api_key[0] != '\0') {
        format_header(out, arena_printf(a, "Authorization: Bearer %s", p->api_key));
    }
    rc = put_input(body, a, q, err);
    rc = rc != 0 ? rc : put_options(body, a, q, err);
    rc = rc != 0 ? rc : json_dump(&out->body, body);
    json_decref(body);
    return rc;
}

static const format_t format_responses = { .co_put = co_put, .event = responses_read_event, .whole = responses_read_whole };

const provider_t provider_responses = FORMAT_PROVIDER(KIND, &format_responses);
