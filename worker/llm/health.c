#include "llm/health.h"

#include "base/util.h"

typedef struct {
    uint64_t rests_until;
    uint64_t open_until;        /* 0: the breaker is closed */
    bool     probing;           /* one call tries */
    uint64_t opened;            /* how often the breaker has */
    uint64_t half;              /* number of the present half of the window */
    uint32_t calls[2], failures[2];     /* of the present half and the one before */
} cell_t;

struct health {
    const conf_t *conf;
    cell_t       *cells;        /* [model][endpoint] */
    uint64_t     *refused_until;        /* [endpoint] */
};

health_t *health_new(const conf_t *c)
{
    health_t *h = si_calloc(sizeof *h);

    h->conf = c;
    h->cells = si_calloc((c->nmodels * c->nendpoints + 1) * sizeof *h->cells);
    h->refused_until = si_calloc((c->nendpoints + 1) * sizeof *h->refused_until);
    return h;
}

void health_free(health_t *h)
{
    if (h != NULL) {
        free(h->cells);
        free(h->refused_until);
        free(h);
    }
}

static cell_t *cell_of(const health_t *h, const conf_model_t *m, const conf_provider_t *e)
{
    return &h->cells[(size_t) (m - h->conf->models) * h->conf->nendpoints + e->index];
}

health_state_t health_state(const health_t *h, const conf_model_t *m, const conf_provider_t *e, uint64_t now, uint64_t *until)
{
    const cell_t *c = cell_of(h, m, e);

    *until = h->refused_until[e->index];
    if (*until > now) {
        return HEALTH_REFUSED;
    }
    *until = SI_MAX(c->open_until, c->rests_until);
    if (c->open_until > now || c->probing) {
        *until = SI_MAX(*until, now + 1);
        return HEALTH_OPEN;
    }
    return c->rests_until > now ? HEALTH_RESTS : HEALTH_WELL;
}

bool health_key_up(const health_t *h, const conf_provider_t *e, uint64_t now)
{
    return h->refused_until[e->index] <= now;
}

uint64_t health_opened(const health_t *h, const conf_model_t *m, const conf_provider_t *e)
{
    return cell_of(h, m, e)->opened;
}

/* The one of the chosen (a bit for each) that the random number falls on. */
static const conf_provider_t *by_weight(const conf_provider_t *p, uint64_t chosen, uint32_t random)
{
    uint64_t sum = 0, at;

    for (size_t i = 0; i < p->nendpoints && i < HEALTH_ENDPOINTS_MAX; i++) {
        sum += chosen >> i & 1 ? p->endpoints[i].weight : 0;
    }
    at = sum > 0 ? random % sum : 0;
    for (size_t i = 0; i < p->nendpoints && i < HEALTH_ENDPOINTS_MAX; i++) {
        if (chosen >> i & 1) {
            if (at < p->endpoints[i].weight) {
                return &p->endpoints[i];
            }
            at -= p->endpoints[i].weight;
        }
    }
    return NULL;
}

const conf_provider_t *health_choose(health_t *h, const conf_model_t *m, uint64_t tried, uint32_t random, uint64_t now, health_none_t *none)
{
    const conf_provider_t *p = m->provider, *e;
    uint64_t               well = 0, until;

    *none = (health_none_t) { HEALTH_REFUSED, UINT64_MAX };
    for (size_t i = 0; i < p->nendpoints && i < HEALTH_ENDPOINTS_MAX; i++) {
        health_state_t state = health_state(h, m, &p->endpoints[i], now, &until);

        if (state == HEALTH_WELL) {
            well |= (uint64_t) 1 << i;
        } else {
            none->state = SI_MIN(none->state, state);
            none->until = SI_MIN(none->until, until);
        }
    }
    e = by_weight(p, (well & ~tried) != 0 ? well & ~tried : well, random);
    if (e != NULL && cell_of(h, m, e)->open_until != 0) {
        cell_of(h, m, e)->probing = true;
    }
    return e;
}

/* Moves the window on. */
static void turn_window(const health_t *h, cell_t *c, uint64_t now)
{
    uint64_t half = now / SI_MAX(h->conf->breaker_window / 2, 1);

    if (half != c->half) {
        bool next = half == c->half + 1;

        c->calls[1] = next ? c->calls[0] : 0;
        c->failures[1] = next ? c->failures[0] : 0;
        c->calls[0] = c->failures[0] = 0;
        c->half = half;
    }
}

void health_good(health_t *h, const conf_model_t *m, const conf_provider_t *e, uint64_t now)
{
    cell_t *c = cell_of(h, m, e);

    if (c->open_until != 0) {
        *c = (cell_t) { .rests_until = c->rests_until, .opened = c->opened };
    }
    turn_window(h, c, now);
    c->calls[0]++;
}

static void rest(cell_t *c, uint64_t ms, uint64_t longest, uint64_t now)
{
    c->rests_until = SI_MAX(c->rests_until, now + SI_MIN(ms, longest));
}

void health_bad(health_t *h, const conf_model_t *m, const conf_provider_t *e, bool begun, uint64_t asked, uint64_t now)
{
    cell_t  *c = cell_of(h, m, e);
    uint64_t calls, failures;

    if (asked > 0) {
        rest(c, asked, h->conf->gateway_cooldown_max, now);
    }
    turn_window(h, c, now);
    c->calls[0] += begun ? 0 : 1;
    c->failures[0]++;
    calls = (uint64_t) c->calls[0] + c->calls[1];
    failures = (uint64_t) c->failures[0] + c->failures[1];
    if (c->probing || (calls >= h->conf->breaker_calls && failures * 100 > calls * h->conf->breaker_percent)) {
        c->open_until = now + h->conf->breaker_open;
        c->opened++;
        c->probing = false;
    }
}

void health_busy(health_t *h, const conf_model_t *m, const conf_provider_t *e, uint64_t asked, uint64_t now)
{
    cell_t *c = cell_of(h, m, e);

    rest(c, asked > 0 ? asked : h->conf->gateway_cooldown, h->conf->gateway_cooldown_max, now);
    c->probing = false;
}

void health_refused(health_t *h, const conf_model_t *m, const conf_provider_t *e, uint64_t now)
{
    h->refused_until[e->index] = SI_MAX(h->refused_until[e->index], now + h->conf->gateway_key_rest);
    cell_of(h, m, e)->probing = false;
}

void health_unknown(health_t *h, const conf_model_t *m, const conf_provider_t *e)
{
    cell_of(h, m, e)->probing = false;
}
