/* What all dialects need to read their requests. */
#include "api/face.h"

#include <stdio.h>

#include "base/util.h"

#define SHOWN  64               /* bytes of a client's member name that are shown */

int face_refuse(face_call_t *c, const char *field, const char *fmt, ...)
{
    char    message[512];
    va_list ap;
    int     n;

    va_start(ap, fmt);
    n = vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (n >= (int) sizeof message) {
        message[utf8_cut(message, sizeof message - 1)] = '\0';
    }
    c->err = (face_error_t) { .status = 400, .code = "invalid_field", .message = arena_strdup(c->arena, message),
                              .field = field != NULL ? arena_strdup(c->arena, field) : NULL };
    return -1;
}

const char *face_field(face_call_t *c, const char *path, const char *name)
{
    size_t n = utf8_cut(name, SI_MIN(strlen(name), (size_t) SHOWN)), len = strlen(path);
    char  *field = arena_calloc(c->arena, len + 1 + n + 1);     /* without printf(): most are made for nothing */

    memcpy(field, path, len);
    field[len] = '.';
    len += len > 0;
    memcpy(field + len, name, n);
    field[len + n] = '\0';
    return field;
}

const char *face_item(face_call_t *c, const char *list, size_t i)
{
    char   digits[24];
    size_t n = sizeof digits;

    digits[--n] = '\0';
    digits[--n] = ']';
    do {
        digits[--n] = (char) ('0' + i % 10);
        i /= 10;
    } while (i > 0);
    digits[--n] = '[';
    return arena_cat(c->arena, list, digits + n, NULL);
}

/* The first two bytes tell most names apart. */
static bool same(const char *a, const char *b)
{
    return a[0] == b[0] && (a[0] == '\0' || (a[1] == b[1] && strcmp(a, b) == 0));
}

/* One of 64 bits by the first two bytes, so that an absent name is seldom looked for. */
static uint64_t mark(const char *name)
{
    unsigned a = (unsigned char) name[0], b = a != 0 ? (unsigned char) name[1] : 0;

    return 1ull << ((a * 3 + b) & 63);
}

static void look_into(face_call_t *c, const json_t *o)
{
    json_t *of = (json_t *) (uintptr_t) o;

    c->seen.o = o;
    c->seen.n = 0;
    c->seen.marks = 0;
    for (void *at = json_object_iter(of); at != NULL; at = json_object_iter_next(of, at)) {
        const char   *name = json_object_iter_key(at);
        const json_t *v = json_object_iter_value(at);

        if (!json_is_null(v)) {
            c->seen.marks |= mark(name);
            c->seen.members[c->seen.n].name = name;
            c->seen.members[c->seen.n++].v = v;
        }
    }
}

static const json_t *find(face_call_t *c, const json_t *o, const char *name)
{
    if (c->seen.o != o) {
        if (json_object_size(o) > FACE_MEMBERS) {
            const json_t *v = json_object_get(o, name);

            return json_is_null(v) ? NULL : v;
        }
        look_into(c, o);
    }
    for (size_t i = 0; i < c->seen.n; i++) {
        if (same(c->seen.members[i].name, name)) {
            return c->seen.members[i].v;
        }
    }
    return NULL;
}

const json_t *face_get(face_call_t *c, const json_t *o, const char *name)
{
    return c->seen.o == o && (c->seen.marks & mark(name)) == 0 ? NULL : find(c, o, name);
}

static bool in_list(const char *name, const char *const *names)
{
    while (*names != NULL && !same(*names, name)) {
        names++;
    }
    return *names != NULL;
}

int face_members(face_call_t *c, const char *path, const json_t *o, const char *const *names)
{
    const char   *name;
    const json_t *v;

    json_object_foreach((json_t *) (uintptr_t) o, name, v) {
        if (!in_list(name, names) && !json_is_null(v)) {
            return face_refuse(c, face_field(c, path, name), "is not known here, or cannot be translated");
        }
    }
    return 0;
}

int face_text(face_call_t *c, const char *path, const json_t *o, const char *name, bool required, str_t *out)
{
    const json_t *v = face_get(c, o, name);

    if (v == NULL) {
        return required ? face_refuse(c, face_field(c, path, name), "is required") : 0;
    }
    if (!json_is_string(v)) {
        return face_refuse(c, face_field(c, path, name), "must be a string");
    }
    *out = (str_t) { json_string_value(v), json_string_length(v) };
    return 0;
}

int face_flag(face_call_t *c, const char *path, const json_t *o, const char *name, bool *out)
{
    const json_t *v = face_get(c, o, name);

    if (v != NULL && !json_is_boolean(v)) {
        return face_refuse(c, face_field(c, path, name), "must be true or false");
    }
    *out = v != NULL ? json_is_true(v) : *out;
    return 0;
}

int face_number(face_call_t *c, const char *path, const json_t *o, const char *name, double *out)
{
    const json_t *v = face_get(c, o, name);

    if (v != NULL && !json_is_number(v)) {
        return face_refuse(c, face_field(c, path, name), "must be a number");
    }
    *out = v != NULL ? json_number_value(v) : *out;
    return 0;
}

int face_count(face_call_t *c, const char *path, const json_t *o, const char *name, int64_t min, int64_t *out)
{
    const json_t *v = face_get(c, o, name);

    if (v != NULL && (!json_is_integer(v) || json_integer_value(v) < min)) {
        return face_refuse(c, face_field(c, path, name), min == INT64_MIN ? "must be a whole number" : "must be a whole number from %lld",
                           (long long) min);
    }
    *out = v != NULL ? (int64_t) json_integer_value(v) : *out;
    return 0;
}

bool face_data_url(arena_t *a, str_t url, const char **media, str_t *data)
{
    static const char mark[] = ";base64,";
    const char       *at;

    if (url.n < 5 || memcmp(url.p, "data:", 5) != 0) {
        return false;
    }
    at = memmem(url.p, url.n, mark, sizeof mark - 1);
    if (at == NULL || at == url.p + 5) {
        return false;
    }
    *media = arena_dup(a, url.p + 5, (size_t) (at - url.p) - 5);
    *data = (str_t) { at + sizeof mark - 1, (size_t) (url.p + url.n - at) - sizeof mark + 1 };
    return data->n > 0;
}

int face_tools(face_call_t *c, const json_t *o, int (*read)(face_call_t *c, const char *path, const json_t *v, chat_tool_t *t))
{
    const json_t *list = face_get(c, o, "tools"), *v;
    chat_tool_t  *tools;
    size_t        i;

    if (list == NULL) {
        return 0;
    }
    if (!json_is_array(list)) {
        return face_refuse(c, "tools", "must be a list");
    }
    tools = arena_calloc(c->arena, (json_array_size(list) + 1) * sizeof *tools);
    json_array_foreach(list, i, v) {
        if (read(c, face_item(c, "tools", i), v, &tools[i])) {
            return -1;
        }
    }
    c->q.options.tools = tools;
    c->q.options.ntools = json_array_size(list);
    return 0;
}

static bool is_usual(const char *name, const json_t *v, const face_usual_t *usual)
{
    for (; usual->name != NULL; usual++) {
        if (strcmp(usual->name, name) == 0 && str_is(str_of(json_string_value(v)), usual->value)) {
            return true;
        }
    }
    return false;
}

int face_keep(face_call_t *c, const char *name, const json_t *v)
{
    json_t *extra = (json_t *) (uintptr_t) c->q.options.extra;

    if (extra == NULL) {
        c->q.options.extra = extra = json_own(c->arena, json_object());
    }
    return json_object_set(extra, name, (json_t *) (uintptr_t) v);
}

void face_keep_rest(face_call_t *c, const json_t *o, const char *const *known, const face_usual_t *usual)
{
    const char   *name;
    const json_t *v;

    json_object_foreach((json_t *) (uintptr_t) o, name, v) {
        if (!in_list(name, known) && !json_is_null(v) && !is_usual(name, v, usual)) {
            (void) face_keep(c, name, v);
        }
    }
}
