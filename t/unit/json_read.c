/*
 * json_read() against jansson: whatever the text, both take it and make the same of it, members in the same order, or both
 * refuse it; also when any byte is lost or another. What only it refuses is said below.
 */
#include "base/json_read.h"

#include "base/json.h"
#include "tap.h"

#define ROOM  1024

/* A raw NUL is JSON nowhere: jansson's lexer loses the one behind a number or a word, and takes the text. */
static json_t *theirs(str_t text)
{
    return memchr(text.p, '\0', text.n) != NULL ? NULL : json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

static bool same(const json_t *a, const json_t *b)
{
    arena_t *arena = arena_new(1024);
    bool     alike = json_equal(a, b) && strcmp(json_text(arena, a), json_text(arena, b)) == 0;

    arena_free(arena);
    return alike;
}

/* 1: both take it, and alike; 0: both refuse it; -1: they differ. The text lies in memory of its own size. */
static int compare(const char *p, size_t n)
{
    char   *copy = memcpy(si_malloc(n > 0 ? n : 1), p, n);
    str_t   text = { copy, n };
    json_t *a = json_read(text), *b = theirs(text);
    int     rc = (a == NULL) != (b == NULL) ? -1 : a == NULL ? 0 : same(a, b) ? 1 : -1;

    json_decref(a);
    json_decref(b);
    free(copy);
    return rc;
}

static const char *const good[] = {
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"temperature\":0.3,\"max_tokens\":1000,\"stream\":true,\"stop\":null}",
    " \t\r\n{ \"a\" : [ 1 , 2.5 , true , false , null , \"x\" , { } , [ ] ] , \"b\" : { \"c\" : { } } } \r\n\t ", "{}", "[]", "\"\"", "0", "true", "false", "null",
    "{\"z\":1,\"a\":2,\"\":3,\"A\":4,\"\\u0061b\":5,\"\\\"\":6}", "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]",
    "[0,-0,1,-1,10,9223372036854775807,-9223372036854775808,123456789012345678]",
    "[0.0,-0.0,1e5,1E5,1e+5,1e-5,1.5e05,0e0,-0e-0,1e-400,4.9e-324,1.7976931348623157e308,0.1,123456789012345678901234567890.5,12345678901234567890e2]",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u0080\\u00E9\\u07ff\\u0800\\u20Ac\\ud7ff\\ue000\\uFFFF\\ud83d\\ude00\\uDBFF\\uDFFF\"",
    "\"\x7f \xc2\x80\xdf\xbf \xe0\xa0\x80\xe2\x82\xac\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xef\xbb\xbf \xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
    "\"plain text of more than sixteen bytes, \\nthen an escape, \xc3\xa9, and [{brackets}] that are none: \\\\\"",
};

static const char *const bad[] = {
    "", " ", "{", "[", "\"", "]", "}", ",", ":", "[1,]", "[,1]", "[1 2]", "{\"a\":1,}", "{,\"a\":1}", "{\"a\"}", "{\"a\":}", "{\"a\" 1}", "{a:1}", "{1:1}", "{'a':1}", "[1}", "{\"a\":1]",
    "[1]]", "{}{}", "1 1", "[1],", "null x", "truex", "nul", "True", "NaN", "[Infinity]", "-Infinity", "\xef\xbb\xbf{}", "{} \xef\xbb\xbf", "[1]/**/", "//\n1", "\x0b[]", "\x0c[]", "\xc2\xa0[]",
    "0123", "00", "-01", "1.", ".5", "-", "-.5", "+1", "1e", "1e+", "1E-", "1.e5", "1.5.5", "1e5.5", "1e5e5", "0x10", "1_000", "--1", "1-", "- 1", "1 .5",
    "1E+400", "-1e309", "[1e99999999999999999999]", "9223372036854775808", "-9223372036854775809", "[18446744073709551615]",
    "{\"a\":1,\"a\":1}", "{\"a\":1,\"b\":2,\"\\u0061\":3}", "[{\"x\":{\"\":1,\"\":2}}]",
    "\"\\u0000\"", "{\"\\u0000\":1}", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\\ud83dx\"", "\"\\ud83d\\n\"", "\"\\ud83d\\u0041\"", "\"\\ude00\\ud83d\"", "\"\\ud83d\\ude0\"",
    "\"\\u12\"", "\"\\u12g4\"", "\"\\u\"", "\"\\U0041\"", "\"\\x41\"", "\"\\'\"", "\"\\0\"", "\"\\", "\"\\\"", "\"\\ \"", "\"a\nb\"", "\"a\tb\"", "\"\x1f\"", "\"\x01\"",
    "\"\x80\"", "\"\xbf\"", "\"\xc0\x80\"", "\"\xc1\xbf\"", "\"\xc3\"", "\"\xc3(\"", "\"\xe0\x80\x80\"", "\"\xe0\x9f\xbf\"", "\"\xe2\x82\"", "\"\xed\xa0\x80\"", "\"\xed\xbf\xbf\"",
    "\"\xf0\x80\x80\x80\"", "\"\xf0\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xf8\x88\x80\x80\x80\"", "\"\xff\"", "{\"\xff\":1}", "[\xc3\xa9]",
};

static void test_lists(void)
{
    for (size_t i = 0; i < SI_COUNT(good); i++) {
        ok(compare(good[i], strlen(good[i])) == 1, "taken: %zu", i);
    }
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        ok(compare(bad[i], strlen(bad[i])) == 0, "refused: %zu", i);
    }
    ok(compare("\"a\0b\"", 5) == 0 && compare("[]\0", 3) == 0 && compare("\0[]", 3) == 0 && compare("[1\0]", 4) == 0, "a raw NUL");
}

/* Every byte of a text away, and in its place each that means something; how many of these were taken, or -1. */
static int changed(const char *from)
{
    static const char bytes[] = "\"\\{}[]:,0 1-.eunrt/\n\x01\x7f\x80\xc3\xf0\xff";
    char              text[ROOM];
    size_t            len = strlen(from);
    int               taken = 0;

    for (size_t at = 0; at < len; at++) {
        for (size_t i = 0; i <= sizeof bytes; i++) {        /* the last but one is the NUL; the last: cut here */
            bool away = i == 0;
            int  rc;

            memcpy(text, from, len);
            text[at] = bytes[SI_MIN(i, sizeof bytes - 1)];
            if (away) {
                memmove(text + at, text + at + 1, len - at - 1);
            }
            rc = compare(text, i == sizeof bytes ? at : len - away);
            if (rc < 0) {
                diag("byte %zu, change %zu of %s", at, i, from);
                return -1;
            }
            taken += rc;
        }
    }
    return taken;
}

static void test_changed(void)
{
    for (size_t i = 0; i < SI_COUNT(good); i++) {
        ok(changed(good[i]) >= 0, "whatever becomes of a byte: %zu", i);
    }
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        if (changed(bad[i]) < 0) {
            ok(false, "whatever becomes of a byte of a bad one: %zu", i);
        }
    }
}

/* Levels of lists, or of objects in lists. */
static bool nested(size_t depth, const char *open, const char *close)
{
    char    text[ROOM * 2];
    size_t  n = 0, a = strlen(open), b = strlen(close);
    json_t *v;
    bool    taken;

    for (size_t i = 0; i < depth; i++, n += a) {
        memcpy(text + n, open, a);
    }
    text[n++] = '0';
    for (size_t i = 0; i < depth; i++, n += b) {
        memcpy(text + n, close, b);
    }
    v = json_read((str_t) { text, n });
    taken = v != NULL;
    json_decref(v);
    return taken;
}

static void test_depth(void)
{
    ok(nested(64, "[", "]") && nested(64, "{\"a\":", "}") && nested(32, "[{\"a\":", "}]"), "64 levels");
    ok(!nested(65, "[", "]") && !nested(65, "{\"a\":", "}") && !nested(33, "[{\"a\":", "}]"), "65 are too many");
}

static void test_long(void)
{
    char text[ROOM], *many = si_malloc(1 << 20);
    int  n = 0;

    memset(text, '1', sizeof text);
    text[1] = '.';
    ok(compare(text, 62) == 1, "a number of 62 bytes");
    ok(json_read((str_t) { text, 63 }) == NULL && json_read((str_t) { text, 200 }) == NULL, "a longer one is left to jansson");

    for (int len = 0; len < 100; len++) {               /* whichever way it lies to blocks of 16 and the text's end */
        n = snprintf(text, sizeof text, "[\"%.*s\\n%.*s\xc3\xa9\",{\"%.*s\\\"\":1}]", len,
                     "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", len / 2,
                     "0123456789012345678901234567890123456789012345678901234567890123456789", len,
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (compare(text, (size_t) n) != 1) {
            ok(false, "strings of %d bytes", len);
        }
    }
    n = snprintf(many, 64, "{");
    for (int i = 0; i < 5000; i++) {
        n += snprintf(many + n, 64, "%s\"member %d\":\"\\u00e9 %d\"", i > 0 ? "," : "", i * 7 % 5000, i);
    }
    n += snprintf(many + n, 64, "}");
    ok(compare(many, (size_t) n) == 1, "5,000 members");
    free(many);
}

/* As strtod() reads them, to the last bit: up to 15 digits by a shorter way, more by itself. */
static void test_reals(void)
{
    static const char more[] = "73190582644913708256";
    char     text[64];
    unsigned wrong = 0, seed = 1;

    for (int i = 0; i < 200000; i++) {
        unsigned long long v = ((unsigned long long) rand_r(&seed) << 31 | (unsigned) rand_r(&seed)) % 1000000000000000ull >> i % 50;
        int                n = snprintf(text, sizeof text, "%s%llu", i % 2 ? "-" : "", v), places = 1 + (int) ((unsigned) i / 100 % 18);
        json_t            *r;

        snprintf(text + n, sizeof text - (size_t) n, ".%.*s", places, more + i % 3);
        r = json_read(str_of(text));
        wrong += r == NULL || json_real_value(r) != strtod(text, NULL);
        json_decref(r);
    }
    ok(wrong == 0, "reals are the nearest doubles");
}

int main(void)
{
    test_lists();
    test_changed();
    test_depth();
    test_reals();
    test_long();
    return done_testing();
}
