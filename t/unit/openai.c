/* The OpenAI format: recorded streams of seven providers cut everywhere, quirks, faults, deadlines. */
#include "llm/format.h"

#include <poll.h>

#include "base/json.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/http.h"
#include "io/sse.h"
#include "llm/openai_read.h"
#include "openai_corpus.h"
#include "run/co.h"
#include "run/loop.h"
#include "tap.h"

#define PATIENCE     30000              /* ms: reached only by a test that fails */
#define ANSWER_MAX   (1u << 20)

static server_t    server;
static arena_t    *arena;

/* ---- the reader alone ---- */

typedef struct {
    buf_t        text, reasoning;
    size_t       pieces;
    bool         utf8;
    llm_result_t result;
} got_t;

static void got_init(got_t *g)
{
    memset(g, 0, sizeof *g);
    buf_init(&g->text, ANSWER_MAX);
    buf_init(&g->reasoning, ANSWER_MAX);
    g->utf8 = true;
}

static void got_free(got_t *g)
{
    buf_free(&g->text);
    buf_free(&g->reasoning);
}

static void got_event(got_t *g, const chat_event_t *ev)
{
    (void) buf_append(ev->kind == CHAT_REASONING ? &g->reasoning : &g->text, ev->text.p, ev->text.n);
    g->pieces++;
    g->utf8 = g->utf8 && ev->text.n > 0 && utf8_valid(ev->text);
}

static bool same(const buf_t *b, const char *z)
{
    return b->n == strlen(z) && (b->n == 0 || memcmp(b->p, z, b->n) == 0);
}

static bool got_recording(const got_t *g, size_t i)
{
    return g->utf8 && same(&g->text, want_text[i]) && same(&g->reasoning, want_reasoning[i]);
}

static int take_event(const sse_event_t *e, void *arg)
{
    return openai_read_event(arg, e->event, e->data);
}

static int feed_part(reply_t *r, sse_t *sse, const char *p, size_t n, got_t *g)
{
    chat_event_t ev;
    int          rc = sse_feed(sse, p, n, take_event, r);

    while (reply_next(r, &ev)) {
        got_event(g, &ev);
    }
    return rc;
}

/* The recording in two parts, cut at `at`. */
static bool split_reads_well(size_t i, size_t at)
{
    const recording_t *rec = &recordings[i];
    arena_t      *a = arena_new(4096);
    reply_t       r;
    sse_t         sse;
    got_t         g;
    bool          good;

    got_init(&g);
    sse_init(&sse, ANSWER_MAX);
    reply_init(&r, a, "", ANSWER_MAX);
    good = feed_part(&r, &sse, rec->wire, at, &g) == 0 && feed_part(&r, &sse, rec->wire + at, rec->n - at, &g) == 0;
    good = good && r.finished && r.done && got_recording(&g, i) && r.result.input_tokens > 0 && r.result.output_tokens > 0;
    reply_free(&r);
    sse_free(&sse);
    got_free(&g);
    arena_free(a);
    return good;
}

static void test_splits(void)
{
    for (size_t i = 0; i < nrecordings; i++) {
        size_t stride = recordings[i].n <= 4000 ? 1 : recordings[i].n / 61, bad = 0;

        for (size_t at = 0; at <= recordings[i].n; at += stride) {
            bad += !split_reads_well(i, at);
        }
        ok(bad == 0, "%s, cut every %zu bytes", recordings[i].name, stride);
    }
}

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

/* ---- calls ---- */

static conf_provider_t provider = { .name = "p", .kind = "openai", .api_key = "key-of-test", .connect_ms = PATIENCE,
                                    .first_byte_ms = PATIENCE, .idle_ms = PATIENCE };
static conf_model_t    model = { .name = "m", .provider = &provider, .upstream = "up/m", .max_tokens = 77 };
static const chat_part_t     system_part = { .kind = PART_TEXT, .text = { "Be \"brief\".", 11 } };
static const chat_part_t     user_part = { .kind = PART_TEXT, .text = { "Gr\xC3\xBC\xC3\x9F Gott\n", 12 } };
static const chat_message_t  messages[] = { { CHAT_SYSTEM, &system_part, 1 }, { CHAT_USER, &user_part, 1 } };
static llm_request_t request = { .model = &model, .messages = messages, .nmessages = 2, .answer_max = ANSWER_MAX,
                                .options = CHAT_OPTIONS_NONE };
static llm_error_t   err;

static uint64_t soon(void) { return clock_ms() + PATIENCE; }

static int co_open(const char *script, llm_call_t **c)
{
    provider.base_url = arena_printf(arena, "http://127.0.0.1:%d/%s", server.port, script);
    request.deadline = soon();
    memset(&err, 0, sizeof err);
    return provider_openai.co_open(&provider_openai, arena, &request, c, &err);
}

static int co_run(const char *script, got_t *g)
{
    llm_call_t *c;
    chat_event_t ev;
    int         rc = co_open(script, &c);

    if (rc != 0) {
        return rc;
    }
    while ((rc = provider_openai.co_next(c, &ev, &err)) == 1) {
        got_event(g, &ev);
    }
    g->result = *provider_openai.result(c);
    provider_openai.close(c);
    return rc;
}

static void co_test_recordings(void)
{
    for (size_t i = 0; i < nrecordings; i++) {
        static const size_t sizes[] = { 1, 7, 100, 1460, 100000, 10000000 };
        bool good = true;

        for (size_t s = 0; s < SI_COUNT(sizes); s++) {
            got_t g;

            if (recordings[i].n / sizes[s] > 4000) {
                continue;
            }
            got_init(&g);
            good = good && co_run(arena_printf(arena, "c/%zu/%zu", i, sizes[s]), &g) == 0 && got_recording(&g, i)
                   && !g.result.estimated && g.result.finish[0] != '\0' && g.result.model[0] != '\0';
            got_free(&g);
        }
        ok(good, "%s over HTTP in chunks of several sizes", recordings[i].name);
    }
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
    got_t   g;
    static uint8_t raw[4096];
    const char *body;
    json_t *v;

    got_init(&g);
    is_int(co_run("echo", &g), 0, "an echo");
    for (size_t i = 0; i < g.text.n / 2 && i < sizeof raw - 1; i++) {
        char pair[3] = { g.text.p[2 * i], g.text.p[2 * i + 1], 0 };
        raw[i] = (uint8_t) strtoul(pair, NULL, 16);
    }
    ok(strncmp((char *) raw, "POST /echo/chat/completions HTTP/1.1\r\n", 38) == 0, "nothing is added to base_url but the path");
    ok(strstr((char *) raw, "\r\nAuthorization: Bearer key-of-test\r\n") != NULL, "the key");
    ok(strstr((char *) raw, "\r\nContent-Type: application/json\r\n") != NULL, "the type");
    body = strstr((char *) raw, "\r\n\r\n");
    v = json_loads(body != NULL ? body : "", 0, NULL);
    ok(json_equal(v, json_own(arena, json_pack("{s:s,s:[{s:s,s:s},{s:s,s:s}],s:b,s:{s:b},s:i}", "model", "up/m", "messages",
       "role", "system", "content", "Be \"brief\".", "role", "user", "content", "Gr\xC3\xBC\xC3\x9F Gott\n",
       "stream", 1, "stream_options", "include_usage", 1, "max_tokens", 77))), "the body");
    json_decref(v);
    got_free(&g);

    got_init(&g);
    provider.api_key = "";
    model.max_tokens = 0;
    is_int(co_run("echo", &g), 0, "without key and limit");
    ok(memmem(g.text.p, g.text.n, "417574686f72697a6174696f6e", 26) == NULL && memmem(g.text.p, g.text.n, "6d61785f746f6b656e73", 20) == NULL,
       "neither is sent");
    provider.api_key = "key-of-test";
    model.max_tokens = 77;
    got_free(&g);
}

/* Runs a script that must be whole. */
static void co_whole(const char *script, const char *text, const char *finish, int64_t in, int64_t out, bool estimated)
{
    got_t g;
    int   rc;

    got_init(&g);
    rc = co_run(script, &g);
    ok(rc == 0 && same(&g.text, text) && strcmp(g.result.finish, finish) == 0 && g.result.input_tokens == in
       && g.result.output_tokens == out && g.result.estimated == estimated, "whole: %s", script);
    if (rc != 0) {
        diag("  %s: %s", err.code, err.detail);
    }
    got_free(&g);
}

/* Runs a script that must fail, after `text`. */
static void co_fails(const char *script, const char *text, int want, const char *code, int status, bool retryable, const char *detail)
{
    got_t g;
    int   rc;
    bool  good;

    got_init(&g);
    rc = co_run(script, &g);
    good = rc == want && same(&g.text, text) && strcmp(err.code, code) == 0 && err.status == status && err.retryable == retryable
           && strstr(err.detail, detail) != NULL && strstr(err.detail, "key-of-test") == NULL && strstr(err.detail, "sk-") == NULL
           && strchr(err.detail, '\n') == NULL;
    ok(good, "fails: %s, %s", script, code);
    if (!good) {
        diag("  got %d %s %d %s '%s' after '%.*s'", rc, err.code, err.status, err.retryable ? "retryable" : "final", err.detail,
             (int) g.text.n, g.text.p != NULL ? g.text.p : "");
    }
    got_free(&g);
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

static void co_test_deadlines(void)
{
    provider.first_byte_ms = 50;
    co_fails("hang", "", SI_ETIMEDOUT, "provider_timeout", 0, true, "did not answer in time");
    provider.first_byte_ms = PATIENCE;
    provider.idle_ms = 50;
    co_fails("silent", "Hello", SI_ETIMEDOUT, "provider_timeout", 0, true, "silent");
    provider.idle_ms = PATIENCE;

    int free_port, fd = listen_any(&free_port), port = server.port;
    close(fd);
    server.port = free_port;
    co_fails("whole", "", SI_EUNAVAIL, "provider_unavailable", 0, true, "refused");
    server.port = port;
}

static void co_test_call_deadline(void)
{
    llm_call_t *c;
    chat_event_t ev;

    is_int(co_open("silent", &c), 0, "a call whose time runs out");
    is_int(provider_openai.co_next(c, &ev, &err), 1, "gives what came");
    request.deadline = clock_ms() + 20;
    is_int(provider_openai.co_next(c, &ev, &err), SI_ETIMEDOUT, "then times out");
    is_str(err.code, "provider_timeout", "its code");
    ok(provider_openai.result(c)->estimated && provider_openai.result(c)->output_tokens == 2, "what it cost so far is estimated");
    provider_openai.close(c);
}

static void co_test_streaming(void)
{
    llm_call_t *c;
    chat_event_t ev;

    is_int(co_open("gate", &c), 0, "a provider that waits for us");
    is_int(provider_openai.co_next(c, &ev, &err), 1, "the first text comes while the provider holds the rest");
    is_mem(ev.text.p, ev.text.n, "first", "it is");
    ok(write(server.go, "g", 1) == 1, "go");
    is_int(provider_openai.co_next(c, &ev, &err), 1, "the next");
    is_mem(ev.text.p, ev.text.n, "second", "it is");
    is_int(provider_openai.co_next(c, &ev, &err), 0, "whole");
    provider_openai.close(c);
}

static bool opened;
static int  cancelled_rc;

static void co_victim(void *arg)
{
    llm_call_t *c;
    chat_event_t ev;

    (void) arg;
    if (co_open("silent", &c) == 0) {
        (void) provider_openai.co_next(c, &ev, &err);
        opened = true;
        cancelled_rc = provider_openai.co_next(c, &ev, &err);
        provider_openai.close(c);
    }
    opened = false;
}

/* Waits until the server has told that n held connections were closed. */
static bool co_closed(size_t n)
{
    uint64_t until = soon();
    char     c;

    while (n > 0 && clock_ms() < until) {
        struct pollfd pfd = { server.report, POLLIN, 0 };

        n -= poll(&pfd, 1, 0) == 1 && read(server.report, &c, 1) == 1;
        co_sleep(2, "test");
    }
    return n == 0;
}

static void co_test_cancel(void)
{
    uint64_t until = soon();
    co_t    *co = co_spawn("victim", co_victim, NULL);

    while (!opened && clock_ms() < until) {
        co_sleep(2, "test");
    }
    ok(opened, "a call that waits for text");
    co_cancel(co);
    while (opened && clock_ms() < until) {
        co_sleep(2, "test");
    }
    is_int(cancelled_rc, SI_ECANCELED, "is cancelled");
    is_str(err.code, "", "the error is untouched");
    ok(co_closed(5), "every connection that was given up is closed");
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
    co_test_cancel();
    co_test_recordings();
    loop_stop();
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    read_corpus();
    server = server_start(serve, recordings);
    logger_open("/dev/null", LOG_DEBUG);
    loop_init();
    co_init();
    http_init();
    arena = arena_new(65536);
    ok(provider_find("openai") == &provider_openai && provider_find("offline") == &provider_offline && provider_find("x") == NULL,
       "providers by kind");
    if (nrecordings == 0) {
        printf("# the corpus is not here: recorded streams are skipped\n");
    }
    test_splits();
    test_pieces();
    co_spawn("test", co_main, NULL);
    loop_run();
    co_exit();
    http_exit();
    loop_free();
    arena_free(arena);
    free_corpus();
    server_stop(&server);
    return done_testing();
}
