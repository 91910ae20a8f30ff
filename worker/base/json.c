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

static int put_value(buf_t *b, const json_t *v);

static int put_object(buf_t *b, const json_t *o)
{
    const char   *name, *between = "";
    const json_t *member;
    int           rc = buf_append(b, "{", 1);

    json_object_foreach((json_t *) (uintptr_t) o, name, member) {
        rc = rc != 0 ? rc : buf_puts(b, between);
        rc = rc != 0 ? rc : buf_json_str(b, str_of(name));
        rc = rc != 0 ? rc : buf_append(b, ":", 1);
        rc = rc != 0 ? rc : put_value(b, member);
        between = ",";
    }
    return rc != 0 ? rc : buf_append(b, "}", 1);
}

static int put_array(buf_t *b, const json_t *list)
{
    const json_t *v;
    size_t        i;
    int           rc = buf_append(b, "[", 1);

    json_array_foreach(list, i, v) {
        rc = rc != 0 || i == 0 ? rc : buf_append(b, ",", 1);
        rc = rc != 0 ? rc : put_value(b, v);
    }
    return rc != 0 ? rc : buf_append(b, "]", 1);
}

/* 0.3 is written as 0.3, not as 0.29999999999999999; 1.0 stays a real, and 1e+09 is 1e9. */
static int put_real(buf_t *b, const json_t *v)
{
    char        text[40];
    const char *e;
    int         digits = 14, n;

    do {
        snprintf(text, sizeof text, "%.*g", ++digits, json_real_value(v));
    } while (digits < 17 && strtod(text, NULL) != json_real_value(v));
    n = (int) strcspn(text, "e");
    if (text[n] == '\0') {
        return buf_printf(b, "%s%s", text, strchr(text, '.') == NULL ? ".0" : "");
    }
    e = text + n + 1;
    return buf_printf(b, "%.*se%s%s", n, text, *e == '-' ? "-" : "", e + strspn(e, "+-0"));
}

/* As jansson would, in a quarter of its time: it writes each byte that may need an escape on its own. */
static int put_value(buf_t *b, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return put_object(b, v);
    case JSON_ARRAY:
        return put_array(b, v);
    case JSON_STRING:
        return buf_json_str(b, (str_t) { json_string_value(v), json_string_length(v) });
    case JSON_INTEGER:
        return buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    case JSON_REAL:
        return put_real(b, v);
    case JSON_TRUE:
        return buf_puts(b, "true");
    case JSON_FALSE:
        return buf_puts(b, "false");
    default:
        return buf_puts(b, "null");
    }
}

int json_dump(buf_t *b, const json_t *v)
{
    size_t before = b->n;
    int    rc = put_value(b, v);

    if (rc != 0) {
        b->n = before;      /* all or nothing */
    }
    return rc;
}

char *json_text(arena_t *a, const json_t *v)
{
    buf_t b;
    char *text;

    buf_init(&b, SIZE_MAX);
    if (json_dump(&b, v) != 0) {
        si_die("json_text: the value cannot be written");
    }
    text = arena_dup(a, b.p, b.n);
    buf_free(&b);
    return text;
}

str_t json_str(const json_t *o, const char *name, str_t missing)
{
    const json_t *v = json_object_get(o, name);

    return json_is_string(v) ? (str_t) { json_string_value(v), json_string_length(v) } : missing;
}
