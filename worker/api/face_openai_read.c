/* The messages of a chat completion. */
#include "api/face_openai.h"

/* cache_control, which OpenRouter and others have added: a prompt-cache point behind this part. */
static int read_cache(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    const json_t *cache = face_get(c, v, "cache_control");

    if (cache == NULL) {
        return 0;
    }
    if (!json_is_object(cache) || !str_is(str_of(json_string_value(json_object_get(cache, "type"))), "ephemeral")) {
        return face_refuse(c, face_field(c, path, "cache_control"), "must be {\"type\":\"ephemeral\"}");
    }
    p->cache = true;
    p->cache_ttl = json_string_value(json_object_get(cache, "ttl"));
    return 0;
}

/* "data:…" has its type and base64, anything else must be a URL for the provider to fetch. */
static int read_place(face_call_t *c, const char *field, str_t url, bool remote, chat_part_t *p)
{
    if (face_data_url(c->arena, url, &p->media, &p->text)) {
        return 0;
    }
    if (!remote || url.n < 8 || (memcmp(url.p, "http://", 7) != 0 && memcmp(url.p, "https://", 8) != 0)) {
        return face_refuse(c, field, remote ? "must be an http(s) URL, or data:…;base64,…" : "must be data:…;base64,…");
    }
    p->text = url;
    return 0;
}

static int read_image(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "url", "detail", NULL }, *const details[] = { "auto", "low", "high" };
    const char   *at = face_field(c, path, "image_url");
    const json_t *o = face_get(c, v, "image_url");
    str_t         url = STR_NULL, detail = STR_NULL;

    p->kind = PART_IMAGE;
    if (json_is_string(o)) {            /* as it was at first, and as Mistral's clients have it */
        return read_place(c, at, json_str(v, "image_url", STR_NULL), true, p);
    }
    if (face_members(c, at, o, names) || face_text(c, at, o, "url", true, &url) || face_text(c, at, o, "detail", false, &detail)) {
        return -1;
    }
    for (size_t i = 0; i < SI_COUNT(details); i++) {
        p->detail = str_is(detail, details[i]) ? details[i] : p->detail;
    }
    if (detail.p != NULL && p->detail == NULL) {
        return face_refuse(c, face_field(c, at, "detail"), "must be auto, low or high");
    }
    return read_place(c, face_field(c, at, "url"), url, true, p);
}

static int read_file(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "file_data", "filename", NULL };
    const char   *at = face_field(c, path, "file");
    const json_t *o = face_get(c, v, "file");
    str_t         data = STR_NULL, name = STR_NULL;

    p->kind = PART_FILE;
    if (face_members(c, at, o, names) || face_text(c, at, o, "file_data", true, &data) || face_text(c, at, o, "filename", false, &name)) {
        return -1;
    }
    p->name = name.p;
    return read_place(c, face_field(c, at, "file_data"), data, false, p);
}

static int read_part(face_call_t *c, const char *path, const json_t *v, bool text_only, chat_part_t *p)
{
    static const char *const names[] = { "type", "text", "image_url", "file", "refusal", "cache_control", NULL };
    str_t type = STR_NULL;

    if (face_text(c, path, v, "type", true, &type) || face_members(c, path, v, names) || read_cache(c, path, v, p)) {
        return -1;
    }
    p->kind = PART_TEXT;
    if (str_is(type, "text") || str_is(type, "refusal")) {
        return face_text(c, path, v, type.p, true, &p->text);
    }
    if (!text_only && str_is(type, "image_url")) {
        return read_image(c, path, v, p);
    }
    if (!text_only && str_is(type, "file")) {
        return read_file(c, path, v, p);
    }
    return face_refuse(c, face_field(c, path, "type"), "cannot be understood here");
}

/* "content": a string, or a list of parts, added to m, which has room for it. */
static int read_content(face_call_t *c, const char *path, const json_t *v, bool text_only, chat_part_t *parts, size_t *n)
{
    const json_t *content = face_get(c, v, "content"), *one;
    const char   *at;
    size_t        i;

    if (json_is_string(content)) {
        parts[(*n)++] = (chat_part_t) { .kind = PART_TEXT, .text = { json_string_value(content), json_string_length(content) } };
        return 0;
    }
    at = face_field(c, path, "content");
    if (json_array_size(content) == 0) {
        return face_refuse(c, at, "must be a string or a list of parts");
    }
    json_array_foreach(content, i, one) {
        if (read_part(c, face_item(c, at, i), one, text_only, &parts[(*n)++])) {
            return -1;
        }
    }
    return 0;
}

static int read_call(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const outer[] = { "id", "type", "index", "function", "extra_content", NULL };
    static const char *const inner[] = { "name", "arguments", "parsed_arguments", NULL };     /* the latter of OpenAI's own client */
    const char   *at = face_field(c, path, "function");
    const json_t *f = face_get(c, v, "function");
    str_t         type = STR("function"), id = STR_NULL, name = STR_NULL;

    p->kind = PART_CALL;
    if (face_text(c, path, v, "type", false, &type)) {
        return -1;
    }
    if (!str_is(type, "function")) {
        return face_refuse(c, face_field(c, path, "type"), "tools are functions here");
    }
    if (face_members(c, path, v, outer) || face_members(c, at, f, inner) || face_text(c, path, v, "id", true, &id)
        || face_text(c, at, f, "name", true, &name) || face_text(c, at, f, "arguments", true, &p->text))
    {
        return -1;
    }
    p->id = id.p;
    p->name = name.p;
    /* As Google's own endpoint of this dialect says it: the call came with it, and must go back with it. */
    p->signature = json_str(json_object_get(json_object_get(v, "extra_content"), "google"), "thought_signature", STR_NULL);
    return 0;
}

static int read_name(face_call_t *c, const char *path, const json_t *v, chat_part_t *parts, size_t *n)
{
    str_t name = STR_NULL;

    if (face_text(c, path, v, "name", false, &name)) {
        return -1;
    }
    if (name.n > 0) {
        parts[(*n)++] = (chat_part_t) { .kind = PART_NAME, .text = name };
    }
    return 0;
}

static int read_assistant(face_call_t *c, const char *path, const json_t *v, chat_part_t *parts, size_t *n)
{
    /* "parsed" is of OpenAI's own client, which sends its answers back with it. */
    static const char *const names[] = { "role", "content", "refusal", "tool_calls", "reasoning_content", "reasoning", "annotations", "parsed",
                                         "prefix", "name", NULL };
    const json_t *calls = face_get(c, v, "tool_calls"), *content = face_get(c, v, "content"), *one;
    str_t         reasoning = STR_NULL, refusal = STR_NULL;
    bool          prefix = false;       /* Mistral's clients always say that it is false */
    size_t        i;

    if (face_members(c, path, v, names) || face_flag(c, path, v, "prefix", &prefix) || face_text(c, path, v, "reasoning", false, &reasoning)
        || face_text(c, path, v, "reasoning_content", false, &reasoning) || face_text(c, path, v, "refusal", false, &refusal))
    {
        return -1;
    }
    if (prefix) {
        return face_refuse(c, face_field(c, path, "prefix"), "an answer cannot be begun for the model here");
    }
    if (json_array_size(face_get(c, v, "annotations")) > 0) {
        return face_refuse(c, face_field(c, path, "annotations"), "cannot be sent back");
    }
    if (reasoning.n > 0) {
        parts[(*n)++] = (chat_part_t) { .kind = PART_REASONING, .text = reasoning };
    }
    if (content != NULL && read_content(c, path, v, true, parts, n)) {
        return -1;
    }
    if (refusal.n > 0) {
        parts[(*n)++] = (chat_part_t) { .kind = PART_TEXT, .text = refusal };
    }
    if (calls != NULL && !json_is_array(calls)) {
        return face_refuse(c, face_field(c, path, "tool_calls"), "must be a list");
    }
    json_array_foreach(calls, i, one) {
        if (read_call(c, face_item(c, face_field(c, path, "tool_calls"), i), one, &parts[(*n)++])) {
            return -1;
        }
    }
    return *n > 0 ? read_name(c, path, v, parts, n) : face_refuse(c, face_field(c, path, "content"), "is required");
}

static int read_result(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "role", "content", "tool_call_id", "name", NULL };
    chat_part_t *parts = arena_calloc(c->arena, (json_array_size(face_get(c, v, "content")) + 1) * sizeof *parts);
    str_t        id = STR_NULL, name = STR_NULL;

    *p = (chat_part_t) { .kind = PART_RESULT, .parts = parts };
    if (face_members(c, path, v, names) || face_text(c, path, v, "tool_call_id", true, &id) || face_text(c, path, v, "name", false, &name)
        || read_content(c, path, v, true, parts, &p->nparts))
    {
        return -1;
    }
    p->id = id.p;
    p->name = name.p;
    return 0;
}

static size_t room(face_call_t *c, const json_t *v)
{
    return 4 + json_array_size(face_get(c, v, "content")) + json_array_size(face_get(c, v, "tool_calls"));
}

static bool is_result(face_call_t *c, const json_t *v)
{
    return str_is(str_of(json_string_value(face_get(c, v, "role"))), "tool");
}

/* Results of tools that follow each other are one message: some providers want all of them together. */
static int read_results(face_call_t *c, const json_t *list, size_t *at, chat_message_t *m)
{
    size_t       from = *at, n = 0;
    chat_part_t *parts;

    while (is_result(c, json_array_get(list, from + n))) {
        n++;
    }
    parts = arena_calloc(c->arena, n * sizeof *parts);
    for (size_t i = 0; i < n; i++) {
        if (read_result(c, face_item(c, "messages", from + i), json_array_get(list, from + i), &parts[i])) {
            return -1;
        }
    }
    *at = from + n;
    *m = (chat_message_t) { CHAT_USER, parts, n };
    return 0;
}

static int read_message(face_call_t *c, const char *path, const json_t *v, chat_message_t *m)
{
    static const char *const names[] = { "role", "content", "name", NULL };
    chat_part_t *parts = arena_calloc(c->arena, room(c, v) * sizeof *parts);
    str_t        role = STR_NULL;

    m->parts = parts;
    if (face_text(c, path, v, "role", true, &role)) {
        return -1;
    }
    if (str_is(role, "assistant")) {
        m->role = CHAT_ASSISTANT;
        return read_assistant(c, path, v, parts, &m->nparts);
    }
    m->role = str_is(role, "user") ? CHAT_USER : CHAT_SYSTEM;
    if (m->role == CHAT_SYSTEM && !str_is(role, "system") && !str_is(role, "developer")) {
        return face_refuse(c, face_field(c, path, "role"), "must be system, developer, user, assistant or tool");
    }
    return face_members(c, path, v, names) || read_content(c, path, v, m->role == CHAT_SYSTEM, parts, &m->nparts)
           ? -1 : read_name(c, path, v, parts, &m->nparts);
}

int openai_messages(face_call_t *c, const json_t *body)
{
    const json_t   *list = face_get(c, body, "messages"), *v;
    chat_message_t *out;
    size_t          i = 0, n = 0;
    int             rc = 0;

    if (json_array_size(list) == 0) {
        return face_refuse(c, "messages", "must be a list of at least one message");
    }
    out = arena_calloc(c->arena, json_array_size(list) * sizeof *out);
    while (rc == 0 && i < json_array_size(list)) {
        v = json_array_get(list, i);
        if (!json_is_object(v)) {
            return face_refuse(c, face_item(c, "messages", i), "must be an object");
        }
        if (is_result(c, v)) {
            rc = read_results(c, list, &i, &out[n++]);
        } else {
            rc = read_message(c, face_item(c, "messages", i), v, &out[n++]);
            i++;
        }
    }
    c->q.messages = out;
    c->q.nmessages = n;
    return rc;
}
