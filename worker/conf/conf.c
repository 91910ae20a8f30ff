#include "conf/conf.h"

#include <errno.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/util.h"
#include "conf/keys.h"
#include "conf/yaml.h"

#define SECRET_MAX  4096

/* What there is without any file. */
static const char builtin[] =
    "providers: { offline: { kind: offline } }\n"
    "models: { offline: { provider: offline } }\n"
    "agents: { default: {} }\n";

typedef struct {
    arena_t     *a;
    conf_t      *c;
    const char  *err;
} loader_t;

/* Where a value goes and what it is called in messages. */
typedef struct {
    const conf_key_t *key;
    const yaml_t     *node;
    const char       *path;
    void             *base;         /* conf_t, conf_provider_t, … */
} slot_t;

/* --- messages --- */

static int fail_at(loader_t *l, const yaml_t *at, const char *path, const char *text)
{
    l->err = arena_printf(l->a, "%s:%d: %s: %s", at->file, at->line, path, text);
    return SI_EINVAL;
}

static const char *got(arena_t *a, const yaml_t *v)
{
    static const char *const kinds[] = { [YAML_NULL] = "nothing", [YAML_MAP] = "a map", [YAML_LIST] = "a list" };
    size_t n;

    if (v->kind != YAML_TEXT) {
        return kinds[v->kind];
    }
    n = strcspn(v->text, "\r\n");
    n = n > 60 ? utf8_cut(v->text, 60) : n;
    return arena_printf(a, "\"%.*s%s\"", (int) n, v->text, v->text[n] ? "…" : "");
}

/* Says what was expected; a value that may be a secret is not repeated. */
static int wrong(loader_t *l, const slot_t *s)
{
    bool secret = s->key->type == KEY_SECRET || s->key->type == KEY_PLACE;
    char what[256];

    conf_expected(s->key, what, sizeof(what));
    return fail_at(l, s->node, s->path,
                   secret && s->node->kind == YAML_TEXT ? arena_printf(l->a, "expected %s", what)
                                                        : arena_printf(l->a, "expected %s, got %s", what, got(l->a, s->node)));
}

/* --- values --- */

static int put_u64(loader_t *l, const slot_t *s, const char *text, int (*parse)(str_t, uint64_t *))
{
    uint64_t v;

    if (parse(str_of(text), &v) != 0 || v < s->key->min || v > s->key->max) {
        return wrong(l, s);
    }
    memcpy((char *) s->base + s->key->offset, &v, sizeof(v));
    return 0;
}

static int put_text(const slot_t *s, const char *text)
{
    memcpy((char *) s->base + s->key->offset, &text, sizeof(text));
    return 0;
}

static bool length_ok(const conf_key_t *k, const char *text)
{
    return strlen(text) >= k->min && strlen(text) <= k->max;
}

static bool name_ok(const char *text)
{
    return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0';
}

/* The word of "a|b|c" that text is (whole), or starts with (not whole); -1: none. */
static int word_of(const char *words, const char *text, bool whole)
{
    int i = 0;

    for (const char *w = words; ; w++, i++) {
        size_t n = strcspn(w, "|");
        if (strncmp(w, text, n) == 0 && (!whole || text[n] == '\0')) {
            return i;
        }
        w += n;
        if (*w == '\0') {
            return -1;
        }
    }
}

static int put_level(loader_t *l, const slot_t *s, const char *text)
{
    int level = logger_level(str_of(text));

    if (level < 0) {
        return wrong(l, s);
    }
    memcpy((char *) s->base + s->key->offset, &level, sizeof(level));
    return 0;
}

static int put_url(loader_t *l, const slot_t *s, const char *text)
{
    size_t n = strlen(text);

    if (n == 0 && s->key->min == 0) {
        return put_text(s, text);
    }
    if (!length_ok(s->key, text) || word_of(s->key->words, text, false) < 0 || strpbrk(text, " \t\r\n") != NULL) {
        return wrong(l, s);
    }
    while (n > 0 && text[n - 1] == '/') {
        n--;
    }
    return put_text(s, arena_dup(l->a, text, n));
}

/* --- secrets --- */

static int read_secret(loader_t *l, const slot_t *s, const char *file, const char **out)
{
    char  *text;
    FILE  *in = fopen(file, "re");
    size_t n;

    if (in == NULL) {
        return fail_at(l, s->node, s->path, arena_printf(l->a, "%s cannot be read: %s", file, strerror(errno)));
    }
    text = arena_alloc(l->a, SECRET_MAX + 1);
    n = fread(text, 1, SECRET_MAX + 1, in);
    fclose(in);
    if (n > SECRET_MAX) {
        return fail_at(l, s->node, s->path, arena_printf(l->a, "%s is larger than %d bytes", file, SECRET_MAX));
    }
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r')) {
        n--;
    }
    *out = arena_dup(l->a, text, n);
    return 0;
}

/* Follows env:NAME and file:PATH; *out is NULL if text is no reference. */
static int resolve(loader_t *l, const slot_t *s, const char *text, const char **out)
{
    *out = NULL;
    if (strncmp(text, "file:", 5) == 0) {
        return read_secret(l, s, text + 5, out);
    }
    if (strncmp(text, "env:", 4) == 0) {
        const char *v = getenv(text + 4);
        if (v == NULL) {
            return fail_at(l, s->node, s->path, arena_printf(l->a, "the environment has no %s", text + 4));
        }
        *out = arena_strdup(l->a, v);
    }
    return 0;
}

static int put_secret(loader_t *l, const slot_t *s, const char *text)
{
    const char *v;
    int         rc = resolve(l, s, text, &v);

    if (rc) {
        return rc;
    }
    if (v == NULL && text[0] != '\0') {
        return wrong(l, s);                             /* a key itself does not belong into the file */
    }
    v = v != NULL ? v : "";
    if (!utf8_valid(str_of(v)) || strpbrk(v, " \t\r\n") != NULL) {
        return fail_at(l, s->node, s->path, arena_printf(l->a, "%s leads to a text with spaces or line ends", text));
    }
    return put_text(s, v);
}

static int put_place(loader_t *l, const slot_t *s, const char *text)
{
    const char *v;
    int         rc = resolve(l, s, text, &v);

    if (rc) {
        return rc;
    }
    v = v != NULL ? v : text;
    if (!length_ok(s->key, v) || (s->key->words != NULL && word_of(s->key->words, v, false) < 0)) {
        return wrong(l, s);
    }
    return put_text(s, v);
}

/* --- references to names --- */

static const conf_provider_t *provider_of(const conf_t *c, const char *name)
{
    for (size_t i = 0; i < c->nproviders; i++) {
        if (strcmp(c->providers[i].name, name) == 0) {
            return &c->providers[i];
        }
    }
    return NULL;
}

static int put_provider(loader_t *l, const slot_t *s, const char *text)
{
    const conf_provider_t *p = provider_of(l->c, text);

    if (p == NULL) {
        return wrong(l, s);
    }
    memcpy((char *) s->base + s->key->offset, &p, sizeof(p));
    return 0;
}

static int put(loader_t *l, const slot_t *s, const char *text)
{
    switch (s->key->type) {
    case KEY_NUMBER:
        return put_u64(l, s, text, parse_u64);
    case KEY_SIZE:
        return put_u64(l, s, text, parse_size);
    case KEY_DURATION:
        return put_u64(l, s, text, parse_duration);
    case KEY_TEXT:
        return length_ok(s->key, text) ? put_text(s, text) : wrong(l, s);
    case KEY_NAME:
        return length_ok(s->key, text) && name_ok(text) ? put_text(s, text) : wrong(l, s);
    case KEY_WORD:
        return word_of(s->key->words, text, true) >= 0 ? put_text(s, text) : wrong(l, s);
    case KEY_MODEL:
        return conf_model(l->c, str_of(text)) != NULL ? put_text(s, text) : wrong(l, s);
    case KEY_AGENT:
        return conf_agent(l->c, str_of(text)) != NULL ? put_text(s, text) : wrong(l, s);
    case KEY_PROVIDER:
        return put_provider(l, s, text);
    case KEY_LEVEL:
        return put_level(l, s, text);
    case KEY_URL:
        return put_url(l, s, text);
    case KEY_SECRET:
        return put_secret(l, s, text);
    case KEY_PLACE:
        return put_place(l, s, text);
    }
    return SI_EINTERNAL;
}

/* --- the walk --- */

static const conf_key_t *key_of(const char *pattern)
{
    for (size_t i = 0; i < conf_nkeys; i++) {
        if (strcmp(conf_keys[i].path, pattern) == 0) {
            return &conf_keys[i];
        }
    }
    return NULL;
}

/* The part of `path` behind "pattern.", or NULL; all of it behind "". */
static const char *below(const char *path, const char *pattern)
{
    size_t n = strlen(pattern);

    return n == 0 ? path : strncmp(path, pattern, n) == 0 && path[n] == '.' ? path + n + 1 : NULL;
}

static bool is_section(const char *pattern)
{
    for (size_t i = 0; i < conf_nkeys; i++) {
        if (below(conf_keys[i].path, pattern) != NULL) {
            return true;
        }
    }
    return false;
}

static const char *joined(arena_t *a, const char *path, const char *name)
{
    return path[0] ? arena_printf(a, "%s.%s", path, name) : name;
}

static int unknown(loader_t *l, const yaml_t *v, const char *path, const char *pattern)
{
    const char *list = "";

    for (size_t i = 0; i < conf_nkeys; i++) {
        const char *rest = below(conf_keys[i].path, pattern);
        size_t      n = rest != NULL ? strcspn(rest, ".") : 0;
        const char *before = i > 0 ? below(conf_keys[i - 1].path, pattern) : NULL;

        if (n > 0 && (before == NULL || strncmp(before, rest, n) != 0 || strcspn(before, ".") != n)) {
            list = arena_printf(l->a, "%s%s%.*s", list, list[0] ? ", " : "", (int) n, rest);
        }
    }
    return fail_at(l, v, path, arena_printf(l->a, "no such key, expected one of %s", list));
}

/* The keys of one struct: pattern "" is conf_t's, "models.*" that of each model. */
static bool belongs(const conf_key_t *k, const char *pattern)
{
    const char *star = strchr(k->path, '*');
    size_t      n = star != NULL ? (size_t) (star + 1 - k->path) : 0;

    return n == strlen(pattern) && strncmp(k->path, pattern, n) == 0;
}

static int set_defaults(loader_t *l, const char *pattern, void *base)
{
    static const yaml_t nowhere = { .name = "", .file = "built in", .line = 1, .kind = YAML_NULL };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < conf_nkeys; i++) {
        const conf_key_t *k = &conf_keys[i];
        if (belongs(k, pattern) && k->fallback != NULL) {
            rc = put(l, &(slot_t) { .key = k, .node = &nowhere, .path = k->path, .base = base }, k->fallback);
        }
    }
    return rc;
}

static int walk(loader_t *l, const yaml_t *map, const char *pattern, const char *path, void *base);

static int take(loader_t *l, const yaml_t *v, const conf_key_t *k, const char *path, void *base)
{
    slot_t s = { .key = k, .node = v, .path = path, .base = base };

    return v->kind == YAML_TEXT ? put(l, &s, v->text) : v->kind == YAML_NULL ? 0 : wrong(l, &s);
}

/* One member of a map: a value, a section of the fixed kind, or an error. */
static int walk_member(loader_t *l, const yaml_t *v, const char *pattern, const char *path, void *base)
{
    const char       *sub = joined(l->a, pattern, v->name), *at = joined(l->a, path, v->name);
    const conf_key_t *k = key_of(sub);

    if (strchr(v->name, '*') != NULL || strchr(v->name, '.') != NULL || (k == NULL && !is_section(sub))) {
        return unknown(l, v, at, pattern);
    }
    return k != NULL ? take(l, v, k, at, base) : walk(l, v, sub, at, base);
}

static int check_map(loader_t *l, const yaml_t *v, const char *path)
{
    return v->kind == YAML_MAP || v->kind == YAML_NULL ? 0
           : fail_at(l, v, path, arena_printf(l->a, "expected a map of keys and values, got %s", got(l->a, v)));
}

static int walk(loader_t *l, const yaml_t *map, const char *pattern, const char *path, void *base)
{
    int rc = check_map(l, map, path);

    for (const yaml_t *v = map->first; rc == 0 && v != NULL; v = v->next) {
        rc = walk_member(l, v, pattern, path, base);
    }
    return rc;
}

/* --- things with names --- */

/* The three sections whose members have names of their own. Their structs begin with the name. */
static const struct {
    const char *section, *pattern;
    size_t      size, array, count;
} things[] = {
    { "providers", "providers.*", sizeof(conf_provider_t), offsetof(conf_t, providers), offsetof(conf_t, nproviders) },
    { "models", "models.*", sizeof(conf_model_t), offsetof(conf_t, models), offsetof(conf_t, nmodels) },
    { "agents", "agents.*", sizeof(conf_agent_t), offsetof(conf_t, agents), offsetof(conf_t, nagents) },
};
_Static_assert(offsetof(conf_provider_t, name) == 0 && offsetof(conf_model_t, name) == 0
               && offsetof(conf_agent_t, name) == 0, "a thing begins with its name");

static bool is_thing_section(const char *name)
{
    for (size_t i = 0; i < SI_COUNT(things); i++) {
        if (strcmp(things[i].section, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Room for all things, with their names, so that values can refer to them in any order. */
static int name_things(loader_t *l)
{
    for (size_t i = 0; i < SI_COUNT(things); i++) {
        yaml_t *section = yaml_get(l->c->tree, things[i].section);
        size_t  n = 0, size = things[i].size;

        if (check_map(l, section, things[i].section) != 0) {
            return SI_EINVAL;
        }
        for (yaml_t *v = section->first; v != NULL; v = v->next) {
            n++;
        }
        char *all = arena_calloc(l->a, (n + 1) * size);
        memcpy((char *) l->c + things[i].array, &all, sizeof(all));
        memcpy((char *) l->c + things[i].count, &n, sizeof(n));
        for (yaml_t *v = section->first; v != NULL; v = v->next, all += size) {
            for (const unsigned char *p = (const unsigned char *) v->name; *p; p++) {
                if (*p <= ' ' || *p > '~' || *p == '"' || *p == '\\') {
                    return fail_at(l, v, joined(l->a, things[i].section, v->name),
                                   "expected a name of printable ASCII without spaces, quotes and \\");
                }
            }
            memcpy(all, &v->name, sizeof(v->name));
        }
    }
    return 0;
}

static int check_needed(loader_t *l, const yaml_t *v, const char *pattern, const char *path, const void *base)
{
    for (size_t i = 0; i < conf_nkeys; i++) {
        const conf_key_t *k = &conf_keys[i];
        const void       *value;
        char              what[256];

        if (!k->needed || !belongs(k, pattern)) {
            continue;
        }
        memcpy(&value, (const char *) base + k->offset, sizeof(value));
        if (value == NULL) {
            conf_expected(k, what, sizeof(what));
            return fail_at(l, v, joined(l->a, path, strrchr(k->path, '.') + 1),
                           arena_printf(l->a, "expected %s, got nothing", what));
        }
    }
    return 0;
}

static int walk_things(loader_t *l, size_t i)
{
    yaml_t *section = yaml_get(l->c->tree, things[i].section);
    char   *base;
    int     rc = 0;

    memcpy(&base, (char *) l->c + things[i].array, sizeof(base));
    for (yaml_t *v = section->first; rc == 0 && v != NULL; v = v->next, base += things[i].size) {
        const char *path = joined(l->a, things[i].section, v->name);

        rc = set_defaults(l, things[i].pattern, base);
        rc = rc ? rc : walk(l, v, things[i].pattern, path, base);
        rc = rc ? rc : check_needed(l, v, things[i].pattern, path, base);
    }
    return rc;
}

/* --- all of it --- */

/* What the defaults leave open. */
static int finish(loader_t *l)
{
    conf_t *c = l->c;

    if (c->node == NULL) {
        char host[64] = "";
        gethostname(host, sizeof(host) - 1);
        c->node = arena_strdup(l->a, host[0] && name_ok(host) ? host : "localhost");
    }
    if (c->workers == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        c->workers = (uint64_t) SI_MAX(1, SI_MIN(cores, 256));
    }
    for (size_t i = 0; i < c->nmodels; i++) {
        c->models[i].upstream = c->models[i].upstream != NULL ? c->models[i].upstream : c->models[i].name;
    }
    for (size_t i = 0; i < c->nproviders; i++) {
        if (strcmp(c->providers[i].kind, "openai") == 0 && c->providers[i].base_url[0] == '\0') {
            const char *path = arena_printf(l->a, "providers.%s.base_url", c->providers[i].name);
            return fail_at(l, yaml_get(yaml_get(c->tree, "providers"), c->providers[i].name), path,
                           "expected a URL such as https://api.openai.com/v1, got nothing: kind openai needs one");
        }
    }
    return 0;
}

static int read_files(loader_t *l, const char *const *files, size_t n)
{
    l->c->tree = yaml_read(l->a, "built in", builtin, &l->err);
    for (size_t i = 0; l->c->tree != NULL && i < n; i++) {
        yaml_t *over = yaml_read(l->a, files[i], NULL, &l->err);
        l->c->tree = over != NULL ? yaml_merge(l->c->tree, over) : NULL;
    }
    return l->c->tree != NULL ? 0 : SI_EINVAL;
}

static int load(loader_t *l, const char *const *files, size_t n)
{
    int rc = read_files(l, files, n);

    rc = rc ? rc : name_things(l);
    rc = rc ? rc : set_defaults(l, "", l->c);
    for (yaml_t *v = rc ? NULL : l->c->tree->first; rc == 0 && v != NULL; v = v->next) {
        rc = is_thing_section(v->name) ? 0 : walk_member(l, v, "", "", l->c);
    }
    for (size_t i = 0; rc == 0 && i < SI_COUNT(things); i++) {
        rc = walk_things(l, i);
    }
    return rc ? rc : finish(l);
}

conf_t *conf_load(arena_t *a, const char *const *files, size_t n, const char **err)
{
    arena_t *own = arena_new(16384);
    loader_t l = { .a = own, .c = arena_calloc(own, sizeof(conf_t)) };

    l.c->arena = own;
    if (load(&l, files, n) == 0) {
        return l.c;
    }
    *err = arena_strdup(a, l.err);
    arena_free(own);
    return NULL;
}

void conf_free(conf_t *c)
{
    if (c != NULL) {
        arena_free(c->arena);
    }
}

const conf_model_t *conf_model(const conf_t *c, str_t name)
{
    for (size_t i = 0; i < c->nmodels; i++) {
        if (str_is(name, c->models[i].name)) {
            return &c->models[i];
        }
    }
    return NULL;
}

const conf_agent_t *conf_agent(const conf_t *c, str_t name)
{
    for (size_t i = 0; i < c->nagents; i++) {
        if (str_is(name, c->agents[i].name)) {
            return &c->agents[i];
        }
    }
    return NULL;
}
