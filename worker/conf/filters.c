/* What the table of keys cannot say about filters and the safety of models. */
#include "base/pattern.h"
#include "conf/keys.h"

#define PATTERNS_MAX  64u

const char *conf_safety_wrong(const conf_model_t *m)
{
    if (m->safety.n > 0 && strcmp(m->provider->kind, "gemini") != 0) {
        return "safety: only a provider of kind gemini has it";
    }
    if (m->guardrail[0] != '\0' && strcmp(m->provider->kind, "bedrock") != 0) {
        return "guardrail: only a provider of kind bedrock has it";
    }
    for (size_t i = 0; i < m->safety.n; i++) {
        const char *is = strchr(m->safety.p[i], '=');

        if (is == NULL || is == m->safety.p[i] || is[1] == '\0') {
            return "safety: expected CATEGORY=THRESHOLD";
        }
    }
    return NULL;
}

const char *conf_filter_wrong(arena_t *a, const conf_filter_t *f)
{
    const char *err;

    for (const char *p = f->replacement; *p != '\0'; p++) {
        if ((unsigned char) *p < ' ' || *p == 0x7f || *p == '"' || *p == '\\') {
            return "replacement: expected a text without quotes, backslashes and control characters";
        }
    }
    if (f->patterns.n > PATTERNS_MAX) {
        return arena_printf(a, "patterns: expected %u at most", PATTERNS_MAX);
    }
    for (size_t i = 0; i < f->patterns.n; i++) {
        pattern_t *p = pattern_new(a, f->patterns.p[i], false, &err);

        if (p == NULL) {
            return arena_printf(a, "patterns: the %zu. is no regular expression: %s", i + 1, err);
        }
        pattern_free(p);
    }
    return NULL;
}
