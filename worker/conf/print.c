/* What is in force and why: `si-worker -t`. */
#include <ctype.h>

#include "conf/conf.h"
#include "conf/keys.h"
#include "conf/yaml.h"

/* Length of the user part's "name:" in "scheme://name:password@…", and of the password in *n; 0: there is none. */
static size_t url_password(const char *text, size_t *n)
{
    const char *authority = strstr(text, "://");
    const char *end, *at, *colon;

    if (authority == NULL) {
        return 0;
    }
    authority += 3;
    end = authority + strcspn(authority, "/");
    at = memrchr(authority, '@', (size_t) (end - authority));     /* a password may hold '@', '?' and '#' too */
    colon = at != NULL ? memchr(authority, ':', (size_t) (at - authority)) : NULL;
    if (colon == NULL) {
        return 0;
    }
    *n = (size_t) (at - colon - 1);
    return (size_t) (colon + 1 - text);
}

/* The same for "password=…" in a connection string or in a URL's arguments. */
static size_t named_password(const char *text, size_t *n)
{
    const char *p = strstr(text, "password");

    if (p == NULL) {
        return 0;
    }
    p += 8;
    p += strspn(p, " =");
    *n = *p == '\'' ? strlen(p) : strcspn(p, " &");
    return (size_t) (p - text);
}

static void print_place(FILE *out, const char *text)
{
    size_t n = 0, at = url_password(text, &n);

    at = at > 0 ? at : named_password(text, &n);
    if (at > 0 && n > 0) {
        fprintf(out, "\"%.*s***%s\"", (int) at, text, text + at + n);
    } else {
        fprintf(out, "\"%s\"", text);
    }
}

static void print_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\') {
            fputc('\\', out);
        }
        if (*p == '\n') {
            fputs("\\n", out);
        } else if (iscntrl((unsigned char) *p)) {
            fprintf(out, "\\x%02x", (unsigned) (unsigned char) *p);
        } else {
            fputc(*p, out);
        }
    }
    fputc('"', out);
}

static void print_value(FILE *out, const conf_key_t *k, const char *text)
{
    size_t n;

    if (k->type == KEY_PLACE || (k->type == KEY_URL && url_password(text, &n) > 0)) {
        print_place(out, text);
    } else if (k->type == KEY_NUMBER || k->type == KEY_SHARE || k->type == KEY_SIZE || k->type == KEY_DURATION || k->type == KEY_PRICE) {
        fputs(text, out);
    } else {
        print_text(out, text);
    }
}

/* Values that are found out at run time. */
static const char *computed(const conf_t *c, const conf_key_t *k, const char *name, char *out, size_t cap)
{
    const char *last = strrchr(k->path, '.');

    out[0] = '\0';
    if (strcmp(k->path, "node") == 0) {
        snprintf(out, cap, "%s", c->node);
    } else if (strcmp(k->path, "workers") == 0) {
        snprintf(out, cap, "%llu", (unsigned long long) c->workers);
    } else if (last != NULL && strcmp(last, ".upstream") == 0) {
        snprintf(out, cap, "%s", name);
    } else {
        return NULL;                                    /* log.file: standard error; agents.*.model: those of the task */
    }
    return out;
}

/* What is in force: a price that is not given is another one's. */
static const char *price_text(const conf_t *c, const conf_key_t *k, const char *model, char *out, size_t cap)
{
    uint64_t v;

    memcpy(&v, (const char *) conf_model(c, str_of(model)) + k->offset, sizeof(v));
    snprintf(out, cap, "%llu.%06llu", (unsigned long long) (v / 1000000), (unsigned long long) (v % 1000000));
    return out;
}

static void print_list(FILE *out, const yaml_t *list)
{
    fputc('[', out);
    for (const yaml_t *v = list->first; v != NULL; v = v->next) {
        print_text(out, v->text);
        fputs(v->next != NULL ? ", " : "", out);
    }
    fprintf(out, "]    # %s:%d\n", list->file, list->line);
}

/* map: where the last part of the key's path stands, or does not; name: of the thing it belongs to, path: of the key. */
static void print_key(const conf_t *c, FILE *out, const conf_key_t *k, const yaml_t *map, const char *name, const char *path)
{
    const char   *last = strrchr(k->path, '.');
    const yaml_t *v = map != NULL ? yaml_get(map, last != NULL ? last + 1 : k->path) : NULL;
    const char   *text;
    char          made[256];

    fprintf(out, "%s = ", path);
    if (v != NULL && v->kind == YAML_LIST) {
        print_list(out, v);
        return;
    }
    if (v != NULL && v->kind == YAML_TEXT) {
        print_value(out, k, v->text);
        fprintf(out, "    # %s:%d\n", v->file, v->line);
        return;
    }
    text = k->type == KEY_PRICE && strncmp(k->path, "models.", 7) == 0 ? price_text(c, k, name, made, sizeof(made))
           : k->fallback != NULL ? k->fallback : computed(c, k, name, made, sizeof(made));
    if (conf_list_max(k->type) > 0) {
        fputs("[]", out);
    } else if (text != NULL) {
        print_value(out, k, text);
    } else {
        fputs("null", out);
    }
    fputs("    # default\n", out);
}

/* A key of the thing v, or of all things within it; rest: what of its path is below v. */
static void print_below(const conf_t *c, FILE *out, const conf_key_t *k, const yaml_t *v, const char *rest, const char *path)
{
    const char *star = strchr(rest, '*');
    char        name[64], sub[4 * YAML_NAME_MAX + 64];

    if (star == NULL) {
        const char   *thing = v->name, *last = strrchr(rest, '.');
        snprintf(sub, sizeof(sub), "%s%s", path, rest);
        if (last != rest) {                             /* ".price.input" */
            snprintf(name, sizeof(name), "%.*s", (int) (last - rest - 1), rest + 1);
            v = yaml_get(v, name);
        }
        print_key(c, out, k, v, thing, sub);
        return;
    }
    snprintf(name, sizeof(name), "%.*s", (int) (star - rest - 2), rest + 1);       /* ".endpoints.*" */
    v = yaml_get(v, name);
    for (const yaml_t *m = v != NULL ? v->first : NULL; m != NULL; m = m->next) {
        snprintf(sub, sizeof(sub), "%s.%s.%s", path, name, m->name);
        print_below(c, out, k, m, star + 1, sub);
    }
}

static void print_things(const conf_t *c, FILE *out, size_t first, size_t n, const char *section)
{
    const yaml_t *map = yaml_get(c->tree, section);
    char          path[2 * YAML_NAME_MAX + 32];

    for (const yaml_t *v = map != NULL ? map->first : NULL; v != NULL; v = v->next) {
        snprintf(path, sizeof(path), "%s.%s", section, v->name);
        for (size_t i = first; i < first + n; i++) {
            print_below(c, out, &conf_keys[i], v, strchr(conf_keys[i].path, '*') + 1, path);
        }
    }
}

/* Keys with a star stand together in the table, those of one section in a row. */
void conf_print(const conf_t *c, FILE *out)
{
    for (size_t i = 0; i < conf_nkeys; ) {
        const conf_key_t *k = &conf_keys[i];
        const char       *dot = strchr(k->path, '.');
        size_t            n = 1, len = dot != NULL ? (size_t) (dot + 1 - k->path) : 0;
        char              section[64];

        snprintf(section, sizeof(section), "%.*s", (int) (len > 0 ? len - 1 : 0), k->path);
        if (strchr(k->path, '*') == NULL) {
            print_key(c, out, k, len > 0 ? yaml_get(c->tree, section) : c->tree, "", k->path);
        } else {
            while (i + n < conf_nkeys && strncmp(conf_keys[i + n].path, k->path, len) == 0) {
                n++;
            }
            print_things(c, out, i, n, section);
        }
        i += n;
    }
}
