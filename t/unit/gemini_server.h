/* What the scripted provider of t/unit/gemini.c says: POST /<script>/up/m:streamGenerateContent. */
#ifndef SI_TEST_GEMINI_SERVER_H
#define SI_TEST_GEMINI_SERVER_H

#include "provider_test.h"

#define SAY(parts, more)  "{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[" parts "]}" more "}],\"modelVersion\":\"m-1\",\"responseId\":\"r-1\"}"
#define HELLO(t)          SAY("{\"text\":\"" t "\"}", "")
#define USED              ",\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":3,\"thoughtsTokenCount\":4,\"totalTokenCount\":16,\"cachedContentTokenCount\":2,\"toolUsePromptTokenCount\":4}"
#define STOP(why)         "{\"candidates\":[{\"finishReason\":\"" why "\"}]" USED "}"
#define EVENT(json)       "data: " json "\r\n\r\n"
#define CALL(members)     EVENT(SAY("{\"functionCall\":{" members "}}", ""))
#define ERROR(code, why, details)  "{\"error\":{\"code\":" #code ",\"message\":\"" why "\",\"status\":\"X\",\"details\":[" details "]}}"
#define RETRY(after)      "{\"@type\":\"type.googleapis.com/google.rpc.Help\"},{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":" after "}"
#define BAD_KEY           "{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"API_KEY_INVALID\"}"

static const stream_t streams[] = {
    { "whole", EVENT(HELLO("Hel")) EVENT(HELLO("lo")) EVENT(STOP("STOP")) },
    { "length", EVENT(HELLO("Hello")) EVENT("{\"candidates\":[{\"finishReason\":\"MAX_TOKENS\"}]}") },
    { "unspecified", EVENT(SAY("{\"text\":\"Hello\"}", ",\"finishReason\":\"FINISH_REASON_UNSPECIFIED\"")) EVENT(STOP("STOP")) },
    { "SAFETY", EVENT(HELLO("Hello")) EVENT(STOP("SAFETY")) },
    { "RECITATION", EVENT(HELLO("Hello")) EVENT(STOP("RECITATION")) },
    { "BLOCKLIST", EVENT(HELLO("Hello")) EVENT(STOP("BLOCKLIST")) },
    { "PROHIBITED_CONTENT", EVENT(HELLO("Hello")) EVENT(STOP("PROHIBITED_CONTENT")) },
    { "SPII", EVENT(HELLO("Hello")) EVENT(STOP("SPII")) },
    { "MALFORMED_FUNCTION_CALL", EVENT(HELLO("Hello")) EVENT(STOP("MALFORMED_FUNCTION_CALL")) },
    { "UNEXPECTED_TOOL_CALL", EVENT(HELLO("Hello")) EVENT(STOP("UNEXPECTED_TOOL_CALL")) },
    { "LANGUAGE", EVENT(HELLO("Hello")) EVENT(STOP("LANGUAGE")) },
    { "OTHER", EVENT(HELLO("Hello")) EVENT(STOP("OTHER")) },
    { "blocked", EVENT("{\"promptFeedback\":{\"blockReason\":\"PROHIBITED_CONTENT\"},\"modelVersion\":\"m-1\",\"usageMetadata\":{\"promptTokenCount\":9,\"totalTokenCount\":9}}") },
    { "cut-counted", EVENT(HELLO("Hel")) EVENT("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"lo\"}]}}]" USED "}") },
    { "neither", EVENT(HELLO("Hello")) },
    { "nothing", "" },
    { "no-blank", EVENT(HELLO("Hello")) "data: " STOP("STOP") },
    { "half", EVENT(HELLO("Hello")) "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"wor" },
    { "malformed", EVENT(HELLO("Hello")) "data: {\"candidates\":[}\n\n" EVENT(STOP("STOP")) },
    { "no-object", EVENT(HELLO("Hello")) "data: 17\n\n" EVENT(STOP("STOP")) },
    { "error", EVENT(HELLO("Hello")) EVENT(ERROR(503, "overloaded, key sk-abcdefgh12345", "")) EVENT(STOP("STOP")) },
    { "error-429", EVENT(ERROR(429, "slow down", RETRY("\"1.5s\""))) },
    { "error-key", EVENT(ERROR(400, "API key not valid: key-of-test", BAD_KEY)) },
    { "places", CALL("\"name\":\"f\",\"willContinue\":true") CALL("\"partialArgs\":[{\"jsonPath\":\"$.a[1]\",\"numberValue\":1}],\"willContinue\":true") EVENT(STOP("STOP")) },
    { "no-path", CALL("\"name\":\"f\",\"willContinue\":true") CALL("\"partialArgs\":[{\"jsonPath\":\"a\",\"numberValue\":1}]") EVENT(STOP("STOP")) },
    { "parts", EVENT(SAY("{\"text\":\"hm\",\"thought\":true,\"thoughtSignature\":\"S1\"},{\"text\":\"\\u00e4b\"},{\"executableCode\":{\"code\":\"x\"}},{\"text\":\"\",\"thoughtSignature\":\"S2\"}", ""))
               EVENT(SAY("{\"functionCall\":{\"id\":\"i1\",\"name\":\"f\",\"args\":{\"n\":0.3}},\"thoughtSignature\":\"S3\"},{\"functionCall\":{\"name\":\"g\"}},{\"functionCall\":{}}", ""))
               EVENT("{\"candidates\":[{\"index\":1,\"content\":{\"parts\":[{\"text\":\"other\"}]}}]}") EVENT(STOP("STOP")) },
    { "pieces", CALL("\"name\":\"f\",\"willContinue\":true")
                CALL("\"partialArgs\":[{\"jsonPath\":\"$.s\",\"stringValue\":\"a\\u00e4\",\"willContinue\":true}],\"willContinue\":true")
                CALL("\"partialArgs\":[{\"jsonPath\":\"$.s\",\"stringValue\":\"b\"}],\"willContinue\":true")
                CALL("\"partialArgs\":[{\"jsonPath\":\"$['k.1'][0].t\",\"boolValue\":true},{\"jsonPath\":\"$['k.1'][0].n\",\"nullValue\":\"NULL_VALUE\"},{\"jsonPath\":\"$['k.1'][1]\",\"numberValue\":2}],\"willContinue\":true")
                CALL("\"partialArgs\":[{\"jsonPath\":\"$.open\",\"stringValue\":\"x\",\"willContinue\":true}],\"willContinue\":true")
                CALL("\"name\":\"g\",\"args\":{},\"willContinue\":true") EVENT(STOP("STOP")) },
    { NULL, NULL },
};

static const answer_t answers[] = {
    { "400", "400 Bad Request", "application/json", ERROR(400, "Invalid value, key-of-test", "") },
    { "400-key", "400 Bad Request", "application/json", "[" ERROR(400, "API key not valid. key-of-test", BAD_KEY) "]" },
    { "403", "403 Forbidden", "application/json", ERROR(403, "no", "") },
    { "404", "404 Not Found", "application/json", ERROR(404, "no such model", "") },
    { "429", "429 Too Many Requests", "application/json", "[" ERROR(429, "quota", RETRY("\"34.4s\"")) "]" },
    { "429-none", "429 Too Many Requests", "application/json", ERROR(429, "quota", "") },
    { "429-long", "429 Too Many Requests", "application/json", ERROR(429, "quota", RETRY("\"9999999999s\"")) },
    { "429-odd", "429 Too Many Requests", "application/json", ERROR(429, "quota", RETRY("\"soon\"")) },
    { "503", "503 Service Unavailable", "text/html", "<html>" },
    { "html", "200 OK", "text/html", "<html>captive portal</html>" },
    { "json", "200 OK", "application/json; charset=UTF-8", "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"whole\"}]},\"finishReason\":\"STOP\"}],\"modelVersion\":\"j\"" USED "}" },
    { "json-error", "200 OK", "application/json", ERROR(503, "no", "") },
    { "json-cut", "200 OK", "application/json", HELLO("Hello") },
    { "array", "200 OK", "application/json", " [ " HELLO("Hel") "\n,\r\n" HELLO("lo") "," STOP("STOP") "\n]\n" },
    { "array-open", "200 OK", "application/json", "[" HELLO("Hello") "," STOP("STOP") },
    { "array-cut", "200 OK", "application/json", "[" HELLO("Hello") ",{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"wor" },
    { "array-short", "200 OK", "application/json", "[" HELLO("Hello") "]" },
    { "array-empty", "200 OK", "application/json", "[]" },
    { "array-error", "200 OK", "application/json", "[" HELLO("Hello") "," ERROR(429, "slow", RETRY("\"3s\"")) "]" },
    { "array-bad", "200 OK", "application/json", "[" HELLO("Hello") ",{\"candidates\":[}]}]" },
    { "array-odd", "200 OK", "application/json", "[" HELLO("Hello") ",17]" },
    { "array-comma", "200 OK", "application/json", "[" HELLO("Hello") " " HELLO("no") "]" },
    { "array-more", "200 OK", "application/json", "[" HELLO("Hello") "] x" },
    { "text", "200 OK", "application/json", "\"Hello\"" },
    { NULL, NULL, NULL, NULL },
};

static script_t script = {
    .tail = "/up/m:stream", .streams = streams, .answers = answers, .hello = EVENT(HELLO("Hello")), .finish = EVENT("{\"candidates\":[{\"finishReason\":\"STOP\"}]}"),
    .first = EVENT(HELLO("first")), .second = EVENT(HELLO("second")) EVENT(STOP("STOP")), .unmarked = true,
    .array_first = "[" HELLO("first"), .array_second = "," HELLO("second") "," STOP("STOP") "]",
    .echo_head = "{\"candidates\":[{\"finishReason\":\"STOP\",\"content\":{\"parts\":[{\"text\":\"", .echo_tail = "\"}]}}]}",
};

#endif
