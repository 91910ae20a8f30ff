/*
 * The short way through a chunk of chat completions against the long one: whatever the short one takes, the long one reads
 * alike, also when any byte is lost or another; what it does not take it leaves untouched.
 */
#include "base/util.h"
#include "llm/openai_fast.h"
#include "llm/openai_read.h"
#include "tap.h"

#define ROOM     4096
#define NOTHING  "|||0|-1,-1,0,0,0"

/* What came out: names, usage, and pieces as "<kind>text". */
typedef struct {
    int  rc;
    char text[2 * ROOM];
} said_t;

static arena_t *arena;

static void read_with(int (*read)(reply_t *r, str_t data), str_t data, said_t *out)
{
    chat_event_t ev;
    reply_t      r;
    int          n;

    reply_init(&r, arena, "", ROOM);
    out->rc = read(&r, data);
    n = snprintf(out->text, sizeof out->text, "%s|%s|%s|%d|%lld,%lld,%lld,%lld,%lld", r.result.id, r.result.model, r.result.finish, r.finished,
                 (long long) r.result.input_tokens, (long long) r.result.output_tokens, (long long) r.result.reasoning_tokens,
                 (long long) r.result.cached_tokens, (long long) r.result.cache_write_tokens);
    while (reply_next(&r, &ev)) {
        const char *id = ev.kind == CHAT_CALL && strlen(ev.id) < UUID_LEN ? ev.id : "";        /* a longer one is made up */

        n += snprintf(out->text + n, sizeof out->text - (size_t) n, "<%d%s.%s>%.*s", ev.kind, id, ev.kind == CHAT_CALL ? ev.name : "", STR_ARG(ev.text));
    }
    reply_free(&r);
}

/* With a member in front that the short way does not know. */
static int read_long(reply_t *r, str_t data)
{
    static char text[ROOM];
    int         n = snprintf(text, sizeof text, "{\"unknown\":true,%.*s", (int) data.n - 1, data.p + 1);

    return openai_read_event(r, STR(""), (str_t) { text, (size_t) n });
}

/* 1: taken, and alike; 0: left alone; -1: wrong. */
static int compare(str_t data)
{
    static said_t fast, slow;

    read_with(openai_read_fast, data, &fast);
    if (fast.rc == 0) {
        return strcmp(fast.text, NOTHING) == 0 ? 0 : -1;
    }
    read_with(read_long, data, &slow);
    return data.p[0] == '{' && fast.rc == 1 && slow.rc == 0 && strcmp(fast.text, slow.text) == 0 ? 1 : -1;
}

#define CHUNK(more, delta)  "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m-1\"," more \
                            "\"choices\":[{\"index\":0,\"delta\":{" delta "},\"logprobs\":null,\"finish_reason\":null}]}"

static const char *const usual[] = {
    CHUNK("", "\"content\":\"Hello\""),
    CHUNK("\"system_fingerprint\":\"fp_1\",\"service_tier\":\"default\",\"usage\":null,", "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null"),
    CHUNK("", "\"content\":\" a\\n\\t\\\"b\\\"\\\\ \\/ \\u00e9\\u20ac\\ud83d\\ude00\\u0041 \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""),
    CHUNK("\"provider\":\"P\",\"obfuscation\":\"Xy1\",", "\"content\":null,\"reasoning_content\":\"so\\n\""),
    CHUNK("", "\"reasoning\":\"a\",\"reasoning_content\":\"b\",\"content\":\"c\""),
    CHUNK("", "\"reasoning\":\"a\",\"reasoning_content\":\"\",\"tool_calls\":null,\"function_call\":null"),
    "{ \"choices\" : [ { \"delta\" : { \"content\" : \"x\" } , \"stop_reason\" : null , \"token_ids\" : null } ] , \"error\" : null }",
    "{\"choices\":[{\"index\":0}]}", "{\"choices\":[{}]}", "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"model\":\"m\"}",
    "{\"choices\":[{\"delta\":{\"content\":\"end\"},\"finish_reason\":\"length\"}]}", "{\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}",
    "{\"choices\":[{\"delta\":{},\"finish_reason\":\"\"}]}", "{\"choices\":[]}", CHUNK("", "\"tool_calls\":[]"), "{\"choices\":[{\"index\":0}],\"usage\":{}}",
    "{\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22,\"total_tokens\":33,\"prompt_tokens_details\":{\"cached_tokens\":4,\"audio_tokens\":0},"
    "\"completion_tokens_details\":{\"reasoning_tokens\":5,\"audio_tokens\":0,\"accepted_prediction_tokens\":null}}}",
    "{\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22,\"total_tokens\":40,\"reasoning_tokens\":7,\"prompt_tokens_details\":null,\"completion_tokens_details\":{},"
    "\"prompt_cache_hit_tokens\":3,\"cached_tokens\":6,\"cache_creation_input_tokens\":2,\"num_sources_used\":0}}",
    "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1000000001,\"completion_tokens\":1000000000}}",
    "{\"choices\":[],\"usage\":{\"prompt_tokens\":1000000000,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cache_write_tokens\":9}}}",
    CHUNK("", "\"tool_calls\":[{\"index\":0,\"id\":\"k\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\"\"}}]"),
    CHUNK("", "\"content\":\"a\",\"tool_calls\":[{\"index\":3,\"id\":\"\",\"function\":{\"name\":\"\",\"arguments\":\"x\"}}]"),
    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":null,\"function\":{\"name\":\"f\"}}]},\"finish_reason\":\"tool_calls\"}]}",
};

static const char *const other[] = {
    CHUNK("", "\"content\":\"a\",\"content\":\"b\""), CHUNK("\"id\":\"2\",", "\"content\":\"a\""), CHUNK("", "\"content\":[]"),
    CHUNK("", "\"tool_calls\":[{}]"), CHUNK("", "\"content\":\"\\ud800\""), CHUNK("", "\"content\":\"\\ude00\""), CHUNK("", "\"content\":\"\\u0000\""),
    CHUNK("", "\"content\":\"\\ud83d\\u0041\""), CHUNK("", "\"content\":\"\xff\""), CHUNK("", "\"content\":\"\xed\xa0\x80\""), CHUNK("", "\"content\":\"\\x\""),
    CHUNK("", "\"content\":\"\n\""), CHUNK("\"n\":1,", "\"content\":\"a\""), CHUNK("", "\"content\":\"a\"") "{}", "{}", "", "[]", "null", "{\"object\":\"error\",\"choices\":[]}",
    "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}", "{\"choices\":[{\"index\":0.5}]}", "{\"choices\":[{\"index\":00}]}", "{\"choices\":[{\"index\":-0}]}",
    "{\"choices\":[{\"index\":0,\"finish_reason\":\"st\\u006fp\"}]}", "{\"choices\":[],\"usage\":{\"prompt_tokens\":1.5}}", "{\"choices\":[{\"index\":0}],\"error\":{}}",
    "{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"prompt_tokens\":2}}", "{\"choices\":[],\"usage\":{\"prompt_t\\u006fkens\":1}}", "{\"choices\":[],\"usage\":{\"x\":{}}}",
    CHUNK("", "\"tool_calls\":[{\"index\":0},{\"index\":1}]"), CHUNK("", "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":{}}}]"),
    CHUNK("", "\"tool_calls\":[{\"index\":-1}]"), CHUNK("", "\"tool_calls\":[{\"index\":0,\"extra_content\":{}}]"),
    "{\"choices\":[{\"index\":0},{\"index\":0}]}", "{\"choices\":[{\"index\":0}],\"created\":9999999999999999999999}", "{\"id\":\"x\"}", "{\"choices\":[{\"index\":0}],}",
};

/* Every byte of a chunk away, and in its place each that means something; the taken ones, or -1. */
static int changed(const char *chunk)
{
    static const char bytes[] = "\"\\{}[]:,0 1-.eunrt/\n\x01\x7f\x80\xc3\xf0\xff";
    static char text[ROOM];
    size_t      len = strlen(chunk);
    int         taken = 0;

    for (size_t at = 0; at < len; at++) {
        for (size_t i = 0; i < sizeof bytes; i++) {         /* the last one is the NUL */
            bool away = i == 0;
            int  rc;

            memcpy(text, chunk, len);
            text[at] = bytes[i];
            if (away) {
                memmove(text + at, text + at + 1, len - at - 1);
            }
            rc = compare((str_t) { text, len - away });
            if (rc < 0) {
                diag("byte %zu, change %zu of %s", at, i, chunk);
                return -1;
            }
            taken += rc;
        }
    }
    return taken;
}

static void test_length(void)
{
    static char   text[ROOM];
    static said_t said;
    int           head = snprintf(text, sizeof text, "{\"choices\":[{\"delta\":{\"content\":\"\\n");

    for (int n = 2040; n <= 2050; n++) {
        memset(text + head, 'x', (size_t) n);
        memcpy(text + head + n, "\"}}]}", 6);
        is_int(compare(str_of(text)), n + 2 <= 2048, "a long piece with an escape is taken as far as there is room");
    }
    memset(text + head - 2, 'x', 3000);
    memcpy(text + head - 2 + 3000, "\"}}]}", 6);
    is_int(compare(str_of(text)), 1, "one without, whole");
    read_with(openai_read_fast, str_of("{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}"), &said);
    is_str(said.text, NOTHING "<0.>x", "as a piece of text");
}

int main(void)
{
    arena = arena_new(ROOM);
    for (size_t i = 0; i < SI_COUNT(usual); i++) {
        is_int(compare(str_of(usual[i])), 1, "a usual chunk is taken");
        ok(changed(usual[i]) > 0, "and whatever changes, both ways agree");
    }
    for (size_t i = 0; i < SI_COUNT(other); i++) {
        ok(compare(str_of(other[i])) == 0, "another one is left alone (%zu)", i);
    }
    test_length();
    arena_free(arena);
    return done_testing();
}
