/* Filters on texts: what they find, that no way to cut a text changes it, and their bounds. */
#include "filter_sets.h"
#include "tap.h"

static const char *const actions[] = { "redact", "block", "report" };

/* The text in every way to cut it in two, and into pieces of 1 to 9 bytes: always what it is in one piece. */
static void everywhere(const sets_t *s, const char *text, const char *want, bool blocks)
{
    size_t n = strlen(text);
    buf_t  out;
    bool   good = true;

    buf_init(&out, 1u << 20);
    for (size_t i = 0; i <= n + 9 && good; i++) {
        buf_consume(&out, out.n);
        good = run_text(s, (str_t) { text, n }, i <= n ? i : 0, i <= n ? 0 : i - n, &out) == blocks;
        /* What is blocked ends somewhere before the match. */
        good = good && (blocks ? out.n <= strlen(want) && (i != n || out.n == strlen(want)) && (out.n == 0 || memcmp(out.p, want, out.n) == 0) : str_eq((str_t) { out.p, out.n }, str_of(want)));
        if (!good) {
            diag("cut %zu: '%.*s', expected '%s'", i, (int) out.n, out.p ? out.p : "", want);
        }
    }
    ok(good, "%.*s%s", (int) SI_MIN(strcspn(text, "\n"), 60), text, blocks ? ": blocked" : "");
    buf_free(&out);
}

static void redacts(conf_filter_t f, const char *text, const char *want)
{
    sets_t s;

    sets_init(&s, &f, 1);
    everywhere(&s, text, want, false);
    filter_set_free(s.set);
}

static void blocks(conf_filter_t f, const char *text, const char *before)
{
    sets_t s;

    f.action = "block";
    sets_init(&s, &f, 1);
    everywhere(&s, text, before, true);
    filter_set_free(s.set);
}

static void test_words(void)
{
    conf_filter_t f = make_filter("bad", "redact"), inner;

    f.words = (conf_texts_t) TEXTS("secret", "Secret Service", "\xc3\x84rger", "a.b*c", "\xd0\x96\xd1\x83\xd0\xba");
    inner = f;
    inner.whole_words = "off";
    redacts(f, "nothing here", "nothing here");
    redacts(f, "", "");
    redacts(f, "a secret, a SeCrEt", "a [x], a [x]");
    redacts(f, "secrets and asecret, but secret_ and secret", "secrets and asecret, but [x]_ and [x]");
    redacts(f, "the secret \n service of the secret sec", "the [x] of the [x] sec");
    redacts(f, "\xc3\xa4rger \xc3\xa4rgere \xc3\x84RGER \xd0\xb6\xd1\x83\xd0\xba\xc3\xa9 \xd0\x96\xd0\xa3\xd0\x9a", "[x] \xc3\xa4rgere [x] \xd0\xb6\xd1\x83\xd0\xba\xc3\xa9 [x]");
    redacts(f, "a.b*c aXbbc", "[x] aXbbc");
    redacts(inner, "secrets and asecret", "[x]s and a[x]");
    blocks(f, "so it is a secret.", "so it is a ");
    blocks(inner, "mysecret", "my");
}

static void test_many_words(void)
{
    static const char *words[1000];
    static char text[1000][16];
    conf_filter_t f = make_filter("many", "redact");

    for (size_t i = 0; i < 1000; i++) {
        (void) snprintf(text[i], sizeof text[i], "w%zux%zu", i, i * 7919 % 1000);
        words[i] = text[i];
    }
    f.words = (conf_texts_t) { words, 1000 };
    redacts(f, "w0x0 and w999x81 and w999x82 and w500x500", "[x] and [x] and w999x82 and [x]");
}

static void test_overlaps(void)
{
    conf_filter_t f[] = { make_filter("one", "redact"), make_filter("two", "redact"), make_filter("three", "redact") };
    sets_t        s;

    f[0].patterns = (conf_texts_t) TEXTS("abc", "b\\w*");
    f[1].patterns = (conf_texts_t) TEXTS("cde");
    f[1].replacement = "[y]";
    f[2].patterns = (conf_texts_t) TEXTS("q.*?z");
    f[2].replacement = "";
    sets_init(&s, f, 3);
    everywhere(&s, "1abcde2", "1[x]", false);
    everywhere(&s, "1cdef abc abcabc", "1[y]f [x] [x]", false);
    everywhere(&s, "q abc z cde", " [y]", false);
    everywhere(&s, "q abc cde", "q [x] [y]", false);
    f[1].action = "block";
    filter_set_free(s.set);
    sets_init(&s, f, 3);
    everywhere(&s, "x cd abc cde x", "x cd [x] ", true);
    everywhere(&s, "abcde", "[x]", true);
    f[1].action = "report";
    filter_set_free(s.set);
    sets_init(&s, f, 3);
    everywhere(&s, "cde abcde", "cde [x]", false);
    filter_set_free(s.set);
}

static void test_edges(void)
{
    conf_filter_t f = make_filter("edge", "redact");

    f.patterns = (conf_texts_t) TEXTS("^foo", "bar$", "(?<=pre)x+", "\\bnum\\b", "no\\Kway", "");
    f.patterns.n--;
    redacts(f, "foo foo", "[x] foo");
    redacts(f, "bar bar", "bar [x]");
    redacts(f, "prex x prexxx", "pre[x] x pre[x]");
    redacts(f, "num numb num-", "[x] numb [x]-");
    redacts(f, "noway away", "no[x] away");
    f.patterns = (conf_texts_t) TEXTS("\\p{Lu}{3,}", "\xe2\x82\xac ?\\d+");
    redacts(f, "AB ABC \xc3\x84\xc3\x96\xc3\x9c \xe2\x82\xac 50 \xf0\x9f\x98\x80", "AB [x] [x] [x] \xf0\x9f\x98\x80");
}

static void test_ready(void)
{
    conf_filter_t f = make_filter("pii", "redact");
    static char   pem[4096] = "x -----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n";
    size_t        n = strlen(pem);

    f.ready = (conf_texts_t) TEXTS("email");
    redacts(f, "write to a.b+c@mail.example.com, or m\xc3\xbcller@example.org. not @x or a@b", "write to [x], or [x]. not @x or a@b");
    f.ready = (conf_texts_t) TEXTS("phone");
    redacts(f, "call +43 660 123 4567 or (212) 555-0123, not 12345 or 2024-05-06", "call [x] or [x], not 12345 or 2024-05-06");
    f.ready = (conf_texts_t) TEXTS("card");
    redacts(f, "4111 1111 1111 1111, 4111 1111 1111 1112, 378282246310005 and 5555-5555-5555-4444 12", "[x], 4111 1111 1111 1112, [x] and [x] 12");
    redacts(f, "12 4111111111111111", "12 [x]");
    f.ready = (conf_texts_t) TEXTS("iban");
    redacts(f, "AT61 1904 3002 3457 3201 and DE89370400440532013000 X, not AT62 1904 3002 3457 3201", "[x] and [x] X, not AT62 1904 3002 3457 3201");
    f.ready = (conf_texts_t) TEXTS("aws_key");
    redacts(f, "AKIAIOSFODNN7EXAMPLE, aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY.", "[x], aws_[x].");
    redacts(f, "AKIAIOSFODNN7EXAMPLES", "AKIAIOSFODNN7EXAMPLES");
    f.ready = (conf_texts_t) TEXTS("si_key");
    redacts(f, "sk_si_00000000000000000000000000000000000000003cF9zE st_si_x", "[x] st_si_x");
    f.ready = (conf_texts_t) TEXTS("private_key");
    for (size_t i = 0; i < 40; i++) {
        n += (size_t) snprintf(pem + n, sizeof pem - n, "MIIEpAIBAAKCAQEA0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ+/\n");
    }
    (void) snprintf(pem + n, sizeof pem - n, "-----END RSA PRIVATE KEY----- y");
    redacts(f, pem, "x [x] y");
    pem[n] = '\0';
    redacts(f, pem, "x [x]");
    redacts(f, "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----");
    f.ready = (conf_texts_t) TEXTS("email", "phone", "card", "iban", "aws_key", "private_key", "si_key");
    redacts(f, "a@b.co 4111111111111111 AKIAIOSFODNN7EXAMPLE", "[x] [x] [x]");
    blocks(f, "my card: 4111 1111 1111 1111.", "my card: ");
}

/* How far a text is held: only what may still match, and never more than the window. */
static void test_held(void)
{
    conf_filter_t f = make_filter("held", "redact");
    static char   word[60001];
    sets_t        s;
    filter_text_t t;
    buf_t         out;
    size_t        most = 0;

    f.patterns = (conf_texts_t) TEXTS("needle", "BEGIN.*?END");
    sets_init(&s, &f, 1);
    buf_init(&out, 1u << 20);
    filter_text_init(&t, s.rules, s.set->n, FILTER_OUTPUT, NULL, NULL);
    (void) filter_text_feed(&t, STR("hay nee"), false, &out);
    is_mem(out.p, out.n, "hay ", "what may be a match is held");
    (void) filter_text_feed(&t, STR("d it"), false, &out);
    is_mem(out.p, out.n, "hay need it", "and let go when it is none");
    (void) filter_text_feed(&t, STR("BEGIN "), false, &out);
    is_mem(out.p, out.n, "hay need it", "the beginning of something long is held");
    memset(word, 'n', 60000);
    for (size_t i = 0; i < 60000; i += 500) {
        (void) filter_text_feed(&t, (str_t) { word, 500 }, false, &out);
        most = SI_MAX(most, 11 + 6 + i + 500 - out.n);
    }
    ok(most <= FILTER_WINDOW + 500 && most > FILTER_MATCH, "but no more than the window (%zu bytes)", most);
    (void) filter_text_feed(&t, STR(" needle"), true, &out);
    ok(out.n == 11 + 6 + 60000 + 4 && memcmp(out.p + out.n - 4, " [x]", 4) == 0, "and nothing gets lost");
    filter_text_reset(&t);
    buf_consume(&out, out.n);
    memset(word, 'm', 8000);
    (void) filter_text_feed(&t, (str_t) { word, 60000 }, false, &out);      /* far beyond the window */
    (void) filter_text_feed(&t, STR("BEGIN"), false, &out);
    (void) filter_text_feed(&t, (str_t) { word, 8000 }, false, &out);
    (void) filter_text_feed(&t, STR("END"), true, &out);
    ok(out.n == 60003 && memcmp(out.p + 60000, "[x]", 3) == 0, "a match of 8,008 bytes after a long text is found");
    filter_text_free(&t);
    buf_free(&out);
    filter_set_free(s.set);
}

/* An expression that would take for ever counts as a match, soon. */
static void test_bounds(void)
{
    conf_filter_t f = make_filter("slow", "redact");
    static char   text[4001];
    uint64_t      start = clock_us();
    sets_t        s;
    buf_t         out;

    memset(text, 'a', 4000);
    text[4000] = '\0';
    buf_init(&out, 1u << 20);
    for (size_t i = 0; i < SI_COUNT(actions); i++) {
        f.action = actions[i];
        f.patterns = (conf_texts_t) TEXTS("(a|aa|a+)+b");
        sets_init(&s, &f, 1);
        bool blocked = run_text(&s, (str_t) { text, 4000 }, 0, 0, &out);
        ok(blocked == (i == 1), "a hit bound is a match: %s", actions[i]);
        is_int((long long) out.n, i == 0 ? 3 : i == 1 ? 0 : 4000, "and the text is dealt with as the filter says");
        ok(s.set->rules[0].matches[FILTER_OUTPUT] >= 1, "and counted");
        buf_consume(&out, out.n);
        filter_set_free(s.set);
    }
    ok(clock_us() - start < 10000000, "soon");
    buf_free(&out);
}

static void test_pattern(void)
{
    arena_t    *a = arena_new(1024);
    const char *bad[] = { "(", "a{2", "[z-a]", "(?<=a{100})b", "\\C", "(((((((((((((((((((((((((((((((((((a)))))))))))))))))))))))))))))))))))" }, *err;

    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        pattern_t *p = pattern_new(a, bad[i], false, &err);
        if (i != 1) {
            ok(p == NULL && err[0] != '\0', "%.20s is refused: %s", bad[i], err);
        }
        pattern_free(p);
    }
    arena_free(a);
}

/* What 100 words cost, in a stream of tokens: shown, not judged. */
static void measure(void)
{
    static const char *words[100];
    static char   text[100][16];
    conf_filter_t f[2] = { make_filter("words", "block"), make_filter("ready", "redact") };
    static const char *const tokens[] = { "The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", ".", "\n", " 12", " apples" };
    sets_t        s;
    filter_text_t t;
    buf_t         out;

    for (size_t i = 0; i < 100; i++) {
        (void) snprintf(text[i], sizeof text[i], "%c%cword%zu", (int) ('a' + i % 26), (int) ('a' + i * 7 % 26), i);
        words[i] = text[i];
    }
    f[0].words = (conf_texts_t) { words, 100 };
    f[1].ready = (conf_texts_t) TEXTS("email", "phone", "card", "iban", "aws_key", "private_key", "si_key");
    for (size_t n = 1; n <= 2; n++) {
        sets_init(&s, f, n);
        buf_init(&out, 1u << 20);
        filter_text_init(&t, s.rules, s.set->n, FILTER_OUTPUT, NULL, NULL);
        uint64_t start = clock_us();
        for (size_t i = 0; i < 130000; i++) {
            (void) filter_text_feed(&t, str_of(tokens[i % SI_COUNT(tokens)]), false, &out);
            buf_consume(&out, out.n);
        }
        diag("100 words%s: %.0f ns for each token", n == 2 ? " and all ready-made filters" : "", (double) (clock_us() - start) * 1000 / 130000);
        filter_text_free(&t);
        buf_free(&out);
        filter_set_free(s.set);
    }
}

int main(void)
{
    test_words();
    test_many_words();
    test_overlaps();
    test_edges();
    test_ready();
    test_held();
    test_bounds();
    test_pattern();
    measure();
    return done_testing();
}
