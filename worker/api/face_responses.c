/*
 * POST /v1/responses: the request but for its input. As with chat completions, members are translated, handed on to a
 * provider of the same dialect (options.extra), or refused: those whose answer could not be shown, and all that needs a
 * response that was stored.
 * Reference: https://platform.openai.com/docs/api-reference/responses/create
 */
#include "api/face_responses.h"

#include "api/face_openai.h"

/* Members that are read here, and so are not kept for the provider. */
static const char *const known[] = {
    "model", "input", "instructions", "stream", "stream_options", "temperature", "top_p", "max_output_tokens", "tools", "tool_choice",
    "parallel_tool_calls", "text", "reasoning", "include", "store", "previous_response_id", "conversation", "background", "prompt",
    "top_logprobs", "metadata", "user", "safety_identifier", NULL,
};

/* What only a server that remembers can do, and what has no place in our answers. */
static int refuse_unspeakable(face_call_t *c, const json_t *o)
{
    static const struct { const char *name, *why; } never[] = {
        { "previous_response_id", "responses are not stored here: send all of the input" },
        { "conversation", "conversations are not stored under this API: send all of the input" },
        { "prompt", "prompts are not stored here: send instructions and input" },
    };
    const json_t *include = face_get(c, o, "include"), *what;
    bool          store = false, background = false;
    int64_t       logprobs = 0;
    size_t        i;

    for (i = 0; i < SI_COUNT(never); i++) {
        if (face_get(c, o, never[i].name) != NULL) {
            return face_refuse(c, never[i].name, "%s", never[i].why);
        }
    }
    if (face_flag(c, "", o, "store", &store) || face_flag(c, "", o, "background", &background) || face_count(c, "", o, "top_logprobs", 0, &logprobs)) {
        return -1;
    }
    if (store || background || logprobs > 0) {
        return face_refuse(c, store ? "store" : background ? "background" : "top_logprobs",
                           store || background ? "responses are not stored here: false" : "probabilities of tokens cannot be had here");
    }
    json_array_foreach(include, i, what) {
        if (!str_is(str_of(json_string_value(what)), "reasoning.encrypted_content")) {
            return face_refuse(c, face_item(c, "include", i), "only reasoning.encrypted_content can be had here");
        }
    }
    return 0;
}

static int read_stream(face_call_t *c, const json_t *o)
{
    static const char *const names[] = { "include_obfuscation", NULL };
    const json_t *v = face_get(c, o, "stream_options");
    bool          padded = false;

    if (face_flag(c, "", o, "stream", &c->stream) || face_members(c, "stream_options", v, names)
        || face_flag(c, "stream_options", v, "include_obfuscation", &padded))
    {
        return -1;
    }
    return padded ? face_refuse(c, "stream_options.include_obfuscation", "events are not padded here") : 0;
}

static int read_tool(face_call_t *c, const char *path, const json_t *v, chat_tool_t *t)
{
    static const char *const names[] = { "type", "name", "description", "parameters", "strict", NULL };
    const json_t *schema = face_get(c, v, "parameters");
    str_t         type = STR_NULL, name = STR_NULL, about = STR("");

    if (face_text(c, path, v, "type", true, &type)) {
        return -1;
    }
    if (!str_is(type, "function")) {
        return face_refuse(c, face_field(c, path, "type"), "tools are functions here: none are run by Si or its providers");
    }
    if (face_members(c, path, v, names) || face_text(c, path, v, "name", true, &name) || face_text(c, path, v, "description", false, &about)
        || face_flag(c, path, v, "strict", &t->strict))
    {
        return -1;
    }
    if (schema != NULL && !json_is_object(schema)) {
        return face_refuse(c, face_field(c, path, "parameters"), "must be a JSON Schema, which is an object");
    }
    t->schema = schema != NULL ? str_of(json_text(c->arena, schema)) : STR_NULL;
    t->name = name.p;
    t->description = about.p;
    return 0;
}

static int read_choice(face_call_t *c, const json_t *o)
{
    static const struct { const char *word; chat_choice_t choice; } words[] = {
        { "auto", CHOICE_AUTO }, { "none", CHOICE_NONE }, { "required", CHOICE_ANY },
    };
    const json_t *v = face_get(c, o, "tool_choice");
    const char   *name = json_string_value(json_object_get(v, "name"));
    bool          flag = false;

    if (face_flag(c, "", o, "parallel_tool_calls", &flag)) {
        return -1;
    }
    c->q.options.parallel = face_get(c, o, "parallel_tool_calls") != NULL ? flag : -1;
    if (v == NULL) {
        return 0;
    }
    if (str_is(json_str(v, "type", STR_NULL), "function") && name != NULL) {
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

/* "text.format". */
static int read_format(face_call_t *c, const json_t *v)
{
    static const char *const names[] = { "type", "name", "schema", "strict", "description", NULL };
    const char     *at = "text.format";
    chat_options_t *to = &c->q.options;
    str_t           type = STR_NULL, name = STR("answer"), about = STR_NULL;

    if (v == NULL || json_is_null(v)) {
        return 0;
    }
    if (!json_is_object(v)) {
        return face_refuse(c, at, "must be an object");
    }
    if (face_members(c, at, v, names) || face_text(c, at, v, "type", true, &type) || face_text(c, at, v, "name", false, &name)
        || face_flag(c, at, v, "strict", &to->shape_strict) || face_text(c, at, v, "description", false, &about))
    {
        return -1;
    }
    if (str_is(type, "text") || str_is(type, "json_object")) {
        to->shape = str_is(type, "text") ? SHAPE_FREE : SHAPE_JSON;
        return 0;
    }
    if (!str_is(type, "json_schema") || !json_is_object(json_object_get(v, "schema"))) {
        return face_refuse(c, str_is(type, "json_schema") ? "text.format.schema" : "text.format.type",
                           str_is(type, "json_schema") ? "must be a JSON Schema, which is an object" : "must be text, json_object or json_schema");
    }
    to->shape = SHAPE_SCHEMA;
    to->shape_name = name.p;
    to->shape_schema = str_of(json_text(c->arena, json_object_get(v, "schema")));
    to->shape_about = about.n > 0 ? about.p : NULL;
    return 0;
}

/* What is as without it is left out; the rest is kept for a provider of this dialect. */
static int read_text(face_call_t *c, const json_t *o)
{
    static const char *const names[] = { "format", "verbosity", NULL };
    const json_t *v = face_get(c, o, "text");
    json_t       *kept = json_own(c->arena, json_object());
    str_t         verbosity = STR_NULL;

    if (face_members(c, "text", v, names) || face_text(c, "text", v, "verbosity", false, &verbosity)
        || read_format(c, json_object_get(v, "format")))
    {
        return -1;
    }
    if (verbosity.p != NULL && !str_is(verbosity, "medium")) {
        json_object_set_new(kept, "verbosity", json_string(verbosity.p));
    }
    return json_object_size(kept) > 0 ? face_keep(c, "text", kept) : 0;
}

static int read_reasoning(face_call_t *c, const json_t *o)
{
    static const char *const words[] = { "none", "minimal", "low", "medium", "high", "xhigh", "max" };
    const json_t *v = face_get(c, o, "reasoning"), *one;
    json_t       *kept = json_own(c->arena, json_object());
    const char   *name;
    str_t         effort = STR_NULL;

    if (v != NULL && !json_is_object(v)) {
        return face_refuse(c, "reasoning", "must be an object");
    }
    if (face_text(c, "reasoning", v, "effort", false, &effort)) {
        return -1;
    }
    for (size_t i = 0; effort.p != NULL && i < SI_COUNT(words); i++) {
        c->q.options.effort = str_is(effort, words[i]) ? words[i] : c->q.options.effort;
    }
    if (effort.p != NULL && c->q.options.effort == NULL) {
        return face_refuse(c, "reasoning.effort", "must be none, minimal, low, medium, high, xhigh or max");
    }
    json_object_foreach((json_t *) (uintptr_t) v, name, one) {
        bool usual = strcmp(name, "summary") == 0 && str_is(str_of(json_string_value(one)), "auto") && effort.p != NULL;

        if (strcmp(name, "effort") != 0 && !json_is_null(one) && !usual) {
            json_object_set(kept, name, json_object_get(v, name));
        }
    }
    return json_object_size(kept) > 0 ? face_keep(c, "reasoning", kept) : 0;
}

static const face_usual_t usual[] = { { "service_tier", "auto" }, { "truncation", "disabled" }, { NULL, NULL } };

static int read_request(face_call_t *c, const json_t *o)
{
    chat_options_t    *to = &c->q.options;
    responses_state_t *s = arena_calloc(c->arena, sizeof *s);
    str_t              user = STR_NULL;

    s->body = o;
    c->state = s;
    if (face_text(c, "", o, "model", true, &c->model) || refuse_unspeakable(c, o) || read_stream(c, o)
        || face_number(c, "", o, "temperature", &to->temperature) || face_number(c, "", o, "top_p", &to->top_p)
        || face_count(c, "", o, "max_output_tokens", 1, &to->max_tokens) || face_tools(c, o, read_tool) || read_choice(c, o) || read_text(c, o)
        || read_reasoning(c, o) || face_text(c, "", o, "user", false, &user) || face_text(c, "", o, "safety_identifier", false, &user)
        || responses_input(c, o))
    {
        return -1;
    }
    face_keep_rest(c, o, known, usual);
    to->end_user = user.p;
    to->dialect = face_responses.name;
    return 0;
}

const face_t face_responses = {
    .name = "responses", .read = read_request, .begin = responses_begin, .event = responses_event, .end = responses_end,
    .broken = responses_broken, .whole = responses_whole, .error = openai_error, .broke = 429,
};

void co_responses(request_t *r)
{
    co_face_run(r, &face_responses);
}
