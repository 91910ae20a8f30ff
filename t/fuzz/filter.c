/*
 * libFuzzer target: filters on a text that comes in pieces. The first two bytes choose the filters and how the rest is cut;
 * what comes out must be the same as when it is fed whole, valid UTF-8, and held back no longer than it may be. Run by scripts/fuzz.
 */
#include "base/util.h"
#include "llm/filter_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define TEXTS(...)  { (const char *const []) { __VA_ARGS__ }, sizeof((const char *const []) { __VA_ARGS__ }) / sizeof(char *) }

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

/* bits: 0 words, 1 patterns, 2 ready-made ones, 3 a second filter that blocks, 4 words within words, 5 an odd replacement. */
static const filter_set_t *make(uint8_t bits)
{
    static filter_set_t *made[64];      /* compiling takes longer than all else */
    static conf_t        confs[64];
    static conf_filter_t filters[64][2];
    conf_t        *c = &confs[bits];
    conf_filter_t *f = filters[bits];
    const conf_texts_t words = TEXTS("ab", "abc d", "\xc3\xa4", "b.c"), patterns = TEXTS("x[^y]{0,9}y", "(?<=a)b+", "^q", "z$", "\\d{2,}?c", "(a|b)*c"),
                              ready = TEXTS("email", "phone", "card", "iban", "aws_key", "private_key", "si_key"), block = TEXTS("stop it", "\\bno{3,}\\b");

    if (made[bits] != NULL) {
        return made[bits];
    }
    f[0] = (conf_filter_t) { "one", "redact", "both", bits & 32 ? "" : "[x]", bits & 16 ? "off" : "on", { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
    f[0].words = bits & 1 ? words : f[0].words;
    f[0].patterns = bits & 2 ? patterns : f[0].patterns;
    f[0].ready = bits & 4 ? ready : f[0].ready;
    f[1] = (conf_filter_t) { "two", "block", "both", "", "on", { NULL, 0 }, block, { NULL, 0 } };
    *c = (conf_t) { .filter_sets = f, .nfilter_sets = bits & 8 ? 2 : 1 };
    return made[bits] = filter_set_new(c);
}

/* Pieces of 1 to 16 bytes by a simple generator; seed 0: whole. True: blocked. */
static bool feed(const filter_set_t *set, str_t text, uint32_t seed, buf_t *out)
{
    filter_rule_t *rules[32];
    filter_text_t  t;
    bool           blocked;

    check(set->n <= SI_COUNT(rules));
    for (size_t i = 0; i < set->n; i++) {
        rules[i] = &set->rules[i];
    }
    filter_text_init(&t, rules, set->n, FILTER_OUTPUT, NULL, NULL);
    while (text.n > 0) {
        seed = seed != 0 ? seed * 1103515245u + 12345u : 0;
        size_t n = seed != 0 ? SI_MIN(text.n, (seed >> 16) % 16 + 1) : text.n;

        while (n < text.n && ((unsigned char) text.p[n] & 0xc0) == 0x80) {
            n++;
        }
        char *copy = si_malloc(n);
        memcpy(copy, text.p, n);
        check(filter_text_feed(&t, (str_t) { copy, n }, false, out) == 0);
        free(copy);
        check(t.text.n - t.out <= FILTER_WINDOW + n);
        text = (str_t) { text.p + n, text.n - n };
    }
    check(filter_text_feed(&t, STR(""), true, out) == 0);
    blocked = t.blocked != NULL;
    filter_text_free(&t);
    return blocked;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    buf_t whole, cut;
    str_t text = { (const char *) p + 2, n - 2 };

    if (n < 2 || !utf8_valid(text)) {
        return 0;
    }
    const filter_set_t *set = make(p[0] & 63);
    buf_init(&whole, 1u << 20);
    buf_init(&cut, 1u << 20);
    bool a = feed(set, text, 0, &whole), b = feed(set, text, p[1] + 1u, &cut);

    check(a == b);
    check(a || str_eq((str_t) { whole.p, whole.n }, (str_t) { cut.p, cut.n }));
    check(utf8_valid((str_t) { whole.n > 0 ? whole.p : "", whole.n }) && utf8_valid((str_t) { cut.n > 0 ? cut.p : "", cut.n }));
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
