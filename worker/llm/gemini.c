/*
 * Google's Gemini API (ai.google.dev/api/generate-content), also as Vertex AI speaks it.
 *
 * The address is base_url + "/models/" + model + ":streamGenerateContent?alt=sse"; base_url ends with the version
 * ("https://generativelanguage.googleapis.com/v1beta"), and a model that has a slash in its name is its own path. A server
 * that knows no alt=sse answers with one JSON array.
 *
 * Messages of one role that follow each other are one content, but results of tools stand alone, as the API wants them;
 * system messages are all its systemInstruction. Signatures go back with the call or the thought they came with. Gemini 3
 * refuses a content whose first call has none, as one that another model has made: it is told not to look, with the
 * words that ai.google.dev/gemini-api/docs/thought-signatures and Vertex AI's page of that name have for this.
 */
#include <stdio.h>

#include "base/util.h"
#include "llm/body.h"
#include "llm/gemini_read.h"

#define KIND    "gemini"
#define UNSEAL  "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="    /* skip_thought_signature_validator */

typedef struct {
    arena_t             *a;
    const llm_request_t *q;
    llm_error_t         *err;
    json_t              *contents;
    json_t              *parts;     /* of the last content; NULL: none yet */
    chat_role_t          role;      /* of it */
    bool                 results;   /* it has results of tools */
    bool                 calls;     /* it has calls */
} contents_t;

/* Parts */

/* What a URL's name says, where the API wants to know; NULL: nothing. */
static const char *media_of(str_t url)
{
    static const char *const types[][2] = {
        { ".png", "image/png" }, { ".jpg", "image/jpeg" }, { ".jpeg", "image/jpeg" }, { ".webp", "image/webp" }, { ".gif", "image/gif" },
        { ".heic", "image/heic" }, { ".heif", "image/heif" }, { ".pdf", "application/pdf" }, { ".txt", "text/plain" },
    };

    for (size_t i = 0; i < SI_COUNT(types); i++) {
        size_t n = strlen(types[i][0]);

        if (url.n > n && memcmp(url.p + url.n - n, types[i][0], n) == 0) {
            return types[i][1];
        }
    }
    return NULL;
}

static json_t *inline_data(const chat_part_t *p)
{
    return json_pack("{s:{s:s,s:o}}", "inlineData", "mimeType", p->media, "data", body_str(p->text));
}

static int media_part(contents_t *s, const chat_part_t *p, json_t **out)
{
    const char *type = media_of(p->text);

    if (p->detail != NULL && strcmp(p->detail, "auto") != 0) {
        return format_unsupported(s->err, KIND, "the detail of an image");
    }
    if (p->media != NULL) {
        *out = inline_data(p);
        return 0;
    }
    *out = json_pack("{s:{s:o}}", "fileData", "fileUri", body_str(p->text));
    if (type != NULL) {
        json_object_set_new(json_object_get(*out, "fileData"), "mimeType", json_string(type));
    }
    return 0;
}

/* A thought of nothing but a signature is what came with text. */
static json_t *thought_part(str_t text, str_t signature)
{
    json_t *v = json_pack("{s:o}", "text", body_str(text));

    if (text.n > 0) {
        json_object_set_new(v, "thought", json_true());
    }
    if (signature.n > 0) {
        json_object_set_new(v, "thoughtSignature", body_str(signature));
    }
    return v;
}

static int call_part(contents_t *s, const chat_part_t *p, json_t **out)
{
    json_t *args = body_object(s->a, p->text.n > 0 ? p->text : STR("{}"), KIND, "arguments of a call", s->err);

    if (args == NULL) {
        return SI_EINVAL;
    }
    *out = json_pack("{s:{s:s,s:s,s:o}}", "functionCall", "id", p->id, "name", p->name, "args", args);
    if (p->signature.n > 0 || !s->calls) {
        json_object_set_new(*out, "thoughtSignature", body_str(p->signature.n > 0 ? p->signature : STR(UNSEAL)));
    }
    s->calls = true;
    return 0;
}

/* The name of the call that a result answers; NULL: there is none. */
static const char *called(const llm_request_t *q, const char *id)
{
    for (size_t i = q->nmessages; i-- > 0;) {
        for (size_t k = 0; k < q->messages[i].nparts; k++) {
            const chat_part_t *p = &q->messages[i].parts[k];

            if (p->kind == PART_CALL && strcmp(p->id, id) == 0) {
                return p->name;
            }
        }
    }
    return NULL;
}

/* Its texts are "output", or "error"; its pictures are parts. */
static int result_part(contents_t *s, const chat_part_t *p, json_t **out)
{
    const char    *name = p->name != NULL ? p->name : called(s->q, p->id);
    chat_message_t said = { CHAT_USER, p->parts, p->nparts };
    json_t        *pictures;

    if (name == NULL) {
        return format_unsupported(s->err, KIND, "a tool's result without its call");
    }
    *out = json_pack("{s:{s:s,s:s,s:{s:o}}}", "functionResponse", "id", p->id, "name", name, "response",
                     p->failed ? "error" : "output", body_str(chat_text_of(s->a, &said)));
    pictures = json_array();
    for (size_t i = 0; i < p->nparts; i++) {
        if (p->parts[i].kind != PART_TEXT && p->parts[i].media == NULL) {
            json_decref(pictures);
            return format_unsupported(s->err, KIND, "an image by its URL in a tool's result");
        }
        if (p->parts[i].kind != PART_TEXT) {
            json_array_append_new(pictures, inline_data(&p->parts[i]));
        }
    }
    if (json_array_size(pictures) > 0) {
        json_object_set(json_object_get(*out, "functionResponse"), "parts", pictures);
    }
    json_decref(pictures);
    return 0;
}

static int make_part(contents_t *s, const chat_part_t *p, json_t **out)
{
    switch (p->kind) {
    case PART_TEXT:
        *out = json_pack("{s:o}", "text", body_str(p->text));
        return 0;
    case PART_IMAGE:
    case PART_FILE:
        return media_part(s, p, out);
    case PART_REASONING:
        *out = thought_part(p->text, p->signature);
        return 0;
    case PART_REDACTED:
        *out = thought_part(STR_NULL, p->text);
        return 0;
    case PART_CALL:
        return call_part(s, p, out);
    default:
        return result_part(s, p, out);
    }
}

static int add_part(contents_t *s, chat_role_t role, const chat_part_t *p)
{
    bool    result = p->kind == PART_RESULT;
    json_t *part = NULL;
    int     rc;

    if (s->parts == NULL || s->role != role || s->results != result) {
        s->parts = json_array();
        s->role = role;
        s->results = result;
        s->calls = false;
        json_array_append_new(s->contents, json_pack("{s:s,s:o}", "role", role == CHAT_ASSISTANT ? "model" : "user", "parts", s->parts));
    }
    rc = make_part(s, p, &part);
    if (rc != 0) {
        json_decref(part);
        return rc;
    }
    json_array_append_new(s->parts, part);
    return 0;
}

static int put_contents(json_t *body, arena_t *a, const llm_request_t *q, llm_error_t *err)
{
    contents_t s = { .a = a, .q = q, .err = err, .contents = json_array() };
    json_t    *system = json_array();
    int        rc = 0;

    json_object_set_new(body, "contents", s.contents);
    for (size_t i = 0; i < q->nmessages && rc == 0; i++) {
        const chat_message_t *m = &q->messages[i];

        if (m->role == CHAT_SYSTEM) {
            json_array_append_new(system, json_pack("{s:o}", "text", body_str(chat_text_of(a, m))));
        }
        for (size_t k = 0; k < m->nparts && rc == 0 && m->role != CHAT_SYSTEM; k++) {
            rc = add_part(&s, m->role, &m->parts[k]);
        }
    }
    if (json_array_size(system) > 0) {
        json_object_set_new(body, "systemInstruction", json_pack("{s:O}", "parts", system));
    }
    json_decref(system);
    return rc;
}

/* Options */

static int put_tools(json_t *body, arena_t *a, const chat_options_t *o, llm_error_t *err)
{
    static const char *const modes[] = { [CHOICE_AUTO] = "AUTO", [CHOICE_NONE] = "NONE", [CHOICE_ANY] = "ANY", [CHOICE_ONE] = "ANY" };
    json_t *tools = json_array(), *mode;
    bool    strict = false;

    json_object_set_new(body, "tools", json_pack("[{s:o}]", "functionDeclarations", tools));
    for (size_t i = 0; i < o->ntools; i++) {
        const chat_tool_t *t = &o->tools[i];
        json_t            *tool = json_pack("{s:s,s:s}", "name", t->name, "description", t->description != NULL ? t->description : ""), *schema;

        json_array_append_new(tools, tool);
        strict = strict || t->strict;
        if (t->schema.n > 0) {
            schema = body_object(a, t->schema, KIND, "schema", err);
            if (schema == NULL) {
                return SI_EINVAL;
            }
            json_object_set_new(tool, "parametersJsonSchema", schema);
        }
    }
    /* VALIDATED: arguments keep to their schema, and text may come as well; ANY does so, too. */
    mode = json_pack("{s:s}", "mode", strict && o->choice == CHOICE_AUTO ? "VALIDATED" : modes[o->choice]);
    if (o->choice == CHOICE_ONE) {
        json_object_set_new(mode, "allowedFunctionNames", json_pack("[s]", o->choice_name));
    }
    json_object_set_new(body, "toolConfig", json_pack("{s:o}", "functionCallingConfig", mode));
    return 0;
}

/*
 * Gemini 3 and later know levels, Gemini 2.5 budgets of tokens: those of Google's own OpenAI face
 * (ai.google.dev/gemini-api/docs/openai, "Thinking").
 */
static int put_effort(json_t *thinking, const llm_request_t *q, llm_error_t *err)
{
    static const struct { const char *effort, *level; int budget; } words[] = {
        { "minimal", "MINIMAL", 1024 }, { "low", "LOW", 1024 }, { "medium", "MEDIUM", 8192 }, { "high", "HIGH", 24576 },
    };
    const char *effort = q->options.effort;

    if (strcmp(effort, "none") == 0) {
        json_object_set_new(thinking, "thinkingBudget", json_integer(0));
        return 0;
    }
    for (size_t i = 0; i < SI_COUNT(words); i++) {
        if (strcmp(effort, words[i].effort) == 0) {
            bool budget = strstr(q->model->upstream, "gemini-2.5") != NULL;

            json_object_set_new(thinking, budget ? "thinkingBudget" : "thinkingLevel", budget ? json_integer(words[i].budget) : json_string(words[i].level));
            json_object_set_new(thinking, "includeThoughts", json_true());
            return 0;
        }
    }
    return format_unsupported(err, KIND, "a reasoning effort above high");
}

static int put_thinking(json_t *config, const llm_request_t *q, llm_error_t *err)
{
    int64_t budget = q->options.reasoning_tokens;
    json_t *thinking;

    if (budget < 0 && q->options.effort == NULL) {
        return 0;
    }
    thinking = json_object();
    json_object_set_new(config, "thinkingConfig", thinking);
    if (budget < 0) {
        return put_effort(thinking, q, err);
    }
    json_object_set_new(thinking, "thinkingBudget", json_integer(budget));
    if (budget > 0) {
        json_object_set_new(thinking, "includeThoughts", json_true());
    }
    return 0;
}

static int put_shape(json_t *config, arena_t *a, const chat_options_t *o, llm_error_t *err)
{
    json_t *schema;

    if (o->shape != SHAPE_FREE) {
        json_object_set_new(config, "responseMimeType", json_string("application/json"));
    }
    if (o->shape == SHAPE_SCHEMA) {
        schema = body_shape(a, o, KIND, err);
        if (schema == NULL) {
            return SI_EINVAL;
        }
        json_object_set_new(config, "responseJsonSchema", schema);
    }
    return 0;
}

static int put_config(json_t *config, arena_t *a, const llm_request_t *q, llm_error_t *err)
{
    const chat_options_t *o = &q->options;
    json_t *stop;
    int     rc;

    body_real(config, "temperature", o->temperature);
    body_real(config, "topP", o->top_p);
    body_count(config, "topK", o->top_k);
    body_real(config, "frequencyPenalty", o->frequency_penalty);
    body_real(config, "presencePenalty", o->presence_penalty);
    body_count(config, "maxOutputTokens", body_max_tokens(q));
    if (o->has_seed) {
        json_object_set_new(config, "seed", json_integer(o->seed));
    }
    if (o->nstop > 0) {
        stop = json_array();
        for (size_t i = 0; i < o->nstop; i++) {
            json_array_append_new(stop, json_string(o->stop[i]));
        }
        json_object_set_new(config, "stopSequences", stop);
    }
    rc = put_shape(config, a, o, err);
    return rc != 0 ? rc : put_thinking(config, q, err);
}

/* The configuration's "CATEGORY=THRESHOLD", https://ai.google.dev/api/generate-content#v1beta.SafetySetting */
static void put_safety(json_t *body, arena_t *a, const conf_texts_t *list)
{
    json_t *all = list->n > 0 ? json_array() : NULL;

    for (size_t i = 0; i < list->n; i++) {
        const char *is = strchr(list->p[i], '=');

        json_array_append_new(all, json_pack("{s:s,s:s}", "category", arena_dup(a, list->p[i], (size_t) (is - list->p[i])), "threshold", is + 1));
    }
    if (all != NULL) {
        json_object_set_new(body, "safetySettings", all);
    }
}

static int put_options(json_t *body, arena_t *a, const llm_request_t *q, llm_error_t *err)
{
    json_t *config = json_object();
    int     rc = put_config(config, a, q, err);

    if (json_object_size(config) > 0) {
        json_object_set(body, "generationConfig", config);
    }
    json_decref(config);
    if (rc == 0 && q->options.parallel == 0) {
        rc = format_unsupported(err, KIND, "parallel_tool_calls: false");
    }
    if (rc == 0 && q->options.ntools > 0) {
        rc = put_tools(body, a, &q->options, err);
    }
    return rc != 0 ? rc : body_extra(body, q, KIND, "gemini", err);
}

static int co_put(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    const conf_provider_t *p = q->model->provider;
    json_t *body = json_object();
    int     rc;

    out->url = arena_printf(a, "%s/%s%s:streamGenerateContent?alt=sse", p->base_url,
                            strchr(q->model->upstream, '/') == NULL ? "models/" : "", q->model->upstream);
    if (p->api_key != NULL && p->api_key[0] != '\0') {
        format_header(out, arena_printf(a, "x-goog-api-key: %s", p->api_key));
    }
    rc = put_contents(body, a, q, err);
    rc = rc != 0 ? rc : put_options(body, a, q, err);
    put_safety(body, a, &q->model->safety);         /* last: no client has a say in it */
    rc = rc != 0 ? rc : json_dump(&out->body, body);
    json_decref(body);
    return rc;
}

static const format_t format_gemini = { .co_put = co_put, .event = gemini_read_event, .array = true, .status = gemini_status };

const provider_t provider_gemini = FORMAT_PROVIDER(KIND, &format_gemini);
