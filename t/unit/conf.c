/*
 * The configuration: what is read, what is refused and how that is said, and that conf/si.yaml and conf/si.schema.json say
 * the same as the key table. "conf --schema" prints the schema that the table makes.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/util.h"
#include "conf/conf.h"
#include "conf/keys.h"
#include "conf/yaml.h"
#include "tap.h"

typedef struct {
    arena_t    *a;
    char        dir[32];
    const char *root;           /* of the repository */
} test_t;

/* Writes a file in the test's folder; its path. */
static const char *file(test_t *t, const char *name, const char *text, size_t n)
{
    char *path = arena_printf(t->a, "%s/%s", t->dir, name);
    FILE *f = fopen(path, "w");

    if (f == NULL || fwrite(text, 1, n, f) != n || fclose(f) != 0) {
        printf("Bail out! %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return path;
}

static conf_t *load1(test_t *t, const char *text, const char **err)
{
    const char *path = file(t, "a.yaml", text, strlen(text));

    *err = NULL;
    return conf_load(t->a, &path, 1, err);
}

/* The error without the folder. */
static const char *said(test_t *t, const char *err)
{
    size_t n = strlen(t->dir);

    return err != NULL && strncmp(err, t->dir, n) == 0 ? err + n + 1 : err;
}

static void refused(test_t *t, const char *text, const char *want)
{
    const char *err;
    conf_t     *c = load1(t, text, &err);

    ok(c == NULL, "refused: %.*s", (int) strcspn(text, "\n"), text);
    is_str(said(t, err), want, "and says why");
    conf_free(c);
}

/* --- what is read --- */

static void defaults(test_t *t)
{
    const char *err;
    conf_t     *c = load1(t, "", &err);
    char        host[64] = "";

    gethostname(host, sizeof(host) - 1);
    if (!ok(c != NULL, "an empty file will do")) {
        diag("%s", err);
        return;
    }
    is_str(c->node, host, "node is the host name");
    is_int((long long) c->workers, sysconf(_SC_NPROCESSORS_ONLN), "a worker for each core");
    is_int((long long) c->database_pool, 4, "database.pool");
    is_int((long long) c->input_max, 256 * 1024, "a size");
    is_int((long long) c->answer_max, 1024 * 1024, "a larger size");
    is_int((long long) c->turn_deadline, 600000, "a duration");
    is_int((long long) c->websocket_ping, 20000, "websocket.ping");
    is_int((long long) c->lease_ms, 10000, "lease");
    is_int(c->log_level, LOG_INFO, "log.level");
    ok(c->log_file == NULL, "the log goes to stderr");
    is_str(c->default_model, "offline", "default_model");
    ok(conf_model(c, STR("offline")) != NULL && conf_model(c, STR("offline"))->provider == &c->providers[0],
       "the offline model has its provider");
    is_str(conf_model(c, STR("offline"))->upstream, "offline", "upstream is the name");
    is_str(c->providers[0].base_url, "", "offline has no URL");
    is_str(c->providers[0].api_key, "", "and no key");
    ok(conf_agent(c, STR("default")) != NULL && conf_agent(c, STR("default"))->model == NULL, "the default agent has no model");
    is_str(conf_agent(c, STR("default"))->prompt, "", "and no prompt");
    ok(conf_model(c, STR("off")) == NULL && conf_agent(c, STR("defaults")) == NULL, "only whole names are found");
    conf_free(c);
}

static const char overlay[] =
    "database:\n"
    "  pool: 9\n"
    "log: { level: debug, file: /tmp/si.log }\n"
    "limits:\n"                                             /* a section without keys says nothing */
    "providers:\n"
    "  local:\n"
    "    kind: openai\n"
    "    base_url: \"http://127.0.0.1:11434/v1//\"\n"
    "    api_key: env:SI_TEST_KEY\n"
    "    idle_timeout: 500ms\n"
    "models:\n"
    "  \"llama3.1:8b\":\n"
    "    provider: local\n"
    "    max_tokens: 100\n"
    "  org/small: { provider: local, upstream: small-1 }\n"
    "agents:\n"
    "  poet:\n"
    "    model: llama3.1:8b\n"
    "    prompt: |\n"
    "      Write verses.\n"
    "      Short ones.\n"
    "default_model: org/small\n";

static void merging(test_t *t)
{
    const char *base = "workers: 3\nlog:\n  level: warn\ndatabase: { pool: 2, url: 'host=/a dbname=b' }\nlimits: { turns_max: 7 }\n";
    const char *files[] = { file(t, "base.yaml", base, strlen(base)), file(t, "over.yaml", overlay, strlen(overlay)) };
    const char *err = NULL;
    conf_t     *c;

    setenv("SI_TEST_KEY", "sesame", 1);
    c = conf_load(t->a, files, 2, &err);
    if (!ok(c != NULL, "two files are laid over each other")) {
        diag("%s", err);
        return;
    }
    is_int((long long) c->workers, 3, "a key of the first stays");
    is_int((long long) c->database_pool, 9, "one of the second replaces");
    is_str(c->database_url, "host=/a dbname=b", "its neighbour stays");
    is_int(c->log_level, LOG_DEBUG, "also in flow style");
    is_int((long long) c->turns_max, 7, "an empty section leaves what is below");
    is_int((long long) c->nproviders, 3, "things with names are added");

    const conf_model_t *m = conf_model(c, STR("llama3.1:8b"));
    is_str(m->provider->name, "local", "a model finds its provider");
    is_str(m->provider->base_url, "http://127.0.0.1:11434/v1", "the slashes at the end go");
    is_str(m->provider->api_key, "sesame", "the secret comes from the environment");
    is_int((long long) m->provider->idle_ms, 500, "its time limit");
    is_int((long long) m->provider->connect_ms, 5000, "and the default of another");
    is_str(m->upstream, "llama3.1:8b", "upstream is the name");
    is_str(conf_model(c, STR("org/small"))->upstream, "small-1", "unless it is given");
    is_str(conf_agent(c, STR("poet"))->model, "llama3.1:8b", "an agent's model");
    is_str(conf_agent(c, STR("poet"))->prompt, "Write verses.\nShort ones.\n", "a prompt of several lines");
    conf_free(c);

    const char *third = "database: { pool: ~ }\nworkers: null\nagents: { poet: { prompt: } }\n";
    const char *more[] = { files[0], files[1], file(t, "third.yaml", third, strlen(third)) };
    c = conf_load(t->a, more, 3, &err);
    is_int(c ? (long long) c->database_pool : -1, 4, "null gives the default back");
    is_str(c ? conf_agent(c, STR("poet"))->prompt : NULL, "", "of a thing with a name too");
    is_str(c ? conf_agent(c, STR("poet"))->model : NULL, "llama3.1:8b", "and leaves the rest of it");
    conf_free(c);
}

static void origin(test_t *t)
{
    const char *base = "workers: 3\ndatabase:\n  pool: 2\n", *over = "# nothing here\n\ndatabase:\n  pool: many\n";
    const char *files[] = { file(t, "base.yaml", base, strlen(base)), file(t, "over.yaml", over, strlen(over)) };
    const char *swapped[] = { files[1], files[0] }, *err = NULL;
    conf_t     *c = conf_load(t->a, files, 2, &err);

    is_str(said(t, err), "over.yaml:4: database.pool: expected a whole number from 1 to 64, got \"many\"",
           "an error names file and line of the value in force");
    conf_free(c);
    c = conf_load(t->a, swapped, 2, &err);
    ok(c != NULL, "a wrong value that is replaced does no harm");
    conf_free(c);
}

/* --- what is refused --- */

static void values(test_t *t)
{
    refused(t, "workers: 0", "a.yaml:1: workers: expected a whole number from 1 to 256, got \"0\"");
    refused(t, "workers: 1.5", "a.yaml:1: workers: expected a whole number from 1 to 256, got \"1.5\"");
    refused(t, "workers: [1]", "a.yaml:1: workers: expected a whole number from 1 to 256, got a list");
    refused(t, "workers: -1", "a.yaml:1: workers: expected a whole number from 1 to 256, got \"-1\"");
    refused(t, "workers: 99999999999999999999", "a.yaml:1: workers: expected a whole number from 1 to 256, got \"99999999999999999999\"");
    refused(t, "limits:\n  input_max: 2m", "a.yaml:2: limits.input_max: expected a size from 1k to 1m, such as 64k, got \"2m\"");
    refused(t, "turn:\n  deadline: soon",
            "a.yaml:2: turn.deadline: expected a duration from 1s to 24h, such as 500ms, 10s or 5m, got \"soon\"");
    refused(t, "log: { level: loud }", "a.yaml:1: log.level: expected one of debug|info|warn|error|alert, got \"loud\"");
    refused(t, "node: a b", "a.yaml:1: node: expected a name of 1 to 63 letters, digits and . _ -, got \"a b\"");
    refused(t, "node: \"\"", "a.yaml:1: node: expected a name of 1 to 63 letters, digits and . _ -, got \"\"");
    refused(t, "redis: { url: 127.0.0.1 }",
            "a.yaml:1: redis.url: expected a URL that starts with redis://|redis+cluster://|redis+sentinel://|unix://, env:NAME or file:PATH");
    refused(t, "providers:\n  x:\n    kind: openai\n    base_url: ftp://x",
            "a.yaml:4: providers.x.base_url: expected a URL that starts with http://|https://, got \"ftp://x\"");
    refused(t, "issuers:\n  x:\n    issuer: http://id.example",
            "a.yaml:3: issuers.x.issuer: expected a URL that starts with https://|http://127.0.0.1:|http://localhost:, got \"http://id.example\"");
    refused(t, "issuers:\n  ../x:\n    issuer: https://id.example",
            "a.yaml:2: issuers.../x: expected a name of at most 63 letters, digits, _ and -");
}

static void shapes(test_t *t)
{
    refused(t, "databse:\n  pool: 1",
            "a.yaml:1: databse: no such key, expected one of node, workers, sockets, journal, database, redis, log, auth, limits, turn,"
            " history, gateway, telemetry, websocket, lease, drain, default_model, default_agent, providers, models, tasks, agents, tenants, issuers, filters, budgets, rates");
    refused(t, "\ndatabase:\n  pol: 1", "a.yaml:3: database.pol: no such key, expected one of url, pool");
    refused(t, "models:\n  m:\n    provider: offline\n    temperature: 1",
            "a.yaml:4: models.m.temperature: no such key, expected one of provider, upstream, max_tokens, stream, type, space, dimensions, task_type, normalize, encoding, batch, price, fallback,"
            " context_fallback, filter_fallback, cache_ttl, safety, guardrail, guardrail_version, guardrail_mode");
    refused(t, "database.pool: 4",
            "a.yaml:1: database.pool: no such key, expected one of node, workers, sockets, journal, database, redis, log, auth, limits, turn,"
            " history, gateway, telemetry, websocket, lease, drain, default_model, default_agent, providers, models, tasks, agents, tenants, issuers, filters, budgets, rates");
    refused(t, "database: 4", "a.yaml:1: database: expected a map of keys and values, got \"4\"");
    refused(t, "providers: []", "a.yaml:1: providers: expected a map of keys and values, got a list");
    refused(t, "models:\n  m: offline", "a.yaml:2: models.m: expected a map of keys and values, got \"offline\"");
    refused(t, "- a", "a.yaml:1: expected a map of keys and values");
    refused(t, "models:\n  \"a b\": {}",
            "a.yaml:2: models.a b: expected a name of printable ASCII without spaces, quotes and \\");
    refused(t, "workers: 1\nlease: 1s\nworkers: 2", "a.yaml:3: workers: stands here twice, first in line 1");
    refused(t, "workers: &w 1\ndrain: *w", "a.yaml:2: aliases are not supported: write the value out");
    refused(t, "workers: 1\n---\nworkers: 2", "a.yaml:3: a second document: one file holds one");
    refused(t, "[1]: 2", "a.yaml:1: a key must be a text of 1 to 128 bytes");
    refused(t, "node: \"a\\0b\"", "a.yaml:1: a text with a NUL character");
}

static void references(test_t *t)
{
    refused(t, "models:\n  m:\n    provider: none", "a.yaml:3: models.m.provider: expected a name under providers, got \"none\"");
    refused(t, "models:\n  m:\n    max_tokens: 1", "a.yaml:2: models.m.provider: expected a name under providers, got nothing");
    refused(t, "agents:\n  x: { model: gpt }", "a.yaml:2: agents.x.model: expected a name under models, got \"gpt\"");
    refused(t, "default_model: gpt", "a.yaml:1: default_model: expected a name under models, got \"gpt\"");
    refused(t, "default_agent: x", "a.yaml:1: default_agent: expected a name under agents, got \"x\"");
    refused(t, "providers:\n  x: {}", "a.yaml:2: providers.x.kind: expected one of openai|openai-responses|anthropic|bedrock|sagemaker|gemini|offline|lexical, got nothing");
    refused(t, "providers:\n  x:\n    kind: openai",
            "a.yaml:2: providers.x.base_url: expected a URL such as https://api.openai.com/v1, got nothing: kind openai needs one");
    refused(t, "providers:\n  x:\n    kind: openai-responses",
            "a.yaml:2: providers.x.base_url: expected a URL such as https://api.openai.com/v1, got nothing: kind openai-responses needs one");
}

static void not_yaml(test_t *t)
{
    const char *path = arena_printf(t->a, "%s/none.yaml", t->dir), *err = NULL;
    char       *deep = arena_alloc(t->a, 4001);
    conf_t     *c = conf_load(t->a, &path, 1, &err);

    is_str(said(t, err), "none.yaml:1: cannot be read: No such file or directory", "a file that is not there");
    conf_free(c);
    memset(deep, '[', 4000);
    deep[4000] = '\0';
    refused(t, arena_printf(t->a, "node: %s", deep), "a.yaml:1: nested deeper than 16");
    c = load1(t, "a: b: c", &err);
    ok(c == NULL && strncmp(said(t, err), "a.yaml:1: not YAML: ", 20) == 0, "no YAML: %s", said(t, err));
    c = load1(t, "node: \"\xff\xfe\"", &err);
    ok(c == NULL, "no UTF-8: %s", said(t, err));
    c = load1(t, "node: [1, 2", &err);
    ok(c == NULL, "an open end: %s", said(t, err));

    size_t n = (1u << 20) + 1;
    char  *big = arena_alloc(t->a, n);
    memset(big, '#', n);
    path = file(t, "big.yaml", big, n);
    c = conf_load(t->a, &path, 1, &err);
    is_str(said(t, err), "big.yaml:1: larger than 1048576 bytes", "a file that is too large");
}

static void bedrock(test_t *t)
{
    const char *provider = "providers:\n  x:\n    kind: bedrock\n", *err;
    conf_t     *c;

    unsetenv("AWS_REGION");
    unsetenv("AWS_DEFAULT_REGION");
    refused(t, provider, "a.yaml:2: providers.x.region: expected a region such as us-east-1, got nothing: kind bedrock needs one, here or in AWS_REGION");
    setenv("AWS_DEFAULT_REGION", "eu-west-1", 1);
    c = load1(t, provider, &err);
    is_str(c ? c->providers[c->nproviders - 1].region : err, "eu-west-1", "the region comes from the environment");
    conf_free(c);
    setenv("AWS_REGION", "eu-west-2", 1);
    c = load1(t, provider, &err);
    is_str(c ? c->providers[c->nproviders - 1].region : err, "eu-west-2", "from AWS_REGION first");
    conf_free(c);
    setenv("SI_TEST_KEY_ID", "AKIDEXAMPLE", 1);
    refused(t, arena_printf(t->a, "%s    access_key: env:SI_TEST_KEY_ID", provider),
            "a.yaml:2: providers.x.secret_key: expected both access_key and secret_key, or neither");
    c = load1(t, arena_printf(t->a, "%s    access_key: env:SI_TEST_KEY_ID\n    secret_key: env:SI_TEST_KEY_ID\n    region: us-east-1", provider), &err);
    is_str(c ? c->providers[c->nproviders - 1].region : err, "us-east-1", "but the file's goes before it");
    is_str(c ? c->providers[c->nproviders - 1].access_key : err, "AKIDEXAMPLE", "keys by reference");
    conf_free(c);
    c = load1(t, arena_printf(t->a, "%s    endpoints: { a: { region: eu-west-3 }, b: {} }", provider), &err);
    is_str(c ? c->providers[c->nproviders - 1].endpoints[0].region : err, "eu-west-3", "an endpoint has a region of its own");
    is_str(c ? c->providers[c->nproviders - 1].endpoints[1].region : err, "eu-west-2", "or that of the environment");
    conf_free(c);
    refused(t, arena_printf(t->a, "%s    endpoints: { a: { access_key: env:SI_TEST_KEY_ID } }", provider),
            "a.yaml:2: providers.x.endpoints.a.secret_key: expected both access_key and secret_key, or neither");
    unsetenv("AWS_REGION");
    unsetenv("AWS_DEFAULT_REGION");
}

static void secrets(test_t *t)
{
    const char *provider = "providers:\n  x:\n    kind: openai\n    base_url: http://x\n    api_key: ", *err;
    const char *path = file(t, "secret", "open sesame-1\n", 14);
    conf_t     *c;

    unsetenv("SI_TEST_NONE");
    refused(t, arena_printf(t->a, "%senv:SI_TEST_NONE", provider),
            "a.yaml:5: providers.x.api_key: the environment has no SI_TEST_NONE");
    refused(t, arena_printf(t->a, "%ssk-verysecret", provider), "a.yaml:5: providers.x.api_key: expected env:NAME or file:PATH");
    refused(t, arena_printf(t->a, "%sfile:/nowhere/x", provider),
            "a.yaml:5: providers.x.api_key: /nowhere/x cannot be read: No such file or directory");
    refused(t, arena_printf(t->a, "%s\"file:%s\"", provider, path),
            arena_printf(t->a, "a.yaml:5: providers.x.api_key: file:%s leads to a text with spaces or line ends", path));
    path = file(t, "secret", "sesame-2\r\n", 10);
    c = load1(t, arena_printf(t->a, "%s\"file:%s\"", provider, path), &err);
    is_str(c ? c->providers[c->nproviders - 1].api_key : err, "sesame-2", "a secret from a file, without its line end");
    conf_free(c);
    setenv("SI_TEST_URL", "postgresql://u:pw@h/d", 1);
    c = load1(t, "database: { url: env:SI_TEST_URL }", &err);
    is_str(c ? c->database_url : err, "postgresql://u:pw@h/d", "database.url by reference");
    conf_free(c);
    setenv("SI_TEST_URL", "", 1);
    refused(t, "database: { url: env:SI_TEST_URL }", "a.yaml:1: database.url: expected a connection string, env:NAME or file:PATH");
}

/* --- what is printed --- */

static const char *printed(test_t *t, const conf_t *c)
{
    char  *text = NULL;
    size_t n = 0;
    FILE  *out = open_memstream(&text, &n);

    conf_print(c, out);
    fclose(out);
    char *kept = arena_dup(t->a, text, n);
    free(text);
    return kept;
}

static void printing(test_t *t)
{
    const char *err, *text;
    conf_t     *c;

    setenv("SI_TEST_KEY", "sesame", 1);
    c = load1(t, arena_printf(t->a, "%sredis: { url: 'redis://:topsecret@127.0.0.1:1/2' }\n", overlay), &err);
    if (!ok(c != NULL, "a configuration to print")) {
        diag("%s", err);
        return;
    }
    text = printed(t, c);
    ok(strstr(text, arena_printf(t->a, "database.pool = 9    # %s/a.yaml:2\n", t->dir)) != NULL, "a value with its place");
    ok(strstr(text, "limits.turns_max = 5000    # default\n") != NULL, "a default");
    ok(strstr(text, "log.level = \"debug\"") != NULL, "a text in quotes");
    ok(strstr(text, "providers.local.api_key = \"env:SI_TEST_KEY\"") != NULL, "a secret as its reference");
    ok(strstr(text, "redis.url = \"redis://:***@127.0.0.1:1/2\"") != NULL, "a URL without its password");
    ok(strstr(text, "models.org/small.upstream = \"small-1\"") != NULL, "things with names");
    ok(strstr(text, "agents.poet.prompt = \"Write verses.\\nShort ones.\\n\"") != NULL, "a text of several lines on one");
    ok(strstr(text, "sesame") == NULL && strstr(text, "topsecret") == NULL, "no secret");
    for (size_t i = 0; i < conf_nkeys; i++) {
        const char *star = strchr(conf_keys[i].path, '*');
        if (star == NULL && strstr(text, arena_printf(t->a, "%s = ", conf_keys[i].path)) == NULL) {
            ok(false, "%s is printed", conf_keys[i].path);
        }
    }
    conf_free(c);
    c = load1(t, "database: { url: 'host=/x user=u password=hush dbname=d' }", &err);
    text = printed(t, c);
    ok(strstr(text, "\"host=/x user=u password=*** dbname=d\"") != NULL, "a connection string without its password");
    conf_free(c);
    c = load1(t, "redis: { url: 'redis://:top@secret@127.0.0.1:1/2' }", &err);
    text = printed(t, c);
    ok(strstr(text, "redis.url = \"redis://:***@127.0.0.1:1/2\"") != NULL, "nor with an @ in the password");
    conf_free(c);
    c = load1(t, "redis: { url: 'redis+sentinel://me:to?p#s,@h1:1,h2/main' }", &err);
    text = printed(t, c);
    ok(strstr(text, "redis.url = \"redis+sentinel://me:***@h1:1,h2/main\"") != NULL, "nor with what ends a host elsewhere");
    conf_free(c);
}

/* --- the documents --- */

/* The node of a key in a tree, the first name for a star. */
static const yaml_t *find(test_t *t, const yaml_t *top, const char *path)
{
    char *rest = arena_strdup(t->a, path), *part;

    while (top != NULL && (part = strsep(&rest, ".")) != NULL) {
        top = strcmp(part, "*") == 0 ? top->first : yaml_get(top, part);
    }
    return top;
}

static void example(test_t *t)
{
    const char *path = arena_printf(t->a, "%s/conf/si.yaml", t->root), *err = NULL;
    yaml_t     *top = yaml_read(t->a, path, NULL, &err);
    conf_t     *c = conf_load(t->a, &path, 1, &err);

    if (!ok(top != NULL && c != NULL, "conf/si.yaml is right")) {
        diag("%s", err);
        return;
    }
    for (size_t i = 0; i < conf_nkeys; i++) {
        const conf_key_t *k = &conf_keys[i];
        const yaml_t     *v = find(t, top, k->path);

        if (!ok(v != NULL, "conf/si.yaml has %s", k->path) || k->needed) {
            continue;
        }
        const char *want = k->fallback != NULL ? k->fallback : "";
        is_str(v->kind == YAML_TEXT ? v->text : "", want, "with its default");
    }
    conf_free(c);
}

static json_t *default_of(const conf_key_t *k)
{
    uint64_t v;

    return conf_list_max(k->type) > 0 ? json_array() : k->type == KEY_NUMBER && parse_u64(str_of(k->fallback), &v) == 0 ? json_integer((json_int_t) v)
           : json_string(k->fallback);
}

static json_t *schema_value(test_t *t, const conf_key_t *k)
{
    json_t *v = json_object();

    json_object_set_new(v, "description", json_string(k->about));
    if (k->type == KEY_NUMBER) {
        json_object_set_new(v, "type", json_pack("[ss]", "integer", "null"));
        json_object_set_new(v, "minimum", json_integer((json_int_t) k->min));
        json_object_set_new(v, "maximum", json_integer((json_int_t) k->max));
    } else if (conf_list_max(k->type) > 0) {
        json_object_set_new(v, "type", json_pack("[ss]", "array", "null"));
        json_object_set_new(v, "items", json_pack("{ss}", "type", "string"));
        json_object_set_new(v, "maxItems", json_integer((json_int_t) conf_list_max(k->type)));
    } else if (k->type == KEY_SIZE || k->type == KEY_DURATION) {
        json_object_set_new(v, "type", json_pack("[sss]", "string", "integer", "null"));
        json_object_set_new(v, "pattern", json_string(k->type == KEY_SIZE ? "^[0-9]+[kmg]?$" : "^[0-9]+(ms|s|m|h|d)?$"));
    } else if (k->type == KEY_PRICE || k->type == KEY_SHARE) {
        json_object_set_new(v, "type", json_pack("[sss]", "string", "number", "null"));
        json_object_set_new(v, "minimum", json_integer((json_int_t) k->min));
        json_object_set_new(v, "maximum", json_integer((json_int_t) (k->type == KEY_SHARE ? k->max : k->max / 1000000)));
        json_object_set_new(v, "pattern", json_string("^([0-9]+([.][0-9]{1,6})?)?$"));
    } else if (k->type == KEY_WORD || k->type == KEY_LEVEL) {
        char   *rest = arena_strdup(t->a, k->words), *word;
        json_t *words = json_array();
        while ((word = strsep(&rest, "|")) != NULL) {
            json_array_append_new(words, json_string(word));
        }
        json_object_set_new(v, "enum", words);
    } else {
        json_object_set_new(v, "type", json_pack("[ss]", "string", "null"));
        if (k->max > 0) {
            json_object_set_new(v, "minLength", json_integer((json_int_t) k->min));
            json_object_set_new(v, "maxLength", json_integer((json_int_t) k->max));
        }
        if (k->type == KEY_SECRET) {
            json_object_set_new(v, "pattern", json_string("^$|^env:.|^file:."));
        }
    }
    if (k->fallback != NULL) {
        json_object_set_new(v, "default", default_of(k));
    }
    return v;
}

/* The object that holds `name`, made if it is not there. */
static json_t *member(json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);

    if (v == NULL) {
        v = json_pack("{s[ss]sb}", "type", "object", "null", "additionalProperties", 0);
        json_object_set_new(o, name, v);
    }
    return v;
}

static json_t *properties(json_t *o)
{
    if (json_object_get(o, "properties") == NULL) {
        json_object_set_new(o, "properties", json_object());
    }
    return json_object_get(o, "properties");
}

static void add_key(test_t *t, json_t *top, const conf_key_t *k)
{
    char   *rest = arena_strdup(t->a, k->path), *part;
    json_t *at = top;

    while ((part = strsep(&rest, ".")) != NULL) {
        if (rest == NULL) {
            json_object_set_new(properties(at), part, schema_value(t, k));
        } else if (strcmp(part, "*") == 0) {
            if (!json_is_object(json_object_get(at, "additionalProperties"))) {
                json_object_del(at, "additionalProperties");
            }
            at = member(at, "additionalProperties");
        } else {
            at = member(properties(at), part);
        }
    }
}

static char *schema(test_t *t)
{
    json_t *top = json_pack("{sssssssb}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
                            "si-worker configuration", "type", "object", "additionalProperties", 0);
    char   *text, *kept;

    for (size_t i = 0; i < conf_nkeys; i++) {
        add_key(t, top, &conf_keys[i]);
    }
    text = json_dumps(top, JSON_INDENT(2));
    kept = arena_printf(t->a, "%s\n", text);
    free(text);
    json_decref(top);
    return kept;
}

static void schema_file(test_t *t)
{
    char  *path = arena_printf(t->a, "%s/conf/si.schema.json", t->root), *text = arena_calloc(t->a, 131072);
    FILE  *in = fopen(path, "r");

    if (ok(in != NULL, "conf/si.schema.json is there")) {
        text[fread(text, 1, 131071, in)] = '\0';
        fclose(in);
        if (!ok(strcmp(text, schema(t)) == 0, "and says what the key table says")) {
            diag("make it again: <build>/unit/conf --schema > conf/si.schema.json");
        }
    }
}

/* --- */

static const char *root_of(test_t *t, const char *argv0)
{
    const char *root = getenv("SI_ROOT");
    char       *path;

    if (root != NULL) {
        return root;
    }
    /* Started from the repository, or from worker/, as make and prove do; else beside the program. */
    for (const char *p = ".\0..\0../..\0"; *p; p += strlen(p) + 1) {
        path = arena_printf(t->a, "%s/conf/si.yaml", p);
        if (access(path, R_OK) == 0) {
            return p;
        }
    }
    path = arena_strdup(t->a, argv0);
    return arena_printf(t->a, "%s/../../..", dirname(path));
}

#include "conf_embed.h"
#include "conf_routes.h"

int main(int argc, char **argv)
{
    test_t t = { .a = arena_new(4096), .dir = "/tmp/si-conf-XXXXXX" };

    if (argc > 1 && strcmp(argv[1], "--schema") == 0) {
        fputs(schema(&t), stdout);
        arena_free(t.a);
        return 0;
    }
    t.root = root_of(&t, argv[0]);
    if (mkdtemp(t.dir) == NULL) {
        printf("Bail out! %s\n", strerror(errno));
        return 1;
    }
    defaults(&t);
    merging(&t);
    origin(&t);
    values(&t);
    shapes(&t);
    references(&t);
    embeddings(&t);
    routes(&t);
    example_models(&t);
    not_yaml(&t);
    bedrock(&t);
    secrets(&t);
    printing(&t);
    example(&t);
    schema_file(&t);
    for (const char *const *f = (const char *const []) { "a.yaml", "base.yaml", "over.yaml", "third.yaml", "big.yaml", "secret", NULL }; *f; f++) {
        unlink(arena_printf(t.a, "%s/%s", t.dir, *f));
    }
    rmdir(t.dir);
    arena_free(t.a);
    return done_testing();
}
