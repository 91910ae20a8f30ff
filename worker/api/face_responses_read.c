/*
 * The input of a response: items, of which those that the model has said in one go become one message, as do results of tools.
 * Ids of items are not looked at: nothing is stored that they could lead to.
 */
#include "api/face_responses.h"

typedef enum { OF_NONE, OF_MODEL, OF_TOOLS, OF_ONE } group_t;       /* OF_ONE: a message of its own */

typedef struct {
    face_call_t    *c;
    chat_message_t *messages;
    size_t          nmessages;
    chat_part_t    *parts;          /* of all messages, one behind the other */
    size_t          nparts;
    group_t         group;          /* of the last message */
} input_t;

/* What follows belongs to a new message, or to the last one when the group goes on. */
static void open_message(input_t *in, group_t group, chat_role_t role)
{
    if (in->group != group || group == OF_ONE) {
        in->messages[in->nmessages++] = (chat_message_t) { role, &in->parts[in->nparts], 0 };
        in->group = group;
    }
}

/* A new part of the message that is open. */
static chat_part_t *push(input_t *in, chat_part_t part)
{
    chat_part_t *p = &in->parts[in->nparts++];

    in->messages[in->nmessages - 1].nparts++;
    *p = part;
    return p;
}

static chat_part_t text_part(const json_t *v)
{
    return (chat_part_t) { .kind = PART_TEXT, .text = { json_string_value(v), json_string_length(v) } };
}

/* Content */

static int read_place(face_call_t *c, const char *field, str_t url, chat_part_t *p)
{
    if (face_data_url(c->arena, url, &p->media, &p->text)) {
        return 0;
    }
    if (url.n < 8 || (memcmp(url.p, "http://", 7) != 0 && memcmp(url.p, "https://", 8) != 0)) {
        return face_refuse(c, field, "must be an http(s) URL, or data:…;base64,…");
    }
    p->text = url;
    return 0;
}

static int read_image(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "image_url", "detail", NULL };
    str_t url = STR_NULL, detail = STR_NULL;

    p->kind = PART_IMAGE;
    if (face_members(c, path, v, names) || face_text(c, path, v, "image_url", true, &url) || face_text(c, path, v, "detail", false, &detail)) {
        return -1;
    }
    if (detail.p != NULL && !str_is(detail, "auto") && !str_is(detail, "low") && !str_is(detail, "high")) {
        return face_refuse(c, face_field(c, path, "detail"), "must be auto, low or high");
    }
    p->detail = detail.p;
    return read_place(c, face_field(c, path, "image_url"), url, p);
}

static int read_file(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    static const char *const names[] = { "type", "file_data", "file_url", "filename", NULL };
    str_t data = STR_NULL, url = STR_NULL, name = STR_NULL;

    p->kind = PART_FILE;
    if (face_members(c, path, v, names) || face_text(c, path, v, "file_data", false, &data) || face_text(c, path, v, "file_url", false, &url)
        || face_text(c, path, v, "filename", false, &name))
    {
        return -1;
    }
    if ((data.p == NULL) == (url.p == NULL)) {
        return face_refuse(c, path, "must have file_data or file_url");
    }
    p->name = name.p;
    return read_place(c, face_field(c, path, data.p != NULL ? "file_data" : "file_url"), data.p != NULL ? data : url, p);
}

static int read_text(face_call_t *c, const char *path, const json_t *v, const char *member, chat_part_t *p)
{
    static const char *const names[] = { "type", "text", "refusal", "annotations", "logprobs", "parsed", NULL };

    p->kind = PART_TEXT;
    if (json_array_size(json_object_get(v, "annotations")) > 0) {
        return face_refuse(c, face_field(c, path, "annotations"), "cannot be sent back");
    }
    return face_members(c, path, v, names) ? -1 : face_text(c, path, v, member, true, &p->text);
}

static int read_content(face_call_t *c, const char *path, const json_t *v, chat_part_t *p)
{
    str_t type = STR_NULL;

    *p = (chat_part_t) { .kind = PART_TEXT };
    if (face_text(c, path, v, "type", true, &type)) {
        return -1;
    }
    if (str_is(type, "input_text") || str_is(type, "output_text") || str_is(type, "refusal")) {
        return read_text(c, path, v, str_is(type, "refusal") ? "refusal" : "text", p);
    }
    if (str_is(type, "input_image")) {
        return read_image(c, path, v, p);
    }
    return str_is(type, "input_file") ? read_file(c, path, v, p) : face_refuse(c, face_field(c, path, "type"), "cannot be understood here");
}

/* Items */

static int read_message(input_t *in, const char *path, const json_t *v)
{
    static const char *const names[] = { "type", "role", "content", "id", "status", NULL };
    const json_t *content = json_object_get(v, "content"), *one;
    str_t         role = STR_NULL;
    chat_role_t   who;
    size_t        i;

    if (face_members(in->c, path, v, names) || face_text(in->c, path, v, "role", true, &role)) {
        return -1;
    }
    if (!str_is(role, "user") && !str_is(role, "assistant") && !str_is(role, "system") && !str_is(role, "developer")) {
        return face_refuse(in->c, face_field(in->c, path, "role"), "must be user, assistant, system or developer");
    }
    who = str_is(role, "user") ? CHAT_USER : str_is(role, "assistant") ? CHAT_ASSISTANT : CHAT_SYSTEM;
    open_message(in, who == CHAT_ASSISTANT ? OF_MODEL : OF_ONE, who);
    if (json_is_string(content)) {
        (void) push(in, text_part(content));
        return 0;
    }
    if (json_array_size(content) == 0) {
        return face_refuse(in->c, face_field(in->c, path, "content"), "must be a string, or a list of parts");
    }
    json_array_foreach(content, i, one) {
        chat_part_t *p = push(in, (chat_part_t) { .kind = PART_TEXT });

        if (read_content(in->c, face_item(in->c, face_field(in->c, path, "content"), i), one, p)) {
            return -1;
        }
        if (who != CHAT_USER && p->kind != PART_TEXT) {
            return face_refuse(in->c, arena_printf(in->c->arena, "%s.content[%zu].type", path, i), "must be text");
        }
    }
    return 0;
}

static int read_call(input_t *in, const char *path, const json_t *v)
{
    static const char *const names[] = { "type", "id", "call_id", "name", "arguments", "status", "extra_content", "parsed_arguments", NULL };
    chat_part_t *p;
    str_t        id = STR_NULL, name = STR_NULL;

    open_message(in, OF_MODEL, CHAT_ASSISTANT);
    p = push(in, (chat_part_t) { .kind = PART_CALL });
    if (face_members(in->c, path, v, names) || face_text(in->c, path, v, "call_id", true, &id) || face_text(in->c, path, v, "name", true, &name)
        || face_text(in->c, path, v, "arguments", true, &p->text))
    {
        return -1;
    }
    p->id = id.p;
    p->name = name.p;
    p->signature = json_str(json_object_get(json_object_get(v, "extra_content"), "google"), "thought_signature", STR_NULL);
    return 0;
}

static int read_output(input_t *in, const char *path, const json_t *v)
{
    static const char *const names[] = { "type", "id", "call_id", "output", "status", "name", NULL };
    const json_t *output = json_object_get(v, "output"), *one;
    chat_part_t  *p, *parts = arena_calloc(in->c->arena, (json_array_size(output) + 1) * sizeof *parts);
    str_t         id = STR_NULL, name = STR_NULL;
    size_t        i;

    open_message(in, OF_TOOLS, CHAT_USER);
    p = push(in, (chat_part_t) { .kind = PART_RESULT, .parts = parts, .nparts = 1 });
    if (face_members(in->c, path, v, names) || face_text(in->c, path, v, "call_id", true, &id) || face_text(in->c, path, v, "name", false, &name)) {
        return -1;
    }
    p->id = id.p;
    p->name = name.p;
    if (json_is_string(output)) {
        parts[0] = text_part(output);
        return 0;
    }
    if (!json_is_array(output)) {
        return face_refuse(in->c, face_field(in->c, path, "output"), "must be a string, or a list of parts");
    }
    p->nparts = json_array_size(output);
    json_array_foreach(output, i, one) {
        if (read_content(in->c, face_item(in->c, face_field(in->c, path, "output"), i), one, &parts[i])) {
            return -1;
        }
    }
    return 0;
}

/* The texts of a list of parts, with a blank line between them. */
static str_t texts(arena_t *a, const json_t *list)
{
    const json_t *one;
    buf_t         b;
    str_t         all;
    size_t        i;

    buf_init(&b, SIZE_MAX);
    json_array_foreach(list, i, one) {
        str_t text = json_str(one, "text", STR(""));

        (void) buf_puts(&b, i > 0 ? "\n\n" : "");
        (void) buf_append(&b, text.p, text.n);
    }
    all = (str_t) { arena_dup(a, b.p, b.n), b.n };
    buf_free(&b);
    return all;
}

static int read_reasoning(input_t *in, const char *path, const json_t *v)
{
    static const char *const names[] = { "type", "id", "summary", "content", "encrypted_content", "status", NULL };
    str_t text = texts(in->c->arena, json_object_get(v, "content")), sealed = STR_NULL;

    if (face_members(in->c, path, v, names) || face_text(in->c, path, v, "encrypted_content", false, &sealed)) {
        return -1;
    }
    text = text.n > 0 ? text : texts(in->c->arena, json_object_get(v, "summary"));
    if (text.n > 0 || sealed.n > 0) {
        open_message(in, OF_MODEL, CHAT_ASSISTANT);
        (void) push(in, text.n > 0 ? (chat_part_t) { .kind = PART_REASONING, .text = text, .signature = sealed }
                                   : (chat_part_t) { .kind = PART_REDACTED, .text = sealed });
    }
    return 0;
}

static int read_item(input_t *in, const char *path, const json_t *v)
{
    static const struct { const char *type; int (*read)(input_t *in, const char *path, const json_t *v); } types[] = {
        { "message", read_message }, { "function_call", read_call }, { "function_call_output", read_output }, { "reasoning", read_reasoning },
    };
    str_t type = STR("message");

    if (!json_is_object(v)) {
        return face_refuse(in->c, path, "must be an object");
    }
    if (face_text(in->c, path, v, "type", false, &type)) {
        return -1;
    }
    for (size_t i = 0; i < SI_COUNT(types); i++) {
        if (str_is(type, types[i].type)) {
            return types[i].read(in, path, v);
        }
    }
    return face_refuse(in->c, face_field(in->c, path, "type"), str_is(type, "item_reference") ? "items are not stored here: send the item itself"
                       : "must be message, function_call, function_call_output or reasoning");
}

static size_t room(const json_t *list)
{
    const json_t *v;
    size_t        i, n = 2;

    json_array_foreach(list, i, v) {
        n += 1 + json_array_size(json_object_get(v, "content"));
    }
    return n;
}

int responses_input(face_call_t *c, const json_t *body)
{
    const json_t *list = json_object_get(body, "input"), *v;
    input_t       in = { .c = c };
    str_t         instructions = STR_NULL;
    size_t        i;

    if (face_text(c, "", body, "instructions", false, &instructions)) {
        return -1;
    }
    if (!json_is_string(list) && json_array_size(list) == 0) {
        return face_refuse(c, "input", "must be a string, or a list of at least one item");
    }
    in.messages = arena_calloc(c->arena, (json_array_size(list) + 2) * sizeof *in.messages);
    in.parts = arena_calloc(c->arena, room(list) * sizeof *in.parts);
    if (instructions.n > 0) {
        open_message(&in, OF_ONE, CHAT_SYSTEM);
        (void) push(&in, (chat_part_t) { .kind = PART_TEXT, .text = instructions });
    }
    if (json_is_string(list)) {
        open_message(&in, OF_ONE, CHAT_USER);
        (void) push(&in, text_part(list));
    }
    json_array_foreach(list, i, v) {
        if (read_item(&in, face_item(c, "input", i), v)) {
            return -1;
        }
    }
    c->q.messages = in.messages;
    c->q.nmessages = in.nmessages;
    return 0;
}
