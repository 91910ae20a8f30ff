/*
 * A wire format of model providers: how a request is written, and what the events of an answer say. remote.c does the
 * talking: connections, deadlines, framing (server-sent events, Amazon's event stream, or one JSON body), failures of the transport.
 */
#ifndef SI_FORMAT_H
#define SI_FORMAT_H

#include "base/buf.h"
#include "llm/provider.h"
#include "llm/reply.h"

#define FORMAT_HEADERS  16

/* The HTTP request. Strings are in the arena of the call. */
typedef struct {
    const char *url;
    const char *headers[FORMAT_HEADERS + 1];    /* "Name: value", NULL-terminated: Content-Type and Accept are there already */
    buf_t       body;                           /* remote.c frees it */
} format_request_t;

struct format {
    const char *accept;             /* the header "Accept: …"; NULL: server-sent events or JSON */
    bool names;                     /* it has a word for PART_NAME; the engine refuses that for the others */
    /* Writes the request; may wait (credentials). 0, or SI_E* with *err: what the format cannot say is refused ("unsupported"), never left out. */
    int (*co_put)(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err);
    /* One event of the stream: its type ("" when it has none) and data, whole. Calls reply_*(). 0, or SI_E* with r->err. */
    int (*event)(reply_t *r, str_t type, str_t data);
    /* An answer that is JSON is one array of events, or one event: it is streamed as well, and there is no whole(). */
    bool array;
    /* A whole answer that is JSON and no stream. 0, or SI_E* with r->err. */
    int (*whole)(reply_t *r, str_t body);
    /* What an answer of HTTP status >= 300 with this body means; NULL: reply_status(). Returns SI_E*. */
    int (*status)(llm_error_t *err, arena_t *a, const char *secret, int status, str_t body);
};

/* Adds a header; there is room for FORMAT_HEADERS. */
void format_header(format_request_t *out, const char *line);
/* Refuses what this format has no word for: fills *err, returns SI_EINVAL. what: "top_k", "parallel_tool_calls"… */
int  format_unsupported(llm_error_t *err, const char *kind, const char *what);

/* The engine's part of provider_t; see FORMAT_PROVIDER. */
int  co_remote_open(const provider_t *p, arena_t *a, const llm_request_t *q, llm_call_t **out, llm_error_t *err);
int  co_remote_next(llm_call_t *c, chat_event_t *ev, llm_error_t *err);
const llm_result_t *remote_result(const llm_call_t *c);
void remote_close(llm_call_t *c);

#define FORMAT_PROVIDER(name, vtable) \
    { .kind = (name), .format = (vtable), .co_open = co_remote_open, .co_next = co_remote_next, .result = remote_result, .close = remote_close }

/* Asks Anthropic for the tokens of a request: the result's input_tokens, and no event. */
extern const provider_t provider_anthropic_count;
extern const provider_t provider_openai, provider_responses, provider_anthropic, provider_bedrock, provider_gemini;

#endif
