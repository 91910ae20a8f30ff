#include "conf/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <yaml.h>

#include "base/util.h"

typedef struct {
    yaml_parser_t  parser;
    arena_t       *a;
    const char    *file;
    const char   **err;
} reader_t;

static yaml_t *read_value(reader_t *r, yaml_event_t *e, const char *name, int line, int depth);

static yaml_t *refuse(reader_t *r, size_t line, const char *what)
{
    *r->err = arena_printf(r->a, "%s:%zu: %s", r->file, line + 1, what);
    return NULL;
}

static bool next_event(reader_t *r, yaml_event_t *e)
{
    const yaml_parser_t *p = &r->parser;

    if (yaml_parser_parse(&r->parser, e)) {
        return true;
    }
    refuse(r, p->problem_mark.line, arena_printf(r->a, "not YAML: %s%s%s", p->problem ? p->problem : "unknown reason",
                                                 p->context ? " " : "", p->context ? p->context : ""));
    return false;
}

static yaml_t *node(reader_t *r, yaml_kind_t kind, const char *name, int line)
{
    yaml_t *n = arena_calloc(r->a, sizeof(*n));

    n->name = name;
    n->file = r->file;
    n->line = line;
    n->kind = kind;
    return n;
}

static yaml_t *read_scalar(reader_t *r, const yaml_event_t *e, const char *name, int line)
{
    const char *text = (const char *) e->data.scalar.value;
    size_t      n = e->data.scalar.length;
    bool        plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    yaml_t     *v;

    if (!utf8_valid((str_t) { text, n })) {
        return refuse(r, e->start_mark.line, "a text with a NUL character");
    }
    if (plain && (n == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0)) {
        return node(r, YAML_NULL, name, line);
    }
    v = node(r, YAML_TEXT, name, line);
    v->text = arena_dup(r->a, text, n);
    return v;
}

static yaml_t *read_list(reader_t *r, const char *name, int line, int depth)
{
    yaml_t      *list = node(r, YAML_LIST, name, line), **tail = &list->first;
    yaml_event_t e;

    for (;;) {
        if (!next_event(r, &e)) {
            return NULL;
        }
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return list;
        }
        *tail = read_value(r, &e, "", (int) e.start_mark.line + 1, depth + 1);
        if (*tail == NULL) {
            return NULL;
        }
        tail = &(*tail)->next;
    }
}

/* The name of a member of `map`, or NULL with the error said. Takes the event. */
static const char *read_key(reader_t *r, const yaml_t *map, yaml_event_t *e)
{
    const char *name = NULL;
    yaml_t     *twin;

    if (e->type != YAML_SCALAR_EVENT || e->data.scalar.length == 0 || e->data.scalar.length > YAML_NAME_MAX
        || !utf8_valid((str_t) { (const char *) e->data.scalar.value, e->data.scalar.length })) {
        refuse(r, e->start_mark.line, arena_printf(r->a, "a key must be a text of 1 to %d bytes", YAML_NAME_MAX));
    } else {
        name = arena_dup(r->a, e->data.scalar.value, e->data.scalar.length);
        twin = yaml_get(map, name);
        if (twin != NULL) {
            refuse(r, e->start_mark.line, arena_printf(r->a, "%s: stands here twice, first in line %d", name, twin->line));
            name = NULL;
        }
    }
    yaml_event_delete(e);
    return name;
}

static yaml_t *read_map(reader_t *r, const char *name, int line, int depth)
{
    yaml_t      *map = node(r, YAML_MAP, name, line), **tail = &map->first;
    yaml_event_t e;

    for (;;) {
        if (!next_event(r, &e)) {
            return NULL;
        }
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return map;
        }
        int         at = (int) e.start_mark.line + 1;
        const char *key = read_key(r, map, &e);

        if (key == NULL || !next_event(r, &e) || (*tail = read_value(r, &e, key, at, depth + 1)) == NULL) {
            return NULL;
        }
        tail = &(*tail)->next;
    }
}

/* Takes the event. */
static yaml_t *read_value(reader_t *r, yaml_event_t *e, const char *name, int line, int depth)
{
    yaml_t *v = NULL;

    if (depth > YAML_DEPTH_MAX) {
        refuse(r, e->start_mark.line, arena_printf(r->a, "nested deeper than %d", YAML_DEPTH_MAX));
    } else if (e->type == YAML_SCALAR_EVENT) {
        v = read_scalar(r, e, name, line);
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        v = read_map(r, name, line, depth);
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        v = read_list(r, name, line, depth);
    } else {
        refuse(r, e->start_mark.line, "aliases are not supported: write the value out");
    }
    yaml_event_delete(e);
    return v;
}

/* STREAM-START, then nothing or DOCUMENT-START, the value, DOCUMENT-END, STREAM-END. */
static yaml_t *read_document(reader_t *r)
{
    yaml_event_t e;
    yaml_t      *top = NULL;
    bool         end;

    for (;;) {
        if (!next_event(r, &e)) {
            return NULL;
        }
        end = e.type == YAML_STREAM_END_EVENT;
        if (end || e.type == YAML_STREAM_START_EVENT || e.type == YAML_DOCUMENT_START_EVENT
            || e.type == YAML_DOCUMENT_END_EVENT) {
            yaml_event_delete(&e);
            if (end) {
                return top != NULL ? top : node(r, YAML_MAP, "", 1);
            }
            continue;
        }
        if (top != NULL) {
            refuse(r, e.start_mark.line, "a second document: one file holds one");
            yaml_event_delete(&e);
            return NULL;
        }
        top = read_value(r, &e, "", (int) e.start_mark.line + 1, 0);
        if (top == NULL) {
            return NULL;
        }
    }
}

static char *slurp(arena_t *a, const char *file, size_t *n, const char **err)
{
    FILE *in = fopen(file, "re");
    char *text;

    if (in == NULL) {
        *err = arena_printf(a, "%s:1: cannot be read: %s", file, strerror(errno));
        return NULL;
    }
    text = arena_alloc(a, YAML_FILE_MAX + 1);
    *n = fread(text, 1, YAML_FILE_MAX + 1, in);
    if (ferror(in)) {
        *err = arena_printf(a, "%s:1: cannot be read: %s", file, strerror(errno));
        text = NULL;
    } else if (*n > YAML_FILE_MAX) {
        *err = arena_printf(a, "%s:1: larger than %u bytes", file, YAML_FILE_MAX);
        text = NULL;
    }
    fclose(in);
    return text;
}

yaml_t *yaml_read(arena_t *a, const char *file, const char *text, const char **err)
{
    arena_t *scratch = arena_new(256);      /* of the file's text, which is not kept */
    size_t   n = text != NULL ? strlen(text) : 0;
    reader_t r = { .a = a, .file = arena_strdup(a, file), .err = err };
    yaml_t  *top;

    if (text == NULL) {
        text = slurp(scratch, file, &n, err);
    }
    if (text == NULL || !yaml_parser_initialize(&r.parser)) {
        *err = arena_strdup(a, text == NULL ? *err : "out of memory");
        arena_free(scratch);
        return NULL;
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *) text, n);
    top = read_document(&r);
    yaml_parser_delete(&r.parser);
    arena_free(scratch);
    if (top != NULL && top->kind == YAML_NULL) {
        top->kind = YAML_MAP;
    }
    if (top != NULL && top->kind != YAML_MAP) {
        return refuse(&r, (size_t) top->line - 1, "expected a map of keys and values");
    }
    return top;
}

yaml_t *yaml_get(const yaml_t *m, const char *name)
{
    for (yaml_t *v = m != NULL ? m->first : NULL; v != NULL; v = v->next) {
        if (strcmp(v->name, name) == 0) {
            return v;
        }
    }
    return NULL;
}

yaml_t *yaml_merge(yaml_t *under, yaml_t *over)
{
    yaml_t **tail;

    if (under->kind == YAML_MAP && over->kind == YAML_NULL) {
        return under;           /* a section whose keys are all commented out says nothing */
    }
    if (under->kind != YAML_MAP || over->kind != YAML_MAP) {
        over->next = NULL;
        return over;
    }
    under->file = over->file;
    under->line = over->line;
    while (over->first != NULL) {
        yaml_t *v = over->first;

        over->first = v->next;
        v->next = NULL;
        for (tail = &under->first; *tail != NULL && strcmp((*tail)->name, v->name) != 0; tail = &(*tail)->next) {
        }
        yaml_t *rest = *tail != NULL ? (*tail)->next : NULL;
        *tail = *tail != NULL ? yaml_merge(*tail, v) : v;
        (*tail)->next = rest;
    }
    return under;
}
