#include "conf/conf.h"

#include <unistd.h>

#include "base/logger.h"
#include "base/util.h"
#include "conf/keys.h"
#include "conf/value.h"

/* What there is without any file. */
static const char builtin[] =
    "providers: { offline: { kind: offline }, lexical: { kind: lexical } }\n"
    "models: { offline: { provider: offline }, lexical: { provider: lexical } }\n"
    "agents: { default: {} }\n"
    "tasks: { quick: {}, planning: {}, code: {}, vision: {}, embeddings: { models: [lexical] } }\n"
    "tenants: {}\n"
    "filters: {}\n"
    "issuers: {}\n"
    "budgets: {}\n"
    "rates: {}\n";

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
    return conf_fail_at(l, v, path, arena_printf(l->a, "no such key, expected one of %s", list));
}

/* The keys of one struct: pattern "" is conf_t's, "models.*" that of each model. */
static bool belongs(const conf_key_t *k, const char *pattern)
{
    const char *star = strrchr(k->path, '*');
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
            rc = conf_put(l, &(slot_t) { .key = k, .node = &nowhere, .path = k->path, .base = base }, k->fallback);
        } else if (belongs(k, pattern) && k->type == KEY_DURATION) {
            memcpy((char *) base + k->offset, &(uint64_t) { CONF_SAME }, sizeof(uint64_t));
        }
    }
    return rc;
}

static int walk(loader_t *l, const yaml_t *map, const char *pattern, const char *path, void *base);
static bool is_named(const char *pattern);

static int take(loader_t *l, const yaml_t *v, const conf_key_t *k, const char *path, void *base)
{
    slot_t s = { .key = k, .node = v, .path = path, .base = base };

    if (v->kind == YAML_LIST && conf_list_max(k->type) > 0) {
        return conf_put_list(l, &s);
    }
    return v->kind == YAML_TEXT ? conf_put(l, &s, v->text) : v->kind == YAML_NULL ? 0 : conf_wrong(l, &s);
}

/* One member of a map: a value, a section of the fixed kind, or an error. */
static int walk_member(loader_t *l, const yaml_t *v, const char *pattern, const char *path, void *base)
{
    const char       *sub = joined(l->a, pattern, v->name), *at = joined(l->a, path, v->name);
    const conf_key_t *k = key_of(sub);

    if (is_named(sub)) {
        return 0;                   /* walk_things() does it */
    }
    if (strchr(v->name, '*') != NULL || strchr(v->name, '.') != NULL || (k == NULL && !is_section(sub))) {
        return unknown(l, v, at, pattern);
    }
    return k != NULL ? take(l, v, k, at, base) : walk(l, v, sub, at, base);
}

static int check_map(loader_t *l, const yaml_t *v, const char *path)
{
    return v->kind == YAML_MAP || v->kind == YAML_NULL ? 0
           : conf_fail_at(l, v, path, arena_printf(l->a, "expected a map of keys and values, got %s", conf_got(l->a, v)));
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

/* The sections whose members have names of their own. Their structs begin with the name. */
typedef struct {
    const char *section, *pattern;      /* where they stand, and the keys of one of them */
    size_t      size, array, count;     /* of the struct; where its owner has them */
} thing_t;

static const thing_t things[] = {
    { "providers", "providers.*", sizeof(conf_provider_t), offsetof(conf_t, providers), offsetof(conf_t, nproviders) },
    { "models", "models.*", sizeof(conf_model_t), offsetof(conf_t, models), offsetof(conf_t, nmodels) },
    { "agents", "agents.*", sizeof(conf_agent_t), offsetof(conf_t, agents), offsetof(conf_t, nagents) },
    { "tasks", "tasks.*", sizeof(conf_task_t), offsetof(conf_t, tasks), offsetof(conf_t, ntasks) },
    { "tenants", "tenants.*", sizeof(conf_tenant_t), offsetof(conf_t, tenants), offsetof(conf_t, ntenants) },
    { "issuers", "issuers.*", sizeof(conf_issuer_t), offsetof(conf_t, issuers), offsetof(conf_t, nissuers) },
    { "filters", "filters.*", sizeof(conf_filter_t), offsetof(conf_t, filter_sets), offsetof(conf_t, nfilter_sets) },
    { "budgets", "budgets.*", sizeof(conf_budget_t), offsetof(conf_t, budgets), offsetof(conf_t, nbudgets) },
    { "rates", "rates.*", sizeof(conf_budget_t), offsetof(conf_t, rates), offsetof(conf_t, nrates) },
};
/* Those within another thing. */
static const thing_t endpoints = { "providers.*.endpoints", "providers.*.endpoints.*", sizeof(conf_provider_t),
                                   offsetof(conf_provider_t, endpoints), offsetof(conf_provider_t, nendpoints) };
static const thing_t routes = { "tenants.*.routes", "tenants.*.routes.*", sizeof(conf_task_t),
                                offsetof(conf_tenant_t, routes), offsetof(conf_tenant_t, nroutes) };
_Static_assert(offsetof(conf_provider_t, name) == 0 && offsetof(conf_model_t, name) == 0 && offsetof(conf_agent_t, name) == 0
               && offsetof(conf_task_t, name) == 0 && offsetof(conf_tenant_t, name) == 0
               && offsetof(conf_issuer_t, name) == 0 && offsetof(conf_filter_t, name) == 0
               && offsetof(conf_budget_t, name) == 0, "a thing begins with its name");

static bool is_named(const char *pattern)
{
    for (size_t i = 0; i < SI_COUNT(things); i++) {
        if (strcmp(things[i].section, pattern) == 0) {
            return true;
        }
    }
    return strcmp(pattern, endpoints.section) == 0 || strcmp(pattern, routes.section) == 0;
}

static const unsigned char *bad_letter(const char *name)
{
    const unsigned char *p = (const unsigned char *) name;

    while (*p > ' ' && *p <= '~' && *p != '"' && *p != '\\') {
        p++;
    }
    return *p != '\0' ? p : NULL;
}

/* NULL, or what the name of a thing should be. "key" is the name of what API keys may use themselves (llm/budget_rule.c). */
static const char *name_wrong(const thing_t *kind, const char *name)
{
    bool money = strcmp(kind->section, "budgets") == 0 || strcmp(kind->section, "rates") == 0;

    return bad_letter(name) != NULL ? "expected a name of printable ASCII without spaces, quotes and \\"
           : money && strcmp(name, "key") == 0 ? "expected another name: key is what API keys have of their own" : NULL;
}

/* Room in `owner` for all things of a section (NULL: there is none), with their names, so that values can refer to them in any order. */
static int name_things(loader_t *l, const yaml_t *section, const char *path, const thing_t *kind, void *owner)
{
    size_t n = 0;

    if (section == NULL || check_map(l, section, path) != 0) {
        return section == NULL ? 0 : SI_EINVAL;
    }
    for (yaml_t *v = section->first; v != NULL; v = v->next) {
        n++;
    }
    char *all = arena_calloc(l->a, (n + 1) * kind->size);
    memcpy((char *) owner + kind->array, &all, sizeof(all));
    memcpy((char *) owner + kind->count, &n, sizeof(n));
    for (yaml_t *v = section->first; v != NULL; v = v->next, all += kind->size) {
        if (name_wrong(kind, v->name) != NULL) {
            return conf_fail_at(l, v, joined(l->a, path, v->name), name_wrong(kind, v->name));
        }
        memcpy(all, &v->name, sizeof(v->name));
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
            return conf_fail_at(l, v, joined(l->a, path, strrchr(k->path, '.') + 1),
                           arena_printf(l->a, "expected %s, got nothing", what));
        }
    }
    return 0;
}

static int walk_things(loader_t *l, const yaml_t *section, const char *path, const thing_t *kind, void *owner);

/* An endpoint begins as its provider. */
static int walk_endpoints(loader_t *l, const yaml_t *v, const char *path, conf_provider_t *p)
{
    const yaml_t *section = yaml_get(v, "endpoints");
    const char   *sub = joined(l->a, path, "endpoints");
    int           rc = name_things(l, section, sub, &endpoints, p);

    for (size_t i = 0; rc == 0 && i < p->nendpoints; i++) {
        conf_provider_t *e = &p->endpoints[i];
        const char      *name = arena_printf(l->a, "%s/%s", p->name, e->name);

        *e = *p;
        e->name = name;
        e->endpoints = NULL;
        e->nendpoints = 0;
    }
    return rc || section == NULL ? rc : walk_things(l, section, sub, &endpoints, p);
}

static int walk_routes(loader_t *l, const yaml_t *v, const char *path, conf_tenant_t *t)
{
    const yaml_t *section = yaml_get(v, "routes");
    const char   *sub = joined(l->a, path, "routes");
    int           rc = name_things(l, section, sub, &routes, t);

    return rc || section == NULL ? rc : walk_things(l, section, sub, &routes, t);
}

static int walk_things(loader_t *l, const yaml_t *section, const char *path, const thing_t *kind, void *owner)
{
    char *base;
    int   rc = 0;

    memcpy(&base, (char *) owner + kind->array, sizeof(base));
    for (yaml_t *v = section->first; rc == 0 && v != NULL; v = v->next, base += kind->size) {
        const char *at = joined(l->a, path, v->name);

        rc = set_defaults(l, kind->pattern, base);
        rc = rc ? rc : walk(l, v, kind->pattern, at, base);
        rc = rc ? rc : check_needed(l, v, kind->pattern, at, base);
        if (rc == 0 && strcmp(kind->section, "providers") == 0) {
            rc = walk_endpoints(l, v, at, (conf_provider_t *) (void *) base);
        } else if (rc == 0 && strcmp(kind->section, "tenants") == 0) {
            rc = walk_routes(l, v, at, (conf_tenant_t *) (void *) base);
        }
    }
    return rc;
}

/* --- all of it --- */

static int fail_provider(loader_t *l, const conf_provider_t *p, const char *key, const char *what)
{
    size_t      n = strcspn(p->name, "/");          /* an endpoint is named "provider/endpoint" */
    const char *name = arena_dup(l->a, p->name, n);
    const char *path = p->name[n] == '/' ? arena_printf(l->a, "providers.%s.endpoints.%s.%s", name, p->name + n + 1, key)
                                         : arena_printf(l->a, "providers.%s.%s", name, key);

    return conf_fail_at(l, yaml_get(yaml_get(l->c->tree, "providers"), name), path, what);
}

/* Whether it is reached with Amazon's signatures. */
static bool is_aws(const conf_provider_t *p)
{
    return strcmp(p->kind, "bedrock") == 0 || strcmp(p->kind, "sagemaker") == 0;
}

static void find_region(loader_t *l, conf_provider_t *p)
{
    static const char *const names[] = { "AWS_REGION", "AWS_DEFAULT_REGION" };

    for (size_t i = 0; i < SI_COUNT(names) && p->region[0] == '\0' && is_aws(p); i++) {
        const char *region = getenv(names[i]);
        p->region = region != NULL ? arena_strdup(l->a, region) : p->region;
    }
}

/* What the kind of an endpoint needs. */
static int check_endpoint(loader_t *l, const conf_provider_t *p)
{
    bool local = strcmp(p->kind, "offline") == 0 || strcmp(p->kind, "lexical") == 0;

    if (is_aws(p) && p->region[0] == '\0') {
        return fail_provider(l, p, "region", arena_printf(l->a, "expected a region such as us-east-1, got nothing: kind %s needs one, here or in AWS_REGION", p->kind));
    }
    if ((p->access_key[0] == '\0') != (p->secret_key[0] == '\0')) {
        return fail_provider(l, p, "secret_key", "expected both access_key and secret_key, or neither");
    }
    if (!is_aws(p) && !local && p->base_url[0] == '\0') {
        return fail_provider(l, p, "base_url", arena_printf(l->a, "expected a URL such as https://api.openai.com/v1, got nothing: kind %s needs one", p->kind));
    }
    return 0;
}

/* A provider without endpoints is its own. */
static int finish_providers(loader_t *l)
{
    conf_t *c = l->c;

    for (size_t i = 0; i < c->nproviders; i++) {
        conf_provider_t *p = &c->providers[i];

        find_region(l, p);
        if (p->nendpoints == 0) {
            conf_provider_t *own = arena_calloc(l->a, sizeof(*own));
            *own = *p;
            own->weight = 1;
            p->endpoints = own;
            p->nendpoints = 1;
        }
        for (size_t k = 0; k < p->nendpoints; k++) {
            conf_provider_t *e = &p->endpoints[k];

            e->index = c->nendpoints++;
            find_region(l, e);
            if (check_endpoint(l, e) != 0) {
                return SI_EINVAL;
            }
        }
    }
    return 0;
}

static uint64_t price(uint64_t own, uint64_t other)
{
    return own != CONF_PRICE_SAME ? own : other;
}

static void finish_model(conf_model_t *m)
{
    conf_price_t *p = &m->price;
    bool          lexical = strcmp(m->provider->kind, "lexical") == 0;

    m->upstream = m->upstream != NULL ? m->upstream : m->name;
    m->space = m->space != NULL ? m->space : lexical ? CONF_LEXICAL_SPACE : m->upstream;
    m->type = lexical || strcmp(m->provider->kind, "sagemaker") == 0 ? "embeddings" : m->type;
    m->dimensions = lexical && m->dimensions == 0 ? CONF_LEXICAL_DIMENSIONS : m->dimensions;
    p->input = price(p->input, 0);
    p->output = price(p->output, 0);
    p->cached_input = price(p->cached_input, p->input);
    p->cache_write = price(p->cache_write, p->input);
    p->reasoning = price(p->reasoning, p->output);
}

/* What the defaults leave open. */
static int finish(loader_t *l)
{
    conf_t     *c = l->c;
    const char *path, *why, *key;

    if (c->node == NULL) {
        char host[64] = "";
        gethostname(host, sizeof(host) - 1);
        c->node = arena_strdup(l->a, host[0] && conf_name_ok(host) ? host : "localhost");
    }
    if (c->workers == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        c->workers = (uint64_t) SI_MAX(1, SI_MIN(cores, 256));
    }
    for (size_t i = 0; i < c->nmodels; i++) {
        const char *name = c->models[i].name, *wrong = conf_safety_wrong(&c->models[i]);
        if (wrong != NULL) {
            return conf_fail_at(l, yaml_get(yaml_get(c->tree, "models"), name), joined(l->a, "models", name), wrong);
        }
        finish_model(&c->models[i]);
    }
    for (size_t i = 0; i < c->nissuers; i++) {
        const char *name = c->issuers[i].name;

        why = conf_issuer_wrong(c, i);
        if (why != NULL) {
            return conf_fail_at(l, yaml_get(yaml_get(c->tree, "issuers"), name), joined(l->a, "issuers", name), why);
        }
    }
    why = conf_telemetry(l->a, c, &key);
    if (why != NULL) {
        return conf_fail_at(l, c->tree, joined(l->a, "telemetry", key), why);
    }
    for (size_t i = 0; i < c->nfilter_sets; i++) {
        const char *name = c->filter_sets[i].name, *wrong = conf_filter_wrong(l->a, &c->filter_sets[i]);
        if (wrong != NULL) {
            return conf_fail_at(l, yaml_get(yaml_get(c->tree, "filters"), name), joined(l->a, "filters", name), wrong);
        }
    }
    if (conf_models_wrong(l->a, c, &path, &why)) {
        size_t        n = strcspn(path, ".");
        const yaml_t *of = yaml_get(c->tree, arena_dup(l->a, path, n));
        const yaml_t *one = of != NULL && path[n] == '.' ? yaml_get(of, path + n + 1) : of;
        return conf_fail_at(l, one != NULL ? one : c->tree, path, why);
    }
    return finish_providers(l);
}

static int read_files(loader_t *l, const char *const *files, size_t n)
{
    char *cognito = conf_cognito(l->a);

    l->c->tree = yaml_read(l->a, "built in", builtin, &l->err);
    if (l->c->tree != NULL && cognito != NULL) {
        l->c->tree = yaml_merge(l->c->tree, yaml_read(l->a, "environment", cognito, &l->err));
    }
    for (size_t i = 0; l->c->tree != NULL && i < n; i++) {
        yaml_t *over = yaml_read(l->a, files[i], NULL, &l->err);
        l->c->tree = over != NULL ? yaml_merge(l->c->tree, over) : NULL;
    }
    return l->c->tree != NULL ? 0 : SI_EINVAL;
}

static int load(loader_t *l, const char *const *files, size_t n)
{
    int rc = read_files(l, files, n);

    for (size_t i = 0; rc == 0 && i < SI_COUNT(things); i++) {
        rc = name_things(l, yaml_get(l->c->tree, things[i].section), things[i].section, &things[i], l->c);
    }
    rc = rc ? rc : set_defaults(l, "", l->c);
    for (yaml_t *v = rc ? NULL : l->c->tree->first; rc == 0 && v != NULL; v = v->next) {
        rc = walk_member(l, v, "", "", l->c);
    }
    for (size_t i = 0; rc == 0 && i < SI_COUNT(things); i++) {
        rc = walk_things(l, yaml_get(l->c->tree, things[i].section), things[i].section, &things[i], l->c);
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

const conf_task_t *conf_task(const conf_t *c, str_t name)
{
    for (size_t i = 0; i < c->ntasks; i++) {
        if (str_is(name, c->tasks[i].name)) {
            return &c->tasks[i];
        }
    }
    return NULL;
}

const conf_tenant_t *conf_tenant(const conf_t *c, str_t id)
{
    for (size_t i = 0; i < c->ntenants; i++) {
        if (str_is(id, c->tenants[i].name)) {
            return &c->tenants[i];
        }
    }
    return NULL;
}

const conf_filter_t *conf_filter(const conf_t *c, str_t name)
{
    for (size_t i = 0; i < c->nfilter_sets; i++) {
        if (str_is(name, c->filter_sets[i].name)) {
            return &c->filter_sets[i];
        }
    }
    return NULL;
}
