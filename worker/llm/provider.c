/* The providers by kind. */
#include "llm/provider.h"

#include <stdio.h>
#include <strings.h>

#include "base/util.h"
#include "llm/format.h"

static const provider_t *const providers[] = { &provider_openai, &provider_responses, &provider_anthropic, &provider_bedrock, &provider_gemini, &provider_offline };

const provider_t *provider_find(const char *kind)
{
    for (size_t i = 0; i < SI_COUNT(providers); i++) {
        if (strcmp(providers[i]->kind, kind) == 0) {
            return providers[i];
        }
    }
    return NULL;
}

const char *provider_word(const conf_provider_t *p)
{
    static const char *const kinds[][2] = { { "gemini", "gcp.gemini" }, { "bedrock", "aws.bedrock" }, { "sagemaker", "aws.sagemaker" }, { "openai-responses", "openai" } };
    static const char *const hosts[][2] = {
        { ".openai.azure.com", "azure.ai.openai" }, { "//api.groq.com", "groq" }, { "//api.mistral.ai", "mistral_ai" },
        { "//api.deepseek.com", "deepseek" }, { "//api.x.ai", "x_ai" }, { "//api.perplexity.ai", "perplexity" },
    };

    for (size_t i = 0; i < SI_COUNT(hosts); i++) {
        if (strstr(p->base_url, hosts[i][0]) != NULL) {
            return hosts[i][1];
        }
    }
    for (size_t i = 0; i < SI_COUNT(kinds); i++) {
        if (strcmp(kinds[i][0], p->kind) == 0) {
            return kinds[i][1];
        }
    }
    return p->kind;
}

static bool of_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '_';
}

/* Where a host of n bytes stands as a word of its own; NULL: nowhere. */
static char *find_host(char *text, const char *host, size_t n)
{
    for (char *p = text; strlen(p) >= n; p++) {
        if (strncasecmp(p, host, n) == 0 && (p == text || !of_word(p[-1])) && !of_word(p[n])) {
            return p;
        }
    }
    return NULL;
}

void provider_hide(llm_error_t *err, const conf_provider_t *p)
{
    static const char shown[] = "[provider]";
    const char       *scheme = strstr(p->base_url, "://"), *host, *at;
    char              whole[sizeof err->detail], *from = err->detail, *found;
    size_t            n;

    if (scheme == NULL) {
        return;
    }
    at = memchr(scheme + 3, '@', strcspn(scheme + 3, "/?#"));
    host = at != NULL ? at + 1 : scheme + 3;
    n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    while (n > 0 && (found = find_host(from, host, n)) != NULL) {
        memcpy(whole, found + n, strlen(found + n) + 1);
        (void) snprintf(found, sizeof err->detail - (size_t) (found - err->detail), "%s%s", shown, whole);
        from = SI_MIN(found + sizeof shown - 1, err->detail + strlen(err->detail));
    }
    err->detail[utf8_cut(err->detail, strlen(err->detail))] = '\0';
}

int provider_fail(llm_error_t *err, int rc, const char *code, int status, bool retryable, const char *fmt, ...)
{
    va_list ap;
    int     n;

    snprintf(err->code, sizeof err->code, "%s", code);
    va_start(ap, fmt);
    n = vsnprintf(err->detail, sizeof err->detail, fmt, ap);
    va_end(ap);
    if (n >= (int) sizeof err->detail) {
        err->detail[utf8_cut(err->detail, sizeof err->detail - 1)] = '\0';
    }
    err->status = status;
    err->retryable = retryable;
    return rc;
}
