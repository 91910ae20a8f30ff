/*
 * GET /v1/models: what may be named as "model". Each object has the members of OpenAI's list and of Anthropic's; what makes
 * embeddings says so, and in which vector space.
 */
#include "api/face.h"
#include "api/problem.h"
#include "base/proc.h"
#include "llm/embed.h"

#define LIST_MAX  (4u << 20)        /* names are as many as the configuration has */

/* What makes embeddings under this name; NULL: it answers. */
static const conf_model_t *embeds(const char *tenant, const char *name)
{
    gateway_spec_t      spec = { .tenant = tenant, .model = name };
    const conf_model_t *m = conf_model(proc.conf, str_of(name));

    return m == NULL ? (strcmp(name, "embeddings") == 0 ? embed_first(&spec) : NULL) : conf_embeds(m) ? embed_first(&spec) : NULL;
}

static int put_space(buf_t *b, const conf_model_t *m)
{
    bool lexical = strcmp(m->provider->kind, "lexical") == 0;
    int  rc = buf_puts(b, ",\"embeddings\":{\"space\":");

    rc = rc != 0 ? rc : buf_json_str(b, str_of(m->space));
    rc = rc != 0 ? rc : m->dimensions != 0 ? buf_printf(b, ",\"dimensions\":%llu", (unsigned long long) m->dimensions) : buf_puts(b, ",\"dimensions\":null");
    return rc != 0 ? rc : buf_puts(b, lexical ? ",\"about\":\"hashes words and parts of words: no language model\"}" : "}");
}

/* When a model was made is not known here: both dialects want a time. */
static int put_model(buf_t *b, const char *tenant, const char *name, const char *owner)
{
    const conf_model_t *m = embeds(tenant, name);
    int rc = buf_puts(b, "{\"id\":");

    rc = rc != 0 ? rc : buf_json_str(b, str_of(name));
    rc = rc != 0 ? rc : buf_puts(b, ",\"object\":\"model\",\"created\":0,\"owned_by\":");
    rc = rc != 0 ? rc : buf_json_str(b, str_of(owner));
    rc = rc != 0 ? rc : buf_puts(b, ",\"type\":\"model\",\"display_name\":");
    rc = rc != 0 ? rc : buf_json_str(b, str_of(name));
    rc = rc != 0 ? rc : buf_puts(b, ",\"created_at\":\"1970-01-01T00:00:00Z\"");
    rc = rc != 0 || m == NULL ? rc : put_space(b, m);
    return rc != 0 ? rc : buf_puts(b, "}");
}

/* The n-th name of the configuration and where it stands: models, then agents, then tasks. False: there are no more. */
static bool name_of(size_t n, const char **name, const char **owner)
{
    const conf_t *conf = proc.conf;

    if (n < conf->nmodels) {
        *name = conf->models[n].name;
        *owner = conf->models[n].provider->name;
        return true;
    }
    n -= conf->nmodels;
    if (n < conf->nagents) {
        *name = conf->agents[n].name;
        *owner = "agents";
        return true;
    }
    n -= conf->nagents;
    *name = n < conf->ntasks ? conf->tasks[n].name : NULL;
    *owner = "tasks";
    return *name != NULL;
}

/* Whether the caller may name it, and means this one by it: of equal names the first counts. */
static bool shown(const request_t *r, const char *name, const char *owner)
{
    gateway_spec_t spec;
    bool           agent = strcmp(owner, "agents") == 0, task = strcmp(owner, "tasks") == 0;

    if (embeds(r->who.tenant, name) != NULL) {
        return !agent && task == (conf_model(proc.conf, str_of(name)) == NULL);
    }
    if (!face_spec(r->who.tenant, str_of(name), &spec)) {
        return false;
    }
    return agent ? spec.agent != NULL : (spec.agent == NULL && task == (conf_model(proc.conf, str_of(name)) == NULL));
}

/* Anthropic's lists name where they begin and end; there is one page. */
static void put_ends(buf_t *b, const char *first, const char *last)
{
    const char *const ends[][2] = { { "first_id", first }, { "last_id", last } };

    for (size_t i = 0; i < SI_COUNT(ends); i++) {
        (void) buf_printf(b, ",\"%s\":", ends[i][0]);
        (void) (ends[i][1] != NULL ? buf_json_str(b, str_of(ends[i][1])) : buf_puts(b, "null"));
    }
}

void co_model_list(request_t *r)
{
    const char *name, *owner, *between = "", *first = NULL, *last = NULL;
    buf_t       b;

    buf_init(&b, LIST_MAX);
    (void) buf_puts(&b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; name_of(i, &name, &owner); i++) {
        if (shown(r, name, owner)) {
            (void) buf_puts(&b, between);
            (void) put_model(&b, r->who.tenant, name, owner);
            between = ",";
            first = first != NULL ? first : name;
            last = name;
        }
    }
    (void) buf_puts(&b, "],\"has_more\":false");
    put_ends(&b, first, last);
    (void) buf_puts(&b, "}");
    co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
    buf_free(&b);
}

void co_model_get(request_t *r)
{
    const char *name, *owner;
    buf_t       b;

    for (size_t i = 0; name_of(i, &name, &owner); i++) {
        if (str_is(r->name, name) && shown(r, name, owner)) {
            buf_init(&b, LIST_MAX);
            (void) put_model(&b, r->who.tenant, name, owner);
            co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
            buf_free(&b);
            return;
        }
    }
    co_problem(r->call, 404, "model_not_found", "model", "there is no model, agent or task of this name");
}
