#include "api/problem.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/util.h"

#define ANSWER_MS  60000

static const char *title(int status)
{
    static const struct { int status; const char *title; } titles[] = {
        { 400, "Bad Request" }, { 401, "Unauthorized" }, { 402, "Payment Required" }, { 403, "Forbidden" }, { 404, "Not Found" },
        { 405, "Method Not Allowed" }, { 409, "Conflict" }, { 412, "Precondition Failed" },
        { 413, "Content Too Large" }, { 415, "Unsupported Media Type" }, { 422, "Unprocessable Content" },
        { 426, "Upgrade Required" }, { 429, "Too Many Requests" }, { 500, "Internal Server Error" }, { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
    };

    for (size_t i = 0; i < SI_COUNT(titles); i++) {
        if (titles[i].status == status) {
            return titles[i].title;
        }
    }
    return "Error";
}

void co_whole(call_t *call, call_head_t *head, str_t body)
{
    head->length = (int64_t) body.n;
    head->headers[head->nheaders][0] = "Cache-Control";
    head->headers[head->nheaders++][1] = "no-store";
    call_head(call, head);
    if (co_call_write(call, body.p, body.n, clock_ms() + ANSWER_MS)) {
        call_abort(call);
    } else {
        call_end(call);
    }
}

void co_json(call_t *call, int status, str_t body, size_t nheaders, const char *(*headers)[2])
{
    call_head_t head = { .status = status, .type = "application/json" };

    for (size_t i = 0; i < nheaders && head.nheaders < 6; i++) {
        if (headers[i][1]) {
            head.headers[head.nheaders][0] = headers[i][0];
            head.headers[head.nheaders++][1] = headers[i][1];
        }
    }
    co_whole(call, &head, body);
}

static void add_header(call_head_t *head, const char *name, const char *value)
{
    head->headers[head->nheaders][0] = name;
    head->headers[head->nheaders++][1] = value;
}

void problem_face_headers(call_t *call, call_head_t *head, const face_error_t *e)
{
    uint64_t ms = e != NULL ? e->retry_ms : 0;

    if (call->key.n > 0) {
        const char *id = arena_dup(call->arena, call->key.p, call->key.n);

        add_header(head, "X-Request-Id", id);       /* OpenAI's name for it, and Anthropic's */
        add_header(head, "Request-Id", id);
    }
    if (e != NULL && strcmp(e->code, "budget_exceeded") == 0) {
        add_header(head, "X-Should-Retry", "false");        /* OpenAI's and Anthropic's clients would try again at once */
    }
    if (ms > 0) {
        add_header(head, "Retry-After", arena_printf(call->arena, "%llu", (unsigned long long) (ms + 999) / 1000));
        add_header(head, "Retry-After-Ms", arena_printf(call->arena, "%llu", (unsigned long long) ms));
    }
}

/* The same in the words of a dialect. */
static void co_put_face(call_t *call, call_head_t *head, const face_error_t *e)
{
    buf_t b;

    head->type = "application/json";
    problem_face_headers(call, head, NULL);
    buf_init(&b, 8192);
    (void) call->face->error(&b, e);
    co_whole(call, head, (str_t) { b.p, b.n });
    buf_free(&b);
}

static void co_put(call_t *call, call_head_t *head, const char *code, const char *field, const char *detail)
{
    buf_t b;

    if (call->face != NULL) {
        co_put_face(call, head, &(face_error_t) { .status = head->status, .code = code, .field = field, .message = detail,
                                                 .request = call->key });
        return;
    }
    head->type = "application/problem+json";
    buf_init(&b, 8192);
    buf_printf(&b, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"code\":\"%s\",\"detail\":",
               title(head->status), head->status, code);
    buf_json_str(&b, str_of(detail));
    if (field) {
        buf_puts(&b, ",\"field\":");
        buf_json_str(&b, str_of(field));
    }
    buf_puts(&b, "}");
    co_whole(call, head, (str_t) { b.p, b.n });
    buf_free(&b);
}

void co_problem(call_t *call, int status, const char *code, const char *field, const char *fmt, ...)
{
    call_head_t head = { .status = status };
    char        detail[512];
    va_list     ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    if (status == 401) {
        /* RFC 6750 3.1, as nginx says it of other tokens */
        add_header(&head, "WWW-Authenticate", strcmp(code, "invalid_token") == 0 ? "Bearer realm=\"si\", error=\"invalid_token\"" : "Bearer realm=\"si\"");
    }
    if (status == 503 || status == 429) {
        add_header(&head, "Retry-After", "1");
    }
    co_put(call, &head, code, field, detail);
}

void co_problem_allow(call_t *call, const char *allow)
{
    call_head_t head = { .status = 405 };

    add_header(&head, "Allow", allow);
    co_put(call, &head, "method_not_allowed", NULL, "see the header Allow");
}

void co_problem_upgrade(call_t *call, const char *detail)
{
    call_head_t head = { .status = 426 };

    add_header(&head, "Upgrade", "websocket");
    add_header(&head, "Sec-WebSocket-Version", "13");
    co_put(call, &head, "upgrade_required", NULL, detail);
}

void co_problem_rc(call_t *call, int rc)
{
    switch (rc) {
    case SI_ENOENT:
        co_problem(call, 404, "not_found", NULL, "there is no such thing, or it is not yours");
        break;
    case SI_EUNAVAIL:
    case SI_ETIMEDOUT:
        co_problem(call, 503, "store_unavailable", NULL, "the store cannot be reached, try again");
        break;
    case SI_EAGAIN:
    case SI_ECONFLICT:
        co_problem(call, 503, "moving", NULL, "the conversation is changing hands, try again");
        break;
    case SI_ECANCELED:
    case SI_ECLOSED:
        call_abort(call);
        break;
    default:
        co_problem(call, 500, "internal", NULL, "something went wrong here; it is in the log");
    }
}
