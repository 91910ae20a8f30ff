/* Talks to providers: the engine behind every wire format. */
#include <stdio.h>
#include <strings.h>

#include "base/json.h"
#include "base/logger.h"
#include "base/util.h"
#include "io/eventstream.h"
#include "io/http.h"
#include "io/json_stream.h"
#include "io/sse.h"
#include "llm/fault.h"
#include "llm/format.h"
#include "llm/retry_after.h"
#include "run/loop.h"

#define REQUEST_MAX  (64u << 20)        /* bytes of a request body */
#define BODY_MAX     (16u << 20)        /* bytes of an answer that is no stream, and of one event: a picture is one (Gemini) */
#define ERROR_MAX    (64u << 10)        /* bytes read of an error's body */
#define ERROR_MS     5000               /* for an error's body */
#define TAIL_MS      5000               /* after the finish: for usage and [DONE] */
#define CLOSE_MS     20                 /* after [DONE]: for the end of the body, so that the connection can be used again */

struct llm_call {
    const format_t      *format;
    const llm_request_t *q;             /* the caller's */
    http_t              *http;
    sse_t                sse;
    eventstream_t        binary;        /* Amazon's framing */
    json_stream_t        json;
    bool                 stream;        /* events, not one JSON answer */
    bool                 is_binary;     /* they come in Amazon's framing, not as server-sent events */
    bool                 is_array;      /* they come as the elements of a JSON array */
    bool                 begun;         /* a piece has come */
    uint64_t             since;         /* loop_now() of the start, or of the last piece */
    bool                 over;          /* nothing more to read; rc says how it ended */
    int                  rc;
    reply_t              read;
};

static uint64_t within(uint64_t ms, uint64_t deadline)
{
    return ms == 0 ? deadline : SI_MIN(loop_now() + ms, deadline);
}

/* The request */

void format_header(format_request_t *out, const char *line)
{
    for (size_t i = 0; i < FORMAT_HEADERS; i++) {
        if (out->headers[i] == NULL) {
            out->headers[i] = line;
            return;
        }
    }
    si_die("a model call has more than %d headers", FORMAT_HEADERS);
}

int format_unsupported(llm_error_t *err, const char *kind, const char *what)
{
    return provider_fail(err, SI_EINVAL, "unsupported", 0, false, "a provider of kind %s cannot be asked for %s", kind, what);
}

/* Not every format has a word for who of several participants speaks. */
static int refuse_names(const llm_call_t *c, llm_error_t *err)
{
    const llm_request_t *q = c->q;

    for (size_t i = 0; i < q->nmessages && !c->format->names; i++) {
        const chat_message_t *m = &q->messages[i];

        if (m->nparts > 0 && m->parts[m->nparts - 1].kind == PART_NAME) {
            return format_unsupported(err, q->model->provider->kind, "the name of a participant");
        }
    }
    return 0;
}

static int co_start(llm_call_t *c, arena_t *a, llm_error_t *err)
{
    format_request_t put = { .headers = { "Content-Type: application/json", "Accept: text/event-stream, application/json" } };
    int              rc = refuse_names(c, err);

    if (rc != 0) {
        return rc;
    }
    if (c->format->accept != NULL) {
        put.headers[1] = c->format->accept;
    }
    buf_init(&put.body, REQUEST_MAX);
    rc = c->format->co_put(a, c->q, &put, err);
    if (rc == SI_ENOMEM) {
        rc = provider_fail(err, rc, "provider_rejected", 0, false, "the request is longer than %u bytes", REQUEST_MAX);
    }
    if (rc == 0 && c->q->traceparent != NULL) {
        format_header(&put, c->q->traceparent);
    }
    if (rc == 0) {
        c->http = http_start(&(http_spec_t) {
            .method = "POST",
            .url = put.url,
            .headers = put.headers,
            .body = { put.body.p, put.body.n },
            .connect_ms = (uint32_t) SI_MIN(c->q->model->provider->connect_ms, UINT32_MAX),
        });
    }
    buf_free(&put.body);
    return rc;
}

/* Failures of the transport. SI_ECANCELED leaves *err as it is. */

static int fail_timeout(llm_call_t *c, llm_error_t *err, const char *what)
{
    if (clock_ms() >= c->q->deadline) {
        what = "the call's time is up";
    }
    return provider_fail(err, SI_ETIMEDOUT, "provider_timeout", 0, true, "%s", what);
}

static int fail_head(llm_call_t *c, int rc, llm_error_t *err)
{
    if (rc == SI_ETIMEDOUT) {
        return fail_timeout(c, err, "the provider did not answer in time");
    }
    if (rc == SI_ECANCELED) {
        return rc;
    }
    return provider_fail(err, SI_EUNAVAIL, "provider_unavailable", 0, true, "no answer from the provider: %s", http_reason(c->http));
}

static int fail_read(llm_call_t *c, int rc, llm_error_t *err)
{
    if (rc == SI_ETIMEDOUT) {
        return fail_timeout(c, err, c->begun ? "the provider has fallen silent" : "the provider did not begin its answer in time");
    }
    if (rc == SI_ECANCELED) {
        return rc;
    }
    if (rc == SI_ENOMEM) {
        return provider_fail(err, rc, "provider_protocol", 0, false, "the provider's answer is too long");
    }
    return provider_fail(err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider's answer was cut: %s", http_reason(c->http));
}

/* The head */

static bool is_type(const char *header, const char *type)
{
    size_t n = strlen(type);

    return strncasecmp(header, type, n) == 0 && (header[n] == '\0' || header[n] == ';' || header[n] == ' ');
}

static const char *header(void *arg, const char *name)
{
    return http_header(arg, name);
}

static int co_bad_status(llm_call_t *c, arena_t *a, int status, llm_error_t *err)
{
    const conf_provider_t *p = c->q->model->provider;
    str_t    body = STR_NULL;
    int      rc = co_http_body(c->http, a, ERROR_MAX, &body, within(ERROR_MS, c->q->deadline));
    uint64_t ms = 0;

    if (rc == SI_ECANCELED) {
        return rc;
    }
    /* The status counts, whatever became of the message. */
    body = rc == 0 ? body : STR_NULL;
    rc = c->format->status != NULL ? c->format->status(err, a, p->api_key, status, body) : reply_status(err, a, p->api_key, status, body);
    fault_reason(err, body);
    ms = retry_after(header, c->http, status, clock_wall_ms());
    err->retry_ms = ms > 0 ? ms : SI_MAX(err->retry_ms, retry_after_body(body));
    return rc;
}

static int co_head(llm_call_t *c, arena_t *a, llm_error_t *err)
{
    int         status = co_http_head(c->http, within(c->q->model->provider->first_byte_ms, c->q->deadline));
    const char *type;

    if (status < 0) {
        return fail_head(c, status, err);
    }
    if (status < 200 || status > 299) {
        return co_bad_status(c, a, status, err);
    }
    type = http_header(c->http, "content-type");
    c->is_binary = type != NULL && is_type(type, "application/vnd.amazon.eventstream");
    c->stream = type == NULL || c->is_binary || is_type(type, "text/event-stream");
    c->is_array = !c->stream && c->format->array;
    if (!c->stream && !is_type(type, "application/json")) {
        return provider_fail(err, SI_EPROTO, "provider_protocol", status, false, "the provider answered neither events nor JSON");
    }
    c->stream = c->stream || c->is_array;
    return 0;
}

/* The log gets all that the transport says, clients no names of hosts. */
static void note_failure(const llm_call_t *c, int rc, llm_error_t *err)
{
    const conf_model_t *m = c->q->model;
    const char         *why = c->http != NULL ? http_error(c->http) : "";
    char                status[12];

    if (rc != SI_ECANCELED) {
        snprintf(status, sizeof status, "%d", err->status);
        log_line(LOG_WARN, "model call failed", "provider", m->provider->name, "model", m->name, "code", err->code,
                 "status", err->status != 0 ? status : NULL, "why", why[0] != '\0' ? why : NULL, NULL);
        provider_hide(err, m->provider);
    }
}

void remote_close(llm_call_t *c)
{
    if (c->http != NULL) {
        http_close(c->http);
        c->http = NULL;
        sse_free(&c->sse);
        eventstream_free(&c->binary);
        json_stream_free(&c->json);
        reply_free(&c->read);
    }
}

int co_remote_open(const provider_t *p, arena_t *a, const llm_request_t *q, llm_call_t **out, llm_error_t *err)
{
    llm_call_t *c = arena_calloc(a, sizeof *c);
    int         rc;

    c->q = q;
    c->format = p->format;
    c->since = loop_now();
    *out = NULL;
    rc = co_start(c, a, err);
    if (rc == 0) {
        sse_init(&c->sse, BODY_MAX);
        eventstream_init(&c->binary, BODY_MAX);
        json_stream_init(&c->json, BODY_MAX);
        reply_init(&c->read, a, q->model->provider->api_key, q->answer_max);
        rc = co_head(c, a, err);
    }
    if (rc != 0) {
        note_failure(c, rc, err);
        remote_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

/* The body */

static void end(llm_call_t *c, int rc)
{
    char unsaid[24];

    c->over = true;
    c->rc = rc;
    reply_estimate(&c->read, c->q);
    if (rc == 0 && !c->read.finished) {
        snprintf(c->read.result.finish, sizeof c->read.result.finish, "%s", c->read.calls > 0 ? "tool_calls" : "stop");
    }
    if (c->read.result.unsaid > 0) {
        snprintf(unsaid, sizeof unsaid, "%zu", c->read.result.unsaid);
        log_line(LOG_INFO, "an answer had more than can be passed on", "model", c->q->model->name, "pieces", unsaid, NULL);
    }
    if (rc != 0) {
        note_failure(c, rc, &c->read.err);
    }
}

/* An event that is an error is looked at as the body of one is. */
static int read_event(llm_call_t *c, str_t type, str_t data)
{
    int rc = c->format->event(&c->read, type, data);

    if (rc != 0) {
        fault_reason(&c->read.err, data);
    }
    return rc;
}

static int take_event(const sse_event_t *e, void *arg)
{
    return read_event(arg, e->event, e->data);
}

/* Exceptions have a name as events have; what the framing itself calls an error has a message only. */
static int take_message(const es_message_t *m, void *arg)
{
    llm_call_t *c = arg;
    str_t       type = es_string(m, ":message-type");

    if (str_is(type, "error")) {
        return reply_error(&c->read, 0, es_string(m, ":error-message"));
    }
    return read_event(c, es_string(m, str_is(type, "exception") ? ":exception-type" : ":event-type"), m->payload);
}

static int take_element(str_t object, void *arg)
{
    return read_event(arg, STR(""), object);
}

static int feed_array(llm_call_t *c, str_t bytes)
{
    int rc = json_stream_feed(&c->json, bytes.p, bytes.n, take_element, c);

    c->read.done = c->read.finished && json_stream_done(&c->json);
    return rc;
}

static void feed(llm_call_t *c, str_t bytes)
{
    int rc = c->is_array ? feed_array(c, bytes)
             : c->is_binary ? eventstream_feed(&c->binary, bytes.p, bytes.n, take_message, c)
                            : sse_feed(&c->sse, bytes.p, bytes.n, take_event, c);

    if (c->binary.why != NULL) {
        rc = provider_fail(&c->read.err, SI_EPROTO, "provider_protocol", 0, true, "the provider's stream is damaged: %s", c->binary.why);
    } else if (rc == SI_ENOMEM && c->read.err.code[0] == '\0') {
        rc = provider_fail(&c->read.err, SI_EPROTO, "provider_protocol", 0, true, "an event of the provider is longer than %u bytes", BODY_MAX);
    } else if (rc == SI_EPROTO && c->read.err.code[0] == '\0') {
        rc = reply_malformed(&c->read, "it is no array of objects");
    }
    if (rc != 0) {
        end(c, rc);
    }
}

/* The stream is over, in whatever way: rc as of co_http_read(). */
static void stream_ended(llm_call_t *c, int rc)
{
    llm_error_t *err = &c->read.err;

    if (rc == SI_ECANCELED) {
        end(c, rc);
        return;
    }
    if (rc == 0 && !c->is_binary) {     /* some servers forget the empty line after the last event */
        c->read.lenient = true;
        feed(c, STR("\n\n"));
    }
    if (c->over) {
        return;
    }
    if (c->read.finished || c->read.done) {
        end(c, 0);
    } else if (rc == 0) {
        end(c, provider_fail(err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider's stream ended before its finish"));
    } else {
        end(c, fail_read(c, rc, err));
    }
}

/* When to give up: the first piece, or the next one, is due whatever keep-alives come. */
static uint64_t due(const llm_call_t *c)
{
    const conf_provider_t *p = c->q->model->provider;
    uint64_t               ms = c->begun ? p->idle_ms : p->first_token_ms;

    if (c->read.finished) {
        return SI_MIN(loop_now() + (p->idle_ms == 0 ? TAIL_MS : SI_MIN(p->idle_ms, (uint64_t) TAIL_MS)), c->q->deadline);
    }
    return ms == 0 ? c->q->deadline : SI_MIN(c->since + ms, c->q->deadline);
}

static void co_read_events(llm_call_t *c)
{
    str_t bytes;
    int   rc = co_http_read(c->http, &bytes, due(c));

    if (rc == 1) {
        feed(c, bytes);
    } else {
        stream_ended(c, rc);
    }
    if (c->read.pieces.n > 0) {
        c->begun = true;
        c->since = loop_now();
    }
}

static void co_read_done(llm_call_t *c)
{
    uint64_t until = SI_MIN(clock_ms() + CLOSE_MS, c->q->deadline);
    str_t    bytes;
    int      rc;

    do {
        rc = co_http_read(c->http, &bytes, until);
    } while (rc == 1);
    end(c, rc == SI_ECANCELED ? rc : 0);
}

/* What is called JSON may be events: some relays say so of all they pass on. */
static bool is_events(str_t body)
{
    return (body.n > 5 && memcmp(body.p, "data:", 5) == 0) || (body.n > 6 && memcmp(body.p, "event:", 6) == 0);
}

static void co_read_whole(llm_call_t *c, arena_t *a)
{
    str_t body;
    int   rc = co_http_body(c->http, a, BODY_MAX, &body, within(c->q->model->provider->idle_ms, c->q->deadline));

    if (rc != 0) {
        end(c, fail_read(c, rc, &c->read.err));
    } else if (is_events(body)) {
        feed(c, body);
        if (!c->over) {
            stream_ended(c, 0);
        }
    } else {
        rc = c->format->whole(&c->read, body);
        if (rc != 0) {
            fault_reason(&c->read.err, body);
        }
        end(c, rc);
    }
}

int co_remote_next(llm_call_t *c, chat_event_t *ev, llm_error_t *err)
{
    while (!reply_next(&c->read, ev)) {
        if (c->over) {
            if (c->rc != 0 && c->rc != SI_ECANCELED) {
                *err = c->read.err;
            }
            return c->rc;
        }
        if (!c->stream) {
            co_read_whole(c, c->read.arena);
        } else if (c->read.done) {
            co_read_done(c);
        } else {
            co_read_events(c);
        }
    }
    return 1;
}

const llm_result_t *remote_result(const llm_call_t *c)
{
    return &c->read.result;
}
