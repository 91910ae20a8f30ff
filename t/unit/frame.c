/* The frame codec: what both sides of a link take for valid, at every limit and at every length of input. */
#include <stdlib.h>

#include "link/frame.h"
#include "tap.h"

static void test_numbers(void)
{
    static const uint32_t v32[] = { 0, 1, 0x80, 0xff, 0x12345678, 0x80000000, UINT32_MAX };
    static const uint64_t v64[] = { 0, 1, 0xffffffff, 0x100000000, 0x123456789abcdef0, UINT64_MAX };
    uint8_t               p[8];
    bool                  good = true;

    for (size_t i = 0; i < sizeof v32 / sizeof v32[0]; i++) {
        si_put32(p, v32[i]);
        good = good && si_get32(p) == v32[i];
    }
    for (size_t i = 0; i < sizeof v64 / sizeof v64[0]; i++) {
        si_put64(p, v64[i]);
        good = good && si_get64(p) == v64[i];
    }
    ok(good, "numbers come back");
    si_put32(p, 0x01020304);
    ok(memcmp(p, "\4\3\2\1", 4) == 0, "u32 is little-endian");
    si_put64(p, 0x0102030405060708);
    ok(memcmp(p, "\10\7\6\5\4\3\2\1", 8) == 0, "u64 is little-endian");
}

static void test_layout(void)
{
    static const uint8_t want[SI_FRAME_HEAD] = { 5, 0, 0, 0, SI_F_DATA, SI_FL_LOG, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0x80 };
    uint8_t              p[SI_FRAME_HEAD];
    si_frame_t           f;

    si_frame_put(p, SI_F_DATA, SI_FL_LOG, 0x8000000000000007, 5);
    ok(memcmp(p, want, sizeof want) == 0, "a head has its layout");
    ok(si_frame_get(p, &f) == NULL, "and is read");
    ok(f.type == SI_F_DATA && f.flags == SI_FL_LOG && f.id == 0x8000000000000007 && f.length == 5, "with every part");
}

static const char *get(uint8_t type, uint8_t flags, uint32_t length)
{
    uint8_t    p[SI_FRAME_HEAD];
    si_frame_t f;

    si_frame_put(p, type, flags, 1, length);
    return si_frame_get(p, &f);
}

static void test_limits(void)
{
    static const struct { uint8_t type, flags; uint32_t max; } t[] = {
        { SI_F_OPEN, 0, SI_OPEN_MAX }, { SI_F_HEAD, 0, SI_OPEN_MAX }, { SI_F_BODY, 0, SI_DATA_MAX },
        { SI_F_DATA, 0, SI_DATA_MAX }, { SI_F_DATA, SI_FL_LOG, SI_FRAME_MAX }, { SI_F_DATA, SI_FL_EVENT, SI_FRAME_MAX },
        { SI_F_HELLO, 0, SI_SMALL_MAX }, { SI_F_CANCEL, 0, SI_SMALL_MAX }, { SI_F_CREDIT, 0, SI_SMALL_MAX },
        { SI_F_DETACH, 0, SI_SMALL_MAX }, { SI_F_PING, 0, SI_SMALL_MAX }, { SI_F_END, SI_FL_LOG, SI_SMALL_MAX },
        { SI_F_MOVED, 0, SI_SMALL_MAX }, { SI_F_ATTACH, 0, SI_SMALL_MAX }, { SI_F_GOAWAY, 0, SI_SMALL_MAX },
        { SI_F_PONG, 0, SI_SMALL_MAX }, { SI_F_READERS, 0, SI_SMALL_MAX },
        { SI_F_WANT, 0, SI_SMALL_MAX }, { SI_F_PUSH, 0, SI_DATA_MAX },
    };

    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        ok(get(t[i].type, t[i].flags, t[i].max) == NULL && get(t[i].type, t[i].flags, t[i].max + 1) != NULL
           && get(t[i].type, t[i].flags, UINT32_MAX) != NULL, "type %u, flags %u: at most %u bytes", t[i].type, t[i].flags, t[i].max);
    }
}

static void test_keys(void)
{
    static uint8_t p[SI_KEYS_HEAD + SI_KEYS_NAME + SI_KEYS_MAX + 1], text[SI_KEYS_MAX];
    si_keys_t      k = { .fetched = 1, .fresh = 2, .name = (const uint8_t *) "id", .name_len = 2, .text = text, .text_len = SI_KEYS_MAX }, got;

    memset(text, 'x', sizeof text);
    si_keys_put(p, &k);
    ok(si_keys_get(p, si_keys_size(&k), &got) == 1 && got.fetched == 1 && got.fresh == 2 && got.name_len == 2
       && memcmp(got.name, "id", 2) == 0 && got.text_len == SI_KEYS_MAX && memcmp(got.text, text, SI_KEYS_MAX) == 0, "the longest key set");
    ok(si_keys_get(p, si_keys_size(&k) + 1, &got) == 0, "a longer one is refused");
    ok(si_keys_get(p, SI_KEYS_HEAD + 3, &got) == 1 && got.text_len == 1, "the shortest");
    ok(si_keys_get(p, SI_KEYS_HEAD + 2, &got) == 0 && si_keys_get(p, SI_KEYS_HEAD - 1, &got) == 0, "one without text, or without a head");
    p[12] = 0;
    ok(si_keys_get(p, 100, &got) == 0, "one without a name");
    p[12] = SI_KEYS_NAME + 1;
    ok(si_keys_get(p, 1000, &got) == 0, "one with too long a name");
}

static void test_refused(void)
{
    uint8_t    p[SI_FRAME_HEAD];
    si_frame_t f;
    int        bad = 0;

    for (unsigned type = 0; type < 256; type++) {
        bad += (get((uint8_t) type, 0, 0) != NULL) != (type == 0 || type >= SI_F_TYPES);
    }
    ok(bad == 0, "all types but those that exist are refused");
    for (int i = 6; i < 8; i++) {
        si_frame_put(p, SI_F_PING, 0, 1, 0);
        p[i] = 1;
        ok(si_frame_get(p, &f) != NULL, "reserved byte %d must be zero", i);
    }
}

static size_t put(uint8_t *p, uint8_t tag, const char *data)
{
    size_t n = strlen(data);

    si_field_head(p, tag, (uint32_t) n);
    memcpy(p + 5, data, n);
    return 5 + n;
}

/* Steps through p..p+n; returns the number of fields, or -1. */
static int steps(const uint8_t *p, size_t n)
{
    const uint8_t *at = p, *end = p + n;
    si_field_t     f;
    int            rc, count = 0;

    while ((rc = si_field_next(&at, end, &f)) > 0) {
        if (f.data < p || f.data + f.length > end) {
            return -2;
        }
        count++;
    }
    return rc < 0 ? -1 : count;
}

static void test_fields(void)
{
    uint8_t        p[64];
    const uint8_t *at = p;
    si_field_t     f;
    size_t         n = put(p, SI_T_METHOD, "GET");

    n += put(p + n, SI_T_STREAM, "");
    n += put(p + n, SI_T_PATH, "/v1");
    ok(si_field_next(&at, p + n, &f) == 1 && f.tag == SI_T_METHOD && f.length == 3 && memcmp(f.data, "GET", 3) == 0, "a field");
    ok(si_field_next(&at, p + n, &f) == 1 && f.tag == SI_T_STREAM && f.length == 0, "one without bytes");
    ok(si_field_next(&at, p + n, &f) == 1 && f.tag == SI_T_PATH && f.length == 3, "the last");
    ok(si_field_next(&at, p + n, &f) == 0, "the end");
    ok(steps(p, 0) == 0, "no fields at all");
}

/* Each prefix is copied to its own memory, so that a sanitizer sees a read past its end. */
static void test_cut(void)
{
    uint8_t  p[64], *copy;
    size_t   n = put(p, SI_T_METHOD, "GET"), first = n;
    int      bad = 0, got;

    n += put(p + n, SI_T_PATH, "/path");
    for (size_t cut = 0; cut <= n; cut++) {
        copy = malloc(cut > 0 ? cut : 1);
        memcpy(copy, p, cut);
        got = steps(copy, cut);
        bad += got != (cut == 0 ? 0 : cut == first ? 1 : cut == n ? 2 : -1);
        free(copy);
    }
    ok(bad == 0, "fields cut at any byte are malformed");
}

static void test_bad_fields(void)
{
    uint8_t p[16] = { 0 };

    si_field_head(p, 0, 0);
    ok(steps(p, 5) == -1, "tag 0");
    si_field_head(p, SI_T_TAGS, 0);
    ok(steps(p, 5) == -1, "a tag that does not exist");
    si_field_head(p, SI_T_PATH, UINT32_MAX);
    ok(steps(p, sizeof p) == -1, "a length past the end");
    si_field_head(p, SI_T_PATH, UINT32_MAX - 4);
    ok(steps(p, sizeof p) == -1, "a length that would wrap");
}

/* Bytes from a fixed generator: whatever comes, nothing outside is pointed to. */
static void test_noise(void)
{
    uint8_t    p[256];
    si_frame_t f;
    uint32_t   x = 2463534242;
    int        bad = 0;

    for (int round = 0; round < 200000; round++) {
        size_t n = x % sizeof p;

        for (size_t i = 0; i < 24; i++) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            p[(i * 11 + (x >> 8)) % sizeof p] = (uint8_t) (x & (round & 1 ? 0x1f : 0xff));
        }
        bad += steps(p, n) == -2;
        if (si_frame_get(p, &f) == NULL) {
            bad += f.length > si_frame_limit(f.type, f.flags);
        }
    }
    ok(bad == 0, "noise is refused or read within its bounds");
}

/* ASK and GRANT come out as they went in; cut, longer or with a wrong length of the name they are malformed. */
static void test_quota(void)
{
    uint8_t    p[128];
    si_ask_t   ask = { 1ull << 63, 2, 3ull << 40, 4, 5, 6, 2, (const uint8_t *) "ab" }, a;
    si_grant_t grant = { 1, 1ull << 50, 9, 8, 7, 1, SI_LIMIT_MAX, (const uint8_t *) "abcdefghijklmnopqrstuvwx" }, g;
    size_t     n = SI_ASK_HEAD + 2, m = SI_GRANT_HEAD + SI_LIMIT_MAX;
    int        bad = 0;

    si_ask_put(p, &ask);
    ok(si_ask_get(p, n, &a) && a.key == ask.key && a.interval == 2 && a.bucket == ask.bucket && a.want == 4 && a.debt == 5
       && a.back == 6 && a.name_len == 2 && memcmp(a.name, "ab", 2) == 0, "an ASK");
    for (size_t i = 0; i < sizeof p; i++) {
        bad += si_ask_get(p, i, &a) != (i == n);
    }
    memset(p + 8, 0, 8);
    bad += si_ask_get(p, n, &a);
    ok(bad == 0, "of no other length, and not without an interval");
    si_grant_put(p, &grant);
    bad = 0;
    ok(si_grant_get(p, m, &g) && g.key == 1 && g.level == grant.level && g.want == 9 && g.granted == 8 && g.nodes == 7
       && g.away == 1 && g.name_len == SI_LIMIT_MAX, "a GRANT");
    for (size_t i = 0; i < sizeof p; i++) {
        bad += si_grant_get(p, i, &g) != (i == m);
    }
    si_put32(p + 20, 10);
    bad += si_grant_get(p, m, &g);
    ok(bad == 0, "of no other length, and not of more than was wanted");
}

/* A VERDICT likewise; of one that is bad, nothing but that. */
static void test_verdict(void)
{
    static const uint8_t digest[SI_DIGEST] = { 7 }, ids[3 * SI_UUID + 1] = "t", scopes[SI_SCOPES_MAX] = "admin";
    uint8_t      p[SI_VERDICT_MAX + 1];
    si_verdict_t good = { digest, 1ull << 50, 2, 3, 1, ids, ids + SI_UUID, ids + 2 * SI_UUID, SI_SCOPES_MAX, scopes }, v;
    si_verdict_t bad = { .digest = digest, .at = 4, .life = 5 };
    int          wrong = 0;

    si_verdict_put(p, &good);
    ok(si_verdict_size(&good) == SI_VERDICT_MAX && si_verdict_get(p, SI_VERDICT_MAX, &v) && v.digest[0] == 7 && v.at == good.at
       && v.life == 2 && v.until == 3 && v.good && memcmp(v.tenant, ids, SI_UUID) == 0 && v.user == v.tenant + SI_UUID
       && v.key_id == v.user + SI_UUID && v.scopes_len == SI_SCOPES_MAX && memcmp(v.scopes, scopes, SI_SCOPES_MAX) == 0, "a good VERDICT");
    for (size_t i = 0; i < sizeof p; i++) {
        wrong += si_verdict_get(p, i, &v) != (i == SI_VERDICT_MAX);
    }
    p[SI_DIGEST + 20] = 2;
    wrong += si_verdict_get(p, SI_VERDICT_MAX, &v);
    si_verdict_put(p, &bad);
    ok(si_verdict_size(&bad) == SI_VERDICT_BAD && si_verdict_get(p, SI_VERDICT_BAD, &v) && v.at == 4 && v.life == 5 && !v.good && v.tenant == NULL,
       "a bad one");
    for (size_t i = 0; i < sizeof p; i++) {
        wrong += si_verdict_get(p, i, &v) != (i == SI_VERDICT_BAD);
    }
    ok(wrong == 0, "of no other length, and nothing between");
}

int main(void)
{
    test_numbers();
    test_layout();
    test_limits();
    test_keys();
    test_refused();
    test_fields();
    test_cut();
    test_bad_fields();
    test_noise();
    test_quota();
    test_verdict();
    return done_testing();
}
