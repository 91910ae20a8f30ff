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
