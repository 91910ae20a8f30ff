#include "llm/retry_after.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "base/arena.h"
#include "base/json.h"

#define EPOCH_SECONDS  1000000000.0     /* a larger number is a time and no span: 2001 */
#define EPOCH_MILLIS   100000000000.0

static uint64_t span(double ms)
{
    return !(ms >= 0) ? 0 : ms < 1 ? 1 : ms > (double) RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (uint64_t) ms;
}

static uint64_t until(double at, uint64_t now)
{
    return at <= (double) now ? 1 : span(at - (double) now);
}

/* A decimal without sign and exponent; the rest of the text, or NULL. */
static const char *decimal(const char *p, double *v)
{
    double scale = 1;

    if (*p < '0' || *p > '9') {
        return NULL;
    }
    for (*v = 0; *p >= '0' && *p <= '9'; p++) {
        *v = *v * 10 + (*p - '0');
    }
    if (*p == '.') {
        for (p++; *p >= '0' && *p <= '9'; p++) {
            scale /= 10;
            *v += (*p - '0') * scale;
        }
    }
    return p;
}

/* Milliseconds of a unit at p; its length in *n. */
static double unit_ms(const char *p, size_t *n)
{
    *n = strncasecmp(p, "ms", 2) == 0 ? 2 : 1;
    if (*n == 2) {
        return 1;
    }
    return *p == 's' || *p == 'S' ? 1000 : *p == 'm' || *p == 'M' ? 60e3 : *p == 'h' || *p == 'H' ? 3600e3 : *p == 'd' || *p == 'D' ? 86400e3 : 0;
}

/* "6m0s" */
static uint64_t units(const char *p)
{
    double sum = 0, v = 0, ms;
    size_t n = 0;

    while (*p != '\0') {
        p = decimal(p, &v);
        ms = p != NULL ? unit_ms(p, &n) : 0;
        if (ms == 0) {
            return 0;
        }
        sum += v * ms;
        p += n;
    }
    return span(sum);
}

/* Seconds since 1970, or -1. */
static double date(const char *text)
{
    static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%Y-%m-%dT%H:%M:%S" };

    for (size_t i = 0; i < SI_COUNT(forms); i++) {
        struct tm   tm = { .tm_mday = 1 };
        const char *end = strptime(text, forms[i], &tm);
        double      fraction = 0;

        if (end != NULL && *end == '.' && i == 3) {
            end += strspn(end, ".0123456789");
            fraction = 1;                               /* rounded up */
        }
        if (end != NULL && (*end == '\0' || (i == 3 && (strcmp(end, "Z") == 0 || strcmp(end, "+00:00") == 0)))) {
            return (double) timegm(&tm) + fraction;
        }
    }
    return -1;
}

uint64_t retry_after_value(const char *text, uint64_t now)
{
    const char *end;
    double      v;

    text += strspn(text, " \t");
    end = decimal(text, &v);
    if (end != NULL && *end == '\0') {
        return v >= EPOCH_MILLIS ? until(v, now) : v >= EPOCH_SECONDS ? until(v * 1000, now) : span(v * 1000);
    }
    v = date(text);
    return v >= 0 ? until(v * 1000, now) : *text != '\0' ? units(text) : 0;
}

/* x-ratelimit-reset…: of those that are used up the longest, else the shortest. */
static uint64_t rate_limit_reset(retry_header_fn header, void *arg, uint64_t now)
{
    static const char *const pairs[][2] = {
        { "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests" },
        { "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens" },
        { "x-ratelimit-reset", "x-ratelimit-remaining" },
    };
    uint64_t used_up = 0, shortest = 0;

    for (size_t i = 0; i < SI_COUNT(pairs); i++) {
        const char *reset = header(arg, pairs[i][0]), *left = header(arg, pairs[i][1]);
        uint64_t    ms = reset != NULL ? retry_after_value(reset, now) : 0;

        if (left != NULL && strcmp(left, "0") == 0) {
            used_up = SI_MAX(used_up, ms);
        }
        shortest = ms > 0 && (shortest == 0 || ms < shortest) ? ms : shortest;
    }
    return used_up > 0 ? used_up : shortest;
}

uint64_t retry_after(retry_header_fn header, void *arg, int status, uint64_t now)
{
    const char *text = header(arg, "retry-after-ms"), *end;
    double      v;
    uint64_t    ms;

    if (text != NULL) {
        end = decimal(text, &v);
        if (end != NULL && *end == '\0') {
            return span(v);
        }
    }
    text = header(arg, "retry-after");
    ms = text != NULL ? retry_after_value(text, now) : 0;
    return ms > 0 || status != 429 ? ms : rate_limit_reset(header, arg, now);
}

uint64_t retry_after_body(str_t body)
{
    arena_t    *scratch = arena_new(512);
    const char *why;
    json_t     *top = json_parse_loose(scratch, body, &why), *details, *d;
    size_t      i;
    uint64_t    ms = 0;

    details = json_object_get(json_object_get(json_is_array(top) ? json_array_get(top, 0) : top, "error"), "details");
    json_array_foreach(details, i, d) {
        const char *type = json_string_value(json_object_get(d, "@type")), *delay = json_string_value(json_object_get(d, "retryDelay"));
        size_t      n = type != NULL ? strlen(type) : 0;

        if (n >= 9 && strcmp(type + n - 9, "RetryInfo") == 0 && delay != NULL) {
            ms = SI_MAX(ms, units(delay));
        }
    }
    json_decref(top);
    arena_free(scratch);
    return ms;
}
