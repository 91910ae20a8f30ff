/* Answers of before: their form, damaged in every way; and what makes a key another one. */
#include "llm/cache.h"
#include "llm/cache_key.h"

#include "filter_sets.h"
#include "tap.h"

static arena_t *arena;

static void fill(reply_t *r)
{
    uint32_t index;

    reply_init(r, arena, NULL, 4096);
    (void) reply_text(r, CHAT_REASONING, STR("hm"));
    (void) reply_text(r, CHAT_SIGNATURE, STR("sig"));
    (void) reply_text(r, CHAT_REDACTED, STR(""));
    (void) reply_text(r, CHAT_TEXT, STR("a\xc3\xa4"));
    (void) reply_text(r, CHAT_TEXT, STR("b"));
    (void) reply_call(r, STR("c1"), STR("f"), &index);
    (void) reply_args(r, index, STR("{\"a\":"));
    (void) reply_call(r, STR("c2"), STR("g"), &index);
    (void) reply_args(r, 0, STR("1}"));
    (void) reply_text(r, CHAT_REFUSAL, STR("no"));
}

/* All events as a text. */
static const char *told(reply_t *r)
{
    const char  *out = "";
    chat_event_t ev;

    while (reply_next(r, &ev)) {
        out = arena_printf(arena, "%s%d%s%s%s:%.*s;", out, (int) ev.kind, ev.kind == CHAT_ARGS ? ev.index == 0 ? "#0" : "#1" : "", ev.kind == CHAT_CALL ? ev.id : "",
                           ev.kind == CHAT_CALL ? ev.name : "", STR_ARG(ev.text));
    }
    return out;
}

static void test_form(void)
{
    llm_result_t r = { .input_tokens = 5, .output_tokens = 7, .cached_tokens = 1, .reasoning_tokens = 2, .estimated = true, .finish = "tool_calls",
                       .stop_sequence = "END", .model = "m-1", .id = "x" };
    reply_t      events, back;
    buf_t        b;
    uint64_t     time;
    bool         good = true;

    fill(&events);
    const char *want = told(&events);
    reply_free(&events);
    fill(&events);
    buf_init(&b, 4096);
    is_int(cache_pack(&b, 12345, &r, &events), 0, "an answer is written");
    reply_init(&back, arena, NULL, 4096);
    is_int(cache_unpack((str_t) { b.p, b.n }, &time, &back), 0, "and read");
    is_int((long long) time, 12345, "its time");
    ok(back.result.input_tokens == 5 && back.result.output_tokens == 7 && back.result.cached_tokens == 1 && back.result.reasoning_tokens == 2
       && back.result.cache_write_tokens == 0 && back.result.estimated, "its numbers");
    ok(strcmp(back.result.finish, "tool_calls") == 0 && strcmp(back.result.stop_sequence, "END") == 0 && strcmp(back.result.model, "m-1") == 0
       && strcmp(back.result.id, "x") == 0, "its words");
    is_str(told(&back), want, "its events");
    reply_free(&back);
    for (size_t n = 0; n < b.n; n++) {          /* cut, and with one byte changed: never more than refused, or read as something */
        char *copy = si_malloc(n + 1);

        memcpy(copy, b.p, n);
        reply_init(&back, arena, NULL, 4096);
        (void) cache_unpack((str_t) { copy, n }, &time, &back);
        reply_free(&back);
        free(copy);
        copy = si_malloc(b.n);
        memcpy(copy, b.p, b.n);
        copy[n] ^= 0x80;
        reply_init(&back, arena, NULL, 4096);
        int rc = cache_unpack((str_t) { copy, b.n }, &time, &back);
        good = good && (rc == 0 || rc == SI_EPROTO) && (n >= 4 || rc == SI_EPROTO);
        reply_free(&back);
        free(copy);
    }
    ok(good, "what is damaged does no harm");
    reply_free(&events);
    fill(&events);
    buf_consume(&b, b.n);
    b.max = 60;
    is_int(cache_pack(&b, 1, &r, &events), SI_ENOMEM, "what is too large is not written");
    reply_free(&events);
    buf_free(&b);
}

/* --- keys --- */

static uint8_t last[SHA256_LEN];

static bool is_new(const char *tenant, const conf_model_t *m, const llm_request_t *q, const filter_call_t *f)
{
    uint8_t key[SHA256_LEN];
    bool    other;

    cache_key(key, tenant, m, q, f);
    other = memcmp(key, last, sizeof key) != 0;
    memcpy(last, key, sizeof key);
    return other;
}

#define DIFFERS(what, change) do { change; ok(is_new(tenant, &model, &q, NULL), "another %s", what); ok(!is_new(tenant, &model, &q, NULL), "and that again"); } while (0)

static void test_key(void)
{
    conf_provider_t provider = { .name = "p", .kind = "openai", .base_url = "http://x" };
    conf_model_t    model = { .name = "m", .provider = &provider, .upstream = "u" };
    chat_part_t     parts[] = { { .kind = PART_TEXT, .text = STR("ab") }, { .kind = PART_TEXT, .text = STR("c") } };
    chat_message_t  m[] = { { CHAT_USER, parts, 2 }, { CHAT_USER, parts, 1 } };
    chat_tool_t     tools[] = { { .name = "f", .description = "" } };
    const char     *stop[] = { "x" }, *tenant = "t1";
    llm_request_t   q = { .messages = m, .nmessages = 1, .options = CHAT_OPTIONS_NONE };
    json_t         *extra = json_pack("{sisi}", "a", 1, "b", 2), *same = json_pack("{sisi}", "b", 2, "a", 1);

    DIFFERS("request", (void) 0);
    DIFFERS("tenant", tenant = "t2");
    DIFFERS("tenant, nobody", tenant = NULL);
    DIFFERS("model", model.name = "m2");
    DIFFERS("upstream", model.upstream = "u2");
    DIFFERS("place", provider.base_url = "http://y");
    DIFFERS("guardrail", model.guardrail = "g");
    DIFFERS("limit of the model", model.max_tokens = 5);
    DIFFERS("border between parts", (parts[0].text = STR("a"), parts[1].text = STR("bc")));
    DIFFERS("role", m[0].role = CHAT_SYSTEM);
    DIFFERS("kind of part", parts[1].kind = PART_FILE);
    DIFFERS("number of messages", q.nmessages = 2);
    DIFFERS("temperature", q.options.temperature = 0);
    DIFFERS("temperature above 0", q.options.temperature = 0.5);
    DIFFERS("seed", (q.options.has_seed = true, q.options.seed = 0));
    DIFFERS("stop", (q.options.stop = stop, q.options.nstop = 1));
    DIFFERS("tool", (q.options.tools = tools, q.options.ntools = 1));
    DIFFERS("choice of tools", q.options.choice = CHOICE_ANY);
    DIFFERS("shape", q.options.shape = SHAPE_JSON);
    DIFFERS("what the shape is for", q.options.shape_about = "x");
    DIFFERS("extra member", (q.options.extra = extra, q.options.dialect = "openai"));
    q.options.extra = same;
    ok(!is_new(tenant, &model, &q, NULL), "in whichever order");
    q.options.end_user = "ann";
    q.options.temperature = 0.5;
    q.deadline = 5;
    ok(!is_new(tenant, &model, &q, NULL), "the end user and the deadline do not matter");
    json_decref(extra);
    json_decref(same);
}

static void test_filters(void)
{
    conf_filter_t               f = make_filter("f", "block");
    const conf_filter_t *const  named[] = { &f };
    conf_t                      conf = { .filter_sets = &f, .nfilter_sets = 1, .filters = { named, 1 } };
    conf_provider_t             provider = { .name = "p", .kind = "openai", .base_url = "" };
    conf_model_t                model = { .name = "m", .provider = &provider };
    llm_request_t               q = { .options = CHAT_OPTIONS_NONE };
    const char                 *actions[] = { "block", "redact", "redact" }, *replacements[] = { "x", "x", "y" };

    (void) is_new("t", &model, &q, NULL);
    for (size_t i = 0; i < 4; i++) {
        f.words = i == 3 ? (conf_texts_t) TEXTS("a", "b") : (conf_texts_t) TEXTS("a");
        f.action = actions[SI_MIN(i, 2u)];
        f.replacement = replacements[SI_MIN(i, 2u)];
        filter_set_t  *s = filter_set_new(&conf);
        filter_call_t *call = filter_open(s, &conf, arena, &(gateway_spec_t) { .tenant = "t" });
        ok(is_new("t", &model, &q, call), "other filters: %zu", i);
        ok(!is_new("t", &model, &q, call), "the same ones");
        filter_set_free(s);
    }
}

int main(void)
{
    arena = arena_new(4096);
    test_form();
    test_key();
    test_filters();
    arena_free(arena);
    return done_testing();
}
