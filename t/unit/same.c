/*
 * Events that are read as the one before with another piece of text, all formats that do so: whatever the next event is, also when
 * any byte of it is lost or another, it says the same as when an event that means nothing comes between the two.
 */
#include "base/util.h"
#include "llm/anthropic_read.h"
#include "llm/bedrock.h"
#include "llm/openai_read.h"
#include "llm/responses_read.h"
#include "llm/same.h"
#include "tap.h"

#define ROOM  65536u

typedef int (*read_t)(reply_t *r, str_t type, str_t data);

static int bedrock_delta(reply_t *r, str_t type, str_t data)
{
    bool named = data.n > 0 && data.p[0] != '{';        /* "type {…}" */
    const char *space = named ? memchr(data.p, ' ', data.n) : NULL;

    (void) type;
    return space == NULL ? bedrock_read_event(r, STR("contentBlockDelta"), data)
                         : bedrock_read_event(r, (str_t) { data.p, (size_t) (space - data.p) }, (str_t) { space + 1, (size_t) (data.p + data.n - space - 1) });
}

static const struct {
    const char *name;
    read_t      read;
    const char *nothing;                /* an event that means nothing */
} formats[] = {
    { "openai", openai_read_event, "{\"choices\":[],\"x\":true}" },
    { "anthropic", anthropic_read_event, "{\"type\":\"ping\"}" },
    { "responses", responses_read_event, "{\"type\":\"x\"}" },
    { "bedrock", bedrock_delta, "x {}" },
};

#define CHAT(more, choice)  "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":17,\"model\":\"m\"," more "\"choices\":[{\"index\":0," choice "}]"
#define DELTA(d)            CHAT("", "\"delta\":{" d "},\"logprobs\":null,\"finish_reason\":null") "}"
#define CALL(i, more)       DELTA("\"tool_calls\":[{\"index\":" i "," more "}]")
#define BLOCK(d)            "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{" d "}}"
#define ITEM(type, n, d)    "{\"type\":\"response." type ".delta\",\"sequence_number\":" n ",\"output_index\":0,\"delta\":\"" d "\",\"obfuscation\":\"x" n "\"}"
#define PART(d)             "{\"contentBlockIndex\":1,\"delta\":{" d "},\"p\":\"abc\"}"

/* What comes before, an event that is remembered, and the same with another piece. */
static const struct {
    size_t      format;
    const char *before, *one, *other;
} same[] = {
    { 0, NULL, DELTA("\"content\":\"One\""), DELTA("\"content\":\" other, \\\"\\u00e9\\n\xc3\xa9\"") },
    { 0, NULL, DELTA("\"reasoning_content\":\"a\",\"content\":null"), DELTA("\"reasoning_content\":\"bc\",\"content\":null") },
    { 0, NULL, DELTA("\"reasoning\":\"a\",\"reasoning_content\":\"a\""), DELTA("\"reasoning\":\"bc\",\"reasoning_content\":\"de\"") },
    { 0, NULL, CHAT("\"usage\":null,", "\"delta\":{\"content\":\"a\"}") ",\"obfuscation\":\"\"}", CHAT("\"usage\":null,", "\"delta\":{\"content\":\"b\"}") ",\"obfuscation\":\"q7\"}" },
    { 0, NULL, CHAT("\"obfuscation\":\"xyz\",", "\"delta\":{\"content\":\"a\"}") "}", CHAT("\"obfuscation\":\"\",", "\"delta\":{\"content\":\"bcd\"}") "}" },
    { 0, CALL("0", "\"id\":\"k\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}"), CALL("0", "\"function\":{\"arguments\":\"{\\\"a\\\"\"}"), CALL("0", "\"function\":{\"arguments\":\":1}\"}") },
    { 0, CALL("0", "\"id\":\"k\",\"function\":{\"name\":\"f\"}"), CALL("0", "\"id\":\"k\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}"), CALL("0", "\"id\":\"k\",\"function\":{\"name\":\"f\",\"arguments\":\"}\"}") },
    { 1, NULL, BLOCK("\"type\":\"text_delta\",\"text\":\"One\""), BLOCK("\"type\":\"text_delta\",\"text\":\" \\\"other\\\"\"") },
    { 1, NULL, BLOCK("\"type\":\"thinking_delta\",\"thinking\":\"One\""), BLOCK("\"type\":\"thinking_delta\",\"thinking\":\"two\"") },
    { 1, "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"k\",\"name\":\"f\",\"input\":{}}}",
      BLOCK("\"type\":\"input_json_delta\",\"partial_json\":\"{\""), BLOCK("\"type\":\"input_json_delta\",\"partial_json\":\"}\"") },
    { 2, NULL, ITEM("output_text", "4", "a"), ITEM("output_text", "10", "b\\n") },
    { 2, NULL, ITEM("reasoning_summary_text", "4", "a"), ITEM("reasoning_summary_text", "5", "b") },
    { 2, NULL, ITEM("refusal", "4", "a"), ITEM("refusal", "5", "b") },
    { 2, "{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"function_call\",\"call_id\":\"k\",\"name\":\"f\"}}",
      ITEM("function_call_arguments", "4", "{"), ITEM("function_call_arguments", "5", "}") },
    { 3, NULL, PART("\"text\":\"One\""), PART("\"text\":\"other\"") },
    { 3, NULL, PART("\"reasoningContent\":{\"text\":\"One\"}"), PART("\"reasoningContent\":{\"text\":\"\\tother\"}") },
    { 3, "contentBlockStart {\"contentBlockIndex\":1,\"start\":{\"toolUse\":{\"toolUseId\":\"k\",\"name\":\"f\"}}}",
      PART("\"toolUse\":{\"input\":\"{\"}"), PART("\"toolUse\":{\"input\":\"}\"}") },
};

/* An event that is remembered, and one that looks like it and is more, or less. */
static const struct {
    size_t      format;
    const char *before, *one, *other, *then;
} unlike[] = {
    { 0, NULL, DELTA("\"content\":\"a\""), CHAT("", "\"delta\":{\"content\":\"b\"},\"logprobs\":null,\"finish_reason\":\"stop\"") "}", DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), CHAT("", "\"delta\":{\"content\":\"b\"},\"logprobs\":null,\"finish_reason\":null},{\"index\":0,\"delta\":{\"content\":\"c\"}") "}", DELTA("\"content\":\"d\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), CHAT("", "\"delta\":{\"content\":\"b\"},\"logprobs\":{\"content\":[]},\"finish_reason\":null") "}", DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), DELTA("\"content\":\"b\",\"refusal\":\"no\""), DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), DELTA("\"content\":\"b\",\"content\":\"c\""), DELTA("\"content\":\"d\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), DELTA("\"content\":\"b\",\"tool_calls\":[{\"index\":0,\"id\":\"k\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]"), DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), DELTA("\"content\":\"b\"") "{}", DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), DELTA("\"content\":\"\""), DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), DELTA("\"content\":\"\\u0000\\ud800\""), DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), "{\"id\":\"c1\",\"error\":{\"message\":\"down\",\"code\":503}}", DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\""), "{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":3}}}", DELTA("\"content\":\"c\"") },
    { 0, NULL, DELTA("\"content\":\"a\",\"reasoning\":\"b\""), DELTA("\"content\":\"c\",\"reasoning\":\"b\""), DELTA("\"content\":\"d\",\"reasoning\":\"e\"") },
    { 0, CALL("0", "\"id\":\"k\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}"), CALL("0", "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}"), CALL("0", "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}"),
      CALL("0", "\"function\":{\"name\":\"f\",\"arguments\":\"{\"}") },
    { 0, CALL("0", "\"id\":\"k\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}"), CALL("0", "\"function\":{\"arguments\":\"}\"}"), CALL("0", "\"id\":\"l\",\"function\":{\"name\":\"g\"}"),
      CALL("0", "\"function\":{\"arguments\":\"{}\"}") },
    { 0, CALL("0", "\"id\":\"k\",\"function\":{\"arguments\":\"\"}"), CALL("0", "\"id\":\"k\",\"function\":{\"arguments\":\"{\"}"), CALL("0", "\"id\":\"k\",\"function\":{\"arguments\":\"\"}"),
      CALL("0", "\"id\":\"l\",\"function\":{\"arguments\":\"}\"}") },
    { 1, NULL, BLOCK("\"type\":\"text_delta\",\"text\":\"a\""), BLOCK("\"type\":\"text_delta\",\"text\":\"b\",\"text\":\"c\""), BLOCK("\"type\":\"text_delta\",\"text\":\"d\"") },
    { 1, NULL, BLOCK("\"type\":\"text_delta\",\"text\":\"a\",\"t\\u0065xt\":\"b\""), BLOCK("\"type\":\"text_delta\",\"text\":\"c\",\"t\\u0065xt\":\"b\""), BLOCK("\"type\":\"text_delta\",\"text\":\"d\"") },
    { 1, NULL, "{\"type\":\"content_block_delta\",\"x\":{\"text\":\"a\"},\"delta\":{\"type\":\"text_delta\"}}", "{\"type\":\"content_block_delta\",\"x\":{\"text\":\"b\"},\"delta\":{\"type\":\"text_delta\"}}",
      BLOCK("\"type\":\"text_delta\",\"text\":\"c\"") },
    { 1, NULL, BLOCK("\"type\":\"text_delta\",\"text\":\"a\""), "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}", BLOCK("\"type\":\"text_delta\",\"text\":\"c\"") },
    { 1, "{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"tool_use\",\"id\":\"k\",\"name\":\"f\"}}", BLOCK("\"type\":\"input_json_delta\",\"partial_json\":\"{\""),
      "{\"type\":\"content_block_stop\",\"index\":0}", BLOCK("\"type\":\"input_json_delta\",\"partial_json\":\"}\"") },
    { 2, NULL, ITEM("output_text", "1", "a"), "{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{}}", ITEM("output_text", "2", "b") },
    { 2, NULL, ITEM("function_call_arguments", "1", "a"), ITEM("function_call_arguments", "2", "b"), ITEM("output_text", "3", "c") },
    { 3, "contentBlockStart {\"contentBlockIndex\":1,\"start\":{\"toolUse\":{\"toolUseId\":\"k\",\"name\":\"f\"}}}", PART("\"toolUse\":{\"input\":\"{\"}"),
      "contentBlockStop {\"contentBlockIndex\":1}", PART("\"toolUse\":{\"input\":\"}\"}") },
    { 3, NULL, PART("\"text\":\"a\",\"toolUse\":{\"input\":\"b\"}"), PART("\"text\":\"c\",\"toolUse\":{\"input\":\"d\"}"), "x " PART("\"text\":\"e\"") },
};

typedef struct {
    int  rc;
    char text[4096];
} said_t;

static void tell(reply_t *r, said_t *out)
{
    const llm_result_t *res = &r->result;
    chat_event_t        ev;
    size_t              n = (size_t) snprintf(out->text, sizeof out->text, "%s|%s|%s|%d%d|%lld/%lld,%lld,%lld,%lld|%zu", res->id, res->model, res->finish, r->finished, r->done,
                                              (long long) res->input_tokens, (long long) res->output_tokens, (long long) res->cached_tokens,
                                              (long long) res->cache_write_tokens, (long long) res->reasoning_tokens, res->unsaid);

    while (reply_next(r, &ev) && n < sizeof out->text) {
        n += (size_t) snprintf(out->text + n, sizeof out->text - n, "<%d.%u%s>%.*s", ev.kind, ev.index, ev.kind == CHAT_CALL ? ev.name : "", STR_ARG(ev.text));
    }
}

/* Reads them one after the other; apart: with what means nothing before each. */
static void run(size_t format, const str_t *events, size_t n, bool apart, said_t *out)
{
    arena_t *a = arena_new(4096);
    reply_t  r;

    reply_init(&r, a, "", ROOM);
    out->rc = 0;
    for (size_t i = 0; i < n && out->rc == 0; i++) {
        if (apart) {
            out->rc = formats[format].read(&r, STR(""), str_of(formats[format].nothing));
        }
        out->rc = out->rc != 0 || events[i].p == NULL ? out->rc : formats[format].read(&r, STR(""), events[i]);
    }
    tell(&r, out);
    reply_free(&r);
    arena_free(a);
}

static bool alike(size_t format, const str_t *events, size_t n)
{
    static said_t near, apart;

    run(format, events, n, false, &near);
    run(format, events, n, true, &apart);
    if (near.rc == apart.rc && strcmp(near.text, apart.text) == 0) {
        return true;
    }
    diag("%s: %d %s, and apart %d %s", formats[format].name, near.rc, near.text, apart.rc, apart.text);
    return false;
}

static str_t text(const char *z)
{
    return z != NULL ? str_of(z) : STR_NULL;
}

/* Whether it was remembered, and is not read when it comes again with another piece. */
static bool is_read_so(size_t i)
{
    arena_t *a = arena_new(4096);
    reply_t  r;
    int      rc = 0;

    reply_init(&r, a, "", ROOM);
    if (same[i].before != NULL) {
        rc = formats[same[i].format].read(&r, STR(""), str_of(same[i].before));
    }
    rc = rc != 0 ? rc : formats[same[i].format].read(&r, STR(""), str_of(same[i].one));
    rc = rc != 0 ? rc : same_read(&r, str_of(same[i].other));
    rc = rc != 1 ? rc : same_read(&r, str_of(same[i].one));
    reply_free(&r);
    arena_free(a);
    return rc == 1;
}

/* Every byte of the second event away, and in its place each that means something, with a third behind it. How many ways differ. */
static int changed(size_t i)
{
    static const char bytes[] = "\"\\{}[]:,0 1-.eunrt/\n\x01\x7f\x80\xc3\xf0\xff";
    char   copy[1024];
    size_t len = strlen(same[i].other);
    int    bad = 0;

    for (size_t at = 0; at < len && bad == 0; at++) {
        for (size_t b = 0; b < sizeof bytes; b++) {         /* the last one is the NUL */
            str_t events[] = { text(same[i].before), str_of(same[i].one), { copy, len - (b == 0) }, str_of(same[i].one), str_of(same[i].other) };

            memcpy(copy, same[i].other, len);
            copy[at] = bytes[b];
            if (b == 0) {
                memmove(copy + at, copy + at + 1, len - at - 1);
            }
            if (same[i].format == 3 && copy[0] != '{') {
                continue;                                   /* it would be a name */
            }
            bad += !alike(same[i].format, events, SI_COUNT(events));
        }
    }
    return bad;
}

static void test_bounds(void)
{
    static char  long_one[SAME_BYTES + 512], piece[2 * SAME_UNESCAPED + 64];
    arena_t     *a = arena_new(4096);
    reply_t      r;
    same_value_t value = { STR_NULL, false };

    reply_init(&r, a, "", ROOM);
    memset(long_one, 'x', sizeof long_one);
    for (size_t over = 0; over < 2; over++) {
        size_t n = SAME_BYTES + over + 1;

        long_one[3] = '"';
        long_one[5] = '"';
        value.at = (str_t) { long_one + 4, 1 };
        same_learn(&r, (str_t) { long_one, n }, same_text, CHAT_TEXT, &value, 1);
        is_int(same_read(&r, (str_t) { long_one, n }), over == 0, "an event is remembered up to its maximum");
        is_int(same_read(&r, STR("")), 0, "and forgotten");
    }
    for (size_t n = SAME_UNESCAPED - 1; n <= SAME_UNESCAPED + 1; n++) {
        memcpy(piece, "[\"a\"]", 5);
        value.at = (str_t) { piece + 2, 1 };
        same_learn(&r, (str_t) { piece, 5 }, same_text, CHAT_TEXT, &value, 1);
        memset(piece, 'y', n + 2);
        memcpy(piece, "[\"\\n", 4);
        memcpy(piece + 2 + n, "\"]", 2);
        is_int(same_read(&r, (str_t) { piece, n + 4 }), n <= SAME_UNESCAPED, "a piece with an escape is read so up to its maximum");
    }
    reply_free(&r);
    arena_free(a);
}

int main(void)
{
    for (size_t i = 0; i < SI_COUNT(same); i++) {
        const str_t both[] = { text(same[i].before), str_of(same[i].one), str_of(same[i].other), str_of(same[i].one) };

        ok(is_read_so(i), "%s: the event is read as the one before (%zu)", formats[same[i].format].name, i);
        ok(alike(same[i].format, both, SI_COUNT(both)), "and says the same");
        is_int(changed(i), 0, "so does whatever it may be changed to");
    }
    for (size_t i = 0; i < SI_COUNT(unlike); i++) {
        const str_t all[] = { text(unlike[i].before), str_of(unlike[i].one), str_of(unlike[i].one), str_of(unlike[i].other), str_of(unlike[i].then), str_of(unlike[i].then) };

        ok(alike(unlike[i].format, all, SI_COUNT(all)), "%s: an event that looks like the one before (%zu)", formats[unlike[i].format].name, i);
    }
    test_bounds();
    return done_testing();
}
