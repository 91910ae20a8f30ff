/* The wire formats of embeddings, with bodies as their providers document them. t/68-embeddings.t has them over HTTP. */
#include <math.h>

#include "base/util.h"
#include "llm/embed_format.h"
#include "tap.h"

static arena_t        *arena;
static conf_provider_t provider;
static conf_model_t    model;
static llm_error_t     err;
static embed_batch_t   batch;
static embed_answer_t  answer;

static void reset(const char *kind, const char *upstream)
{
    provider = (conf_provider_t) { .name = "p", .kind = kind, .base_url = "http://host/v1", .api_key = "", .region = "eu-west-1",
                                   .access_key = "AKID", .secret_key = "secret", .session_token = "" };
    model = (conf_model_t) { .name = "m", .provider = &provider, .upstream = upstream, .type = "embeddings", .space = upstream, .task_type = "",
                             .normalize = "on", .encoding = "base64" };
    batch = (embed_batch_t) { .model = &model };
}

static void inputs(size_t n, const char *const *texts)
{
    embed_input_t *in = arena_calloc(arena, n * sizeof *in);

    for (size_t i = 0; i < n; i++) {
        in[i].text = str_of(texts[i]);
    }
    batch.inputs = in;
    batch.n = n;
}

#define INPUTS(...)  inputs(SI_COUNT(((const char *const[]) { __VA_ARGS__ })), (const char *const[]) { __VA_ARGS__ })

/* JSON is written here with ' for ". */
static json_t *json_of(const char *text)
{
    char   *copy = arena_strdup(arena, text);
    json_t *v;

    for (char *p = copy; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    v = json_own(arena, json_loads(copy, 0, NULL));
    if (v == NULL) {
        printf("Bail out! no JSON: %s\n", text);
        exit(1);
    }
    return v;
}

static format_request_t put(const embed_format_t *f, int *rc)
{
    format_request_t out = { .headers = { NULL } };

    err = (llm_error_t) { .code = "" };
    buf_init(&out.body, 1u << 20);
    *rc = f->co_put(arena, &batch, &out, &err);     /* nothing here waits */
    return out;
}

static void puts_body(const embed_format_t *f, const char *url, const char *want, const char *name)
{
    int              rc;
    format_request_t out = put(f, &rc);
    const char      *why;
    json_t          *body = json_own(arena, json_parse(arena, (str_t) { out.body.p, out.body.n }, &why));

    is_int(rc, 0, arena_printf(arena, "%s: written", name));
    is_str(out.url, url, arena_printf(arena, "%s: its address", name));
    if (!ok(json_equal(body, json_of(want)), "%s: its body", name)) {
        diag("  got %.*s", (int) out.body.n, out.body.p);
    }
    buf_free(&out.body);
}

static void puts_no(const embed_format_t *f, const char *what)
{
    int              rc;
    format_request_t out = put(f, &rc);

    ok(rc == SI_EINVAL && strcmp(err.code, "unsupported") == 0 && strstr(err.detail, what) != NULL, "%s: refused: %s", f->kind, what);
    buf_free(&out.body);
}

static bool has_header(const embed_format_t *f, const char *start)
{
    int              rc;
    format_request_t out = put(f, &rc);
    bool             found = false;

    for (size_t i = 0; out.headers[i] != NULL; i++) {
        found = found || strncmp(out.headers[i], start, strlen(start)) == 0;
    }
    buf_free(&out.body);
    return found;
}

static int read_text(const embed_format_t *f, const char *body)
{
    err = (llm_error_t) { .code = "" };
    answer = (embed_answer_t) { .q = &batch, .arena = arena, .secret = "", .tokens = -1, .err = &err };
    return f->read(&answer, json_of(body));
}

static void is_vector(size_t i, size_t n, const float *want, const char *name)
{
    bool good = answer.dimensions == n && answer.have[i];

    for (size_t k = 0; good && k < n; k++) {
        good = fabsf(answer.vectors[i * n + k] - want[k]) < 1e-6f;
    }
    ok(good, "%s", name);
}

#define VECTOR(...)  SI_COUNT(((const float[]) { __VA_ARGS__ })), (const float[]) { __VA_ARGS__ }

static void openai(void)
{
    static const uint32_t tokens[] = { 5, 100256 };

    reset("openai", "text-embedding-3-small");
    INPUTS("The food was delicious", "Gr\xc3\xbc\xc3\x9f \"\\\n");
    puts_body(&embed_openai, "http://host/v1/embeddings",
              "{'model': 'text-embedding-3-small', 'input': ['The food was delicious', 'Gr\xc3\xbc\xc3\x9f \\'\\\\\\n'], 'encoding_format': 'base64'}", "openai");
    ok(!has_header(&embed_openai, "Authorization:"), "openai: no key, no header");
    provider.api_key = "k";
    ok(has_header(&embed_openai, "Authorization: Bearer k"), "openai: its key");
    provider.key_header = "api-key";
    ok(has_header(&embed_openai, "api-key: k"), "azure: its key");
    provider.base_url = "https://x/openai/deployments/{model}";
    provider.api_version = "2024-10-21";
    model.encoding = "float";
    batch.dimensions = 256;
    batch.end_user = "user-1";
    batch.inputs = (embed_input_t[]) { { .tokens = tokens, .ntokens = 2 } };
    batch.n = 1;
    puts_body(&embed_openai, "https://x/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21",
              "{'model': 'text-embedding-3-small', 'input': [[5, 100256]], 'encoding_format': 'float', 'dimensions': 256, 'user': 'user-1'}", "azure, tokens");

    reset("openai", "m");
    INPUTS("a", "b");
    is_int(read_text(&embed_openai, "{'object': 'list', 'data': [{'object': 'embedding', 'index': 1, 'embedding': 'AACAPwAAAMA='},"
                     " {'object': 'embedding', 'embedding': [0.5, -1], 'index': 0}], 'model': 'text-embedding-ada-002', 'usage': {'prompt_tokens': 8, 'total_tokens': 8}}"),
           0, "openai: an answer, in any order and either form");
    is_vector(0, VECTOR(0.5f, -1), "openai: the first vector");
    is_vector(1, VECTOR(1, -2), "openai: the second, which was base64");
    is_int(answer.tokens, 8, "openai: its tokens");
    is_str(answer.model, "text-embedding-ada-002", "openai: its name");
    is_int(read_text(&embed_openai, "{'data': [{'embedding': [1]}, {'embedding': [2]}]}"), 0, "openai: without indexes and usage");
    is_vector(1, VECTOR(2), "openai: in order");
    is_int(answer.tokens, -1, "openai: not counted");
    is_int(read_text(&embed_openai, "{'data': [{'embedding': [1]}, {'embedding': [2], 'index': 0}]}"), SI_EPROTO, "openai: two for one input");
    is_int(read_text(&embed_openai, "{'data': [{'embedding': [1]}, {'embedding': [2, 3]}]}"), SI_EPROTO, "openai: of two lengths");
    batch.dimensions = 3;
    is_int(read_text(&embed_openai, "{'data': [{'embedding': [1, 2]}, {'embedding': [2, 3]}]}"), SI_EPROTO, "openai: of another length than was asked for");
}

static void titan(void)
{
    static const uint32_t tokens[] = { 5 };

    reset("bedrock", "amazon.titan-embed-text-v2:0");
    INPUTS("What are the different services?");
    puts_body(&embed_titan, "http://host/v1/model/amazon.titan-embed-text-v2%3A0/invoke", "{'inputText': 'What are the different services?', 'normalize': true}", "titan");
    ok(has_header(&embed_titan, "Authorization: AWS4-HMAC-SHA256 Credential=AKID/") && has_header(&embed_titan, "X-Amz-Date: "), "titan: signed");
    for (size_t dimensions = 256; dimensions <= 1024; dimensions *= 2) {
        batch.dimensions = dimensions;
        model.normalize = "off";
        puts_body(&embed_titan, "http://host/v1/model/amazon.titan-embed-text-v2%3A0/invoke",
                  arena_printf(arena, "{'inputText': 'What are the different services?', 'normalize': false, 'dimensions': %zu}", dimensions), "titan, dimensions");
    }
    batch.dimensions = 1536;
    puts_no(&embed_titan, "256, 512 and 1024");
    batch.dimensions = 0;
    provider.base_url = "";
    provider.api_key = "bearer";
    ok(has_header(&embed_titan, "Authorization: Bearer bearer"), "titan: a key of Bedrock's");
    puts_body(&embed_titan, "https://bedrock-runtime.eu-west-1.amazonaws.com/model/amazon.titan-embed-text-v2%3A0/invoke",
              "{'inputText': 'What are the different services?', 'normalize': false}", "titan, in its region");
    is_int(read_text(&embed_titan, "{'embedding': [0.25, -0.5, 1], 'inputTextTokenCount': 7, 'embeddingsByType': {'float': [0.25, -0.5, 1]}}"), 0, "titan: an answer");
    is_vector(0, VECTOR(0.25f, -0.5f, 1), "titan: its vector");
    is_int(answer.tokens, 7, "titan: its tokens");
    is_int(read_text(&embed_titan, "{'message': 'no'}"), SI_EPROTO, "titan: no vector");
    batch.inputs = (embed_input_t[]) { { .tokens = tokens, .ntokens = 1 } };
    puts_no(&embed_titan, "tokens");
}

static void sagemaker(void)
{
    static const char failed[] = "{\"ErrorCode\":\"CLIENT_ERROR_FROM_MODEL\",\"LogStreamArn\":\"arn:aws:logs\",\"OriginalMessage\":\"{\\\"error\\\":\\\"batch size 64 > maximum allowed batch size 32\\\"}\",\"OriginalStatusCode\":%d}";

    reset("sagemaker", "tei endpoint");
    INPUTS("a", "b");
    puts_body(&embed_sagemaker, "http://host/v1/endpoints/tei%20endpoint/invocations", "{'inputs': ['a', 'b'], 'normalize': true}", "sagemaker");
    ok(has_header(&embed_sagemaker, "Authorization: AWS4-HMAC-SHA256 Credential=AKID/"), "sagemaker: signed");
    provider.base_url = "";
    puts_body(&embed_sagemaker, "https://runtime.sagemaker.eu-west-1.amazonaws.com/endpoints/tei%20endpoint/invocations", "{'inputs': ['a', 'b'], 'normalize': true}", "sagemaker, in its region");
    is_int(read_text(&embed_sagemaker, "[[1, 2], [3, 4]]"), 0, "sagemaker: what Text Embeddings Inference answers");
    is_vector(1, VECTOR(3, 4), "sagemaker: the second vector");
    is_int(read_text(&embed_sagemaker, "{'embedding': [[1, 2], [3, 4]]}"), 0, "sagemaker: a member");
    is_int(read_text(&embed_sagemaker, "{'embeddings': [[1, 2], [3, 4]]}"), 0, "sagemaker: another one");
    is_int(read_text(&embed_sagemaker, "[[[1, 2]], [[3, 4]]]"), SI_EPROTO, "sagemaker: vectors of tokens are none of the text");
    is_int(read_text(&embed_sagemaker, "{'vectors': []}"), SI_EPROTO, "sagemaker: another shape");
    INPUTS("a");
    is_int(read_text(&embed_sagemaker, "[1, 2, 3]"), 0, "sagemaker: one bare vector");
    is_vector(0, VECTOR(1, 2, 3), "sagemaker: is that of one text");
    is_int(embed_sagemaker.status(&err, arena, "", 424, str_of(arena_printf(arena, failed, 413))), SI_EINVAL, "sagemaker: the model refuses the request");
    ok(err.status == 413 && !err.retryable && strstr(err.detail, "maximum allowed batch size 32") != NULL, "sagemaker: with its own status and words");
    is_int(embed_sagemaker.status(&err, arena, "", 424, str_of(arena_printf(arena, failed, 500))), SI_EUNAVAIL, "sagemaker: the model fails");
    ok(err.status == 424 && err.retryable, "sagemaker: it may be asked again");
}

static void gemini(void)
{
    reset("gemini", "gemini-embedding-001");
    provider.api_key = "k";
    INPUTS("What is the meaning of life?", "How does the brain work?");
    puts_body(&embed_gemini, "http://host/v1/models/gemini-embedding-001:batchEmbedContents",
              "{'requests': [{'model': 'models/gemini-embedding-001', 'content': {'parts': [{'text': 'What is the meaning of life?'}]}},"
              " {'model': 'models/gemini-embedding-001', 'content': {'parts': [{'text': 'How does the brain work?'}]}}]}", "gemini");
    ok(has_header(&embed_gemini, "x-goog-api-key: k"), "gemini: its key");
    INPUTS("x");
    model.task_type = "CLUSTERING";
    batch.dimensions = 768;
    puts_body(&embed_gemini, "http://host/v1/models/gemini-embedding-001:batchEmbedContents",
              "{'requests': [{'model': 'models/gemini-embedding-001', 'content': {'parts': [{'text': 'x'}]}, 'taskType': 'CLUSTERING', 'outputDimensionality': 768}]}", "gemini, what for");
    batch.dimensions = 0;
    batch.use = EMBED_QUERY;
    puts_body(&embed_gemini, "http://host/v1/models/gemini-embedding-001:batchEmbedContents",
              "{'requests': [{'model': 'models/gemini-embedding-001', 'content': {'parts': [{'text': 'x'}]}, 'taskType': 'RETRIEVAL_QUERY'}]}", "gemini, a question");
    batch.use = EMBED_DOCUMENT;
    puts_body(&embed_gemini, "http://host/v1/models/gemini-embedding-001:batchEmbedContents",
              "{'requests': [{'model': 'models/gemini-embedding-001', 'content': {'parts': [{'text': 'x'}]}, 'taskType': 'RETRIEVAL_DOCUMENT'}]}", "gemini, what is searched");
    INPUTS("a", "b");
    is_int(read_text(&embed_gemini, "{'embeddings': [{'values': [3, 4]}, {'values': [0.6, 0.8]}]}"), 0, "gemini: an answer");
    is_vector(0, VECTOR(0.6f, 0.8f), "gemini: made of length 1");
    is_vector(1, VECTOR(0.6f, 0.8f), "gemini: which the other is");
    model.normalize = "off";
    is_int(read_text(&embed_gemini, "{'embeddings': [{'values': [3, 4]}, {'values': [0.6, 0.8]}]}"), 0, "gemini: an answer");
    is_vector(0, VECTOR(3, 4), "gemini: as it came");
    is_int(read_text(&embed_gemini, "{'embedding': {'values': [1]}}"), SI_EPROTO, "gemini: of another method");
}

int main(void)
{
    arena = arena_new(65536);
    ok(embed_format("openai") == &embed_openai && embed_format("sagemaker") == &embed_sagemaker && embed_format("lexical") == NULL
       && embed_format("anthropic") == NULL, "formats by kind");
    openai();
    titan();
    sagemaker();
    gemini();
    arena_free(arena);
    return done_testing();
}
