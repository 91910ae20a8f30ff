#include "llm/openai_read.h"

#include <stdio.h>

#include "base/json.h"
#include "base/util.h"

#define MESSAGE_MAX  200            /* bytes of a provider's message that are shown */

typedef struct {
    llm_kind_t kind;
    size_t     n;
} llm_piece_t;

void openai_read_init(openai_read_t *r, arena_t *arena, const char *secret, size_t max)
{
    memset(r, 0, sizeof *r);
    r->arena = arena;
    r->secret = secret;
    r->max = max;
    r->result.input_tokens = r->result.output_tokens = -1;
    buf_init(&r->text, 2 * max);
    buf_init(&r->pieces, 1u << 20);
}

void openai_read_free(openai_read_t *r)
{
    buf_free(&r->text);
    buf_free(&r->pieces);
}

/* Errors */

static bool key_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '*';
}

/* Length of what looks like an API key at p ("sk-" and more), else 0. */
static size_t key_len(const char *p, size_t n)
{
    size_t len = 3;

    if (n < 8 || memcmp(p, "sk-", 3) != 0) {
        return 0;
    }
    while (len < n && key_char(p[len])) {
        len++;
    }
    return len >= 8 ? len : 0;
}

/* A provider's message for people: cut, on one line, without keys. */
static const char *clean(arena_t *a, const char *secret, str_t text)
{
    char  *out = arena_alloc(a, MESSAGE_MAX + 16);
    size_t n = 0, i = 0, key;

    if (secret != NULL && secret[0] != '\0' && text.n > 0 && memmem(text.p, text.n, secret, strlen(secret)) != NULL) {
        return "";
    }
    while (i < text.n && n < MESSAGE_MAX) {
        key = key_len(text.p + i, text.n - i);
        if (key > 0) {
            memcpy(out + n, "[key]", 5);
            n += 5;
            i += key;
        } else {
            out[n++] = (unsigned char) text.p[i] < 0x20 || text.p[i] == 0x7f ? ' ' : text.p[i];
            i++;
        }
    }
    n = utf8_cut(out, n);
    out[n] = '\0';
    return utf8_valid((str_t) { out, n }) ? out : "";
}

/* {"error":{"message":…}}, {"error":"…"}, {"message":…}, {"detail":…}, and the first of a list of those. */
static str_t message_of(const json_t *v)
{
    const json_t *e = json_is_array(v) ? json_array_get(v, 0) : v;
    const json_t *inner = json_object_get(e, "error");
    str_t         s;

    if (json_is_string(inner)) {
        return json_str(e, "error", STR_NULL);
    }
    if (json_is_object(inner)) {
        e = inner;
    }
    s = json_str(e, "message", STR_NULL);
    return s.p != NULL ? s : json_str(e, "detail", STR_NULL);
}

static int fail_status(llm_error_t *err, int status, const char *message)
{
    const char *colon = message[0] != '\0' ? ": " : "";

    if (status == 401 || status == 403) {           /* the message may show a part of the key */
        return provider_fail(err, SI_EDENIED, "provider_auth", status, false, "HTTP %d: the provider refuses the API key", status);
    }
    if (status == 429) {
        return provider_fail(err, SI_EAGAIN, "provider_rate_limited", status, true, "HTTP 429%s%s", colon, message);
    }
    if (status == 408 || status >= 500) {
        return provider_fail(err, SI_EUNAVAIL, "provider_unavailable", status, true, "HTTP %d%s%s", status, colon, message);
    }
    if (status < 400) {
        return provider_fail(err, SI_EPROTO, "provider_protocol", status, false, "HTTP %d: redirects are not followed", status);
    }
    return provider_fail(err, SI_EINVAL, "provider_rejected", status, false, "HTTP %d%s%s", status, colon, message);
}

int openai_read_status(llm_error_t *err, arena_t *arena, const char *secret, int status, str_t body)
{
    const char *why, *message;
    json_t     *v = json_parse(arena, body, &why);

    message = clean(arena, secret, message_of(v));
    json_decref(v);
    return fail_status(err, status, message);
}

/* The HTTP status that an error object of a stream stands for; 0: it does not say. */
static int error_status(const json_t *e)
{
    static const struct { const char *word; int status; } words[] = {
        { "rate_limit", 429 }, { "insufficient_quota", 429 }, { "authentication", 401 }, { "invalid_api_key", 401 },
        { "permission", 403 }, { "invalid_request", 400 }, { "context_length", 400 }, { "content_filter", 400 },
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

static int read_error(openai_read_t *r, const json_t *v, const json_t *e)
{
    const char *message = clean(r->arena, r->secret, message_of(v));
    int         status = error_status(e);

    if (status != 0) {
        return fail_status(&r->err, status, message);
    }
    return provider_fail(&r->err, SI_EUNAVAIL, "provider_unavailable", 0, true, "the provider reports an error in its stream%s%s",
                         message[0] != '\0' ? ": " : "", message);
}

static int malformed(openai_read_t *r, const char *why)
{
    return provider_fail(&r->err, SI_EPROTO, "provider_protocol", 0, true, "the provider's answer is malformed: %s", why);
}

/* Text */

/* Pieces of one kind that follow each other are one. */
static int add_piece(openai_read_t *r, llm_kind_t kind, size_t n)
{
    llm_piece_t p = { kind, n }, last;

    if (r->pieces.n > 0) {
        char *at = r->pieces.p + r->pieces.n - sizeof last;

        memcpy(&last, at, sizeof last);
        if (last.kind == kind) {
            last.n += n;
            memcpy(at, &last, sizeof last);
            return 0;
        }
    }
    return buf_append(&r->pieces, &p, sizeof p);
}

static int add_text(openai_read_t *r, llm_kind_t kind, str_t s)
{
    if (s.n == 0) {
        return 0;
    }
    r->bytes[kind] += s.n;
    if (r->bytes[kind] > r->max || buf_append(&r->text, s.p, s.n) != 0 || add_piece(r, kind, s.n) != 0) {
        return provider_fail(&r->err, SI_ENOMEM, "answer_too_large", 0, false, "the answer is longer than %zu bytes", r->max);
    }
    return 0;
}

bool openai_read_piece(openai_read_t *r, llm_kind_t *kind, str_t *text)
{
    llm_piece_t p;

    buf_consume(&r->text, r->handed);
    r->handed = 0;
    if (r->pieces.n == 0) {
        return false;
    }
    memcpy(&p, r->pieces.p, sizeof p);
    buf_consume(&r->pieces, sizeof p);
    r->handed = p.n;
    *kind = p.kind;
    *text = (str_t) { r->text.p, p.n };
    return true;
}

static str_t string(const json_t *v)
{
    return json_is_string(v) ? (str_t) { json_string_value(v), json_string_length(v) } : STR_NULL;
}

static int add_parts(openai_read_t *r, const json_t *parts, llm_kind_t kind)
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
                rc = rc != 0 ? rc : add_text(r, LLM_REASONING, json_str(t, "text", STR_NULL));
            }
        } else {
            rc = rc != 0 ? rc : add_text(r, LLM_REASONING, string(thinking));
        }
        rc = rc != 0 ? rc : add_text(r, kind, json_str(part, "text", STR_NULL));
    }
    return rc;
}

/* A delta of a chunk, or the message of a whole answer. */
static int read_delta(openai_read_t *r, const json_t *d)
{
    static const char *const reasoning[] = { "reasoning_content", "reasoning" };
    const json_t *content = json_object_get(d, "content");
    int           rc = 0;

    for (size_t i = 0; i < SI_COUNT(reasoning); i++) {
        str_t s = json_str(d, reasoning[i], STR_NULL);

        if (s.n > 0) {                  /* vLLM sends both names with the same text */
            rc = add_text(r, LLM_REASONING, s);
            break;
        }
    }
    if (rc == 0) {
        rc = json_is_array(content) ? add_parts(r, content, LLM_TEXT) : add_text(r, LLM_TEXT, string(content));
    }
    return rc != 0 ? rc : add_text(r, LLM_TEXT, json_str(d, "refusal", STR_NULL));
}

/* Ends and usage */

static void note_finish(openai_read_t *r, const char *reason)
{
    r->finished = true;
    snprintf(r->result.finish, sizeof r->result.finish, "%s", reason);
}

static int read_finish(openai_read_t *r, str_t reason)
{
    static const struct { const char *theirs, *ours; } names[] = {
        { "length", "length" }, { "model_length", "length" }, { "max_tokens", "length" },
        { "content_filter", "content_filter" }, { "tool_calls", "tool_calls" }, { "function_call", "tool_calls" },
    };

    if (reason.n == 0) {
        return 0;
    }
    if (str_is(reason, "error") || str_is(reason, "insufficient_system_resource")) {
        return provider_fail(&r->err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider ended the answer with an error");
    }
    for (size_t i = 0; i < SI_COUNT(names); i++) {
        if (str_is(reason, names[i].theirs)) {
            note_finish(r, names[i].ours);
            return 0;
        }
    }
    note_finish(r, "stop");
    return 0;
}

static int64_t count(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);

    return json_is_integer(v) && json_integer_value(v) >= 0 ? (int64_t) json_integer_value(v) : -1;
}

static void read_usage(openai_read_t *r, const json_t *u)
{
    int64_t in = count(u, "prompt_tokens"), out = count(u, "completion_tokens"), total = count(u, "total_tokens");
    int64_t reasoning = count(json_object_get(u, "completion_tokens_details"), "reasoning_tokens");

    if (in < 0 || out < 0) {
        return;
    }
    if (reasoning > 0 && total >= 0 && total - in - out == reasoning) {
        out += reasoning;
    }
    r->result.input_tokens = in;
    r->result.output_tokens = out;
}

static void read_common(openai_read_t *r, const json_t *v)
{
    str_t model = json_str(v, "model", STR_NULL);

    if (r->result.model[0] == '\0' && model.n > 0 && model.n < sizeof r->result.model) {
        memcpy(r->result.model, model.p, model.n);
        r->result.model[model.n] = '\0';
    }
    read_usage(r, json_object_get(json_object_get(v, "x_groq"), "usage"));
    read_usage(r, json_object_get(v, "usage"));
}

static int read_choice(openai_read_t *r, const json_t *choice, const char *member)
{
    int rc;

    if (json_integer_value(json_object_get(choice, "index")) != 0) {
        return 0;                       /* one answer was asked for */
    }
    rc = read_delta(r, json_object_get(choice, member));
    return rc != 0 ? rc : read_finish(r, json_str(choice, "finish_reason", STR_NULL));
}

static int read_chunk(openai_read_t *r, const json_t *v, const char *member)
{
    const json_t *error = json_object_get(v, "error"), *choice;
    size_t        i;
    int           rc = 0;

    if (error != NULL && !json_is_null(error)) {
        return read_error(r, v, error);
    }
    read_common(r, v);
    json_array_foreach(json_object_get(v, "choices"), i, choice) {
        rc = rc != 0 ? rc : read_choice(r, choice, member);
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

int openai_read_event(const sse_event_t *e, void *arg)
{
    openai_read_t *r = arg;
    str_t          data = trim(e->data);
    const char    *why;
    json_t        *v;
    int            rc;

    if (data.n == 0 || r->done) {
        return 0;
    }
    if (str_is(data, "[DONE]")) {
        r->done = true;
        return 0;
    }
    v = json_parse(r->arena, data, &why);
    if (v == NULL) {
        return r->lenient ? 0 : malformed(r, why);
    }
    if (!json_is_object(v)) {
        rc = malformed(r, "an event is no JSON object");
    } else if (str_is(e->event, "error")) {
        const json_t *error = json_object_get(v, "error");
        rc = read_error(r, v, error != NULL ? error : v);
    } else {
        rc = read_chunk(r, v, "delta");
    }
    json_decref(v);
    return rc;
}

int openai_read_whole(openai_read_t *r, str_t body)
{
    const char   *why;
    json_t       *v = json_parse(r->arena, body, &why);
    const json_t *error = json_object_get(v, "error");
    int           rc;

    if (v == NULL) {
        return malformed(r, why);
    }
    if ((error == NULL || json_is_null(error)) && !json_is_object(json_array_get(json_object_get(v, "choices"), 0))) {
        rc = malformed(r, "it has no choices");
    } else {
        rc = read_chunk(r, v, "message");
        r->done = true;                 /* the body came whole */
    }
    json_decref(v);
    return rc;
}

void openai_read_estimate(openai_read_t *r, const llm_request_t *q)
{
    size_t in = 0;

    if (r->result.input_tokens >= 0) {
        return;
    }
    for (size_t i = 0; i < q->nmessages; i++) {
        in += token_estimate(q->messages[i].content);
    }
    r->result.input_tokens = (int64_t) in;
    /* The estimate depends on the length alone. */
    r->result.output_tokens = (int64_t) token_estimate((str_t) { "", r->bytes[LLM_TEXT] + r->bytes[LLM_REASONING] });
    r->result.estimated = true;
}
