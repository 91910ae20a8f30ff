/* One value of the configuration: from its text to its place. */
#include "conf/value.h"

#include <errno.h>
#include <stdio.h>

#include "base/logger.h"
#include "base/util.h"

#define SECRET_MAX  8194          /* bytes of a file: the longest secret, and a line end */

/* --- messages --- */

int conf_fail_at(loader_t *l, const yaml_t *at, const char *path, const char *text)
{
    l->err = arena_printf(l->a, "%s:%d: %s: %s", at->file, at->line, path, text);
    return SI_EINVAL;
}

const char *conf_got(arena_t *a, const yaml_t *v)
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
int conf_wrong(loader_t *l, const slot_t *s)
{
    bool text = s->node->kind == YAML_TEXT;
    bool secret = s->key->type == KEY_SECRET || s->key->type == KEY_PLACE
                  || (s->key->type == KEY_URL && text && strchr(s->node->text, '@') != NULL);
    char what[256];

    conf_expected(s->key, what, sizeof(what));
    return conf_fail_at(l, s->node, s->path,
                   secret && text ? arena_printf(l->a, "expected %s", what)
                                                        : arena_printf(l->a, "expected %s, got %s", what, conf_got(l->a, s->node)));
}

/* --- values --- */

static int put_u64(loader_t *l, const slot_t *s, const char *text, int (*parse)(str_t, uint64_t *))
{
    uint64_t v;

    if (parse(str_of(text), &v) != 0 || v < s->key->min || v > s->key->max) {
        return conf_wrong(l, s);
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

bool conf_name_ok(const char *text)
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
        return conf_wrong(l, s);
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
        return conf_wrong(l, s);
    }
    while (n > 0 && text[n - 1] == '/') {
        n--;
    }
    return put_text(s, arena_dup(l->a, text, n));
}

static int put_share(loader_t *l, const slot_t *s, const char *text)
{
    uint64_t millionths;
    double   v;

    if (parse_decimal(str_of(text), 6, &millionths) != 0 || millionths > s->key->max * 1000000) {
        return conf_wrong(l, s);
    }
    v = (double) millionths / 1e6;
    memcpy((char *) s->base + s->key->offset, &v, sizeof(v));
    return 0;
}

static int put_price(loader_t *l, const slot_t *s, const char *text)
{
    uint64_t v = CONF_PRICE_SAME;

    if (text[0] != '\0' && (parse_decimal(str_of(text), 6, &v) != 0 || v > s->key->max)) {
        return conf_wrong(l, s);
    }
    memcpy((char *) s->base + s->key->offset, &v, sizeof(v));
    return 0;
}

/* --- secrets --- */

static int read_secret(loader_t *l, const slot_t *s, const char *file, const char **out)
{
    char  *text;
    FILE  *in = fopen(file, "re");
    size_t n;

    if (in == NULL) {
        return conf_fail_at(l, s->node, s->path, arena_printf(l->a, "%s cannot be read: %s", file, strerror(errno)));
    }
    text = arena_alloc(l->a, SECRET_MAX + 1);
    n = fread(text, 1, SECRET_MAX + 1, in);
    fclose(in);
    if (n > SECRET_MAX) {
        return conf_fail_at(l, s->node, s->path, arena_printf(l->a, "%s is larger than %d bytes", file, SECRET_MAX));
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
            return conf_fail_at(l, s->node, s->path, arena_printf(l->a, "the environment has no %s", text + 4));
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
        return conf_wrong(l, s);                             /* a key itself does not belong into the file */
    }
    v = v != NULL ? v : "";
    if (!utf8_valid(str_of(v)) || strpbrk(v, " \t\r\n") != NULL) {
        return conf_fail_at(l, s->node, s->path, arena_printf(l->a, "%s leads to a text with spaces or line ends", text));
    }
    if (!length_ok(s->key, v)) {
        return conf_fail_at(l, s->node, s->path, arena_printf(l->a, "%s leads to a text of more than %llu bytes", text, (unsigned long long) s->key->max));
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
        return conf_wrong(l, s);
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
        return conf_wrong(l, s);
    }
    memcpy((char *) s->base + s->key->offset, &p, sizeof(p));
    return 0;
}

/* What a member of a list is: the model or filter of that name, or the text; NULL: none of those that may stand there. */
static const void *member(loader_t *l, const conf_key_t *k, const yaml_t *v)
{
    if (v->kind != YAML_TEXT) {
        return NULL;
    }
    if (k->type == KEY_MODELS) {
        return conf_model(l->c, str_of(v->text));
    }
    if (k->type == KEY_FILTERS) {
        return conf_filter(l->c, str_of(v->text));
    }
    return length_ok(k, v->text) && (k->words == NULL || word_of(k->words, v->text, true) >= 0) ? v->text : NULL;
}

_Static_assert(offsetof(conf_models_t, n) == sizeof(void *) && offsetof(conf_texts_t, n) == sizeof(void *)
               && offsetof(conf_filters_t, n) == sizeof(void *), "all lists look alike");

int conf_put_list(loader_t *l, const slot_t *s)
{
    size_t       n = 0, max = conf_list_max(s->key->type);
    const void **all;
    char        *to = (char *) s->base + s->key->offset;

    for (const yaml_t *v = s->node->first; v != NULL; v = v->next) {
        n++;
    }
    all = arena_calloc(l->a, (n + 1) * sizeof(*all));
    n = 0;
    for (const yaml_t *v = s->node->first; v != NULL; v = v->next) {
        all[n] = member(l, s->key, v);
        if (all[n++] == NULL || n > max) {
            slot_t at = { s->key, v, s->path, s->base };
            return conf_wrong(l, &at);
        }
    }
    memcpy(to, &all, sizeof(all));
    memcpy(to + sizeof(all), &n, sizeof(n));
    return 0;
}

int conf_put(loader_t *l, const slot_t *s, const char *text)
{
    switch (s->key->type) {
    case KEY_NUMBER:
        return put_u64(l, s, text, parse_u64);
    case KEY_SHARE:
        return put_share(l, s, text);
    case KEY_SIZE:
        return put_u64(l, s, text, parse_size);
    case KEY_DURATION:
        return put_u64(l, s, text, parse_duration);
    case KEY_TEXT:
        return length_ok(s->key, text) ? put_text(s, text) : conf_wrong(l, s);
    case KEY_NAME:
        return length_ok(s->key, text) && conf_name_ok(text) ? put_text(s, text) : conf_wrong(l, s);
    case KEY_WORD:
        return word_of(s->key->words, text, true) >= 0 ? put_text(s, text) : conf_wrong(l, s);
    case KEY_MODEL:
        return conf_model(l->c, str_of(text)) != NULL ? put_text(s, text) : conf_wrong(l, s);
    case KEY_AGENT:
        return conf_agent(l->c, str_of(text)) != NULL ? put_text(s, text) : conf_wrong(l, s);
    case KEY_TASK:
        return conf_task(l->c, str_of(text)) != NULL ? put_text(s, text) : conf_wrong(l, s);
    case KEY_MODELS: case KEY_TEXTS: case KEY_FILTERS:  /* the default: an empty list; one name is no list */
        return text[0] == '\0' ? 0 : conf_wrong(l, s);
    case KEY_PROVIDER:
        return put_provider(l, s, text);
    case KEY_LEVEL:
        return put_level(l, s, text);
    case KEY_URL:
        return put_url(l, s, text);
    case KEY_PRICE:
        return put_price(l, s, text);
    case KEY_SECRET:
        return put_secret(l, s, text);
    case KEY_PLACE:
        return put_place(l, s, text);
    }
    return SI_EINTERNAL;
}
