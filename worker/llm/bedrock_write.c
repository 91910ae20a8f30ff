/* A request to Converse, from a chat in neutral terms. */
#include <math.h>

#include "base/util.h"
#include "llm/bedrock.h"

#define NAME_MAX_BYTES  200             /* of a document's name */
#define USER_MAX        256             /* bytes of a value of requestMetadata */

typedef struct {
    arena_t             *a;
    const llm_request_t *q;
    buf_t               *b;
    llm_error_t         *err;
    int                  rc;            /* the first failure: nothing is written after it */
} writer_t;

/* Fields that Converse passes on to the model are the model's own; whose they are is known by its id. */
typedef enum { FAMILY_OTHER, FAMILY_CLAUDE, FAMILY_NOVA, FAMILY_OPENAI } family_t;

static family_t family_of(const char *upstream)
{
    return strstr(upstream, "anthropic.") != NULL ? FAMILY_CLAUDE : strstr(upstream, "amazon.nova") != NULL ? FAMILY_NOVA
           : strstr(upstream, "openai.") != NULL ? FAMILY_OPENAI : FAMILY_OTHER;
}

/* ---- writing ---- */

static void refuse(writer_t *w, const char *what)
{
    w->rc = w->rc != 0 ? w->rc : format_unsupported(w->err, "bedrock", what);
}

static void raw(writer_t *w, str_t s)
{
    w->rc = w->rc != 0 ? w->rc : buf_append(w->b, s.p, s.n);
}

static void put(writer_t *w, const char *z)
{
    raw(w, str_of(z));
}

static void quoted(writer_t *w, str_t s)
{
    w->rc = w->rc != 0 ? w->rc : buf_json_str(w->b, s);
}

static void number(writer_t *w, double v)
{
    w->rc = w->rc != 0 ? w->rc : buf_printf(w->b, "%.15g", v);
}

/* A comma, unless what follows is the first of its list or object. */
static void next(writer_t *w)
{
    if (w->rc == 0 && strchr("[{:", w->b->p[w->b->n - 1]) == NULL) {
        put(w, ",");
    }
}

/* "name": of a member. */
static void member(writer_t *w, const char *name)
{
    next(w);
    put(w, "\"");
    put(w, name);
    put(w, "\":");
}

static void member_str(writer_t *w, const char *name, str_t value)
{
    member(w, name);
    quoted(w, value);
}

static void member_int(writer_t *w, const char *name, int64_t value)
{
    member(w, name);
    w->rc = w->rc != 0 ? w->rc : buf_printf(w->b, "%lld", (long long) value);
}

static void put_cache(writer_t *w, bool cache, const char *ttl)
{
    if (cache) {
        next(w);
        put(w, "{\"cachePoint\":{\"type\":\"default\"");
        if (ttl != NULL) {
            member_str(w, "ttl", str_of(ttl));
        }
        put(w, "}}");
    }
}

/* ---- content ---- */

/* Converse refuses a text block that is empty or blank; it would say nothing. */
static bool is_blank(str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (strchr(" \t\r\n", s.p[i]) == NULL || s.p[i] == '\0') {
            return false;
        }
    }
    return true;
}

static bool says_something(const chat_part_t *p)
{
    return p->kind != PART_TEXT || !is_blank(p->text);
}

static const char *format_of(const char *media, bool image)
{
    static const struct { const char *media, *format; bool image; } formats[] = {
        { "image/png", "png", true }, { "image/jpeg", "jpeg", true }, { "image/jpg", "jpeg", true }, { "image/gif", "gif", true },
        { "image/webp", "webp", true }, { "application/pdf", "pdf", false }, { "text/csv", "csv", false }, { "text/html", "html", false },
        { "text/plain", "txt", false }, { "text/markdown", "md", false }, { "application/msword", "doc", false },
        { "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx", false },
        { "application/vnd.ms-excel", "xls", false },
        { "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx", false },
    };

    for (size_t i = 0; media != NULL && i < SI_COUNT(formats); i++) {
        if (formats[i].image == image && strcmp(media, formats[i].media) == 0) {
            return formats[i].format;
        }
    }
    return NULL;
}

/* A document's name may have letters, digits, single blanks, hyphens and brackets; other characters become hyphens. */
static const char *clean_name(arena_t *a, const char *name)
{
    char  *out = arena_dup(a, name, SI_MIN(strlen(name), (size_t) NAME_MAX_BYTES));
    size_t n = 0;

    for (const char *p = out; *p != '\0'; p++) {
        bool good = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-()[]", *p) != NULL;

        if (good || (*p == ' ' && n > 0 && out[n - 1] != ' ')) {
            out[n++] = *p;
        } else if (*p != ' ') {
            out[n++] = '-';
        }
    }
    out[n] = '\0';
    return n > 0 ? out : "document";
}

/* {"image":…} or {"document":…}. A URL is none that Converse would fetch, unless it leads to S3. */
static void put_media(writer_t *w, const chat_part_t *p)
{
    bool        image = p->kind == PART_IMAGE, s3 = p->media == NULL && p->text.n > 5 && memcmp(p->text.p, "s3://", 5) == 0;
    const char *format = s3 ? "png" : format_of(p->media, image);

    if (p->media == NULL && !s3) {
        refuse(w, image ? "an image by its URL" : "a file by its URL");
    } else if (format == NULL || (s3 && !image)) {
        refuse(w, image ? "an image of this type" : "a file of this type");
    } else if (p->detail != NULL && strcmp(p->detail, "auto") != 0) {
        refuse(w, "the detail of an image");
    }
    next(w);
    put(w, image ? "{\"image\":{" : "{\"document\":{");
    member_str(w, "format", str_of(format != NULL ? format : ""));
    if (!image) {
        member_str(w, "name", str_of(clean_name(w->a, p->name != NULL ? p->name : "document")));
    }
    put(w, s3 ? ",\"source\":{\"s3Location\":{\"uri\":" : ",\"source\":{\"bytes\":");
    quoted(w, p->text);
    put(w, s3 ? "}}}}" : "}}}");
}

static void put_reasoning(writer_t *w, const chat_part_t *p)
{
    next(w);
    if (p->kind == PART_REDACTED) {
        put(w, "{\"reasoningContent\":{\"redactedContent\":");
        quoted(w, p->text);
        put(w, "}}");
        return;
    }
    put(w, "{\"reasoningContent\":{\"reasoningText\":{");
    member_str(w, "text", p->text);
    if (p->signature.n > 0) {
        member_str(w, "signature", p->signature);
    }
    put(w, "}}}");
}

/* The arguments are an object here and a text in other dialects, so they are read: a broken one would break the request. */
static void put_call(writer_t *w, const chat_part_t *p)
{
    const char *why;
    json_t     *input = json_own(w->a, is_blank(p->text) ? json_object() : json_parse_loose(w->a, p->text, &why));

    if (!json_is_object(input)) {
        refuse(w, "a call of a tool whose arguments are no JSON object");
        return;
    }
    next(w);
    put(w, "{\"toolUse\":{");
    member_str(w, "toolUseId", str_of(p->id));
    member_str(w, "name", str_of(p->name));
    member(w, "input");
    w->rc = w->rc != 0 ? w->rc : json_dump(w->b, input);
    put(w, "}}");
}

static void put_text(writer_t *w, str_t text)
{
    if (!is_blank(text)) {
        next(w);
        put(w, "{\"text\":");
        quoted(w, text);
        put(w, "}");
    }
}

/* Status only when it failed: models other than Claude and Nova know none. */
static void put_result(writer_t *w, const chat_part_t *p)
{
    bool cache = false;

    next(w);
    put(w, "{\"toolResult\":{");
    member_str(w, "toolUseId", str_of(p->id));
    put(w, ",\"content\":[");
    for (size_t i = 0; i < p->nparts; i++) {
        const chat_part_t *inner = &p->parts[i];

        cache |= inner->cache;
        if (inner->kind == PART_TEXT) {
            put_text(w, inner->text);
        } else if (inner->kind == PART_IMAGE || inner->kind == PART_FILE) {
            put_media(w, inner);
        } else {
            refuse(w, "such a result of a tool");
        }
    }
    put(w, p->failed ? "],\"status\":\"error\"}}" : "]}}");
    put_cache(w, cache && !p->cache, NULL);         /* within a result there is no room for one */
}

static void put_part(writer_t *w, const chat_part_t *p)
{
    switch (p->kind) {
    case PART_TEXT:
        put_text(w, p->text);
        break;
    case PART_IMAGE:
    case PART_FILE:
        put_media(w, p);
        break;
    case PART_REASONING:
    case PART_REDACTED:
        put_reasoning(w, p);
        break;
    case PART_CALL:
        put_call(w, p);
        break;
    case PART_RESULT:
        put_result(w, p);
        break;
    case PART_NAME:
        break;                          /* refused before: remote.c */
    }
    put_cache(w, p->cache, p->cache_ttl);
}

/* ---- messages ---- */

static bool is_silent(const chat_message_t *m)
{
    for (size_t i = 0; i < m->nparts; i++) {
        if (says_something(&m->parts[i])) {
            return false;
        }
    }
    return true;
}

/* Users and assistants must take turns: messages of one after the other become one. */
static void put_messages(writer_t *w)
{
    int last = -1;

    member(w, "messages");
    put(w, "[");
    for (size_t i = 0; i < w->q->nmessages; i++) {
        const chat_message_t *m = &w->q->messages[i];

        if (m->role == CHAT_SYSTEM || is_silent(m)) {
            continue;
        }
        if ((int) m->role != last) {
            put(w, last < 0 ? "" : "]},");
            put(w, m->role == CHAT_ASSISTANT ? "{\"role\":\"assistant\",\"content\":[" : "{\"role\":\"user\",\"content\":[");
            last = (int) m->role;
        }
        for (size_t k = 0; k < m->nparts; k++) {
            put_part(w, &m->parts[k]);
        }
    }
    put(w, last < 0 ? "]" : "]}]");
}

static void put_system(writer_t *w)
{
    bool open = false;

    for (size_t i = 0; i < w->q->nmessages; i++) {
        const chat_message_t *m = &w->q->messages[i];

        if (m->role != CHAT_SYSTEM || is_silent(m)) {
            continue;
        }
        if (!open) {
            member(w, "system");
            put(w, "[");
            open = true;
        }
        for (size_t k = 0; k < m->nparts; k++) {
            if (m->parts[k].kind != PART_TEXT) {
                refuse(w, "a system prompt that is not text");
            }
            put_part(w, &m->parts[k]);
        }
    }
    put(w, open ? "]" : "");
}

/* ---- tools ---- */

static bool has_calls(const llm_request_t *q)
{
    for (size_t i = 0; i < q->nmessages; i++) {
        for (size_t k = 0; k < q->messages[i].nparts; k++) {
            chat_part_kind_t kind = q->messages[i].parts[k].kind;

            if (kind == PART_CALL || kind == PART_RESULT) {
                return true;
            }
        }
    }
    return false;
}

static void put_tool(writer_t *w, const chat_tool_t *t)
{
    next(w);
    put(w, "{\"toolSpec\":{");
    member_str(w, "name", str_of(t->name));
    if (t->description[0] != '\0') {
        member_str(w, "description", str_of(t->description));
    }
    put(w, ",\"inputSchema\":{\"json\":");
    raw(w, t->schema.n > 0 ? t->schema : STR("{\"type\":\"object\",\"properties\":{}}"));
    put(w, t->strict ? "},\"strict\":true}}" : "}}}");
    put_cache(w, t->cache, t->cache_ttl);
}

static void put_tools(writer_t *w)
{
    const chat_options_t *o = &w->q->options;

    if (o->ntools == 0) {
        return;
    }
    if (o->choice == CHOICE_NONE) {                 /* Converse has no word for it, and wants the tools where calls are */
        if (has_calls(w->q)) {
            refuse(w, "no call of a tool after there were some");
        }
        return;
    }
    member(w, "toolConfig");
    put(w, "{\"tools\":[");
    for (size_t i = 0; i < o->ntools; i++) {
        put_tool(w, &o->tools[i]);
    }
    put(w, "]");
    if (o->choice == CHOICE_ONE) {
        put(w, ",\"toolChoice\":{\"tool\":{");
        member_str(w, "name", str_of(o->choice_name));
        put(w, "}}");
    } else if (o->choice == CHOICE_ANY) {
        put(w, ",\"toolChoice\":{\"any\":{}}");
    }
    put(w, "}");
}

/* ---- options ---- */

/* An object that may turn out empty: then nothing of it stays. Returns where to go back to. */
static size_t open_object(writer_t *w, const char *name)
{
    size_t before = w->b->n;

    member(w, name);
    put(w, "{");
    return before;
}

static void close_object(writer_t *w, size_t before)
{
    if (w->rc == 0 && w->b->p[w->b->n - 1] == '{') {
        w->b->n = before;
    } else {
        put(w, "}");
    }
}

static void put_inference(writer_t *w)
{
    const chat_options_t *o = &w->q->options;
    int64_t               max = o->max_tokens >= 0 ? o->max_tokens : w->q->model->max_tokens > 0 ? (int64_t) w->q->model->max_tokens : -1;
    size_t                before = open_object(w, "inferenceConfig");

    if (max >= 0) {
        member_int(w, "maxTokens", max);
    }
    if (!isnan(o->temperature)) {
        member(w, "temperature");
        number(w, o->temperature);
    }
    if (!isnan(o->top_p)) {
        member(w, "topP");
        number(w, o->top_p);
    }
    if (o->nstop > 0) {
        member(w, "stopSequences");
        put(w, "[");
        for (size_t i = 0; i < o->nstop; i++) {
            next(w);
            quoted(w, str_of(o->stop[i]));
        }
        put(w, "]");
    }
    close_object(w, before);
}

static bool is_one_of(const char *z, const char *const *words)
{
    while (*words != NULL && strcmp(*words, z) != 0) {
        words++;
    }
    return *words != NULL;
}

static void put_effort(writer_t *w, family_t family, const char *effort)
{
    static const char *const three[] = { "low", "medium", "high", NULL }, *const five[] = { "low", "medium", "high", "xhigh", "max", NULL };
    bool none = strcmp(effort, "none") == 0;

    if (family == FAMILY_CLAUDE && is_one_of(effort, five)) {
        member(w, "output_config");
        put(w, "{");
        member_str(w, "effort", str_of(effort));
        put(w, "}");
    } else if (family == FAMILY_OPENAI && is_one_of(effort, three)) {
        member_str(w, "reasoning_effort", str_of(effort));
    } else if (family == FAMILY_NOVA && is_one_of(effort, three)) {
        member(w, "reasoningConfig");
        put(w, "{\"type\":\"enabled\"");
        member_str(w, "maxReasoningEffort", str_of(effort));
        put(w, "}");
    } else if (!none || family == FAMILY_OPENAI) {
        refuse(w, "this reasoning effort");
    }
}

/* What Converse has no word for, but the model behind it. */
static void put_fields(writer_t *w)
{
    const chat_options_t *o = &w->q->options;
    family_t              family = family_of(w->q->model->upstream);
    size_t                before = open_object(w, "additionalModelRequestFields");

    if (o->top_k >= 0 && family == FAMILY_CLAUDE) {
        member_int(w, "top_k", o->top_k);
    } else if (o->top_k >= 0 && family == FAMILY_NOVA) {
        put(w, "\"inferenceConfig\":{");
        member_int(w, "topK", o->top_k);
        put(w, "}");
    } else if (o->top_k >= 0) {
        refuse(w, "top_k");
    }
    if (o->reasoning_tokens > 0 && family == FAMILY_CLAUDE) {
        member(w, "thinking");
        put(w, "{\"type\":\"enabled\"");
        member_int(w, "budget_tokens", o->reasoning_tokens);
        put(w, "}");
    } else if (o->reasoning_tokens > 0) {
        refuse(w, "a budget for reasoning");
    }
    if (o->effort != NULL) {
        put_effort(w, family, o->effort);
    }
    close_object(w, before);
}

/* The schema goes as a text. */
static void put_shape(writer_t *w)
{
    const chat_options_t *o = &w->q->options;

    if (o->shape == SHAPE_JSON) {
        refuse(w, "JSON without a schema");
    } else if (o->shape == SHAPE_SCHEMA) {
        put(w, ",\"outputConfig\":{\"textFormat\":{\"type\":\"json_schema\",\"structure\":{\"jsonSchema\":{");
        if (o->shape_name != NULL) {
            member_str(w, "name", str_of(o->shape_name));
        }
        if (o->shape_about != NULL) {
            member_str(w, "description", str_of(o->shape_about));
        }
        member_str(w, "schema", o->shape_schema);
        put(w, "}}}}");
    }
}

/* A value of requestMetadata, as the API's reference limits it. */
static bool is_metadata(const char *z)
{
    static const char more[] = " _:@$#=/+,-.";
    size_t            n = 0;

    for (; z[n] != '\0'; n++) {
        bool letter = (z[n] >= 'a' && z[n] <= 'z') || (z[n] >= 'A' && z[n] <= 'Z') || (z[n] >= '0' && z[n] <= '9');

        if (!letter && strchr(more, z[n]) == NULL) {
            return false;
        }
    }
    return n <= USER_MAX;
}

static void put_user(writer_t *w)
{
    const char *user = w->q->options.end_user;

    if (user == NULL || user[0] == '\0') {
        return;
    }
    if (!is_metadata(user)) {
        refuse(w, "such an end user's id");
    }
    put(w, ",\"requestMetadata\":{");
    member_str(w, "user", str_of(user));
    put(w, "}");
}

static bool is_asked(double v)
{
    return !isnan(v) && v != 0;
}

static void refuse_rest(writer_t *w)
{
    const chat_options_t *o = &w->q->options;
    void                 *first = json_object_iter((json_t *) (uintptr_t) o->extra);

    if (is_asked(o->frequency_penalty)) {
        refuse(w, "frequency_penalty");
    } else if (is_asked(o->presence_penalty)) {
        refuse(w, "presence_penalty");
    } else if (o->has_seed) {
        refuse(w, "seed");
    } else if (o->parallel == 0) {
        refuse(w, "one call of a tool at a time");
    } else if (first != NULL) {
        refuse(w, json_object_iter_key(first));
    }
}

int bedrock_write(arena_t *a, const llm_request_t *q, buf_t *b, llm_error_t *err)
{
    writer_t w = { .a = a, .q = q, .b = b, .err = err };

    refuse_rest(&w);
    put(&w, "{");
    put_messages(&w);
    put_system(&w);
    put_inference(&w);
    put_tools(&w);
    put_fields(&w);
    put_shape(&w);
    put_user(&w);
    w.rc = w.rc != 0 ? w.rc : bedrock_put_guardrail(b, q->model);
    if (q->options.nstop > 0 && family_of(q->model->upstream) == FAMILY_CLAUDE) {
        put(&w, ",\"additionalModelResponseFieldPaths\":");
        put(&w, bedrock_streams(q->model) ? "[\"/delta/stop_sequence\"]" : "[\"/stop_sequence\"]");
    }
    put(&w, "}");
    return w.rc;
}
