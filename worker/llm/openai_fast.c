#include "llm/openai_fast.h"

#include "base/utf8.h"
#include "base/util.h"
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

/* A string between its quotes. */
typedef struct {
    str_t raw;
    bool  escaped;
} text_t;

typedef struct {
    const char *p, *end;
    bool        chosen;                 /* "choices" was there */
    text_t      id, model, content, reasoning, other_reasoning, finish;
} scan_t;

static void skip_space(scan_t *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) {
        s->p++;
    }
}

/* The next byte that is no space, if it is c. */
static bool take(scan_t *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != c) {
        return false;
    }
    s->p++;
    return true;
}

static bool take_null(scan_t *s)
{
    skip_space(s);
    if (s->end - s->p < 4 || memcmp(s->p, "null", 4) != 0) {
        return false;
    }
    s->p += 4;
    return true;
}

/* Four hexadecimal digits, or 0, which stands for no character here either. */
static uint32_t unit(const char *p, const char *end)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++) {
        char c = p + i < end ? p[i] : '\0';
        int  digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

        if (digit < 0) {
            return 0;
        }
        v = v << 4 | (uint32_t) digit;
    }
    return v;
}

/* The character that an escape with u at p stands for, and its length in *n; 0: none, or half of a pair. */
static uint32_t character(const char *p, const char *end, size_t *n)
{
    uint32_t v = unit(p + 2, end), low;

    *n = 6;
    if (v < 0xd800 || v > 0xdfff) {
        return v;
    }
    low = end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? unit(p + 8, end) : 0;
    *n = 12;
    return v < 0xdc00 && low >= 0xdc00 && low <= 0xdfff ? 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00) : 0;
}

/* The length of the escape at p, or 0 when it is none. */
static size_t escape_len(const char *p, const char *end)
{
    size_t n;

    if (end - p < 2) {
        return 0;
    }
    if (p[1] == 'u') {
        return character(p, end, &n) != 0 ? n : 0;
    }
    return p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL ? 2 : 0;
}

static bool take_string(scan_t *s, text_t *out)
{
    const char *p;
    size_t      n = 0;

    if (!take(s, '"')) {
        return false;
    }
    out->escaped = false;
    for (p = s->p; ; p += n) {
        p += utf8_plain(p, (size_t) (s->end - p));
        if (p == s->end || *p == '"') {
            break;
        }
        out->escaped = out->escaped || *p == '\\';
        n = *p == '\\' ? escape_len(p, s->end) : (unsigned char) *p < 0x20 ? 0 : utf8_step(p, (size_t) (s->end - p));
        if (n == 0) {
            return false;
        }
    }
    out->raw = (str_t) { s->p, (size_t) (p - s->p) };
    s->p = p + 1;
    return p < s->end;
}

/* A whole number of at most 15 digits. */
static bool take_number(scan_t *s, uint64_t *out)
{
    const char *from;

    skip_space(s);
    *out = 0;
    for (from = s->p; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++) {
        *out = *out * 10 + (uint64_t) (*s->p - '0');
        if (s->p - from >= 15 || (s->p > from && *from == '0')) {
            return false;
        }
    }
    return s->p > from;
}

static bool take_text(scan_t *s, text_t *out)
{
    return take_null(s) || take_string(s, out);
}

static bool take_object(scan_t *s, const member_t *members);

static bool take_value(scan_t *s, what_t what)
{
    uint64_t number;
    text_t   ignored;

    switch (what) {
    case IGNORED:
        return take_text(s, &ignored) || take_number(s, &number);
    case NOTHING:
        return take_null(s);
    case ZERO:
        return take_number(s, &number) && number == 0;
    case ID:
        return take_text(s, &s->id) && !s->id.escaped;
    case MODEL:
        return take_text(s, &s->model) && !s->model.escaped;
    case CONTENT:
        return take_text(s, &s->content);
    case REASONING:
        return take_text(s, &s->reasoning);
    case OTHER_REASONING:
        return take_text(s, &s->other_reasoning);
    case CHOICES:
        s->chosen = true;
        return take(s, '[') && take_object(s, of_choice) && take(s, ']');
    case FINISH:
        return take_text(s, &s->finish) && !s->finish.escaped;
    case DELTA:
        return take_object(s, of_delta);
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
static bool take_object(scan_t *s, const member_t *members)
{
    uint32_t seen = 0;
    text_t   name;
    size_t   i;

    if (!take(s, '{')) {
        return false;
    }
    if (take(s, '}')) {
        return true;
    }
    do {
        if (!take_string(s, &name)) {
            return false;
        }
        i = place(members, name.raw);
        if (members[i].name.p == NULL || (seen >> i & 1) != 0 || !take(s, ':') || !take_value(s, members[i].what)) {
            return false;
        }
        seen |= 1u << i;
    } while (take(s, ','));
    return take(s, '}');
}

static size_t put_utf8(char *to, uint32_t v)
{
    static const unsigned char marks[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;

    for (size_t i = n - 1; i > 0; i--, v >>= 6) {
        to[i] = (char) (0x80 | (v & 0x3f));
    }
    to[0] = (char) (n == 1 ? v : (marks[n] | v));
    return n;
}

/* What a string that was taken stands for. An escape is longer than its character. */
static size_t unescape(str_t raw, char *to)
{
    static const char from[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char *p = raw.p, *end = raw.p + raw.n;
    size_t      n = 0, len;

    while (p < end) {
        if (*p != '\\') {
            to[n++] = *p++;
        } else if (p[1] == 'u') {
            n += put_utf8(to + n, character(p, end, &len));
            p += len;
        } else {
            const char *at = strchr(from, p[1]);

            to[n++] = at != NULL ? meant[at - from] : p[1];
            p += 2;
        }
    }
    return n;
}

static int put(reply_t *r, chat_kind_t kind, const text_t *t)
{
    char text[UNESCAPED_MAX];

    return reply_text(r, kind, t->escaped ? (str_t) { text, unescape(t->raw, text) } : t->raw);
}

static bool too_long(const text_t *t)
{
    return t->escaped && t->raw.n > UNESCAPED_MAX;
}

int openai_read_fast(reply_t *r, str_t data)
{
    scan_t        s = { .p = data.p, .end = data.p + data.n };
    const text_t *reasoning;
    int           rc;

    if (!take_object(&s, of_chunk) || s.p != s.end || !s.chosen) {
        return 0;
    }
    reasoning = s.reasoning.raw.n > 0 ? &s.reasoning : &s.other_reasoning;
    if (too_long(reasoning) || too_long(&s.content)) {
        return 0;
    }
    reply_name(r->result.model, sizeof r->result.model, s.model.raw);
    reply_name(r->result.id, sizeof r->result.id, s.id.raw);
    rc = put(r, CHAT_REASONING, reasoning);
    rc = rc != 0 ? rc : put(r, CHAT_TEXT, &s.content);
    rc = rc != 0 ? rc : openai_read_finish(r, s.finish.raw);
    return rc != 0 ? rc : 1;
}
