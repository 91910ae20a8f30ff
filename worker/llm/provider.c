/* The providers by kind. */
#include "llm/provider.h"

#include <stdio.h>

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
