/* From names to models: who is asked, in which order. No I/O. */
#ifndef SI_ROUTE_H
#define SI_ROUTE_H

#include "llm/gateway.h"

#define ROUTE_MAX  (CONF_MODELS_MAX + 1)

typedef struct {
    const conf_model_t *models[ROUTE_MAX];      /* each once */
    size_t              n;
    bool                embeddings;     /* of which type they are */
} route_t;

/*
 * The models of a call: spec->model if it names something (a model and its fallbacks, an agent, or a task), else those of
 * the agent; of an agent its own and its fallbacks, else those of its task, else the default model. What the tenant has
 * instead goes before all that; what it may not use, and models of the other type, are left out. None: n is 0.
 */
void route_of(const conf_t *c, const gateway_spec_t *spec, route_t *out);
/* The models of a list, of out->embeddings' type, that the tenant (NULL: nobody) may use. */
void route_list(const conf_t *c, const char *tenant, const conf_models_t *list, route_t *out);
/*
 * Leaves those of one vector space: this one (NULL: that of the first model), and, unless the caller says how many dimensions
 * it wants, of as many as the first that is left. by_price: the cheapest input comes first, of equal prices the earlier one.
 */
void route_space(route_t *r, const char *space, bool says_dimensions, bool by_price);

#endif
