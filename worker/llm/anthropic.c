/*
 * The Messages API of Anthropic: writes requests. Facts are those of its reference and of the types of its official client.
 *
 * The address is base_url + "/messages": base_url is taken as it stands ("https://api.anthropic.com/v1").
 *
 *   system       the system messages that the chat begins with are the member `system`; later ones stay where they are, with
 *                the role "system", which the API takes for models since Opus 4.8 and refuses with 400 for older ones
 *   roles        messages of one role that follow each other are one: the results of parallel calls must stand together
 *   nothing      a text without a character, and a message without a part, are left out: the API refuses them
 *   max_tokens   is required: the request's, the model's of the configuration, or MAX_TOKENS, and what may be thought on top
 *   shape        of an answer is output_config.format; its name is for people and has no member
 */
#include <math.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/util.h"
#include "llm/anthropic_read.h"
#include "llm/body.h"

#define KIND        "anthropic"
#define VERSION     "2023-06-01"    /* of the API; the only one there is */
#define MAX_TOKENS  4096            /* of an answer for which nobody says how long it may be */

/* Where a request is written to. After the first failure nothing is written any more. */
typedef struct {
    buf_t       *b;
    arena_t     *a;
    llm_error_t *err;
    int          rc;
} put_t;

static void put(put_t *p, const char *z)
{
    p->rc = p->rc != 0 ? p->rc : buf_puts(p->b, z);
}

static void put_raw(put_t *p, str_t s)
{
    p->rc = p->rc != 0 ? p->rc : buf_append(p->b, s.p, s.n);
}

static void put_str(put_t *p, const char *before, str_t s)
{
    put(p, before);
    p->rc = p->rc != 0 ? p->rc : buf_json_str(p->b, s);
}

static void put_int(put_t *p, const char *before, int64_t n)
{
    put(p, before);
    p->rc = p->rc != 0 ? p->rc : buf_printf(p->b, "%lld", (long long) n);
}

static void put_real(put_t *p, const char *before, double x)
{
    if (!isnan(x)) {
        put(p, before);
        p->rc = p->rc != 0 ? p->rc : buf_printf(p->b, "%.15g", x);
    }
}

static void cannot(put_t *p, const char *what)
{
    p->rc = p->rc != 0 ? p->rc : format_unsupported(p->err, KIND, what);
}

static void put_cache(put_t *p, bool cache, const char *ttl)
{
    if (cache) {
        put(p, ",\"cache_control\":{\"type\":\"ephemeral\"");
        if (ttl != NULL) {
            put_str(p, ",\"ttl\":", str_of(ttl));
        }
        put(p, "}");
    }
}

/* Parts */

static void put_source(put_t *p, const chat_part_t *part)
{
    if (part->media == NULL) {
        put_str(p, ",\"source\":{\"type\":\"url\",\"url\":", part->text);
    } else {
        put_str(p, ",\"source\":{\"type\":\"base64\",\"media_type\":", str_of(part->media));
        put_str(p, ",\"data\":", part->text);
    }
    put(p, "}");
}

static void put_image(put_t *p, const chat_part_t *part)
{
    if (part->detail != NULL && strcmp(part->detail, "auto") != 0) {
        cannot(p, "the detail of an image");
    }
    put(p, "{\"type\":\"image\"");
    put_source(p, part);
}

/* Of documents in the request itself the API takes PDF, and plain text that is no base64. */
static void put_file(put_t *p, const chat_part_t *part)
{
    put(p, "{\"type\":\"document\"");
    if (part->media == NULL || strcmp(part->media, "application/pdf") == 0) {
        put_source(p, part);
    } else if (strcmp(part->media, "text/plain") == 0) {
        char   *text = arena_alloc(p->a, BASE64_BYTES(part->text.n));
        ssize_t n = base64_decode(text, BASE64_BYTES(part->text.n), part->text);

        if (n < 0 || !utf8_valid((str_t) { text, (size_t) n })) {
            cannot(p, "a text file that is not UTF-8 in base64");
        } else {
            put_str(p, ",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":", (str_t) { text, (size_t) n });
            put(p, "}");
        }
    } else {
        cannot(p, "a file that is neither PDF nor plain text");
    }
    if (part->name != NULL) {
        put_str(p, ",\"title\":", str_of(part->name));
    }
}

/* Thinking is bound to its signature: without one the API takes it for forged. */
static void put_reasoning(put_t *p, const chat_part_t *part)
{
    if (part->cache) {
        cannot(p, "a cache point behind reasoning");
    }
    if (part->kind == PART_REDACTED) {
        put_str(p, "{\"type\":\"redacted_thinking\",\"data\":", part->text);
        return;
    }
    if (part->signature.n == 0) {
        cannot(p, "reasoning without a signature");
    }
    put_str(p, "{\"type\":\"thinking\",\"thinking\":", part->text);
    put_str(p, ",\"signature\":", part->signature);
}

static void put_call(put_t *p, const chat_part_t *part)
{
    const char *why;
    json_t     *v = part->text.n > 0 ? json_parse_loose(p->a, part->text, &why) : json_object();

    if (!json_is_object(v)) {
        cannot(p, "a call whose arguments are no JSON object");
    }
    json_decref(v);
    if (part->signature.n > 0) {
        cannot(p, "the signature of a call");
    }
    put_str(p, "{\"type\":\"tool_use\",\"id\":", str_of(part->id));
    put_str(p, ",\"name\":", str_of(part->name));
    put(p, ",\"input\":");
    put_raw(p, part->text.n > 0 ? part->text : STR("{}"));
}

static void put_parts(put_t *p, chat_role_t role, bool inner, const chat_part_t *parts, size_t n, bool *first);

static void put_result(put_t *p, const chat_part_t *part)
{
    bool first = true;

    put_str(p, "{\"type\":\"tool_result\",\"tool_use_id\":", str_of(part->id));
    put(p, ",\"content\":[");
    put_parts(p, CHAT_USER, true, part->parts, part->nparts, &first);
    put(p, part->failed ? "],\"is_error\":true" : "]");
}

/* Who may say what. */
static bool allowed(chat_role_t role, bool inner, chat_part_kind_t kind)
{
    switch (kind) {
    case PART_TEXT:
        return true;
    case PART_IMAGE: case PART_FILE:
        return role == CHAT_USER;
    case PART_RESULT:
        return role == CHAT_USER && !inner;
    case PART_REASONING: case PART_REDACTED: case PART_CALL:
        return role == CHAT_ASSISTANT;
    case PART_NAME:
        break;                          /* refused before: remote.c */
    }
    return false;
}

static void put_part(put_t *p, const chat_part_t *part)
{
    switch (part->kind) {
    case PART_TEXT:
        put_str(p, "{\"type\":\"text\",\"text\":", part->text);
        break;
    case PART_IMAGE:
        put_image(p, part);
        break;
    case PART_FILE:
        put_file(p, part);
        break;
    case PART_REASONING: case PART_REDACTED:
        put_reasoning(p, part);
        break;
    case PART_CALL:
        put_call(p, part);
        break;
    case PART_RESULT:
        put_result(p, part);
        break;
    case PART_NAME:
        break;
    }
    put_cache(p, part->cache, part->cache_ttl);
    put(p, "}");
}

/* An empty text is refused, and a message of blank ones: "text content blocks must contain non-whitespace text". */
static bool says_nothing(const chat_part_t *part)
{
    size_t n = 0;

    while (n < part->text.n && memchr(" \t\r\n", part->text.p[n], 4) != NULL) {
        n++;
    }
    return part->kind == PART_TEXT && n == part->text.n;
}

/* inner: of a tool's result. */
static void put_parts(put_t *p, chat_role_t role, bool inner, const chat_part_t *parts, size_t n, bool *first)
{
    for (size_t i = 0; i < n; i++) {
        if (says_nothing(&parts[i])) {
            continue;
        }
        if (!allowed(role, inner, parts[i].kind)) {
            cannot(p, arena_printf(p->a, "this kind of content in a message of the %s", chat_role_name(role)));
        }
        put(p, *first ? "" : ",");
        *first = false;
        put_part(p, &parts[i]);
    }
}

/* Messages */

static bool is_empty(const chat_message_t *m)
{
    for (size_t i = 0; i < m->nparts; i++) {
        if (!says_nothing(&m->parts[i])) {
            return false;
        }
    }
    return true;
}

/* Returns how many messages it took. */
static size_t put_system(put_t *p, const llm_request_t *q)
{
    bool   first = true;
    size_t n = 0;

    while (n < q->nmessages && (q->messages[n].role == CHAT_SYSTEM || is_empty(&q->messages[n]))) {
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_empty(&q->messages[i])) {
            put(p, first ? ",\"system\":[" : "");
            put_parts(p, CHAT_SYSTEM, false, q->messages[i].parts, q->messages[i].nparts, &first);
        }
    }
    put(p, first ? "" : "]");
    return n;
}

static void put_messages(put_t *p, const llm_request_t *q, size_t from)
{
    const chat_message_t *last = NULL;
    bool                  first = true;

    put(p, ",\"messages\":[");
    for (size_t i = from; i < q->nmessages; i++) {
        const chat_message_t *m = &q->messages[i];

        if (is_empty(m)) {
            continue;
        }
        if (last == NULL || last->role != m->role) {
            put(p, last != NULL ? "]},{\"role\":\"" : "{\"role\":\"");
            put(p, chat_role_name(m->role));
            put(p, "\",\"content\":[");
            first = true;
        }
        last = m;
        put_parts(p, m->role, false, m->parts, m->nparts, &first);
    }
    put(p, last != NULL ? "]}]" : "]");
}

/* Tools */

static void put_tools(put_t *p, const chat_options_t *o)
{
    for (size_t i = 0; i < o->ntools; i++) {
        const chat_tool_t *t = &o->tools[i];

        put_str(p, i == 0 ? ",\"tools\":[{\"name\":" : ",{\"name\":", str_of(t->name));
        if (t->description[0] != '\0') {
            put_str(p, ",\"description\":", str_of(t->description));
        }
        put(p, ",\"input_schema\":");
        put_raw(p, t->schema.n > 0 ? t->schema : STR("{\"type\":\"object\",\"properties\":{}}"));
        put(p, t->strict ? ",\"strict\":true" : "");
        put_cache(p, t->cache, t->cache_ttl);
        put(p, "}");
    }
    put(p, o->ntools > 0 ? "]" : "");
}

static void put_choice(put_t *p, const chat_options_t *o)
{
    static const char *const words[] = { [CHOICE_AUTO] = "auto", [CHOICE_NONE] = "none", [CHOICE_ANY] = "any", [CHOICE_ONE] = "tool" };
    bool may = o->choice == CHOICE_AUTO || o->choice == CHOICE_NONE;    /* the answer may do without a call */
    bool one = o->parallel == 0 && o->choice != CHOICE_NONE;

    if ((o->choice == CHOICE_AUTO && !one) || (may && o->ntools == 0)) {
        return;
    }
    put(p, ",\"tool_choice\":{\"type\":\"");
    put(p, words[o->choice]);
    put(p, "\"");
    if (o->choice == CHOICE_ONE) {
        put_str(p, ",\"name\":", str_of(o->choice_name));
    }
    put(p, one ? ",\"disable_parallel_tool_use\":true}" : "}");
}

/* How to answer */

static bool is_effort(const chat_options_t *o, const char *word)
{
    return o->effort != NULL && strcmp(o->effort, word) == 0;
}

/* Tokens to think with; 0: none, -1: nobody said. */
static int64_t budget_of(const chat_options_t *o)
{
    return o->reasoning_tokens < 0 && is_effort(o, "none") ? 0 : o->reasoning_tokens;
}

static int64_t max_tokens(const llm_request_t *q)
{
    if (q->options.max_tokens >= 0) {
        return q->options.max_tokens;
    }
    return q->model->max_tokens > 0 ? (int64_t) q->model->max_tokens : MAX_TOKENS + SI_MAX(budget_of(&q->options), 0);
}

static void put_thinking(put_t *p, int64_t budget)
{
    if (budget == 0) {
        put(p, ",\"thinking\":{\"type\":\"disabled\"}");
    } else if (budget > 0) {
        put_int(p, ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":", budget);
        put(p, "}");
    }
}

static void put_schema(put_t *p, const chat_options_t *o)
{
    json_t *v = o->shape_about != NULL ? json_own(p->a, body_shape(p->a, o, KIND, p->err)) : NULL;

    if (o->shape_about != NULL && v == NULL) {
        p->rc = SI_EINVAL;
    } else {
        put_raw(p, v != NULL ? str_of(json_text(p->a, v)) : o->shape_schema);
    }
}

static void put_output(put_t *p, const chat_options_t *o)
{
    bool effort = o->effort != NULL && !is_effort(o, "none"), schema = o->shape == SHAPE_SCHEMA;

    if (is_effort(o, "minimal")) {
        cannot(p, "minimal effort");
    }
    if (o->shape == SHAPE_JSON) {
        cannot(p, "JSON without a schema");
    }
    if (!effort && !schema) {
        return;
    }
    put(p, ",\"output_config\":{");
    if (effort) {
        put_str(p, "\"effort\":", str_of(o->effort));
    }
    if (schema) {
        put(p, effort ? ",\"format\":{\"type\":\"json_schema\",\"schema\":" : "\"format\":{\"type\":\"json_schema\",\"schema\":");
        put_schema(p, o);
        put(p, "}");
    }
    put(p, "}");
}

static void put_sampling(put_t *p, const chat_options_t *o)
{
    put_real(p, ",\"temperature\":", o->temperature);
    put_real(p, ",\"top_p\":", o->top_p);
    if (o->top_k >= 0) {
        put_int(p, ",\"top_k\":", o->top_k);
    }
    for (size_t i = 0; i < o->nstop; i++) {
        put_str(p, i == 0 ? ",\"stop_sequences\":[" : ",", str_of(o->stop[i]));
    }
    put(p, o->nstop > 0 ? "]" : "");
    /* A penalty of 0 is none. */
    if (!isnan(o->frequency_penalty) && o->frequency_penalty != 0) {
        cannot(p, "frequency_penalty");
    }
    if (!isnan(o->presence_penalty) && o->presence_penalty != 0) {
        cannot(p, "presence_penalty");
    }
    if (o->has_seed) {
        cannot(p, "seed");
    }
    if (o->end_user != NULL) {
        put_str(p, ",\"metadata\":{\"user_id\":", str_of(o->end_user));
        put(p, "}");
    }
}

static void put_extra(put_t *p, const chat_options_t *o)
{
    const char *name;
    json_t     *v;

    json_object_foreach((json_t *) (uintptr_t) o->extra, name, v) {
        if (o->dialect == NULL || strcmp(o->dialect, KIND) != 0) {
            cannot(p, name);
        }
        put_str(p, ",", str_of(name));
        put(p, ":");
        p->rc = p->rc != 0 ? p->rc : json_dump(p->b, v);
    }
}

/* What counts as input. */
static void put_input(put_t *p, const llm_request_t *q)
{
    const chat_options_t *o = &q->options;

    put_messages(p, q, put_system(p, q));
    put_tools(p, o);
    put_choice(p, o);
    put_thinking(p, budget_of(o));
    put_output(p, o);
}

static int put_body(put_t *p, const llm_request_t *q)
{
    put_str(p, "{\"model\":", str_of(q->model->upstream));
    put_int(p, ",\"max_tokens\":", max_tokens(q));
    put(p, ",\"stream\":true");
    put_input(p, q);
    put_sampling(p, &q->options);
    put_extra(p, &q->options);
    put(p, "}");
    return p->rc;
}

static void put_head(arena_t *a, const conf_provider_t *c, const char *path, format_request_t *out)
{
    out->url = arena_printf(a, "%s%s", c->base_url, path);
    format_header(out, "anthropic-version: " VERSION);
    if (c->api_key != NULL && c->api_key[0] != '\0') {
        format_header(out, arena_printf(a, "x-api-key: %s", c->api_key));
    }
    if (c->beta != NULL && c->beta[0] != '\0') {
        format_header(out, arena_printf(a, "anthropic-beta: %s", c->beta));
    }
}

static int co_put(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    put_t p = { .b = &out->body, .a = a, .err = err };

    put_head(a, q->model->provider, "/messages", out);
    return put_body(&p, q);
}

static const format_t format_anthropic = { .co_put = co_put, .event = anthropic_read_event, .whole = anthropic_read_whole };

const provider_t provider_anthropic = FORMAT_PROVIDER(KIND, &format_anthropic);

/* --- only counted: https://platform.claude.com/docs/en/api/messages/count_tokens --- */

static int co_put_count(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    put_t p = { .b = &out->body, .a = a, .err = err };

    put_head(a, q->model->provider, "/messages/count_tokens", out);
    put_str(&p, "{\"model\":", str_of(q->model->upstream));
    put_input(&p, q);
    put_extra(&p, &q->options);
    put(&p, "}");
    return p.rc;
}

static int read_count(reply_t *r, str_t body)
{
    const char *why;
    json_t     *v = json_own(r->arena, json_parse(r->arena, body, &why));

    r->result.input_tokens = reply_count(v, "input_tokens");
    r->done = true;
    return r->result.input_tokens >= 0 ? 0 : reply_malformed(r, v != NULL ? "it has no input_tokens" : why);
}

static int no_event(reply_t *r, str_t type, str_t data)
{
    (void) type;
    (void) data;
    return reply_malformed(r, "a count is no stream");
}

static const format_t format_count = { .co_put = co_put_count, .event = no_event, .whole = read_count };

const provider_t provider_anthropic_count = FORMAT_PROVIDER(KIND, &format_count);
