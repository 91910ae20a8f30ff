#include "llm/filter_ready.h"

#define CARD_MIN  13                /* digits of a payment card, ISO/IEC 7812: up to 19 */
#define IBAN_MIN  15                /* characters of an IBAN, ISO 13616: up to 34 */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

/* ISO/IEC 7812-1, annex B: from the right, every second digit counts twice. */
static bool luhn(const char *p, size_t n)
{
    unsigned sum = 0, digits = 0;

    for (size_t i = n; i-- > 0; ) {
        if (is_digit(p[i])) {
            unsigned d = (unsigned) (p[i] - '0') << (digits++ & 1);
            sum += d > 9 ? d - 9 : d;
        }
    }
    return digits >= CARD_MIN && sum % 10 == 0;
}

/* The longest part from its front that is a card's number: another number may stand behind it. */
static size_t check_card(str_t text, size_t n)
{
    for (; n >= CARD_MIN; n--) {
        if (is_digit(text.p[n - 1]) && (n == text.n || !is_digit(text.p[n])) && luhn(text.p, n)) {
            return n;
        }
    }
    return 0;
}

/* ISO 7064, mod 97-10: the first four characters go to the end, letters count from 10; the rest is 1. */
static bool mod97(const char *p, size_t n)
{
    char     all[40];
    size_t   k = 0;
    unsigned rest = 0;

    for (size_t i = 0; i < n && k < sizeof all; i++) {
        if (p[i] != ' ') {
            all[k++] = p[i];
        }
    }
    for (size_t i = 0; i < k && k >= IBAN_MIN; i++) {
        char c = all[(i + 4) % k];
        rest = is_digit(c) ? (rest * 10 + (unsigned) (c - '0')) % 97 : (rest * 100 + (unsigned) (c - 'A') + 10) % 97;
    }
    return k >= IBAN_MIN && rest == 1;
}

static size_t check_iban(str_t text, size_t n)
{
    for (; n >= IBAN_MIN; n--) {
        bool ends = n == text.n || !(is_digit(text.p[n]) || is_upper(text.p[n]));
        if (ends && text.p[n - 1] != ' ' && mod97(text.p, n)) {
            return n;
        }
    }
    return 0;
}

/*
 * None has to look far: each is bounded, and none begins within a word, so that a long word is looked at once. Keys of AWS:
 * the prefixes of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html, and 40 characters where the
 * words before them say that they are a secret key. PEM: RFC 7468 and OpenSSL's older headers; a block that does not end is
 * taken as far as it goes. Si's keys and tickets: store/key.h.
 */
static const filter_ready_t all[] = {
    { "email", "(?<![\\p{L}\\p{N}._%+-])[\\p{L}\\p{N}._%+-]{1,64}@(?:[\\p{L}\\p{N}-]{1,63}\\.){1,8}\\p{L}{2,24}(?![\\p{L}\\p{N}])", NULL },
    { "phone", "(?<![\\p{L}\\p{N}+])(?:(?:\\+|00)[1-9](?:[ .()/-]{0,2}[0-9]){7,14}|\\(?[2-9][0-9]{2}\\)?[ .-][2-9][0-9]{2}[ .-][0-9]{4})(?![\\p{L}\\p{N}])", NULL },
    { "card", "(?<![\\p{L}\\p{N}])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])", check_card },
    { "iban", "(?<![\\p{L}\\p{N}])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}(?![A-Z0-9])", check_iban },
    { "aws_key", "(?<![A-Za-z0-9])(?:A3T[A-Z0-9]|A(?:BIA|CCA|GPA|IDA|IPA|KIA|NPA|NVA|PKA|ROA|SCA|SIA))[A-Z2-7]{16}(?![A-Za-z0-9])"
                 "|(?i:secret_?access_?key)[\"']?\\s{0,4}[:=]\\s{0,4}[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])", NULL },
    { "private_key", "-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
                     "(?:\\s{0,4}(?:Proc-Type|DEK-Info|Comment|Version): ?[^\\r\\n]{1,100}){0,4}"
                     "[A-Za-z0-9+/=\\s\\\\]{0,7000}+(?:-----END [A-Z0-9 ]{1,60}-----)?", NULL },
    { "si_key", "(?<![A-Za-z0-9_])s[kt]_si_[0-9A-Za-z]{46}(?![0-9A-Za-z])", NULL },
};

const filter_ready_t *filter_ready(const char *name)
{
    for (size_t i = 0; i < SI_COUNT(all); i++) {
        if (strcmp(all[i].name, name) == 0) {
            return &all[i];
        }
    }
    return NULL;
}
