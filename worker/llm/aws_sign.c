#include "llm/aws_sign.h"

#include "base/util.h"
#include "io/aws_creds.h"

const char *aws_base_url(arena_t *a, const conf_provider_t *p, const char *env, const char *host)
{
    const char *url = getenv(env);

    if (p->base_url[0] != '\0') {
        return p->base_url;
    }
    if (url != NULL && url[0] != '\0') {
        return arena_dup(a, url, strlen(url) - (url[strlen(url) - 1] == '/'));
    }
    return arena_printf(a, "https://%s.%s.amazonaws.com", host, p->region);
}

static int co_keys(arena_t *a, const conf_provider_t *p, uint64_t deadline, sigv4_keys_t *keys, llm_error_t *err)
{
    char why[AWS_WHY_MAX];
    int  rc;

    if (p->access_key[0] != '\0') {
        *keys = (sigv4_keys_t) { p->access_key, p->secret_key, p->session_token[0] != '\0' ? p->session_token : NULL };
        return 0;
    }
    rc = co_aws_keys(a, keys, why, deadline);
    if (rc == 0 || rc == SI_ECANCELED) {
        return rc;
    }
    /* Where they were looked for is in the log. */
    if (rc == SI_ENOENT) {
        return provider_fail(err, SI_EDENIED, "provider_auth", 0, false, "no AWS credentials are configured");
    }
    return provider_fail(err, rc, rc == SI_ETIMEDOUT ? "provider_timeout" : "provider_unavailable", 0, true,
                         rc == SI_ETIMEDOUT ? "AWS credentials did not come in time" : "no AWS credentials could be had");
}

int co_aws_sign(arena_t *a, const conf_provider_t *p, const char *service, uint64_t deadline, format_request_t *out, llm_error_t *err)
{
    const char    *host = strstr(out->url, "://") + 3, *path = strchr(host, '/');
    sigv4_header_t headers[] = { { "Host", arena_dup(a, host, (size_t) (path - host)) }, { "Content-Type", "application/json" } };
    sigv4_spec_t   spec = { .region = p->region, .service = service, .method = "POST", .path = str_of(path),
                            .headers = headers, .nheaders = SI_COUNT(headers), .body = { out->body.p, out->body.n }, .normalize = true };
    sigv4_signed_t done;
    int            rc;

    if (p->api_key[0] != '\0') {
        format_header(out, arena_printf(a, "Authorization: Bearer %s", p->api_key));
        return 0;
    }
    rc = co_keys(a, p, deadline, &spec.keys, err);
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
