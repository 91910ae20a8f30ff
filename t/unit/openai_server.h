/* What the scripted provider of t/unit/openai.c says: POST /<script>/chat/completions. */
#ifndef SI_TEST_OPENAI_SERVER_H
#define SI_TEST_OPENAI_SERVER_H

#include "provider_test.h"

#define TEXT(t)    "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"
#define FINISH     "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n"
#define DONE       "data: [DONE]\n\n"

static const stream_t streams[] = {
    { "whole", TEXT("Hel") TEXT("lo") FINISH USAGE DONE },
    { "no-done", TEXT("Hello") FINISH USAGE },
    { "no-finish", TEXT("Hello") DONE },
    { "neither", TEXT("Hello") },
    { "nothing", "" },
    { "no-blank", TEXT("Hello") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}" },
    { "half", TEXT("Hello") "data: {\"choices\":[{\"delta\":{\"content\":\"wor" },
    { "malformed", TEXT("Hello") "data: {\"choices\":[{]}\n\n" TEXT("no") FINISH DONE },
    { "no-object", TEXT("Hello") "data: 17\n\n" FINISH DONE },
    { "error", TEXT("Hello") "data: {\"error\":{\"message\":\"overloaded, key sk-abcdefgh12345\",\"type\":\"server_error\",\"code\":null}}\n\n" FINISH DONE },
    { "error-429", "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n" },
    { "error-type", "data: {\"error\":{\"message\":\"too long\",\"type\":\"invalid_request_error\"}}\n\n" },
    { "error-event", TEXT("Hello") "event: error\ndata: {\"message\":\"broken\"}\n\n" DONE },
    { "error-finish", TEXT("Hello") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n" DONE },
    { "quirks", "\xEF\xBB\xBF: hello\r\rdata:\r\rdata: \r\r"
                "data: {\"model\":\"q\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"reasoning\":\"th\",\"reasoning_content\":\"th\"}}],\"usage\":null}\r\r"
                "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}},{\"index\":0,\"delta\":{\"content\":\"\\u00e4b\"}}],\"error\":null}\r\r"
                "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}]}\r\r"
                "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\r\r"
                "data: [DONE]\r\r" },
    { NULL, NULL },
};

static const answer_t answers[] = {
    { "400", "400 Bad Request", "application/json", "{\"error\":{\"message\":\"This model's maximum context\\nlength is 8192, key-of-test\",\"type\":\"x\"}}" },
    { "401", "401 Unauthorized", "application/json", "{\"error\":{\"message\":\"Incorrect API key provided: key-of-test\"}}" },
    { "403", "403 Forbidden", "text/html", "<html>" },
    { "404", "404 Not Found", "application/json", "{\"error\":\"no model \\u00e4\"}" },
    { "408", "408 Request Timeout", "text/plain", "" },
    { "429", "429 Too Many Requests", "application/json", "[{\"error\":{\"message\":\"quota of sk-1234567890\"}}]" },
    { "500", "500 Internal Server Error", "text/plain", "oops" },
    { "529", "529 Overloaded", "application/json", "{\"detail\":\"busy\"}" },
    { "302", "302 Found", "text/plain", "" },
    { "html", "200 OK", "text/html", "<html>captive portal</html>" },
    { "json", "200 OK", "application/json; charset=utf-8",
      "{\"model\":\"j\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"content\":\"whole\"},\"finish_reason\":\"stop\"}],"
      "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}" },
    { "json-error", "200 OK", "application/json", "{\"error\":{\"message\":\"no\",\"code\":503}}" },
    { "json-none", "200 OK", "application/json", "{\"choices\":[],\"error\":null}" },
    { "json-bad", "200 OK", "application/json", "{\"choices\":[" },
    { NULL, NULL, NULL, NULL },
};

static script_t script = {
    .tail = "/chat/completions", .streams = streams, .answers = answers, .hello = TEXT("Hello"), .finish = FINISH,
    .first = TEXT("first"), .second = TEXT("second") FINISH DONE,
    .echo_head = "{\"choices\":[{\"message\":{\"content\":\"", .echo_tail = "\"},\"finish_reason\":\"stop\"}]}",
};

#endif
