/* What a client of a dialect says of answers that were given before, and what it is told of them. */
#include <strings.h>

#include "api/face.h"
#include "base/util.h"

/* "max-age=60": its value; *seconds stays as it is when it is none. */
static bool seconds_of(str_t word, uint64_t *seconds)
{
    static const char name[] = "max-age=";
    size_t            n = sizeof name - 1;

    return word.n > n && strncasecmp(word.p, name, n) == 0 && parse_u64((str_t) { word.p + n, word.n - n }, seconds) == 0;
}

static void take(cache_want_t *want, str_t word)
{
    uint64_t age;

    want->no_read |= word.n == 8 && strncasecmp(word.p, "no-cache", 8) == 0;
    want->no_store |= word.n == 8 && strncasecmp(word.p, "no-store", 8) == 0;
    if (seconds_of(word, &age)) {
        want->has_max_age = true;
        want->max_age = SI_MIN(age, (uint64_t) UINT32_MAX);
    }
}

cache_want_t face_cache_want(call_t *call)
{
    cache_want_t want = { .no_read = false };
    str_t        h = call_header(call, "cache-control");

    while (h.n > 0) {
        const char *comma = memchr(h.p, ',', h.n);
        size_t      n = comma != NULL ? (size_t) (comma - h.p) : h.n;
        str_t       word = { h.p, n };

        while (word.n > 0 && (word.p[0] == ' ' || word.p[0] == '\t')) {
            word = (str_t) { word.p + 1, word.n - 1 };
        }
        while (word.n > 0 && (word.p[word.n - 1] == ' ' || word.p[word.n - 1] == '\t')) {
            word.n--;
        }
        take(&want, word);
        h = comma != NULL ? (str_t) { comma + 1, h.n - n - 1 } : STR("");
    }
    return want;
}

void face_cache_status(call_head_t *head, const gateway_call_t *g)
{
    const char *status = gateway_cache_status(g);

    if (status != NULL) {
        head->headers[head->nheaders][0] = "Cache-Status";
        head->headers[head->nheaders++][1] = status;
    }
}
