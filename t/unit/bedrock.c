/* Amazon Bedrock: recorded streams framed and cut everywhere, bodies, exceptions, damage, requests and their signatures. */
#include <time.h>

#include "bedrock_corpus.h"

static const provider_t *const tested = &provider_bedrock;

#define TEXT(t)   "{\"contentBlockDelta\":{\"contentBlockIndex\":0,\"delta\":{\"text\":\"" t "\"}}}\n"
#define STOP(r)   "{\"messageStop\":{\"stopReason\":\"" r "\"}}\n"
#define USAGE     "{\"metadata\":{\"usage\":{\"inputTokens\":5,\"outputTokens\":7,\"totalTokens\":12},\"metrics\":{\"latencyMs\":1}}}\n"

static const stream_t streams[] = {
    { "whole", "{\"messageStart\":{\"role\":\"assistant\"}}\n" TEXT("Hel") TEXT("lo") "{\"contentBlockStop\":{\"contentBlockIndex\":0}}\n" STOP("end_turn") USAGE },
    { "usage-first", TEXT("Hello") USAGE STOP("max_tokens") },
    { "no-usage", TEXT("Hello") STOP("end_turn") },
    { "sequence", TEXT("Hello") "{\"messageStop\":{\"additionalModelResponseFields\":{\"delta\":{\"stop_sequence\":\"END\"}},\"stopReason\":\"stop_sequence\"}}\n" USAGE },
    { "guardrail", TEXT("Hello") STOP("guardrail_intervened") USAGE },
    { "filtered", TEXT("Hello") STOP("content_filtered") USAGE },
    { "window", TEXT("Hello") STOP("model_context_window_exceeded") USAGE },
    { "news", TEXT("Hello") "{\"somethingNew\":{}}\n" STOP("something_new") USAGE },
    { "malformed-use", TEXT("Hello") STOP("malformed_tool_use") USAGE },
    { "cached", TEXT("Hello") STOP("end_turn") "{\"metadata\":{\"usage\":{\"inputTokens\":4,\"outputTokens\":34,\"totalTokens\":1512,\"cacheReadInputTokens\":1000,"
                "\"cacheWriteInputTokens\":474},\"trace\":{\"promptRouter\":{\"invokedModelId\":\"arn:x/nova\"}}}}\n" },
    { "server-tool", "{\"contentBlockStart\":{\"contentBlockIndex\":0,\"start\":{\"toolUse\":{\"toolUseId\":\"s\",\"name\":\"nova_grounding\",\"type\":\"server_tool_use\"}}}}\n"
                     "{\"contentBlockDelta\":{\"contentBlockIndex\":0,\"delta\":{\"toolUse\":{\"input\":\"{}\"}}}}\n{\"contentBlockStop\":{\"contentBlockIndex\":0}}\n"
                     "{\"contentBlockDelta\":{\"contentBlockIndex\":1,\"delta\":{\"text\":\"Hello\"}}}\n"
                     "{\"contentBlockDelta\":{\"contentBlockIndex\":1,\"delta\":{\"citation\":{}}}}\n" STOP("end_turn") USAGE },
    { "throttled", "{\"throttlingException\":{\"message\":\"Too many tokens\"}}\n" },
    { "throttled-late", TEXT("Hello") "{\"throttlingException\":{\"message\":\"Too many tokens\"}}\n" },
    { "model-error", TEXT("Hello") "{\"modelStreamErrorException\":{\"message\":\"it broke\",\"originalStatusCode\":500}}\n" },
    { "internal", TEXT("Hello") "{\"internalServerException\":{\"Message\":\"sorry\"}}\n" },
    { "unavailable", TEXT("Hello") "{\"serviceUnavailableException\":{}}\n" },
    { "invalid", "{\"validationException\":{\"message\":\"Input is too long for requested model.\"}}\n" },
    { "unknown", TEXT("Hello") "{\"noveltyException\":{\"message\":\"something\"}}\n" },
    { "error", TEXT("Hello") "{\"error\":\"a failure of the framing\"}\n" },
    { "damaged", TEXT("Hello") TEXT("no") "!" },
    { "short", TEXT("Hello") TEXT("no") "?" },
    { "neither", TEXT("Hello") },
    { "nothing", "" },
    { "no-object", TEXT("Hello") "{\"contentBlockDelta\":17}\n" STOP("end_turn") },
    { NULL, NULL },
};

static const answer_t answers[] = {
    { "400", "400 Bad Request", "application/json", "{\"message\":\"The provided model identifier is invalid.\"}" },
    { "403", "403 Forbidden", "application/json", "{\"message\":\"User: arn:aws:iam::1:user/x is not authorized\"}" },
    { "403-token", "403 Forbidden", "application/json", "{\"Message\":\"The security token included in the request is expired\"}" },
    { "404", "404 Not Found", "application/json", "{\"error\":{\"message\":\"no such model\"}}" },
    { "408", "408 Request Timeout", "application/json", "{\"message\":\"Model timed out\"}" },
    { "424", "424 Failed Dependency", "application/json", "{\"message\":\"the model failed\",\"originalStatusCode\":500}" },
    { "429", "429 Too Many Requests", "application/json", "{\"message\":\"Too many requests\"}" },
    { "503", "503 Service Unavailable", "text/plain", "oops" },
    { "html", "200 OK", "text/html", "<html>captive portal</html>" },
    { "json", "200 OK", "application/json", "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"text\":\"whole\"}]}},\"stopReason\":\"end_turn\","
              "\"usage\":{\"inputTokens\":3,\"outputTokens\":4,\"totalTokens\":7}}" },
    { "json-none", "200 OK", "application/json", "{\"Output\":{\"__type\":\"com.amazon.coral.service#UnknownOperationException\"},\"Version\":\"1.0\"}" },
    { "json-bad", "200 OK", "application/json", "{\"output\":{" },
    { NULL, NULL, NULL, NULL },
};

static script_t script = {
    .tail = "/model/", .streams = streams, .answers = answers, .hello = TEXT("Hello"), .finish = STOP("end_turn"),
    .first = TEXT("first"), .second = TEXT("second") STOP("end_turn") USAGE,
    .echo_head = "{\"output\":{\"message\":{\"content\":[{\"text\":\"", .echo_tail = "\"}]}},\"stopReason\":\"end_turn\"}",
    .type = "application/vnd.amazon.eventstream", .encode = encode,
};

/* ---- the corpus ---- */

static bool as_wanted(const got_t *g, const got_t *want)
{
    return got_same(g, want) && strcmp(g->result.finish, want->result.finish) == 0
           && (want->result.input_tokens < 0 || (g->result.input_tokens == want->result.input_tokens && g->result.output_tokens == want->result.output_tokens
                                                 && !g->result.estimated));
}

static int take_frame(const es_message_t *m, void *arg)
{
    return tested->format->event(arg, es_string(m, ":event-type"), m->payload);
}

static bool feed_frames(reply_t *r, eventstream_t *s, const char *p, size_t n, got_t *g)
{
    chat_event_t ev;
    char        *copy = si_malloc(n + 1);
    int          rc;

    memcpy(copy, p, n);
    rc = eventstream_feed(s, copy, n, take_frame, r);
    free(copy);
    while (reply_next(r, &ev)) {
        got_event(g, &ev);
    }
    g->result = r->result;
    return rc == 0;
}

/* A recording: its first `at` bytes in one read, what follows in reads of `piece`. */
static bool frames_read_well(size_t i, size_t at, size_t piece)
{
    const recording_t *rec = &recordings[i];
    arena_t      *a = arena_new(4096);
    reply_t       r;
    eventstream_t s;
    got_t         g;
    bool          good;

    got_init(&g);
    eventstream_init(&s, ANSWER_MAX);
    reply_init(&r, a, "", ANSWER_MAX);
    good = feed_frames(&r, &s, rec->wire, at, &g);
    for (size_t n; good && at < rec->n; at += n) {
        n = SI_MIN(piece, rec->n - at);
        good = feed_frames(&r, &s, rec->wire + at, n, &g);
    }
    good = good && r.finished && r.done == (wanted[i].result.input_tokens >= 0) && as_wanted(&g, &wanted[i]) && eventstream_between(&s);
    reply_free(&r);
    eventstream_free(&s);
    got_free(&g);
    arena_free(a);
    return good;
}

static void test_frames(void)
{
    for (size_t i = 0; i < nrecordings; i++) {
        size_t bad = !frames_read_well(i, 0, 1);

        for (size_t at = 0; at <= recordings[i].n; at++) {
            bad += !frames_read_well(i, at, recordings[i].n);
        }
        ok(bad == 0, "%s, cut at each of %zu bytes, and byte by byte", recordings[i].name, recordings[i].n);
    }
}

static void test_bodies(void)
{
    for (size_t i = 0; i < nbodies; i++) {
        arena_t     *a = arena_new(4096);
        chat_event_t ev;
        reply_t      r;
        got_t        g;
        int          rc;

        got_init(&g);
        reply_init(&r, a, "", ANSWER_MAX);
        rc = tested->format->whole(&r, str_of(bodies[i].text));
        while (reply_next(&r, &ev)) {
            got_event(&g, &ev);
        }
        g.result = r.result;
        ok(rc == 0 && as_wanted(&g, &bodies[i].want) && g.result.input_tokens > 0, "%s", bodies[i].name);
        reply_free(&r);
        got_free(&g);
        arena_free(a);
    }
}

static void co_test_corpus(void)
{
    static const size_t sizes[] = { 1, 7, 100, 1460, 100000 };

    for (size_t i = 0; i < nrecordings; i++) {
        bool good = true;

        for (size_t s = 0; s < SI_COUNT(sizes); s++) {
            got_t g;

            got_init(&g);
            good = good && co_run(arena_printf(arena, "c/%zu/%zu", i, sizes[s]), &g) == 0 && as_wanted(&g, &wanted[i])
                   && g.result.estimated == (wanted[i].result.input_tokens < 0);
            got_free(&g);
        }
        ok(good, "%s over HTTP in chunks of several sizes", recordings[i].name);
    }
}

/* ---- ends and faults ---- */

static void co_test_ends(void)
{
    got_t g;

    co_whole("whole", "Hello", "stop", 5, 7, false);
    co_whole("usage-first", "Hello", "length", 5, 7, false);
    co_whole("no-usage", "Hello", "stop", 6, 2, true);
    co_whole("cut-late", "Hello", "stop", 6, 2, true);
    co_whole("guardrail", "Hello", "content_filter", 5, 7, false);
    co_whole("filtered", "Hello", "content_filter", 5, 7, false);
    co_whole("window", "Hello", "length", 5, 7, false);
    co_whole("news", "Hello", "stop", 5, 7, false);
    co_whole("server-tool", "Hello", "stop", 5, 7, false);
    co_whole("json", "whole", "stop", 3, 4, false);

    got_init(&g);
    is_int(co_run("sequence", &g), 0, "a stop sequence");
    is_str(g.result.stop_sequence, "END", "is told");
    got_free(&g);
    got_init(&g);
    is_int(co_run("cached", &g), 0, "an answer with cached input");
    ok(g.result.input_tokens == 1478 && g.result.output_tokens == 34 && g.result.cached_tokens == 1000 && g.result.cache_write_tokens == 474,
       "the input is all of it, and what was cached is told");
    is_str(g.result.model, "arn:x/nova", "a router's model is told");
    got_free(&g);
    got_init(&g);
    is_int(co_run("server-tool", &g), 0, "an answer with a tool of the provider's own");
    ok(g.result.unsaid == 2, "and a citation: they are counted");
    got_free(&g);
}

static void co_test_faults(void)
{
    co_fails("400", "", SI_EINVAL, "provider_rejected", 400, false, "HTTP 400: The provided model identifier");
    co_fails("403", "", SI_EDENIED, "provider_auth", 403, false, "HTTP 403: the provider refuses the credentials");
    co_fails("403-token", "", SI_EDENIED, "provider_auth", 403, false, "HTTP 403: the provider refuses the credentials");
    co_fails("404", "", SI_EINVAL, "provider_rejected", 404, false, "no such model");
    co_fails("408", "", SI_EUNAVAIL, "provider_unavailable", 408, true, "Model timed out");
    co_fails("424", "", SI_EUNAVAIL, "provider_unavailable", 424, true, "the model failed");
    co_fails("429", "", SI_EAGAIN, "provider_rate_limited", 429, true, "Too many requests");
    co_fails("503", "", SI_EUNAVAIL, "provider_unavailable", 503, true, "HTTP 503");
    co_fails("html", "", SI_EPROTO, "provider_protocol", 200, false, "neither");
    co_fails("json-none", "", SI_EPROTO, "provider_protocol", 0, true, "no message");
    co_fails("json-bad", "", SI_EPROTO, "provider_protocol", 0, true, "malformed");

    co_fails("throttled", "", SI_EAGAIN, "provider_rate_limited", 429, true, "Too many tokens");
    co_fails("throttled-late", "Hello", SI_EAGAIN, "provider_rate_limited", 429, true, "Too many tokens");
    co_fails("model-error", "Hello", SI_EUNAVAIL, "provider_unavailable", 0, true, "it broke");
    co_fails("internal", "Hello", SI_EUNAVAIL, "provider_unavailable", 500, true, "sorry");
    co_fails("unavailable", "Hello", SI_EUNAVAIL, "provider_unavailable", 503, true, "HTTP 503");
    co_fails("invalid", "", SI_EINVAL, "context_length", 400, false, "too long");
    co_fails("unknown", "Hello", SI_EUNAVAIL, "provider_unavailable", 0, true, "error in its stream");
    co_fails("error", "Hello", SI_EUNAVAIL, "provider_unavailable", 0, true, "failure of the framing");
    co_fails("malformed-use", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "malformed_tool_use");

    co_fails("damaged", "Hello", SI_EPROTO, "provider_protocol", 0, true, "damaged: the checksum of a message");
    co_fails("short", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("neither", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("nothing", "", SI_EUNAVAIL, "answer_cut", 0, true, "before its finish");
    co_fails("cut", "Hello", SI_EUNAVAIL, "answer_cut", 0, true, "was cut");
    co_fails("no-object", "Hello", SI_EPROTO, "provider_protocol", 0, true, "no JSON object");
    request.answer_max = 4;
    co_fails("json", "", SI_ENOMEM, "answer_too_large", 0, false, "longer than 4 bytes");
    request.answer_max = ANSWER_MAX;
}

/* ---- the signature, checked by what is on the wire ---- */

/* Value of a header of a raw request; NULL without it. In the arena. */
static const char *header_of(const char *raw, const char *name)
{
    const char *p = strcasestr(raw, arena_printf(arena, "\r\n%s:", name));

    if (p == NULL) {
        return NULL;
    }
    p += strlen(name) + 3;
    p += strspn(p, " ");
    return arena_dup(arena, p, strcspn(p, "\r"));
}

/* The part of the Authorization header behind "name=". */
static const char *part_of(const char *authorization, const char *name)
{
    const char *p = strstr(authorization, arena_printf(arena, "%s=", name));

    return p != NULL ? arena_dup(arena, p + strlen(name) + 1, strcspn(p + strlen(name) + 1, ", ")) : "";
}

static void step(uint8_t key[SHA256_LEN], const char *text)
{
    uint8_t next[SHA256_LEN];

    hmac_sha256(next, (str_t) { (const char *) key, SHA256_LEN }, str_of(text));
    memcpy(key, next, SHA256_LEN);
}

static const char *digest(const char *text, size_t n)
{
    uint8_t sum[SHA256_LEN];
    char   *hex = arena_alloc(arena, 65);

    sha256(sum, text, n);
    hex_encode(hex, sum, sizeof sum);
    return hex;
}

/* The signature that the service would compute: of the request as it came, with the secret that it knows. */
static const char *expected_signature(const char *raw, const char *body, const char *secret)
{
    const char *authorization = header_of(raw, "Authorization"), *names = part_of(authorization, "SignedHeaders"), *headers = "";
    const char *scope = strchr(part_of(authorization, "Credential"), '/') + 1, *date = header_of(raw, "X-Amz-Date");
    const char *path = arena_dup(arena, strchr(raw, '/'), strcspn(strchr(raw, '/'), " ")), *canonical;
    char       *hex = arena_alloc(arena, 65);
    uint8_t     key[SHA256_LEN];

    for (const char *p = names; *p != '\0'; p += strcspn(p, ";"), p += *p == ';') {
        const char *name = arena_dup(arena, p, strcspn(p, ";"));
        headers = arena_printf(arena, "%s%s:%s\n", headers, name, header_of(raw, name));
    }
    canonical = arena_printf(arena, "POST\n%s\n\n%s\n%s\n%s", uri_encode(arena, str_of(path), true), headers, names, digest(body, strlen(body)));
    hmac_sha256(key, str_of(arena_printf(arena, "AWS4%s", secret)), (str_t) { scope, 8 });
    step(key, arena_dup(arena, scope + 9, strcspn(scope + 9, "/")));
    step(key, "bedrock");
    step(key, "aws4_request");
    step(key, arena_printf(arena, "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, digest(canonical, strlen(canonical))));
    hex_encode(hex, key, sizeof key);
    return hex;
}

static void co_test_signature(void)
{
    const char *body, *raw = co_echo(&body), *authorization = header_of(raw, "Authorization"), *date = header_of(raw, "X-Amz-Date");
    time_t      now = time(NULL);
    struct tm   tm = { 0 };

    ok(strncmp(raw, "POST /echo/model/up%2Fm%3A0/converse-stream HTTP/1.1\r\n", 54) == 0, "the path names the model, encoded once");
    is_str(header_of(raw, "Accept"), "application/vnd.amazon.eventstream, application/json", "what is wanted");
    is_str(header_of(raw, "Host"), arena_printf(arena, "127.0.0.1:%d", server.port), "the host");
    ok(strptime(date, "%Y%m%dT%H%M%SZ", &tm) != NULL && timegm(&tm) <= now && timegm(&tm) + 60 > now, "the date is now");
    ok(strncmp(authorization, arena_printf(arena, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/%.8s/eu-west-9/bedrock/aws4_request, ", date), 70) == 0,
       "the credential and its scope");
    is_str(part_of(authorization, "SignedHeaders"), "content-type;host;x-amz-date;x-amz-security-token", "what is signed");
    is_str(header_of(raw, "X-Amz-Security-Token"), "token-of-test", "the session token");
    is_str(part_of(authorization, "Signature"), expected_signature(raw, body, "secret-of-test"), "the signature is that of what is on the wire");

    provider.session_token = "";
    raw = co_echo(&body);
    is_str(part_of(header_of(raw, "Authorization"), "Signature"), expected_signature(raw, body, "secret-of-test"), "also without a token");
    ok(header_of(raw, "X-Amz-Security-Token") == NULL, "of which none is sent");

    provider.api_key = "key-of-test";
    raw = co_echo(&body);
    is_str(header_of(raw, "Authorization"), "Bearer key-of-test", "a Bedrock API key is sent as it is");
    ok(header_of(raw, "X-Amz-Date") == NULL, "and nothing is signed then");
    provider.api_key = "";
}

static void co_test_converse(void)
{
    const char *body, *raw;

    model.stream = "off";
    raw = co_echo(&body);
    ok(strncmp(raw, "POST /echo/model/up%2Fm%3A0/converse HTTP/1.1\r\n", 47) == 0, "a model that cannot stream is asked by Converse");
    model.stream = NULL;
}

static void co_test_credentials(void)
{
    const char *body, *raw;

    provider.access_key = provider.secret_key = "";
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    unsetenv("AWS_ACCESS_KEY_ID");
    co_fails("whole", "", SI_EDENIED, "provider_auth", 0, false, "no AWS credentials");
    aws_exit();
    aws_init();
    setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret-of-env", 1);
    raw = co_echo(&body);
    ok(strstr(raw, "Credential=AKIDENV/") != NULL, "without keys of its own a provider has those of the process");
    is_str(part_of(header_of(raw, "Authorization"), "Signature"), expected_signature(raw, body, "secret-of-env"), "and signs with them");
    provider.access_key = "AKIDEXAMPLE";
    provider.secret_key = "secret-of-test";
}

static void co_main(void *arg)
{
    (void) arg;
    co_test_signature();
    co_test_converse();
    co_test_credentials();
    co_test_ends();
    co_test_faults();
    co_test_deadlines();
    co_test_call_deadline();
    co_test_streaming();
    co_test_cancel(4);
    co_test_corpus();
    loop_stop();
}

static void plain(void)
{
    ok(provider_find("bedrock") == &provider_bedrock, "the provider by its kind");
    ok(nrecordings == 0 || (nrecordings == 12 && nbodies == 11), "all %zu streams and %zu bodies of the corpus", nrecordings, nbodies);
    test_frames();
    test_bodies();
}

int main(void)
{
    int rc;

    read_corpus();
    provider.api_key = "";
    provider.region = "eu-west-9";
    provider.access_key = "AKIDEXAMPLE";
    provider.secret_key = "secret-of-test";
    provider.session_token = "token-of-test";
    model.upstream = "up/m:0";
    aws_init();
    rc = run_tests(plain, co_main);
    aws_exit();
    free_bodies();
    return rc;
}
