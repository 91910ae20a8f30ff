#include "si_field.h"

#include <string.h>
#include <strings.h>

#define ARG       "ticket="
#define PROTOCOL  "si.bearer."

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

size_t si_field_cookie(si_field_text_t list, si_field_text_t name, si_field_text_t *value)
{
    size_t found = 0;

    for (size_t at = 0, next; at < list.n; at = next + 1) {
        const char *semicolon = memchr(list.p + at, ';', list.n - at);
        next = semicolon ? (size_t) (semicolon - list.p) : list.n;
        while (at < next && blank(list.p[at])) {
            at++;
        }
        if (next - at > name.n && list.p[at + name.n] == '=' && memcmp(list.p + at, name.p, name.n) == 0) {
            *value = (si_field_text_t) { list.p + at + name.n + 1, next - at - name.n - 1 };
            found++;
        }
    }
    return found;
}

bool si_field_bearer(si_field_text_t field, si_field_text_t *token)
{
    size_t at = 7;

    if (field.n < 8 || strncasecmp(field.p, "Bearer ", 7) != 0) {
        return false;
    }
    while (at < field.n && field.p[at] == ' ') {
        at++;
    }
    *token = (si_field_text_t) { field.p + at, field.n - at };
    return true;
}

bool si_field_subprotocol(si_field_text_t list, si_field_text_t *token)
{
    const size_t len = sizeof(PROTOCOL) - 1;

    for (size_t at = 0; at + len <= list.n; at++) {
        size_t end = at + len;
        if (memcmp(list.p + at, PROTOCOL, len) != 0) {
            continue;
        }
        while (end < list.n && list.p[end] != ',' && !blank(list.p[end])) {
            end++;
        }
        *token = (si_field_text_t) { list.p + at + len, end - at - len };
        return true;
    }
    return false;
}

bool si_field_ticket(si_field_text_t text, bool begun, si_field_text_t *value)
{
    const size_t len = sizeof(ARG) - 1;

    for (size_t at = 0; at + len <= text.n; begun = text.p[at] == '?' || text.p[at] == '&', at++) {
        size_t end = at + len;
        if (!begun || strncasecmp(text.p + at, ARG, len) != 0) {
            continue;
        }
        while (end < text.n && text.p[end] != '&' && text.p[end] != '#' && (unsigned char) text.p[end] > ' ') {
            end++;
        }
        *value = (si_field_text_t) { text.p + at + len, end - at - len };
        return true;
    }
    return false;
}

void si_field_hide(si_field_text_t text, bool begun)
{
    si_field_text_t value;

    while (si_field_ticket(text, begun, &value)) {
        memset(value.p, '*', value.n);
        text.n -= (size_t) (value.p + value.n - text.p);
        text.p = value.p + value.n;
        begun = false;
    }
}

size_t si_field_members(si_field_text_t list, si_field_text_t *last, size_t n)
{
    size_t found = 0;

    for (size_t at = 0; ; ) {
        const char *comma = at < list.n ? memchr(list.p + at, ',', list.n - at) : NULL;
        size_t      end = comma ? (size_t) (comma - list.p) : list.n;

        memmove(last + 1, last, (n - 1) * sizeof(*last));
        last[0] = (si_field_text_t) { list.p + at, end - at };
        found++;
        if (comma == NULL) {
            return found;
        }
        at = end + 1;
    }
}

bool si_field_addr(si_field_text_t text, bool port, si_field_text_t *addr)
{
    char *p = text.p, *last = text.p + text.n, *end;

    while (p < last && blank(*p)) {
        p++;
    }
    while (p < last && blank(last[-1])) {
        last--;
    }
    end = last;
    while (port && last > p && last[-1] >= '0' && last[-1] <= '9') {
        last--;
    }
    if (port && (last == end || last == p || *--last != ':')) {
        return false;
    }
    if (port && last - p > 2 && *p == '[' && last[-1] == ']') {
        p++;
        last--;
    }
    *addr = (si_field_text_t) { p, (size_t) (last - p) };
    return true;
}
