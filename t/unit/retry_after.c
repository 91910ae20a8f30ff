/* How long a provider asks to be left alone: every form that providers have. */
#include "llm/retry_after.h"
#include "tap.h"

#define NOW  1700000000000ull       /* Tue, 14 Nov 2023 22:13:20 GMT */

static const char *header(void *arg, const char *name)
{
    for (const char *const *p = arg; *p != NULL; p += 2) {
        if (strcmp(*p, name) == 0) {
            return p[1];
        }
    }
    return NULL;
}

static void values(void)
{
    static const struct {
        const char *text;
        uint64_t    ms;
    } all[] = {
        { "0", 1 }, { "1", 1000 }, { "120", 120000 }, { "1.5", 1500 }, { " 7", 7000 }, { "99999999", RETRY_AFTER_MAX },
        { "1s", 1000 }, { "1.5s", 1500 }, { "6m0s", 360000 }, { "1h2m3s", 3723000 }, { "250ms", 250 }, { "1m30.5s", 90500 }, { "2d", RETRY_AFTER_MAX },
        { "0s", 1 }, { "20MS", 20 },
        { "1700000010", 10000 }, { "1700000010.5", 10500 }, { "1700000002500", 2500 }, { "1699999999", 1 },
        { "Tue, 14 Nov 2023 22:13:30 GMT", 10000 }, { "Tuesday, 14-Nov-23 22:13:25 GMT", 5000 }, { "Tue Nov 14 22:13:21 2023", 1000 },
        { "Tue, 14 Nov 2023 22:13:00 GMT", 1 }, { "2023-11-14T22:13:40Z", 20000 }, { "2023-11-14T22:13:40.25Z", 21000 },
        { "2023-11-14T22:13:40+00:00", 20000 },
        { "", 0 }, { "soon", 0 }, { "-5", 0 }, { "5 s", 0 }, { "5x", 0 }, { "1e3", 0 }, { "s", 0 }, { "5s now", 0 }, { "Tue, 14 Nov", 0 },
        { "1700000010 GMT", 0 }, { "nan", 0 }, { "inf", 0 },
    };

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        ok(retry_after_value(all[i].text, NOW) == all[i].ms, "\"%s\" is %llu ms", all[i].text, (unsigned long long) all[i].ms);
    }
}

static void headers(void)
{
#define ASKS(status, ms, what, ...) \
    is_int((long long) retry_after(header, (void *) (uintptr_t) (const char *const []) { __VA_ARGS__, NULL }, status, NOW), ms, what)
    ASKS(429, 1500, "retry-after-ms goes first", "retry-after-ms", "1500", "retry-after", "9");
    ASKS(429, 9000, "unless it is no number", "retry-after-ms", "x", "retry-after", "9");
    ASKS(503, 9000, "Retry-After counts for any status", "retry-after", "9", "x-ratelimit-reset", "1");
    ASKS(503, 0, "a reset only for 429", "x-ratelimit-reset-requests", "1s");
    ASKS(429, 1000, "the only reset", "x-ratelimit-reset-requests", "1s");
    ASKS(429, 360000, "the one that is used up", "x-ratelimit-reset-requests", "1s", "x-ratelimit-remaining-requests", "9",
         "x-ratelimit-reset-tokens", "6m0s", "x-ratelimit-remaining-tokens", "0");
    ASKS(429, 360000, "of two that are the longer", "x-ratelimit-reset-requests", "1s", "x-ratelimit-remaining-requests", "0",
         "x-ratelimit-reset-tokens", "6m0s", "x-ratelimit-remaining-tokens", "0");
    ASKS(429, 1000, "else the shorter", "x-ratelimit-reset-requests", "1s", "x-ratelimit-reset-tokens", "6m0s");
    ASKS(429, 30000, "x-ratelimit-reset as a time", "x-ratelimit-reset", "1700000030");
    ASKS(429, 0, "nothing", "x-request-id", "1");
}

static void bodies(void)
{
    is_int((long long) retry_after_body(STR("{\"error\":{\"code\":429,\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.Help\"},"
                                            "{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"34.4s\"}]}}")), 34400, "Google's RetryInfo");
    is_int((long long) retry_after_body(STR("[{\"error\":{\"details\":[{\"@type\":\"x/google.rpc.RetryInfo\",\"retryDelay\":\"2s\"}]}}]")), 2000, "in a list");
    is_int((long long) retry_after_body(STR("{\"error\":{\"details\":[{\"@type\":\"RetryInfo\",\"retryDelay\":3}]}}")), 0, "not a number");
    is_int((long long) retry_after_body(STR("{\"error\":{\"details\":7}}")), 0, "no list");
    is_int((long long) retry_after_body(STR("no JSON")), 0, "no JSON");
    is_int((long long) retry_after_body(STR_NULL), 0, "no body");
}

int main(void)
{
    values();
    headers();
    bodies();
    return done_testing();
}
