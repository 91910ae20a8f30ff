/* The messages of a request in Anthropic's dialect. */
#include "api/face_anthropic.h"

#include "base/base64.h"

int anthropic_cache(face_call_t *c, const char *path, const json_t *o, bool *cache, const char **ttl)
{
    static const char *const names[] = { "type", "ttl", NULL };
    const char   *at;
    const json_t *v = face_get(c, o, "cache_control");
    str_t         life = STR_NULL;

    if (v == NULL) {
        return 0;
    }
    at = face_field(c, path, "cache_control");
    if (!str_is(json_str(v, "type", STR_NULL), "ephemeral")) {
        return face_refuse(c, at, "must be {\"type\":\"ephemeral\"}");
    }
    if (face_members(c, at, v, names) || face_text(c, at, v, "ttl", false, &life)) {
        return -1;
    }
    if (life.p != NULL && !str_is(life, "5m") && !str_is(life, "1h")) {
        return face_refuse(c, face_field(c, at, "ttl"), "must be 5m or 1h");
    }
    *cache = true;
    *ttl = life.p;
    return 0;
}

/* Plain text stands as it is in this dialect, and in base64 in a part. */
static void put_plain(face_call_t *c, str_t text, chat_part_t *p)
{
    char *out = arena_alloc(c->arena, BASE64_LEN(text.n) + 1);

    p->media = "text/plain";
    p->text = (str_t) { out, base64_encode(out, text.p, text.n) };
}

static int read_source(face_call_t *c, const char *path, const json_t *block, chat_part_t *p)
{
    static const char *const names[] = { "type", "media_type", "data", "url", NULL };
    const char   *at = face_field(c, path, "source");
    const json_t *v = json_object_get(block, "source");
    str_t         type = STR_NULL, media = STR_NULL;

    if (!json_is_object(v)) {
        return face_refuse(c, at, "must be an object");
    }
    if (face_text(c, at, v, "type", true, &type)) {
        return -1;
    }
    if (str_is(type, "url")) {
        if (face_text(c, at, v, "url", true, &p->text)) {
            return -1;
        }
        if (p->text.n < 8 || (memcmp(p->text.p, "http://", 7) != 0 && memcmp(p->text.p, "https://", 8) != 0)) {
            return face_refuse(c, face_field(c, at, "url"), "must be an http(s) URL");
        }
        return face_members(c, at, v, names);
    }
    if (!str_is(type, "base64") && !(str_is(type, "text") && p->kind == PART_FILE)) {
        return face_refuse(c, face_field(c, at, "type"), p->kind == PART_FILE ? "must be base64, text or url" : "must be base64 or url");
    }
    if (face_members(c, at, v, names) || face_text(c, at, v, "media_type", true, &media) || face_text(c, at, v, "data", true, &p->text)) {
        return -1;
    }
    p->media = media.p;
    if (str_is(type, "text")) {
        put_plain(c, p->text, p);
    }
    return 0;
}

/* Members that may be there when they say nothing. */
static int is_nothing(face_call_t *c, const char *path, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    bool          none = v == NULL || json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0)
                         || (json_is_object(v) && !json_is_true(json_object_get(v, "enabled")));

    return none ? 0 : face_refuse(c, face_field(c, path, name), "cannot be translated");
}

static int read_text(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "text", "cache_control", "citations", NULL };

    p->kind = PART_TEXT;
    return face_members(c, path, v, names) || is_nothing(c, path, v, "citations") || face_text(c, path, v, "text", true, &p->text);
}

static int read_image(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "source", "cache_control", NULL };

    p->kind = PART_IMAGE;
    return face_members(c, path, v, names) || read_source(c, path, v, p);
}

static int read_document(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "source", "title", "citations", "cache_control", NULL };
    str_t title = STR_NULL;

    p->kind = PART_FILE;
    if (face_members(c, path, v, names) || is_nothing(c, path, v, "citations") || face_text(c, path, v, "title", false, &title)) {
        return -1;
    }
    p->name = title.p;
    return read_source(c, path, v, p);
}

static int read_thinking(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "thinking", "signature", NULL };

    p->kind = PART_REASONING;
    return face_members(c, path, v, names) || face_text(c, path, v, "thinking", true, &p->text)
           || face_text(c, path, v, "signature", false, &p->signature);
}

static int read_redacted(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "data", NULL };

    p->kind = PART_REDACTED;
    return face_members(c, path, v, names) || face_text(c, path, v, "data", true, &p->text);
}

static int read_call(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "id", "name", "input", "caller", "cache_control", NULL };
    const json_t *input = json_object_get(v, "input"), *caller = json_object_get(v, "caller");
    str_t         id = STR_NULL, name = STR_NULL;

    p->kind = PART_CALL;
    if (face_members(c, path, v, names) || face_text(c, path, v, "id", true, &id) || face_text(c, path, v, "name", true, &name)) {
        return -1;
    }
    if (!json_is_object(input)) {
        return face_refuse(c, face_field(c, path, "input"), "must be an object");
    }
    if (caller != NULL && !json_is_null(caller) && !str_is(json_str(caller, "type", STR_NULL), "direct")) {
        return face_refuse(c, face_field(c, path, "caller"), "must be {\"type\":\"direct\"}");
    }
    p->id = id.p;
    p->name = name.p;
    p->text = str_of(json_text(c->arena, input));
    return 0;
}

static int read_content(face_call_t *c, const char *path, const json_t *o, chat_role_t role, bool inner, chat_message_t *m);

static int read_result(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "tool_use_id", "content", "is_error", "cache_control", NULL };
    chat_message_t inner = { .nparts = 0 };
    str_t          id = STR_NULL;

    p->kind = PART_RESULT;
    if (face_members(c, path, v, names) || face_text(c, path, v, "tool_use_id", true, &id) || face_flag(c, path, v, "is_error", &p->failed)
        || read_content(c, path, v, CHAT_USER, true, &inner))
    {
        return -1;
    }
    p->id = id.p;
    p->parts = inner.parts;
    p->nparts = inner.nparts;
    return 0;
}

/* Who may say what: letters of u(ser), a(ssistant), s(ystem), r(esult of a tool). */
static const struct {
    const char *type, *who;
    int (*read)(face_call_t *c, const char *path, const json_t *v, chat_part_t *p);
} blocks[] = {
    { "text", "uasr", read_text }, { "image", "ur", read_image }, { "document", "ur", read_document }, { "thinking", "a", read_thinking },
    { "redacted_thinking", "a", read_redacted }, { "tool_use", "a", read_call }, { "tool_result", "u", read_result },
};

static int read_block(face_call_t *c, const char *path, const json_t *v, char who, chat_part_t *p)
{
    str_t type = STR_NULL;

    if (!json_is_object(v)) {
        return face_refuse(c, path, "must be an object");
    }
    if (face_text(c, path, v, "type", true, &type)) {
        return -1;
    }
    for (size_t i = 0; i < SI_COUNT(blocks); i++) {
        if (str_is(type, blocks[i].type) && strchr(blocks[i].who, who) != NULL) {
            return blocks[i].read(c, path, v, p) || anthropic_cache(c, path, v, &p->cache, &p->cache_ttl) ? -1 : 0;
        }
    }
    return face_refuse(c, face_field(c, path, "type"), "is not known here, cannot be translated, or stands in the wrong place");
}

/* The member "content" of o (or "system" of the body), a string or a list of blocks. */
static int read_parts(face_call_t *c, const char *path, const json_t *v, char who, chat_message_t *m)
{
    chat_part_t  *parts = arena_calloc(c->arena, (json_array_size(v) + 1) * sizeof *parts);
    const json_t *one;
    size_t        i;

    m->parts = parts;
    if (json_is_string(v)) {
        parts[0] = (chat_part_t) { .kind = PART_TEXT, .text = { json_string_value(v), json_string_length(v) } };
        m->nparts = 1;
        return 0;
    }
    if (!json_is_array(v)) {
        return face_refuse(c, path, "must be a string, or a list of blocks");
    }
    if (who == 'u' && json_array_size(v) == 0) {        /* an assistant may have said nothing */
        return face_refuse(c, path, "must have a block");
    }
    json_array_foreach(v, i, one) {
        if (read_block(c, face_item(c, path, i), one, who, &parts[i])) {
            return -1;
        }
    }
    m->nparts = json_array_size(v);
    return 0;
}

static int read_content(face_call_t *c, const char *path, const json_t *o, chat_role_t role, bool inner, chat_message_t *m)
{
    static const char who[] = { [CHAT_SYSTEM] = 's', [CHAT_USER] = 'u', [CHAT_ASSISTANT] = 'a' };
    const json_t     *v = json_object_get(o, "content");

    if (inner && (v == NULL || json_is_null(v))) {      /* a result may have none */
        return 0;
    }
    return read_parts(c, face_field(c, path, "content"), v, inner ? 'r' : who[role], m);
}

static int read_message(face_call_t *c, const char *path, const json_t *v, chat_message_t *m)
{
    static const char *const names[] = { "role", "content", NULL };
    str_t role = STR_NULL;

    if (!json_is_object(v)) {
        return face_refuse(c, path, "must be an object");
    }
    if (face_members(c, path, v, names) || face_text(c, path, v, "role", true, &role)) {
        return -1;
    }
    m->role = str_is(role, "user") ? CHAT_USER : str_is(role, "assistant") ? CHAT_ASSISTANT : CHAT_SYSTEM;
    if (m->role == CHAT_SYSTEM && !str_is(role, "system")) {
        return face_refuse(c, face_field(c, path, "role"), "must be user, assistant or system");
    }
    return read_content(c, path, v, m->role, false, m);
}

int anthropic_messages(face_call_t *c, const json_t *body)
{
    const json_t   *list = json_object_get(body, "messages"), *system = json_object_get(body, "system"), *v;
    chat_message_t *out;
    size_t          i, n = 0;

    if (json_array_size(list) == 0) {
        return face_refuse(c, "messages", "must be a list of at least one message");
    }
    out = arena_calloc(c->arena, (json_array_size(list) + 1) * sizeof *out);
    if (system != NULL && !json_is_null(system)) {
        out[0].role = CHAT_SYSTEM;
        if (read_parts(c, "system", system, 's', &out[n++])) {
            return -1;
        }
    }
    json_array_foreach(list, i, v) {
        if (read_message(c, face_item(c, "messages", i), v, &out[n++])) {
            return -1;
        }
    }
    c->q.messages = out;
    c->q.nmessages = n;
    return 0;
}
