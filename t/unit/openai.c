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
    co_fails("400", "", SI_EINVAL, "provider_rejected", 400, false, "HTTP 400");
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
    test_pieces();
}

int main(void)
{
    read_corpus();
    return run_tests(plain, co_main);
}
