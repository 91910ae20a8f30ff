/*
 * libFuzzer target: the form of an API key and of a ticket. What is taken for one has its length, prefix and digits, and none
 * other than the six last characters belongs to the ones before; it is never the other, and one made here is always taken. Run
 * by scripts/fuzz.
 */
#include "store/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

/* No NUL behind it and nothing else: a byte too far is seen. */
static bool valid(bool (*is)(str_t), const uint8_t *p, size_t n)
{
    char *copy = si_malloc(n + !n);
    bool  good;

    memcpy(copy, p, n);
    good = is((str_t) { copy, n });
    free(copy);
    return good;
}

static bool digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static void check_valid(bool (*is)(str_t), const char *prefix, const uint8_t *p, size_t n)
{
    uint8_t other[KEY_LEN];

    check(n == KEY_LEN && memcmp(p, prefix, 6) == 0);
    for (size_t i = 6; i < n; i++) {
        check(digit(p[i]));
    }
    memcpy(other, p, n);
    other[n - 1] = other[n - 1] == 'A' ? 'B' : 'A';
    check(!valid(is, other, n));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    char key[KEY_LEN + 1], hash[65];

    if (valid(key_valid, p, n)) {
        check_valid(key_valid, KEY_PREFIX, p, n);
        check(!valid(ticket_valid, p, n));
    }
    if (valid(ticket_valid, p, n)) {
        check_valid(ticket_valid, TICKET_PREFIX, p, n);
    }
    key_hash((str_t) { (const char *) p, n }, hash);
    check(strlen(hash) == 64);
    key_new(key);
    check(valid(key_valid, (const uint8_t *) key, KEY_LEN));
    ticket_new(key);
    check(valid(ticket_valid, (const uint8_t *) key, KEY_LEN));
    return 0;
}
