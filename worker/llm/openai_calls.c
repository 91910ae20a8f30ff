#include "llm/openai_calls.h"

#include "llm/args.h"

typedef struct {
    int64_t     index;              /* theirs, or OPENAI_NO_INDEX */
    const char *id;                 /* "" until it is known */
    uint32_t    ours;
    bool        said;               /* begun for the reader: with its name, or with its arguments */
    args_t      args;
} call_t;

typedef struct {
    size_t n;
    call_t calls[CHAT_CALLS];
} calls_t;

static calls_t *calls_of(reply_t *r)
{
    if (r->state == NULL) {
        r->state = arena_calloc(r->arena, sizeof(calls_t));
    }
    return r->state;
}

/* The call that a piece goes on with; NULL: it begins one. */
static call_t *goes_on(calls_t *s, const openai_piece_t *p)
{
    call_t *c = NULL;

    for (size_t i = s->n; i > 0 && c == NULL; i--) {
        c = p->index == OPENAI_NO_INDEX || s->calls[i - 1].index == p->index ? &s->calls[i - 1] : NULL;
    }
    if (c == NULL || (p->id.n > 0 && c->id[0] != '\0' && !str_is(p->id, c->id))) {
        return NULL;
    }
    return p->id.n == 0 && p->name.n > 0 && args_whole(&c->args) ? NULL : c;
}

bool openai_goes_on(const reply_t *r, const openai_piece_t *p, uint32_t *which)
{
    calls_t      *s = r->state;
    const call_t *c = s != NULL && (p->id.n > 0 || p->name.n == 0) && p->seal.n == 0 ? goes_on(s, p) : NULL;

    *which = c != NULL ? (uint32_t) (c - s->calls) : 0;
    return c != NULL && c->said;
}

int openai_more_args(reply_t *r, uint32_t which, str_t args)
{
    call_t *c = &calls_of(r)->calls[which];

    args_follow(&c->args, args);
    return reply_args(r, c->ours, args);
}

int openai_read_piece(reply_t *r, const openai_piece_t *p)
{
    calls_t *s = calls_of(r);
    call_t  *c = goes_on(s, p);
    int      rc = 0;

    if (c == NULL) {
        if (s->n == CHAT_CALLS) {
            return reply_call(r, p->id, p->name, &(uint32_t) { 0 });    /* says that there are too many */
        }
        c = &s->calls[s->n++];
        *c = (call_t) { .index = p->index, .id = "" };
    }
    if (p->id.n > 0 && c->id[0] == '\0') {
        c->id = arena_dup(r->arena, p->id.p, p->id.n);
    }
    if (!c->said && (p->name.n > 0 || (p->args.n > 0 && !p->object))) {
        c->said = true;
        rc = reply_call(r, str_of(c->id), p->name, &c->ours);
    }
    rc = rc != 0 || !c->said ? rc : openai_more_args(r, (uint32_t) (c - s->calls), p->args);
    return rc != 0 || !c->said ? rc : reply_text(r, CHAT_SIGNATURE, p->seal);
}

/* `f` has name and arguments. */
static int read_call(reply_t *r, int64_t index, str_t id, const json_t *f, const json_t *extra)
{
    const json_t  *args = json_object_get(f, "arguments");
    openai_piece_t p = { index, id, json_str(f, "name", STR_NULL), reply_string(args),
                         json_str(json_object_get(extra, "google"), "thought_signature", STR_NULL), json_is_object(args) };

    if (p.object) {
        p.args = str_of(json_text(r->arena, args));
    }
    return openai_read_piece(r, &p);
}

int openai_read_calls(reply_t *r, const json_t *delta, bool whole)
{
    const json_t *list = json_object_get(delta, "tool_calls"), *old = json_object_get(delta, "function_call"), *v;
    size_t        i;
    int           rc = 0;

    json_array_foreach(list, i, v) {
        const json_t *index = json_object_get(v, "index");
        int64_t       at = whole ? (int64_t) i : json_is_integer(index) ? (int64_t) json_integer_value(index) : OPENAI_NO_INDEX;

        rc = rc != 0 ? rc : read_call(r, at, json_str(v, "id", STR_NULL), json_object_get(v, "function"), json_object_get(v, "extra_content"));
    }
    if (json_is_object(old) && json_array_size(list) == 0) {
        rc = rc != 0 ? rc : read_call(r, OPENAI_NO_INDEX, STR_NULL, old, NULL);
    }
    return rc;
}

int openai_end_calls(reply_t *r)
{
    calls_t *s = r->state;
    int      rc = 0;

    for (size_t i = 0; s != NULL && i < s->n && rc == 0; i++) {
        call_t *c = &s->calls[i];

        if (c->said && !c->args.any) {
            c->args.any = true;
            rc = reply_args(r, c->ours, STR("{}"));
        }
    }
    return rc;
}
