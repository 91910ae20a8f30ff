/* Part of conf.c: lists of models, endpoints, tenants. */
static const char routing[] =
    "providers:\n"
    "  p:\n"
    "    kind: openai\n"
    "    base_url: http://one\n"
    "    api_key: env:SI_TEST_KEY\n"
    "    idle_timeout: 1s\n"
    "    endpoints:\n"
    "      a: { weight: 3 }\n"
    "      b.2: { base_url: http://two/, api_key: env:SI_TEST_KEY2 }\n"
    "models:\n"
    "  m1: { provider: p, fallback: [m2, offline], context_fallback: [m2] }\n"
    "  m2: { provider: p }\n"
    "tasks: { code: { models: [m2, m1] }, odd: {} }\n"
    "agents: { dev: { model: m1, fallback: [m2], task: code } }\n"
    "tenants: { t-1: { models: [m1], routes: { dev: { models: [m2] }, gpt-4.1: { models: [m1] } } } }\n";

static void routes(test_t *t)
{
    const char *err;
    conf_t     *c;

    setenv("SI_TEST_KEY", "k1", 1);
    setenv("SI_TEST_KEY2", "k2", 1);
    c = load1(t, routing, &err);
    if (!ok(c != NULL, "routes")) {
        diag("%s", err);
        return;
    }
    const conf_model_t    *m1 = conf_model(c, STR("m1"));
    const conf_provider_t *p = m1->provider;
    is_int((long long) p->nendpoints, 2, "two endpoints");
    is_str(p->endpoints[0].name, "p/a", "an endpoint's name");
    is_str(p->endpoints[0].base_url, "http://one", "it has what its provider has");
    is_str(p->endpoints[0].api_key, "k1", "its key too");
    is_int((long long) p->endpoints[0].weight, 3, "a weight");
    is_str(p->endpoints[1].base_url, "http://two", "but for what it says");
    is_str(p->endpoints[1].api_key, "k2", "of its own");
    is_int((long long) p->endpoints[1].idle_ms, 1000, "the rest stays");
    is_int((long long) p->endpoints[1].weight, 1, "the default weight");
    is_int((long long) conf_model(c, STR("offline"))->provider->nendpoints, 1, "a provider without any is its own");
    is_int((long long) conf_model(c, STR("offline"))->provider->endpoints[0].weight, 1, "with a weight");
    is_int((long long) c->nendpoints, 4, "all are counted");
    ok(p->endpoints[0].index != p->endpoints[1].index && p->endpoints[1].index < 4, "and numbered");
    is_int((long long) m1->fallback.n, 2, "a list");
    ok(m1->fallback.p[0] == conf_model(c, STR("m2")) && m1->fallback.p[1] == conf_model(c, STR("offline")), "in its order");
    is_int((long long) m1->filter_fallback.n, 0, "an empty one");
    ok(conf_task(c, STR("code"))->models.p[0] == conf_model(c, STR("m2")), "a task's models");
    ok(conf_task(c, STR("quick"))->models.n == 0 && conf_task(c, STR("no")) == NULL, "a task that is built in, and one that is not");
    is_str(conf_agent(c, STR("dev"))->task, "code", "an agent's task");
    is_str(conf_agent(c, STR("default"))->task, "quick", "the cheap one by default");
    const conf_tenant_t *tenant = conf_tenant(c, STR("t-1"));
    ok(tenant->models.n == 1 && tenant->nroutes == 2 && conf_tenant(c, STR("t-2")) == NULL, "a tenant's policy");
    is_str(tenant->routes[1].name, "gpt-4.1", "a route for a name with a dot");
    ok(tenant->routes[0].models.p[0] == conf_model(c, STR("m2")), "and its models");

    const char *text = printed(t, c);
    ok(strstr(text, "models.m1.fallback = [\"m2\", \"offline\"]    # ") != NULL, "a list is printed");
    ok(strstr(text, "providers.p.endpoints.a.weight = 3    # ") != NULL, "and a thing within a thing");
    ok(strstr(text, "tenants.t-1.routes.gpt-4.1.models = [\"m1\"]    # ") != NULL, "also with a dot");
    conf_free(c);

    c = load1(t, "models:\n  m: { provider: offline, price: { input: 0.15, output: '2.500001', cached_input: 0 } }\n", &err);
    if (!ok(c != NULL, "prices")) {
        diag("%s", err);
        return;
    }
    const conf_price_t *price = &conf_model(c, STR("m"))->price;
    is_int((long long) price->input, 150000, "a number");
    is_int((long long) price->output, 2500001, "a text, exactly");
    is_int((long long) price->cached_input, 0, "nothing");
    is_int((long long) price->cache_write, 150000, "as for input");
    is_int((long long) price->reasoning, 2500001, "as for output");
    is_int((long long) conf_model(c, STR("offline"))->price.reasoning, 0, "free by default");
    text = printed(t, c);
    ok(strstr(text, "models.m.price.input = 0.15    # ") != NULL, "a price is printed");
    ok(strstr(text, "models.m.price.cache_write = 0.150000    # default") != NULL, "also one that is another's");
    ok(strstr(text, "models.offline.price.output = 0.000000    # default") != NULL, "and where there is none");
    conf_free(c);

    c = load1(t, "providers: { p: { kind: openai, base_url: 'https://me:s3cret@host/v1' } }\ntelemetry: { endpoint: 'http://me:s3cret@otel' }\n", &err);
    text = c != NULL ? printed(t, c) : err;
    ok(strstr(text, "p.base_url = \"https://me:***@host/v1\"") != NULL && strstr(text, "s3cret") == NULL, "no password of a URL is printed");
    conf_free(c);

    refused(t, "telemetry: { endpoint: 'ftp://me:s3cret@otel' }", "a.yaml:1: telemetry.endpoint: expected a URL that starts with http://|https://");
    refused(t, "models:\n  m: { provider: offline, price: { input: 0.1234567 } }",
            "a.yaml:2: models.m.price.input: expected a price from 0 to 100000 with at most 6 places, such as 0.15, got \"0.1234567\"");
    refused(t, "models:\n  m: { provider: offline, price: { output: -1 } }",
            "a.yaml:2: models.m.price.output: expected a price from 0 to 100000 with at most 6 places, such as 0.15, got \"-1\"");
    refused(t, "models:\n  m: { provider: offline, price: { reasoning: 100000.000001 } }",
            "a.yaml:2: models.m.price.reasoning: expected a price from 0 to 100000 with at most 6 places, such as 0.15, got \"100000.000001\"");
    refused(t, "models:\n  m: { provider: offline, price: 1 }", "a.yaml:2: models.m.price: expected a map of keys and values, got \"1\"");
    refused(t, "models:\n  m: { provider: offline, price: { in: 1 } }",
            "a.yaml:2: models.m.price.in: no such key, expected one of input, output, cached_input, cache_write, reasoning");
    refused(t, "models:\n  m:\n    provider: offline\n    fallback: [offline, n]",
            "a.yaml:4: models.m.fallback: expected a list of at most 16 names under models, got \"n\"");
    refused(t, "models:\n  m: { provider: offline, fallback: offline }",
            "a.yaml:2: models.m.fallback: expected a list of at most 16 names under models, got \"offline\"");
    refused(t, "tasks: { quick: { models: [[offline]] } }",
            "a.yaml:1: tasks.quick.models: expected a list of at most 16 names under models, got a list");
    refused(t, "agents: { a: { task: none } }", "a.yaml:1: agents.a.task: expected a name under tasks, got \"none\"");
    refused(t, "providers:\n  p:\n    kind: offline\n    endpoints:\n      x: { kind: openai }",
            "a.yaml:5: providers.p.endpoints.x.kind: no such key, expected one of base_url, api_key, region, access_key, secret_key, session_token, weight");
    refused(t, "providers: { p: { kind: offline, endpoints: { x: { weight: 0 } } } }",
            "a.yaml:1: providers.p.endpoints.x.weight: expected a whole number from 1 to 1000, got \"0\"");
    refused(t, "providers: { p: { kind: offline, endpoints: 1 } }",
            "a.yaml:1: providers.p.endpoints: expected a map of keys and values, got \"1\"");
    refused(t, "budgets: { key: { calls: 1 } }", "a.yaml:1: budgets.key: expected another name: key is what API keys have of their own");
    refused(t, "agents: { a: { filters: [f] } }", "a.yaml:1: agents.a.filters: expected a list of at most 16 names under filters, got \"f\"");
    refused(t, "filters: { f: { ready: [email, mail] } }",
            "a.yaml:1: filters.f.ready: expected a list whose members are each one of email|phone|card|iban|aws_key|private_key|si_key, got \"mail\"");
    refused(t, "filters: { f: { words: [''] } }", "a.yaml:1: filters.f.words: expected a list of at most 1000 texts of 1 to 128 bytes, got \"\"");
    refused(t, "filters: { f: { replacement: 'a\"b' } }", "a.yaml:1: filters.f: replacement: expected a text without quotes, backslashes and control characters");
    refused(t, "filters:\n  f: { patterns: [a, '('] }",
            "a.yaml:2: filters.f: patterns: the 2. is no regular expression: missing closing parenthesis (at byte 1)");
    refused(t, "models: { m: { provider: offline, safety: [a=b] } }", "a.yaml:1: models.m: safety: only a provider of kind gemini has it");
    refused(t, "models: { m: { provider: offline, guardrail: g } }", "a.yaml:1: models.m: guardrail: only a provider of kind bedrock has it");
    refused(t, "tenants: { x: { routes: { dev: { model: offline } } } }",
            "a.yaml:1: tenants.x.routes.dev.model: no such key, expected one of models");
}

/* What a reference leads to is as long as its key allows. */
static void long_secrets(test_t *t)
{
    static const struct { const char *key; size_t max; } keys[] = { { "api_key", 4096 }, { "access_key", 256 }, { "session_token", 8192 } };
    const char *err = NULL;

    setenv("SI_TEST_KEY_ID", "AKIDEXAMPLE", 1);
    for (size_t i = 0; i < SI_COUNT(keys); i++) {
        char       *secret = arena_calloc(t->a, keys[i].max + 2);
        const char *pair = i == 1 ? ", secret_key: env:SI_TEST_KEY_ID" : i == 2 ? ", access_key: env:SI_TEST_KEY_ID, secret_key: env:SI_TEST_KEY_ID" : "";
        const char *text = arena_printf(t->a, "providers: { p: { kind: bedrock, region: r, %s: env:SI_TEST_LONG%s } }", keys[i].key, pair);

        memset(secret, 'x', keys[i].max);
        setenv("SI_TEST_LONG", secret, 1);
        conf_t *c = load1(t, text, &err);
        ok(c != NULL, "%s: %zu bytes", keys[i].key, keys[i].max);
        conf_free(c);
        secret[keys[i].max] = '\n';
        c = load1(t, arena_printf(t->a, "providers: { p: { kind: bedrock, region: r, %s: 'file:%s'%s } }", keys[i].key, file(t, "secret", secret, keys[i].max + 1), pair), &err);
        ok(c != NULL, "%s: from a file, with a line end", keys[i].key);
        conf_free(c);
        secret[keys[i].max] = 'x';
        setenv("SI_TEST_LONG", secret, 1);
        refused(t, text, arena_printf(t->a, "a.yaml:1: providers.p.%s: env:SI_TEST_LONG leads to a text of more than %zu bytes", keys[i].key, keys[i].max));
    }
    unsetenv("SI_TEST_LONG");
}

/* The example that ships. */
static void example_models(test_t *t)
{
    long_secrets(t);
    const char *files[] = { arena_printf(t->a, "%s/conf/si.yaml", t->root), arena_printf(t->a, "%s/conf/models.yaml", t->root) }, *err = NULL;

    setenv("OPENAI_API_KEY", "k1", 1);
    setenv("OPENAI_API_KEY_2", "k2", 1);
    setenv("OPENROUTER_API_KEY", "k3", 1);
    conf_t *c = conf_load(t->a, files, 2, &err);
    if (!ok(c != NULL, "conf/models.yaml is right")) {
        diag("%s", err);
        return;
    }
    for (const char *const *name = (const char *const []) { "dev", "pm", "architect", NULL }; *name; name++) {
        const conf_agent_t *agent = conf_agent(c, str_of(*name));
        ok(agent != NULL && agent->model != NULL && agent->fallback.n > 0, "%s has a primary and a fallback", *name);
    }
    ok(conf_task(c, STR("quick"))->models.n > 1, "and there is something cheap for the others");
    conf_free(c);
}
