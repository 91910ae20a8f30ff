/* Where traces go: what the table of keys does not say. */
#include "base/util.h"
#include "conf/conf.h"
#include "conf/keys.h"
#include "io/otlp.h"

/* The variables of OpenTelemetry's specification ("OpenTelemetry Protocol Exporter", "General SDK Configuration"). */
static const char *variable(const char *name)
{
    const char *v = getenv(name);

    return v != NULL ? v : "";
}

/* The URL for traces: of the key, or of the general variable, with the path that OTLP gives them; another variable has it whole. */
static const char *find_url(arena_t *a, const conf_t *c)
{
    const char *whole = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), *base = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
    size_t      n;

    if (c->telemetry_endpoint[0] != '\0') {
        return arena_printf(a, "%s/v1/traces", c->telemetry_endpoint);
    }
    if (whole[0] != '\0') {
        return arena_strdup(a, whole);
    }
    n = strlen(base);
    return n > 0 ? arena_printf(a, "%.*s/v1/traces", (int) (n - (base[n - 1] == '/')), base) : "";
}

static const char *first_of(arena_t *a, const char *key, const char *name, const char *other)
{
    const char *v = variable(name);

    return key[0] != '\0' ? key : v[0] != '\0' ? arena_strdup(a, v) : other;
}

const char *conf_telemetry(arena_t *a, conf_t *c, const char **key)
{
    const char *lines[OTLP_HEADERS_MAX + 1];

    c->telemetry_url = find_url(a, c);
    c->telemetry_headers = first_of(a, c->telemetry_headers, "OTEL_EXPORTER_OTLP_HEADERS", "");
    c->telemetry_service = first_of(a, c->telemetry_service, "OTEL_SERVICE_NAME", "si");
    *key = "endpoint";
    if (c->telemetry_url[0] != '\0' && strncmp(c->telemetry_url, "http://", 7) != 0 && strncmp(c->telemetry_url, "https://", 8) != 0) {
        return "expected a URL that starts with http:// or https:// in OTEL_EXPORTER_OTLP_ENDPOINT";
    }
    *key = "headers";
    if (otlp_headers(a, c->telemetry_headers, lines) != 0) {
        return "expected at most 16 headers as name=value with commas between, values percent-encoded";
    }
    return NULL;
}
