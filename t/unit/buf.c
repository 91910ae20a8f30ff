/* Buffers: the maximum, consuming, JSON strings. */
#include "base/buf.h"

#include "tap.h"

static void is_json(const char *text, size_t n, const char *want, const char *name)
{
    buf_t b;

    buf_init(&b, 1000);
    (void) buf_json_str(&b, (str_t) { text, n });
    is_mem(b.p, b.n, want, name);
    buf_free(&b);
}

#define JSON(literal, want, name)  is_json(literal, sizeof(literal) - 1, want, name)

static void test_maximum(void)
{
    buf_t b;

    buf_init(&b, 10);
    is_int(buf_append(&b, "0123456", 7), 0, "fits");
    is_int(buf_append(&b, "789a", 4), SI_ENOMEM, "exceeds the maximum");
    is_mem(b.p, b.n, "0123456", "nothing was appended");
    is_int(buf_puts(&b, "789"), 0, "exactly the maximum fits");
    is_int(buf_append(&b, "x", 1), SI_ENOMEM, "not a byte more");
    is_int(buf_append(&b, NULL, 0), 0, "nothing always fits");
    ok(buf_reserve(&b, 1) == NULL && buf_reserve(&b, SIZE_MAX) == NULL, "nor can it be reserved");
    buf_consume(&b, 4);
    is_mem(b.p, b.n, "456789", "consumed at the front");
    is_int(buf_printf(&b, "%d%s", 12, "ab"), 0, "printf up to the maximum");
    is_mem(b.p, b.n, "45678912ab", "as printed");
    is_int(buf_printf(&b, "%d", 1), SI_ENOMEM, "printf exceeds the maximum");
    is_int((long long) b.n, 10, "and appends nothing");
    is_int(buf_json_str(&b, STR("x")), SI_ENOMEM, "so does a JSON string");
    buf_consume(&b, 8);
    is_int(buf_json_str(&b, STR("1234567")), SI_ENOMEM, "a JSON string that fits in part");
    is_mem(b.p, b.n, "ab", "is not appended in part");
    buf_free(&b);
    is_int(buf_puts(&b, "again"), 0, "usable after buf_free()");
    is_int((long long) b.max, 10, "with the same maximum");
    buf_free(&b);
}

/* Bytes go through like through a pipe, in pieces of changing size. */
static void test_pipe(void)
{
    buf_t b;
    unsigned in = 0, out = 0;
    bool good = true;
    size_t cap = 0;

    buf_init(&b, 5000);
    for (size_t round = 0; round < 5000; round++) {
        size_t n = round * 7 % 300, take;
        char *p = buf_reserve(&b, n);

        good &= p != NULL;
        for (size_t i = 0; i < n; i++) {
            p[i] = (char) in++;
        }
        buf_commit(&b, n);
        take = b.n > 1000 ? b.n : b.n * (round % 3) / 3;
        for (size_t i = 0; i < take; i++) {
            good &= b.p[i] == (char) out++;
        }
        buf_consume(&b, take);
        cap = SI_MAX(cap, b.cap);
    }
    ok(good, "a million bytes went through in order");
    ok(cap <= 4096, "in little memory");
    buf_free(&b);
}

static void test_give_back(void)
{
    buf_t b;

    buf_init(&b, 1 << 20);
    (void) buf_puts(&b, "small");
    buf_consume(&b, 5);
    ok(b.mem != NULL, "a small buffer keeps its memory");
    memset(buf_reserve(&b, 100000), 'x', 100000);
    buf_commit(&b, 100000);
    buf_consume(&b, 99999);
    ok(b.n == 1 && b.p[0] == 'x', "all but one byte consumed");
    buf_consume(&b, 1);
    ok(b.mem == NULL, "a large one gives it back when empty");
    memset(buf_reserve(&b, 100000), 'x', 100000);
    buf_commit(&b, 100000);
    buf_clear(&b, 1 << 17);
    ok(b.n == 0 && b.mem != NULL && b.p == b.mem, "or keeps as much as it is told to");
    buf_clear(&b, 99999);
    ok(b.mem == NULL && b.n == 0, "and not more");
    buf_free(&b);
}

static void test_json(void)
{
    JSON("", "\"\"", "empty");
    JSON("a\"b\\c/", "\"a\\\"b\\\\c/\"", "quote and backslash");
    JSON("\r\n\t\b\f", "\"\\r\\n\\t\\b\\f\"", "short escapes");
    JSON("\0\x01\x1f\x7f", "\"\\u0000\\u0001\\u001f\x7f\"", "control characters");
    JSON("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "UTF-8 stays");
    JSON("\xff" "a\xc3", "\"\xef\xbf\xbd" "a\xef\xbf\xbd\"", "invalid bytes and a cut sequence");
    JSON("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"", "a surrogate");
    JSON("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"", "an overlong sequence");
    is_json(NULL, 0, "\"\"", "a null string");
}

static void test_int(void)
{
    static const int64_t values[] = { 0, 7, -1, 10, -1234567890, INT64_MAX, INT64_MIN };
    char                 want[24];
    buf_t                b;

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        buf_init(&b, 20);
        (void) snprintf(want, sizeof want, "%lld", (long long) values[i]);
        ok(buf_int(&b, values[i]) == 0 && b.n == strlen(want) && memcmp(b.p, want, b.n) == 0, "%s", want);
        ok(buf_int(&b, INT64_MIN) == SI_ENOMEM && b.n == strlen(want), "none where there is no room");
        buf_free(&b);
    }
}

/* What is given back serves the next one of its size; more than are kept goes to free(). */
static void test_pool(void)
{
    buf_t  b[100];
    bool   good = true;
    char  *mem;

    buf_pool_init();
    buf_init(&b[0], 1 << 20);
    mem = buf_reserve(&b[0], 4096);
    buf_free(&b[0]);
    buf_init(&b[1], 1 << 20);
    ok(buf_reserve(&b[0], 4096) == mem || SI_ASAN, "memory is used again");
    ok(buf_reserve(&b[1], 4096) != b[0].mem, "once");
    buf_free(&b[0]);
    buf_free(&b[1]);
    for (size_t round = 0; round < 6; round++) {
        size_t n = (size_t) 1024 << round / 2 * 2;

        for (size_t i = 0; i < 100; i++) {
            buf_init(&b[i], 1 << 20);
            memset(buf_reserve(&b[i], n), (int) i, n);
            buf_commit(&b[i], n);
        }
        for (size_t i = 0; i < 100; i++) {
            good = good && b[i].p[0] == (char) i && b[i].p[n - 1] == (char) i;
            buf_free(&b[i]);
        }
    }
    ok(good, "a hundred at a time, of sizes that are kept and others");
}

int main(void)
{
    test_int();
    test_maximum();
    test_pipe();
    test_give_back();
    test_pool();
    test_json();
    return done_testing();
}
