/* OpenAI's Responses API: recorded streams and answers of three providers, requests, quirks, faults, deadlines. */
#include "responses_corpus.h"
#include "llm/responses_read.h"

static const provider_t *const tested = &provider_responses;

/* ---- answers ---- */

static void test_wholes(void)
{
    for (size_t i = 0; i < nwholes; i++) {
        reply_t      r;
        got_t        g;
        chat_event_t ev;

        got_init(&g);
        reply_init(&r, arena, "", ANSWER_MAX);
        ok(responses_read_whole(&r, str_of(wholes[i].body)) == 0, "%s is read", wholes[i].name);
        while (reply_next(&r, &ev)) {
            got_event(&g, &ev);
        }
        ok(got_same(&g, &wholes[i].want) && same_end(&r.result, &wholes[i].want.result) && r.result.finish[0] != '\0', "%s as it stands there", wholes[i].name);
        reply_free(&r);
        got_free(&g);
    }
}

/* What a stream says, each change of kind as "kind.index text". */
static void co_says(const char *path, const char *all)
{
    got_t g;
    int   rc;

    got_init(&g);
    rc = co_run(path, &g);
    if (!ok(rc == 0 && same(&g.all, all), "%s: in this order", path)) {
        diag("  %d %s: %.*s", rc, err.detail, (int) g.all.n, g.all.p);
    }
    got_free(&g);
}

static void co_test_items(void)
{
    got_t g;

    co_says("items", "\1" "1.0 one\n\ntwo" "\1" "2.0 SEAL" "\1" "3.0 BLIND" "\1" "0.0 \xC3\xA4" "b" "\1" "4.0 no"
            "\1" "5.0 c1 f" "\1" "6.0 {\"x\":1}" "\1" "5.1 c2 g" "\1" "6.1 {}");
    got_init(&g);
    (void) co_run("items", &g);
    is_int((long long) g.result.unsaid, 1, "a search of the provider's is unsaid");
    got_free(&g);
    co_says("refusal", "\1" "4.0 I will not");
    got_init(&g);
    is_int(co_run("whole", &g), 0, "an answer");
    ok(g.result.cached_tokens == 3 && g.result.cache_write_tokens == 1 && g.result.reasoning_tokens == 2, "kinds of tokens");
    is_str(g.result.id, "resp_1", "its id");
    got_free(&g);
}

/* Two recordings that are no plain streams: see their README. */
static void odd_recording(FILE *f, const char *name, const void *arg)
{
    char   *line = NULL;
    size_t  cap = 0;
    reply_t r;
    int     rc = 0;

    (void) arg;
    reply_init(&r, arena, "", ANSWER_MAX);
    while (rc == 0 && getline(&line, &cap, f) > 0) {
        rc = responses_read_event(&r, STR_NULL, str_of(line));
    }
    if (strstr(name, "openai-error") != NULL) {
        ok(rc == SI_EAGAIN && r.err.status == 429 && strstr(r.err.detail, "current quota") != NULL, "%s: its error", name);
    } else {
        ok(rc == SI_EPROTO && strcmp(r.err.code, "provider_protocol") == 0, "%s: its first line is no JSON", name);
    }
    free(line);
    reply_free(&r);
}

static void co_test_ends(void)
{
    co_whole("whole", "Hello", "stop", 5, 7, false);
    co_whole("marked", "Hello", "stop", 5, 7, false);
    co_whole("no-blank", "Hello", "length", 6, 2, true);
    co_whole("filter", "Hello", "content_filter", 6, 2, true);
    co_whole("cut-late", "Hello", "stop", 6, 2, true);
    co_whole("json", "whole", "stop", 5, 7, false);
    co_whole("json-length", "who", "length", 5, 7, false);
    provider.idle_ms = 50;
    co_whole("tail", "Hello", "stop", 6, 2, true);
    provider.idle_ms = PATIENCE;
}

static void co_test_faults(void)
{
    co_fails("400", "", SI_EINVAL, "provider_rejected", 400, false, "HTTP 400");
    co_fails("401", "", SI_EDENIED, "provider_auth", 401, false, "HTTP 401");
    co_fails("429", "", SI_EAGAIN, "provider_rate_limited", 429, true, "HTTP 429: quota of [key]");
    co_fails("500", "", SI_EUNAVAIL, "provider_unavailable", 500, true, "HTTP 500");
    co_fails("html", "", SI_EPROTO, "provider_protocol", 200, false, "neither");
    co_fails("json-failed", "", SI_EUNAVAIL, "provider_unavailable", 0, true, "no");
    co_fails("json-error", "", SI_EUNAVAIL, "provider_unavailable", 503, true, "no");
    co_fails("json-none", "", SI_EPROTO, "provider_protocol", 0, true, "no output");
    co_fails("json-open", "", SI_EPROTO, "provider_protocol", 0, true, "complete");
    co_fails("json-bad", "", SI_EPROTO, "provider_protocol", 0, true, "malformed");

    co_fails("no-finish", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("neither", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("nothing", "", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("half", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("cut", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "was cut");
    co_fails("malformed", "Hello", SI_EPROTO, "provider_protocol", 0, true, "malformed");
    co_fails("no-object", "Hello", SI_EPROTO, "provider_protocol", 0, true, "no JSON object");
    co_fails("index", "Hello", SI_EPROTO, "provider_protocol", 0, true, "output_index");
    co_fails("big", "", SI_EPROTO, "provider_protocol", 0, true, "longer than");
    co_fails("why", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "incomplete");
    co_fails("cancelled", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "cancelled");
    co_fails("failed", "Hello", SI_EUNAVAIL, "provider_unavailable", 0, true, "broken, key [key]");
    co_fails("failed-429", "", SI_EAGAIN, "provider_rate_limited", 429, true, "slow down");
    co_fails("failed-400", "", SI_EINVAL, "provider_rejected", 400, false, "not this");
    co_fails("error", "Hello", SI_EUNAVAIL, "provider_unavailable", 0, true, "overloaded");
    co_fails("error-quota", "", SI_EAGAIN, "provider_rate_limited", 429, true, "no money");
    co_fails("error-bare", "Hello", SI_EUNAVAIL, "provider_unavailable", 500, true, "broken");

    request.answer_max = 4;
    co_fails("json", "", SI_ENOMEM, "answer_too_large", 0, false, "longer than 4 bytes");
    request.answer_max = ANSWER_MAX;
}

/* ---- requests ---- */

static void co_test_wire(void)
{
    const char *body, *raw = co_echo(&body);

    ok(strncmp(raw, "POST /echo/responses HTTP/1.1\r\n", 31) == 0, "nothing is added to base_url but the path");
    ok(strstr(raw, "\r\nAuthorization: Bearer key-of-test\r\n") != NULL, "the key");
    provider.api_key = "";
    raw = co_echo(&body);
    ok(body[0] == '{' && strstr(raw, "Authorization") == NULL, "without a key none is sent");
    provider.api_key = "key-of-test";
}

static void test_plain_request(void)
{
    puts_body(&request, "{'model':'up/m','stream':true,'store':false,'instructions':'Be \\\"brief\\\".','max_output_tokens':77,'input':["
              "{'type':'message','role':'user','content':[{'type':'input_text','text':'Gr\xC3\xBC\xC3\x9F Gott\\n'}]}]}", "a question");
}

static const chat_part_t shown[] = {
    { .kind = PART_TEXT, .text = { "look", 4 } },
    { .kind = PART_IMAGE, .text = { "QUJD", 4 }, .media = "image/png", .detail = "low" },
    { .kind = PART_IMAGE, .text = { "https://x/y.png", 15 } },
    { .kind = PART_FILE, .text = { "REVG", 4 }, .media = "application/pdf", .name = "a.pdf" },
    { .kind = PART_FILE, .text = { "REVG", 4 }, .media = "application/pdf" },
    { .kind = PART_FILE, .text = { "https://x/y.pdf", 15 } },
};
static const chat_part_t thought[] = {
    { .kind = PART_REASONING, .text = { "hm", 2 }, .signature = { "SEAL", 4 } },
    { .kind = PART_REDACTED, .text = { "BLIND", 5 } },
    { .kind = PART_REASONING, .text = { "plain", 5 } },
    { .kind = PART_TEXT, .text = { "I look", 6 } },
    { .kind = PART_TEXT, .text = { "it up", 5 } },
    { .kind = PART_CALL, .id = "c1", .name = "f", .text = { "{\"x\":1}", 7 } },
    { .kind = PART_CALL, .id = "c2", .name = "g" },
};
static const chat_part_t told[] = { { .kind = PART_TEXT, .text = { "ok", 2 } }, { .kind = PART_IMAGE, .text = { "QUJD", 4 }, .media = "image/png" } };
static const chat_part_t results[] = {
    { .kind = PART_RESULT, .id = "c1", .parts = told, .nparts = 1 },
    { .kind = PART_RESULT, .id = "c2", .parts = told, .nparts = 2 },
    { .kind = PART_RESULT, .id = "c3", .parts = told, .nparts = 1, .failed = true },
    { .kind = PART_RESULT, .id = "c4" },
    { .kind = PART_TEXT, .text = { "and now?", 8 } },
};
static const chat_message_t history[] = {
    { CHAT_SYSTEM, &system_part, 1 }, { CHAT_SYSTEM, &told[0], 1 }, { CHAT_USER, shown, SI_COUNT(shown) }, { CHAT_ASSISTANT, thought, SI_COUNT(thought) },
    { CHAT_USER, results, SI_COUNT(results) }, { CHAT_SYSTEM, &told[0], 1 },
};

static void test_items(void)
{
    llm_request_t q = request;

    q.messages = history;
    q.nmessages = SI_COUNT(history);
    puts_body(&q, "{'model':'up/m','stream':true,'store':false,'instructions':'Be \\\"brief\\\".\\n\\nok','max_output_tokens':77,'input':["
              "{'type':'message','role':'user','content':[{'type':'input_text','text':'look'},"
              "{'type':'input_image','image_url':'data:image/png;base64,QUJD','detail':'low'},{'type':'input_image','image_url':'https://x/y.png','detail':'auto'},"
              "{'type':'input_file','filename':'a.pdf','file_data':'data:application/pdf;base64,REVG'},"
              "{'type':'input_file','filename':'document.pdf','file_data':'data:application/pdf;base64,REVG'},{'type':'input_file','file_url':'https://x/y.pdf'}]},"
              "{'type':'reasoning','summary':[{'type':'summary_text','text':'hm'}],'encrypted_content':'SEAL'},"
              "{'type':'reasoning','summary':[],'encrypted_content':'BLIND'},"
              "{'type':'reasoning','summary':[{'type':'summary_text','text':'plain'}]},"
              "{'type':'message','role':'assistant','content':[{'type':'output_text','text':'I look'},{'type':'output_text','text':'it up'}]},"
              "{'type':'function_call','call_id':'c1','name':'f','arguments':'{\\\"x\\\":1}'},{'type':'function_call','call_id':'c2','name':'g','arguments':'{}'},"
              "{'type':'function_call_output','call_id':'c1','output':'ok'},"
              "{'type':'function_call_output','call_id':'c2','output':[{'type':'input_text','text':'ok'},{'type':'input_image','image_url':'data:image/png;base64,QUJD','detail':'auto'}]},"
              "{'type':'function_call_output','call_id':'c3','output':[{'type':'input_text','text':'The tool has failed.'},{'type':'input_text','text':'ok'}]},"
              "{'type':'function_call_output','call_id':'c4','output':''},"
              "{'type':'message','role':'user','content':[{'type':'input_text','text':'and now?'}]},"
              "{'type':'message','role':'system','content':[{'type':'input_text','text':'ok'}]}]}", "all that a chat can hold");
}

static void test_options(void)
{
    static const chat_tool_t tools[] = {
        { .name = "f", .description = "does f", .schema = { "{\"type\":\"object\"}", 17 }, .strict = true }, { .name = "g", .description = "" },
    };
    llm_request_t   q = request;
    chat_options_t *o = &q.options;

    q.nmessages = 0;
    o->temperature = 0.3;
    o->top_p = 1;
    o->frequency_penalty = 0;
    o->max_tokens = 9;
    o->effort = "high";
    o->tools = tools;
    o->ntools = 2;
    o->choice = CHOICE_ONE;
    o->choice_name = "f";
    o->parallel = 0;
    o->shape = SHAPE_SCHEMA;
    o->shape_name = "s";
    o->shape_schema = STR("{\"type\":\"object\"}");
    o->shape_strict = true;
    o->end_user = "u";
    o->dialect = "responses";
    o->extra = json_own(arena, json_loads("{\"reasoning\":{\"summary\":\"detailed\"},\"text\":{\"verbosity\":\"low\"},\"truncation\":\"auto\"}", 0, NULL));
    puts_body(&q, "{'model':'up/m','stream':true,'store':false,'input':[],'temperature':0.3,'top_p':1.0,'max_output_tokens':9,'safety_identifier':'u',"
              "'tools':[{'type':'function','name':'f','description':'does f','parameters':{'type':'object'},'strict':true},"
              "{'type':'function','name':'g','parameters':{'type':'object','properties':{}},'strict':false}],"
              "'tool_choice':{'type':'function','name':'f'},'parallel_tool_calls':false,'reasoning':{'effort':'high','summary':'detailed'},"
              "'include':['reasoning.encrypted_content'],'truncation':'auto',"
              "'text':{'verbosity':'low','format':{'type':'json_schema','name':'s','schema':{'type':'object'},'strict':true}}}", "all options");
    ok(strstr(json_text(arena, put_body(&q)), "\"temperature\":0.3,") != NULL, "numbers are written as they were given");

    *o = CHAT_OPTIONS_NONE;
    o->tools = tools + 1;
    o->ntools = 1;
    o->choice = CHOICE_ANY;
    o->shape = SHAPE_JSON;
    o->reasoning_tokens = 0;
    puts_body(&q, "{'model':'up/m','stream':true,'store':false,'input':[],'max_output_tokens':77,'tool_choice':'required',"
              "'tools':[{'type':'function','name':'g','parameters':{'type':'object','properties':{}},'strict':false}],"
              "'reasoning':{'effort':'none'},'text':{'format':{'type':'json_object'}}}", "other options");
}

static void test_refused(void)
{
    static const chat_message_t odd = { CHAT_ASSISTANT, &told[1], 1 };
    static const chat_tool_t    bad = { .name = "f", .description = "", .schema = { "[]", 2 } };
    static const char          *stop[] = { "x" };
    llm_request_t   q = request;
    chat_options_t *o = &q.options;

#define REFUSED(set, what) do { *o = CHAT_OPTIONS_NONE; set; puts_no(&q, what); } while (0)
    REFUSED(o->top_k = 1, "top_k");
    REFUSED((o->seed = 1, o->has_seed = true), "seed");
    REFUSED((o->stop = stop, o->nstop = 1), "stop");
    REFUSED(o->frequency_penalty = 0.5, "frequency_penalty");
    REFUSED(o->presence_penalty = -1, "presence_penalty");
    REFUSED(o->reasoning_tokens = 100, "budget of reasoning");
    REFUSED((o->tools = &bad, o->ntools = 1), "schema");
    REFUSED((o->shape = SHAPE_SCHEMA, o->shape_schema = STR("nonsense")), "schema");
    REFUSED((o->dialect = "openai", o->extra = json_own(arena, json_pack("{s:i}", "logit_bias", 1))), "logit_bias");
    *o = CHAT_OPTIONS_NONE;
    q.messages = &odd;
    q.nmessages = 1;
    puts_no(&q, "assistant");
}

static void co_main(void *arg)
{
    (void) arg;
    co_test_wire();
    co_test_items();
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
    ok(provider_find("openai-responses") == &provider_responses, "the provider by its kind");
    test_plain_request();
    test_items();
    test_options();
    test_refused();
    test_wholes();
    corpus_files("openai", "responses__parallel-tool-call-wrapper.1.chunks.txt", odd_recording, NULL);
    corpus_files("openai", "responses__openai-error.1.chunks.txt", odd_recording, NULL);
    test_splits();
}

int main(void)
{
    int rc;

    read_corpus();
    rc = run_tests(plain, co_main);
    free_wholes();
    return rc;
}
