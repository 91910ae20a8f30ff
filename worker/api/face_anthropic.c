/*
 * POST /v1/messages: the request but for its messages. Members are of three kinds: those that chat_options_t has a word for,
 * those that a provider of the same dialect gets as they are (options.extra), and those whose answer could not be shown, which
 * are refused. A null is as good as absent.
 * Reference: https://platform.claude.com/docs/en/api/messages/create
 */
#include "api/face_anthropic.h"

#include "base/proc.h"

#define STOPS  64

/* Members that are read here, and so are not kept for the provider. */
static const char *const known[] = {
    "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "thinking",
    "tools", "tool_choice", "output_config", NULL,
};

/* Members whose answers have no place in ours. */
static int refuse_unspeakable(face_call_t *c, const json_t *o)
{
    static const char *const never[] = { "mcp_servers", "container" };

    for (size_t i = 0; i < SI_COUNT(never); i++) {
        if (face_get(c, o, never[i]) != NULL) {
            return face_refuse(c, never[i], "what tools of the provider do cannot be shown here");
        }
    }
    return 0;
}

static int read_numbers(face_call_t *c, const json_t *o)
{
    chat_options_t *to = &c->q.options;

    if (face_number(c, "", o, "temperature", &to->temperature) || face_number(c, "", o, "top_p", &to->top_p)
        || face_count(c, "", o, "top_k", 0, &to->top_k) || face_count(c, "", o, "max_tokens", 1, &to->max_tokens))
    {
        return -1;
    }
    return to->max_tokens < 0 && !c->counts ? face_refuse(c, "max_tokens", "is required") : 0;
}

static int read_stop(face_call_t *c, const json_t *o)
{
    const json_t *v = face_get(c, o, "stop_sequences"), *one;
    size_t        i;

    if (v == NULL) {
        return 0;
    }
    if (!json_is_array(v) || json_array_size(v) > STOPS) {
        return face_refuse(c, "stop_sequences", "must be a list of at most %d strings", STOPS);
    }
    c->q.options.stop = arena_calloc(c->arena, STOPS * sizeof(char *));
    json_array_foreach(v, i, one) {
        if (!json_is_string(one) || json_string_length(one) == 0) {
            return face_refuse(c, "stop_sequences", "must be a list of strings");
        }
        c->q.options.stop[c->q.options.nstop++] = json_string_value(one);
    }
    return 0;
}

/* An object, or NULL with *rc: absent (0) or of another type (-1). */
static const json_t *object(face_call_t *c, const json_t *o, const char *name, int *rc)
{
    const json_t *v = face_get(c, o, name);

    *rc = v == NULL || json_is_object(v) ? 0 : face_refuse(c, name, "must be an object");
    return json_is_object(v) ? v : NULL;
}

static int read_metadata(face_call_t *c, const json_t *o)
{
    static const char *const names[] = { "user_id", NULL };
    int                      rc;
    const json_t            *v = object(c, o, "metadata", &rc);
    str_t                    user = STR_NULL;

    if (v != NULL) {
        rc = face_members(c, "metadata", v, names);
        rc = rc != 0 ? rc : face_text(c, "metadata", v, "user_id", false, &user);
        c->q.options.end_user = user.p;
    }
    return rc;
}

/* A budget and none at all have a word here, other ways to think are the provider's own. */
static int read_thinking(face_call_t *c, const json_t *o)
{
    int           rc;
    const json_t *v = object(c, o, "thinking", &rc);
    str_t         type = STR_NULL;

    if (v == NULL || face_text(c, "thinking", v, "type", true, &type) != 0) {
        return v == NULL ? rc : -1;
    }
    if (str_is(type, "disabled")) {
        c->q.options.reasoning_tokens = 0;
        return 0;
    }
    if (!str_is(type, "enabled") || json_is_string(json_object_get(v, "display"))) {
        return face_keep(c, "thinking", v);
    }
    rc = face_count(c, "thinking", v, "budget_tokens", 1, &c->q.options.reasoning_tokens);
    return rc != 0 || c->q.options.reasoning_tokens > 0 ? rc : face_refuse(c, "thinking.budget_tokens", "is required");
}

static int read_effort(face_call_t *c, const json_t *v)
{
    static const char *const words[] = { "low", "medium", "high", "xhigh", "max" };
    str_t effort = STR_NULL;

    if (face_text(c, "output_config", v, "effort", false, &effort)) {
        return -1;
    }
    for (size_t i = 0; effort.p != NULL && i < SI_COUNT(words); i++) {
        if (str_is(effort, words[i])) {
            c->q.options.effort = words[i];
        }
    }
    return effort.p == NULL || c->q.options.effort != NULL ? 0
           : face_refuse(c, "output_config.effort", "must be low, medium, high, xhigh or max");
}

static int read_output(face_call_t *c, const json_t *o)
{
    static const char *const outer[] = { "effort", "format", NULL }, *const inner[] = { "type", "schema", NULL };
    int             rc;
    const json_t   *v = object(c, o, "output_config", &rc), *f = json_object_get(v, "format");
    chat_options_t *to = &c->q.options;

    if (v == NULL || face_members(c, "output_config", v, outer) || read_effort(c, v)) {
        return v == NULL ? rc : -1;
    }
    if (f == NULL || json_is_null(f)) {
        return 0;
    }
    if (!json_is_object(f) || !str_is(json_str(f, "type", STR_NULL), "json_schema") || !json_is_object(json_object_get(f, "schema"))) {
        return face_refuse(c, "output_config.format", "must be {\"type\":\"json_schema\",\"schema\":{…}}");
    }
    to->shape = SHAPE_SCHEMA;
    to->shape_name = "answer";
    to->shape_strict = true;
    to->shape_schema = str_of(json_text(c->arena, json_object_get(f, "schema")));
    return face_members(c, "output_config.format", f, inner);
}

/* Tools */

/* What a tool may say that changes nothing here: that the model calls it itself, at once, in pieces as small as they come. */
static int read_hints(face_call_t *c, const char *path, const json_t *v)
{
    const json_t *callers = json_object_get(v, "allowed_callers");
    bool          later = false, eager = false;

    if (face_flag(c, path, v, "defer_loading", &later) || face_flag(c, path, v, "eager_input_streaming", &eager)) {
        return -1;
    }
    if (later) {
        return face_refuse(c, face_field(c, path, "defer_loading"), "tools are there from the start here");
    }
    if (callers != NULL && !json_is_null(callers)
        && !(json_array_size(callers) == 1 && str_is(str_of(json_string_value(json_array_get(callers, 0))), "direct")))
    {
        return face_refuse(c, face_field(c, path, "allowed_callers"), "may be [\"direct\"] and nothing else");
    }
    return 0;
}

static int read_tool(face_call_t *c, const char *path, const json_t *v, chat_tool_t *t)
{
    static const char *const names[] = { "type", "name", "description", "input_schema", "strict", "cache_control", "defer_loading",
                                         "allowed_callers", "eager_input_streaming", NULL };
    const json_t *schema = json_object_get(v, "input_schema");
    str_t         type = STR("custom"), name = STR_NULL, about = STR("");

    if (!json_is_object(v)) {
        return face_refuse(c, path, "must be an object");
    }
    if (face_text(c, path, v, "type", false, &type)) {
        return -1;
    }
    if (!str_is(type, "custom")) {
        return face_refuse(c, face_field(c, path, "type"), "tools of the provider cannot be used here: what they do could not be shown");
    }
    if (face_members(c, path, v, names) || face_text(c, path, v, "name", true, &name) || face_text(c, path, v, "description", false, &about)
        || face_flag(c, path, v, "strict", &t->strict) || read_hints(c, path, v) || anthropic_cache(c, path, v, &t->cache, &t->cache_ttl))
    {
        return -1;
    }
    if (!json_is_object(schema)) {
        return face_refuse(c, face_field(c, path, "input_schema"), "must be a JSON Schema, which is an object");
    }
    t->name = name.p;
    t->description = about.p;
    t->schema = str_of(json_text(c->arena, schema));
    return 0;
}

static int read_choice(face_call_t *c, const json_t *o)
{
    static const struct { const char *word; chat_choice_t choice; } words[] = {
        { "auto", CHOICE_AUTO }, { "none", CHOICE_NONE }, { "any", CHOICE_ANY }, { "tool", CHOICE_ONE },
    };
    static const char *const names[] = { "type", "name", "disable_parallel_tool_use", NULL };
    chat_options_t *to = &c->q.options;
    int             rc;
    const json_t   *v = object(c, o, "tool_choice", &rc);
    str_t           type = STR_NULL, name = STR_NULL;
    bool            alone = false;

    if (v == NULL || face_members(c, "tool_choice", v, names) || face_text(c, "tool_choice", v, "type", true, &type)
        || face_text(c, "tool_choice", v, "name", str_is(type, "tool"), &name)
        || face_flag(c, "tool_choice", v, "disable_parallel_tool_use", &alone))
    {
        return v == NULL ? rc : -1;
    }
    to->parallel = json_is_boolean(json_object_get(v, "disable_parallel_tool_use")) ? !alone : -1;
    to->choice_name = name.p;
    for (size_t i = 0; i < SI_COUNT(words); i++) {
        if (str_is(type, words[i].word)) {
            to->choice = words[i].choice;
            return 0;
        }
    }
    return face_refuse(c, "tool_choice.type", "must be auto, any, tool or none");
}

static void free_state(void *arg)
{
    buf_free(&((anthropic_state_t *) arg)->refusal);
}

static const face_usual_t usual[] = { { "service_tier", "auto" }, { NULL, NULL } };

static int read_request(face_call_t *c, const json_t *o)
{
    anthropic_state_t *s = arena_calloc(c->arena, sizeof *s);

    s->open = ANTHROPIC_NONE;
    buf_init(&s->refusal, proc.conf->answer_max);
    arena_defer(c->arena, free_state, s);
    c->state = s;
    if (face_text(c, "", o, "model", true, &c->model) || face_flag(c, "", o, "stream", &c->stream) || refuse_unspeakable(c, o)
        || read_numbers(c, o) || read_stop(c, o) || read_metadata(c, o) || read_thinking(c, o) || read_output(c, o)
        || face_tools(c, o, read_tool) || read_choice(c, o) || anthropic_messages(c, o))
    {
        return -1;
    }
    face_keep_rest(c, o, known, usual);
    c->q.options.dialect = "anthropic";
    return 0;
}

const face_t face_anthropic = {
    .name = "anthropic", .busy = 529, .read = read_request, .begin = anthropic_begin, .event = anthropic_event, .end = anthropic_end,
    .broken = anthropic_broken, .whole = anthropic_whole, .error = anthropic_error,
};

void co_messages(request_t *r)
{
    co_face_run(r, &face_anthropic);
}
