/*
 * The configuration: YAML files, later ones over earlier ones (maps are merged, other values
 * replaced; null gives a value its default back),
 * checked against one key table (conf/keys.c). Provider and model "offline",
 * agent "default" and the tasks are built in.
 */
#ifndef SI_CONF_H
#define SI_CONF_H

#include <stdio.h>

#include "base/arena.h"

/* An ordered list of models, the first one preferred. */
typedef struct {
    const struct conf_model *const *p;
    size_t      n;
} conf_models_t;

#define CONF_MODELS_MAX  16     /* in one list */

/* The vectors of llm/lexical: another way to make them is another space. */
#define CONF_LEXICAL_SPACE       "lexical-hashing-v1"
#define CONF_LEXICAL_DIMENSIONS  512

typedef struct {
    const char *const *p;
    size_t      n;
} conf_texts_t;

#define CONF_SAME         UINT64_MAX    /* of a number that is not given: that of another key */
#define CONF_TEXTS_MAX    1000  /* in one list */
#define CONF_FILTERS_MAX  16    /* in one list */

/* What is looked for in what goes to models and comes from them; see llm/filter.h. */
typedef struct {
    const char *name;
    const char *action;         /* "block", "redact" or "report" */
    const char *direction;      /* "input", "output" or "both" */
    const char *replacement;    /* without quotes, backslashes and control characters */
    const char *whole_words;    /* "on": words have no letter or digit beside them */
    conf_texts_t words, patterns, ready;
} conf_filter_t;

typedef struct {
    const conf_filter_t *const *p;
    size_t      n;
} conf_filters_t;

/* Where models live; also one key or region of it, which has all that the provider has. */
typedef struct conf_provider {
    const char *name;           /* of an endpoint: "provider/endpoint" */
    const char *kind;           /* "openai", "openai-responses", "anthropic", "bedrock", "sagemaker", "gemini", "offline" or "lexical" */
    const char *base_url;       /* without a trailing slash; "" for offline and lexical, may be "" for bedrock and sagemaker */
    const char *api_key;        /* resolved secret; never printed; may be "" */
    const char *api_version;    /* openai: ?api-version=, or "" */
    const char *key_header;     /* openai: "authorization" (as Bearer), or the header that has the key alone */
    const char *max_tokens_name;    /* openai: the member that bounds the answer, or "auto" */
    const char *cache_control;  /* openai: "on": cache points are sent; or "off" */
    const char *send_reasoning; /* openai: "never", "calls", "always" */
    const char *beta;           /* anthropic: the header anthropic-beta, or "" */
    const char *traceparent;    /* "on": it gets that header; or "off" */
    const char *region;         /* of bedrock and sagemaker; "" for others */
    const char *access_key, *secret_key, *session_token;    /* the same, resolved, never printed; "": those of the process */
    uint64_t    connect_ms, first_byte_ms, first_token_ms, idle_ms;
    uint64_t    weight;         /* among the endpoints of a provider */
    struct conf_provider *endpoints; size_t nendpoints;     /* one at least: the provider itself when it names none; of an endpoint: none */
    size_t      index;          /* of an endpoint: among those of all providers */
} conf_provider_t;

/* US dollars for a million tokens, in millionths of a dollar: 2.50 is 2500000. */
typedef struct {
    uint64_t    input;          /* what is not read from a prompt cache, nor written to one */
    uint64_t    output;         /* what is no reasoning */
    uint64_t    cached_input, cache_write, reasoning;
} conf_price_t;

#define CONF_PRICE_MAX  100000000000ull     /* 100,000 dollars */
#define CONF_PRICE_SAME UINT64_MAX          /* while it is read: the same as input, or output */

typedef struct conf_model {
    const char *name;           /* as clients name it */
    const conf_provider_t *provider;
    const char *upstream;       /* the provider's name of it; default: name */
    uint64_t    max_tokens;     /* of one answer; 0: the provider's default */
    const char *stream;         /* "on", or "off" for a model of bedrock that cannot */
    const char *type;           /* "chat" or "embeddings" */
    const char *space;          /* of embeddings: the name of its vector space; default: upstream. Vectors of two spaces are never mixed */
    uint64_t    dimensions;     /* numbers of its vectors; 0: the model's own */
    const char *task_type;      /* of gemini: what the vectors are for, or "" */
    const char *normalize;      /* "on": vectors have length 1, or "off": as the model makes them */
    const char *encoding;       /* of openai: "base64" or "float" */
    uint64_t    batch;          /* texts of one request; 0: what its kind takes */
    conf_models_t fallback;     /* asked next when this one fails */
    conf_price_t price;
    uint64_t    cache_ttl;      /* ms; CONF_SAME: the agent's or the gateway's */
    conf_texts_t safety;        /* of gemini: "CATEGORY=THRESHOLD" */
    const char *guardrail, *guardrail_version, *guardrail_mode;     /* of bedrock; "": none */
    conf_models_t context_fallback, filter_fallback;    /* when the prompt is too long for it, or its content filter stops it; empty: fallback */
} conf_model_t;

typedef struct {
    const char *name;
    const char *model;          /* a model's name, or NULL: those of the task */
    conf_models_t fallback;     /* asked next when `model` fails */
    const char *task;           /* a name under tasks */
    const char *prompt;         /* system prompt, may be "" */
    conf_filters_t filters;
    uint64_t    cache_ttl;      /* ms; CONF_SAME: the gateway's */
    uint64_t    over_budget_keep;       /* percent of the context that is kept when the money does not suffice */
    const char *over_budget_summary;    /* model that sums up what is not; NULL: nobody does */
    uint64_t    over_budget_summary_tokens, over_budget_summary_time;     /* bounds of its answer; ms */
    conf_models_t over_budget_models;   /* asked then instead */
} conf_agent_t;

/* What calls of models may use together: of a period (budgets), or within a minute (rates). */
typedef struct {
    const char *name;
    const char *per;            /* whose calls together: "all", "tenant", "user", "key", "agent" */
    const char *tenant, *user, *key;    /* ids; "": of any */
    const char *agent, *model;  /* names; NULL: of any */
    const conf_provider_t *provider;    /* NULL: of any */
    const char *period;         /* "minute" (rates: always), "hour", "day", "month", "total" */
    uint64_t    dollars;        /* millionths of a US dollar; 0: any amount; so are the next two */
    uint64_t    calls;
    uint64_t    tokens;         /* of input and output together; rates only */
    const char *away;           /* while Redis does not answer: "open", "closed" */
} conf_budget_t;

#define CONF_DOLLARS_MAX  1000000000000000ull   /* a thousand million dollars */

/* A class of work, or what a tenant has instead of a name. */
typedef struct {
    const char *name;
    conf_models_t models;
} conf_task_t;

typedef struct {
    const char *name;           /* the tenant's id */
    conf_models_t models;       /* that its calls may use; empty: all */
    conf_task_t *routes; size_t nroutes;    /* models instead of those of an agent, a task or a model of this name */
    conf_filters_t filters;
} conf_tenant_t;
typedef struct {
    const char *name;           /* as nginx.conf names it: letters, digits, _ and -, 63 at most */
    const char *issuer;         /* whose discovery document names the place of its keys; without a trailing slash; may be "" */
    const char *jwks_url;       /* that place; "": the document says; with both "" there is no such issuer */
} conf_issuer_t;

typedef struct conf {
    arena_t    *arena;
    const char *node;           /* default: host name */
    uint64_t    workers;
    const char *sockets;        /* folder of the workers' sockets */
    const char *journal;        /* folder of turn/journal */
    const char *database_url;
    uint64_t    database_pool;
    const char *redis_url;
    const char *log_file;       /* NULL: stderr */
    int         log_level;

    uint64_t    auth_cache, auth_negative_cache, auth_grace;    /* ms, see store/verdict.h */
    uint64_t    auth_ticket;    /* ms that a stream ticket is good for */
    const char *auth_keys;      /* folder of store/keyset */
    uint64_t    auth_keys_min, auth_keys_max;       /* ms between two questions to an issuer, see api/issuers.h */
    uint64_t    calls_max;      /* at once in one worker */
    uint64_t    turns_max;      /* running in one worker; past it 503 */
    uint64_t    turns_per_user; /* not over, on all machines; past it 429; 0: any number */
    uint64_t    turns_queued;   /* waiting in one conversation; past it 409 */
    uint64_t    turn_deadline;  /* ms, whole turn */
    uint64_t    turn_attempts;  /* a turn whose worker died this often fails */
    uint64_t    input_max;      /* bytes of one user message */
    uint64_t    answer_max;     /* bytes of one answer */
    uint64_t    request_max;    /* bytes of the body of a call in a dialect */
    uint64_t    history_messages, history_tokens;
    uint64_t    gateway_attempts, gateway_restarts, gateway_deadline, gateway_backoff, gateway_backoff_max, gateway_wait;
    uint64_t    gateway_cooldown, gateway_cooldown_max, gateway_key_rest;       /* ms, see llm/health.h */
    uint64_t    gateway_embed_cache;    /* ms, see llm/embed_cache.h; 0: none */
    uint64_t    breaker_percent, breaker_calls, breaker_window, breaker_open;
    conf_filters_t filters;     /* of every call */
    uint64_t    gateway_cache_ttl, gateway_cache_max;   /* ms, bytes; see llm/cache.h */
    const char *telemetry_endpoint, *telemetry_headers, *telemetry_service, *telemetry_parent;  /* see io/otlp.h */
    const char *telemetry_url;  /* where traces go; "": nowhere */
    double      telemetry_sample;
    uint64_t    telemetry_batch, telemetry_queue, telemetry_interval, telemetry_timeout;
    uint64_t    websocket_ping; /* ms of silence after which a client is pinged */
    uint64_t    lease_ms;       /* a worker silent for so long is dead */
    uint64_t    drain_ms;       /* a draining worker leaves after this at the latest */

    conf_provider_t *providers; size_t nproviders;
    conf_model_t    *models;    size_t nmodels;
    conf_agent_t    *agents;    size_t nagents;
    conf_task_t     *tasks;     size_t ntasks;
    conf_tenant_t   *tenants;   size_t ntenants;
    conf_filter_t   *filter_sets; size_t nfilter_sets;
    conf_budget_t   *budgets;   size_t nbudgets;
    conf_budget_t   *rates;     size_t nrates;
    uint64_t    budget_output;  /* tokens reserved for an answer that nobody bounds */
    size_t      nendpoints;     /* of all providers */
    conf_issuer_t   *issuers;   size_t nissuers;
    const char *default_model, *default_agent;

    struct yaml *tree;          /* private to conf/: what the files say, and where */
} conf_t;

/*
 * Reads and checks n files. NULL on error, with *err in the form
 *   conf/si.yaml:12: database.pool: expected a whole number from 1 to 64, got "many"
 * in the arena `a`. Secrets: "env:NAME", "file:PATH" (trailing newline dropped); a missing one is an error.
 */
conf_t *conf_load(arena_t *a, const char *const *files, size_t n, const char **err);
void    conf_free(conf_t *c);
/* Every key with its value and where it comes from, one a line. No secret is printed, no password in a URL. */
void    conf_print(const conf_t *c, FILE *out);
/* Whether a model makes vectors, not answers. */
bool conf_embeds(const conf_model_t *m);
const conf_model_t *conf_model(const conf_t *c, str_t name);
const conf_agent_t *conf_agent(const conf_t *c, str_t name);
const conf_task_t  *conf_task(const conf_t *c, str_t name);
const conf_tenant_t *conf_tenant(const conf_t *c, str_t id);
const conf_filter_t *conf_filter(const conf_t *c, str_t name);

#endif
