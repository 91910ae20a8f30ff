/*
 * libFuzzer target: the edge's scanners of header fields and addresses. The first byte says which; what they find lies in
 * what they were given, a byte too far is seen, and a slower way finds the same. Run by scripts/fuzz.
 */
#include "ngx_si_module/si_field.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

static void within(si_field_text_t part, si_field_text_t whole)
{
    check(part.p >= whole.p && part.n <= whole.n && part.p - whole.p <= (ptrdiff_t) (whole.n - part.n));
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The name, a line end, and the list. */
static void try_cookie(si_field_text_t in)
{
    char           *nl = in.n > 0 ? memchr(in.p, '\n', in.n) : NULL;
    si_field_text_t name, list, value = { NULL, 0 };
    size_t          found = 0, at = 0;

    if (nl == NULL || nl == in.p || memchr(in.p, ';', (size_t) (nl - in.p)) || memchr(in.p, '=', (size_t) (nl - in.p)) || blank(in.p[0])) {
        return;
    }
    name = (si_field_text_t) { in.p, (size_t) (nl - in.p) };
    list = (si_field_text_t) { nl + 1, in.n - name.n - 1 };
    for (size_t i = 0; i <= list.n; i++) {
        if (i < list.n && list.p[i] != ';') {
            continue;
        }
        while (at < i && blank(list.p[at])) {
            at++;
        }
        char *equals = memchr(list.p + at, '=', i - at);
        found += equals != NULL && (size_t) (equals - list.p) - at == name.n && memcmp(list.p + at, name.p, name.n) == 0;
        at = i + 1;
    }
    check(si_field_cookie(list, name, &value) == found);
    if (found > 0) {
        within(value, list);
        check(memchr(value.p, ';', value.n) == NULL && value.p[-1] == '=');
    }
}

/* What is hidden stays so, and nothing else is changed. */
static void try_ticket(si_field_text_t in, bool begun)
{
    char           *before = malloc(in.n + 1);
    si_field_text_t first = { NULL, 0 }, rest = in, value;

    check(before != NULL);
    memcpy(before, in.p, in.n);
    bool found = si_field_ticket(in, begun, &first);
    si_field_hide(in, begun);
    for (size_t i = 0; i < in.n; i++) {
        check(in.p[i] == before[i] || in.p[i] == '*');
    }
    if (found) {
        within(first, in);
    } else {
        check(memcmp(before, in.p, in.n) == 0);
    }
    while (si_field_ticket(rest, begun, &value)) {
        within(value, rest);
        for (size_t i = 0; i < value.n; i++) {
            check(value.p[i] == '*');
        }
        rest = (si_field_text_t) { value.p + value.n, (size_t) (rest.p + rest.n - value.p) - value.n };
        begun = false;
    }
    free(before);
}

static void try_token(si_field_text_t in, bool bearer)
{
    si_field_text_t token;

    if (bearer && si_field_bearer(in, &token)) {
        within(token, in);
        check(token.p + token.n == in.p + in.n && (token.n == 0 || token.p[0] != ' '));
    } else if (!bearer && si_field_subprotocol(in, &token)) {
        within(token, in);
        check(memcmp(token.p - 10, "si.bearer.", 10) == 0);
        check(memchr(token.p, ',', token.n) == NULL && memchr(token.p, ' ', token.n) == NULL);
    }
}

static void try_members(si_field_text_t in)
{
    si_field_text_t last[8] = { { NULL, 0 } };
    size_t          n = in.n > 0 ? 1 + (uint8_t) in.p[0] % 8 : 1, commas = 0, found;

    if (in.n == 0) {
        return;
    }
    in.p++;
    in.n--;
    for (size_t i = 0; i < in.n; i++) {
        commas += in.p[i] == ',';
    }
    found = si_field_members(in, last, n);
    check(found == commas + 1);
    for (size_t i = 0; i < n && i < found; i++) {
        within(last[i], in);
        check(last[i].n == 0 || memchr(last[i].p, ',', last[i].n) == NULL);
        check(last[i].p + last[i].n == (i == 0 ? in.p + in.n : last[i - 1].p - 1));
    }
}

static void try_addr(si_field_text_t in)
{
    si_field_text_t plain, bare;

    check(si_field_addr(in, false, &plain));
    within(plain, in);
    check(plain.n == 0 || (!blank(plain.p[0]) && !blank(plain.p[plain.n - 1])));
    if (si_field_addr(in, true, &bare)) {
        within(bare, plain);
        check(bare.n < plain.n && plain.p[plain.n - 1] >= '0' && plain.p[plain.n - 1] <= '9');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    si_field_text_t in;

    if (n == 0) {
        return 0;
    }
    in.n = n - 1;
    in.p = malloc(in.n + !in.n);
    check(in.p != NULL);
    memcpy(in.p, p + 1, in.n);
    switch (p[0] % 7) {
    case 0: try_cookie(in); break;
    case 1: try_ticket(in, true); break;
    case 2: try_token(in, true); break;
    case 3: try_token(in, false); break;
    case 4: try_members(in); break;
    case 5: try_addr(in); break;
    case 6: try_ticket(in, false); break;
    }
    free(in.p);
    return 0;
}
