#include "llm/reply.h"

#include <stdio.h>

#include "base/util.h"

#define MESSAGE_MAX  200            /* bytes of a provider's message that are shown */
#define MESSAGE_LEVELS  6           /* how deep it is looked for */
#define PIECES_MAX   (4u << 20)     /* bytes of pieces that wait */

typedef struct {
    chat_kind_t kind;
    uint32_t    index;
    size_t      n;
    const char *id, *name;
} piece_t;

void reply_init(reply_t *r, arena_t *arena, const char *secret, size_t max)
{
    memset(r, 0, sizeof *r);
    r->arena = arena;
    r->secret = secret;
    r->max = max;
    r->result.input_tokens = r->result.output_tokens = -1;
    buf_init(&r->text, CHAT_KINDS * max);
    buf_init(&r->pieces, PIECES_MAX);
}

void reply_free(reply_t *r)
{
    buf_free(&r->text);
    buf_free(&r->pieces);
}

/* Errors */

static bool key_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '*';
}

/* Length of what looks like an API key at p ("sk-" and more), else 0. */
static size_t key_len(const char *p, size_t n)
{
    size_t len = 3;

    if (n < 8 || memcmp(p, "sk-", 3) != 0) {
        return 0;
    }
    while (len < n && key_char(p[len])) {
        len++;
    }
    return len >= 8 ? len : 0;
}

const char *reply_clean(arena_t *a, const char *secret, str_t text)
{
    char  *out = arena_alloc(a, MESSAGE_MAX + 16);
    size_t n = 0, i = 0, key;

    if (secret != NULL && secret[0] != '\0' && text.n > 0 && memmem(text.p, text.n, secret, strlen(secret)) != NULL) {
        return "";
    }
    while (i < text.n && n < MESSAGE_MAX) {
        key = key_len(text.p + i, text.n - i);
        if (key > 0) {
            memcpy(out + n, "[key]", 5);
            n += 5;
            i += key;
        } else {
            out[n++] = (unsigned char) text.p[i] < 0x20 || text.p[i] == 0x7f ? ' ' : text.p[i];
            i++;
        }
    }
    n = utf8_cut(out, n);
    out[n] = '\0';
    return utf8_valid((str_t) { out, n }) ? out : "";
}

/*
 * {"error":{"message":…}}, {"error":"…"}, {"message":…}, {"detail":…} and the like, also in lists, and within each other:
 * FastAPI says {"detail":[{"msg":…}]}, Mistral {"message":{"detail":[{"msg":…}]}}.
 */
static str_t message_in(const json_t *v, int levels)
{
    static const char *const names[] = { "error", "message", "detail", "msg", "errors", "Message", "error_message", "error_description" };
    str_t s = reply_string(v), raw = json_str(json_object_get(v, "metadata"), "raw", STR_NULL);

    if (json_is_array(v) && levels > 0) {
        return message_in(json_array_get(v, 0), levels - 1);
    }
    for (size_t i = 0; json_is_object(v) && levels > 0 && s.n == 0 && i < SI_COUNT(names); i++) {
        s = message_in(json_object_get(v, names[i]), levels - 1);
    }
    return raw.n > 0 && str_is(s, "Provider returned error") ? raw : s;     /* OpenRouter: what the provider behind it says */
}

str_t reply_message_of(const json_t *v)
{
    return message_in(v, MESSAGE_LEVELS);
}

/* What a page says of itself; {NULL, 0}: nothing. */
static str_t title_of(str_t page)
{
    const char *from = memmem(page.p, page.n, "<title>", 7), *to;

    if (from == NULL) {
        return STR_NULL;
    }
    from += 7;
    to = memmem(from, (size_t) (page.p + page.n - from), "</title>", 8);
    return to != NULL ? (str_t) { from, (size_t) (to - from) } : STR_NULL;
}

str_t reply_message(const json_t *v, str_t body)
{
    if (v != NULL) {
        return reply_message_of(v);
    }
    while (body.n > 0 && (unsigned char) body.p[0] <= ' ') {
        body.p++;
        body.n--;
    }
    while (body.n > 0 && (unsigned char) body.p[body.n - 1] <= ' ') {
        body.n--;
    }
    return body.n > 0 && strchr("<{[", body.p[0]) != NULL ? title_of(body) : body;
}

static int fail_status(llm_error_t *err, int status, const char *message)
{
    const char *colon = message[0] != '\0' ? ": " : "";

    if (status == 401 || status == 403) {           /* the message may show a part of the key */
        return provider_fail(err, SI_EDENIED, "provider_auth", status, false, "HTTP %d: the provider refuses the API key", status);
    }
    if (status == 429) {
        return provider_fail(err, SI_EAGAIN, "provider_rate_limited", status, true, "HTTP 429%s%s", colon, message);
    }
    if (status == 408 || status >= 500) {
        return provider_fail(err, SI_EUNAVAIL, "provider_unavailable", status, true, "HTTP %d%s%s", status, colon, message);
    }
    if (status < 400) {
        return provider_fail(err, SI_EPROTO, "provider_protocol", status, false, "HTTP %d: redirects are not followed", status);
    }
    return provider_fail(err, SI_EINVAL, "provider_rejected", status, false, "HTTP %d%s%s", status, colon, message);
}

int reply_status_message(llm_error_t *err, arena_t *arena, const char *secret, int status, str_t message)
{
    return fail_status(err, status, reply_clean(arena, secret, message));
}

int reply_status(llm_error_t *err, arena_t *arena, const char *secret, int status, str_t body)
{
    const char *why;
    json_t     *v = json_parse_loose(arena, body, &why);
    int         rc = reply_status_message(err, arena, secret, status, reply_message(v, body));

    json_decref(v);
    return rc;
}

int reply_error(reply_t *r, int status, str_t message)
{
    const char *shown = reply_clean(r->arena, r->secret, message);

    if (status != 0) {
        return fail_status(&r->err, status, shown);
    }
    return provider_fail(&r->err, SI_EUNAVAIL, "provider_unavailable", 0, true, "the provider reports an error in its stream%s%s",
                         shown[0] != '\0' ? ": " : "", shown);
}

int reply_malformed(reply_t *r, const char *why)
{
    return provider_fail(&r->err, SI_EPROTO, "provider_protocol", 0, true, "the provider's answer is malformed: %s", why);
}

json_t *reply_object(reply_t *r, str_t data, int *rc)
{
    const char *why;
    json_t     *v = json_parse_loose(r->arena, data, &why);

    if (v == NULL) {
        *rc = r->lenient ? 0 : reply_malformed(r, why);
    } else if (!json_is_object(v)) {
        *rc = reply_malformed(r, "an event is no JSON object");
        json_decref(v);
        v = NULL;
    }
    return v;
}

int reply_too_large(reply_t *r)
{
    return provider_fail(&r->err, SI_ENOMEM, "answer_too_large", 0, false, "the answer is longer than %zu bytes", r->max);
}

/* Pieces */

/* Whether the piece is more of the last one. */
static bool goes_on(const piece_t *last, const piece_t *p)
{
    bool whole = p->kind == CHAT_CALL || p->kind == CHAT_SIGNATURE || p->kind == CHAT_REDACTED;

    return last->kind == p->kind && last->index == p->index && !whole;
}

static int add_piece(reply_t *r, const piece_t *p)
{
    if (r->pieces.n > 0) {
        char   *at = r->pieces.p + r->pieces.n - sizeof(piece_t);
        piece_t last;

        memcpy(&last, at, sizeof last);
        if (goes_on(&last, p)) {
            last.n += p->n;
            memcpy(at, &last, sizeof last);
            return 0;
        }
    }
    return buf_append(&r->pieces, p, sizeof *p);
}

static int add(reply_t *r, const piece_t *p, const char *bytes)
{
    r->bytes[p->kind] += p->n;
    if (r->bytes[p->kind] > r->max || (p->n > 0 && buf_append(&r->text, bytes, p->n) != 0) || add_piece(r, p) != 0) {
        return reply_too_large(r);
    }
    return 0;
}

int reply_text(reply_t *r, chat_kind_t kind, str_t s)
{
    return s.n == 0 && kind != CHAT_REDACTED ? 0 : add(r, &(piece_t) { .kind = kind, .n = s.n }, s.p);
}

int reply_call(reply_t *r, str_t id, str_t name, uint32_t *index)
{
    piece_t p = { .kind = CHAT_CALL, .index = r->calls };
    char    made[UUID_LEN + 1];

    if (r->calls == CHAT_CALLS) {
        return provider_fail(&r->err, SI_ENOMEM, "answer_too_large", 0, false, "the answer has more than %d calls of tools", CHAT_CALLS);
    }
    if (id.n == 0) {
        uuid_new(made);
        id = STR_NULL;
    }
    p.id = id.n == 0 ? arena_printf(r->arena, "call_%s", made) : arena_dup(r->arena, id.p, id.n);
    p.name = arena_dup(r->arena, name.n > 0 ? name.p : "", name.n);
    r->bytes[CHAT_CALL] += id.n + name.n;
    *index = r->calls++;
    return r->bytes[CHAT_CALL] > r->max || buf_append(&r->pieces, &p, sizeof p) != 0 ? reply_too_large(r) : 0;
}

int reply_args(reply_t *r, uint32_t index, str_t piece)
{
    return piece.n == 0 ? 0 : add(r, &(piece_t) { .kind = CHAT_ARGS, .index = index, .n = piece.n }, piece.p);
}

bool reply_next(reply_t *r, chat_event_t *ev)
{
    piece_t p;

    buf_consume(&r->text, r->handed);
    r->handed = 0;
    if (r->pieces.n == 0) {
        return false;
    }
    memcpy(&p, r->pieces.p, sizeof p);
    buf_consume(&r->pieces, sizeof p);
    r->handed = p.n;
    *ev = (chat_event_t) { p.kind, { p.n > 0 ? r->text.p : "", p.n }, p.index, p.id, p.name };
    return true;
}

/* Ends, names and numbers */

void reply_finish(reply_t *r, const char *finish)
{
    r->finished = true;
    snprintf(r->result.finish, sizeof r->result.finish, "%s", finish);
}

void reply_name(char *to, size_t cap, str_t s)
{
    if (to[0] == '\0' && s.n > 0 && s.n < cap) {
        memcpy(to, s.p, s.n);
        to[s.n] = '\0';
    }
}

int64_t reply_count(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    json_int_t    n = json_is_integer(v) ? json_integer_value(v) : -1;

    return n <= CHAT_TOKENS_MAX ? (int64_t) SI_MAX(n, -1) : -1;
}

str_t reply_string(const json_t *v)
{
    return json_is_string(v) ? (str_t) { json_string_value(v), json_string_length(v) } : STR_NULL;
}

void reply_estimate(reply_t *r, const llm_request_t *q)
{
    size_t out = 0;

    if (r->result.input_tokens >= 0 && r->result.output_tokens >= 0) {
        return;
    }
    for (size_t i = 0; i < CHAT_KINDS; i++) {
        out += i == CHAT_SIGNATURE || i == CHAT_REDACTED ? 0 : r->bytes[i];
    }
    if (r->result.input_tokens < 0) {
        r->result.input_tokens = (int64_t) chat_tokens(q->messages, q->nmessages, &q->options);
    }
    /* The estimate depends on the length alone. */
    r->result.output_tokens = (int64_t) token_estimate((str_t) { "", out });
    r->result.estimated = true;
}
