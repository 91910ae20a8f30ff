/* What every file of the worker may use: error codes, strings, small helpers. */
#ifndef SI_BASE_H
#define SI_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* 1 in a build with AddressSanitizer. */
#if defined(__SANITIZE_ADDRESS__)
#define SI_ASAN  1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SI_ASAN  1
#endif
#endif
#ifndef SI_ASAN
#define SI_ASAN  0
#endif

/* Functions return 0 (or a count) or one of these. The message is logged where the failure happens. */
enum {
    SI_OK = 0,
    SI_EINVAL = -1,      /* the caller's or the client's input is wrong */
    SI_ENOMEM = -2,      /* a stated maximum is reached (true lack of memory ends the process) */
    SI_ETIMEDOUT = -3,   /* the deadline passed */
    SI_ECANCELED = -4,   /* the coroutine was cancelled */
    SI_EAGAIN = -5,      /* not now: overload, queue full */
    SI_ENOENT = -6,      /* no such thing */
    SI_EEXIST = -7,      /* unique violation */
    SI_ECONFLICT = -8,   /* a race was lost, a version or a fence did not match */
    SI_EUNAVAIL = -9,    /* a store or a provider cannot be reached */
    SI_EPROTO = -10,     /* the peer broke its protocol */
    SI_ECLOSED = -11,    /* the other side has gone */
    SI_EDENIED = -12,    /* not authenticated or not allowed */
    SI_EINTERNAL = -13   /* a bug or an SQL error; details are in the log */
};

/* "timed out" for SI_ETIMEDOUT, and so on. Static. */
const char *si_strerror(int rc);

/* Bytes that are not owned and not terminated. */
typedef struct {
    const char *p;
    size_t      n;
} str_t;

#define STR(literal)  ((str_t) { (literal), sizeof(literal) - 1 })
#define STR_NULL      ((str_t) { NULL, 0 })
/* For printf's "%.*s". */
#define STR_ARG(s)    (int) (s).n, (s).p ? (s).p : ""

static inline str_t str_of(const char *z) { return (str_t) { z, z ? strlen(z) : 0 }; }

static inline bool str_eq(str_t a, str_t b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Most are told apart by the first byte. */
static inline bool str_is(str_t a, const char *z) { return (a.n == 0 || z == NULL || a.p[0] == z[0]) && str_eq(a, str_of(z)); }

/* What a hexadecimal digit of either case stands for, or -1. */
static inline int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#define SI_MIN(a, b)     ((a) < (b) ? (a) : (b))
#define SI_MAX(a, b)     ((a) > (b) ? (a) : (b))
#define SI_COUNT(array)  (sizeof(array) / sizeof((array)[0]))

#define container_of(ptr, type, member) \
    ((type *) (void *) ((char *) (ptr) - offsetof(type, member)))

/* Ends the process with a line in the log: for broken invariants and for lack of memory. */
_Noreturn void si_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* malloc, calloc, realloc, strdup that end the process when memory is out. Freed with free(). */
void *si_malloc(size_t n);
void *si_calloc(size_t n);
void *si_realloc(void *p, size_t n);
char *si_strdup(const char *z);

#endif
