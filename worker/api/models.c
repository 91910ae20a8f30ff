/* GET /v1/models: what may be named as "model". Each object has the members of OpenAI's list and of Anthropic's. */
#include "api/face.h"
#include "api/problem.h"
#include "base/proc.h"

#define LIST_MAX  (4u << 20)        /* names are as many as the configuration has */

/* When a model was made is not known here: both dialects want a time. */
static int put_model(buf_t *b, const char *name, const char *owner)
{
    int rc = buf_puts(b, "{\"id\":");

    rc = rc != 0 ? rc : buf_json_str(b, str_of(name));
    rc = rc != 0 ? rc : buf_puts(b, ",\"object\":\"model\",\"created\":0,\"owned_by\":");
    rc = rc != 0 ? rc : buf_json_str(b, str_of(owner));
    rc = rc != 0 ? rc : buf_puts(b, ",\"type\":\"model\",\"display_name\":");
    rc = rc != 0 ? rc : buf_json_str(b, str_of(name));
    return rc != 0 ? rc : buf_puts(b, ",\"created_at\":\"1970-01-01T00:00:00Z\"}");
}

/* The n-th that can be named, with who has it: models, then agents whose name no model has. False: there is none. */
static bool nameable(size_t n, const char **name, const char **owner)
{
    const conf_t *conf = proc.conf;

    if (n < conf->nmodels) {
        *name = conf->models[n].name;
        *owner = conf->models[n].provider->name;
        return true;
    }
    for (size_t i = 0; i < conf->nagents; i++) {
        if (conf_model(conf, str_of(conf->agents[i].name)) == NULL && n-- == conf->nmodels) {
            *name = conf->agents[i].name;
            *owner = "agents";
            return true;
        }
    }
    return false;
}

void co_model_list(request_t *r)
{
    const char *name, *owner;
    buf_t       b;

    buf_init(&b, LIST_MAX);
    (void) buf_puts(&b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; nameable(i, &name, &owner); i++) {
        (void) buf_puts(&b, i > 0 ? "," : "");
        (void) put_model(&b, name, owner);
    }
    (void) buf_puts(&b, "],\"has_more\":false}");
    co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
    buf_free(&b);
}

void co_model_get(request_t *r)
{
    const char *name, *owner;
    buf_t       b;

    for (size_t i = 0; nameable(i, &name, &owner); i++) {
        if (str_is(r->name, name)) {
            buf_init(&b, LIST_MAX);
            (void) put_model(&b, name, owner);
            co_json(r->call, 200, (str_t) { b.p, b.n }, 0, NULL);
            buf_free(&b);
            return;
        }
    }
    co_problem(r->call, 404, "model_not_found", "model", "there is no model and no agent of this name");
}
