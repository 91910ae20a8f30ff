/*
 * libFuzzer target: the answers of models, all formats. The first two bytes choose the format and how the rest is cut; what is
 * said must be the same as when it is fed whole, valid UTF-8, and calls must begin before their arguments. What is cut has events
 * between that mean nothing: the short ways through a stream must say what the long ones do. Run by scripts/fuzz.
 */
#include "base/json.h"
#include "base/util.h"
#include "io/aws_creds.h"
#include "io/json_stream.h"
#include "io/sse.h"
#include "llm/anthropic_read.h"
#include "llm/bedrock.h"
#include "llm/format.h"
#include "llm/gemini_read.h"
#include "llm/openai_read.h"
#include "llm/responses_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define MAX  100000u        /* bytes of each kind of event */

/* Readers alone are tested: what else a provider has is not called, nor are credentials. */
const provider_t provider_openai, provider_responses, provider_anthropic, provider_bedrock, provider_gemini, provider_offline;

void aws_keys_refused(void)
{
}

/* A line of the input is an event; Bedrock's have their names before a space. */
static int bedrock_line(reply_t *r, str_t type, str_t data)
{
    const char *space = data.n > 0 ? memchr(data.p, ' ', data.n) : NULL;
    size_t      name = space != NULL ? (size_t) (space - data.p) : data.n;

    (void) type;
    return bedrock_read_event(r, (str_t) { data.p, name }, space != NULL ? (str_t) { space + 1, data.n - name - 1 } : STR(""));
}

static const struct { int (*event)(reply_t *r, str_t type, str_t data), (*whole)(reply_t *r, str_t body); const char *nothing; } formats[] = {
    { openai_read_event, openai_read_whole, "{\"choices\":[],\"x\":true}" }, { responses_read_event, responses_read_whole, "{\"type\":\"x\"}" },
    { anthropic_read_event, anthropic_read_whole, "{\"type\":\"ping\"}" }, { gemini_read_event, NULL, "{}" }, { bedrock_line, bedrock_read_whole, "x {}" },
};

typedef struct {
    reply_t       r;
    sse_t         sse;
    json_stream_t json;
    size_t        format;
    bool          array, apart;     /* apart: with events that mean nothing between */
    buf_t         said;
    int           kind;
    uint32_t      index;
} reader_t;

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

/* What is said, however it is cut: the kind and the call before each change. Ids may be made up. */
static void take_pieces(reader_t *d)
{
    chat_event_t ev;

    while (reply_next(&d->r, &ev)) {
        bool whole = ev.kind == CHAT_CALL || ev.kind == CHAT_SIGNATURE || ev.kind == CHAT_REDACTED;

        check(utf8_valid(ev.text) && ev.kind < CHAT_KINDS);
        check((ev.kind != CHAT_ARGS && ev.kind != CHAT_CALL) || ev.index < d->r.calls);
        if (whole || d->kind != (int) ev.kind || d->index != ev.index) {
            check(buf_printf(&d->said, "\1%d.%u ", (int) ev.kind, ev.index) == 0);
        }
        check(buf_puts(&d->said, ev.kind == CHAT_CALL ? ev.name : "") == 0 && buf_append(&d->said, ev.text.p, ev.text.n) == 0);
        d->kind = (int) ev.kind;
        d->index = ev.index;
    }
}

static int on_one(reader_t *d, str_t type, str_t data)
{
    int rc = formats[d->format].event(&d->r, type, data);

    return rc != 0 || !d->apart ? rc : formats[d->format].event(&d->r, STR(""), str_of(formats[d->format].nothing));
}

static int on_event(const sse_event_t *e, void *arg)
{
    return on_one(arg, e->event, e->data);
}

static int on_object(str_t object, void *arg)
{
    return on_one(arg, STR(""), object);
}

/* Pieces of 1 to 64 bytes by a simple generator; seed 0: whole. */
static int feed(reader_t *d, const char *p, size_t n, uint32_t seed)
{
    int rc = 0;

    while (rc == 0 && n > 0) {
        seed = seed != 0 ? seed * 1103515245u + 12345u : 0;
        size_t piece = seed != 0 ? SI_MIN(n, (seed >> 16) % 64 + 1) : n;

        rc = d->array ? json_stream_feed(&d->json, p, piece, on_object, d) : sse_feed(&d->sse, p, piece, on_event, d);
        take_pieces(d);
        p += piece;
        n -= piece;
    }
    return rc;
}

static void begin(reader_t *d, arena_t *a, uint8_t choice)
{
    *d = (reader_t) { .format = choice % SI_COUNT(formats), .kind = -1 };
    d->array = d->format == 3 && choice >= 128;
    reply_init(&d->r, a, "secret", MAX);
    sse_init(&d->sse, MAX);
    json_stream_init(&d->json, MAX);
    buf_init(&d->said, 16 * MAX);
}

static void end(reader_t *d)
{
    check(d->r.result.input_tokens >= -1 && d->r.result.output_tokens >= -1 && d->r.result.cached_tokens >= 0 && d->r.result.reasoning_tokens >= 0);
    reply_free(&d->r);
    sse_free(&d->sse);
    json_stream_free(&d->json);
    buf_free(&d->said);
}

static void read_body(arena_t *a, uint8_t choice, str_t body)
{
    reader_t    d;
    llm_error_t err = { .code = "" };

    begin(&d, a, choice);
    if (formats[d.format].whole != NULL) {
        (void) formats[d.format].whole(&d.r, body);
        take_pieces(&d);
    }
    end(&d);
    check(reply_status(&err, a, "secret", 500, body) < 0 && gemini_status(&err, a, "secret", 400, body) < 0 && bedrock_read_status(&err, a, "secret", 403, body) < 0);
    check(utf8_valid(str_of(err.detail)) && strstr(err.detail, "secret") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    const char *text = (const char *) p + 2;
    arena_t    *a;
    reader_t    one, two;
    int         r1, r2;

    if (n < 2) {
        return 0;
    }
    a = arena_new(4096);
    begin(&one, a, p[0]);
    begin(&two, a, p[0]);
    two.apart = true;
    r1 = feed(&one, text, n - 2, 0);
    r2 = feed(&two, text, n - 2, p[1] + 1u);
    check(r1 == r2 && one.said.n == two.said.n && (one.said.n == 0 || memcmp(one.said.p, two.said.p, one.said.n) == 0));
    check(one.r.finished == two.r.finished && one.r.done == two.r.done && strcmp(one.r.result.finish, two.r.result.finish) == 0
          && one.r.result.input_tokens == two.r.result.input_tokens && one.r.result.unsaid == two.r.result.unsaid);
    check(r1 == 0 || one.r.err.code[0] != '\0' || r1 == SI_ENOMEM || r1 == SI_EPROTO);
    end(&one);
    end(&two);
    read_body(a, p[0], (str_t) { text, n - 2 });
    arena_free(a);
    return 0;
}
