/* What a Converse or ConverseStream answer says. */
#include "base/logger.h"
#include "base/util.h"
#include "io/aws_creds.h"
#include "llm/bedrock.h"
#include "llm/same.h"

/* The calls of tools in a stream, by their content blocks. */
typedef struct {
    uint32_t n;
    struct {
        int64_t block;
        bool    open, args;             /* the block goes on; something of its arguments has come */
    } calls[CHAT_CALLS];
} blocks_t;

/* ---- errors ---- */

/* Those of the API's reference that may come in a stream; the status of what else there is stays unknown. */
static int exception_status(str_t type)
{
    static const struct { const char *type; int status; } known[] = {
        { "throttlingException", 429 }, { "validationException", 400 }, { "serviceUnavailableException", 503 },
        { "internalServerException", 500 }, { "modelTimeoutException", 408 }, { "accessDeniedException", 403 },
    };

    for (size_t i = 0; i < SI_COUNT(known); i++) {
        if (str_is(type, known[i].type)) {
            return known[i].status;
        }
    }
    return 0;
}

static bool is_exception(str_t type)
{
    static const char end[] = "Exception";
    size_t            n = sizeof end - 1;

    return type.n > n && memcmp(type.p + type.n - n, end, n) == 0;
}

int bedrock_read_status(llm_error_t *err, arena_t *a, const char *secret, int status, str_t body)
{
    const char *why;
    json_t     *v = json_own(a, json_parse_loose(a, body, &why));
    const char *message = reply_clean(a, secret, reply_message(v, body)), *colon = message[0] != '\0' ? ": " : "";

    if (status == 401 || status == 403) {           /* among others: the credentials have expired */
        aws_keys_refused();
        log_line(LOG_WARN, "AWS refuses the credentials", "why", message, NULL);        /* names the account and its roles */
        return provider_fail(err, SI_EDENIED, "provider_auth", status, false, "HTTP %d: the provider refuses the credentials", status);
    }
    if (status == 424) {                            /* ModelErrorException: the model failed, not the request */
        return provider_fail(err, SI_EUNAVAIL, "provider_unavailable", status, true, "HTTP %d%s%s", status, colon, message);
    }
    return reply_status_message(err, a, secret, status, reply_message(v, body));
}

/* ---- content ---- */

static int start_call(reply_t *r, int64_t block, const json_t *use)
{
    blocks_t *b = r->state;
    uint32_t  index;
    int       rc;

    if (str_is(json_str(use, "type", STR_NULL), "server_tool_use")) {
        r->result.unsaid++;                         /* the provider calls it itself */
        return 0;
    }
    rc = reply_call(r, json_str(use, "toolUseId", STR_NULL), json_str(use, "name", STR_NULL), &index);
    if (rc != 0) {
        return rc;
    }
    if (b == NULL) {
        r->state = b = arena_calloc(r->arena, sizeof *b);
    }
    b->n = index + 1;
    b->calls[index].block = block;
    b->calls[index].open = true;
    return 0;
}

/* The call whose block is open; -1: none. */
static int find_call(const blocks_t *b, int64_t block)
{
    for (int i = b != NULL ? (int) b->n - 1 : -1; i >= 0; i--) {
        if (b->calls[i].open && b->calls[i].block == block) {
            return i;
        }
    }
    return -1;
}

static int add_args(reply_t *r, int64_t block, str_t piece)
{
    blocks_t *b = r->state;
    int       i = find_call(b, block);

    if (i < 0) {
        return 0;
    }
    b->calls[i].args |= piece.n > 0;
    return reply_args(r, (uint32_t) i, piece);
}

/* A tool without arguments gets none, where an object is expected. */
static int end_call(reply_t *r, int i)
{
    blocks_t *b = r->state;

    b->calls[i].open = false;
    return b->calls[i].args ? 0 : reply_args(r, (uint32_t) i, STR("{}"));
}

static int end_calls(reply_t *r)
{
    blocks_t *b = r->state;
    int       rc = 0;

    for (uint32_t i = 0; b != NULL && i < b->n && rc == 0; i++) {
        rc = b->calls[i].open ? end_call(r, (int) i) : 0;
    }
    return rc;
}

/* Of a stream {text}, {signature} or {redactedContent}; a whole answer has the first two in reasoningText. */
static int read_reasoning(reply_t *r, const json_t *o)
{
    const json_t *inner = json_object_get(o, "reasoningText"), *v = inner != NULL ? inner : o;
    str_t         redacted = json_str(o, "redactedContent", STR_NULL);
    int           rc = reply_text(r, CHAT_REASONING, json_str(v, "text", STR_NULL));

    rc = rc != 0 ? rc : reply_text(r, CHAT_SIGNATURE, json_str(v, "signature", STR_NULL));
    return rc != 0 || redacted.n == 0 ? rc : reply_text(r, CHAT_REDACTED, redacted);
}

/* A block or a delta of another kind: a citation, an image, the result of the provider's own tool. */
static bool is_unsaid(const json_t *o)
{
    return json_object_get(o, "text") == NULL && json_object_get(o, "reasoningContent") == NULL && json_object_get(o, "toolUse") == NULL;
}

static int read_delta(reply_t *r, int64_t block, const json_t *d)
{
    int rc = reply_text(r, CHAT_TEXT, json_str(d, "text", STR_NULL));

    r->result.unsaid += is_unsaid(d);
    rc = rc != 0 ? rc : read_reasoning(r, json_object_get(d, "reasoningContent"));
    return rc != 0 ? rc : add_args(r, block, json_str(json_object_get(d, "toolUse"), "input", STR_NULL));
}

/* ---- ends ---- */

/* fields: additionalModelResponseFields, of which bedrock_write() asks for the stop sequence. */
static int read_stop(reply_t *r, str_t reason, const json_t *fields)
{
    static const struct { const char *theirs, *ours; } names[] = {
        { "max_tokens", "length" }, { "model_context_window_exceeded", "length" }, { "tool_use", "tool_calls" },
        { "guardrail_intervened", "content_filter" }, { "content_filtered", "content_filter" }, { "refusal", "refusal" },
        { "pause_turn", "pause" },
    };
    const json_t *delta = json_object_get(fields, "delta");
    const char   *ours = "stop";

    if (str_is(reason, "malformed_model_output") || str_is(reason, "malformed_tool_use")) {
        return provider_fail(&r->err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider ended the answer: %.*s", STR_ARG(reason));
    }
    for (size_t i = 0; i < SI_COUNT(names); i++) {
        ours = str_is(reason, names[i].theirs) ? names[i].ours : ours;
    }
    reply_name(r->result.stop_sequence, sizeof r->result.stop_sequence,
               json_str(delta != NULL ? delta : fields, "stop_sequence", STR_NULL));
    reply_finish(r, ours);
    return 0;
}

/* What was read from the cache or written to it is not in inputTokens (user guide: "Prompt caching"). */
static void read_usage(reply_t *r, const json_t *u)
{
    int64_t in = reply_count(u, "inputTokens"), out = reply_count(u, "outputTokens");
    int64_t cached = SI_MAX(reply_count(u, "cacheReadInputTokens"), 0), written = SI_MAX(reply_count(u, "cacheWriteInputTokens"), 0);

    if (in >= 0 && out >= 0) {
        r->result.input_tokens = in + cached + written;
        r->result.output_tokens = out;
        r->result.cached_tokens = cached;
        r->result.cache_write_tokens = written;
    }
}

static void read_model(reply_t *r, const json_t *v)
{
    const json_t *router = json_object_get(json_object_get(v, "trace"), "promptRouter");

    reply_name(r->result.model, sizeof r->result.model, json_str(router, "invokedModelId", STR_NULL));
}

/* ---- a stream ---- */

static int read_event(reply_t *r, str_t type, const json_t *v)
{
    int64_t block = json_integer_value(json_object_get(v, "contentBlockIndex"));
    int     i;

    if (str_is(type, "contentBlockDelta")) {
        return read_delta(r, block, json_object_get(v, "delta"));
    }
    if (str_is(type, "contentBlockStart")) {
        const json_t *use = json_object_get(json_object_get(v, "start"), "toolUse");
        return use != NULL ? start_call(r, block, use) : 0;
    }
    if (str_is(type, "contentBlockStop")) {
        i = find_call(r->state, block);
        return i >= 0 ? end_call(r, i) : 0;
    }
    if (str_is(type, "messageStop")) {
        i = end_calls(r);
        return i != 0 ? i : read_stop(r, json_str(v, "stopReason", STR_NULL), json_object_get(v, "additionalModelResponseFields"));
    }
    if (str_is(type, "metadata")) {
        read_usage(r, json_object_get(v, "usage"));
        read_model(r, v);
    }
    return is_exception(type) ? reply_error(r, exception_status(type), reply_message_of(v)) : 0;
}

/* A delta that is a piece of one thing; "p" makes the events as long as each other. */
static void learn(reply_t *r, const json_t *v, str_t data)
{
    const json_t *d = json_object_get(v, "delta"), *thought = json_object_get(d, "reasoningContent"), *use = json_object_get(d, "toolUse");
    bool          text = json_object_get(d, "text") != NULL;
    const json_t *in = use != NULL ? use : thought != NULL ? thought : d;
    const char   *name = use != NULL ? "input" : "text";
    same_member_t members[] = { { str_of(name), text ? 2 : 3, false }, { STR("p"), 1, false } };
    int           call = use != NULL ? find_call(r->state, json_integer_value(json_object_get(v, "contentBlockIndex"))) : 0;

    if (text + (use != NULL) + (thought != NULL) == 1 && json_object_size(thought) <= 1 && call >= 0) {
        same_learn_members(r, data, use != NULL ? reply_args : same_text, use != NULL ? (uint32_t) call : text ? CHAT_TEXT : CHAT_REASONING,
                           json_str(in, name, STR_NULL), members, SI_COUNT(members));
    }
}

int bedrock_read_event(reply_t *r, str_t type, str_t data)
{
    bool        delta = str_is(type, "contentBlockDelta");
    const char *why;
    json_t     *v;
    int         rc = same_read(r, delta ? data : STR(""));

    if (rc != 0) {
        return SI_MIN(rc, 0);
    }
    v = json_parse_loose(r->arena, data, &why);
    if (v == NULL && !is_exception(type)) {
        return reply_malformed(r, why);
    }
    rc = json_is_object(v) || is_exception(type) ? read_event(r, type, v) : reply_malformed(r, "an event is no JSON object");
    if (rc == 0 && delta) {
        learn(r, v, data);
    }
    json_decref(v);
    /* The usage comes before the end or behind it; there is no other end marker. */
    r->done = r->finished && r->result.input_tokens >= 0;
    return rc;
}

/* ---- a whole answer ---- */

static int read_block(reply_t *r, const json_t *block)
{
    const json_t *use = json_object_get(block, "toolUse"), *input = json_object_get(use, "input");
    uint32_t      index;
    int           rc = reply_text(r, CHAT_TEXT, json_str(block, "text", STR_NULL));

    rc = rc != 0 ? rc : read_reasoning(r, json_object_get(block, "reasoningContent"));
    if (is_unsaid(block) || str_is(json_str(use, "type", STR_NULL), "server_tool_use")) {
        r->result.unsaid++;
        return rc;
    }
    if (rc != 0 || use == NULL) {
        return rc;
    }
    rc = reply_call(r, json_str(use, "toolUseId", STR_NULL), json_str(use, "name", STR_NULL), &index);
    return rc != 0 ? rc : reply_args(r, index, str_of(json_is_object(input) ? json_text(r->arena, input) : "{}"));
}

int bedrock_read_whole(reply_t *r, str_t body)
{
    const char   *why;
    json_t       *v = json_parse_loose(r->arena, body, &why);
    const json_t *content = json_object_get(json_object_get(json_object_get(v, "output"), "message"), "content"), *block;
    size_t        i;
    int           rc = 0;

    if (v == NULL) {
        return reply_malformed(r, why);
    }
    if (!json_is_array(content)) {
        rc = reply_malformed(r, "it has no message");
    }
    json_array_foreach(content, i, block) {
        rc = rc != 0 ? rc : read_block(r, block);
    }
    if (rc == 0) {
        read_usage(r, json_object_get(v, "usage"));
        read_model(r, v);
        rc = read_stop(r, json_str(v, "stopReason", STR_NULL), json_object_get(v, "additionalModelResponseFields"));
        r->done = true;
    }
    json_decref(v);
    return rc;
}
