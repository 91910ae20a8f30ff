/*
 * Chat completions as OpenAI defined them and many others speak them.
 *
 * The address is base_url + "/chat/completions": base_url is taken as it stands, so it ends as the provider's documentation
 * says ("https://api.openai.com/v1", "http://127.0.0.1:11434/v1"); nothing is guessed. "{model}" in it is the model's name, and
 * api_version goes behind it, for Azure's deployments. What servers differ in is said by configuration, not found out.
 *
 * Not sent: cache points unless cache_control says so (OpenAI caches by itself), reasoning of earlier answers unless send_reasoning
 * says so, and reasoning that only its provider can read. That a tool has failed is said in words, for there is no mark. Refused: budgets of
 * reasoning tokens, pictures in results of tools, files by URL.
 */
#include <math.h>

#include "llm/body.h"
#include "llm/openai_read.h"
#include "llm/openai_url.h"

#define KIND  "openai"

/* Messages: what most of a request consists of is written as text at once, without a tree. */

typedef struct {
    buf_t *b;
    size_t n;
    int    rc;
} list_of_messages_t;

/* Takes v; NULL: what is no UTF-8 makes none (see body_str()). */
static void add(list_of_messages_t *l, json_t *v)
{
    if (v == NULL) {
        return;
    }
    l->rc = l->rc != 0 || l->n++ == 0 ? l->rc : buf_puts(l->b, ",");
    l->rc = l->rc != 0 ? l->rc : json_dump(l->b, v);
    json_decref(v);
}

static void add_text(list_of_messages_t *l, chat_role_t role, str_t text)
{
    l->rc = l->rc != 0 ? l->rc : buf_puts(l->b, l->n++ == 0 ? "{\"role\":\"" : ",{\"role\":\"");
    l->rc = l->rc != 0 ? l->rc : buf_puts(l->b, chat_role_name(role));
    l->rc = l->rc != 0 ? l->rc : buf_puts(l->b, "\",\"content\":");
    l->rc = l->rc != 0 ? l->rc : buf_json_str(l->b, text);
    l->rc = l->rc != 0 ? l->rc : buf_puts(l->b, "}");
}

static bool takes_points(const llm_request_t *q)
{
    const char *word = q->model->provider->cache_control;

    return word != NULL && strcmp(word, "on") == 0;
}

/* As OpenRouter and LiteLLM have it, after Anthropic: on a part of a message, or a tool. */
static json_t *cache_point(const char *ttl)
{
    return json_pack("{s:s,s:s*}", "type", "ephemeral", "ttl", ttl);
}

static json_t *content_part(arena_t *a, const chat_part_t *p, llm_error_t *err)
{
    json_t *v;

    switch (p->kind) {
    case PART_TEXT:
        return json_pack("{s:s,s:o}", "type", "text", "text", body_str(p->text));
    case PART_IMAGE:
        v = json_pack("{s:s,s:{s:o}}", "type", "image_url", "image_url", "url", body_url(a, p));
        if (p->detail != NULL) {
            json_object_set_new(json_object_get(v, "image_url"), "detail", json_string(p->detail));
        }
        return v;
    default:                            /* PART_FILE */
        if (p->media == NULL) {
            (void) format_unsupported(err, KIND, "a file that has a URL");
            return NULL;
        }
        v = json_pack("{s:s,s:{s:o}}", "type", "file", "file", "file_data", body_url(a, p));
        json_object_set_new(json_object_get(v, "file"), "filename", json_string(p->name != NULL ? p->name : "document.pdf"));
        return v;
    }
}

static bool is_content(const chat_part_t *p)
{
    return p->kind == PART_TEXT || p->kind == PART_IMAGE || p->kind == PART_FILE;
}

/* Texts are one string, which all servers take; with a picture, a file or a cache point it is a list. NULL with *err, or none. */
static json_t *content_of(arena_t *a, const chat_message_t *m, bool points, llm_error_t *err)
{
    bool    text = true;
    size_t  n = 0;
    json_t *list, *one;

    for (size_t i = 0; i < m->nparts; i++) {
        n += is_content(&m->parts[i]);
        text = text && (!is_content(&m->parts[i]) || (m->parts[i].kind == PART_TEXT && !(points && m->parts[i].cache)));
    }
    if (n == 0 || text) {
        return n == 0 ? NULL : body_str(chat_text_of(a, m));
    }
    list = json_array();
    for (size_t i = 0; i < m->nparts; i++) {
        one = is_content(&m->parts[i]) ? content_part(a, &m->parts[i], err) : NULL;
        if (one != NULL) {
            json_array_append_new(list, one);
        }
        if (one != NULL && points && m->parts[i].cache) {
            json_object_set_new(one, "cache_control", cache_point(m->parts[i].cache_ttl));
        }
    }
    return list;
}

static int put_result(list_of_messages_t *messages, arena_t *a, const chat_part_t *p, bool points, llm_error_t *err)
{
    chat_message_t     said = { CHAT_USER, p->parts, p->nparts };
    str_t              text = chat_text_of(a, &said);
    const chat_part_t *point = p->cache ? p : NULL;     /* of it all, or of one of its texts: they are one here */
    json_t            *content;

    for (size_t i = 0; i < p->nparts; i++) {
        if (p->parts[i].kind != PART_TEXT) {
            return format_unsupported(err, KIND, "a picture in the result of a tool");
        }
        point = point == NULL && p->parts[i].cache ? &p->parts[i] : point;
    }
    if (p->failed) {
        text = str_of(arena_printf(a, "The tool has failed.%s%.*s", text.n > 0 ? "\n" : "", STR_ARG(text)));
    }
    content = body_str(text);
    if (points && point != NULL) {
        content = json_pack("[{s:s,s:o}]", "type", "text", "text", content);
        json_object_set_new(json_array_get(content, 0), "cache_control", cache_point(point->cache_ttl));
    }
    add(messages, json_pack("{s:s,s:s,s:o}", "role", "tool", "tool_call_id", p->id, "content", content));
    return 0;
}

static json_t *message_of(const chat_message_t *m, json_t *content)
{
    json_t *v = json_pack("{s:s,s:o}", "role", chat_role_name(m->role), "content", content);

    if (m->nparts > 0 && m->parts[m->nparts - 1].kind == PART_NAME) {
        json_object_set_new(v, "name", body_str(m->parts[m->nparts - 1].text));
    }
    return v;
}

/* Results of tools are messages of their own, and stand before what else the user says. */
static int put_user(list_of_messages_t *messages, arena_t *a, const chat_message_t *m, bool points, llm_error_t *err)
{
    json_t *content;
    int     rc = 0;

    for (size_t i = 0; i < m->nparts && rc == 0; i++) {
        rc = m->parts[i].kind == PART_RESULT ? put_result(messages, a, &m->parts[i], points, err) : 0;
    }
    content = rc == 0 ? content_of(a, m, points, err) : NULL;
    if (content != NULL) {
        add(messages, message_of(m, content));
    }
    return rc != 0 ? rc : err->code[0] != '\0' ? SI_EINVAL : 0;
}

static json_t *call_of(const chat_part_t *p, bool sealed)
{
    str_t   args = p->text.n > 0 ? p->text : STR("{}");
    json_t *v = json_pack("{s:s,s:s,s:{s:s,s:o}}", "id", p->id, "type", "function", "function", "name", p->name, "arguments", body_str(args));

    if (sealed && p->signature.n > 0) {
        json_object_set_new(v, "extra_content", json_pack("{s:{s:o}}", "google", "thought_signature", body_str(p->signature)));
    }
    return v;
}

static int put_assistant(list_of_messages_t *messages, arena_t *a, const chat_message_t *m, const char *reasoning, bool points, llm_error_t *err)
{
    json_t *calls = json_array(), *thought = NULL, *content = content_of(a, m, points, err), *v;
    bool    always = strcmp(reasoning, "always") == 0, any = always || strcmp(reasoning, "calls") == 0;

    for (size_t i = 0; i < m->nparts; i++) {
        const chat_part_t *p = &m->parts[i];

        if (p->kind == PART_CALL) {
            json_array_append_new(calls, call_of(p, any));
        } else if (p->kind == PART_REASONING && p->text.n > 0) {
            json_decref(thought);
            thought = body_str(p->text);
        }
    }
    v = message_of(m, content != NULL ? content : json_null());
    if (thought != NULL && (always || (any && json_array_size(calls) > 0))) {
        json_object_set(v, "reasoning_content", thought);
    }
    if (json_array_size(calls) > 0) {
        json_object_set(v, "tool_calls", calls);
    }
    json_decref(thought);
    json_decref(calls);
    add(messages, v);
    return err->code[0] != '\0' ? SI_EINVAL : 0;
}

static int put_messages(buf_t *b, arena_t *a, const llm_request_t *q, llm_error_t *err)
{
    const char        *reasoning = q->model->provider->send_reasoning != NULL ? q->model->provider->send_reasoning : "never";
    list_of_messages_t messages = { .b = b };
    bool               points = takes_points(q);
    int                rc = 0;

    for (size_t i = 0; i < q->nmessages && rc == 0; i++) {
        const chat_message_t *m = &q->messages[i];

        if (m->nparts == 1 && m->parts[0].kind == PART_TEXT && !(points && m->parts[0].cache)) {
            add_text(&messages, m->role, m->parts[0].text);
        } else {
            rc = m->role == CHAT_ASSISTANT ? put_assistant(&messages, a, m, reasoning, points, err) : put_user(&messages, a, m, points, err);
        }
    }
    return rc != 0 ? rc : messages.rc;
}

/* Options */

/* As text like messages: a schema is JSON of the client's, as long as it wants to have it. */
static int put_tool(buf_t *b, const chat_tool_t *t, bool points)
{
    bool    about = t->description != NULL && t->description[0] != '\0';
    json_t *end = points && t->cache ? cache_point(t->cache_ttl) : NULL;
    int     rc = buf_puts(b, "{\"type\":\"function\",\"function\":{\"name\":");

    rc = rc != 0 ? rc : buf_json_str(b, str_of(t->name));
    rc = rc != 0 || !about ? rc : buf_puts(b, ",\"description\":");
    rc = rc != 0 || !about ? rc : buf_json_str(b, str_of(t->description));
    rc = rc != 0 || t->schema.n == 0 ? rc : buf_puts(b, ",\"parameters\":");
    rc = rc != 0 ? rc : buf_append(b, t->schema.p, t->schema.n);
    rc = rc != 0 ? rc : buf_puts(b, t->strict ? ",\"strict\":true}" : "}");
    rc = rc != 0 || end == NULL ? rc : buf_puts(b, ",\"cache_control\":");
    rc = rc != 0 || end == NULL ? rc : json_dump(b, end);
    json_decref(end);
    return rc != 0 ? rc : buf_puts(b, "}");
}

static int put_tools(buf_t *b, const chat_options_t *o, bool points)
{
    int rc = 0;

    for (size_t i = 0; i < o->ntools; i++) {
        rc = rc != 0 ? rc : buf_puts(b, i == 0 ? ",\"tools\":[" : ",");
        rc = rc != 0 ? rc : put_tool(b, &o->tools[i], points);
    }
    return rc != 0 || o->ntools == 0 ? rc : buf_puts(b, "]");
}

static void put_choice(json_t *body, const chat_options_t *o)
{
    static const char *const words[] = { [CHOICE_NONE] = "none", [CHOICE_ANY] = "required" };

    if (o->ntools == 0) {
        return;
    }
    if (o->choice != CHOICE_AUTO) {
        json_object_set_new(body, "tool_choice", o->choice == CHOICE_ONE
                            ? json_pack("{s:s,s:{s:s}}", "type", "function", "function", "name", o->choice_name) : json_string(words[o->choice]));
    }
    if (o->parallel >= 0) {
        json_object_set_new(body, "parallel_tool_calls", json_boolean(o->parallel));
    }
}

static int put_shape(json_t *body, arena_t *a, const chat_options_t *o, llm_error_t *err)
{
    json_t *schema;

    if (o->shape == SHAPE_JSON) {
        json_object_set_new(body, "response_format", json_pack("{s:s}", "type", "json_object"));
    }
    if (o->shape != SHAPE_SCHEMA) {
        return 0;
    }
    schema = body_object(a, o->shape_schema, KIND, "schema", err);
    if (schema == NULL) {
        return SI_EINVAL;
    }
    json_object_set_new(body, "response_format", json_pack("{s:s,s:{s:s,s:o,s:b,s:s*}}", "type", "json_schema", "json_schema", "name",
                        o->shape_name != NULL ? o->shape_name : "answer", "schema", schema, "strict", o->shape_strict, "description", o->shape_about));
    return 0;
}

/* OpenAI's own service takes the newer name for all its models, and the older one for those that do not reason only. */
static const char *limit_name(const conf_provider_t *p)
{
    if (p->max_tokens_name != NULL && strcmp(p->max_tokens_name, "auto") != 0) {
        return p->max_tokens_name;
    }
    return strstr(p->base_url, "api.openai.com/") != NULL ? "max_completion_tokens" : "max_tokens";
}

static int put_name(buf_t *b, const char *name)
{
    int rc = buf_puts(b, ",\"");

    rc = rc != 0 ? rc : buf_puts(b, name);
    return rc != 0 ? rc : buf_puts(b, "\":");
}

/* A number unless it is NAN, a whole number unless it is below 0, a text unless it is NULL. */
static int put_number(buf_t *b, const char *name, double v)
{
    int rc = isnan(v) ? 0 : put_name(b, name);

    return rc != 0 || isnan(v) ? rc : json_real_text(b, v);
}

static int put_count(buf_t *b, const char *name, int64_t v)
{
    int rc = v < 0 ? 0 : put_name(b, name);

    return rc != 0 || v < 0 ? rc : buf_int(b, v);
}

static int put_word(buf_t *b, const char *name, const char *v)
{
    int rc = v == NULL ? 0 : put_name(b, name);

    return rc != 0 || v == NULL ? rc : buf_json_str(b, str_of(v));
}

static int put_stop(buf_t *b, const chat_options_t *o)
{
    int rc = o->nstop > 0 ? put_name(b, "stop") : 0;

    for (size_t i = 0; i < o->nstop; i++) {
        rc = rc != 0 ? rc : buf_puts(b, i == 0 ? "[" : ",");
        rc = rc != 0 ? rc : buf_json_str(b, str_of(o->stop[i]));
    }
    return rc != 0 || o->nstop == 0 ? rc : buf_puts(b, "]");
}

static int put_options(buf_t *b, const llm_request_t *q, llm_error_t *err)
{
    const chat_options_t *o = &q->options;
    int                   rc;

    if (o->reasoning_tokens > 0) {
        return format_unsupported(err, KIND, "a budget of reasoning tokens");
    }
    rc = put_count(b, limit_name(q->model->provider), body_max_tokens(q));
    rc = rc != 0 ? rc : put_number(b, "temperature", o->temperature);
    rc = rc != 0 ? rc : put_number(b, "top_p", o->top_p);
    rc = rc != 0 ? rc : put_count(b, "top_k", o->top_k);
    rc = rc != 0 ? rc : put_number(b, "frequency_penalty", o->frequency_penalty);
    rc = rc != 0 ? rc : put_number(b, "presence_penalty", o->presence_penalty);
    if (o->has_seed) {
        rc = rc != 0 ? rc : put_name(b, "seed");
        rc = rc != 0 ? rc : buf_int(b, o->seed);
    }
    rc = rc != 0 ? rc : put_stop(b, o);
    rc = rc != 0 ? rc : put_word(b, "reasoning_effort", o->effort == NULL && o->reasoning_tokens == 0 ? "none" : o->effort);
    return rc != 0 ? rc : put_word(b, "user", o->end_user);
}

/* The request */

/* What most calls have not: it is made as a tree, whose brace ends the request. */
static int put_rest(buf_t *b, arena_t *a, const llm_request_t *q, llm_error_t *err)
{
    json_t *rest = json_own(a, json_object());
    size_t  at = b->n;
    int     rc = put_shape(rest, a, &q->options, err);

    put_choice(rest, &q->options);
    rc = rc != 0 ? rc : body_extra(rest, q, KIND, "openai", err);
    rc = rc != 0 ? rc : json_dump(b, rest);
    if (rc == 0 && json_object_size(rest) > 0) {
        b->p[at] = ',';
    } else if (rc == 0) {
        b->n = at;
        rc = buf_puts(b, "}");
    }
    return rc;
}

static int co_put(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    const chat_options_t *o = &q->options;
    buf_t                *b = &out->body;
    int                   rc = buf_puts(b, "{\"model\":");

    out->url = openai_url(a, q->model, "/chat/completions");
    openai_key(a, q->model->provider, out);
    err->code[0] = '\0';
    rc = rc != 0 ? rc : buf_json_str(b, str_of(q->model->upstream));
    rc = rc != 0 ? rc : buf_puts(b, ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"messages\":[");
    rc = rc != 0 ? rc : put_messages(b, a, q, err);
    rc = rc != 0 ? rc : buf_puts(b, "]");
    rc = rc != 0 ? rc : put_tools(b, o, takes_points(q));
    rc = rc != 0 ? rc : put_options(b, q, err);
    if (rc == 0 && (o->ntools > 0 || o->shape != SHAPE_FREE || json_object_size(o->extra) > 0)) {
        return put_rest(b, a, q, err);
    }
    return rc != 0 ? rc : buf_puts(b, "}");
}

static const format_t format_openai = { .co_put = co_put, .event = openai_read_event, .whole = openai_read_whole, .names = true };

const provider_t provider_openai = FORMAT_PROVIDER("openai", &format_openai);
