#include "base/json.h"

#include <stdio.h>

static void decref(void *v)
{
    json_decref(v);
}

json_t *json_own(arena_t *a, json_t *v)
{
    if (v != NULL) {
        arena_defer(a, decref, v);
    }
    return v;
}

/*
 * Looks for the bracket that goes too deep, without recursion: jansson must not see such a
 * text. Everything else that is wrong is left to jansson.
 */
static const char *depth_check(arena_t *a, str_t text)
{
    size_t line = 1, column = 0, depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        column += ((unsigned char) c & 0xc0) != 0x80;
        if (c == '\n') {
            line++;
            column = 0;
        } else if (in_string) {
            if (c == '\\' && i + 1 < text.n && text.p[i + 1] != '\n') {
                i++;
                column++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX) {
                return arena_printf(a, "line %zu, column %zu: nested deeper than %d",
                                    line, column, JSON_DEPTH_MAX);
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return NULL;
}

/* jansson's message without "near '…'": messages are logged, what users write is not. */
static const char *error_text(arena_t *a, const json_error_t *e)
{
    const char *near = strstr(e->text, " near ");
    int n = (int) (near ? (size_t) (near - e->text) : strlen(e->text));

    return arena_printf(a, "line %d, column %d: %.*s", SI_MAX(e->line, 1), SI_MAX(e->column, 0),
                        n, e->text);
}

json_t *json_parse(arena_t *a, str_t text, const char **err)
{
    json_error_t e;
    json_t *v;

    *err = depth_check(a, text);
    if (*err != NULL) {
        return NULL;
    }
    v = json_loadb(text.n ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (v == NULL) {
        *err = error_text(a, &e);
    }
    return v;
}

static int dump_to(const char *p, size_t n, void *b)
{
    return buf_append(b, p, n);
}

/* Whether so many digits give every number of v back. Nested as deep as json_parse() lets through. */
static bool digits_do(const json_t *v, int digits)
{
    const json_t *member;
    const char   *name;
    size_t        i;
    char          text[40];

    if (json_is_real(v)) {
        snprintf(text, sizeof text, "%.*g", digits, json_real_value(v));
        return strtod(text, NULL) == json_real_value(v);
    }
    json_object_foreach((json_t *) (uintptr_t) v, name, member) {
        if (!digits_do(member, digits)) {
            return false;
        }
    }
    json_array_foreach(v, i, member) {
        if (!digits_do(member, digits)) {
            return false;
        }
    }
    return true;
}

/* 0.3 is written as 0.3, not as 0.29999999999999999. */
static size_t flags(const json_t *v)
{
    int digits = 15;

    while (digits < 17 && !digits_do(v, digits)) {
        digits++;
    }
    return JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits);
}

int json_dump(buf_t *b, const json_t *v)
{
    size_t before = b->n;

    if (json_dump_callback(v, dump_to, b, flags(v)) != 0) {
        b->n = before;      /* all or nothing */
        return SI_ENOMEM;
    }
    return SI_OK;
}

char *json_text(arena_t *a, const json_t *v)
{
    size_t how = flags(v);
    size_t n = json_dumpb(v, NULL, 0, how);
    char *p = arena_alloc(a, n + 1);

    if (n == 0 || json_dumpb(v, p, n, how) != n) {
        si_die("json_text: the value cannot be written");
    }
    p[n] = '\0';
    return p;
}

str_t json_str(const json_t *o, const char *name, str_t missing)
{
    const json_t *v = json_object_get(o, name);

    return json_is_string(v) ? (str_t) { json_string_value(v), json_string_length(v) } : missing;
}
