#include "llm/openai_fast.h"

#include "base/json_scan.h"
#include "llm/openai_read.h"

#define UNESCAPED_MAX  2048             /* bytes of a piece that has escapes, with them */

/* What the members of an object may be here; a chunk with any other member is left alone. */
typedef enum { IGNORED, NOTHING, ZERO, ID, MODEL, CONTENT, REASONING, OTHER_REASONING, CHOICES, DELTA, FINISH } what_t;

typedef struct {
    str_t  name;
    what_t what;
} member_t;

#define MEMBER(name, what)  { { (name), sizeof(name) - 1 }, (what) }

static const member_t of_chunk[] = {
    MEMBER("id", ID), MEMBER("object", IGNORED), MEMBER("created", IGNORED), MEMBER("model", MODEL), MEMBER("choices", CHOICES),
    MEMBER("system_fingerprint", IGNORED), MEMBER("service_tier", IGNORED), MEMBER("obfuscation", IGNORED), MEMBER("provider", IGNORED),
    MEMBER("usage", NOTHING), MEMBER("error", NOTHING), { { NULL, 0 }, IGNORED },
};
static const member_t of_choice[] = {
    MEMBER("index", ZERO), MEMBER("delta", DELTA), MEMBER("finish_reason", FINISH), MEMBER("logprobs", NOTHING),
    MEMBER("native_finish_reason", NOTHING), MEMBER("stop_reason", NOTHING), MEMBER("matched_stop", NOTHING),
    MEMBER("token_ids", NOTHING), { { NULL, 0 }, IGNORED },
};
static const member_t of_delta[] = {
    MEMBER("content", CONTENT), MEMBER("role", IGNORED), MEMBER("reasoning_content", REASONING), MEMBER("reasoning", OTHER_REASONING),
    MEMBER("refusal", NOTHING), MEMBER("tool_calls", NOTHING), MEMBER("function_call", NOTHING), { { NULL, 0 }, IGNORED },
};

typedef struct {
    scan_t      at;
    bool        chosen;                 /* "choices" was there */
    scan_text_t id, model, content, reasoning, other_reasoning, finish;
} chunk_t;

static bool take_null(scan_t *s)
{
    return scan_word(s, STR("null"));
}

static bool take_text(scan_t *s, scan_text_t *out)
{
    return take_null(s) || scan_text(s, out);
}

static bool take_object(chunk_t *c, const member_t *members);

static bool take_value(chunk_t *c, what_t what)
{
    uint64_t    number;
    scan_t     *s = &c->at;
    scan_text_t ignored;

    switch (what) {
    case IGNORED:
        return take_text(s, &ignored) || scan_count(s, &number);
    case NOTHING:
        return take_null(s);
    case ZERO:
        return scan_count(s, &number) && number == 0;
    case ID:
        return take_text(s, &c->id) && !c->id.escaped;
    case MODEL:
        return take_text(s, &c->model) && !c->model.escaped;
    case CONTENT:
        return take_text(s, &c->content);
    case REASONING:
        return take_text(s, &c->reasoning);
    case OTHER_REASONING:
        return take_text(s, &c->other_reasoning);
    case CHOICES:
        c->chosen = true;
        return scan_byte(s, '[') && take_object(c, of_choice) && scan_byte(s, ']');
    case FINISH:
        return take_text(s, &c->finish) && !c->finish.escaped;
    case DELTA:
        return take_object(c, of_delta);
    }
    return false;
}

/* The place of a name in the list, or that of the list's end. */
static size_t place(const member_t *members, str_t name)
{
    size_t i = 0;

    while (members[i].name.p != NULL && (members[i].name.n != name.n || memcmp(members[i].name.p, name.p, name.n) != 0)) {
        i++;
    }
    return i;
}

/* An object all of whose members are in the list, none of them twice. */
static bool take_object(chunk_t *c, const member_t *members)
{
    scan_t     *s = &c->at;
    uint32_t    seen = 0;
    scan_text_t name;
    size_t      i;

    if (!scan_byte(s, '{')) {
        return false;
    }
    if (scan_byte(s, '}')) {
        return true;
    }
    do {
        if (!scan_text(s, &name)) {
            return false;
        }
        i = place(members, name.raw);
        if (members[i].name.p == NULL || (seen >> i & 1) != 0 || !scan_byte(s, ':') || !take_value(c, members[i].what)) {
            return false;
        }
        seen |= 1u << i;
    } while (scan_byte(s, ','));
    return scan_byte(s, '}');
}

static int put(reply_t *r, chat_kind_t kind, const scan_text_t *t)
{
    char text[UNESCAPED_MAX];

    return reply_text(r, kind, t->escaped ? (str_t) { text, scan_unescape(t->raw, text) } : t->raw);
}

static bool too_long(const scan_text_t *t)
{
    return t->escaped && t->raw.n > UNESCAPED_MAX;
}

int openai_read_fast(reply_t *r, str_t data)
{
    chunk_t            c = { .at = { data.p, data.p + data.n } };
    const scan_text_t *reasoning;
    int                rc;

    if (!take_object(&c, of_chunk) || c.at.p != c.at.end || !c.chosen) {
        return 0;
    }
    reasoning = c.reasoning.raw.n > 0 ? &c.reasoning : &c.other_reasoning;
    if (too_long(reasoning) || too_long(&c.content)) {
        return 0;
    }
    reply_name(r->result.model, sizeof r->result.model, c.model.raw);
    reply_name(r->result.id, sizeof r->result.id, c.id.raw);
    rc = put(r, CHAT_REASONING, reasoning);
    rc = rc != 0 ? rc : put(r, CHAT_TEXT, &c.content);
    rc = rc != 0 ? rc : openai_read_finish(r, c.finish.raw);
    return rc != 0 ? rc : 1;
}
