#include "llm/gateway.h"

#include "base/proc.h"

struct gateway_call {
    llm_request_t       q;          /* the caller's, with the model of the moment */
    const provider_t   *provider;
    llm_call_t         *call;
    chat_event_t        first;      /* read by open, not handed out yet */
    int                 rc;         /* of reading it: 1, or 0 for an answer without any event */
    bool                started;    /* `first` was handed out */
};

const conf_model_t *gateway_first(const gateway_spec_t *spec)
{
    const conf_t       *conf = proc.conf;
    const conf_agent_t *agent = conf_agent(conf, str_of(spec->agent != NULL ? spec->agent : conf->default_agent));

    if (spec->model != NULL && spec->model[0] != '\0') {
        return conf_model(conf, str_of(spec->model));
    }
    return agent == NULL ? NULL : conf_model(conf, str_of(agent->model != NULL ? agent->model : conf->default_model));
}

int co_gateway_open(arena_t *a, const llm_request_t *q, const gateway_spec_t *spec, gateway_call_t **out, llm_error_t *err)
{
    gateway_call_t *g = arena_calloc(a, sizeof *g);
    int             rc;

    *out = NULL;
    g->q = *q;
    g->q.model = gateway_first(spec);
    if (g->q.model == NULL) {
        return provider_fail(err, SI_EINVAL, "unknown_model", 0, false, "there is no such model");
    }
    g->provider = provider_find(g->q.model->provider->kind);
    rc = g->provider->co_open(g->provider, a, &g->q, &g->call, err);
    if (rc == 0) {
        g->rc = g->provider->co_next(g->call, &g->first, err);
        rc = g->rc < 0 ? g->rc : 0;
    }
    if (rc != 0) {
        gateway_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

int co_gateway_next(gateway_call_t *g, chat_event_t *ev, llm_error_t *err)
{
    if (g->rc == 0) {
        return 0;
    }
    if (!g->started) {
        g->started = true;
        *ev = g->first;
        return 1;
    }
    return g->rc = g->provider->co_next(g->call, ev, err);
}

const llm_result_t *gateway_result(const gateway_call_t *g)
{
    return g->provider->result(g->call);
}

const conf_model_t *gateway_model(const gateway_call_t *g)
{
    return g->q.model;
}

void gateway_close(gateway_call_t *g)
{
    if (g->call != NULL) {
        g->provider->close(g->call);
        g->call = NULL;
    }
}
