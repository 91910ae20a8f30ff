#include "llm/route.h"

static bool may_use(const conf_tenant_t *t, const conf_model_t *m)
{
    bool any = t == NULL || t->models.n == 0;

    for (size_t i = 0; !any && i < t->models.n; i++) {
        any = t->models.p[i] == m;
    }
    return any;
}

static void add(route_t *r, const conf_tenant_t *t, const conf_model_t *m)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->models[i] == m) {
            return;
        }
    }
    if (r->n < ROUTE_MAX && conf_embeds(m) == r->embeddings && may_use(t, m)) {
        r->models[r->n++] = m;
    }
}

static void add_list(route_t *r, const conf_tenant_t *t, const conf_models_t *list)
{
    for (size_t i = 0; i < list->n; i++) {
        add(r, t, list->p[i]);
    }
}

static void add_model(route_t *r, const conf_tenant_t *t, const conf_model_t *m, const conf_models_t *fallback)
{
    add(r, t, m);
    add_list(r, t, fallback->n > 0 ? fallback : &m->fallback);
}

/* What the tenant has instead of this name; false: nothing. */
static bool add_own(route_t *r, const conf_tenant_t *t, const char *name)
{
    for (size_t i = 0; t != NULL && i < t->nroutes; i++) {
        if (strcmp(t->routes[i].name, name) == 0 && t->routes[i].models.n > 0) {
            add_list(r, t, &t->routes[i].models);
            return true;
        }
    }
    return false;
}

static void add_task(const conf_t *c, route_t *r, const conf_tenant_t *t, const conf_task_t *task)
{
    const conf_model_t *m = conf_model(c, str_of(c->default_model));

    if (add_own(r, t, task->name)) {
        return;
    }
    if (task->models.n > 0) {
        add_list(r, t, &task->models);
    } else {
        add_model(r, t, m, &m->fallback);
    }
}

static void add_agent(const conf_t *c, route_t *r, const conf_tenant_t *t, const conf_agent_t *agent)
{
    if (add_own(r, t, agent->name)) {
        return;
    }
    if (agent->model != NULL) {
        add_model(r, t, conf_model(c, str_of(agent->model)), &agent->fallback);
    } else {
        add_task(c, r, t, conf_task(c, str_of(agent->task)));
    }
}

/* A name that a client sends: of a model, an agent or a task. */
static void add_named(const conf_t *c, route_t *r, const conf_tenant_t *t, const char *name)
{
    const conf_model_t *m = conf_model(c, str_of(name));
    const conf_agent_t *agent = m == NULL ? conf_agent(c, str_of(name)) : NULL;
    const conf_task_t  *task = m == NULL && agent == NULL ? conf_task(c, str_of(name)) : NULL;

    if (m != NULL && !add_own(r, t, name)) {
        add_model(r, t, m, &m->fallback);
    } else if (agent != NULL) {
        add_agent(c, r, t, agent);
    } else if (task != NULL) {
        add_task(c, r, t, task);
    }
}

void route_of(const conf_t *c, const gateway_spec_t *spec, route_t *out)
{
    const conf_tenant_t *t = spec->tenant != NULL ? conf_tenant(c, str_of(spec->tenant)) : NULL;
    const conf_agent_t  *agent;

    out->n = 0;
    out->embeddings = spec->embeddings;
    if (spec->model != NULL && spec->model[0] != '\0') {
        add_named(c, out, t, spec->model);
        return;
    }
    agent = conf_agent(c, str_of(spec->agent != NULL && spec->agent[0] != '\0' ? spec->agent : c->default_agent));
    if (agent != NULL) {
        add_agent(c, out, t, agent);
    }
}

void route_list(const conf_t *c, const char *tenant, const conf_models_t *list, route_t *out)
{
    out->n = 0;
    add_list(out, tenant != NULL ? conf_tenant(c, str_of(tenant)) : NULL, list);
}

static void sort_by_price(route_t *r)
{
    for (size_t i = 1; i < r->n; i++) {
        const conf_model_t *m = r->models[i];
        size_t              k = i;

        for (; k > 0 && r->models[k - 1]->price.input > m->price.input; k--) {
            r->models[k] = r->models[k - 1];
        }
        r->models[k] = m;
    }
}

void route_space(route_t *r, const char *space, bool says_dimensions, bool by_price)
{
    size_t n = 0;

    space = space != NULL || r->n == 0 ? space : r->models[0]->space;
    for (size_t i = 0; i < r->n; i++) {
        const conf_model_t *m = r->models[i];

        if (strcmp(m->space, space) == 0 && (says_dimensions || n == 0 || m->dimensions == r->models[0]->dimensions)) {
            r->models[n++] = m;
        }
    }
    r->n = n;
    if (by_price) {
        sort_by_price(r);
    }
}
