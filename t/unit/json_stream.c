/* Bodies that are one array of objects, or one object: cut everywhere, bounded, and what is neither. */
#include "io/json_stream.h"

#include "tap.h"

#define GOOD  " \r\n[ {\"a\":\"]}\\\"{,\"}\t,\n{},{\"b\":[{\"c\":[]},\"\\\\\"]} ]\n\n"
#define WANT  "{\"a\":\"]}\\\"{,\"}|{}|{\"b\":[{\"c\":[]},\"\\\\\"]}|"

static char   got[4096];
static size_t ngot;
static int    refuse_after;             /* objects; 0: never */

static int take(str_t object, void *arg)
{
    int *n = arg;

    memcpy(got + ngot, object.p, object.n);
    ngot += object.n;
    got[ngot++] = '|';
    return ++*n == refuse_after ? SI_ECANCELED : 0;
}

/* Feeds a text in two parts, or byte by byte when at is its length. */
static int feed(const char *text, size_t at, size_t max, bool *done)
{
    json_stream_t s;
    size_t        n = strlen(text);
    int           rc, count = 0;

    ngot = 0;
    json_stream_init(&s, max);
    rc = json_stream_feed(&s, text, at == n ? 0 : at, take, &count);
    for (size_t i = at == n ? 0 : at; i < n && rc == 0; i += at == n ? 1 : n - at) {
        rc = json_stream_feed(&s, text + i, at == n ? 1 : n - at, take, &count);
    }
    *done = json_stream_done(&s);
    json_stream_free(&s);
    return rc;
}

static void test_splits(void)
{
    bool done;
    int  bad = 0;

    for (size_t at = 0; at <= strlen(GOOD); at++) {
        bad += feed(GOOD, at, 100, &done) != 0 || !done || ngot != strlen(WANT) || memcmp(got, WANT, ngot) != 0;
    }
    is_int(bad, 0, "an array, cut everywhere");
    is_int(feed(" {\"x\":{}} \n", 3, 100, &done), 0, "one object");
    ok(done && ngot == 9 && memcmp(got, "{\"x\":{}}|", 9) == 0, "it is");
    ok(feed("[]", 1, 100, &done) == 0 && done && ngot == 0, "an empty array");
}

static void test_open(void)
{
    static const char *const open[] = { "", "  ", "[", "[{", "[{}", "[{},", "[{\"a\":\"]", "{\"a\":[]" };
    bool done;

    for (size_t i = 0; i < SI_COUNT(open); i++) {
        ok(feed(open[i], 0, 100, &done) == 0 && !done, "not whole yet: '%s'", open[i]);
    }
}

static void test_wrong(void)
{
    static const char *const wrong[] = { "x", "17", "\"s\"", "]", ",", "}", "[[", "[1", "[,", "[{},]", "[{},,", "[{}{}", "[{}] {", "{} {", "{},", "[]]", "[null" };
    bool done;

    for (size_t i = 0; i < SI_COUNT(wrong); i++) {
        is_int(feed(wrong[i], strlen(wrong[i]), 100, &done), SI_EPROTO, wrong[i]);
    }
}

static void test_bounds(void)
{
    bool done;

    is_int(feed("[{\"a\":\"12345\"}]", 4, 13, &done), 0, "an object of the longest length");
    is_int(feed("[{\"a\":\"12345\"}]", 4, 12, &done), SI_ENOMEM, "and one byte more");
    is_int(feed("[{},{},{},{}]", 13, 2, &done), 0, "the maximum is that of each, not of all");
    refuse_after = 2;
    is_int(feed("[{},{},{}]", 0, 10, &done), SI_ECANCELED, "the reader's error ends it");
    is_int((long long) ngot, 6, "at once");
    refuse_after = 0;
}

int main(void)
{
    test_splits();
    test_open();
    test_wrong();
    test_bounds();
    return done_testing();
}
