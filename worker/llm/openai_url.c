#include "llm/openai_url.h"

const char *openai_url(arena_t *a, const conf_model_t *m, const char *path)
{
    static const char mark[] = "{model}";
    const conf_provider_t *p = m->provider;
    const char *base = p->base_url, *at = strstr(base, mark), *version = p->api_version != NULL ? p->api_version : "";

    if (at != NULL) {
        base = arena_printf(a, "%.*s%s%s", (int) (at - base), base, m->upstream, at + sizeof mark - 1);
    }
    return arena_cat(a, base, path, version[0] != '\0' ? "?api-version=" : "", version, NULL);
}

void openai_key(arena_t *a, const conf_provider_t *p, format_request_t *out)
{
    bool bearer = p->key_header == NULL || strcmp(p->key_header, "authorization") == 0;

    if (p->api_key != NULL && p->api_key[0] != '\0') {
        format_header(out, arena_cat(a, bearer ? "Authorization: Bearer " : p->key_header, bearer ? "" : ": ", p->api_key, NULL));
    }
}
