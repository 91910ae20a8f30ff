/*
 * POST /v1/chat/completions: the request but for its messages. Members are of three kinds: those that chat_options_t has a
 * word for, those that a provider of the same dialect gets as they are (options.extra), and those whose answer could not be
 * shown, which are refused. A null is as good as absent.
 * Reference: https://platform.openai.com/docs/api-reference/chat/create
 */
#include "api/face_openai.h"

#define STOPS  16

/* Members that are read here, and so are not kept for the provider. */
static const char *const known[] = {
    "model", "messages", "stream", "stream_options", "n", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty",
    "max_tokens", "max_completion_tokens", "seed", "stop", "reasoning_effort", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "user", "modalities", "logprobs", "top_logprobs", "store", NULL,
};

/* Members whose answers have no place in ours. */
static int refuse_unspeakable(face_call_t *c, const json_t *o)
{
    static const struct { const char *name, *why; } never[] = {
        { "functions", "is out of use: send tools" }, { "function_call", "is out of use: send tool_choice" },
        { "audio", "answers are text here" }, { "web_search_options", "citations cannot be shown here" },
    };
    const json_t *modalities = face_get(c, o, "modalities");
    int64_t       n = 1, logprobs = 0;
    bool          flag = false;

    for (size_t i = 0; i < SI_COUNT(never); i++) {
        if (face_get(c, o, never[i].name) != NULL) {
            return face_refuse(c, never[i].name, "%s", never[i].why);
        }
    }
    if (face_count(c, "", o, "n", 1, &n) || face_flag(c, "", o, "logprobs", &flag) || face_count(c, "", o, "top_logprobs", 0, &logprobs)) {
        return -1;
    }
    if (n != 1) {
        return face_refuse(c, "n", "there is one answer to a call: 1");
    }
    if (flag || logprobs > 0) {
        return face_refuse(c, flag ? "logprobs" : "top_logprobs", "probabilities of tokens cannot be had here");
    }
    if (modalities != NULL
        && !(json_array_size(modalities) == 1 && str_is(str_of(json_string_value(json_array_get(modalities, 0))), "text")))
    {
        return face_refuse(c, "modalities", "may be [\"text\"] and nothing else");
    }
    return 0;
}

static int read_numbers(face_call_t *c, const json_t *o)
{
    chat_options_t *to = &c->q.options;
    const json_t   *seed = face_get(c, o, "seed");
    int64_t         old = -1;

    if (face_number(c, "", o, "temperature", &to->temperature) || face_number(c, "", o, "top_p", &to->top_p)
        || face_number(c, "", o, "frequency_penalty", &to->frequency_penalty)
        || face_number(c, "", o, "presence_penalty", &to->presence_penalty) || face_count(c, "", o, "top_k", -1, &to->top_k)
        || face_count(c, "", o, "seed", INT64_MIN, &to->seed) || face_count(c, "", o, "max_tokens", 1, &old)
        || face_count(c, "", o, "max_completion_tokens", 1, &to->max_tokens))
    {
        return -1;
    }
    to->has_seed = json_is_integer(seed);
    if (old >= 0 && to->max_tokens >= 0 && old != to->max_tokens) {
        return face_refuse(c, "max_tokens", "differs from max_completion_tokens");
    }
    to->max_tokens = old >= 0 ? old : to->max_tokens;
    return 0;
}

static int read_stop(face_call_t *c, const json_t *o)
{
    const json_t *v = face_get(c, o, "stop"), *one;
    size_t        i, n = json_is_array(v) ? json_array_size(v) : 1;

    if (v == NULL) {
        return 0;
    }
    if (n > STOPS) {
        return face_refuse(c, "stop", "may have %d sequences", STOPS);
    }
    c->q.options.stop = arena_calloc(c->arena, STOPS * sizeof(char *));
    for (i = 0; i < n; i++) {
        one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(one) || json_string_length(one) == 0) {
            return face_refuse(c, "stop", "must be a string, or a list of strings");
        }
        c->q.options.stop[c->q.options.nstop++] = json_string_value(one);
    }
    return 0;
}

static int read_effort(face_call_t *c, const json_t *o)
{
    static const char *const words[] = { "none", "minimal", "low", "medium", "high", "xhigh", "max" };
    str_t effort = STR_NULL;

    if (face_text(c, "", o, "reasoning_effort", false, &effort)) {
        return -1;
    }
    for (size_t i = 0; effort.p != NULL && i < SI_COUNT(words); i++) {
        if (str_is(effort, words[i])) {
            c->q.options.effort = words[i];
        }
    }
    return effort.p == NULL || c->q.options.effort != NULL ? 0
           : face_refuse(c, "reasoning_effort", "must be none, minimal, low, medium, high, xhigh or max");
}

static int read_stream(face_call_t *c, const json_t *o)
{
    static const char *const names[] = { "include_usage", "include_obfuscation", NULL };
    openai_state_t *s = c->state;
    const json_t   *v = face_get(c, o, "stream_options");
    bool            padded = false;

    if (face_flag(c, "", o, "stream", &c->stream)) {
        return -1;
    }
    if (v == NULL) {
        return 0;
    }
    if (!json_is_object(v) || !c->stream) {
        return face_refuse(c, "stream_options", c->stream ? "must be an object" : "is for streams");
    }
    if (face_members(c, "stream_options", v, names) || face_flag(c, "stream_options", v, "include_usage", &s->usage)
        || face_flag(c, "stream_options", v, "include_obfuscation", &padded))
    {
        return -1;
    }
    return padded ? face_refuse(c, "stream_options.include_obfuscation", "events are not padded here") : 0;
}

static int read_tool(face_call_t *c, const char *path, const json_t *v, chat_tool_t *t)
{
    static const char *const outer[] = { "type", "function", "cache_control", NULL };
    static const char *const inner[] = { "name", "description", "parameters", "strict", NULL };
    const char   *at = face_field(c, path, "function");
    const json_t *f = face_get(c, v, "function"), *cache = face_get(c, v, "cache_control"), *schema;
    str_t         type = STR("function"), name = STR_NULL, about = STR("");

    if (face_text(c, path, v, "type", false, &type)) {
        return -1;
    }
    if (!str_is(type, "function")) {
        return face_refuse(c, face_field(c, path, "type"), "tools are functions here");
    }
    if (face_members(c, path, v, outer) || face_members(c, at, f, inner) || face_text(c, at, f, "name", true, &name)
        || face_text(c, at, f, "description", false, &about) || face_flag(c, at, f, "strict", &t->strict))
    {
        return -1;
    }
    schema = face_get(c, f, "parameters");
    if (schema != NULL) {
        if (!json_is_object(schema)) {
            return face_refuse(c, face_field(c, at, "parameters"), "must be a JSON Schema, which is an object");
        }
        t->schema = str_of(json_text(c->arena, schema));
    }
    t->name = name.p;
    t->description = about.p;
    t->cache = json_is_object(cache);
    t->cache_ttl = json_string_value(json_object_get(cache, "ttl"));
    return 0;
}

static int read_choice(face_call_t *c, const json_t *o)
{
    static const struct { const char *word; chat_choice_t choice; } words[] = {
        { "auto", CHOICE_AUTO }, { "none", CHOICE_NONE }, { "required", CHOICE_ANY },
        { "any", CHOICE_ANY },          /* Mistral's clients */
    };
    const json_t *v = face_get(c, o, "tool_choice"), *parallel = face_get(c, o, "parallel_tool_calls");
    const char   *name;
    bool          flag = false;

    if (face_flag(c, "", o, "parallel_tool_calls", &flag)) {
        return -1;
    }
    c->q.options.parallel = json_is_boolean(parallel) ? flag : -1;
    if (v == NULL) {
        return 0;
    }
    name = json_string_value(json_object_get(json_object_get(v, "function"), "name"));
    if (json_is_object(v) && name != NULL) {
        c->q.options.choice = CHOICE_ONE;
        c->q.options.choice_name = name;
        return 0;
    }
    for (size_t i = 0; json_is_string(v) && i < SI_COUNT(words); i++) {
        if (strcmp(json_string_value(v), words[i].word) == 0) {
            c->q.options.choice = words[i].choice;
            return 0;
        }
    }
    return json_is_object(v) ? face_keep(c, "tool_choice", v)
                             : face_refuse(c, "tool_choice", "must be none, auto, required, or name a function");
}

static int read_shape(face_call_t *c, const json_t *o)
{
    static const char *const names[] = { "name", "schema", "strict", "description", NULL };
    const char     *at = "response_format.json_schema";
    const json_t   *v = face_get(c, o, "response_format"), *s;
    chat_options_t *to = &c->q.options;
    str_t           type = STR_NULL, name = STR("answer"), about = STR_NULL;

    if (v == NULL) {
        return 0;
    }
    if (!json_is_object(v)) {
        return face_refuse(c, "response_format", "must be an object");
    }
    if (face_text(c, "response_format", v, "type", true, &type)) {
        return -1;
    }
    if (str_is(type, "text")) {
        return 0;
    }
    if (str_is(type, "json_object")) {
        to->shape = SHAPE_JSON;
        return 0;
    }
    if (!str_is(type, "json_schema")) {
        return face_keep(c, "response_format", v);
    }
    s = json_object_get(v, "json_schema");
    if (!json_is_object(json_object_get(s, "schema"))) {
        return face_refuse(c, "response_format.json_schema.schema", "must be a JSON Schema, which is an object");
    }
    if (face_members(c, at, s, names) || face_text(c, at, s, "name", false, &name) || face_flag(c, at, s, "strict", &to->shape_strict)
        || face_text(c, at, s, "description", false, &about))
    {
        return -1;
    }
    to->shape = SHAPE_SCHEMA;
    to->shape_name = name.p;
    to->shape_about = about.n > 0 ? about.p : NULL;
    to->shape_schema = str_of(json_text(c->arena, json_object_get(s, "schema")));
    return 0;
}

static const face_usual_t usual[] = { { "service_tier", "auto" }, { NULL, NULL } };

static int read_request(face_call_t *c, const json_t *o)
{
    str_t user = STR_NULL;

    c->state = arena_calloc(c->arena, sizeof(openai_state_t));
    if (face_text(c, "", o, "model", true, &c->model) || refuse_unspeakable(c, o) || read_stream(c, o) || read_numbers(c, o)
        || read_stop(c, o) || read_effort(c, o) || face_tools(c, o, read_tool) || read_choice(c, o) || read_shape(c, o)
        || face_text(c, "", o, "user", false, &user))
    {
        return -1;
    }
    face_keep_rest(c, o, known, usual);
    if (json_is_true(face_get(c, o, "store"))) {
        (void) face_keep(c, "store", json_true());
    }
    c->q.options.end_user = user.p;
    c->q.options.dialect = "openai";
    return openai_messages(c, o);
}

const face_t face_openai = {
    .name = "openai", .read = read_request, .begin = openai_begin, .event = openai_event, .end = openai_end,
    .broken = openai_broken, .whole = openai_whole, .error = openai_error, .broke = 429,
};

void co_chat_completions(request_t *r)
{
    co_face_run(r, &face_openai);
}
