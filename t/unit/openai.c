/* The OpenAI format: recorded streams of seven providers cut everywhere, quirks, faults, deadlines. */
#include "openai_corpus.h"
#include "llm/openai_read.h"

static const provider_t *const tested = &provider_openai;

static void test_pieces(void)
{
    reply_t       r;
    sse_t         sse;
    got_t         g;

    got_init(&g);
    sse_init(&sse, ANSWER_MAX);
    reply_init(&r, arena, "", ANSWER_MAX);
    is_int(feed_part(&r, &sse, TEXT("a") TEXT("b"), strlen(TEXT("a") TEXT("b")), &g), 0, "two chunks in one read");
    is_int((long long) g.pieces, 1, "are one piece");
    const char *mixed = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"r\"}}]}\n\n" TEXT("c") TEXT("d")
                        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"s\",\"content\":\"e\"}}]}\n\n";
    is_int(feed_part(&r, &sse, mixed, strlen(mixed), &g), 0, "text and reasoning in one read");
    is_int((long long) g.pieces, 1 + 4, "are as many pieces as changes");
    ok(same(&g.text, "abcde") && same(&g.reasoning, "rs"), "in order");
    reply_free(&r);
    sse_free(&sse);
    got_free(&g);
}

static void test_wholes(void)
{
    for (size_t i = 0; i < nwholes; i++) {
        chat_event_t ev;
        reply_t      r;
        got_t        g;

        got_init(&g);
        reply_init(&r, arena, "", ANSWER_MAX);
        ok(openai_read_whole(&r, str_of(wholes[i].body)) == 0, "%s is read", wholes[i].name);
        while (reply_next(&r, &ev)) {
            got_event(&g, &ev);
        }
        ok(got_same(&g, &wholes[i].want) && same_end(&r.result, &wholes[i].want.result) && r.result.finish[0] != '\0', "%s as it stands there", wholes[i].name);
        reply_free(&r);
        got_free(&g);
    }
}

/* What a stream says of calls, as a transcript: "kind.index id name" or "kind.index arguments", a line each. */
static void reads_calls(const char *wire, const char *want, const char *name)
{
    reply_t r;
    sse_t   sse;
    got_t   g;
    int     rc;

    got_init(&g);
    sse_init(&sse, ANSWER_MAX);
    reply_init(&r, arena, "", ANSWER_MAX);
    rc = feed_part(&r, &sse, wire, strlen(wire), &g);
    if (r.calls > 0 && strcmp(want, "2 calls") == 0) {             /* their ids are made up */
        buf_consume(&g.all, g.all.n);
        (void) buf_printf(&g.all, "%u calls", r.calls);
    }
    for (size_t i = 0; i < g.all.n; i++) {
        g.all.p[i] = g.all.p[i] == '\1' ? '\n' : g.all.p[i];
    }
    if (!ok(rc == 0 && same(&g.all, want), "%s", name)) {
        diag("  %d, got %.*s", rc, (int) g.all.n, g.all.p);
    }
    reply_free(&r);
    sse_free(&sse);
    got_free(&g);
}

#define CALLS(list)         "data: {\"choices\":[{\"delta\":{\"tool_calls\":[" list "]}}]}\n\n"
#define CALL(more, f)       "{" more "\"function\":{" f "}}"
#define NAME(n, args)       "\"name\":\"" n "\",\"arguments\":\"" args "\""
#define ARGS(args)          "\"arguments\":\"" args "\""
#define END_CALLS           "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n"

static void test_calls(void)
{
    reads_calls(CALLS(CALL("\"index\":0,\"id\":\"a\",", NAME("f", ""))) CALLS(CALL("\"index\":0,", ARGS("{\\\"x\\\":"))) CALLS(CALL("\"index\":0,", ARGS("1}"))),
                "\n5.0 a f\n6.0 {\"x\":1}", "id and name in the first piece");
    reads_calls(CALLS(CALL("\"index\":0,\"id\":\"a\",", NAME("f", "{"))) CALLS(CALL("\"index\":0,\"id\":\"\",", NAME("", "}"))),
                "\n5.0 a f\n6.0 {}", "empty ones in later pieces");
    reads_calls(CALLS(CALL("\"index\":0,\"id\":\"a\",", NAME("f", "{"))) CALLS(CALL("\"index\":0,\"id\":\"a\",", NAME("f", "}"))),
                "\n5.0 a f\n6.0 {}", "the same ones in later pieces");
    reads_calls(CALLS(CALL("\"index\":0,\"id\":\"a\",", NAME("f", "{}"))) CALLS(CALL("\"index\":0,\"id\":\"b\",", NAME("g", "[]"))),
                "\n5.0 a f\n6.0 {}\n5.1 b g\n6.1 []", "an index for two ids");
    reads_calls(CALLS(CALL("\"index\":0,", NAME("f", "{}"))) CALLS(CALL("\"index\":0,", NAME("f", "{}"))), "2 calls", "whole calls without ids");
    reads_calls(CALLS(CALL("\"id\":\"a\",", NAME("f", "{\\\"s\\\":\\\"}"))) CALLS(CALL("", ARGS("\\\"}"))) CALLS(CALL("\"id\":\"b\",", NAME("f", "{}"))),
                "\n5.0 a f\n6.0 {\"s\":\"}\"}\n5.1 b f\n6.1 {}", "no index: by the id");
    reads_calls(CALLS(CALL("\"index\":0,\"id\":\"a\",", NAME("f", "{")) "," CALL("\"index\":1,\"id\":\"b\",", NAME("g", "{"))) CALLS(CALL("\"index\":0,", ARGS("}")) "," CALL("\"index\":1,", ARGS("}"))),
                "\n5.0 a f\n6.0 {\n5.1 b g\n6.1 {\n6.0 }\n6.1 }", "two calls whose pieces alternate");
    reads_calls(CALLS(CALL("\"index\":0,\"id\":\"a\",", "\"name\":\"f\",\"arguments\":{\"x\":[1]}")), "\n5.0 a f\n6.0 {\"x\":[1]}", "arguments as an object");
    reads_calls(CALLS(CALL("\"index\":0,\"id\":\"a\",", NAME("f", ""))) END_CALLS, "\n5.0 a f\n6.0 {}", "no arguments at all");
    reads_calls(CALLS(CALL("\"index\":0,\"id\":\"a\",\"extra_content\":{\"google\":{\"thought_signature\":\"S\"}},", NAME("f", "{}"))), "\n5.0 a f\n6.0 {}\n2.0 S", "Gemini's seal");
}

/* Facts read in the files by eye. */
static void co_test_facts(void)
{
    static const struct { const char *name, *model, *finish; int64_t in, out; } facts[] = {
        { "xai/xai-text.", "grok-3-mini", "stop", 12, 291 },
        { "mistral/mistral-text.", "mistral-small-latest", "stop", 13, 8 },
        { "openai/chat__azure-model-router.1.", "gpt-5-nano-2025-08-07", "stop", 15, 78 },
        { "groq/groq-text.", "llama-3.3-70b-versatile", "stop", 45, 662 },
        { "groq/groq-tool-call.", "llama-3.3-70b-versatile", "tool_calls", 210, 15 },
        { "deepseek/chat__deepseek-text.", "deepseek-chat", "length", 13, 400 },
        { "deepseek/chat__deepseek-reasoning.", "deepseek-reasoner", "stop", 18, 219 },
        { "azure/azure-deepseek-reasoning.1.", "deepseek-v4-pro", "stop", 19, 1720 },
    };

    for (size_t i = 0; i < nrecordings; i++) {
        for (size_t f = 0; f < SI_COUNT(facts); f++) {
            got_t g;

            if (strncmp(recordings[i].name, facts[f].name, strlen(facts[f].name)) != 0) {
                continue;
            }
            got_init(&g);
            co_run(arena_printf(arena, "c/%zu/5000", i), &g);
            ok(strcmp(g.result.model, facts[f].model) == 0 && strcmp(g.result.finish, facts[f].finish) == 0
               && g.result.input_tokens == facts[f].in && g.result.output_tokens == facts[f].out, "%s: model, finish, tokens", facts[f].name);
            got_free(&g);
        }
    }
}

static void co_test_request(void)
{
    const char *body, *raw = co_echo(&body);
    json_t     *v = json_loads(body, 0, NULL);

    ok(strncmp(raw, "POST /echo/chat/completions HTTP/1.1\r\n", 38) == 0, "nothing is added to base_url but the path");
    ok(strstr(raw, "\r\nAuthorization: Bearer key-of-test\r\n") != NULL, "the key");
    ok(strstr(raw, "\r\nContent-Type: application/json\r\n") != NULL, "the type");
    ok(json_equal(v, json_own(arena, json_pack("{s:s,s:[{s:s,s:s},{s:s,s:s}],s:b,s:{s:b},s:i}", "model", "up/m", "messages",
       "role", "system", "content", "Be \"brief\".", "role", "user", "content", "Gr\xC3\xBC\xC3\x9F Gott\n",
       "stream", 1, "stream_options", "include_usage", 1, "max_tokens", 77))), "the body");
    json_decref(v);

    provider.api_key = "";
    model.max_tokens = 0;
    raw = co_echo(&body);
    ok(body[0] == '{' && strstr(raw, "Authorization") == NULL && strstr(body, "max_tokens") == NULL, "without key and limit neither is sent");
    provider.api_key = "key-of-test";
    model.max_tokens = 77;
}

static const chat_part_t said_parts[] = {
    { .kind = PART_REASONING, .text = { "hm", 2 } }, { .kind = PART_TEXT, .text = { "Let me see.", 11 } },
    { .kind = PART_CALL, .id = "c1", .name = "f", .text = { "{\"x\":1}", 7 }, .signature = { "S", 1 } }, { .kind = PART_CALL, .id = "c2", .name = "g" },
};
static const chat_part_t text_1 = { .kind = PART_TEXT, .text = { "one", 3 } }, picture = { .kind = PART_IMAGE, .text = { "QQ==", 4 }, .media = "image/png" };
static const chat_part_t back_parts[] = {
    { .kind = PART_TEXT, .text = { "and now?", 8 } }, { .kind = PART_RESULT, .id = "c1", .parts = &text_1, .nparts = 1 },
    { .kind = PART_RESULT, .id = "c2", .failed = true, .parts = &text_1, .nparts = 1 },
};
static const chat_part_t sight_parts[] = {
    { .kind = PART_TEXT, .text = { "what?", 5 } }, { .kind = PART_IMAGE, .text = { "https://x/y.png", 15 }, .detail = "low" },
    { .kind = PART_IMAGE, .text = { "QQ==", 4 }, .media = "image/png" }, { .kind = PART_FILE, .text = { "QQ==", 4 }, .media = "application/pdf", .name = "a.pdf" },
};

#define HEAD   "'model':'up/m','stream':true,'stream_options':{'include_usage':true},"
#define CALLS_SAID(more)  "'tool_calls':[{'id':'c1','type':'function','function':{'name':'f','arguments':'{\\'x\\':1}'}" more \
                          "},{'id':'c2','type':'function','function':{'name':'g','arguments':'{}'}}]"
#define RESULTS  "{'role':'tool','tool_call_id':'c1','content':'one'},{'role':'tool','tool_call_id':'c2','content':'The tool has failed.\\none'}"

static void test_messages(void)
{
    static const chat_message_t talk[] = { { CHAT_ASSISTANT, said_parts, 4 }, { CHAT_USER, back_parts, 3 } }, sight = { CHAT_USER, sight_parts, 4 };
    static const chat_part_t    shown = { .kind = PART_RESULT, .id = "c", .parts = &picture, .nparts = 1 };
    static const chat_part_t    linked = { .kind = PART_FILE, .text = { "https://x/y", 11 } };
    llm_request_t q = request;

    model.max_tokens = 0;
    provider.base_url = "https://x/v1";
    q.messages = talk;
    puts_body(&q, "{" HEAD "'messages':[{'role':'assistant','content':'Let me see.'," CALLS_SAID("") "}," RESULTS ",{'role':'user','content':'and now?'}]}",
              "calls of tools and their results");
    provider.send_reasoning = "calls";
    puts_body(&q, "{" HEAD "'messages':[{'role':'assistant','content':'Let me see.','reasoning_content':'hm'," CALLS_SAID(",'extra_content':{'google':{'thought_signature':'S'}}")
              "}," RESULTS ",{'role':'user','content':'and now?'}]}", "with the reasoning, where the configuration wants it");
    provider.send_reasoning = NULL;
    q.messages = &sight;
    q.nmessages = 1;
    puts_body(&q, "{" HEAD "'messages':[{'role':'user','content':[{'type':'text','text':'what?'},{'type':'image_url','image_url':{'url':'https://x/y.png','detail':'low'}},"
              "{'type':'image_url','image_url':{'url':'data:image/png;base64,QQ=='}},{'type':'file','file':{'filename':'a.pdf','file_data':'data:application/pdf;base64,QQ=='}}]}]}",
              "pictures and files");
    q.messages = &(chat_message_t) { CHAT_USER, &shown, 1 };
    puts_no(&q, "a picture in the result of a tool");
    q.messages = &(chat_message_t) { CHAT_USER, &linked, 1 };
    puts_no(&q, "a file that has a URL");
    model.max_tokens = 77;
}

#define MESSAGES  "'messages':[{'role':'system','content':'Be \\'brief\\'.'},{'role':'user','content':'Gr\xC3\xBC\xC3\x9F Gott\\n'}]"

static void test_participants(void)
{
    static const chat_part_t ann[] = { { .kind = PART_TEXT, .text = { "a", 1 } }, { .kind = PART_NAME, .text = { "Ann", 3 } } };
    static const chat_message_t talk[] = { { CHAT_SYSTEM, ann, 2 }, { CHAT_USER, ann, 2 }, { CHAT_ASSISTANT, ann, 2 } };
    llm_request_t q = request;

    model.max_tokens = 0;
    q.messages = talk;
    q.nmessages = 3;
    puts_body(&q, "{" HEAD "'messages':[{'role':'system','content':'a','name':'Ann'},{'role':'user','content':'a','name':'Ann'},{'role':'assistant','content':'a','name':'Ann'}]}",
              "who of several speaks");
    model.max_tokens = 77;
}

static void test_limit_names(void)
{
    llm_request_t q = request;

    q.options.max_tokens = 9;
    provider.max_tokens_name = "auto";
    puts_body(&q, "{" HEAD MESSAGES ",'max_tokens':9}", "the most tokens of an answer, as every server knows them");
    provider.base_url = "https://eu.api.openai.com/v1";
    puts_body(&q, "{" HEAD MESSAGES ",'max_completion_tokens':9}", "and as OpenAI's own models do");
    provider.max_tokens_name = "max_tokens";
    puts_body(&q, "{" HEAD MESSAGES ",'max_tokens':9}", "or as the configuration says");
    provider.max_tokens_name = NULL;
    provider.base_url = "https://x/v1";
}

/* Points behind a system prompt, a picture, a result, one of its texts, and a tool. */
static void test_cache_points(void)
{
    static const chat_part_t prompt = { .kind = PART_TEXT, .text = { "S", 1 }, .cache = true, .cache_ttl = "1h" };
    static const chat_part_t seen[] = {
        { .kind = PART_TEXT, .text = { "a", 1 } }, { .kind = PART_IMAGE, .text = { "https://x/y.png", 15 }, .cache = true },
    };
    static const chat_part_t inner = { .kind = PART_TEXT, .text = { "one", 3 }, .cache = true, .cache_ttl = "5m" };
    static const chat_part_t results[] = {
        { .kind = PART_RESULT, .id = "c1", .parts = &text_1, .nparts = 1, .cache = true }, { .kind = PART_RESULT, .id = "c2", .parts = &inner, .nparts = 1 },
        { .kind = PART_RESULT, .id = "c3", .parts = &text_1, .nparts = 1 },
    };
    static const chat_message_t talk[] = { { CHAT_SYSTEM, &prompt, 1 }, { CHAT_USER, seen, 2 }, { CHAT_USER, results, 3 } };
    static const chat_tool_t    tool = { .name = "f", .description = "", .cache = true };
    llm_request_t q = request;

    model.max_tokens = 0;
    q.messages = talk;
    q.nmessages = 3;
    q.options.tools = &tool;
    q.options.ntools = 1;
    provider.cache_control = "on";
    puts_body(&q, "{" HEAD "'messages':[{'role':'system','content':[{'type':'text','text':'S','cache_control':{'type':'ephemeral','ttl':'1h'}}]},"
              "{'role':'user','content':[{'type':'text','text':'a'},{'type':'image_url','image_url':{'url':'https://x/y.png'},'cache_control':{'type':'ephemeral'}}]},"
              "{'role':'tool','tool_call_id':'c1','content':[{'type':'text','text':'one','cache_control':{'type':'ephemeral'}}]},"
              "{'role':'tool','tool_call_id':'c2','content':[{'type':'text','text':'one','cache_control':{'type':'ephemeral','ttl':'5m'}}]},"
              "{'role':'tool','tool_call_id':'c3','content':'one'}],"
              "'tools':[{'type':'function','function':{'name':'f'},'cache_control':{'type':'ephemeral'}}]}", "where a prompt cache should begin");
    provider.cache_control = "off";
    q.messages = talk;
    q.nmessages = 1;
    q.options.ntools = 0;
    puts_body(&q, "{" HEAD "'messages':[{'role':'system','content':'S'}]}", "which who does not take it is not told");
    provider.cache_control = NULL;
    model.max_tokens = 77;
}

static void test_options(void)
{
    static const chat_tool_t tools[] = {
        { .name = "f", .description = "does", .schema = { "{\"type\":\"object\"}", 17 }, .strict = true }, { .name = "g", .description = "" },
    };
    static const char *stops[] = { "a", "b" };
    llm_request_t   q = request;
    chat_options_t *o = &q.options;

    *o = (chat_options_t) { .temperature = 0.5, .top_p = 0.25, .frequency_penalty = 1, .presence_penalty = -1, .max_tokens = 9, .top_k = 40, .seed = -3,
                            .has_seed = true, .stop = stops, .nstop = 2, .effort = "high", .tools = tools, .ntools = 2, .choice = CHOICE_ONE, .choice_name = "g",
                            .parallel = 0, .shape = SHAPE_SCHEMA, .shape_name = "s", .shape_schema = { "{\"a\":1}", 7 }, .shape_strict = true,
                            .end_user = "u", .reasoning_tokens = -1, .dialect = "openai", .extra = json_own(arena, json_pack("{s:s}", "verbosity", "low")) };
    provider.max_tokens_name = "max_completion_tokens";
    puts_body(&q, "{" HEAD MESSAGES ",'temperature':0.5,'top_p':0.25,'frequency_penalty':1.0,'presence_penalty':-1.0,'max_completion_tokens':9,'top_k':40,'seed':-3,"
              "'stop':['a','b'],'reasoning_effort':'high','user':'u','verbosity':'low','parallel_tool_calls':false,'tool_choice':{'type':'function','function':{'name':'g'}},"
              "'tools':[{'type':'function','function':{'name':'f','description':'does','parameters':{'type':'object'},'strict':true}},{'type':'function','function':{'name':'g'}}],"
              "'response_format':{'type':'json_schema','json_schema':{'name':'s','schema':{'a':1},'strict':true}}}", "all that can be asked for");
    provider.max_tokens_name = "auto";
    o->dialect = "anthropic";
    puts_no(&q, "verbosity");
    *o = CHAT_OPTIONS_NONE;
    o->reasoning_tokens = 100;
    puts_no(&q, "a budget of reasoning tokens");
    *o = CHAT_OPTIONS_NONE;
    o->tools = tools + 1;
    o->ntools = 1;
    o->choice = CHOICE_ANY;
    o->shape = SHAPE_JSON;
    o->reasoning_tokens = 0;
    puts_body(&q, "{" HEAD MESSAGES ",'max_tokens':77,'tools':[{'type':'function','function':{'name':'g'}}],'tool_choice':'required','response_format':{'type':'json_object'},"
              "'reasoning_effort':'none'}", "some of it");
}

/* What Azure wants: https://learn.microsoft.com/azure/ai-services/openai/reference. */
static void test_azure(void)
{
    format_request_t put = { .url = NULL };

    provider.base_url = "https://n.openai.azure.com/openai/deployments/{model}";
    provider.api_version = "2024-10-21";
    provider.key_header = "api-key";
    buf_init(&put.body, ANSWER_MAX);
    is_int(tested->format->co_put(arena, &request, &put, &err), 0, "a request to Azure");
    is_str(put.url, "https://n.openai.azure.com/openai/deployments/up/m/chat/completions?api-version=2024-10-21", "the deployment and the version in its address");
    is_str(put.headers[0], "api-key: key-of-test", "the key in a header of its own");
    provider.api_version = provider.key_header = NULL;
    buf_free(&put.body);
}

static void co_test_ends(void)
{
    co_whole("whole", "Hello", "stop", 5, 7, false);
    co_whole("no-done", "Hello", "stop", 5, 7, false);
    co_whole("no-finish", "Hello", "stop", 6, 2, true);
    co_whole("no-blank", "Hello", "length", 6, 2, true);
    co_whole("cut-late", "Hello", "stop", 6, 2, true);
    co_whole("quirks", "\xC3\xA4" "b", "stop", 1, 2, false);
    co_whole("json", "whole", "stop", 3, 4, false);
    provider.idle_ms = 50;
    co_whole("tail", "Hello", "stop", 6, 2, true);
    provider.idle_ms = PATIENCE;
}

static void co_test_faults(void)
{
    co_fails("400", "", SI_EINVAL, "context_length", 400, false, "HTTP 400");
    co_fails("401", "", SI_EDENIED, "provider_auth", 401, false, "HTTP 401");
    co_fails("403", "", SI_EDENIED, "provider_auth", 403, false, "HTTP 403");
    co_fails("404", "", SI_EINVAL, "provider_rejected", 404, false, "HTTP 404: no model \xC3\xA4");
    co_fails("408", "", SI_EUNAVAIL, "provider_unavailable", 408, true, "HTTP 408");
    co_fails("429", "", SI_EAGAIN, "provider_rate_limited", 429, true, "HTTP 429: quota of [key]");
    co_fails("500", "", SI_EUNAVAIL, "provider_unavailable", 500, true, "HTTP 500");
    co_fails("529", "", SI_EUNAVAIL, "provider_unavailable", 529, true, "HTTP 529: busy");
    co_fails("302", "", SI_EPROTO, "provider_protocol", 302, false, "redirect");
    co_fails("html", "", SI_EPROTO, "provider_protocol", 200, false, "neither");
    co_fails("json-error", "", SI_EUNAVAIL, "provider_unavailable", 503, true, "no");
    co_fails("json-none", "", SI_EPROTO, "provider_protocol", 0, true, "no choices");
    co_fails("json-bad", "", SI_EPROTO, "provider_protocol", 0, true, "malformed");

    co_fails("neither", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("nothing", "", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("half", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("cut", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "was cut");
    co_fails("malformed", "Hello", SI_EPROTO, "provider_protocol", 0, true, "malformed");
    co_fails("no-object", "Hello", SI_EPROTO, "provider_protocol", 0, true, "no JSON object");
    co_fails("big", "", SI_EPROTO, "provider_protocol", 0, true, "longer than");
    co_fails("error", "Hello", SI_EUNAVAIL, "provider_unavailable", 0, true, "overloaded, key [key]");
    co_fails("error-429", "", SI_EAGAIN, "provider_rate_limited", 429, true, "slow down");
    co_fails("error-type", "", SI_EINVAL, "provider_rejected", 400, false, "too long");
    co_fails("error-event", "Hello", SI_EUNAVAIL, "provider_unavailable", 0, true, "broken");
    co_fails("error-finish", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "error");

    request.answer_max = 4;
    co_fails("json", "", SI_ENOMEM, "answer_too_large", 0, false, "longer than 4 bytes");
    request.answer_max = 5;
    co_whole("whole", "Hello", "stop", 5, 7, false);
    request.answer_max = ANSWER_MAX;
}

static void co_main(void *arg)
{
    (void) arg;
    co_test_facts();
    co_test_request();
    co_test_ends();
    co_test_faults();
    co_test_deadlines();
    co_test_call_deadline();
    co_test_streaming();
    co_test_cancel(5);
    co_test_recordings();
    loop_stop();
}

static void plain(void)
{
    ok(provider_find("openai") == &provider_openai && provider_find("offline") == &provider_offline && provider_find("x") == NULL,
       "providers by kind");
    test_splits();
    test_wholes();
    test_pieces();
    test_calls();
    test_messages();
    test_participants();
    test_limit_names();
    test_cache_points();
    test_options();
    test_azure();
}

int main(void)
{
    int status;

    read_corpus();
    status = run_tests(plain, co_main);
    free_wholes();
    return status;
}
