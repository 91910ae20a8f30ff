#include "llm/openai_calls.h"

#include "llm/args.h"

#define NO_INDEX  (-1)

typedef struct {
    int64_t     index;              /* theirs, or NO_INDEX */
    const char *id;                 /* "" until it is known */
    uint32_t    ours;
    bool        said;               /* begun for the reader: with its name, or with its arguments */
    args_t      args;
} call_t;

typedef struct {
    size_t n;
    call_t calls[CHAT_CALLS];
} calls_t;

/* The call that a piece goes on with; NULL: it begins one. */
static call_t *goes_on(calls_t *s, int64_t index, str_t id, str_t name)
{
    call_t *c = NULL;

    for (size_t i = s->n; i > 0 && c == NULL; i--) {
        c = index == NO_INDEX || s->calls[i - 1].index == index ? &s->calls[i - 1] : NULL;
    }
    if (c == NULL || (id.n > 0 && c->id[0] != '\0' && !str_is(id, c->id))) {
        return NULL;
    }
    return id.n == 0 && name.n > 0 && args_whole(&c->args) ? NULL : c;
}

static int add_args(reply_t *r, call_t *c, const json_t *args)
{
    str_t piece = reply_string(args);

    if (json_is_object(args)) {
        piece = str_of(json_text(r->arena, args));
    }
    args_follow(&c->args, piece);
    return reply_args(r, c->ours, piece);
}

/* One piece: `f` has name and arguments. */
static int read_piece(reply_t *r, int64_t index, str_t id, const json_t *f, const json_t *extra)
{
    calls_t *s = r->state;
    str_t    name = json_str(f, "name", STR_NULL), seal = json_str(json_object_get(extra, "google"), "thought_signature", STR_NULL);
    call_t  *c = goes_on(s, index, id, name);
    int      rc = 0;

    if (c == NULL) {
        if (s->n == CHAT_CALLS) {
            return reply_call(r, id, name, &(uint32_t) { 0 });      /* says that there are too many */
        }
        c = &s->calls[s->n++];
        *c = (call_t) { .index = index, .id = "" };
    }
    if (id.n > 0 && c->id[0] == '\0') {
        c->id = arena_dup(r->arena, id.p, id.n);
    }
    if (!c->said && (name.n > 0 || reply_string(json_object_get(f, "arguments")).n > 0)) {
        c->said = true;
        rc = reply_call(r, str_of(c->id), name, &c->ours);
    }
    rc = rc != 0 || !c->said ? rc : add_args(r, c, json_object_get(f, "arguments"));
    return rc != 0 || !c->said ? rc : reply_text(r, CHAT_SIGNATURE, seal);
}

int openai_read_calls(reply_t *r, const json_t *delta, bool whole)
{
    const json_t *list = json_object_get(delta, "tool_calls"), *old = json_object_get(delta, "function_call"), *v;
    size_t        i;
    int           rc = 0;

    if (!json_is_array(list) && !json_is_object(old)) {
        return 0;
    }
    if (r->state == NULL) {
        r->state = arena_calloc(r->arena, sizeof(calls_t));
    }
    json_array_foreach(list, i, v) {
        const json_t *index = json_object_get(v, "index");
        int64_t       at = whole ? (int64_t) i : json_is_integer(index) ? (int64_t) json_integer_value(index) : NO_INDEX;

        rc = rc != 0 ? rc : read_piece(r, at, json_str(v, "id", STR_NULL), json_object_get(v, "function"), json_object_get(v, "extra_content"));
    }
    if (json_is_object(old) && json_array_size(list) == 0) {
        rc = rc != 0 ? rc : read_piece(r, NO_INDEX, STR_NULL, old, NULL);
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
