#include "llm/gemini_args.h"

#define LEVELS  (JSON_DEPTH_MAX - 2)

/* One step of a path: a name, or an index. */
typedef struct {
    str_t  name;            /* {NULL, 0}: an index */
    size_t index;
} step_t;

static void args_free(void *p)
{
    gemini_args_t *args = p;

    json_decref(args->root);
    free(args->path);
    buf_free(&args->text);
}

gemini_args_t *gemini_args_new(arena_t *a, size_t max)
{
    gemini_args_t *args = arena_calloc(a, sizeof *args);

    buf_init(&args->text, max);
    arena_defer(a, args_free, args);
    return args;
}

/* Takes "['name']", "[7]" or ".name" off the path. */
static bool take_step(const char **path, step_t *step)
{
    const char *p = *path, *end;

    *step = (step_t) { STR_NULL, 0 };
    if (p[0] == '.') {
        end = p + 1 + strcspn(p + 1, ".[");
        step->name = (str_t) { p + 1, (size_t) (end - p) - 1 };
        *path = end;
        return step->name.n > 0;
    }
    if (p[0] == '[' && (p[1] == '\'' || p[1] == '"')) {
        end = strchr(p + 2, p[1]);
        if (end == NULL || end[1] != ']' || memchr(p, '\\', (size_t) (end - p)) != NULL) {
            return false;
        }
        step->name = (str_t) { p + 2, (size_t) (end - p) - 2 };
        *path = end + 2;
        return true;
    }
    end = p[0] == '[' ? p + 1 + strspn(p + 1, "0123456789") : p;
    if (p[0] != '[' || end == p + 1 || end - p > 7 || *end != ']') {
        return false;
    }
    step->index = (size_t) strtoul(p + 1, NULL, 10);
    *path = end + 1;
    return true;
}

/* The member at a step, borrowed; NULL: not there. */
static json_t *at(json_t *in, const step_t *step)
{
    char *name;
    json_t *v;

    if (step->name.p == NULL) {
        return json_array_get(in, step->index);
    }
    name = si_malloc(step->name.n + 1);
    memcpy(name, step->name.p, step->name.n);
    name[step->name.n] = '\0';
    v = json_object_get(in, name);
    free(name);
    return v;
}

/* Puts v, whose reference it takes, there. An element of an array comes after those that are there. */
static int set(json_t *in, const step_t *step, json_t *v)
{
    char *name;
    int   rc;

    if (step->name.p == NULL) {
        return (step->index == json_array_size(in) ? json_array_append_new(in, v) : json_array_set_new(in, step->index, v)) == 0 ? 0 : SI_EPROTO;
    }
    name = si_malloc(step->name.n + 1);
    memcpy(name, step->name.p, step->name.n);
    name[step->name.n] = '\0';
    rc = json_object_set_new(in, name, v);
    free(name);
    return rc == 0 ? 0 : SI_EPROTO;
}

/* Puts v, whose reference it takes, at the path, and makes what leads to it. */
static int put(gemini_args_t *args, const char *path, json_t *v)
{
    json_t *in, *next;
    step_t  step;
    int     rc = 0;

    args->root = args->root != NULL ? args->root : json_object();
    in = args->root;
    if (*path++ != '$' || !take_step(&path, &step)) {
        json_decref(v);
        return SI_EPROTO;
    }
    for (int level = 0; *path != '\0' && rc == 0; level++) {
        bool list = path[0] == '[' && path[1] >= '0' && path[1] <= '9';

        next = at(in, &step);
        if (next == NULL) {
            next = list ? json_array() : json_object();
            rc = set(in, &step, next);
        }
        in = next;
        if (rc == 0 && (level == LEVELS || !take_step(&path, &step))) {
            rc = SI_EPROTO;
        }
    }
    if (rc != 0) {
        json_decref(v);
        return rc;
    }
    return set(in, &step, v);
}

/* The string that went on is whole. */
static int end_string(gemini_args_t *args)
{
    int rc = 0;

    if (args->path != NULL) {
        rc = put(args, args->path, json_stringn(args->text.n > 0 ? args->text.p : "", args->text.n));
        free(args->path);
        args->path = NULL;
        buf_consume(&args->text, args->text.n);
    }
    return rc;
}

static int add_string(gemini_args_t *args, const char *path, const json_t *piece, str_t text)
{
    int rc = 0;

    if (args->path != NULL && strcmp(args->path, path) != 0) {
        rc = end_string(args);
    }
    if (args->path == NULL) {
        args->path = si_strdup(path);
    }
    rc = rc != 0 || text.n == 0 ? rc : buf_append(&args->text, text.p, text.n);
    return rc != 0 || json_is_true(json_object_get(piece, "willContinue")) ? rc : end_string(args);
}

int gemini_args_add(gemini_args_t *args, const json_t *piece)
{
    const json_t *text = json_object_get(piece, "stringValue"), *number = json_object_get(piece, "numberValue");
    const json_t *flag = json_object_get(piece, "boolValue");
    const char   *path = json_string_value(json_object_get(piece, "jsonPath"));
    json_t       *v = json_is_number(number) ? json_deep_copy(number) : json_is_boolean(flag) ? json_boolean(json_is_true(flag))
                      : json_object_get(piece, "nullValue") != NULL ? json_null() : NULL;
    int           rc;

    if (path == NULL || (v == NULL && !json_is_string(text))) {
        json_decref(v);
        return SI_EPROTO;
    }
    args->bytes += strlen(path) + json_string_length(text) + 8;
    if (args->bytes > args->text.max) {
        json_decref(v);
        return SI_ENOMEM;
    }
    if (v == NULL) {
        return add_string(args, path, piece, (str_t) { json_string_value(text), json_string_length(text) });
    }
    rc = end_string(args);
    if (rc != 0) {
        json_decref(v);
        return rc;
    }
    return put(args, path, v);
}

json_t *gemini_args_take(gemini_args_t *args)
{
    json_t *v = end_string(args) == 0 ? args->root != NULL ? args->root : json_object() : NULL;

    if (v != NULL) {
        args->root = NULL;
    }
    return v;
}
