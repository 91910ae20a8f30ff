/* Where traces go: the headers for a collector, and what the configuration and the environment say. */
#include "io/otlp.h"

#include <stdio.h>

#include "base/util.h"
#include "conf/conf.h"
#include "conf_text.h"
#include "tap.h"

static void headers(arena_t *a)
{
    static const struct {
        const char *text, *lines;
    } all[] = {
        { "", "" }, { "api-key=abc", "api-key: abc|" }, { "a=1,b=2", "a: 1|b: 2|" }, { "a=1,", "a: 1|" }, { "a=", "a: |" },
        { "Authorization=Basic%20dTpw,x=%2C%3d%25", "Authorization: Basic dTpw|x: ,=%|" }, { "a=b=c", "a: b=c|" }, { "a=%C3%A9", "a: \xc3\xa9|" },
        { "a", NULL }, { "=a", NULL }, { "a b=c", NULL }, { "a:b=c", NULL }, { ",", NULL }, { "a=1,,b=2", NULL }, { "a=%", NULL }, { "a=%4", NULL },
        { "a=%zz", NULL }, { "a=%4,b=1", NULL }, { "a=x%0d%0aEvil:1", NULL }, { "a=x\ny", NULL }, { "a=%00", NULL },
        { "a=,b=,c=,d=,e=,f=,g=,h=,i=,j=,k=,l=,m=,n=,o=,p=", "a: |b: |c: |d: |e: |f: |g: |h: |i: |j: |k: |l: |m: |n: |o: |p: |" },
        { "a=,b=,c=,d=,e=,f=,g=,h=,i=,j=,k=,l=,m=,n=,o=,p=,q=", NULL },
    };

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        const char *lines[OTLP_HEADERS_MAX + 1], *got = "";
        int         rc = otlp_headers(a, all[i].text, lines);

        for (const char **l = lines; rc == 0 && *l != NULL; l++) {
            got = arena_printf(a, "%s%s|", got, *l);
        }
        ok(all[i].lines != NULL ? rc == 0 && strcmp(got, all[i].lines) == 0 : rc == SI_EINVAL, "headers %zu", i);
    }
}

static const conf_t *load(arena_t *a, const char *yaml, const char **err)
{
    *err = "";

    conf_t *c = conf_try_text(a, yaml, err);

    if (c != NULL) {
        arena_defer(a, (void (*)(void *)) conf_free, c);
    }
    return c;
}

static void refused(arena_t *a, const char *yaml, const char *why)
{
    const char *err;

    ok(load(a, yaml, &err) == NULL && strstr(err, why) != NULL, "%s: %s", yaml, why);
}

static void keys(arena_t *a)
{
    const char   *err;
    const conf_t *c = load(a, "", &err);

    ok(c != NULL && c->telemetry_url[0] == '\0' && c->telemetry_sample == 1 && strcmp(c->telemetry_service, "si") == 0, "nothing is said: off");
    c = load(a, "telemetry: { endpoint: 'http://127.0.0.1:4318/', sample: 0.25, service: s, parent: ignore }", &err);
    ok(c != NULL && strcmp(c->telemetry_url, "http://127.0.0.1:4318/v1/traces") == 0, "the path for traces is added");
    ok(c != NULL && c->telemetry_sample == 0.25 && strcmp(c->telemetry_parent, "ignore") == 0, "share, parent");
    refused(a, "telemetry: { sample: 1.5 }", "expected a number from 0 to 1, such as 0.25, got \"1.5\"");
    refused(a, "telemetry: { sample: -1 }", "expected a number");
    refused(a, "telemetry: { sample: 1e-3 }", "expected a number");
    refused(a, "telemetry: { sample: nan }", "expected a number");
    refused(a, "telemetry: { sample: 0.1.2 }", "expected a number");
    refused(a, "telemetry: { endpoint: 'ftp://x' }", "telemetry.endpoint: expected a URL");
    refused(a, "telemetry: { headers: 'api-key=1' }", "telemetry.headers: expected env:NAME or file:PATH");
    setenv("SI_UNIT_HEADERS", "no header", 1);
    refused(a, "telemetry: { headers: env:SI_UNIT_HEADERS }", "spaces");
    setenv("SI_UNIT_HEADERS", "secret", 1);
    refused(a, "telemetry: { headers: env:SI_UNIT_HEADERS }", "telemetry.headers: expected at most 16 headers");
    ok(load(a, "telemetry: { headers: env:SI_UNIT_HEADERS }", &err) == NULL && strstr(err, "secret") == NULL, "and is not shown");
}

static void environment(arena_t *a)
{
    const char   *err;
    const conf_t *c;

    setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/", 1);
    setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=1", 1);
    setenv("OTEL_SERVICE_NAME", "named", 1);
    c = load(a, "", &err);
    ok(c != NULL && strcmp(c->telemetry_url, "http://collector:4318/base/v1/traces") == 0 && strcmp(c->telemetry_headers, "a=1") == 0
       && strcmp(c->telemetry_service, "named") == 0, "what the environment says");
    c = load(a, "telemetry: { endpoint: 'https://own', service: own }", &err);
    ok(c != NULL && strcmp(c->telemetry_url, "https://own/v1/traces") == 0 && strcmp(c->telemetry_service, "own") == 0, "the file wins");
    setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/x", 1);
    c = load(a, "", &err);
    ok(c != NULL && strcmp(c->telemetry_url, "https://traces/x") == 0, "the address of traces is taken as it is");
    setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "traces:4317", 1);
    refused(a, "", "OTEL_EXPORTER_OTLP_ENDPOINT");
}

int main(void)
{
    arena_t *a = arena_new(4096);

    unsetenv("OTEL_EXPORTER_OTLP_ENDPOINT");
    unsetenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    unsetenv("OTEL_EXPORTER_OTLP_HEADERS");
    unsetenv("OTEL_SERVICE_NAME");
    headers(a);
    keys(a);
    environment(a);
    arena_free(a);
    return done_testing();
}
