/* Times that clients send. */
#include <time.h>

#include "api/input.h"
#include "api/problem.h"
#include "base/util.h"

/* Two digits, or -1. */
static int two(const char *p)
{
    return p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' ? (p[0] - '0') * 10 + p[1] - '0' : -1;
}

uint64_t input_time(str_t s)
{
    char      text[40];
    struct tm t = { 0 }, same;
    time_t    at;
    char     *p;
    int       h, m;

    if (s.n >= sizeof(text)) {
        return 0;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (s.n < 20 || text[4] != '-' || text[10] != 'T' || !(p = strptime(text, "%Y-%m-%dT%H:%M:%S", &t)) || p != text + 19) {
        return 0;
    }
    same = t;
    at = timegm(&same);
    if (at <= 0 || same.tm_mday != t.tm_mday || same.tm_sec != t.tm_sec) {
        return 0;                               /* there is no 31st of February */
    }
    if (*p == '.') {
        p += 1 + strspn(p + 1, "0123456789");
    }
    if (strcmp(p, "Z") != 0) {
        if (strlen(p) != 6 || (*p != '+' && *p != '-') || p[3] != ':' || (h = two(p + 1)) < 0 || h > 23 || (m = two(p + 4)) < 0
            || m > 59)
        {
            return 0;
        }
        at -= (*p == '+' ? 1 : -1) * (h * 3600 + m * 60);
    }
    return at > 0 ? (uint64_t) at * 1000 : 0;
}

int co_input_time(request_t *r, const json_t *o, const char *name, uint64_t *out)
{
    str_t text;

    *out = 0;
    if (co_input_string(r, o, name, false, 40, &text)) {
        return -1;
    }
    if (!text.p) {
        return 0;
    }
    *out = input_time(text);
    if (*out <= clock_wall_ms()) {
        co_problem(r->call, 422, "invalid_field", name, "must be a time to come, as 2030-01-31T12:00:00Z");
        return -1;
    }
    return 0;
}
