#include "base/base.h"

#include <stdio.h>
#include <unistd.h>

#include "base/logger.h"

const char *si_strerror(int rc)
{
    static const char *const names[] = {
        "ok", "invalid input", "limit reached", "timed out", "cancelled", "not now",
        "not found", "exists already", "conflict", "unavailable", "protocol error",
        "closed", "denied", "internal error"
    };

    if (rc > 0) {
        return names[0];
    }
    return (size_t) -(long) rc < SI_COUNT(names) ? names[-rc] : "unknown error";
}

_Noreturn void si_die(const char *fmt, ...)
{
    char msg[1024];
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    log_line(LOG_ALERT, msg, NULL);
    abort();
}

/* The logger works in memory it has already, so that this line is written too. */
static _Noreturn void no_memory(size_t n)
{
    si_die("out of memory: %zu bytes", n);
}

void *si_malloc(size_t n)
{
    void *p = malloc(n ? n : 1);

    if (p == NULL) {
        no_memory(n);
    }
    return p;
}

void *si_calloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);

    if (p == NULL) {
        no_memory(n);
    }
    return p;
}

void *si_realloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);

    if (q == NULL) {
        no_memory(n);
    }
    return q;
}

char *si_strdup(const char *z)
{
    size_t n = strlen(z) + 1;

    return memcpy(si_malloc(n), z, n);
}
