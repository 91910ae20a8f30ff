/* Models that answer and models that make embeddings do not stand in for each other, nor do those of two vector spaces. */
#include "conf/conf.h"
#include "conf/keys.h"

bool conf_embeds(const conf_model_t *m)
{
    return strcmp(m->type, "embeddings") == 0;
}

static bool kind_embeds(const char *kind)
{
    return strcmp(kind, "openai") == 0 || strcmp(kind, "bedrock") == 0 || strcmp(kind, "sagemaker") == 0 || strcmp(kind, "gemini") == 0
           || strcmp(kind, "lexical") == 0;
}

/* The first of the list that is not of this type; NULL: none. */
static const char *other_type(const conf_models_t *list, bool embeds)
{
    for (size_t i = 0; i < list->n; i++) {
        if (conf_embeds(list->p[i]) != embeds) {
            return list->p[i]->name;
        }
    }
    return NULL;
}

static const char *wrong_type(arena_t *a, const char *name, bool embeds)
{
    return arena_printf(a, "expected models of type %s, got %s", embeds ? "embeddings" : "chat", name);
}

static const char *model_wrong(arena_t *a, const conf_model_t *m)
{
    const conf_models_t *lists[] = { &m->fallback, &m->context_fallback, &m->filter_fallback };

    if (conf_embeds(m) && !kind_embeds(m->provider->kind)) {
        return arena_printf(a, "expected a provider that makes embeddings, got one of kind %s", m->provider->kind);
    }
    for (size_t k = 0; k < SI_COUNT(lists); k++) {
        const char *name = other_type(lists[k], conf_embeds(m));

        if (name != NULL) {
            return wrong_type(a, name, conf_embeds(m));
        }
        for (size_t i = 0; conf_embeds(m) && i < lists[k]->n; i++) {
            const conf_model_t *other = lists[k]->p[i];

            if (strcmp(other->space, m->space) != 0 || other->dimensions != m->dimensions) {
                return arena_printf(a, "expected fallbacks of its own vector space, %s with dimensions %llu, got %s", m->space,
                                    (unsigned long long) m->dimensions, other->name);
            }
        }
    }
    return NULL;
}

static const char *agent_wrong(arena_t *a, const conf_t *c, const conf_agent_t *g)
{
    const conf_model_t *m = g->model != NULL ? conf_model(c, str_of(g->model)) : NULL;
    const char         *name = m != NULL && conf_embeds(m) ? m->name : other_type(&g->fallback, false);

    m = g->over_budget_summary != NULL ? conf_model(c, str_of(g->over_budget_summary)) : NULL;
    name = m != NULL && conf_embeds(m) ? m->name : name;
    return name != NULL ? wrong_type(a, name, false)
           : m != NULL && g->over_budget_keep == 100 ? "expected over_budget_keep below 100, since over_budget_summary sums up what is not kept"
           : strcmp(g->task, "embeddings") == 0 ? "expected a class of work that answers, got embeddings" : NULL;
}

static const char *task_wrong(arena_t *a, const conf_task_t *t)
{
    bool        embeds = strcmp(t->name, "embeddings") == 0;
    const char *name = other_type(&t->models, embeds);

    return name != NULL ? wrong_type(a, name, embeds) : NULL;
}

bool conf_models_wrong(arena_t *a, const conf_t *c, const char **path, const char **why)
{
    const conf_model_t *first = conf_model(c, str_of(c->default_model));

    *path = "default_model";
    *why = first != NULL && conf_embeds(first) ? wrong_type(a, first->name, false) : NULL;
    for (size_t i = 0; i < c->nmodels && *why == NULL; i++) {
        *path = arena_printf(a, "models.%s", c->models[i].name);
        *why = model_wrong(a, &c->models[i]);
    }
    for (size_t i = 0; i < c->nagents && *why == NULL; i++) {
        *path = arena_printf(a, "agents.%s", c->agents[i].name);
        *why = agent_wrong(a, c, &c->agents[i]);
    }
    for (size_t i = 0; i < c->ntasks && *why == NULL; i++) {
        *path = arena_printf(a, "tasks.%s", c->tasks[i].name);
        *why = task_wrong(a, &c->tasks[i]);
    }
    return *why != NULL;
}
