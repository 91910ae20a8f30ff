/* JSON: what is refused and how it is said; depth. */
#include "base/json.h"

#include "tap.h"

static arena_t *a;

static void refused(str_t text, const char *want, const char *name)
{
    const char *err = NULL;
    json_t *v = json_parse(a, text, &err);

    if (!ok(v == NULL && err != NULL && strncmp(err, want, strlen(want)) == 0, "%s", name)) {
        diag("  got '%s'", err ? err : "(no error)");
    }
    json_decref(v);
}

static void accepted(str_t text, const char *want, const char *name)
{
    const char *err = NULL;
    json_t *v = json_parse(a, text, &err);

    is_str(v ? json_text(a, v) : err, want, name);
    json_decref(v);
}

/* "[[[…]]]" of this depth; `close` brackets or none. */
static str_t nested(size_t depth, bool close)
{
    char *p = arena_alloc(a, 2 * depth + 1);

    memset(p, '[', depth);
    memset(p + depth, ']', depth);
    return (str_t) { p, close ? 2 * depth : depth };
}

static void test_parse(void)
{
    const char *err = NULL;

    accepted(STR("{\"a\": [1, 2.5, true, null, \"x\"]}"), "{\"a\":[1,2.5,true,null,\"x\"]}", "an object");
    accepted(STR(" \"text\" "), "\"text\"", "any value");
    accepted(STR("\"[[[[\\\"[[[\""), "\"[[[[\\\"[[[\"", "brackets in a string do not count");
    accepted(STR("\"h\xc3\xa9\""), "\"h\xc3\xa9\"", "UTF-8");

    refused(STR(""), "line 1, column 0: ", "nothing");
    refused(STR("{\"a\":1}\n{\"b\":2}"), "line 2, column 1: end of file expected", "bytes after the value");
    refused(STR("{\n  \"a\": nope}"), "line 2, column 11: invalid token", "line and column");
    refused(STR("{\"a\":1,\"a\":2}"), "line 1, column 10: duplicate object key", "a duplicate key");
    ok(json_parse(a, STR("{\"a\":\"x\\u0000y\"}"), &err) == NULL, "an escaped NUL");
    is_str(err, "line 1, column 15: \\u0000 is not allowed", "which says so");
    refused(STR("{\"a\":\"x\0y\"}"), "line 1, column ", "a raw NUL");
    refused(STR("{\"a\":\"\xff\"}"), "line 1, column ", "invalid UTF-8");
    refused(STR("{\"a\":\"\\ud800\"}"), "line 1, column ", "a lone surrogate");
    refused(STR("[123456789012345678901234567890]"), "line 1, column ", "a number that is too large");
    refused(STR("{\"secret\" 1}"), "line 1, column 11: ':' expected", "the message does not quote the text");
}

static void loose(str_t text, const char *want, const char *name)
{
    const char *err = NULL;
    json_t *v = json_parse_loose(a, text, &err);

    is_str(v ? json_text(a, v) : err, want, name);
    json_decref(v);
}

static void test_loose(void)
{
    loose(STR("{\"seed\":18446744073709551615,\"n\":-9223372036854775808,\"m\":9223372036854775807}"),
          "{\"seed\":1.8446744073709552e19,\"n\":-9223372036854775808,\"m\":9223372036854775807}", "a number of more than 64 bits, and the largest that are none");
    loose(STR("[123456789012345678901234567890,1.5e3,-99999999999999999999,\"99999999999999999999\"]"),
          "[1.2345678901234568e29,1500.0,-1e20,\"99999999999999999999\"]", "others stay what they are");
    loose(STR("[99999999999999999999,123456789012345678901.5,1e-2,12345678901234567890E2]"), "[1e20,1.2345678901234568e20,0.01,1.2345678901234568e21]", "reals, too");
    loose(STR("{\"a\":1,\"a\":2}"), "{\"a\":2}", "the last of duplicate keys");
    loose(STR("[\"x\\u0000y\",\"\\ud83d\",\"\\ude00!\",\"\\ud83d\\ude00\",\"\\\\u0000\",\"\\u00E9\"]"),
          "[\"x\xEF\xBF\xBDy\",\"\xEF\xBF\xBD\",\"\xEF\xBF\xBD!\",\"\xF0\x9F\x98\x80\",\"\\\\u0000\",\"\xC3\xA9\"]", "NUL and half a pair");
    loose(STR("[\"a\xff\"]"), "line 1, column 3: unable to decode byte 0xff", "what is no UTF-8 stays none");
    loose(STR("{\"a\":nope,\"b\":99999999999999999999}"), "line 1, column 9: invalid token", "what is no JSON stays none");
    loose(STR("[\"\\u12x4\"]"), "line 1, column 7: invalid escape", "nor an escape that is none");
    loose(STR("[\"\\u12"), "line 1, column 6: invalid escape", "nor what is cut");
    loose(nested(65, true), "line 1, column 65: nested deeper than 64", "nor what is too deep");
    loose(STR(""), "line 1, column 0: unexpected token", "nor nothing");
}

static void test_depth(void)
{
    const char *err;
    json_t *v;

    v = json_parse(a, nested(64, true), &err);
    ok(v != NULL, "64 levels");
    json_decref(v);
    refused(nested(65, true), "line 1, column 65: nested deeper than 64", "65 levels");
    refused(nested(10000, true), "line 1, column 65: nested deeper than 64", "10,000 levels");
    refused(nested(10000, false), "line 1, column 65: nested deeper than 64", "10,000 levels that are not closed");
    refused(nested(64, false), "line 1, column ", "64 levels that are not closed");
    refused(STR("]]]]"), "line 1, column 1: ", "closing brackets only");
    refused(STR("{\"a\":\n\"\xc3\xa9\", \"b\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
            "line 2, column 73: nested deeper", "columns are characters");
}

static void test_helpers(void)
{
    const char *err;
    json_t *v = json_own(a, json_parse(a, STR("{\"s\":\"text\",\"n\":1,\"z\":null}"), &err));
    str_t s = json_str(v, "s", STR_NULL);
    buf_t b;

    is_mem(s.p, s.n, "text", "json_str()");
    ok(json_str(v, "n", STR_NULL).p == NULL && json_str(v, "z", STR_NULL).p == NULL
       && json_str(v, "?", STR_NULL).p == NULL, "another type, null and absence count as missing");
    ok(str_is(json_str(NULL, "s", STR("none")), "none"), "no object at all, too");

    buf_init(&b, 30);
    (void) buf_puts(&b, "x");
    is_int(json_dump(&b, v), 0, "json_dump() appends");
    is_mem(b.p, b.n, "x{\"s\":\"text\",\"n\":1,\"z\":null}", "compact");
    is_int(json_dump(&b, v), SI_ENOMEM, "over the maximum");
    is_int((long long) b.n, 28, "it appends nothing");
    buf_free(&b);

    v = json_own(a, json_parse(a, STR("[0.3,1.0,0.1,1e300,-2.5e-7,1e+09,123456789012345678,1.5e05,-0.0,0]"), &err));
    is_str(json_text(a, v), "[0.3,1.0,0.1,1e300,-2.5e-7,1000000000.0,123456789012345678,150000.0,-0.0,0]", "numbers in the fewest digits that give them back");
    v = json_own(a, json_parse(a, STR("[-1.25,0.000001,0.0001,999999999.999999,0.7,123456.1234567,1e-300,0.0]"), &err));
    is_str(json_text(a, v), "[-1.25,1e-6,0.0001,999999999.999999,0.7,123456.1234567,1e-300,0.0]", "few digits and many, large and small");
    v = json_own(a, json_pack("{s:[f]}", "sum", 0.1 + 0.2));
    is_str(json_text(a, v), "{\"sum\":[0.30000000000000004]}", "and no fewer");
    v = json_own(a, json_parse(a, STR("{\"\\\"k\":[\"\\b\\f\\n\\r\\t\\u001f\\\\\\/ \\u00e9\xf0\x9f\x98\x80\x7f\",{},[]]}"), &err));
    is_str(json_text(a, v), "{\"\\\"k\":[\"\\b\\f\\n\\r\\t\\u001f\\\\/ \xc3\xa9\xf0\x9f\x98\x80\x7f\",{},[]]}", "escapes where they are needed, also in names");
}

/* Digits and powers of ten around the ends of what is written without printf(): as "%.15g" has it, when that gives the number back. */
static void test_reals(void)
{
    char     want[40], got[40];
    unsigned wrong = 0;
    buf_t    b;

    buf_init(&b, 64);
    for (unsigned i = 0; i < 200000; i++) {
        static const double units[] = { 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 1e3, 1e6, 0.7 };
        double v = (i % 3 == 0 ? -1.0 : 1.0) * (double) (i * 7919 % (i % 7 == 0 ? 100u : 1000003u)) * units[i % SI_COUNT(units)];
        json_t *real = json_real(v);

        snprintf(want, sizeof want, "%.15g", v);
        b.n = 0;
        (void) json_dump(&b, real);
        snprintf(got, sizeof got, "%.*s", (int) b.n, b.p);
        json_decref(real);
        if (strtod(got, NULL) != v || (strtod(want, NULL) == v && strchr(want, 'e') == NULL && (strncmp(got, want, strlen(want)) != 0
                                       || strcmp(got + strlen(want), strchr(want, '.') != NULL ? "" : ".0") != 0))) {
            diag("got %s, expected %s", got, want);
            wrong++;
        }
    }
    is_int(wrong, 0, "reals have the digits that they need");
    buf_free(&b);
}

/* More pieces than are kept, of more sizes, given back in another order, and used again. */
static void test_pool(void)
{
    static const char text[] = "0123456789012345678901234567890123456789012345678901234567890123456789"
                               "0123456789012345678901234567890123456789012345678901234567890123456789";
    json_t *list, *v;
    bool    whole = true;

    json_init();
    for (int round = 0; round < 3; round++) {
        list = json_array();
        for (size_t i = 0; i < 3000; i++) {
            json_array_append_new(list, json_pack("{s:s%,s:[i]}", "text", text, i % 140, "n", (int) i));
        }
        for (size_t i = 0; i < 3000; i++) {
            v = json_array_get(list, i);
            whole = whole && json_string_length(json_object_get(v, "text")) == i % 140
                    && json_integer_value(json_array_get(json_object_get(v, "n"), 0)) == (json_int_t) i;
        }
        json_decref(list);
    }
    ok(whole, "pieces of memory that are used again belong to one value each");
}

int main(void)
{
    a = arena_new(4096);
    test_parse();
    test_loose();
    test_depth();
    test_helpers();
    test_reals();
    test_pool();
    test_parse();
    arena_free(a);
    return done_testing();
}
