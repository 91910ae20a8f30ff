/* TAP for unit tests in C: ok(), is_int(), is_str(), is_mem(); main returns done_testing(). */
#ifndef SI_TAP_H
#define SI_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static struct { int run, failed; } tap __attribute__((unused));

static inline bool ok(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline bool ok(bool good, const char *fmt, ...)
{
    va_list ap;

    tap.run++;
    tap.failed += !good;
    printf("%sok %d - ", good ? "" : "not ", tap.run);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);     /* a child that is forked later must not print it again */
    return good;
}

static inline void diag(const char *fmt, ...)
{
    va_list ap;

    printf("# ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
}

static inline bool is_int(long long got, long long want, const char *name)
{
    if (!ok(got == want, "%s", name)) {
        diag("  got %lld, expected %lld", got, want);
    }
    return got == want;
}

static inline bool is_str(const char *got, const char *want, const char *name)
{
    bool same = got == want || (got != NULL && want != NULL && strcmp(got, want) == 0);

    if (!ok(same, "%s", name)) {
        diag("  got '%s', expected '%s'", got ? got : "(null)", want ? want : "(null)");
    }
    return same;
}

static inline bool is_mem(const void *got, size_t n, const char *want, const char *name)
{
    bool same = n == strlen(want) && memcmp(got, want, n) == 0;

    if (!ok(same, "%s", name)) {
        diag("  got '%.*s' (%zu bytes), expected '%s'", (int) n, (const char *) got, n, want);
    }
    return same;
}

/* The plan comes last, so a test that dies early fails. Returns the exit status. */
static inline int done_testing(void)
{
    printf("1..%d\n", tap.run);
    return tap.failed ? 1 : 0;
}

#endif
