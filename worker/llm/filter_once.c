#include "llm/filter_once.h"

#include <stdio.h>

#include "base/util.h"
#include "run/co.h"

#define TURN_BYTES  65536u          /* looked at before others run */
#define GROW_MAX    (1u << 20)      /* bytes that replacements may add to a text */

void filter_once_init(filter_once_t *w, arena_t *a, filter_rule_t *const *rules, size_t n, filter_direction_t d,
                      void (*note)(filter_rule_t *, void *), void *arg)
{
    memset(w, 0, sizeof *w);
    w->arena = a;
    filter_text_init(&w->text, rules, n, d, note, arg);
    buf_init(&w->out, GROW_MAX);
}

void filter_once_free(filter_once_t *w)
{
    filter_text_free(&w->text);
    buf_free(&w->out);
}

int co_filter_once(filter_once_t *w, str_t *s)
{
    str_t rest = *s;
    int   rc = 0;

    w->changed = false;
    if (w->text.n == 0 || s->n == 0) {
        return 0;
    }
    filter_text_reset(&w->text);
    w->out.max = s->n + GROW_MAX;
    while (rc == 0 && rest.n > TURN_BYTES) {
        size_t n = utf8_cut(rest.p, TURN_BYTES);

        w->blocked |= filter_text_feed(&w->text, (str_t) { rest.p, n }, false, &w->out) != 0;
        rest = (str_t) { rest.p + n, rest.n - n };
        rc = co_yield();
    }
    w->blocked |= filter_text_feed(&w->text, rest, true, &w->out) != 0 || w->text.blocked != NULL;
    if (!str_eq(*s, (str_t) { w->out.p, w->out.n })) {
        w->changed = true;
        *s = (str_t) { arena_dup(w->arena, w->out.n > 0 ? w->out.p : "", w->out.n), w->out.n };
    }
    buf_consume(&w->out, w->out.n);
    return rc;
}

/* --- JSON --- */

static int co_clean(filter_once_t *w, const json_t *v, json_t **out, bool *changed);

static int co_clean_text(filter_once_t *w, const json_t *v, json_t **out, bool *changed)
{
    char  number[32];
    str_t s = { json_string_value(v), json_string_length(v) };
    int   rc;

    if (json_is_integer(v)) {
        s = (str_t) { number, (size_t) snprintf(number, sizeof number, "%lld", (long long) json_integer_value(v)) };
    }
    rc = co_filter_once(w, &s);
    *changed |= w->changed;
    *out = w->changed ? json_stringn(s.p, s.n) : json_deep_copy(v);
    return rc;
}

static int co_clean_member(filter_once_t *w, json_t *o, const char *name, const json_t *v, bool *changed)
{
    str_t   s = str_of(name);
    json_t *clean = NULL;
    int     rc = co_filter_once(w, &s);

    if (w->changed) {
        *changed = true;
        name = arena_dup(w->arena, s.p, s.n);
    }
    rc = rc != 0 ? rc : co_clean(w, v, &clean, changed);
    (void) json_object_set_new(o, name, clean);
    return rc;
}

/* *out: a new reference to what may pass of v, or NULL with SI_ECANCELED. Nested as deep as json_parse() lets through. */
static int co_clean(filter_once_t *w, const json_t *v, json_t **out, bool *changed)
{
    const json_t *member;
    const char   *name;
    size_t        i;
    int           rc = 0;

    if (json_is_string(v) || json_is_integer(v)) {
        return co_clean_text(w, v, out, changed);
    }
    *out = json_is_object(v) ? json_object() : json_is_array(v) ? json_array() : json_deep_copy(v);
    json_object_foreach((json_t *) (uintptr_t) v, name, member) {
        rc = rc != 0 ? rc : co_clean_member(w, *out, name, member, changed);
    }
    json_array_foreach(v, i, member) {
        json_t *clean = NULL;

        rc = rc != 0 ? rc : co_clean(w, member, &clean, changed);
        (void) json_array_append_new(*out, clean);
    }
    return rc;
}

int co_filter_tree(filter_once_t *w, const json_t **v)
{
    json_t *clean = NULL;
    bool    changed = false;
    int     rc = co_clean(w, *v, &clean, &changed);

    clean = json_own(w->arena, clean);
    if (changed && rc == 0) {
        *v = clean;
    }
    w->changed = changed;
    return rc;
}

int co_filter_json(filter_once_t *w, str_t *s)
{
    const char   *why;
    const json_t *v = w->text.n > 0 && s->n > 0 ? json_own(w->arena, json_parse(w->arena, *s, &why)) : NULL;
    int           rc;

    if (v == NULL) {
        return co_filter_once(w, s);
    }
    rc = co_filter_tree(w, &v);
    if (w->changed && rc == 0) {
        *s = str_of(json_text(w->arena, v));
    }
    return rc;
}
