/* Requests to Converse: every kind of part and option, whole bodies compared, and what is refused. */
#include "llm/bedrock.h"

#include <math.h>

#include "base/logger.h"
#include "tap.h"

#define BODY_MAX  (1u << 20)

static arena_t        *arena;
static conf_provider_t provider = { .name = "b", .kind = "bedrock" };
static conf_model_t    model = { .name = "m", .provider = &provider, .upstream = "eu.anthropic.claude-x-v1:0" };
static llm_error_t     err;

static chat_part_t text(const char *z) { return (chat_part_t) { .kind = PART_TEXT, .text = str_of(z) }; }

/* Writes; the body's text, or NULL when it was refused. */
static const char *body_of(const llm_request_t *q, int *rc)
{
    buf_t       b;
    const char *body;

    buf_init(&b, BODY_MAX);
    memset(&err, 0, sizeof err);
    *rc = bedrock_write(arena, q, &b, &err);
    body = *rc == 0 ? arena_dup(arena, b.p, b.n) : NULL;
    buf_free(&b);
    return body;
}

/* The body is that JSON, in whatever order. */
static void writes(const char *name, const llm_request_t *q, const char *want)
{
    int         rc;
    const char *body = body_of(q, &rc), *why;
    json_t     *got = json_own(arena, body != NULL ? json_parse(arena, str_of(body), &why) : NULL);
    json_t     *wanted = json_own(arena, json_parse(arena, str_of(want), &why));

    if (!ok(wanted != NULL && got != NULL && json_equal(got, wanted), "%s", name)) {
        diag("  rc %d %s, got %s", rc, err.detail, body != NULL ? body : "nothing");
        diag("  want %s", wanted != NULL ? want : why);
    }
}

static void refuses(const char *name, const llm_request_t *q, const char *what)
{
    int rc;

    (void) body_of(q, &rc);
    if (!ok(rc == SI_EINVAL && strcmp(err.code, "unsupported") == 0 && strstr(err.detail, what) != NULL, "refused: %s", name)) {
        diag("  rc %d %s: %s", rc, err.code, err.detail);
    }
}

static llm_request_t request(const chat_message_t *messages, size_t n)
{
    return (llm_request_t) { .model = &model, .messages = messages, .nmessages = n, .options = CHAT_OPTIONS_NONE };
}

/* ---- messages ---- */

static void test_messages(void)
{
    chat_part_t p[] = { text("Be brief."), text("One"), text(" \n"), text("Two"), text(""), text("Answer \"1\""), text("Three"), text("And now this.") };
    chat_message_t m[] = {
        { CHAT_SYSTEM, &p[0], 1 }, { CHAT_USER, &p[1], 2 }, { CHAT_USER, &p[3], 1 }, { CHAT_ASSISTANT, &p[4], 1 }, { CHAT_ASSISTANT, &p[5], 1 },
        { CHAT_USER, &p[6], 1 }, { CHAT_SYSTEM, &p[7], 1 },
    };
    llm_request_t q = request(m, SI_COUNT(m));

    writes("messages of one side become one, blank ones go, the system's are put apart", &q,
           "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"One\"},{\"text\":\"Two\"}]},{\"role\":\"assistant\",\"content\":[{\"text\":\"Answer \\\"1\\\"\"}]},"
           "{\"role\":\"user\",\"content\":[{\"text\":\"Three\"}]}],\"system\":[{\"text\":\"Be brief.\"},{\"text\":\"And now this.\"}]}");
    p[0].cache = p[3].cache = true;
    p[3].cache_ttl = "1h";
    q.nmessages = 3;
    writes("cache points stand behind their parts", &q,
           "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"One\"},{\"text\":\"Two\"},{\"cachePoint\":{\"type\":\"default\",\"ttl\":\"1h\"}}]}],"
           "\"system\":[{\"text\":\"Be brief.\"},{\"cachePoint\":{\"type\":\"default\"}}]}");
    m[0].parts = (chat_part_t[]) { { .kind = PART_IMAGE, .text = STR("aGk="), .media = "image/png" } };
    refuses("a picture for the system", &q, "system prompt");
}

static void test_media(void)
{
    chat_part_t p[] = {
        { .kind = PART_IMAGE, .text = STR("aGk="), .media = "image/jpg" },
        { .kind = PART_IMAGE, .text = STR("s3://bucket/a.png") },
        { .kind = PART_FILE, .text = STR("aGk="), .media = "application/pdf", .name = "R\xC3\xA9port  (1)_final.pdf" },
        { .kind = PART_FILE, .text = STR("aGk="), .media = "text/plain" },
    };
    chat_message_t m = { CHAT_USER, p, SI_COUNT(p) };
    llm_request_t  q = request(&m, 1);

    writes("images and documents", &q,
           "{\"messages\":[{\"role\":\"user\",\"content\":[{\"image\":{\"format\":\"jpeg\",\"source\":{\"bytes\":\"aGk=\"}}},"
           "{\"image\":{\"format\":\"png\",\"source\":{\"s3Location\":{\"uri\":\"s3://bucket/a.png\"}}}},"
           "{\"document\":{\"format\":\"pdf\",\"name\":\"R--port (1)-final-pdf\",\"source\":{\"bytes\":\"aGk=\"}}},"
           "{\"document\":{\"format\":\"txt\",\"name\":\"document\",\"source\":{\"bytes\":\"aGk=\"}}}]}]}");
    p[0].media = "image/tiff";
    refuses("a type of image", &q, "image of this type");
    p[0].media = NULL;
    refuses("an image by its URL", &q, "image by its URL");
    p[0] = (chat_part_t) { .kind = PART_IMAGE, .text = STR("aGk="), .media = "image/png", .detail = "high" };
    refuses("the detail of an image", &q, "detail of an image");
    p[0].detail = "auto";
    p[1] = p[2] = p[3] = (chat_part_t) { .kind = PART_TEXT, .text = STR("a") };
    writes("which it may choose", &q, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"image\":{\"format\":\"png\",\"source\":{\"bytes\":\"aGk=\"}}},"
           "{\"text\":\"a\"},{\"text\":\"a\"},{\"text\":\"a\"}]}]}");
    p[0] = (chat_part_t) { .kind = PART_FILE, .text = STR("aGk="), .media = "image/png" };
    refuses("a type of file", &q, "file of this type");
}

static void test_tools(void)
{
    chat_part_t inner[] = { text("12 degrees"), { .kind = PART_IMAGE, .text = STR("aGk="), .media = "image/gif" }, text("") };
    chat_part_t asked = text("Weather?"), said[] = {
        { .kind = PART_REASONING, .text = STR("Let me look."), .signature = STR("c2ln") }, { .kind = PART_REDACTED, .text = STR("ZW5j") },
        { .kind = PART_CALL, .id = "c1", .name = "weather", .text = STR(" {\"city\":\"Graz\"} ") }, { .kind = PART_CALL, .id = "c2", .name = "time", .text = STR("") },
    };
    chat_part_t results[] = {
        { .kind = PART_RESULT, .id = "c1", .parts = inner, .nparts = 3 }, { .kind = PART_RESULT, .id = "c2", .failed = true, .cache = true },
    };
    chat_message_t m[] = { { CHAT_USER, &asked, 1 }, { CHAT_ASSISTANT, said, SI_COUNT(said) }, { CHAT_USER, results, 2 } };
    chat_tool_t    tools[] = {
        { .name = "weather", .description = "Says it.", .schema = STR("{\"type\":\"object\",\"required\":[\"city\"]}"), .strict = true },
        { .name = "time", .description = "", .cache = true },
    };
    llm_request_t q = request(m, 3);
    const char   *messages = "\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"Weather?\"}]},{\"role\":\"assistant\",\"content\":["
        "{\"reasoningContent\":{\"reasoningText\":{\"text\":\"Let me look.\",\"signature\":\"c2ln\"}}},{\"reasoningContent\":{\"redactedContent\":\"ZW5j\"}},"
        "{\"toolUse\":{\"toolUseId\":\"c1\",\"name\":\"weather\",\"input\":{\"city\":\"Graz\"}}},{\"toolUse\":{\"toolUseId\":\"c2\",\"name\":\"time\",\"input\":{}}}]},"
        "{\"role\":\"user\",\"content\":[{\"toolResult\":{\"toolUseId\":\"c1\",\"content\":[{\"text\":\"12 degrees\"},{\"image\":{\"format\":\"gif\",\"source\":{\"bytes\":\"aGk=\"}}}]}},"
        "{\"toolResult\":{\"toolUseId\":\"c2\",\"content\":[],\"status\":\"error\"}},{\"cachePoint\":{\"type\":\"default\"}}]}]";
    const char   *specs = "\"tools\":[{\"toolSpec\":{\"name\":\"weather\",\"description\":\"Says it.\",\"inputSchema\":{\"json\":{\"type\":\"object\",\"required\":[\"city\"]}},\"strict\":true}},"
        "{\"toolSpec\":{\"name\":\"time\",\"inputSchema\":{\"json\":{\"type\":\"object\",\"properties\":{}}}}},{\"cachePoint\":{\"type\":\"default\"}}]";

    q.options.tools = tools;
    q.options.ntools = 2;
    writes("reasoning, calls, results, tools", &q, arena_printf(arena, "{%s,\"toolConfig\":{%s}}", messages, specs));
    q.options.choice = CHOICE_ANY;
    q.options.parallel = 1;
    writes("any tool", &q, arena_printf(arena, "{%s,\"toolConfig\":{%s,\"toolChoice\":{\"any\":{}}}}", messages, specs));
    q.options.choice = CHOICE_ONE;
    q.options.choice_name = "time";
    writes("one tool", &q, arena_printf(arena, "{%s,\"toolConfig\":{%s,\"toolChoice\":{\"tool\":{\"name\":\"time\"}}}}", messages, specs));
    q.options.choice = CHOICE_NONE;
    refuses("no tool where some were called", &q, "no call of a tool");
    q.nmessages = 1;
    writes("no tool where none was called: none is offered", &q, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"Weather?\"}]}]}");
    q.options.choice = CHOICE_AUTO;
    q.options.parallel = 0;
    refuses("calls one at a time", &q, "one call");
    q = request(m, 3);
    said[2].text = STR("{\"city\":");
    refuses("arguments that are no JSON", &q, "no JSON object");
    said[2].text = STR("[1]");
    refuses("arguments that are no object", &q, "no JSON object");
}

/* ---- options ---- */

#define HI  "\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"Hi\"}]}]"

static void test_options(void)
{
    const char    *stop[] = { "END", "\n\n" };
    chat_part_t    p = text("Hi");
    chat_message_t m = { CHAT_USER, &p, 1 };
    llm_request_t  q = request(&m, 1);

    writes("nothing is asked for", &q, "{" HI "}");
    model.max_tokens = 50;
    writes("the model's limit", &q, "{" HI ",\"inferenceConfig\":{\"maxTokens\":50}}");
    q.options.max_tokens = 0x100000000;
    q.options.temperature = 0.1;
    q.options.top_p = 0;
    q.options.stop = stop;
    q.options.nstop = 2;
    q.options.top_k = 40;
    q.options.reasoning_tokens = 2000;
    q.options.effort = "high";
    q.options.frequency_penalty = 0;
    q.options.end_user = "user-1@example";
    writes("what Claude has", &q, "{" HI ",\"inferenceConfig\":{\"maxTokens\":4294967296,\"temperature\":0.1,\"topP\":0,\"stopSequences\":[\"END\",\"\\n\\n\"]},"
           "\"additionalModelRequestFields\":{\"top_k\":40,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000},\"output_config\":{\"effort\":\"high\"}},"
           "\"requestMetadata\":{\"user\":\"user-1@example\"},\"additionalModelResponseFieldPaths\":[\"/delta/stop_sequence\"]}");
    model.max_tokens = 0;
    q = request(&m, 1);
    q.options.stop = stop;
    q.options.nstop = 1;
    model.stream = "off";
    writes("where the stop sequence is in a whole answer", &q,
           "{" HI ",\"inferenceConfig\":{\"stopSequences\":[\"END\"]},\"additionalModelResponseFieldPaths\":[\"/stop_sequence\"]}");
    model.guardrail = "gr1abc";
    model.guardrail_version = "2";
    model.guardrail_mode = "async";
    q.options = CHAT_OPTIONS_NONE;
    writes("a guardrail, asked with Converse", &q, "{" HI ",\"guardrailConfig\":{\"guardrailIdentifier\":\"gr1abc\",\"guardrailVersion\":\"2\"}}");
    model.stream = NULL;
    writes("and with ConverseStream", &q, "{" HI ",\"guardrailConfig\":{\"guardrailIdentifier\":\"gr1abc\",\"guardrailVersion\":\"2\",\"streamProcessingMode\":\"async\"}}");
    model.guardrail = NULL;

    q = request(&m, 1);
    q.options.top_k = 5;
    q.options.effort = "low";
    model.upstream = "us.amazon.nova-2-lite-v1:0";
    writes("what Nova has", &q, "{" HI ",\"additionalModelRequestFields\":{\"inferenceConfig\":{\"topK\":5},\"reasoningConfig\":{\"type\":\"enabled\",\"maxReasoningEffort\":\"low\"}}}");
    q.options.top_k = -1;
    model.upstream = "openai.gpt-oss-120b-1:0";
    writes("what gpt-oss has", &q, "{" HI ",\"additionalModelRequestFields\":{\"reasoning_effort\":\"low\"}}");
    model.upstream = "meta.llama3-70b-instruct-v1:0";
    q.options.effort = "none";
    q.options.reasoning_tokens = 0;
    writes("no reasoning where there is none", &q, "{" HI "}");

    q = request(&m, 1);
    q.options.shape = SHAPE_SCHEMA;
    q.options.shape_name = "city";
    q.options.shape_schema = STR("{\"type\":\"object\"}");
    writes("a schema", &q, "{" HI ",\"outputConfig\":{\"textFormat\":{\"type\":\"json_schema\",\"structure\":{\"jsonSchema\":{\"name\":\"city\",\"schema\":\"{\\\"type\\\":\\\"object\\\"}\"}}}}}");
}

static void test_refused(void)
{
    chat_part_t    p = text("Hi");
    chat_message_t m = { CHAT_USER, &p, 1 };
    llm_request_t  q = request(&m, 1);
    json_t        *extra = json_pack("{s:i}", "logit_bias", 1);

#define REFUSED(what, member, value) do { llm_request_t r = q; r.options.member = value; refuses(#member, &r, what); } while (0)
    REFUSED("top_k", top_k, 3);
    REFUSED("budget", reasoning_tokens, 100);
    REFUSED("effort", effort, "low");
    REFUSED("frequency_penalty", frequency_penalty, 0.5);
    REFUSED("presence_penalty", presence_penalty, -1);
    REFUSED("seed", has_seed, true);
    REFUSED("JSON", shape, SHAPE_JSON);
    REFUSED("end user", end_user, "a\nb");
    REFUSED("logit_bias", extra, extra);
    model.upstream = "anthropic.claude-x";
    REFUSED("effort", effort, "minimal");
    model.upstream = "openai.gpt-oss-20b-1:0";
    REFUSED("effort", effort, "none");
    json_decref(extra);
}

static void test_bound(void)
{
    chat_part_t    p = { .kind = PART_TEXT, .text = { arena_calloc(arena, BODY_MAX), BODY_MAX } };
    chat_message_t m = { CHAT_USER, &p, 1 };
    llm_request_t  q = request(&m, 1);
    int            rc;

    memset((char *) (uintptr_t) p.text.p, 'x', BODY_MAX);
    (void) body_of(&q, &rc);
    is_int(rc, SI_ENOMEM, "a body has its bound");
}

int main(void)
{
    logger_open("/dev/null", LOG_DEBUG);
    arena = arena_new(65536);
    test_messages();
    test_media();
    test_tools();
    test_options();
    test_refused();
    test_bound();
    arena_free(arena);
    return done_testing();
}
