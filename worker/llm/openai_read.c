#include "llm/openai_read.h"

#include <stdio.h>

#include "base/util.h"
#include "llm/openai_calls.h"
#include "llm/openai_fast.h"
#include "llm/same.h"

/* Errors */

int openai_error_status(const json_t *e)
{
    static const struct { const char *word; int status; } words[] = {
        { "rate_limit", 429 }, { "insufficient_quota", 429 }, { "authentication", 401 }, { "invalid_api_key", 401 },
        { "permission", 403 }, { "invalid_", 400 }, { "context_length", 400 }, { "content_filter", 400 },
    };
    static const char *const names[] = { "code", "status", "type" };

    for (size_t i = 0; i < SI_COUNT(names); i++) {
        const json_t *v = json_object_get(e, names[i]);
        json_int_t    n = json_integer_value(v);

        if (n >= 400 && n <= 599) {
            return (int) n;
        }
        for (size_t w = 0; json_is_string(v) && w < SI_COUNT(words); w++) {
            if (strstr(json_string_value(v), words[w].word) != NULL) {
                return words[w].status;
            }
        }
    }
    return 0;
}

static int read_error(reply_t *r, const json_t *v, const json_t *e)
{
    return reply_error(r, openai_error_status(e), reply_message_of(v));
}

/* Text */

static int add_parts(reply_t *r, const json_t *parts, chat_kind_t kind)
{
    const json_t *part, *thinking;
    size_t        i;
    int           rc = 0;

    json_array_foreach(parts, i, part) {
        thinking = json_object_get(part, "thinking");
        if (json_is_array(thinking)) {
            const json_t *t;
            size_t        k;

            json_array_foreach(thinking, k, t) {
                rc = rc != 0 ? rc : reply_text(r, CHAT_REASONING, json_str(t, "text", STR_NULL));
            }
        } else {
            rc = rc != 0 ? rc : reply_text(r, CHAT_REASONING, reply_string(thinking));
        }
        rc = rc != 0 ? rc : reply_text(r, kind, json_str(part, "text", STR_NULL));
    }
    return rc;
}

/* vLLM sends both names with the same text; OpenRouter says it once more in its details, and Snowflake there alone. */
static int read_reasoning(reply_t *r, const json_t *d)
{
    str_t         s = json_str(d, "reasoning_content", STR_NULL);
    const json_t *detail;
    size_t        i;
    int           rc = 0;

    s = s.n > 0 ? s : json_str(d, "reasoning", STR_NULL);
    if (s.n > 0) {
        return reply_text(r, CHAT_REASONING, s);
    }
    json_array_foreach(json_object_get(d, "reasoning_details"), i, detail) {
        rc = rc != 0 ? rc : reply_text(r, CHAT_REASONING, json_str(detail, "text", json_str(detail, "summary", STR_NULL)));
    }
    return rc;
}

/* What there is no event for: pictures, sounds, citations, and what tools of the provider did (Groq). */
static size_t unsaid(const json_t *d)
{
    static const char *const lists[] = { "images", "annotations", "citations", "executed_tools" };
    size_t n = json_object_get(json_object_get(d, "audio"), "data") != NULL;

    for (size_t i = 0; i < SI_COUNT(lists); i++) {
        n += json_array_size(json_object_get(d, lists[i]));
    }
    return n;
}

/* A delta of a chunk, or the message of a whole answer. */
static int read_delta(reply_t *r, const json_t *d)
{
    const json_t *content = json_object_get(d, "content");
    int           rc = read_reasoning(r, d);

    r->result.unsaid += unsaid(d);
    if (rc == 0) {
        rc = json_is_array(content) ? add_parts(r, content, CHAT_TEXT) : reply_text(r, CHAT_TEXT, reply_string(content));
    }
    return rc != 0 ? rc : reply_text(r, CHAT_REFUSAL, json_str(d, "refusal", STR_NULL));
}

/* Ends and usage */

int openai_read_finish(reply_t *r, str_t reason)
{
    static const struct { const char *theirs, *ours; } names[] = {
        { "length", "length" }, { "model_length", "length" }, { "max_tokens", "length" },
        { "content_filter", "content_filter" }, { "tool_calls", "tool_calls" }, { "function_call", "tool_calls" },
        { "sensitive", "content_filter" },      /* Zhipu */
    };
    /* DeepSeek's insufficient_system_resource, Zhipu's network_error; vLLM and SGLang say abort. */
    static const char *const cut[] = { "error", "insufficient_system_resource", "network_error", "abort" };
    const char *ours = "stop";

    if (reason.n == 0) {
        return 0;
    }
    for (size_t i = 0; i < SI_COUNT(cut); i++) {
        if (str_is(reason, cut[i])) {
            return provider_fail(&r->err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider ended the answer with an error");
        }
    }
    for (size_t i = 0; i < SI_COUNT(names); i++) {
        if (str_is(reason, names[i].theirs)) {
            ours = names[i].ours;
        }
    }
    reply_finish(r, ours);
    return openai_end_calls(r);
}

/* What the usage or its details say under one of these names, or 0. */
static int64_t count_of(const json_t *usage, const json_t *details, const char *const *names)
{
    int64_t v = 0;

    for (; *names != NULL; names++) {
        v = SI_MAX(v, reply_count(details, *names));
        v = SI_MAX(v, reply_count(usage, *names));
    }
    return v;
}

void openai_read_usage(reply_t *r, const openai_usage_t *u)
{
    int64_t hidden = u->reasoning > 0 && u->total >= 0 && u->total - u->in - u->out == u->reasoning ? u->reasoning : 0;

    if (u->in >= 0 && u->out >= 0) {
        r->result.input_tokens = u->in;
        r->result.output_tokens = u->out + hidden;
        r->result.reasoning_tokens = u->reasoning;
        r->result.cached_tokens = u->cached;
        r->result.cache_write_tokens = u->written;
    }
}

static void read_usage(reply_t *r, const json_t *u)
{
    const json_t  *in = json_object_get(u, "prompt_tokens_details"), *out = json_object_get(u, "completion_tokens_details");
    openai_usage_t said = {
        .in = reply_count(u, "prompt_tokens"), .out = reply_count(u, "completion_tokens"), .total = reply_count(u, "total_tokens"),
        .reasoning = count_of(u, out, (const char *[]) { "reasoning_tokens", NULL }),
        /* OpenAI and most; DeepSeek; gateways in front of Anthropic; Mistral. */
        .cached = count_of(u, in, (const char *[]) { "cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "num_cached_tokens", NULL }),
        .written = count_of(u, in, (const char *[]) { "cache_write_tokens", "cache_creation_input_tokens", NULL }),
    };

    openai_read_usage(r, &said);
}

static void read_common(reply_t *r, const json_t *v)
{
    reply_name(r->result.model, sizeof r->result.model, json_str(v, "model", STR_NULL));
    reply_name(r->result.id, sizeof r->result.id, json_str(v, "id", STR_NULL));
    read_usage(r, json_object_get(json_object_get(v, "x_groq"), "usage"));
    read_usage(r, json_object_get(v, "usage"));
}

static int read_choice(reply_t *r, const json_t *choice, const char *member)
{
    const json_t *error = json_object_get(choice, "error");     /* of OpenRouter, when what stands behind it breaks off */
    int           rc;

    if (json_integer_value(json_object_get(choice, "index")) != 0) {
        return 0;                       /* one answer was asked for */
    }
    rc = read_delta(r, json_object_get(choice, member));
    rc = rc != 0 ? rc : openai_read_calls(r, json_object_get(choice, member), strcmp(member, "message") == 0);
    if (rc == 0 && json_is_object(error)) {
        return read_error(r, choice, error);
    }
    return rc != 0 ? rc : openai_read_finish(r, json_str(choice, "finish_reason", STR_NULL));
}

/* What is an error of this object, or NULL. vLLM and Mistral say {"object":"error","message":…}, others {"code":…,"msg":…}, also with status 200. */
static const json_t *error_of(const json_t *v)
{
    const json_t *error = json_object_get(v, "error");

    if (error != NULL && !json_is_null(error)) {
        return error;
    }
    return str_is(json_str(v, "object", STR_NULL), "error") || (json_object_get(v, "choices") == NULL && reply_message_of(v).n > 0) ? v : NULL;
}

static int read_chunk(reply_t *r, const json_t *v, const char *member)
{
    const json_t *error = error_of(v), *choice;
    size_t        i;
    int           rc = 0;

    if (error != NULL) {
        return read_error(r, v, error);
    }
    read_common(r, v);
    json_array_foreach(json_object_get(v, "choices"), i, choice) {
        rc = rc != 0 ? rc : read_choice(r, choice, member);
    }
    if (rc == 0 && reply_string(json_object_get(json_object_get(v, "x_groq"), "error")).n > 0) {
        return reply_error(r, 0, reply_string(json_object_get(json_object_get(v, "x_groq"), "error")));
    }
    return rc;
}

static str_t trim(str_t s)
{
    while (s.n > 0 && (unsigned char) s.p[s.n - 1] <= ' ') {
        s.n--;
    }
    while (s.n > 0 && (unsigned char) s.p[0] <= ' ') {
        s.p++;
        s.n--;
    }
    return s;
}

int openai_read_event(reply_t *r, str_t type, str_t data)
{
    bool    error = str_is(type, "error");
    json_t *v;
    int     rc;

    data = trim(data);
    if (data.n == 0 || r->done) {
        return 0;
    }
    if (str_is(data, "[DONE]")) {
        r->done = true;
        return openai_end_calls(r);     /* some say of no end why it came */
    }
    rc = error ? 0 : same_read(r, data);
    rc = rc != 0 || error ? rc : openai_read_fast(r, data);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    v = reply_object(r, data, &rc);
    if (v == NULL) {
        return rc;
    }
    if (error) {
        const json_t *inner = json_object_get(v, "error");
        rc = read_error(r, v, inner != NULL ? inner : v);
    } else {
        rc = read_chunk(r, v, "delta");
    }
    json_decref(v);
    return rc;
}

int openai_read_whole(reply_t *r, str_t body)
{
    const char   *why;
    json_t       *v = json_parse_loose(r->arena, body, &why);
    int           rc;

    if (v == NULL) {
        return reply_malformed(r, why);
    }
    if (error_of(v) == NULL && !json_is_object(json_array_get(json_object_get(v, "choices"), 0))) {
        rc = reply_malformed(r, "it has no choices");
    } else {
        rc = read_chunk(r, v, "message");
        rc = rc != 0 ? rc : openai_end_calls(r);
        r->done = true;                 /* the body came whole */
    }
    json_decref(v);
    return rc;
}
