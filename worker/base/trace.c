#include "base/trace.h"

#include <stdio.h>

#include "base/util.h"

#define DRAWN_DIGITS  14

/* n lower-case hex digits, not all zero if `some`. */
static bool is_hex(const char *p, size_t n, bool some)
{
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f'))) {
            return false;
        }
        any = any || p[i] != '0';
    }
    return any || !some;
}

static unsigned digit(char c)
{
    return (unsigned) (c <= '9' ? c - '0' : c - 'a' + 10);
}

bool trace_id_ok(str_t s)
{
    return s.n == TRACE_ID_LEN && is_hex(s.p, s.n, true);
}

bool trace_parse(str_t h, trace_t *out)
{
    const char *p = h.p;

    while (h.n > 0 && (*p == ' ' || *p == '\t')) {
        p++;
        h.n--;
    }
    while (h.n > 0 && (p[h.n - 1] == ' ' || p[h.n - 1] == '\t')) {
        h.n--;
    }
    if (h.n < TRACE_PARENT_LEN || !is_hex(p, 2, false) || memcmp(p, "ff", 2) == 0 || p[2] != '-' || p[35] != '-' || p[52] != '-') {
        return false;
    }
    if (!is_hex(p + 3, TRACE_ID_LEN, true) || !is_hex(p + 36, TRACE_SPAN_LEN, true) || !is_hex(p + 53, 2, false)) {
        return false;
    }
    if (h.n > TRACE_PARENT_LEN && (memcmp(p, "00", 2) == 0 || p[TRACE_PARENT_LEN] != '-')) {
        return false;
    }
    memcpy(out->trace, p + 3, TRACE_ID_LEN);
    memcpy(out->span, p + 36, TRACE_SPAN_LEN);
    out->trace[TRACE_ID_LEN] = out->span[TRACE_SPAN_LEN] = '\0';
    out->sampled = (digit(p[54]) & 1) != 0;
    return true;
}

void trace_header(const trace_t *t, char out[TRACE_PARENT_LEN + 1])
{
    (void) snprintf(out, TRACE_PARENT_LEN + 1, "00-%s-%s-%02d", t->trace, t->span, t->sampled);
}

static void random_hex(char *out, size_t n)
{
    uint8_t bytes[TRACE_ID_LEN / 2];

    do {
        random_bytes(bytes, n / 2);
        hex_encode(out, bytes, n / 2);
    } while (!is_hex(out, n, true));
}

void trace_new_id(char out[TRACE_ID_LEN + 1])
{
    random_hex(out, TRACE_ID_LEN);
}

void trace_new_span(char out[TRACE_SPAN_LEN + 1])
{
    random_hex(out, TRACE_SPAN_LEN);
}

bool trace_drawn(const char *trace_id, double share)
{
    uint64_t v = 0;

    for (size_t i = TRACE_ID_LEN - DRAWN_DIGITS; i < TRACE_ID_LEN; i++) {
        v = v << 4 | digit(trace_id[i]);
    }
    return v < (uint64_t) (share * (double) ((uint64_t) 1 << (4 * DRAWN_DIGITS)));     /* as whole numbers: a share of 1 is all */
}
