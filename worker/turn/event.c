#include "turn/event.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"

int event_pos_parse(str_t id, event_pos_t *pos)
{
    const char *dot = id.n ? memchr(id.p, '.', id.n) : NULL;
    uint64_t    turn, event;

    if (!dot || id.n > 40
        || parse_u64((str_t) { id.p, (size_t) (dot - id.p) }, &turn)
        || parse_u64((str_t) { dot + 1, (size_t) (id.p + id.n - dot - 1) }, &event)
        || turn > INT32_MAX || event > EVENT_ALL)
    {
        return SI_EINVAL;
    }
    *pos = (event_pos_t) { (int64_t) turn, (int64_t) event };
    return 0;
}

str_t event_pos_text(event_pos_t pos, char out[48])
{
    int n = snprintf(out, 48, "%" PRId64 ".%" PRId64, pos.turn, pos.event);
    return (str_t) { out, (size_t) n };
}

int64_t event_first(int attempt)
{
    return attempt == 0 ? 2 : (int64_t) attempt * EVENT_ATTEMPT + 1;
}

/* --- a small JSON writer: members are appended, the first error is kept --- */

typedef struct {
    buf_t *b;
    int    rc;
} out_t;

static void raw(out_t *o, const char *z)
{
    if (!o->rc) {
        o->rc = buf_puts(o->b, z);
    }
}

static void text(out_t *o, str_t s)
{
    if (!o->rc) {
        o->rc = buf_json_str(o->b, s);
    }
}

static void member(out_t *o, const char *name, const char *value)
{
    raw(o, ",\"");
    raw(o, name);
    raw(o, "\":");
    text(o, str_of(value ? value : ""));
}

static void number(out_t *o, const char *name, int64_t value)
{
    if (o->rc) {
        return;
    }
    if (value < 0) {
        o->rc = buf_printf(o->b, ",\"%s\":null", name);
    } else {
        o->rc = buf_printf(o->b, ",\"%s\":%" PRId64, name, value);
    }
}

static void flag(out_t *o, const char *name, bool value)
{
    raw(o, ",\"");
    raw(o, name);
    raw(o, value ? "\":true" : "\":false");
}

static out_t begin(buf_t *b, const turn_row_t *t, int64_t n, const char *type)
{
    out_t o = { b, 0 };

    o.rc = buf_printf(b, "id: %" PRId64 ".%" PRId64 "\nevent: %s\ndata: {\"type\":\"%s\",\"turn\":\"%s\"",
                      t->number, n, type, type, t->id);
    return o;
}

/* Cuts the event off again when it did not fit, so that the buffer holds whole events only. */
static int finish(out_t *o, size_t before)
{
    raw(o, "}\n\n");
    if (o->rc) {
        o->b->n = before;
    }
    return o->rc;
}

static void usage(out_t *o, const turn_row_t *t)
{
    raw(o, ",\"usage\":{\"estimated\":");
    raw(o, t->estimated ? "true" : "false");
    number(o, "input_tokens", t->input_tokens);
    number(o, "cached_tokens", t->cached_tokens);
    number(o, "cache_write_tokens", t->cache_write_tokens);
    number(o, "output_tokens", t->output_tokens);
    number(o, "reasoning_tokens", t->reasoning_tokens);
    number(o, "cost_micros", t->cost);
    flag(o, "cached_answer", t->cached_answer);
    raw(o, "}");
}

static void message(out_t *o, const turn_row_t *t)
{
    if (!t->message_id || !t->message_id[0]) {
        raw(o, ",\"message\":null");
        return;
    }
    raw(o, ",\"message\":{\"role\":\"assistant\"");
    member(o, "id", t->message_id);
    member(o, "content", t->output);
    raw(o, "}");
}

int event_accepted(buf_t *b, const turn_row_t *t)
{
    size_t before = b->n;
    out_t  o = begin(b, t, 1, "turn.accepted");

    member(&o, "conversation", t->conversation);
    number(&o, "number", t->number);
    number(&o, "ordinal", t->ordinal);
    member(&o, "input", t->input);
    member(&o, "client_turn_id", t->client_turn_id);
    member(&o, "created", t->created);
    return finish(&o, before);
}

int event_started(buf_t *b, const turn_row_t *t, int64_t n, str_t agent, str_t model)
{
    size_t before = b->n;
    out_t  o = begin(b, t, n, "turn.started");

    raw(&o, ",\"agent\":");
    text(&o, agent);
    raw(&o, ",\"model\":");
    text(&o, model);
    number(&o, "attempt", t->attempt);
    return finish(&o, before);
}

int event_delta(buf_t *b, const turn_row_t *t, int64_t n, const char *type, str_t s)
{
    size_t before = b->n;
    out_t  o = begin(b, t, n, type);

    raw(&o, ",\"text\":");
    text(&o, s);
    return finish(&o, before);
}

int event_restarted(buf_t *b, const turn_row_t *t, int64_t n, const char *reason)
{
    size_t before = b->n;
    out_t  o = begin(b, t, n, "turn.restarted");

    number(&o, "attempt", t->attempt);
    member(&o, "reason", reason);
    return finish(&o, before);
}

int event_final(buf_t *b, const turn_row_t *t, int64_t n)
{
    size_t before = b->n;
    out_t  o;

    if (t->state == TURN_FAILED) {
        o = begin(b, t, n, "turn.failed");
        member(&o, "code", t->error);
        member(&o, "detail", t->error_detail);
        flag(&o, "retryable", t->retryable);
        return finish(&o, before);
    }
    o = begin(b, t, n, t->state == TURN_CANCELLED ? "turn.cancelled" : "turn.completed");
    member(&o, "conversation", t->conversation);
    number(&o, "number", t->number);
    message(&o, t);
    member(&o, "model", t->model_used);
    member(&o, "agent", t->agent);
    member(&o, "finish", t->finish);
    usage(&o, t);
    number(&o, "first_token_ms", t->first_token_ms);
    number(&o, "duration_ms", t->duration_ms);
    return finish(&o, before);
}

size_t event_end(const char *p, size_t n)
{
    const char *end = n ? memmem(p, n, "\n\n", 2) : NULL;
    return end ? (size_t) (end - p) + 2 : 0;
}

size_t event_skip(const char *p, size_t n, int64_t k)
{
    size_t at = 0, step;

    while (k-- > 0 && (step = event_end(p + at, n - at))) {
        at += step;
    }
    return at;
}

/* Takes "<name>: value" of a line. */
static bool field(str_t line, const char *name, str_t *value)
{
    size_t n = strlen(name);

    if (line.n < n || memcmp(line.p, name, n) != 0) {
        return false;
    }
    *value = (str_t) { line.p + n, line.n - n };
    return true;
}

size_t event_view(const char *p, size_t n, event_view_t *e)
{
    size_t      len = event_end(p, n);
    const char *at = p, *eol;

    *e = (event_view_t) { STR(""), STR(""), STR("") };
    for (; len > 0 && (eol = memchr(at, '\n', (size_t) (p + len - at))) != NULL; at = eol + 1) {
        str_t line = { at, (size_t) (eol - at) };

        (void) (field(line, "data: ", &e->data) || field(line, "id: ", &e->id) || field(line, "event: ", &e->type));
    }
    return len;
}

turn_state_t event_state(str_t type)
{
    return str_is(type, "turn.completed") ? TURN_COMPLETED : str_is(type, "turn.failed") ? TURN_FAILED
           : str_is(type, "turn.cancelled") ? TURN_CANCELLED : TURN_RUNNING;
}

int event_turn_json(buf_t *b, const turn_row_t *t)
{
    out_t o = { b, 0 };

    raw(&o, "{\"id\":");
    text(&o, str_of(t->id));
    member(&o, "conversation", t->conversation);
    number(&o, "number", t->number);
    number(&o, "ordinal", t->ordinal);
    member(&o, "state", turn_state_name(t->state));
    number(&o, "attempt", t->attempt);
    member(&o, "input", t->input);
    member(&o, "output", t->output);
    member(&o, "model", t->model_used && t->model_used[0] ? t->model_used : t->model);
    member(&o, "agent", t->agent);
    member(&o, "client_turn_id", t->client_turn_id);
    if (t->error && t->error[0]) {
        raw(&o, ",\"error\":{\"code\":");
        text(&o, str_of(t->error));
        member(&o, "detail", t->error_detail);
        flag(&o, "retryable", t->retryable);
        raw(&o, "}");
    } else {
        raw(&o, ",\"error\":null");
    }
    usage(&o, t);
    member(&o, "finish", t->finish);
    number(&o, "first_token_ms", t->first_token_ms);
    number(&o, "duration_ms", t->duration_ms);
    member(&o, "created", t->created);
    if (t->finished && t->finished[0]) {
        member(&o, "finished", t->finished);
    } else {
        raw(&o, ",\"finished\":null");
    }
    raw(&o, "}");
    return o.rc;
}
