/* Part of conf.c: models of embeddings, and where they may be named. */
static void embeddings(test_t *t)
{
    const char *err, *two = "models:\n  a: { provider: lexical, space: s }\n  b: { provider: lexical, space: s }\n";
    conf_t     *c = load1(t, two, &err);

    if (ok(c != NULL, "models of embeddings")) {
        const conf_model_t *a = conf_model(c, STR("a")), *l = conf_model(c, STR("lexical"));

        ok(conf_embeds(a) && !conf_embeds(conf_model(c, STR("offline"))), "are told from those that answer");
        is_str(a->space, "s", "their space");
        is_str(l->space, CONF_LEXICAL_SPACE, "that of lexical");
        is_int((long long) l->dimensions, CONF_LEXICAL_DIMENSIONS, "and its dimensions");
        ok(conf_task(c, STR("embeddings"))->models.p[0] == l, "are the task's");
    }
    conf_free(c);
    refused(t, "default_model: lexical", "a.yaml:1: default_model: expected models of type chat, got lexical");
    refused(t, "tasks:\n  code: { models: [lexical] }", "a.yaml:2: tasks.code: expected models of type chat, got lexical");
    refused(t, "tasks:\n  embeddings: { models: [lexical, offline] }", "a.yaml:2: tasks.embeddings: expected models of type embeddings, got offline");
    refused(t, "agents:\n  x: { model: lexical }", "a.yaml:2: agents.x: expected models of type chat, got lexical");
    refused(t, "agents:\n  x: { task: embeddings }", "a.yaml:2: agents.x: expected a class of work that answers, got embeddings");
    refused(t, "models:\n  m: { provider: offline, fallback: [lexical] }", "a.yaml:2: models.m: expected models of type chat, got lexical");
    refused(t, "models:\n  m: { provider: offline, type: embeddings }", "a.yaml:2: models.m: expected a provider that makes embeddings, got one of kind offline");
    refused(t, "models:\n  m: { provider: lexical, space: other, fallback: [lexical] }",
            "a.yaml:2: models.m: expected fallbacks of its own vector space, other with dimensions 512, got lexical");
    refused(t, "models:\n  m: { provider: lexical, dimensions: 256, context_fallback: [lexical] }",
            "a.yaml:2: models.m: expected fallbacks of its own vector space, lexical-hashing-v1 with dimensions 256, got lexical");
    refused(t, "providers:\n  x: { kind: sagemaker, region: eu-west-1, access_key: env:SI_TEST_KEY }",
            "a.yaml:2: providers.x.secret_key: expected both access_key and secret_key, or neither");
}
