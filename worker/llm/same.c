#include "llm/same.h"

#include "base/json_scan.h"

struct same {
    size_t     n;                       /* values; 0: nothing is remembered */
    size_t     piece;                   /* which of them is it */
    bool       number[SAME_VALUES];
    size_t     ends[SAME_VALUES + 1];   /* of what is before, between and behind them, one after the other in: */
    char       known[SAME_BYTES];
    same_add_t add;
    uint32_t   what;
};

int same_text(reply_t *r, uint32_t what, str_t piece)
{
    return reply_text(r, (chat_kind_t) what, piece);
}

/* --- remembering --- */

/* Into the order of the event, without those that are not there; their number, with the place of the first one in *piece. */
static size_t sort(const same_value_t *values, size_t n, same_value_t *to, size_t *piece)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        size_t at = k;

        if (values[i].at.p == NULL) {
            continue;
        }
        for (; at > 0 && to[at - 1].at.p > values[i].at.p; at--) {
            to[at] = to[at - 1];
        }
        to[at] = values[i];
        *piece = i == 0 ? at : *piece + (at <= *piece);
        k++;
    }
    return k;
}

void same_learn(reply_t *r, str_t event, same_add_t add, uint32_t what, const same_value_t *values, size_t n)
{
    same_value_t sorted[SAME_VALUES];
    struct same *s = r->same;
    const char  *from = event.p;
    size_t       used = 0;

    if (n > SAME_VALUES || values[0].at.n == 0) {
        return;
    }
    if (s == NULL) {
        s = r->same = arena_alloc(r->arena, sizeof *s);
    }
    s->n = 0;
    s->add = add;
    s->what = what;
    n = sort(values, n, sorted, &s->piece);
    for (size_t i = 0; i <= n; i++) {
        const char *to = i < n ? sorted[i].at.p : event.p + event.n;

        if ((size_t) (to - from) > sizeof s->known - used) {
            return;
        }
        memcpy(s->known + used, from, (size_t) (to - from));
        used += (size_t) (to - from);
        s->ends[i] = used;
        if (i < n) {
            s->number[i] = sorted[i].number;
            from = to + sorted[i].at.n;
        }
    }
    s->n = n;
}

/* The value behind a name, if it is of the kind that may differ. */
static bool take_value(scan_t *s, bool number, same_value_t *out)
{
    scan_text_t text;
    uint64_t    n;

    scan_space(s);
    out->number = number;
    out->at.p = s->p + !number;
    if (number ? !scan_count(s, &n) : !scan_text(s, &text)) {
        return false;
    }
    out->at.n = (size_t) (s->p - !number - out->at.p);
    return true;
}

/* A string: a value, or a name, and then the value of a member in the list. False: better not. */
static bool take_string(scan_t *s, int depth, const same_member_t *members, size_t n, same_value_t *out)
{
    scan_text_t name;

    if (!scan_text(s, &name)) {
        return false;
    }
    if (!scan_byte(s, ':')) {
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        if (depth == members[i].depth && str_eq(name.raw, members[i].name)) {
            return out[i].at.p == NULL && take_value(s, members[i].number, &out[i]);
        }
    }
    return !name.escaped;               /* it might be one of them */
}

void same_learn_members(reply_t *r, str_t event, same_add_t add, uint32_t what, str_t said, const same_member_t *members, size_t n)
{
    same_value_t values[SAME_VALUES] = { { STR_NULL, false } };
    scan_t       s = { event.p, event.p + event.n };
    int          depth = 0;

    while (s.p < s.end && said.n > 0) {
        char c = *s.p;

        if (c == '"') {
            if (!take_string(&s, depth, members, n, values)) {
                return;
            }
        } else {
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            s.p++;
        }
    }
    same_learn(r, event, add, what, values, n);
}

/* --- comparing --- */

static inline bool take_known(const struct same *s, size_t i, scan_t *at)
{
    size_t from = i > 0 ? s->ends[i - 1] : 0, n = s->ends[i] - from;

    if ((size_t) (at->end - at->p) < n || memcmp(at->p, s->known + from, n) != 0) {
        return false;
    }
    at->p += n;
    return true;
}

/* A string up to its last quote; the first one is in what is known. Most are plain. */
static inline bool take_rest(scan_t *at, scan_text_t *out)
{
    size_t n = utf8_plain(at->p, (size_t) (at->end - at->p));

    if (at->p + n < at->end && at->p[n] == '"') {
        *out = (scan_text_t) { { at->p, n }, false };
        at->p += n;
        return true;
    }
    at->p--;
    if (!scan_text(at, out)) {
        return false;
    }
    at->p--;
    return true;
}

/* Whether it is the remembered one, and its piece. */
static bool is_same(const struct same *s, str_t event, scan_text_t *piece)
{
    scan_t      at = { event.p, event.p + event.n };
    scan_text_t other;
    uint64_t    number;

    for (size_t i = 0; i < s->n; i++) {
        if (!take_known(s, i, &at) || !(s->number[i] ? scan_count(&at, &number) : take_rest(&at, i == s->piece ? piece : &other))) {
            return false;
        }
    }
    return take_known(s, s->n, &at) && at.p == at.end;
}

int same_read(reply_t *r, str_t event)
{
    struct same *s = r->same;
    scan_text_t  piece = { STR_NULL, false };
    char         text[SAME_UNESCAPED];
    int          rc;

    if (s == NULL || s->n == 0) {
        return 0;
    }
    if (!is_same(s, event, &piece) || piece.raw.n == 0 || (piece.escaped && piece.raw.n > sizeof text)) {
        s->n = 0;
        return 0;
    }
    rc = s->add(r, s->what, piece.escaped ? (str_t) { text, scan_unescape(piece.raw, text) } : piece.raw);
    return rc != 0 ? rc : 1;
}
