#include "llm/gemini_read.h"

#include "base/util.h"
#include "llm/gemini_args.h"
#include "llm/retry_after.h"

typedef struct {
    bool           open;            /* a call goes on */
    bool           whole;           /* its arguments have come at once */
    uint32_t       index;           /* of it */
    gemini_args_t *args;            /* pieces; NULL: there never were any */
} state_t;

static state_t *state_of(reply_t *r)
{
    if (r->state == NULL) {
        r->state = arena_calloc(r->arena, sizeof(state_t));
    }
    return r->state;
}

/* Errors */

/* A key that is none is a bad request to Google. */
static bool bad_key(const json_t *error)
{
    const json_t *detail;
    size_t        i;

    json_array_foreach(json_object_get(error, "details"), i, detail) {
        if (str_is(json_str(detail, "reason", STR_NULL), "API_KEY_INVALID")) {
            return true;
        }
    }
    return false;
}

int gemini_status(llm_error_t *err, arena_t *a, const char *secret, int status, str_t body)
{
    const char   *why;
    json_t       *v = json_parse_loose(a, body, &why);
    const json_t *error = json_object_get(json_is_array(v) ? json_array_get(v, 0) : v, "error");
    int           rc = reply_status_message(err, a, secret, status == 400 && bad_key(error) ? 401 : status, reply_message(v, body));

    json_decref(v);
    return rc;
}

static int read_error(reply_t *r, const json_t *v, const json_t *error)
{
    json_int_t code = json_integer_value(json_object_get(error, "code"));

    return reply_error(r, bad_key(error) ? 401 : code >= 400 && code <= 599 ? (int) code : 0, reply_message_of(v));
}

/* Calls */

/* The call that goes on is whole. */
static int end_call(reply_t *r)
{
    state_t *s = state_of(r);
    json_t  *args = NULL;
    int      rc;

    if (!s->open) {
        return 0;
    }
    s->open = false;
    if (s->whole) {
        return 0;
    }
    args = s->args != NULL ? gemini_args_take(s->args) : json_object();
    if (args == NULL) {
        return reply_malformed(r, "a piece of a call's arguments has no place");
    }
    rc = reply_args(r, s->index, str_of(json_text(r->arena, args)));
    json_decref(args);
    return rc;
}

static int begin_call(reply_t *r, const json_t *call, str_t signature)
{
    state_t *s = state_of(r);
    int      rc = end_call(r);

    rc = rc != 0 ? rc : reply_call(r, json_str(call, "id", STR_NULL), json_str(call, "name", STR_NULL), &s->index);
    s->open = rc == 0;
    s->whole = false;
    return rc != 0 ? rc : reply_text(r, CHAT_SIGNATURE, signature);
}

static int add_pieces(reply_t *r, state_t *s, const json_t *pieces)
{
    const json_t *piece;
    size_t        i;
    int           rc = 0;

    json_array_foreach(pieces, i, piece) {
        if (s->args == NULL) {
            s->args = gemini_args_new(r->arena, r->max);
        }
        rc = rc != 0 ? rc : gemini_args_add(s->args, piece);
    }
    if (rc == SI_EPROTO) {
        return reply_malformed(r, "a piece of a call's arguments has no place");
    }
    return rc == SI_ENOMEM ? reply_too_large(r) : rc;
}

static int read_call(reply_t *r, const json_t *call, str_t signature)
{
    state_t      *s = state_of(r);
    const json_t *args = json_object_get(call, "args");
    int           rc = 0;

    if (json_str(call, "name", STR_NULL).n > 0) {
        rc = begin_call(r, call, signature);
    }
    if (rc != 0 || !s->open) {
        return rc;
    }
    if (json_is_object(args) && !s->whole) {
        s->whole = true;
        rc = reply_args(r, s->index, str_of(json_text(r->arena, args)));
    }
    rc = rc != 0 ? rc : add_pieces(r, s, json_object_get(call, "partialArgs"));
    return rc != 0 || json_is_true(json_object_get(call, "willContinue")) ? rc : end_call(r);
}

/* Answers */

static int read_part(reply_t *r, const json_t *part)
{
    const json_t *call = json_object_get(part, "functionCall");
    str_t         signature = json_str(part, "thoughtSignature", STR_NULL);
    bool          thought = json_is_true(json_object_get(part, "thought"));
    int           rc;

    if (json_is_object(call)) {
        return read_call(r, call, signature);
    }
    r->result.unsaid += json_object_get(part, "text") == NULL;
    rc = reply_text(r, thought ? CHAT_REASONING : CHAT_TEXT, json_str(part, "text", STR_NULL));
    if (rc != 0 || signature.n == 0) {
        return rc;
    }
    return reply_text(r, thought ? CHAT_SIGNATURE : CHAT_REDACTED, signature);
}

/* The first ones are in the order of their numbers: an enumeration may be written so (protobuf's JSON), from 1. */
static const struct { const char *theirs, *ours; } ends[] = {
    { "STOP", "stop" }, { "MAX_TOKENS", "length" }, { "SAFETY", "content_filter" }, { "RECITATION", "content_filter" },
    { "BLOCKLIST", "content_filter" }, { "PROHIBITED_CONTENT", "content_filter" }, { "SPII", "content_filter" },
    { "IMAGE_SAFETY", "content_filter" }, { "IMAGE_PROHIBITED_CONTENT", "content_filter" }, { "IMAGE_RECITATION", "content_filter" },
    { "MODEL_ARMOR", "content_filter" }, { "FUNCTION_CALL", "tool_calls" },     /* of servers that imitate Google's */
};

static str_t reason_of(const json_t *candidate)
{
    const json_t *v = json_object_get(candidate, "finishReason");
    json_int_t    n = json_integer_value(v);

    return n >= 1 && n <= 4 ? str_of(ends[n - 1].theirs) : n > 4 ? STR("another reason") : reply_string(v);
}

static int read_finish(reply_t *r, str_t reason)
{
    int rc;

    if (reason.n == 0 || str_is(reason, "FINISH_REASON_UNSPECIFIED")) {
        return 0;
    }
    rc = end_call(r);
    for (size_t i = 0; i < SI_COUNT(ends) && rc == 0; i++) {
        if (str_is(reason, ends[i].theirs)) {
            reply_finish(r, i == 0 && r->calls > 0 ? "tool_calls" : ends[i].ours);
            return 0;
        }
    }
    return rc != 0 ? rc : provider_fail(&r->err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider ended the answer with %.40s",
                                        arena_dup(r->arena, reason.p, reason.n));
}

static int read_candidate(reply_t *r, const json_t *candidate)
{
    const json_t *part;
    size_t        i;
    int           rc = 0;

    if (json_integer_value(json_object_get(candidate, "index")) != 0) {
        return 0;                       /* one answer was asked for */
    }
    json_array_foreach(json_object_get(json_object_get(candidate, "content"), "parts"), i, part) {
        rc = rc != 0 ? rc : read_part(r, part);
    }
    return rc != 0 ? rc : read_finish(r, reason_of(candidate));
}

/* Whether nothing has been said: then no number of tokens is none, as of a prompt that is blocked. Gemma is not counted. */
static bool is_empty(const reply_t *r)
{
    return r->finished && r->bytes[CHAT_TEXT] + r->bytes[CHAT_REASONING] == 0 && r->calls == 0;
}

static void read_usage(reply_t *r, const json_t *u)
{
    int64_t prompt = reply_count(u, "promptTokenCount"), tools = reply_count(u, "toolUsePromptTokenCount");
    int64_t said = reply_count(u, "candidatesTokenCount"), thought = reply_count(u, "thoughtsTokenCount");

    if (prompt < 0) {
        return;
    }
    r->result.input_tokens = prompt + SI_MAX(tools, 0);
    r->result.cached_tokens = SI_MAX(reply_count(u, "cachedContentTokenCount"), 0);
    if (said >= 0 || thought >= 0 || is_empty(r)) {
        r->result.output_tokens = SI_MAX(said, 0) + SI_MAX(thought, 0);
        r->result.reasoning_tokens = SI_MAX(thought, 0);
    }
}

static int read_chunk(reply_t *r, const json_t *v)
{
    const json_t *error = json_object_get(v, "error"), *candidates = json_object_get(v, "candidates"), *candidate;
    size_t        i;
    int           rc = 0;

    if (json_is_object(error)) {
        return read_error(r, v, error);
    }
    reply_name(r->result.model, sizeof r->result.model, json_str(v, "modelVersion", STR_NULL));
    reply_name(r->result.id, sizeof r->result.id, json_str(v, "responseId", STR_NULL));
    json_array_foreach(candidates, i, candidate) {
        rc = rc != 0 ? rc : read_candidate(r, candidate);
    }
    if (rc == 0 && json_array_size(candidates) == 0 && json_str(json_object_get(v, "promptFeedback"), "blockReason", STR_NULL).n > 0) {
        reply_finish(r, "content_filter");
    }
    read_usage(r, json_object_get(v, "usageMetadata"));
    return rc;
}

int gemini_read_event(reply_t *r, str_t type, str_t data)
{
    json_t *v;
    int     rc;

    (void) type;
    if (data.n == 0 || r->done) {
        return 0;
    }
    v = reply_object(r, data, &rc);
    if (v == NULL) {
        return rc;
    }
    rc = read_chunk(r, v);
    if (rc != 0) {
        r->err.retry_ms = retry_after_body(data);
    }
    json_decref(v);
    return rc;
}
