#include "base/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define HEAP_KIB  1024u
#define NEST_MAX  32u       /* brackets within brackets */

struct pattern {
    pcre2_code          *code;
    pcre2_match_data    *match;
    pcre2_match_context *bounds;
};

static const char *explain(arena_t *a, int rc, size_t at)
{
    PCRE2_UCHAR text[160] = "";

    (void) pcre2_get_error_message(rc, text, sizeof text);
    return arena_printf(a, "%s (at byte %zu)", (const char *) text, at);
}

static pcre2_code *compile(arena_t *a, const char *text, bool any_case, const char **err)
{
    uint32_t               how = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | (any_case ? PCRE2_CASELESS : 0);
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    pcre2_code            *code;
    PCRE2_SIZE             at;
    int                    rc;

    if (c == NULL) {
        si_die("out of memory");
    }
    pcre2_set_max_pattern_length(c, PATTERN_LEN);
    pcre2_set_parens_nest_limit(c, NEST_MAX);
    code = pcre2_compile((PCRE2_SPTR) text, PCRE2_ZERO_TERMINATED, how, &rc, &at, c);
    pcre2_compile_context_free(c);
    if (code == NULL) {
        *err = explain(a, rc, at);
    }
    return code;
}

pattern_t *pattern_new(arena_t *a, const char *text, bool any_case, const char **err)
{
    pcre2_code *code = compile(a, text, any_case, err);
    pattern_t  *p;
    uint32_t    behind = 0;

    if (code == NULL) {
        return NULL;
    }
    p = si_calloc(sizeof *p);
    p->code = code;
    p->match = pcre2_match_data_create(1, NULL);
    p->bounds = pcre2_match_context_create(NULL);
    if (p->match == NULL || p->bounds == NULL) {
        si_die("out of memory");
    }
    (void) pcre2_pattern_info(code, PCRE2_INFO_MAXLOOKBEHIND, &behind);
    if (behind > PATTERN_LOOKBEHIND) {
        *err = arena_printf(a, "it looks more than %u characters behind its match", PATTERN_LOOKBEHIND);
        pattern_free(p);
        return NULL;
    }
    (void) pcre2_set_match_limit(p->bounds, PATTERN_STEPS);
    (void) pcre2_set_depth_limit(p->bounds, PATTERN_STEPS);
    (void) pcre2_set_heap_limit(p->bounds, HEAP_KIB);
    (void) pcre2_jit_compile(code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);    /* where it cannot, the same is interpreted */
    return p;
}

void pattern_free(pattern_t *p)
{
    if (p != NULL) {
        pcre2_match_context_free(p->bounds);
        pcre2_match_data_free(p->match);
        pcre2_code_free(p->code);
        free(p);
    }
}

pattern_rc_t pattern_find(const pattern_t *p, str_t text, size_t from, bool begins, bool ends, size_t *start, size_t *end)
{
    uint32_t          how = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | (begins ? 0 : PCRE2_NOTBOL) | (ends ? 0 : PCRE2_PARTIAL_HARD);
    int               rc = pcre2_match(p->code, (PCRE2_SPTR) (text.n > 0 ? text.p : ""), text.n, from, how, p->match, p->bounds);
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(p->match);

    if (rc == PCRE2_ERROR_NOMATCH) {
        return PATTERN_NONE;
    }
    if (rc < 0 && rc != PCRE2_ERROR_PARTIAL) {
        return PATTERN_LIMIT;
    }
    *start = at[0] < from ? from : at[0];       /* \K may move it */
    *end = at[1] < *start ? *start : at[1];
    return rc == PCRE2_ERROR_PARTIAL ? PATTERN_OPEN : *end > *start ? PATTERN_FOUND : PATTERN_LIMIT;
}
