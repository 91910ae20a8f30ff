/* What the scripted provider of t/unit/anthropic.c says: POST /<script>/messages. */
#ifndef SI_TEST_ANTHROPIC_SERVER_H
#define SI_TEST_ANTHROPIC_SERVER_H

#include "provider_test.h"

#define EVENT(type, rest)  "event: " type "\ndata: {\"type\":\"" type "\"" rest "}\n\n"
#define START      EVENT("message_start", ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"m-1\"," \
                   "\"stop_reason\":null,\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}")
#define BLOCK(body)  EVENT("content_block_start", ",\"index\":0,\"content_block\":{" body "}")
#define DELTA(body)  EVENT("content_block_delta", ",\"index\":0,\"delta\":{" body "}")
#define STOP       EVENT("content_block_stop", ",\"index\":0")
#define PING       EVENT("ping", "")
#define OPEN       START PING BLOCK("\"type\":\"text\",\"text\":\"\"")
#define TEXT(t)    DELTA("\"type\":\"text_delta\",\"text\":\"" t "\"")
#define END(reason)  STOP EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"" reason "\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":7}")
#define DONE       EVENT("message_stop", "")
#define ERROR(type, message)  EVENT("error", ",\"error\":{\"type\":\"" type "\",\"message\":\"" message "\"},\"request_id\":\"req_1\"")

static const stream_t streams[] = {
    { "whole", OPEN TEXT("Hel") PING TEXT("lo") END("end_turn") PING DONE },
    { "no-stop", OPEN TEXT("Hello") END("end_turn") },
    { "no-delta", OPEN TEXT("Hello") STOP DONE },
    { "neither", OPEN TEXT("Hello") STOP },
    { "nothing", "" },
    { "no-blank", OPEN TEXT("Hello") STOP "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},\"usage\":{\"output_tokens\":7}}" },
    { "half", OPEN TEXT("Hello") "data: {\"type\":\"content_block_delta\",\"del" },
    { "malformed", OPEN TEXT("Hello") "data: {\"type\":]}\n\n" TEXT("no") END("end_turn") DONE },
    { "no-object", OPEN TEXT("Hello") "data: 17\n\n" END("end_turn") DONE },
    { "done-only", OPEN TEXT("Hello") "data: [DONE]\n\n" },
    { "overloaded", OPEN TEXT("Hello") ERROR("overloaded_error", "Overloaded, key sk-ant-abcdefgh12345") },
    { "error-first", ERROR("overloaded_error", "Overloaded") },
    { "error-rate", ERROR("rate_limit_error", "slow down") },
    { "error-auth", ERROR("authentication_error", "invalid x-api-key key-of-test") },
    { "error-billing", ERROR("billing_error", "no credit") },
    { "error-permission", ERROR("permission_error", "no") },
    { "error-model", ERROR("not_found_error", "model: up") },
    { "error-large", ERROR("request_too_large", "too large") },
    { "error-invalid", ERROR("invalid_request_error", "prompt is too long") },
    { "error-api", ERROR("api_error", "Internal server error") },
    { "error-timeout", ERROR("timeout_error", "timed out") },
    { "error-new", ERROR("some_error", "what is this") },
    { "error-late", OPEN TEXT("Hello") END("end_turn") ERROR("api_error", "after the end") },
    { "again", START START PING OPEN TEXT("Hello") END("end_turn") DONE },
    { "spliced", OPEN TEXT("Hello") START BLOCK("\"type\":\"text\",\"text\":\"\"") TEXT("Bye") END("end_turn") DONE },
    { "stop-sequence", OPEN TEXT("Hello") STOP EVENT("message_delta",
      ",\"delta\":{\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"###\"},\"usage\":{\"output_tokens\":7}") DONE },
    { "context", OPEN TEXT("Hello") END("model_context_window_exceeded") DONE },
    { "pause", OPEN TEXT("Hello") END("pause_turn") DONE },
    { "tool-use", OPEN TEXT("Hello") END("tool_use") DONE },
    { "refusal", OPEN TEXT("Hello") END("refusal") DONE },
    { "new-reason", OPEN TEXT("Hello") END("something_new") DONE },
    { "unframed", "data: {\"type\":\"message_start\",\"message\":{\"model\":\"m-1\"}}\r\rdata:\r\rdata: \r\r"
                  "event: new_thing\rdata: {\"type\":\"new_thing\"}\r\r"
                  "event: content_block_delta\rdata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"\\u00e4b\"}}\r\r"
                  "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}\r\r"
                  "data: {\"type\":\"message_stop\"}\r\rdata: [DONE]\r\r" },
    { "cached", EVENT("message_start", ",\"message\":{\"id\":\"msg_2\",\"model\":\"m\",\"usage\":{\"input_tokens\":3,"
                "\"cache_read_input_tokens\":20,\"cache_creation_input_tokens\":100,\"output_tokens\":1}}")
                TEXT("Hello") EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":4,"
                "\"cache_read_input_tokens\":21,\"cache_creation_input_tokens\":null,\"output_tokens\":6}")
                EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9,"
                "\"output_tokens_details\":{\"thinking_tokens\":2}}") DONE },
    { "thinking", START BLOCK("\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"") DELTA("\"type\":\"thinking_delta\",\"thinking\":\"hm\"")
                  DELTA("\"type\":\"signature_delta\",\"signature\":\"si\"") DELTA("\"type\":\"signature_delta\",\"signature\":\"g1\"") STOP
                  BLOCK("\"type\":\"thinking\",\"thinking\":\"\"") DELTA("\"type\":\"signature_delta\",\"signature\":\"sig2\"") STOP
                  BLOCK("\"type\":\"redacted_thinking\",\"data\":\"r1\"") STOP BLOCK("\"type\":\"redacted_thinking\",\"data\":\"r2\"") STOP
                  BLOCK("\"type\":\"text\",\"text\":\"Hello\"") END("end_turn") DONE },
    { "calls", START BLOCK("\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}") DELTA("\"type\":\"input_json_delta\",\"partial_json\":\"\"")
               DELTA("\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"x\\\"\"") PING DELTA("\"type\":\"input_json_delta\",\"partial_json\":\":1}\"") STOP
               BLOCK("\"type\":\"tool_use\",\"id\":\"b\",\"name\":\"g\",\"input\":{\"y\":[2]}") STOP
               BLOCK("\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web_search\",\"input\":{}")
               DELTA("\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"q\\\":1}\"") STOP
               BLOCK("\"type\":\"web_search_tool_result\",\"tool_use_id\":\"s\",\"content\":[]") STOP
               BLOCK("\"type\":\"text\",\"text\":\"\"") DELTA("\"type\":\"citations_delta\",\"citation\":{}") STOP
               BLOCK("\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"h\",\"input\":{}") END("tool_use") DONE },
    { NULL, NULL },
};

static const answer_t answers[] = {
    { "400", "400 Bad Request", "application/json", "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is\\ntoo long\"}}" },
    { "401", "401 Unauthorized", "application/json", "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"invalid x-api-key\"}}" },
    { "404", "404 Not Found", "application/json", "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"model: up/m\"}}" },
    { "413", "413 Payload Too Large", "application/json", "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"too large\"}}" },
    { "429", "429 Too Many Requests", "application/json", "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"limit of sk-ant-1234567890\"}}" },
    { "500", "500 Internal Server Error", "text/plain", "oops" },
    { "529", "529 Overloaded", "application/json", "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}" },
    { "html", "200 OK", "text/html", "<html>captive portal</html>" },
    { "json", "200 OK", "application/json; charset=utf-8",
      "{\"id\":\"msg_j\",\"type\":\"message\",\"model\":\"j\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},"
      "{\"type\":\"text\",\"text\":\"whole\"}],\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}" },
    { "json-error", "200 OK", "application/json", "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"no\"}}" },
    { "json-none", "200 OK", "application/json", "{\"type\":\"message\"}" },
    { "json-bad", "200 OK", "application/json", "{\"content\":[" },
    { NULL, NULL, NULL, NULL },
};

static script_t script = {
    .tail = "/messages", .streams = streams, .answers = answers, .hello = OPEN TEXT("Hello"), .finish = END("end_turn"),
    .first = OPEN TEXT("first"), .second = TEXT("second") END("end_turn") DONE,
    .echo_head = "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"", .echo_tail = "\"}],\"stop_reason\":\"end_turn\"}",
};

#endif
