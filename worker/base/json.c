#include "base/json.h"

#include <math.h>
#include <stdio.h>

#include "base/json_read.h"
#include "base/utf8.h"

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
 * text. Everything else that is wrong is left to jansson. Its place, or text.n.
 */
static size_t too_deep(str_t text)
{
    size_t depth = 0, i = 0;
    bool   in_string = false;

    while (i < text.n) {
        char c = text.p[i];

        if (in_string) {
            i += utf8_plain(text.p + i, text.n - i);
            while (i < text.n && (signed char) text.p[i] < 0) {
                i++;
            }
            if (i == text.n) {
                break;
            }
            in_string = text.p[i] != '"';
            i += text.p[i] == '\\' && i + 1 < text.n && text.p[i + 1] != '\n' ? 2 : 1;
            continue;
        }
        in_string = c == '"';
        if ((c == '{' || c == '[') && ++depth > JSON_DEPTH_MAX) {
            return i;
        }
        depth -= (c == '}' || c == ']') && depth > 0;
        i++;
    }
    return text.n;
}

static const char *depth_check(arena_t *a, str_t text)
{
    size_t at = too_deep(text), line = 1, column = 0;

    if (at == text.n) {
        return NULL;
    }
    for (size_t i = 0; i <= at; i++) {
        column = text.p[i] == '\n' ? 0 : column + (((unsigned char) text.p[i] & 0xc0) != 0x80);
        line += text.p[i] == '\n';
    }
    return arena_printf(a, "line %zu, column %zu: nested deeper than %d", line, column, JSON_DEPTH_MAX);
}

/* jansson's message without "near '…'", since messages are logged and what users write is not, and without its flags' names. */
static const char *error_text(arena_t *a, const json_error_t *e)
{
    const char *rest = strstr(e->text, " without JSON_");

    rest = rest != NULL ? rest : strstr(e->text, " near ");
    return arena_printf(a, "line %d, column %d: %.*s", SI_MAX(e->line, 1), SI_MAX(e->column, 0),
                        (int) (rest != NULL ? (size_t) (rest - e->text) : strlen(e->text)), e->text);
}

json_t *json_parse(arena_t *a, str_t text, const char **err)
{
    json_error_t e;
    json_t *v = json_read(text);

    *err = v == NULL ? depth_check(a, text) : NULL;
    if (v != NULL || *err != NULL) {
        return v;
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

/* Six places are enough for most (a temperature), and then no fewer digits give the number back: without printf(). */
static bool put_places(buf_t *b, double v, int *rc)
{
    double  size = fabs(v);
    int64_t millionths = size < 1e9 ? llround(size * 1e6) : 0;
    char    text[24];
    size_t  n = sizeof text, places = 6;

    if ((size < 1e-4 && size > 0) || (double) millionths / 1e6 != size) {
        return false;
    }
    while (places > 1 && millionths % 10 == 0) {
        millionths /= 10;
        places--;
    }
    for (size_t i = 0; i < places || millionths > 0 || i == places; i++, millionths /= 10) {
        text[--n] = (char) ('0' + millionths % 10);
        if (i + 1 == places) {
            text[--n] = '.';
        }
    }
    if (signbit(v)) {
        text[--n] = '-';
    }
    *rc = buf_append(b, text + n, sizeof text - n);
    return true;
}

/* 0.3 is written as 0.3, not as 0.29999999999999999; 1.0 stays a real, and 1e+09 is 1e9. */
int json_real_text(buf_t *b, double real)
{
    char        text[40];
    const char *e;
    int         digits = 14, n;

    if (put_places(b, real, &n)) {
        return n;
    }
    do {
        snprintf(text, sizeof text, "%.*g", ++digits, real);
    } while (digits < 17 && strtod(text, NULL) != real);
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
        return buf_int(b, json_integer_value(v));
    case JSON_REAL:
        return json_real_text(b, json_real_value(v));
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
