#include "llm/body.h"

#include <math.h>

json_t *body_str(str_t s)
{
    json_t *v = json_stringn(s.p != NULL ? s.p : "", s.n);

    return v != NULL ? v : json_string("\xEF\xBF\xBD");     /* only what is no UTF-8 makes none; faces let no such in */
}

json_t *body_object(arena_t *a, str_t text, const char *kind, const char *what, llm_error_t *err)
{
    const char *why;
    json_t     *v = json_parse_loose(a, text, &why);

    if (!json_is_object(v)) {
        json_decref(v);
        v = NULL;
        (void) provider_fail(err, SI_EINVAL, "unsupported", 0, false, "a provider of kind %s takes no %s that is no JSON object", kind, what);
    }
    return v;
}

json_t *body_shape(arena_t *a, const chat_options_t *o, const char *kind, llm_error_t *err)
{
    json_t *schema = body_object(a, o->shape_schema, kind, "schema", err);
    str_t   own = json_str(schema, "description", STR_NULL);

    if (schema != NULL && o->shape_about != NULL) {
        json_object_set_new(schema, "description", own.n == 0 ? json_string(o->shape_about) : json_sprintf("%s\n%s", o->shape_about, own.p));
    }
    return schema;
}

json_t *body_url(arena_t *a, const chat_part_t *p)
{
    size_t head;
    char  *url;

    if (p->media == NULL) {
        return body_str(p->text);
    }
    head = strlen(p->media) + sizeof "data:;base64," - 1;
    url = arena_alloc(a, head + p->text.n + 1);
    memcpy(url, arena_printf(a, "data:%s;base64,", p->media), head);
    memcpy(url + head, p->text.n > 0 ? p->text.p : "", p->text.n);
    return body_str((str_t) { url, head + p->text.n });
}

void body_real(json_t *o, const char *name, double v)
{
    if (!isnan(v)) {
        json_object_set_new(o, name, json_real(v));
    }
}

void body_count(json_t *o, const char *name, int64_t v)
{
    if (v >= 0) {
        json_object_set_new(o, name, json_integer(v));
    }
}

int64_t body_max_tokens(const llm_request_t *q)
{
    if (q->options.max_tokens >= 0) {
        return q->options.max_tokens;
    }
    return q->model->max_tokens > 0 ? (int64_t) q->model->max_tokens : -1;
}

int body_extra(json_t *body, const llm_request_t *q, const char *kind, const char *dialect, llm_error_t *err)
{
    const json_t *extra = q->options.extra;
    const char   *from = q->options.dialect != NULL ? q->options.dialect : "";

    if (json_object_size(extra) == 0) {
        return 0;
    }
    if (strcmp(from, dialect) != 0) {
        return format_unsupported(err, kind, json_object_iter_key(json_object_iter((json_t *) (uintptr_t) extra)));
    }
    return json_object_update_recursive(body, (json_t *) (uintptr_t) extra) == 0 ? 0 : SI_ENOMEM;
}
