/*
 * Amazon Bedrock's Converse API: signed with the keys of the configuration or of the process (io/aws_creds.h), or with a
 * Bedrock API key as a bearer token.
 */
#include "llm/bedrock.h"

#include "base/util.h"
#include "io/aws_creds.h"

/* Where the requests of this provider go; without a slash at the end. */
static const char *base_url(arena_t *a, const conf_provider_t *p)
{
    const char *env = getenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME");

    if (p->base_url[0] != '\0') {
        return p->base_url;
    }
    if (env != NULL && env[0] != '\0') {
        return arena_dup(a, env, strlen(env) - (env[strlen(env) - 1] == '/'));
    }
    return arena_printf(a, "https://bedrock-runtime.%s.amazonaws.com", p->region);
}

static int co_keys(arena_t *a, const llm_request_t *q, sigv4_keys_t *keys, llm_error_t *err)
{
    const conf_provider_t *p = q->model->provider;
    char                   why[AWS_WHY_MAX];
    int                    rc;

    if (p->access_key[0] != '\0') {
        *keys = (sigv4_keys_t) { p->access_key, p->secret_key, p->session_token[0] != '\0' ? p->session_token : NULL };
        return 0;
    }
    rc = co_aws_keys(a, keys, why, q->deadline);
    if (rc == 0 || rc == SI_ECANCELED) {
        return rc;
    }
    if (rc == SI_ENOENT) {
        return provider_fail(err, SI_EDENIED, "provider_auth", 0, false, "%s", why);
    }
    return provider_fail(err, rc, rc == SI_ETIMEDOUT ? "provider_timeout" : "provider_unavailable", 0, true, "%s", why);
}

/* Signs what is in `out`: its URL is base_url and a path without a query. */
static int co_sign(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    const char    *host = strstr(out->url, "://") + 3, *path = strchr(host, '/');
    sigv4_header_t headers[] = { { "Host", arena_dup(a, host, (size_t) (path - host)) }, { "Content-Type", "application/json" } };
    sigv4_spec_t   spec = { .region = q->model->provider->region, .service = "bedrock", .method = "POST", .path = str_of(path),
                            .headers = headers, .nheaders = SI_COUNT(headers), .body = { out->body.p, out->body.n }, .normalize = true };
    sigv4_signed_t done;
    int            rc = co_keys(a, q, &spec.keys, err);

    if (rc != 0) {
        return rc;
    }
    spec.time = clock_wall_ms() / 1000;
    sigv4_sign(a, &spec, &done);
    format_header(out, arena_printf(a, "Host: %s", headers[0].value));
    for (size_t i = 0; i < done.nadded; i++) {
        format_header(out, arena_printf(a, "%s: %s", done.added[i].name, done.added[i].value));
    }
    return 0;
}

static int co_put(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    const conf_provider_t *p = q->model->provider;
    int                    rc = bedrock_write(a, q, &out->body, err);

    if (rc != 0) {
        return rc;
    }
    out->url = arena_printf(a, "%s/model/%s/%s", base_url(a, p), uri_encode(a, str_of(q->model->upstream), false),
                            bedrock_streams(q->model) ? "converse-stream" : "converse");
    if (p->api_key[0] != '\0') {
        format_header(out, arena_printf(a, "Authorization: Bearer %s", p->api_key));
        return 0;
    }
    return co_sign(a, q, out, err);
}

static const format_t format_bedrock = {
    .accept = "Accept: application/vnd.amazon.eventstream, application/json",
    .co_put = co_put, .event = bedrock_read_event, .whole = bedrock_read_whole, .status = bedrock_read_status,
};

const provider_t provider_bedrock = FORMAT_PROVIDER("bedrock", &format_bedrock);
