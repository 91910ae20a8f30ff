#include "llm/openai_fast.h"

#include "base/json_scan.h"
#include "base/util.h"
#include "llm/openai_calls.h"
#include "llm/openai_read.h"
#include "llm/same.h"

/* What the members of an object may be here; a chunk with any other member is left alone. */
typedef enum {
    UNKNOWN, IGNORED, NOTHING, ZERO, OBJECT, ID, MODEL, OBFUSCATION, CONTENT, REASONING, OTHER_REASONING, CHOICES, DELTA, FINISH,
    CALLS, CALL_INDEX, CALL_ID, FUNCTION, CALL_NAME, ARGUMENTS, USAGE, IN, OUT, TOTAL, IN_DETAILS, OUT_DETAILS, THOUGHT, CACHED, WRITTEN, COUNT
} what_t;

typedef struct {
    str_t  name;
    what_t what;
} member_t;

#define MEMBER(name, what)  { { (name), sizeof(name) - 1 }, (what) }
#define OTHERS(what)        { { NULL, 0 }, (what) }

static const member_t of_chunk[] = {
    MEMBER("id", ID), MEMBER("object", OBJECT), MEMBER("created", IGNORED), MEMBER("model", MODEL), MEMBER("choices", CHOICES),
    MEMBER("system_fingerprint", IGNORED), MEMBER("service_tier", IGNORED), MEMBER("obfuscation", OBFUSCATION), MEMBER("provider", IGNORED),
    MEMBER("usage", USAGE), MEMBER("error", NOTHING), OTHERS(UNKNOWN),
};
static const member_t of_choice[] = {
    MEMBER("index", ZERO), MEMBER("delta", DELTA), MEMBER("finish_reason", FINISH), MEMBER("logprobs", NOTHING),
    MEMBER("native_finish_reason", NOTHING), MEMBER("stop_reason", NOTHING), MEMBER("matched_stop", NOTHING),
    MEMBER("token_ids", NOTHING), OTHERS(UNKNOWN),
};
static const member_t of_delta[] = {
    MEMBER("content", CONTENT), MEMBER("role", IGNORED), MEMBER("reasoning_content", REASONING), MEMBER("reasoning", OTHER_REASONING),
    MEMBER("refusal", NOTHING), MEMBER("tool_calls", CALLS), MEMBER("function_call", NOTHING), OTHERS(UNKNOWN),
};
static const member_t of_call[] = {
    MEMBER("index", CALL_INDEX), MEMBER("id", CALL_ID), MEMBER("type", IGNORED), MEMBER("function", FUNCTION), OTHERS(UNKNOWN),
};
static const member_t of_function[] = {
    MEMBER("name", CALL_NAME), MEMBER("arguments", ARGUMENTS), OTHERS(UNKNOWN),
};
/* As openai_read.c reads it; of names that mean the same one is taken. */
static const member_t of_usage[] = {
    MEMBER("prompt_tokens", IN), MEMBER("completion_tokens", OUT), MEMBER("total_tokens", TOTAL), MEMBER("prompt_tokens_details", IN_DETAILS),
    MEMBER("completion_tokens_details", OUT_DETAILS), MEMBER("reasoning_tokens", THOUGHT), MEMBER("cached_tokens", CACHED),
    MEMBER("prompt_cache_hit_tokens", CACHED), MEMBER("cache_read_input_tokens", CACHED), MEMBER("num_cached_tokens", CACHED),
    MEMBER("cache_write_tokens", WRITTEN), MEMBER("cache_creation_input_tokens", WRITTEN), OTHERS(COUNT),
};
static const member_t of_in_details[] = {
    MEMBER("cached_tokens", CACHED), MEMBER("prompt_cache_hit_tokens", CACHED), MEMBER("cache_read_input_tokens", CACHED),
    MEMBER("num_cached_tokens", CACHED), MEMBER("cache_write_tokens", WRITTEN), MEMBER("cache_creation_input_tokens", WRITTEN), OTHERS(COUNT),
};
static const member_t of_out_details[] = { MEMBER("reasoning_tokens", THOUGHT), OTHERS(COUNT) };

typedef struct {
    scan_t         at;
    bool           chosen, called, indexed;     /* "choices", a call, its "index" were there */
    scan_text_t    id, model, obfuscation, content, reasoning, other_reasoning, finish;
    uint64_t       call;
    scan_text_t    call_id, call_name, args;
    openai_usage_t usage;
} chunk_t;

static bool take_null(scan_t *s)
{
    return scan_word(s, STR("null"));
}

static bool take_text(scan_t *s, scan_text_t *out)
{
    return take_null(s) || scan_text(s, out);
}

static bool take_plain(scan_t *s, scan_text_t *out)
{
    return take_text(s, out) && !out->escaped;
}

static bool take_object(chunk_t *c, const member_t *members);

/* A list of one object at most. */
static bool take_one(chunk_t *c, const member_t *members, bool *any)
{
    scan_t *s = &c->at;

    if (!scan_byte(s, '[')) {
        return false;
    }
    if (scan_byte(s, ']')) {
        return true;
    }
    *any = true;
    return take_object(c, members) && scan_byte(s, ']');
}

/* A count of tokens, into *to if it is more; null and what is too much says nothing. */
static bool take_tokens(scan_t *s, int64_t *to)
{
    uint64_t n;

    if (take_null(s)) {
        return true;
    }
    if (!scan_count(s, &n)) {
        return false;
    }
    *to = n <= CHAT_TOKENS_MAX ? SI_MAX(*to, (int64_t) n) : *to;
    return true;
}

static bool take_usage(chunk_t *c, what_t what)
{
    scan_t         *s = &c->at;
    openai_usage_t *u = &c->usage;
    int64_t         ignored = 0;

    switch (what) {
    case USAGE:
        return take_null(s) || take_object(c, of_usage);
    case IN_DETAILS:
        return take_null(s) || take_object(c, of_in_details);
    case OUT_DETAILS:
        return take_null(s) || take_object(c, of_out_details);
    case IN:
        return take_tokens(s, &u->in);
    case OUT:
        return take_tokens(s, &u->out);
    case TOTAL:
        return take_tokens(s, &u->total);
    case THOUGHT:
        return take_tokens(s, &u->reasoning);
    case CACHED:
        return take_tokens(s, &u->cached);
    case WRITTEN:
        return take_tokens(s, &u->written);
    default:
        return take_tokens(s, &ignored);
    }
}

static bool take_call(chunk_t *c, what_t what)
{
    scan_t *s = &c->at;

    switch (what) {
    case CALLS:
        return take_null(s) || take_one(c, of_call, &c->called);
    case CALL_INDEX:
        c->indexed = true;
        return scan_count(s, &c->call);
    case CALL_ID:
        return take_plain(s, &c->call_id);
    case FUNCTION:
        return take_object(c, of_function);
    case CALL_NAME:
        return take_plain(s, &c->call_name);
    default:
        return take_text(s, &c->args);
    }
}

static bool take_value(chunk_t *c, what_t what)
{
    uint64_t    number;
    scan_t     *s = &c->at;
    scan_text_t other = { STR_NULL, false };
    bool        any;

    switch (what) {
    case UNKNOWN:
        return false;
    case IGNORED:
        return take_text(s, &other) || scan_count(s, &number);
    case NOTHING:
        return take_null(s);
    case ZERO:
        return scan_count(s, &number) && number == 0;
    case OBJECT:                        /* "error": of vLLM */
        return take_plain(s, &other) && !str_is(other.raw, "error");
    case ID:
        return take_plain(s, &c->id);
    case MODEL:
        return take_plain(s, &c->model);
    case OBFUSCATION:
        return take_text(s, &c->obfuscation);
    case CONTENT:
        return take_text(s, &c->content);
    case REASONING:
        return take_text(s, &c->reasoning);
    case OTHER_REASONING:
        return take_text(s, &c->other_reasoning);
    case CHOICES:
        c->chosen = true;
        return take_one(c, of_choice, &any);
    case FINISH:
        return take_plain(s, &c->finish);
    case DELTA:
        return take_object(c, of_delta);
    default:
        return what < USAGE ? take_call(c, what) : take_usage(c, what);
    }
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

/* An object all of whose members are in the list, none of them twice; others are as the list's end says. */
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
        if (name.escaped || (seen >> i & 1) != 0 || !scan_byte(s, ':') || !take_value(c, members[i].what)) {
            return false;
        }
        seen |= members[i].name.p != NULL ? 1u << i : 0;
    } while (scan_byte(s, ','));
    return scan_byte(s, '}');
}

static str_t text_of(const scan_text_t *t, char *room)
{
    return t->escaped ? (str_t) { room, scan_unescape(t->raw, room) } : t->raw;
}

static bool too_long(const scan_text_t *t)
{
    return t->escaped && t->raw.n > SAME_UNESCAPED;
}

static int put(reply_t *r, chat_kind_t kind, const scan_text_t *t)
{
    char room[SAME_UNESCAPED];

    return reply_text(r, kind, text_of(t, room));
}

/* Remembers a chunk that is a piece of text and nothing else. Who sends both names of a reasoning says the same in both. */
static void learn_text(reply_t *r, str_t data, const chunk_t *c)
{
    bool         text = c->content.raw.n > 0, first = c->reasoning.raw.n > 0, second = c->other_reasoning.raw.n > 0;
    same_value_t values[] = { { text ? c->content.raw : first ? c->reasoning.raw : c->other_reasoning.raw, false }, { c->obfuscation.raw, false },
                              { first && second ? c->other_reasoning.raw : STR_NULL, false } };

    if (text != (first || second)) {
        same_learn(r, data, same_text, text ? CHAT_TEXT : CHAT_REASONING, values, SI_COUNT(values));
    }
}

/* A piece of a call; remembers the chunk if that is all it is. */
static int put_call(reply_t *r, str_t data, const chunk_t *c)
{
    char           room[SAME_UNESCAPED];
    openai_piece_t p = { (int64_t) c->call, c->call_id.raw, c->call_name.raw, text_of(&c->args, room), STR_NULL, false };
    same_value_t   values[] = { { c->args.raw, false }, { c->obfuscation.raw, false } };
    uint32_t       which;
    bool           more = openai_goes_on(r, &p, &which);
    int            rc = openai_read_piece(r, &p);

    if (rc == 0 && more && c->content.raw.n + c->reasoning.raw.n + c->other_reasoning.raw.n + c->finish.raw.n == 0 && c->usage.in < 0) {
        same_learn(r, data, openai_more_args, which, values, SI_COUNT(values));
    }
    return rc;
}

int openai_read_fast(reply_t *r, str_t data)
{
    chunk_t            c = { .at = { data.p, data.p + data.n }, .usage = { .in = -1, .out = -1, .total = -1 } };
    const scan_text_t *reasoning;
    int                rc;

    if (!take_object(&c, of_chunk) || c.at.p != c.at.end || !c.chosen || c.called != c.indexed) {
        return 0;
    }
    reasoning = c.reasoning.raw.n > 0 ? &c.reasoning : &c.other_reasoning;
    if (too_long(reasoning) || too_long(&c.content) || too_long(&c.args)) {
        return 0;
    }
    reply_name(r->result.model, sizeof r->result.model, c.model.raw);
    reply_name(r->result.id, sizeof r->result.id, c.id.raw);
    openai_read_usage(r, &c.usage);
    rc = put(r, CHAT_REASONING, reasoning);
    rc = rc != 0 ? rc : put(r, CHAT_TEXT, &c.content);
    if (rc == 0 && c.called) {
        rc = put_call(r, data, &c);
    } else if (rc == 0 && c.finish.raw.n == 0 && c.usage.in < 0) {
        learn_text(r, data, &c);
    }
    rc = rc != 0 ? rc : openai_read_finish(r, c.finish.raw);
    return rc != 0 ? rc : 1;
}
