/* What the scripted provider of t/unit/responses.c says: POST /<script>/responses. */
#ifndef SI_TEST_RESPONSES_SERVER_H
#define SI_TEST_RESPONSES_SERVER_H

#include "provider_test.h"

#define DONE       "data: [DONE]\n\n"
#define EVENT(t, members)   "event: " t "\ndata: {\"type\":\"" t "\"," members "}\n\n"
#define CREATED    EVENT("response.created", "\"response\":{\"id\":\"resp_1\",\"model\":\"m-1\",\"status\":\"in_progress\",\"error\":null,\"usage\":null}")
#define TEXT(t)    EVENT("response.output_text.delta", "\"output_index\":0,\"content_index\":0,\"delta\":\"" t "\"")
#define END(how, more)      EVENT("response." how, "\"response\":{\"id\":\"resp_1\",\"model\":\"m-1\",\"status\":\"" how "\",\"output\":[]" more "}")
#define USED       ",\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"total_tokens\":12,\"input_tokens_details\":{\"cached_tokens\":3,\"cache_write_tokens\":1},\"output_tokens_details\":{\"reasoning_tokens\":2}}"
#define MESSAGE(t) "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"" t "\",\"annotations\":[]}]}"
#define ITEM(when, i, item) EVENT("response.output_item." when, "\"output_index\":" #i ",\"item\":" item)

static const stream_t streams[] = {
    { "whole", CREATED TEXT("Hel") TEXT("lo") ITEM("done", 0, MESSAGE("Hello")) END("completed", USED) },
    { "marked", CREATED TEXT("Hello") END("completed", USED) DONE },
    { "no-finish", CREATED TEXT("Hello") DONE },
    { "neither", CREATED TEXT("Hello") },
    { "nothing", "" },
    { "no-blank", CREATED TEXT("Hello") "data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}}}" },
    { "half", CREATED TEXT("Hello") "data: {\"type\":\"response.output_text.delta\",\"delta\":\"wor" },
    { "malformed", CREATED TEXT("Hello") "data: {\"type\":[}\n\n" END("completed", USED) },
    { "no-object", CREATED TEXT("Hello") "data: 17\n\n" END("completed", USED) },
    { "index", CREATED TEXT("Hello") "data: {\"type\":\"response.output_text.delta\",\"output_index\":1024,\"delta\":\"no\"}\n\n" },
    { "filter", CREATED TEXT("Hello") END("incomplete", ",\"incomplete_details\":{\"reason\":\"content_filter\"}") },
    { "why", CREATED TEXT("Hello") END("incomplete", ",\"incomplete_details\":{\"reason\":\"something\"}") },
    { "cancelled", CREATED TEXT("Hello") END("cancelled", "") },
    { "failed", CREATED TEXT("Hello") END("failed", ",\"error\":{\"code\":\"server_error\",\"message\":\"broken, key sk-abcdefgh12345\"}") },
    { "failed-429", CREATED END("failed", ",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"slow down\"}") },
    { "failed-400", CREATED END("failed", ",\"error\":{\"code\":\"invalid_prompt\",\"message\":\"not this\"}") },
    { "error", CREATED TEXT("Hello") EVENT("error", "\"sequence_number\":2,\"code\":\"server_error\",\"message\":\"overloaded\",\"param\":null") },
    { "error-quota", CREATED EVENT("error", "\"error\":{\"type\":\"insufficient_quota\",\"code\":\"insufficient_quota\",\"message\":\"no money\"}") END("failed", "") },
    { "error-bare", CREATED TEXT("Hello") "data: {\"error\":{\"message\":\"broken\",\"code\":500}}\n\n" },
    { "refusal", CREATED EVENT("response.refusal.delta", "\"output_index\":0,\"delta\":\"I will not\"") END("completed", USED) },
    /* no deltas at all, no output_index, no data type: all of it from the finished items */
    { "items", "event: response.created\ndata: {\"response\":{\"id\":\"r\",\"model\":\"q\",\"status\":\"in_progress\"}}\n\n"
               ITEM("done", 0, "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"one\"},{\"type\":\"summary_text\",\"text\":\"two\"}],\"encrypted_content\":\"SEAL\"}")
               ITEM("done", 1, "{\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":\"BLIND\"}")
               ITEM("done", 2, MESSAGE("\\u00e4b"))
               ITEM("done", 3, "{\"type\":\"message\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"no\"}]}")
               ITEM("done", 4, "{\"type\":\"web_search_call\",\"id\":\"ws\"}")
               ITEM("done", 5, "{\"type\":\"function_call\",\"id\":\"fc\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}")
               ITEM("done", 6, "{\"type\":\"function_call\",\"id\":\"fd\",\"call_id\":\"c2\",\"name\":\"g\",\"arguments\":\"\"}")
               END("completed", USED) },
    { NULL, NULL },
};

static const answer_t answers[] = {
    { "400", "400 Bad Request", "application/json", "{\"error\":{\"message\":\"Unsupported parameter: 'temperature', key-of-test\",\"type\":\"invalid_request_error\"}}" },
    { "401", "401 Unauthorized", "application/json", "{\"error\":{\"message\":\"Incorrect API key provided: key-of-test\"}}" },
    { "429", "429 Too Many Requests", "application/json", "{\"error\":{\"message\":\"quota of sk-1234567890\"}}" },
    { "500", "500 Internal Server Error", "text/plain", "oops" },
    { "html", "200 OK", "text/html", "<html>captive portal</html>" },
    { "json", "200 OK", "application/json; charset=utf-8",
      "{\"id\":\"r\",\"model\":\"j\",\"object\":\"response\",\"status\":\"completed\",\"error\":null,\"output\":[" MESSAGE("whole") "]" USED "}" },
    { "json-length", "200 OK", "application/json",
      "{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"output\":[" MESSAGE("who") "]" USED "}" },
    { "json-failed", "200 OK", "application/json", "{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"no\"},\"output\":[]}" },
    { "json-error", "200 OK", "application/json", "{\"error\":{\"message\":\"no\",\"code\":503}}" },
    { "json-none", "200 OK", "application/json", "{\"status\":\"completed\"}" },
    { "json-open", "200 OK", "application/json", "{\"status\":\"in_progress\",\"output\":[]}" },
    { "json-bad", "200 OK", "application/json", "{\"output\":[" },
    { NULL, NULL, NULL, NULL },
};

static script_t script = {
    .tail = "/responses", .streams = streams, .answers = answers, .hello = CREATED TEXT("Hello"), .finish = END("completed", ""),
    .first = TEXT("first"), .second = TEXT("second") END("completed", USED),
    .echo_head = "{\"status\":\"completed\",\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"", .echo_tail = "\"}]}]}",
};

#endif
