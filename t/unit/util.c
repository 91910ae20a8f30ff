/* Clock, ids, encodings, digests, numbers, query strings. */
#include "base/util.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/proc.h"
#include "tap.h"

static void test_uuid(void)
{
    char last[UUID_LEN + 1] = "", id[UUID_LEN + 1];
    bool sorted = true, formed = true;
    uint64_t ms, before = clock_wall_ms();

    for (int i = 0; i < 20000; i++) {
        uuid_new(id);
        sorted &= strcmp(last, id) < 0;
        formed &= uuid_valid(str_of(id)) && id[14] == '7' && strchr("89ab", id[19]) != NULL;
        memcpy(last, id, sizeof(last));
    }
    ok(sorted, "20,000 ids sort in the order they were made");
    ok(formed, "all of version 7 and the RFC's variant");
    id[8] = '0';
    memmove(id + 8, id + 9, 4);
    id[12] = '\0';
    ms = strtoull(id, NULL, 16);
    ok(ms >= before && ms <= clock_wall_ms() + 1000, "they begin with the time");
    proc.uuid_last += 1000000ull << 12;
    uuid_new(last);
    uuid_new(id);
    ok(strcmp(last, id) < 0, "also when the clock was set back");

    ok(uuid_valid(STR("0190A3b4-0000-7000-8000-0123456789AB")), "any case is valid");
    ok(!uuid_valid(STR("0190a3b4-0000-7000-8000-0123456789a")), "too short");
    ok(!uuid_valid(STR("0190a3b4-0000-7000-8000-0123456789abc")), "too long");
    ok(!uuid_valid(STR("0190a3b4x0000-7000-8000-0123456789ab")), "no dash");
    ok(!uuid_valid(STR("0190a3b4-0000-7000-8000-0123456789ag")), "not hex");
    ok(!uuid_valid(STR_NULL), "nothing");

    char lower[UUID_LEN + 1] = "as it was";
    ok(!uuid_lower(STR("0190A3b4-0000-7000-8000-0123456789AG"), lower), "what is none is not made lower");
    is_str(lower, "as it was", "and leaves what was there");
    ok(uuid_lower(STR("0190A3b4-0000-7000-8000-0123456789AF"), lower), "one in capitals is");
    is_str(lower, "0190a3b4-0000-7000-8000-0123456789af", "digits and dashes stay");
}

static bool all_zero(const unsigned char *p, size_t n)
{
    size_t i = 0;

    while (i < n && p[i] == 0) {
        i++;
    }
    return i == n;
}

/* Bytes are fetched in advance: neither twice in one process, nor in its child as well. */
static void test_random(void)
{
    unsigned char ours[16], theirs[16], twice[8] = { 0 }, once[8] = { 0 }, many[1000] = { 0 };
    int           fds[2];
    pid_t         pid;

    for (size_t i = 0; i < 2000; i++) {
        memcpy(twice, once, sizeof twice);
        random_bytes(once, sizeof once);
        if (memcmp(twice, once, sizeof once) == 0) {
            break;
        }
    }
    ok(memcmp(twice, once, sizeof once) != 0, "other bytes each time");
    random_bytes(many, sizeof many);
    ok(!all_zero(many + 900, 100), "many at once");
    if (pipe(fds) != 0 || (pid = fork()) < 0) {
        abort();
    }
    random_bytes(ours, sizeof ours);
    if (pid == 0) {
        _exit(write(fds[1], ours, sizeof ours) != sizeof ours);
    }
    ok(read(fds[0], theirs, sizeof theirs) == sizeof theirs, "a child has random bytes");
    ok(memcmp(ours, theirs, sizeof ours) != 0, "and not those of its parent");
    ok(waitpid(pid, NULL, 0) == pid && close(fds[0]) == 0 && close(fds[1]) == 0, "it has ended");
}

static void test_digest(void)
{
    uint8_t d[SHA256_LEN], r[2][16];
    char hex[2 * SHA256_LEN + 1];

    sha256(d, "abc", 3);
    hex_encode(hex, d, sizeof(d));
    is_str(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "SHA-256 of abc");
    sha256(d, NULL, 0);
    hex_encode(hex, d, sizeof(d));
    is_str(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "SHA-256 of nothing");
    random_bytes(r[0], 16);
    random_bytes(r[1], 16);
    ok(memcmp(r[0], r[1], 16) != 0, "random bytes differ");
}

static void is_base64(const char *plain, const char *want, const char *want_url)
{
    char out[BASE64_LEN(64) + 1], back[64];
    size_t n = strlen(plain);

    (void) base64_encode(out, plain, n);
    is_str(out, want, "base64");
    ok(base64_decode(back, sizeof(back), str_of(out)) == (ssize_t) n && memcmp(back, plain, n) == 0, "and back");
    (void) base64url_encode(out, plain, n);
    is_str(out, want_url, "base64url");
    ok(base64url_decode(back, sizeof(back), str_of(out)) == (ssize_t) n && memcmp(back, plain, n) == 0, "and back");
}

static void test_base64(void)
{
    static const char *const bad[] = { "A", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Z_-A", "Zm 9" };
    static const char *const bad_url[] = { "A", "Zg==", "Zh", "Zm9", "Z+/A", "Zm9v\n" };
    char out[8];
    size_t refused = 0;

    is_base64("", "", "");
    is_base64("f", "Zg==", "Zg");
    is_base64("fo", "Zm8=", "Zm8");
    is_base64("foo", "Zm9v", "Zm9v");
    is_base64("foobar", "Zm9vYmFy", "Zm9vYmFy");
    is_base64("\xfb\xff\xfe", "+//+", "-__-");
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        refused += base64_decode(out, sizeof(out), str_of(bad[i])) == SI_EINVAL;
    }
    is_int((long long) refused, SI_COUNT(bad), "malformed base64 is refused");
    refused = 0;
    for (size_t i = 0; i < SI_COUNT(bad_url); i++) {
        refused += base64url_decode(out, sizeof(out), str_of(bad_url[i])) == SI_EINVAL;
    }
    is_int((long long) refused, SI_COUNT(bad_url), "malformed base64url is refused");
    is_int(base64_decode(out, 2, STR("Zm9v")), SI_EINVAL, "no room");
    is_int(base64_decode(out, 3, STR("Zm9v")), 3, "just room enough");
}

static void test_utf8(void)
{
    static const char *const good[] = {
        "", "plain", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\x7f"
    };
    static const char *const bad[] = {
        "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf0\x9f\x98", "\xff", "ok\xfe"
    };
    size_t n = 0;

    for (size_t i = 0; i < SI_COUNT(good); i++) {
        n += utf8_valid(str_of(good[i]));
    }
    is_int((long long) n, SI_COUNT(good), "valid UTF-8");
    n = 0;
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        n += !utf8_valid(str_of(bad[i]));
    }
    is_int((long long) n, SI_COUNT(bad), "invalid UTF-8");
    ok(!utf8_valid(STR("a\0b")), "NUL is not valid");

    is_int((long long) utf8_cut("abc", 3), 3, "cut behind ASCII");
    is_int((long long) utf8_cut("a\xe2\x82\xac", 4), 4, "behind a whole code point");
    is_int((long long) utf8_cut("a\xe2\x82\xac", 3), 1, "in a code point: before it");
    is_int((long long) utf8_cut("a\xe2\x82\xac", 2), 1, "behind its first byte: before it");
    is_int((long long) utf8_cut("\xf0\x9f\x98\x80", 3), 0, "nothing is left");
    is_int((long long) utf8_cut("", 0), 0, "of nothing");
    is_int((long long) token_estimate(STR("")), 0, "no tokens");
    is_int((long long) token_estimate(STR("a")), 1, "one");
    is_int((long long) token_estimate(STR("12345")), 2, "two");
}

static long long number(int (*parse)(str_t, uint64_t *), const char *z)
{
    uint64_t v = 0;
    int rc = parse(str_of(z), &v);

    return rc == SI_OK ? (long long) v : rc;
}

static void test_numbers(void)
{
    uint64_t v;

    is_int(number(parse_u64, "0"), 0, "0");
    is_int(number(parse_u64, "007"), 7, "leading zeros");
    ok(parse_u64(STR("18446744073709551615"), &v) == 0 && v == UINT64_MAX, "the largest");
    is_int(number(parse_u64, "18446744073709551616"), SI_EINVAL, "one more");
    is_int(number(parse_u64, "184467440737095516150"), SI_EINVAL, "ten times that");
    is_int(number(parse_u64, ""), SI_EINVAL, "nothing");
    is_int(number(parse_u64, "-1"), SI_EINVAL, "a sign");
    is_int(number(parse_u64, "1 "), SI_EINVAL, "a space");

    is_int(number(parse_duration, "500ms"), 500, "500ms");
    is_int(number(parse_duration, "10s"), 10000, "10s");
    is_int(number(parse_duration, "5m"), 300000, "5m");
    is_int(number(parse_duration, "2h"), 7200000, "2h");
    is_int(number(parse_duration, "1d"), 86400000, "1d");
    is_int(number(parse_duration, "42"), 42, "a bare number: ms");
    is_int(number(parse_duration, "s"), SI_EINVAL, "a bare unit");
    is_int(number(parse_duration, ""), SI_EINVAL, "nothing");
    is_int(number(parse_duration, "1w"), SI_EINVAL, "unknown unit");
    is_int(number(parse_duration, "1.5s"), SI_EINVAL, "a fraction");
    is_int(number(parse_duration, "1S"), SI_EINVAL, "upper case");
    is_int(number(parse_duration, "213503982335d"), SI_EINVAL, "overflow");

    is_int(number(parse_size, "64k"), 65536, "64k");
    is_int(number(parse_size, "8m"), 8 << 20, "8m");
    is_int(number(parse_size, "1g"), 1 << 30, "1g");
    is_int(number(parse_size, "100"), 100, "a bare number: bytes");
    is_int(number(parse_size, "1kb"), SI_EINVAL, "unknown unit");
    is_int(number(parse_size, "17179869184g"), SI_EINVAL, "overflow");
}

static void test_query(void)
{
    str_t q = STR("a=1&bb=x%20y+z&c&d=&e=%4&f=%00&g=%zz&h=%C3%a9&a=2");
    char out[8];

    is_int(query_arg(q, "a", out, sizeof(out)), 1, "the first of two");
    is_str(out, "1", "its value");
    is_int(query_arg(q, "bb", out, sizeof(out)), 5, "percent and plus");
    is_str(out, "x y z", "are decoded");
    is_int(query_arg(q, "b", out, sizeof(out)), SI_ENOENT, "part of a name");
    is_int(query_arg(q, "c", out, sizeof(out)), 0, "no equals sign");
    is_int(query_arg(q, "d", out, sizeof(out)), 0, "no value");
    is_str(out, "", "is empty");
    is_int(query_arg(q, "e", out, sizeof(out)), SI_EINVAL, "a cut escape");
    is_int(query_arg(q, "f", out, sizeof(out)), SI_EINVAL, "NUL");
    is_int(query_arg(q, "g", out, sizeof(out)), SI_EINVAL, "not hex");
    is_int(query_arg(q, "h", out, sizeof(out)), 2, "either case");
    is_int(query_arg(q, "bb", out, 5), SI_EINVAL, "too long by one");
    is_int(query_arg(q, "bb", out, 6), 5, "fits with its NUL");
    is_int(query_arg(STR_NULL, "a", out, sizeof(out)), SI_ENOENT, "no query");
}

static void test_rest(void)
{
    bool within = true;

    for (int i = 0; i < 1000; i++) {
        uint64_t first = backoff_ms(1, 100, 5000), third = backoff_ms(3, 100, 5000), late = backoff_ms(4000000000u, 100, 5000);

        within &= first >= 50 && first <= 100 && third >= 200 && third <= 400 && late >= 2500 && late <= 5000;
    }
    ok(within, "waiting doubles up to its maximum, and is spread over the upper half");

    uint64_t us = clock_us(), ms = clock_ms();

    ok(ms >= us / 1000 && clock_us() / 1000 >= ms, "one monotonic clock");
    ok(clock_wall_ms() > 1700000000000ull, "the wall clock is in ms");
    is_str(si_strerror(SI_ETIMEDOUT), "timed out", "SI_ETIMEDOUT");
    is_str(si_strerror(SI_EINTERNAL), "internal error", "the last error");
    is_str(si_strerror(-14), "unknown error", "none of ours");
    is_str(si_strerror(5), "ok", "a count");
}

int main(void)
{
    test_uuid();
    test_digest();
    test_random();
    test_base64();
    test_utf8();
    test_numbers();
    test_query();
    test_rest();
    return done_testing();
}
