/* Google's Gemini API: recorded streams as events and as an array, requests, endings, quirks, faults, deadlines. */
#include "gemini_corpus.h"
#include "llm/gemini_read.h"
#include "llm/retry_after.h"

static const provider_t *const tested = &provider_gemini;

/* ---- answers ---- */

/* What a stream says, each change of kind as "kind.index text". */
static void co_says(const char *path, const char *all)
{
    got_t g;
    int   rc;

    got_init(&g);
    rc = co_run(path, &g);
    if (!ok(rc == 0 && same(&g.all, all) && strcmp(g.result.finish, "tool_calls") == 0, "%s: in this order", path)) {
        diag("  %d %s: %.*s", rc, err.detail, (int) g.all.n, g.all.p);
    }
    got_free(&g);
}

static void co_test_parts(void)
{
    got_t g;

    co_says("parts", "\1" "1.0 hm" "\1" "2.0 S1" "\1" "0.0 \xC3\xA4" "b" "\1" "3.0 S2"
            "\1" "5.0 i1 f" "\1" "2.0 S3" "\1" "6.0 {\"n\":0.3}" "\1" "5.1 made g" "\1" "6.1 {}");
    got_init(&g);
    (void) co_run("parts", &g);
    is_int((long long) g.result.unsaid, 1, "code that the provider ran is unsaid");
    got_free(&g);
    co_says("pieces", "\1" "5.0 made f" "\1" "6.0 {\"s\":\"a\xC3\xA4" "b\",\"k.1\":[{\"t\":true,\"n\":null},2],\"open\":\"x\"}"
            "\1" "5.1 made g" "\1" "6.1 {}");
    got_init(&g);
    is_int(co_run("whole", &g), 0, "an answer");
    ok(g.result.cached_tokens == 2 && g.result.reasoning_tokens == 4, "kinds of tokens");
    is_str(g.result.id, "r-1", "its id");
    got_free(&g);
}

static void co_test_ends(void)
{
    static const char *const filters[] = { "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII" };
    static const char *const cuts[] = { "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "LANGUAGE", "OTHER" };

    co_whole("whole", "Hello", "stop", 9, 7, false);
    co_whole("unspecified", "Hello", "stop", 9, 7, false);
    co_whole("no-blank", "Hello", "stop", 9, 7, false);
    co_whole("length", "Hello", "length", 6, 2, true);
    co_whole("cut-late", "Hello", "stop", 6, 2, true);
    co_whole("blocked", "", "content_filter", 9, 0, false);
    co_whole("json", "whole", "stop", 9, 7, false);
    co_whole("array", "Hello", "stop", 9, 7, false);
    co_whole("array-open", "Hello", "stop", 9, 7, false);
    for (size_t i = 0; i < SI_COUNT(filters); i++) {
        co_whole(filters[i], "Hello", "content_filter", 9, 7, false);
    }
    for (size_t i = 0; i < SI_COUNT(cuts); i++) {
        co_fails(cuts[i], "Hello", SI_EUNAVAIL, "answer_cut", 0, true, cuts[i]);
    }
    provider.idle_ms = 50;
    co_whole("tail", "Hello", "stop", 6, 2, true);
    provider.idle_ms = PATIENCE;
}

static void co_test_faults(void)
{
    co_fails("400", "", SI_EINVAL, "provider_rejected", 400, false, "HTTP 400");
    co_fails("400-key", "", SI_EDENIED, "provider_auth", 401, false, "API key");
    co_fails("403", "", SI_EDENIED, "provider_auth", 403, false, "HTTP 403");
    co_fails("404", "", SI_EINVAL, "provider_rejected", 404, false, "no such model");
    co_fails("503", "", SI_EUNAVAIL, "provider_unavailable", 503, true, "HTTP 503");
    co_fails("html", "", SI_EPROTO, "provider_protocol", 200, false, "neither");
    co_fails("json-error", "", SI_EUNAVAIL, "provider_unavailable", 503, true, "no");
    co_fails("json-cut", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");

    co_fails("neither", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("nothing", "", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("half", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("cut", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "was cut");
    co_fails("malformed", "Hello", SI_EPROTO, "provider_protocol", 0, true, "malformed");
    co_fails("no-object", "Hello", SI_EPROTO, "provider_protocol", 0, true, "no JSON object");
    co_fails("big", "", SI_EPROTO, "provider_protocol", 0, true, "longer than");
    co_fails("error", "Hello", SI_EUNAVAIL, "provider_unavailable", 503, true, "overloaded, key [key]");
    co_fails("error-key", "", SI_EDENIED, "provider_auth", 401, false, "API key");
    co_fails("places", "", SI_EPROTO, "provider_protocol", 0, true, "no place");
    co_fails("no-path", "", SI_EPROTO, "provider_protocol", 0, true, "no place");

    request.answer_max = 4;
    co_fails("json", "", SI_ENOMEM, "answer_too_large", 0, false, "longer than 4 bytes");
    co_fails("pieces", "", SI_ENOMEM, "answer_too_large", 0, false, "longer than 4 bytes");
    request.answer_max = ANSWER_MAX;
}

static void co_test_arrays(void)
{
    co_fails("array-cut", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("array-short", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("array-empty", "", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("array-bad", "Hello", SI_EPROTO, "provider_protocol", 0, true, "malformed");
    co_fails("array-odd", "Hello", SI_EPROTO, "provider_protocol", 0, true, "no array of objects");
    co_fails("array-comma", "Hello", SI_EPROTO, "provider_protocol", 0, true, "no array of objects");
    co_fails("array-more", "Hello", SI_EPROTO, "provider_protocol", 0, true, "no array of objects");
    co_fails("text", "", SI_EPROTO, "provider_protocol", 0, true, "no array of objects");
}

static void co_retry(const char *path, const char *text, uint64_t ms)
{
    co_fails(path, text, SI_EAGAIN, "provider_rate_limited", 429, true, "HTTP 429");
    is_int((long long) err.retry_ms, (long long) ms, "and when to come back");
}

static void co_test_retry(void)
{
    co_retry("429", "", 34400);
    co_retry("429-none", "", 0);
    co_retry("429-long", "", 24 * 3600 * 1000);
    co_retry("429-odd", "", 0);
    co_retry("error-429", "", 1500);
    co_retry("array-error", "Hello", 3000);
}

/* The usage that came before the cut counts. */
static void co_test_cut_usage(void)
{
    got_t g;

    got_init(&g);
    request.deadline = soon();
    llm_call_t  *c;
    chat_event_t ev;
    is_int(co_open("cut-counted", &c), 0, "an answer that will be cut");
    while (tested->co_next(c, &ev, &err) == 1) {
        got_event(&g, &ev);
    }
    ok(strcmp(err.code, "answer_cut") == 0 && tested->result(c)->input_tokens == 9 && tested->result(c)->output_tokens == 7
       && !tested->result(c)->estimated, "what was counted until then is known");
    tested->close(c);
    got_free(&g);
}

static void co_test_array_streaming(void)
{
    llm_call_t  *c;
    chat_event_t ev;

    is_int(co_open("gate-array", &c), 0, "an array that waits for us");
    is_int(tested->co_next(c, &ev, &err), 1, "its first element comes while the provider holds the rest");
    is_mem(ev.text.p, ev.text.n, "first", "it is");
    ok(write(server.go, "g", 1) == 1, "go");
    is_int(tested->co_next(c, &ev, &err), 1, "the next");
    is_mem(ev.text.p, ev.text.n, "second", "it is");
    is_int(tested->co_next(c, &ev, &err), 0, "whole");
    tested->close(c);
}

/* The error of the corpus, as it stands in its file. */
static void recorded_error(FILE *f, const char *name, const void *arg)
{
    char        text[2000];
    size_t      n = fread(text, 1, sizeof text, f);
    llm_error_t e = { .code = "" };

    (void) arg;
    is_int(gemini_status(&e, arena, "", 429, (str_t) { text, n }), SI_EAGAIN, name);
    is_int((long long) retry_after_body((str_t) { text, n }), 34400, "when to come back");
    ok(strstr(e.detail, "exceeded your current quota") != NULL, "and why");
}

/* ---- requests ---- */

static void co_test_wire(void)
{
    const char *body, *raw = co_echo(&body);

    ok(strncmp(raw, "POST /echo/up/m:streamGenerateContent?alt=sse HTTP/1.1\r\n", 56) == 0, "a model that is a path");
    ok(strstr(raw, "\r\nx-goog-api-key: key-of-test\r\n") != NULL, "the key");
    provider.api_key = "";
    raw = co_echo(&body);
    ok(body[0] == '{' && strstr(raw, "x-goog-api-key") == NULL, "without a key none is sent");
    provider.api_key = "key-of-test";
}

static void test_address(void)
{
    format_request_t put = { .url = NULL };

    buf_init(&put.body, 1u << 20);
    provider.base_url = "http://x/v1beta";
    model.upstream = "gemini-3-pro";
    is_int(tested->format->co_put(arena, &request, &put, &err), 0, "a request");
    is_str(put.url, "http://x/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse", "its address");
    buf_free(&put.body);
    model.upstream = "up/m";
}

static const chat_part_t shown[] = {
    { .kind = PART_TEXT, .text = { "look", 4 } },
    { .kind = PART_IMAGE, .text = { "QUJD", 4 }, .media = "image/png", .detail = "auto" },
    { .kind = PART_FILE, .text = { "REVG", 4 }, .media = "application/pdf", .name = "a.pdf" },
    { .kind = PART_FILE, .text = { "https://x/y.pdf", 15 } },
    { .kind = PART_IMAGE, .text = { "gs://x/y", 8 } },
};
static const chat_part_t thought[] = {
    { .kind = PART_REASONING, .text = { "hm", 2 }, .signature = { "S1", 2 } },
    { .kind = PART_TEXT, .text = { "I look", 6 } },
    { .kind = PART_REDACTED, .text = { "S2", 2 } },
    { .kind = PART_CALL, .id = "c1", .name = "f", .text = { "{\"x\":1}", 7 }, .signature = { "S3", 2 } },
    { .kind = PART_CALL, .id = "c2", .name = "g" },
};
static const chat_part_t told[] = { { .kind = PART_TEXT, .text = { "ok", 2 } }, { .kind = PART_IMAGE, .text = { "QUJD", 4 }, .media = "image/png" } };
static const chat_part_t result1 = { .kind = PART_RESULT, .id = "c1", .parts = told, .nparts = 2 };
static const chat_part_t result2[] = {
    { .kind = PART_RESULT, .id = "c2", .parts = told, .nparts = 1, .failed = true },
    { .kind = PART_TEXT, .text = { "and now?", 8 } },
};
static const chat_message_t history[] = {
    { CHAT_SYSTEM, &system_part, 1 }, { CHAT_USER, shown, SI_COUNT(shown) }, { CHAT_ASSISTANT, thought, SI_COUNT(thought) },
    { CHAT_USER, &result1, 1 }, { CHAT_USER, result2, 2 }, { CHAT_SYSTEM, &told[0], 1 }, { CHAT_USER, &told[0], 1 },
};

static void test_contents(void)
{
    llm_request_t q = request;

    puts_body(&q, "{'systemInstruction':{'parts':[{'text':'Be \\\"brief\\\".'}]},'generationConfig':{'maxOutputTokens':77},"
              "'contents':[{'role':'user','parts':[{'text':'Gr\xC3\xBC\xC3\x9F Gott\\n'}]}]}", "a question");
    q.messages = history;
    q.nmessages = SI_COUNT(history);
    puts_body(&q, "{'systemInstruction':{'parts':[{'text':'Be \\\"brief\\\".'},{'text':'ok'}]},'generationConfig':{'maxOutputTokens':77},'contents':["
              "{'role':'user','parts':[{'text':'look'},{'inlineData':{'mimeType':'image/png','data':'QUJD'}},{'inlineData':{'mimeType':'application/pdf','data':'REVG'}},"
              "{'fileData':{'fileUri':'https://x/y.pdf','mimeType':'application/pdf'}},{'fileData':{'fileUri':'gs://x/y'}}]},"
              "{'role':'model','parts':[{'text':'hm','thought':true,'thoughtSignature':'S1'},{'text':'I look'},{'text':'','thoughtSignature':'S2'},"
              "{'functionCall':{'id':'c1','name':'f','args':{'x':1}},'thoughtSignature':'S3'},{'functionCall':{'id':'c2','name':'g','args':{}}}]},"
              "{'role':'user','parts':[{'functionResponse':{'id':'c1','name':'f','response':{'output':'ok'},'parts':[{'inlineData':{'mimeType':'image/png','data':'QUJD'}}]}},"
              "{'functionResponse':{'id':'c2','name':'g','response':{'error':'ok'}}}]},"
              "{'role':'user','parts':[{'text':'and now?'},{'text':'ok'}]}]}", "all that a chat can hold");
}

static void test_options(void)
{
    static const chat_tool_t tools[] = {
        { .name = "f", .description = "does f", .schema = { "{\"type\":\"object\"}", 17 }, .strict = true }, { .name = "g", .description = "" },
    };
    static const char *stop[] = { "x", "y" };
    llm_request_t   q = request;
    chat_options_t *o = &q.options;

    q.nmessages = 0;
    *o = (chat_options_t) { .temperature = 0.3, .top_p = 0.9, .frequency_penalty = 0.5, .presence_penalty = -1, .max_tokens = 9, .top_k = 4,
                            .reasoning_tokens = -1, .seed = -3, .has_seed = true, .stop = stop, .nstop = 2, .effort = "low", .tools = tools, .ntools = 2,
                            .parallel = 1, .shape = SHAPE_SCHEMA, .shape_schema = STR("{\"type\":\"object\"}"), .dialect = "gemini" };
    o->extra = json_own(arena, json_loads("{\"safetySettings\":[],\"generationConfig\":{\"mediaResolution\":\"L\"}}", 0, NULL));
    puts_body(&q, "{'contents':[],'safetySettings':[],'generationConfig':{'temperature':0.3,'topP':0.9,'topK':4,'frequencyPenalty':0.5,'presencePenalty':-1.0,"
              "'maxOutputTokens':9,'seed':-3,'stopSequences':['x','y'],'responseMimeType':'application/json','responseJsonSchema':{'type':'object'},"
              "'mediaResolution':'L','thinkingConfig':{'thinkingLevel':'LOW','includeThoughts':true}},"
              "'tools':[{'functionDeclarations':[{'name':'f','description':'does f','parametersJsonSchema':{'type':'object'}},{'name':'g','description':''}]}],"
              "'toolConfig':{'functionCallingConfig':{'mode':'VALIDATED'}}}", "all options");
    *o = CHAT_OPTIONS_NONE;
    model.max_tokens = 0;
    puts_body(&q, "{'contents':[]}", "no options");
    model.safety = (conf_texts_t) { (const char *const []) { "HARM_CATEGORY_HARASSMENT=BLOCK_ONLY_HIGH", "HARM_CATEGORY_HATE_SPEECH=OFF" }, 2 };
    puts_body(&q, "{'contents':[],'safetySettings':[{'category':'HARM_CATEGORY_HARASSMENT','threshold':'BLOCK_ONLY_HIGH'},"
              "{'category':'HARM_CATEGORY_HATE_SPEECH','threshold':'OFF'}]}", "safety settings of the model");
    model.safety.n = 0;
    o->effort = "none";
    puts_body(&q, "{'contents':[],'generationConfig':{'thinkingConfig':{'thinkingBudget':0}}}", "no thoughts");
    o->effort = "medium";
    model.upstream = "gemini-2.5-flash";
    puts_body(&q, "{'contents':[],'generationConfig':{'thinkingConfig':{'thinkingBudget':8192,'includeThoughts':true}}}", "an effort of Gemini 2.5");
    model.upstream = "up/m";
    o->effort = NULL;
    o->reasoning_tokens = 100;
    puts_body(&q, "{'contents':[],'generationConfig':{'thinkingConfig':{'thinkingBudget':100,'includeThoughts':true}}}", "a budget of thoughts");
    *o = CHAT_OPTIONS_NONE;
    o->shape = SHAPE_JSON;
    o->tools = tools + 1;
    o->ntools = 1;
    o->choice = CHOICE_ONE;
    o->choice_name = "g";
    puts_body(&q, "{'contents':[],'generationConfig':{'responseMimeType':'application/json'},'tools':[{'functionDeclarations':[{'name':'g','description':''}]}],"
              "'toolConfig':{'functionCallingConfig':{'mode':'ANY','allowedFunctionNames':['g']}}}", "one tool that must be called");
    model.max_tokens = 77;
}

static void test_refused(void)
{
    static const chat_part_t    by_url = { .kind = PART_IMAGE, .text = { "https://x/y.png", 15 } };
    static const chat_part_t    lost = { .kind = PART_RESULT, .id = "c9", .parts = told, .nparts = 1 };
    static const chat_part_t    far = { .kind = PART_RESULT, .id = "c", .name = "f", .parts = &by_url, .nparts = 1 };
    static const chat_part_t    fine = { .kind = PART_IMAGE, .text = { "QUJD", 4 }, .media = "image/png", .detail = "high" };
    static const chat_part_t    bad = { .kind = PART_CALL, .id = "c", .name = "f", .text = { "[1]", 3 } };
    static const chat_message_t odd[] = { { CHAT_USER, &lost, 1 }, { CHAT_USER, &far, 1 }, { CHAT_USER, &fine, 1 }, { CHAT_ASSISTANT, &bad, 1 } };
    static const char *const    why[] = { "without its call", "by its URL", "detail", "arguments" };
    static const chat_tool_t    tool = { .name = "f", .description = "", .schema = { "[]", 2 } };
    llm_request_t   q = request;
    chat_options_t *o = &q.options;

    o->parallel = 0;
    puts_no(&q, "parallel_tool_calls");
    *o = CHAT_OPTIONS_NONE;
    o->effort = "xhigh";
    puts_no(&q, "effort");
    *o = CHAT_OPTIONS_NONE;
    o->tools = &tool;
    o->ntools = 1;
    puts_no(&q, "schema");
    *o = CHAT_OPTIONS_NONE;
    o->shape = SHAPE_SCHEMA;
    o->shape_schema = STR("{");
    puts_no(&q, "schema");
    *o = CHAT_OPTIONS_NONE;
    o->dialect = "openai";
    o->extra = json_own(arena, json_pack("{s:i}", "logit_bias", 1));
    puts_no(&q, "logit_bias");
    *o = CHAT_OPTIONS_NONE;
    q.nmessages = 1;
    for (size_t i = 0; i < SI_COUNT(odd); i++) {
        q.messages = &odd[i];
        puts_no(&q, why[i]);
    }
}

static void co_main(void *arg)
{
    (void) arg;
    co_test_wire();
    co_test_parts();
    co_test_ends();
    co_test_faults();
    co_test_arrays();
    co_test_retry();
    co_test_cut_usage();
    co_test_deadlines();
    co_test_call_deadline();
    co_test_streaming();
    co_test_array_streaming();
    co_test_cancel(5);
    co_test_recordings();
    loop_stop();
}

static void plain(void)
{
    ok(provider_find("gemini") == &provider_gemini, "the provider by its kind");
    test_address();
    test_contents();
    test_options();
    test_refused();
    corpus_files("google", "google-429-retry-info.json", recorded_error, NULL);
    test_splits();
}

int main(void)
{
    read_corpus();
    return run_tests(plain, co_main);
}
