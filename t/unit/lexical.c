/* Embeddings without a model: the same bits everywhere, and what is near for whom. */
#include "llm/lexical.h"

#include <math.h>

#include "base/util.h"
#include "tap.h"

#define N  512

static double near(const char *a, const char *b)
{
    static float u[N], v[N];
    double sum = 0;

    lexical_vector(str_of(a), u, N);
    lexical_vector(str_of(b), v, N);
    for (size_t i = 0; i < N; i++) {
        sum += (double) u[i] * (double) v[i];
    }
    return sum;
}

static void is_digest(const char *text, size_t n, const char *want, const char *name)
{
    float  *v = si_calloc(n * sizeof *v);
    uint8_t digest[SHA256_LEN];
    char    hex[2 * SHA256_LEN + 1];

    lexical_vector(str_of(text), v, n);
    sha256(digest, v, n * sizeof *v);
    hex_encode(hex, digest, sizeof digest);
    is_str(hex, want, name);
    free(v);
}

/* Vectors are kept in databases: other bits are another vector space, and then CONF_LEXICAL_SPACE changes its name. */
static void golden(void)
{
    is_digest("The quick brown fox jumps over the lazy dog.", 512, "cf83b34a134e0921f7d9ece34ff3978a70a0b4dd04389494e998cec87a7b416c", "English");
    is_digest("Gr\xc3\xb6\xc3\x9f" "e, \xd0\x9c\xd0\xbe\xd1\x81\xd0\xba\xd0\xb2\xd0\xb0, \xe4\xb8\x96\xe7\x95\x8c, \xf0\x9f\x98\x80 42", 256, "74725c69b67307e4b02fb70fc74973f430e7a063bbffe4b2ba07f45c4adf10aa", "many scripts");
    is_digest("?!", 16, "d467a7ab404c90c9b450ce909e18712ba7fd185ea8c994ff7a61019943ae967b", "no word at all");
}

static void shape(void)
{
    static const char *const texts[] = { "a", "one two three", "\xe2\x80\xa6", "   ", "x x x x x x x x", "\xf0\x9f\x98\x80" };

    for (size_t i = 0; i < SI_COUNT(texts); i++) {
        for (size_t n = 1; n <= 4096; n *= 8) {
            float *v = si_calloc(n * sizeof *v);
            double sum = 0;

            lexical_vector(str_of(texts[i]), v, n);
            for (size_t k = 0; k < n; k++) {
                sum += (double) v[k] * (double) v[k];
            }
            ok(fabs(sum - 1) < 1e-5, "text %zu in %zu numbers has length 1", i, n);
            free(v);
        }
    }
    ok(near("same text", "same text") > 0.99999, "a text is nearest to itself");
    ok(near("Hello, World!", "hello world") > 0.99999, "case and punctuation do not count");
    ok(near("\xc3\x9c" "BER M\xc3\x9cNCHEN", "\xc3\xbc" "ber m\xc3\xbcnchen") > 0.99999, "nor does case of other Latin letters");
    ok(near("\xd0\x9c\xd0\x9e\xd0\xa1\xd0\x9a\xd0\x92\xd0\x90", "\xd0\xbc\xd0\xbe\xd1\x81\xd0\xba\xd0\xb2\xd0\xb0") > 0.99999, "of Cyrillic ones");
    ok(near("\xce\x91\xce\x98\xce\x97\xce\x9d\xce\x91", "\xce\xb1\xce\xb8\xce\xb7\xce\xbd\xce\xb1") > 0.99999, "or of Greek ones");
    ok(near("the dog bites the man", "the man bites the dog") < 0.99, "order counts a little");
}

/* What a person would look for, and what they would have in mind; each of the others is a wrong answer. */
static const char *const facts[][2] = {
    { "When does the weekly team meeting start?", "The team meeting starts every week on Tuesday at ten in the morning." },
    { "password reset for the billing portal", "To reset your password, open the billing portal and choose 'Forgotten password'." },
    { "allergic to peanuts", "Anna has an allergy: peanuts and cashew nuts must not be in her food." },
    { "How do I deploy the worker to production?", "Deployment: build the worker, copy the binary to each production machine, then reload." },
    { "favourite programming language", "He said that his favourite language for programming small tools is Lua." },
    { "invoice number of the March order", "The order from March was billed with invoice 2024-0317, number of items: 12." },
    { "flight to Lisbon", "Her flights: Berlin to Lisbon on the 3rd, back from Porto on the 9th." },
    { "database migration failed with a lock timeout", "The migration of the database timed out, since another session held a lock on the table." },
    { "size of the shoes", "Shoe size: 43, wide fit; shirts in L." },
    { "who maintains the parser module", "The maintainer of the parsing module is Priya; the lexer belongs to Tom." },
    { "budget for the kitchen renovation", "For renovating the kitchen they have budgeted nine thousand euros." },
    { "Wann beginnt die Besprechung?", "Die Besprechungen beginnen um neun Uhr im gro\xc3\x9f" "en Raum." },
};

static void ranks(void)
{
    size_t first = 0;

    for (size_t i = 0; i < SI_COUNT(facts); i++) {
        double best = -2;
        size_t at = 0;

        for (size_t k = 0; k < SI_COUNT(facts); k++) {
            double s = near(facts[i][0], facts[k][1]);

            if (s > best) {
                best = s;
                at = k;
            }
        }
        first += at == i;
        if (at != i) {
            diag("'%s' finds '%s'", facts[i][0], facts[at][1]);
        }
    }
    ok(first + 1 >= SI_COUNT(facts), "of %zu questions %zu find their answer first: one may miss", SI_COUNT(facts), first);
}

static void pairs(void)
{
    /* a text, one that is near, one that is far */
    static const char *const sets[][3] = {
        { "The cat sleeps on the sofa", "A cat is sleeping on our sofa", "The stock market fell by two percent" },
        { "configure nginx as a reverse proxy", "nginx reverse proxy configuration", "recipe for apple pie with cinnamon" },
        { "internationalization", "internationalisation", "international relations" },
        { "retry failed requests with backoff", "failed requests are retried after a back-off", "request a refund for a failed payment" },
        { "\xe6\x9d\xb1\xe4\xba\xac\xe3\x81\xae\xe5\xa4\xa9\xe6\xb0\x97", "\xe6\x9d\xb1\xe4\xba\xac\xe5\xa4\xa9\xe6\xb0\x97\xe4\xba\x88\xe5\xa0\xb1", "\xe7\x8c\xab\xe3\x81\x8c\xe5\xa5\xbd\xe3\x81\x8d" },
        { "Bluetooth headphones will not pair", "pairing problem with bluetooth headphone", "The pear tree in the garden blooms" },
    };

    for (size_t i = 0; i < SI_COUNT(sets); i++) {
        double n = near(sets[i][0], sets[i][1]), f = near(sets[i][0], sets[i][2]);

        ok(n > f + 0.05, "%s: %.2f is nearer than %.2f", sets[i][1], n, f);
    }
    ok(near("car", "automobile") < 0.2, "it knows no meaning, and does not pretend to: car and automobile are %.2f", near("car", "automobile"));
}

static void speed(void)
{
    static char text[1024];
    static float v[N];
    const char  *line = "Everything that a worker keeps for a turn is freed when the turn ends, whatever way it took. ";
    uint64_t     best = UINT64_MAX;

    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = line[i % strlen(line)];
    }
    for (int round = 0; round < 50; round++) {
        uint64_t start = clock_us();

        for (int i = 0; i < 20; i++) {
            lexical_vector((str_t) { text, sizeof text }, v, N);
        }
        best = SI_MIN(best, clock_us() - start);
    }
    diag("a text of 1 KiB takes %.1f us", (double) best / 20);
}

int main(void)
{
    golden();
    shape();
    ranks();
    pairs();
    speed();
    return done_testing();
}
