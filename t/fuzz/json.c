/*
 * libFuzzer target: json_read() takes what jansson takes, as deep as is allowed, and makes the same of it; and so do those
 * who use it. Run by scripts/fuzz.
 */
#include "base/json_read.h"

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

/* Members and elements in the same order, too. */
static bool same(json_t *a, json_t *b)
{
    buf_t x, y;
    bool  alike = json_equal(a, b) != 0;

    buf_init(&x, SIZE_MAX);
    buf_init(&y, SIZE_MAX);
    check(json_dump(&x, a) == 0 && json_dump(&y, b) == 0);
    alike = alike && x.n == y.n && memcmp(x.p, y.p, x.n) == 0;
    buf_free(&x);
    buf_free(&y);
    return alike;
}

static bool has_long_number(const char *p, size_t n)
{
    size_t run = 0;

    for (size_t i = 0; i < n && run < 63; i++) {
        run = memchr("0123456789+-.eE", p[i], 15) != NULL ? run + 1 : 0;
    }
    return run >= 63;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    arena_t    *a = arena_new(1024);
    char       *text = si_malloc(n > 0 ? n : 1);    /* of this size: nobody may read behind it */
    json_t     *ours, *parsed, *loose, *theirs;
    const char *why;

    memcpy(text, p, n);
    theirs = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    ours = json_read((str_t) { text, n });
    check(ours == NULL || (theirs != NULL && same(ours, theirs)));
    parsed = json_parse(a, (str_t) { text, n }, &why);
    check((parsed == NULL) == (why != NULL));
    check(parsed != NULL ? theirs != NULL && same(parsed, theirs) : theirs == NULL || strstr(why, "nested deeper") != NULL);
    /* jansson's lexer loses a NUL behind a number or a word. */
    check(ours != NULL || parsed == NULL || has_long_number(text, n) || memchr(text, '\0', n) != NULL);
    loose = json_parse_loose(a, (str_t) { text, n }, &why);
    check(parsed == NULL || (loose != NULL && same(loose, parsed)));
    json_decref(ours);
    json_decref(parsed);
    json_decref(loose);
    json_decref(theirs);
    free(text);
    arena_free(a);
    return 0;
}
