/* The Messages API of Anthropic: recorded answers cut everywhere, requests compared, ends, quirks, faults, deadlines. */
#include "anthropic_corpus.h"

static const provider_t *const tested = &provider_anthropic;

/* ---- recordings ---- */

/* A whole answer of the corpus, as JSON. */
static void whole_file(FILE *f, const char *name, const void *arg)
{
    arena_t     *a = arena_new(4096);
    json_t      *v = json_loadf(f, 0, NULL);
    reply_t      r;
    got_t        g, want;
    chat_event_t ev;
    int          rc;

    (void) arg;
    if (json_object_get(v, "content") != NULL) {
        got_init(&g);
        got_init(&want);
        reply_init(&r, a, "", ANSWER_MAX);
        walk_message(&want, v);
        rc = tested->format->whole(&r, str_of(json_text(a, v)));
        while (reply_next(&r, &ev)) {
            got_event(&g, &ev);
        }
        ok(rc == 0 && r.done && r.finished && got_same(&g, &want) && same_end(&r.result, &want.result), "%s, whole", name);
        reply_free(&r);
        got_free(&g);
        got_free(&want);
    }
    json_decref(v);
    arena_free(a);
}

static void test_spliced(void)
{
    reply_t r;
    sse_t   sse;
    got_t   g;

    if (spliced == NULL) {
        return;
    }
    got_init(&g);
    sse_init(&sse, ANSWER_MAX);
    reply_init(&r, arena, "", ANSWER_MAX);
    is_int(feed_part(&r, &sse, spliced, strlen(spliced), &g), SI_EUNAVAIL, "an answer with another one behind its cut");
    is_str(r.err.code, "answer_cut", "is cut");
    ok(r.err.retryable && same(&g.reasoning, "I will call the tool."), "and nothing of the other one is taken for its own");
    reply_free(&r);
    sse_free(&sse);
    got_free(&g);
    free((void *) (uintptr_t) spliced);
}

/* ---- requests ---- */

#define T(z)  { .kind = PART_TEXT, .text = { (z), sizeof(z) - 1 } }

static const llm_request_t *with(llm_request_t *q, const chat_message_t *m, size_t n)
{
    *q = request;
    q->messages = m;
    q->nmessages = n;
    return q;
}

static const llm_request_t *with_user(llm_request_t *q, const chat_part_t *part)
{
    static chat_message_t m;

    m = (chat_message_t) { CHAT_USER, part, 1 };
    return with(q, &m, 1);
}

static void co_test_request(void)
{
    const char *body, *raw = co_echo(&body);
    json_t     *v = json_own(arena, json_loads(body, 0, NULL));

    ok(strncmp(raw, "POST /echo/messages HTTP/1.1\r\n", 30) == 0, "nothing is added to base_url but the path");
    ok(strstr(raw, "\r\nx-api-key: key-of-test\r\n") != NULL && strstr(raw, "Authorization") == NULL, "the key");
    ok(strstr(raw, "\r\nanthropic-version: 2023-06-01\r\n") != NULL && strstr(raw, "anthropic-beta") == NULL, "the version");
    ok(json_equal(v, put_body(&request)), "the body that is sent");
    puts_body(&request, "{'model':'up/m','max_tokens':77,'stream':true,'system':[{'type':'text','text':'Be \\\"brief\\\".'}],"
              "'messages':[{'role':'user','content':[{'type':'text','text':'Gr\xC3\xBC\xC3\x9F Gott\\n'}]}]}", "the body");

    provider.api_key = "";
    provider.beta = "a-2025-01-01,b-2025-02-02";
    model.max_tokens = 0;
    raw = co_echo(&body);
    ok(strstr(raw, "x-api-key") == NULL, "without a key none is sent");
    ok(strstr(raw, "\r\nanthropic-beta: a-2025-01-01,b-2025-02-02\r\n") != NULL, "betas of the configuration");
    ok(strstr(body, "\"max_tokens\":4096,") != NULL, "max_tokens that nobody gave");
    provider.api_key = "key-of-test";
    provider.beta = "";
    model.max_tokens = 77;
}

static void test_messages(void)
{
    static const chat_part_t sys[] = { T("one"), { .kind = PART_TEXT, .text = { "two", 3 }, .cache = true, .cache_ttl = "1h" } };
    static const chat_part_t none[] = { T("") }, user[] = { T("a"), T(""), T(" \n") }, blank[] = { T("\n\n") }, more[] = { T("b") }, later[] = { T("now speak German") };
    static const chat_part_t said[] = {
        { .kind = PART_REASONING, .text = { "hm", 2 }, .signature = { "sig", 3 } }, { .kind = PART_REDACTED, .text = { "xx", 2 } }, T("so"),
        { .kind = PART_CALL, .id = "c1", .name = "f", .text = { "{ \"x\": 1.50 }", 13 } }, { .kind = PART_CALL, .id = "c2", .name = "g", .cache = true },
    };
    static const chat_part_t inner[] = { T("ok"), { .kind = PART_IMAGE, .text = { "aGk=", 4 }, .media = "image/png" } };
    static const chat_part_t one[] = { { .kind = PART_RESULT, .id = "c1", .parts = inner, .nparts = 2 } };
    static const chat_part_t two[] = { { .kind = PART_RESULT, .id = "c2", .name = "g", .failed = true, .cache = true, .cache_ttl = "5m" } };
    static const chat_message_t chat[] = {
        { CHAT_SYSTEM, sys, 2 }, { CHAT_SYSTEM, none, 1 }, { CHAT_SYSTEM, later, 1 }, { CHAT_USER, user, 3 }, { CHAT_ASSISTANT, none, 1 }, { CHAT_ASSISTANT, blank, 1 },
        { CHAT_USER, more, 1 }, { CHAT_ASSISTANT, said, 5 }, { CHAT_USER, one, 1 }, { CHAT_USER, two, 1 }, { CHAT_SYSTEM, later, 1 }, { CHAT_USER, more, 1 },
    };
    llm_request_t q;

    puts_body(with(&q, chat, SI_COUNT(chat)), "{'model':'up/m','max_tokens':77,'stream':true,"
              "'system':[{'type':'text','text':'one'},{'type':'text','text':'two','cache_control':{'type':'ephemeral','ttl':'1h'}},"
              "{'type':'text','text':'now speak German'}],"
              "'messages':[{'role':'user','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]},"
              "{'role':'assistant','content':[{'type':'thinking','thinking':'hm','signature':'sig'},{'type':'redacted_thinking','data':'xx'},"
              "{'type':'text','text':'so'},{'type':'tool_use','id':'c1','name':'f','input':{'x':1.5}},"
              "{'type':'tool_use','id':'c2','name':'g','input':{},'cache_control':{'type':'ephemeral'}}]},"
              "{'role':'user','content':[{'type':'tool_result','tool_use_id':'c1','content':[{'type':'text','text':'ok'},"
              "{'type':'image','source':{'type':'base64','media_type':'image/png','data':'aGk='}}]},"
              "{'type':'tool_result','tool_use_id':'c2','content':[],'is_error':true,'cache_control':{'type':'ephemeral','ttl':'5m'}}]},"
              "{'role':'system','content':[{'type':'text','text':'now speak German'}]},"
              "{'role':'user','content':[{'type':'text','text':'b'}]}]}", "every part, roles together, nothing that is empty");
    puts_body(with(&q, chat, 0), "{'model':'up/m','max_tokens':77,'stream':true,'messages':[]}", "no message at all");
}

#define BODY(source)  "{'model':'up/m','max_tokens':77,'stream':true,'messages':[{'role':'user','content':[" source "]}]}"

static void test_files(void)
{
    llm_request_t q;
    chat_part_t   image = { .kind = PART_IMAGE, .text = { "https://x/i.png", 15 }, .detail = "auto" };
    chat_part_t   file = { .kind = PART_FILE, .text = { "https://x/d.pdf", 15 } };

    puts_body(with_user(&q, &image), BODY("{'type':'image','source':{'type':'url','url':'https://x/i.png'}}"), "an image by its address");
    puts_body(with_user(&q, &file), BODY("{'type':'document','source':{'type':'url','url':'https://x/d.pdf'}}"), "a document by its address");
    file = (chat_part_t) { .kind = PART_FILE, .text = { "aGk=", 4 }, .media = "application/pdf", .name = "d.pdf", .cache = true };
    puts_body(with_user(&q, &file), BODY("{'type':'document','source':{'type':'base64','media_type':'application/pdf','data':'aGk='},"
              "'title':'d.pdf','cache_control':{'type':'ephemeral'}}"), "a document");
    file.media = "text/plain";
    puts_body(with_user(&q, &file), BODY("{'type':'document','source':{'type':'text','media_type':'text/plain','data':'hi'},"
              "'title':'d.pdf','cache_control':{'type':'ephemeral'}}"), "a text, which is not sent in base64");
    file.text = STR("/w==");
    puts_no(with_user(&q, &file), "not UTF-8");
    file.media = "text/csv";
    puts_no(with_user(&q, &file), "neither PDF nor plain text");
    image.detail = "low";
    puts_no(with_user(&q, &image), "detail of an image");
}

#define HI  "'model':'up/m','stream':true,'messages':[{'role':'user','content':[{'type':'text','text':'hi'}]}]"

static void test_options(void)
{
    static const chat_part_t hi = T("hi");
    static const char *stops[] = { "###", "END" };
    static const chat_tool_t tools[] = {
        { .name = "f", .description = "does \"f\"", .schema = { "{\"type\":\"object\"}", 17 }, .strict = true, .cache = true, .cache_ttl = "1h" },
        { .name = "g", .description = "" },
    };
    llm_request_t   q;
    chat_options_t *o = &q.options;
    const char     *names = "'tools':[{'name':'f','description':'does \\\"f\\\"','input_schema':{'type':'object'},'strict':true,"
                            "'cache_control':{'type':'ephemeral','ttl':'1h'}},{'name':'g','input_schema':{'type':'object','properties':{}}}]";

    with_user(&q, &hi);
    o->max_tokens = 9; o->temperature = 0.7; o->top_p = 1; o->top_k = 40; o->stop = stops; o->nstop = 2; o->end_user = "u1";
    o->frequency_penalty = o->presence_penalty = 0;
    puts_body(&q, "{" HI ",'max_tokens':9,'temperature':0.7,'top_p':1,'top_k':40,'stop_sequences':['###','END'],'metadata':{'user_id':'u1'}}",
              "sampling, and penalties that are none");
    *o = CHAT_OPTIONS_NONE;
    o->parallel = 0;
    puts_body(&q, "{" HI ",'max_tokens':77}", "no word of calls without tools");
    o->tools = tools; o->ntools = 2;
    puts_body(&q, arena_printf(arena, "{" HI ",'max_tokens':77,%s,'tool_choice':{'type':'auto','disable_parallel_tool_use':true}}", names), "tools, one call at a time");
    o->parallel = 1;
    puts_body(&q, arena_printf(arena, "{" HI ",'max_tokens':77,%s}", names), "several, which is the default");
    o->choice = CHOICE_ANY; o->parallel = -1;
    puts_body(&q, arena_printf(arena, "{" HI ",'max_tokens':77,%s,'tool_choice':{'type':'any'}}", names), "any tool");
    o->choice = CHOICE_ONE; o->choice_name = "g"; o->parallel = 0;
    puts_body(&q, arena_printf(arena, "{" HI ",'max_tokens':77,%s,'tool_choice':{'type':'tool','name':'g','disable_parallel_tool_use':true}}", names), "one tool");
    o->choice = CHOICE_NONE;
    puts_body(&q, arena_printf(arena, "{" HI ",'max_tokens':77,%s,'tool_choice':{'type':'none'}}", names), "no tool");

    *o = CHAT_OPTIONS_NONE;
    o->reasoning_tokens = 2048; o->effort = "high"; o->shape = SHAPE_SCHEMA; o->shape_name = "s"; o->shape_schema = STR("{\"type\":\"object\"}");
    model.max_tokens = 0;
    puts_body(&q, "{" HI ",'max_tokens':6144,'thinking':{'type':'enabled','budget_tokens':2048},'output_config':{'effort':'high',"
              "'format':{'type':'json_schema','schema':{'type':'object'}}}}", "thinking, effort and shape; room to answer beside the thoughts");
    model.max_tokens = 77;
    *o = CHAT_OPTIONS_NONE;
    o->effort = "none";
    puts_body(&q, "{" HI ",'max_tokens':77,'thinking':{'type':'disabled'}}", "no thoughts");
    o->effort = NULL; o->dialect = "anthropic";
    o->extra = json_own(arena, json_pack("{s:{s:s},s:s}", "thinking", "type", "adaptive", "service_tier", "auto"));
    puts_body(&q, "{" HI ",'max_tokens':77,'thinking':{'type':'adaptive'},'service_tier':'auto'}", "what the client said in this dialect");
}

static void test_refused(void)
{
    static const chat_part_t hi = T("hi");
    llm_request_t   q;
    chat_options_t *o = &q.options;

    with_user(&q, &hi);
    o->seed = 7; o->has_seed = true;
    puts_no(&q, "seed");
    *o = CHAT_OPTIONS_NONE; o->frequency_penalty = 0.5;
    puts_no(&q, "frequency_penalty");
    *o = CHAT_OPTIONS_NONE; o->presence_penalty = -0.5;
    puts_no(&q, "presence_penalty");
    *o = CHAT_OPTIONS_NONE; o->effort = "minimal";
    puts_no(&q, "minimal effort");
    *o = CHAT_OPTIONS_NONE; o->shape = SHAPE_JSON;
    puts_no(&q, "JSON without a schema");
    *o = CHAT_OPTIONS_NONE; o->dialect = "openai"; o->extra = json_own(arena, json_pack("{s:i}", "logprobs", 1));
    puts_no(&q, "logprobs");

    chat_part_t said[] = { { .kind = PART_REASONING, .text = { "hm", 2 } } };
    const chat_message_t from_model = { CHAT_ASSISTANT, said, 1 };
    puts_no(with(&q, &from_model, 1), "reasoning without a signature");
    said[0].signature = STR("s"); said[0].cache = true;
    puts_no(with(&q, &from_model, 1), "a cache point behind reasoning");
    said[0] = (chat_part_t) { .kind = PART_CALL, .id = "c", .name = "f", .text = { "[1]", 3 } };
    puts_no(with(&q, &from_model, 1), "no JSON object");
    said[0].text = STR("{\"a\":");
    puts_no(with(&q, &from_model, 1), "no JSON object");
    said[0].text = STR("{}"); said[0].signature = STR("s");
    puts_no(with(&q, &from_model, 1), "the signature of a call");
    said[0] = (chat_part_t) { .kind = PART_IMAGE, .text = { "https://x", 9 } };
    puts_no(with(&q, &from_model, 1), "in a message of the assistant");
    said[0].kind = PART_CALL; said[0].id = said[0].name = "c";
    puts_no(with_user(&q, &said[0]), "in a message of the user");
}

/* ---- answers ---- */

static void co_reads(const char *path, const char *want, const char *name)
{
    got_t g;

    got_init(&g);
    is_int(co_run(path, &g), 0, path);
    for (size_t i = 0; i < g.all.n; i++) {
        g.all.p[i] = g.all.p[i] == '\1' ? '|' : g.all.p[i];
    }
    is_mem(g.all.p, g.all.n, want, name);
    got_free(&g);
}

static void co_test_answers(void)
{
    got_t g;

    co_reads("thinking", "|1.0 hm|2.0 sig1|2.0 sig2|3.0 r1|3.0 r2|0.0 Hello", "thoughts with their signatures, and those that nobody can read");
    co_reads("calls", "|5.0 a f|6.0 {\"x\":1}|5.1 b g|6.1 {\"y\":[2]}|5.2 c h|6.2 {}", "calls, whose arguments are always an object");
    got_init(&g);
    is_int(co_run("calls", &g), 0, "work of the provider's own tools");
    is_int((long long) g.result.unsaid, 3, "is counted: two blocks and a citation");
    is_str(g.result.finish, "tool_calls", "the finish");
    got_free(&g);
    got_init(&g);
    is_int(co_run("cached", &g), 0, "a prompt that was cached in parts");
    ok(g.result.input_tokens == 4 + 21 + 100 && g.result.cached_tokens == 21 && g.result.cache_write_tokens == 100, "input is all of it");
    ok(g.result.output_tokens == 9 && g.result.reasoning_tokens == 2 && !g.result.estimated, "the last count is the one");
    got_free(&g);
    got_init(&g);
    is_int(co_run("stop-sequence", &g), 0, "an answer that ends at a sequence");
    ok(strcmp(g.result.finish, "stop") == 0 && strcmp(g.result.stop_sequence, "###") == 0 && strcmp(g.result.id, "msg_1") == 0, "says which");
    got_free(&g);
}

/* Facts read in the files by eye. */
static void co_test_facts(void)
{
    static const struct { const char *name, *model, *finish; int64_t in, out; } facts[] = {
        { "anthropic/anthropic-message-delta-input", "claude-opus-4-5-20251101", "stop", 61, 2 },
        { "anthropic/anthropic-refusal.", "claude-fable-5", "refusal", 18, 5 },
        { "anthropic/duplicate-", "claude-3-haiku-20240307", "stop", 17, 227 },
        { "anthropic/anthropic-tool-no-args.", "claude-sonnet-4-5-20250929", "tool_calls", 565, 48 },
        { "anthropic/anthropic-code-execution-20260120-prompt-cache.", "claude-sonnet-5", "stop", 6 + 6289 + 3337, 198 },
        { "anthropic/anthropic-compaction.", "claude-opus-4-6", "stop", 60385 + 612, 522 + 2819 },
    };

    for (size_t i = 0; i < nrecordings; i++) {
        for (size_t f = 0; f < SI_COUNT(facts); f++) {
            got_t g;

            if (strncmp(recordings[i].name, facts[f].name, strlen(facts[f].name)) != 0) {
                continue;
            }
            got_init(&g);
            co_run(arena_printf(arena, "c/%zu/5000", i), &g);
            if (!ok(strcmp(g.result.model, facts[f].model) == 0 && strcmp(g.result.finish, facts[f].finish) == 0
                    && g.result.input_tokens == facts[f].in && g.result.output_tokens == facts[f].out, "%s: model, finish, tokens", facts[f].name)) {
                diag("  got %s %s %lld %lld", g.result.model, g.result.finish, (long long) g.result.input_tokens, (long long) g.result.output_tokens);
            }
            got_free(&g);
        }
    }
}

static void co_test_ends(void)
{
    co_whole("whole", "Hello", "stop", 5, 7, false);
    co_whole("no-stop", "Hello", "stop", 5, 7, false);
    co_whole("no-delta", "Hello", "stop", 5, 2, true);
    co_whole("no-blank", "Hello", "length", 5, 7, false);
    co_whole("cut-late", "Hello", "stop", 5, 7, false);
    co_whole("again", "Hello", "stop", 5, 7, false);
    co_whole("context", "Hello", "length", 5, 7, false);
    co_whole("pause", "Hello", "pause", 5, 7, false);
    co_whole("tool-use", "Hello", "tool_calls", 5, 7, false);
    co_whole("refusal", "Hello", "refusal", 5, 7, false);
    co_whole("new-reason", "Hello", "stop", 5, 7, false);
    co_whole("unframed", "\xC3\xA4" "b", "stop", 3, 4, false);
    co_whole("json", "whole", "stop", 3, 4, false);
    provider.idle_ms = 50;
    co_whole("tail", "Hello", "stop", 5, 7, false);
    provider.idle_ms = PATIENCE;
}

static void co_test_faults(void)
{
    co_fails("400", "", SI_EINVAL, "provider_rejected", 400, false, "HTTP 400: prompt is too long");
    co_fails("401", "", SI_EDENIED, "provider_auth", 401, false, "HTTP 401");
    co_fails("404", "", SI_EINVAL, "provider_rejected", 404, false, "HTTP 404: model: up/m");
    co_fails("413", "", SI_EINVAL, "provider_rejected", 413, false, "HTTP 413: too large");
    co_fails("429", "", SI_EAGAIN, "provider_rate_limited", 429, true, "HTTP 429: limit of [key]");
    co_fails("500", "", SI_EUNAVAIL, "provider_unavailable", 500, true, "HTTP 500");
    co_fails("529", "", SI_EUNAVAIL, "provider_unavailable", 529, true, "HTTP 529: Overloaded");
    co_fails("html", "", SI_EPROTO, "provider_protocol", 200, false, "neither");
    co_fails("json-error", "", SI_EUNAVAIL, "provider_unavailable", 529, true, "no");
    co_fails("json-none", "", SI_EPROTO, "provider_protocol", 0, true, "it is no message");
    co_fails("json-bad", "", SI_EPROTO, "provider_protocol", 0, true, "malformed");

    co_fails("neither", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("done-only", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("nothing", "", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("half", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("cut", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "was cut");
    co_fails("spliced", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "another answer");
    co_fails("malformed", "Hello", SI_EPROTO, "provider_protocol", 0, true, "malformed");
    co_fails("no-object", "Hello", SI_EPROTO, "provider_protocol", 0, true, "no JSON object");
    co_fails("big", "", SI_EPROTO, "provider_protocol", 0, true, "longer than");

    co_fails("overloaded", "Hello", SI_EUNAVAIL, "provider_unavailable", 529, true, "Overloaded, key [key]");
    co_fails("error-first", "", SI_EUNAVAIL, "provider_unavailable", 529, true, "Overloaded");
    co_fails("error-rate", "", SI_EAGAIN, "provider_rate_limited", 429, true, "slow down");
    co_fails("error-auth", "", SI_EDENIED, "provider_auth", 401, false, "refuses the API key");
    co_fails("error-billing", "", SI_EINVAL, "provider_rejected", 402, false, "no credit");
    co_fails("error-permission", "", SI_EDENIED, "provider_auth", 403, false, "403");
    co_fails("error-model", "", SI_EINVAL, "provider_rejected", 404, false, "model: up");
    co_fails("error-large", "", SI_EINVAL, "provider_rejected", 413, false, "too large");
    co_fails("error-invalid", "", SI_EINVAL, "context_length", 400, false, "prompt is too long");
    co_fails("error-api", "", SI_EUNAVAIL, "provider_unavailable", 500, true, "Internal server error");
    co_fails("error-timeout", "", SI_EUNAVAIL, "provider_unavailable", 504, true, "timed out");
    co_fails("error-new", "", SI_EUNAVAIL, "provider_unavailable", 0, true, "what is this");
    co_fails("error-late", "Hello", SI_EUNAVAIL, "provider_unavailable", 500, true, "after the end");

    request.answer_max = 4;
    co_fails("json", "", SI_ENOMEM, "answer_too_large", 0, false, "longer than 4 bytes");
    request.answer_max = ANSWER_MAX;
}

static void co_main(void *arg)
{
    (void) arg;
    co_test_request();
    co_test_answers();
    co_test_facts();
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
    ok(provider_find("anthropic") == &provider_anthropic, "the provider by its kind");
    test_splits();
    test_spliced();
    corpus_files("anthropic", "*.json", whole_file, NULL);
    test_messages();
    test_files();
    test_options();
    test_refused();
}

int main(void)
{
    corpus_files("anthropic", "*.chunks.txt", read_streams, NULL);
    return run_tests(plain, co_main);
}
