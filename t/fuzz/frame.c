/*
 * libFuzzer target: the frame decoder, fed like a link. Whatever is accepted must stay inside its payload, keep
 * the stated limits, and come out byte for byte the same when it is encoded again. Run by scripts/fuzz.
 */
#include "link/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(int good)
{
    if (!good) {
        abort();
    }
}

/* In memory of just that size, so that the sanitizer sees a step beyond it. */
static void fields(const uint8_t *payload, size_t n)
{
    uint8_t       *copy = malloc(n > 0 ? n : 1), *again = malloc(n > 0 ? n : 1);
    size_t         len = 0;
    const uint8_t *p = copy;
    si_field_t     f;
    int            rc;

    memcpy(copy, payload, n);
    while ((rc = si_field_next(&p, copy + n, &f)) == 1) {
        check(f.tag > 0 && f.tag < SI_T_TAGS);
        check(f.data >= copy + 5 && f.data + f.length <= copy + n && p == f.data + f.length);
        si_field_head(again + len, f.tag, f.length);
        memcpy(again + len + 5, f.data, f.length);
        len += 5 + f.length;
    }
    check(rc == 0 || rc == -1);
    check(memcmp(again, copy, len) == 0 && (rc == -1 || len == n));
    free(copy);
    free(again);
}

/* The same for ASK and GRANT, whose bytes mean one thing each. */
static void ask(const uint8_t *payload, size_t n)
{
    uint8_t   *copy = malloc(n > 0 ? n : 1), again[SI_ASK_HEAD + SI_LIMIT_MAX];
    si_ask_t   a;
    si_grant_t g;

    memcpy(copy, payload, n);
    if (si_ask_get(copy, n, &a)) {
        si_ask_put(again, &a);
        check(n <= sizeof(again) && memcmp(again, copy, n) == 0);
    }
    if (si_grant_get(copy, n, &g)) {
        si_grant_put(again, &g);
        check(n <= sizeof(again) && memcmp(again, copy, n) == 0);
    }
    free(copy);
}

static void keys(const uint8_t *p, size_t n)
{
    uint8_t  *copy = malloc(n > 0 ? n : 1), *again;
    si_keys_t k;

    memcpy(copy, p, n);
    if (si_keys_get(copy, n, &k)) {
        check(si_keys_size(&k) == n && k.name_len > 0 && k.name_len <= SI_KEYS_NAME && k.text_len > 0 && k.text_len <= SI_KEYS_MAX);
        again = malloc(n);
        si_keys_put(again, &k);
        check(memcmp(again, copy, n) == 0);
        free(again);
    }
    free(copy);
}

static void verdict(const uint8_t *p, size_t n)
{
    uint8_t     *copy = malloc(n > 0 ? n : 1), again[SI_VERDICT_MAX];
    si_verdict_t v;

    memcpy(copy, p, n);
    if (si_verdict_get(copy, n, &v)) {
        check(si_verdict_size(&v) == n && n <= sizeof(again));
        si_verdict_put(again, &v);
        check(memcmp(again, copy, n) == 0);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    while (n >= SI_FRAME_HEAD) {
        uint8_t    head[SI_FRAME_HEAD];
        si_frame_t f;

        if (si_frame_get(p, &f) != NULL) {
            break;
        }
        check(f.type > 0 && f.type < SI_F_TYPES && f.length <= SI_FRAME_MAX);
        check(f.length <= si_frame_limit(f.type, f.flags));
        si_frame_put(head, f.type, f.flags, f.id, f.length);
        check(memcmp(head, p, SI_FRAME_HEAD) == 0);
        p += SI_FRAME_HEAD;
        n -= SI_FRAME_HEAD;
        if (f.length > n) {
            break;
        }
        if (f.type == SI_F_HELLO || f.type == SI_F_OPEN || f.type == SI_F_HEAD) {
            fields(p, f.length);
        }
        if (f.type == SI_F_ASK) {
            ask(p, f.length);
        }
        if (f.type == SI_F_PUSH && f.length > 1) {
            keys(p + 1, f.length - 1);
            verdict(p + 1, f.length - 1);
        }
        p += f.length;
        n -= f.length;
    }
    fields(p, n);
    keys(p, n);
    verdict(p, n);
    return 0;
}
