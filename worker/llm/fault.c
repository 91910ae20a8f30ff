#include "llm/fault.h"

#include <stdio.h>

/* Whether text holds one of the words (lower case), in any case. */
static bool says(str_t text, const char *const *words)
{
    for (; *words != NULL; words++) {
        size_t n = strlen(*words);

        for (size_t i = 0; i + n <= text.n; i++) {
            size_t k = 0;
            while (k < n && ((text.p[i + k] | 0x20) == (*words)[k] || text.p[i + k] == (*words)[k])) {
                k++;
            }
            if (k == n) {
                return true;
            }
        }
    }
    return false;
}

void fault_reason(llm_error_t *err, str_t body)
{
    /* OpenAI, Azure, vLLM, llama.cpp; Anthropic; Gemini; Bedrock; Mistral; Ollama. */
    static const char *const context[] = { "context_length", "context length", "maximum context", "context window", "prompt is too long",
                                           "input is too long", "too many input tokens", "exceeds the maximum number of tokens",
                                           "input token count", "exceeds the available context", "exceed_context", "maximum prompt length",
                                           "too large for model", "context size", "too_many_prompt_tokens", "reduce the length of the messages", NULL };
    static const char *const filter[] = { "content_filter", "content filter", "content_policy", "content policy", "content management policy",
                                          "responsibleaipolicyviolation", "safety system", "prohibited_content", "usage policies", NULL };

    /* Anthropic's of an account without money, xAI's of a key that is none: neither has a status of its own. */
    static const char *const account[] = { "credit balance is too low", "incorrect api key", NULL };
    bool failed = strcmp(err->code, "provider_unavailable") == 0 && err->status == 500;     /* so says llama.cpp of a prompt that is too long */

    if (strcmp(err->code, "provider_rejected") != 0 && !failed) {
        return;
    }
    if (!failed && says(body, account)) {
        (void) provider_fail(err, SI_EDENIED, "provider_auth", err->status, false, "HTTP %d: the provider refuses the API key, or its account", err->status);
    } else if (says(body, context)) {
        snprintf(err->code, sizeof err->code, "context_length");
    } else if (!failed && says(body, filter)) {
        snprintf(err->code, sizeof err->code, "content_filter");
    }
}

static fault_t of_code(const llm_error_t *err)
{
    static const struct {
        const char *code;
        fault_t     fault;
    } codes[] = {
        { "provider_rate_limited", FAULT_BUSY }, { "provider_auth", FAULT_REFUSED }, { "context_length", FAULT_CONTEXT },
        { "content_filter", FAULT_FILTER }, { "provider_rejected", FAULT_REQUEST }, { "unsupported", FAULT_REQUEST },
        { "provider_timeout", FAULT_SLOW }, { "answer_too_large", FAULT_SLOW },
    };

    for (size_t i = 0; i < SI_COUNT(codes); i++) {
        if (strcmp(codes[i].code, err->code) == 0) {
            return codes[i].fault;
        }
    }
    return err->retryable ? FAULT_AGAIN : FAULT_SLOW;
}

fault_t fault_of(int rc, const llm_error_t *err, uint64_t now, uint64_t deadline)
{
    if (rc == SI_ETIMEDOUT && now >= deadline) {
        return FAULT_OVER;
    }
    if (err->status == 409) {
        return FAULT_AGAIN;             /* a lock on their side */
    }
    return err->status == 402 ? FAULT_REFUSED : of_code(err);
}

bool fault_counts(fault_t f)
{
    return f == FAULT_AGAIN || f == FAULT_SLOW;
}
