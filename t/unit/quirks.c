/*
 * What real servers have been recorded to say, and real clients to ask, all formats: each text here is ours, and has one peculiarity of theirs.
 * An answer is told as a line: what is said, word by word of CHAT_*, then its end, its usage and the pieces left unsaid.
 */
#include "base/json.h"
#include "base/util.h"
#include "io/sse.h"
#include "llm/bedrock.h"
#include "llm/fault.h"
#include "llm/format.h"
#include "tap.h"

static arena_t *arena;

static int take(const sse_event_t *e, void *arg)
{
    void **both = arg;

    return ((const provider_t *) both[0])->format->event(both[1], e->event, e->data);
}

static const char *told(reply_t *r, int rc)
{
    static const char *const words[] = { "text", "think", "sign", "redacted", "refusal", "call", "args" };
    chat_event_t ev;
    buf_t        b;
    const char  *out;

    buf_init(&b, 1u << 20);
    while (reply_next(r, &ev)) {
        (void) buf_printf(&b, "%s", words[ev.kind]);
        if (ev.kind == CHAT_CALL) {
            (void) buf_printf(&b, "%u %s %s", ev.index, ev.id, ev.name);
        } else {
            (void) buf_printf(&b, ev.kind == CHAT_ARGS ? "%u %.*s" : "%.0u %.*s", ev.index, STR_ARG(ev.text));
        }
        (void) buf_puts(&b, "; ");
    }
    if (rc != 0) {
        (void) buf_printf(&b, "%s", r->err.code);
    } else {
        (void) buf_printf(&b, "%s %lld/%lld", r->result.finish, (long long) r->result.input_tokens, (long long) r->result.output_tokens);
        (void) buf_printf(&b, r->result.unsaid > 0 ? " -%zu" : "%.0zu", r->result.unsaid);
        if (r->result.cached_tokens + r->result.cache_write_tokens > 0) {
            (void) buf_printf(&b, " cached %lld+%lld", (long long) r->result.cached_tokens, (long long) r->result.cache_write_tokens);
        }
    }
    out = arena_printf(arena, "%.*s", (int) b.n, b.p);
    buf_free(&b);
    return out;
}

/* Events, each a JSON text with ' for ". */
static void streams(const provider_t *p, const char *events, const char *want, const char *name)
{
    char    *text = arena_strdup(arena, events);
    reply_t  r;
    sse_t    sse;
    void    *both[] = { (void *) (uintptr_t) p, &r };
    int      rc = 0;

    for (char *q = text; *q != '\0'; q++) {
        *q = *q == '\'' ? '"' : *q;
    }
    sse_init(&sse, 1u << 20);
    reply_init(&r, arena, "", 1u << 20);
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line != NULL && rc == 0; line = strtok_r(NULL, "\n", &save)) {
        const char *wire = arena_printf(arena, "data: %s\n\n", line);

        rc = sse_feed(&sse, wire, strlen(wire), take, both);
    }
    is_str(told(&r, rc), want, name);
    sse_free(&sse);
    reply_free(&r);
}

static void whole(const provider_t *p, const char *body, const char *want, const char *name)
{
    char   *text = arena_strdup(arena, body);
    reply_t r;
    int     rc;

    for (char *q = text; *q != '\0'; q++) {
        *q = *q == '\'' ? '"' : *q;
    }
    reply_init(&r, arena, "", 1u << 20);
    rc = p->format->array ? p->format->event(&r, STR(""), str_of(text)) : p->format->whole(&r, str_of(text));
    is_str(told(&r, rc), want, name);
    reply_free(&r);
}

#define DELTA(d)   "{'choices':[{'index':0,'delta':{" d "}}]}\n"
#define STOP       "{'choices':[{'index':0,'delta':{},'finish_reason':'stop'}]}\n"
#define USED       "{'choices':[],'usage':{'prompt_tokens':3,'completion_tokens':2}}\n"
#define DONE       "[DONE]"
#define BODY(m, f) "{'choices':[{'index':0,'message':{'role':'assistant'," m "}," f "}],'usage':{'prompt_tokens':3,'completion_tokens':2}}"

static void test_openai(void)
{
    const provider_t *p = &provider_openai;

    streams(p, "{'choices':[{'index':0,'delta':{'content':'a'},'seed':18446744073709551615}]}\n" STOP USED DONE, "text a; stop 3/2", "a seed of 64 bits without sign");
    whole(p, BODY("'content':'a'", "'finish_reason':'stop','seed':17446744073709551615"), "text a; stop 3/2", "and whole");
    streams(p, DELTA("'content':'a\\u0000b'") DELTA("'content':'\\ud83d'") STOP USED DONE, "text a\xEF\xBF\xBD\x62\xEF\xBF\xBD; stop 3/2", "NUL, and half a character");
    streams(p, "{'id':'x','choices':[{'index':0,'delta':{'content':'a','content':'b'}}]}\n" STOP USED DONE, "text b; stop 3/2", "a member twice");

    streams(p, DELTA("'content':'','reasoning_details':[{'type':'reasoning.text','text':'hm '}]") DELTA("'reasoning_details':[{'type':'reasoning.summary','summary':'so'}]")
            DELTA("'reasoning_details':[{'type':'reasoning.encrypted','data':'x'}]") DELTA("'content':'a'") STOP USED DONE, "think hm so; text a; stop 3/2", "reasoning in its details alone");
    streams(p, DELTA("'reasoning':'hm','reasoning_details':[{'type':'reasoning.text','text':'hm'}]") DELTA("'content':'a'") STOP USED DONE, "think hm; text a; stop 3/2", "and beside");
    whole(p, BODY("'content':'a','reasoning_details':[{'text':'hm'}]", "'finish_reason':'stop'"), "think hm; text a; stop 3/2", "and whole");

    streams(p, DELTA("'tool_calls':[{'index':0,'id':'i','function':{'name':'f','arguments':''}}]") USED DONE, "call0 i f; args0 {};  3/2", "no reason for the end, and no arguments");
    whole(p, BODY("'content':null,'tool_calls':[{'id':'i','function':{'name':'f','arguments':''}}]", "'logprobs':null"), "call0 i f; args0 {};  3/2", "and whole");

    streams(p, DELTA("'content':'a','annotations':[{'type':'url_citation'}]") DELTA("'images':[{'type':'image_url'}]") STOP USED DONE, "text a; stop 3/2 -2", "a citation and a picture are counted");
    whole(p, BODY("'content':'a','audio':{'id':'x','data':'AAAA'}", "'finish_reason':'stop'"), "text a; stop 3/2 -1", "and a sound");
    streams(p, DELTA("'content':'a'") "{'choices':[{'index':0,'delta':{'content':'b'},'finish_reason':null,'error':{'code':502,'message':'upstream'}}]}\n" DONE, "text ab; provider_unavailable", "an error of the choice");
    whole(p, BODY("'content':'a'", "'finish_reason':null,'error':{'code':429,'message':'upstream'}"), "text a; provider_rate_limited", "and whole");
    streams(p, DELTA("'content':'a'") "{'object':'error','message':'engine has died','type':'InternalServerError','code':500}\n" DONE, "text a; provider_unavailable", "an error without a wrapper, of vLLM's");
    streams(p, "{'object':'error','message':'too long','type':'BadRequestError','param':null,'code':400}\n" DONE, "provider_rejected", "and at first");
    whole(p, "{'code':500,'msg':'404 NOT_FOUND','success':false}", "provider_unavailable", "an error that is called a success");
    whole(p, "{'success':true}", "provider_protocol", "what is neither");
    streams(p, "{'id':'x','object':'chat.completion.chunk'}\n" DELTA("'content':'a'") STOP USED DONE, "text a; stop 3/2", "a chunk without choices is none");
    streams(p, DELTA("'content':'a'") "{'choices':[],'x_groq':{'id':'x','error':'over capacity'}}\n" DONE, "text a; provider_unavailable", "an error of Groq's");
    streams(p, DELTA("'content':'a'") "{'choices':[{'index':0,'delta':{},'finish_reason':'abort'}]}\n" DONE, "text a; answer_cut", "an answer that was given up");
    streams(p, DELTA("'content':'a'") "{'choices':[{'index':0,'delta':{},'finish_reason':'network_error'}]}\n" DONE, "text a; answer_cut", "or cut");
    streams(p, DELTA("'content':'a'") "{'choices':[{'index':0,'delta':{},'finish_reason':'sensitive'}]}\n" USED DONE, "text a; content_filter 3/2", "or filtered, in Zhipu's word");
}

#define COUNTS(more)  DELTA("'content':'a'") STOP "{'choices':[],'usage':{'prompt_tokens':30,'completion_tokens':2," more "}}\n" DONE

static void test_usage(void)
{
    const provider_t *p = &provider_openai;

    streams(p, COUNTS("'prompt_tokens_details':{'cached_tokens':7,'cache_write_tokens':5}"), "text a; stop 30/2 cached 7+5", "what the cache gave and took");
    streams(p, COUNTS("'prompt_tokens_details':{'cached_tokens':0},'cache_read_input_tokens':7,'cache_creation_input_tokens':5"), "text a; stop 30/2 cached 7+5", "in Anthropic's words");
    streams(p, COUNTS("'prompt_cache_hit_tokens':7,'prompt_cache_miss_tokens':23"), "text a; stop 30/2 cached 7+0", "in DeepSeek's");
    streams(p, COUNTS("'num_cached_tokens':7,'prompt_tokens_details':null"), "text a; stop 30/2 cached 7+0", "in Mistral's");
}

#define SAID(t, f)  "{'candidates':[{'content':{'parts':[{'text':'" t "'}]},'finishReason':" f "}],'usageMetadata':"

static void test_gemini(void)
{
    const provider_t *p = &provider_gemini;

    streams(p, SAID("a", "'STOP'") "{'promptTokenCount':3,'totalTokenCount':3}}", "text a; stop 3/-1", "Gemma does not count what it says");
    streams(p, SAID("", "'STOP'") "{'promptTokenCount':3,'totalTokenCount':3}}", "stop 3/0", "nothing said is no token");
    streams(p, SAID("a", "1") "{'promptTokenCount':3,'candidatesTokenCount':2}}", "text a; stop 3/2", "a number for STOP");
    streams(p, SAID("a", "2") "{'promptTokenCount':3,'candidatesTokenCount':2}}", "text a; length 3/2", "for MAX_TOKENS");
    streams(p, SAID("a", "3") "{'promptTokenCount':3,'candidatesTokenCount':2}}", "text a; content_filter 3/2", "for SAFETY");
    streams(p, SAID("a", "0") "null}\n" SAID("b", "'STOP'") "{'promptTokenCount':3,'candidatesTokenCount':2}}", "text ab; stop 3/2", "and none yet");
    streams(p, SAID("a", "10") "null}", "text a; answer_cut", "others are no whole answer");
    streams(p, "{'candidates':[{'content':{'parts':[{'functionCall':{'name':'f','id':'i','args':{'n':99999999999999999999}}}]},'finishReason':'STOP'}],'usageMetadata':{'promptTokenCount':3,'candidatesTokenCount':2}}",
            "call0 i f; args0 {\"n\":1e20}; tool_calls 3/2", "a large number in arguments");
}

static void test_others(void)
{
    streams(&provider_anthropic, "{'type':'message_start','message':{'id':'m','model':'c','content':[],'usage':{'input_tokens':3,'output_tokens':1}}}\n"
            "{'type':'content_block_start','index':0,'content_block':{'type':'text','text':''}}\n{'type':'content_block_delta','index':0,'delta':{'type':'text_delta','text':'a\\ud83d'}}\n"
            "{'type':'content_block_stop','index':0}\n{'type':'something_new','n':99999999999999999999}\n"
            "{'type':'message_delta','delta':{'stop_reason':'end_turn'},'usage':{'output_tokens':2}}\n{'type':'message_stop'}", "text a\xEF\xBF\xBD; stop 3/2", "anthropic: half a character, and a new event");
    streams(&provider_anthropic, "{'error':{'type':'overloaded_error','message':'busy'}}", "provider_unavailable", "anthropic: an error without a type");
    streams(&provider_responses, "{'type':'response.created','response':{'id':'r','status':'in_progress'}}\n"
            "{'type':'response.output_item.added','output_index':0,'item':{'type':'message'}}\n{'type':'response.output_text.delta','output_index':0,'delta':'a\\u0000'}\n"
            "{'type':'response.something.new','n':99999999999999999999}\n"
            "{'type':'response.completed','response':{'id':'r','status':'completed','usage':{'input_tokens':3,'output_tokens':2}}}", "text a\xEF\xBF\xBD; stop 3/2", "responses: NUL, and a new event");
}

/* What a request for an answer of this shape has in it. */
static void puts_shape(const provider_t *p, const char *about, const char *schema, const char *want, const char *name)
{
    conf_provider_t     provider = { .name = "p", .kind = p->kind, .base_url = "http://127.0.0.1:1", .region = "r" };
    conf_model_t        model = { .name = "m", .provider = &provider, .upstream = "u", .max_tokens = 9 };
    chat_message_t      message = chat_text(arena, CHAT_USER, STR("x"));
    llm_request_t       q = { .model = &model, .messages = &message, .nmessages = 1, .options = CHAT_OPTIONS_NONE };
    format_request_t    put = { .url = NULL };
    llm_error_t         err = { .code = "" };
    char               *text = arena_strdup(arena, want);
    int                 rc;

    for (char *z = text; *z != '\0'; z++) {
        *z = *z == '\'' ? '"' : *z;
    }
    q.options.shape = SHAPE_SCHEMA;
    q.options.shape_name = "s";
    q.options.shape_about = about;
    q.options.shape_schema = str_of(schema);
    buf_init(&put.body, 1u << 20);
    rc = p == &provider_bedrock ? bedrock_write(arena, &q, &put.body, &err) : p->format->co_put(arena, &q, &put, &err);
    if (!ok(rc == 0 && buf_append(&put.body, "", 1) == 0 && strstr(put.body.p, text) != NULL, "%s: %s", p->kind, name)) {
        diag("  got %d %s", rc, put.body.p);
    }
    buf_free(&put.body);
}

static void test_shapes(void)
{
    static const char plain[] = "{\"type\":\"object\"}", told[] = "{\"description\":\"own\"}";

    puts_shape(&provider_openai, "a book", plain, "'schema':{'type':'object'},'strict':false,'description':'a book'}", "what the answer is for");
    puts_shape(&provider_openai, NULL, plain, "'schema':{'type':'object'},'strict':false}", "and nothing");
    puts_shape(&provider_responses, "a book", plain, "'schema':{'type':'object'},'strict':false,'description':'a book'}", "what the answer is for");
    puts_shape(&provider_bedrock, "a book", plain, "'name':'s','description':'a book','schema':'{", "what the answer is for");
    puts_shape(&provider_anthropic, "a book", plain, "'schema':{'type':'object','description':'a book'}", "in the schema");
    puts_shape(&provider_anthropic, "a book", told, "'schema':{'description':'a book\\nown'}", "before its own words");
    puts_shape(&provider_anthropic, NULL, told, "'schema':{'description':'own'}", "and nothing");
    puts_shape(&provider_gemini, "a book", plain, "'responseJsonSchema':{'type':'object','description':'a book'}", "in the schema");
}

/* The detail and the code of an answer of this status and body. */
static void fails(const provider_t *p, int status, const char *body, const char *want, const char *name)
{
    llm_error_t err = { .code = "" };
    str_t       text = str_of(body);

    (void) (p->format->status != NULL ? p->format->status(&err, arena, "", status, text) : reply_status(&err, arena, "", status, text));
    fault_reason(&err, text);
    is_str(arena_printf(arena, "%s: %s", err.code, err.detail), want, name);
}

static void test_errors(void)
{
    const provider_t *p = &provider_openai;

    fails(p, 422, "{\"detail\":[{\"type\":\"enum\",\"loc\":[\"body\"],\"msg\":\"Input should be x\"}]}", "provider_rejected: HTTP 422: Input should be x", "FastAPI's list of details");
    fails(p, 422, "{\"object\":\"error\",\"message\":{\"detail\":[{\"msg\":\"Field required\"}]}}", "provider_rejected: HTTP 422: Field required", "Mistral's, within a message");
    fails(p, 400, "{\"errors\":[{\"code\":1,\"message\":\"bad\"}]}", "provider_rejected: HTTP 400: bad", "a list of errors");
    fails(p, 400, "{\"error\":[{\"message\":\"worse\"}]}", "provider_rejected: HTTP 400: worse", "within error");
    fails(p, 400, "{\"error\":{\"message\":\"Provider returned error\",\"code\":400,\"metadata\":{\"raw\":\"no such tool\"}}}", "provider_rejected: HTTP 400: no such tool", "OpenRouter's, of what stands behind it");
    fails(p, 502, "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head></html>", "provider_unavailable: HTTP 502: 502 Bad Gateway", "a proxy's page: its title");
    fails(p, 503, "<html>nothing</html>", "provider_unavailable: HTTP 503", "a page without one");
    fails(p, 503, "  upstream connect error\n", "provider_unavailable: HTTP 503: upstream connect error", "a plain text");
    fails(p, 503, "", "provider_unavailable: HTTP 503", "nothing");
    fails(p, 500, "{\"error\":", "provider_unavailable: HTTP 500", "half of an object");
    fails(&provider_gemini, 503, "[{\"error\":{\"code\":503,\"message\":\"busy\"}}]", "provider_unavailable: HTTP 503: busy", "Gemini's array");
    fails(&provider_gemini, 404, "<html><title>Error 404</title>", "provider_rejected: HTTP 404: Error 404", "and Google's page");
    fails(&provider_bedrock, 400, "{\"Message\":\"no\"}", "provider_rejected: HTTP 400: no", "Bedrock's other case");
    fails(&provider_bedrock, 503, "no healthy upstream", "provider_unavailable: HTTP 503: no healthy upstream", "and a text");

    fails(&provider_anthropic, 400, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Your credit balance is too low to go on\"}}",
          "provider_auth: HTTP 400: the provider refuses the API key, or its account", "an account without money");
    fails(p, 400, "{\"code\":\"Client specified an invalid argument\",\"error\":\"Incorrect API key provided: ab***cd.\"}",
          "provider_auth: HTTP 400: the provider refuses the API key, or its account", "a key that is none, as xAI says it");
    fails(p, 500, "{\"error\":{\"code\":500,\"message\":\"Context size has been exceeded.\"}}", "context_length: HTTP 500: Context size has been exceeded.", "llama.cpp's prompt that is too long");
    fails(p, 400, "{\"error\":{\"message\":\"All messages are too long.\",\"type\":\"too_many_prompt_tokens\"}}", "context_length: HTTP 400: All messages are too long.", "and GitHub's");
    fails(p, 500, "{\"error\":{\"message\":\"content policy service failed\"}}", "provider_unavailable: HTTP 500: content policy service failed", "a 500 is no verdict");
}

int main(void)
{
    arena = arena_new(65536);
    test_openai();
    test_usage();
    test_gemini();
    test_others();
    test_errors();
    test_shapes();
    arena_free(arena);
    return done_testing();
}
