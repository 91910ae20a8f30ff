#include "store/key.h"

#include <stdio.h>

#include "base/util.h"

#define CHECK_LEN  6
#define BODY_LEN   (KEY_LEN - CHECK_LEN)

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static void checksum(const char *body, char out[CHECK_LEN])
{
    uint8_t  sum[SHA256_LEN];
    uint32_t v;

    sha256(sum, body, BODY_LEN);
    v = (uint32_t) sum[0] << 24 | (uint32_t) sum[1] << 16 | (uint32_t) sum[2] << 8 | sum[3];
    for (int i = CHECK_LEN - 1; i >= 0; i--) {
        out[i] = digits[v % 62];
        v /= 62;
    }
}

#define PREFIX_LEN  (sizeof(KEY_PREFIX) - 1)
_Static_assert(sizeof(TICKET_PREFIX) == sizeof(KEY_PREFIX), "one length for both");

static void make(const char *prefix, char out[KEY_LEN + 1])
{
    size_t  n = PREFIX_LEN;
    uint8_t c;

    memcpy(out, prefix, n);
    while (n < BODY_LEN) {
        random_bytes(&c, 1);
        if (c < 248) {                                  /* 4 * 62: above it some digits would come more often */
            out[n++] = digits[c % 62];
        }
    }
    checksum(out, out + n);
    out[KEY_LEN] = '\0';
}

static bool valid(const char *prefix, str_t key)
{
    char sum[CHECK_LEN];

    if (key.n != KEY_LEN || memcmp(key.p, prefix, PREFIX_LEN) != 0) {
        return false;
    }
    for (size_t i = PREFIX_LEN; i < KEY_LEN; i++) {
        if (key.p[i] == '\0' || strchr(digits, key.p[i]) == NULL) {
            return false;
        }
    }
    checksum(key.p, sum);
    return memcmp(sum, key.p + BODY_LEN, CHECK_LEN) == 0;
}

void key_new(char out[KEY_LEN + 1])
{
    make(KEY_PREFIX, out);
}

bool key_valid(str_t key)
{
    return valid(KEY_PREFIX, key);
}

void ticket_new(char out[KEY_LEN + 1])
{
    make(TICKET_PREFIX, out);
}

bool ticket_valid(str_t ticket)
{
    return valid(TICKET_PREFIX, ticket);
}

void key_hint(const char *key, char out[KEY_HINT + 1])
{
    snprintf(out, KEY_HINT + 1, "%.10s…%.4s", key, key + KEY_LEN - 4);
}

bool scope_has(const char *scopes, const char *word)
{
    size_t n = strlen(word), step;

    for (const char *p = scopes; *p; p += step + (p[step] == ' ')) {
        step = strcspn(p, " ");
        if (step == n && memcmp(p, word, n) == 0) {
            return true;
        }
    }
    return false;
}

void key_hash(str_t key, char out[64 + 1])
{
    uint8_t sum[SHA256_LEN];

    sha256(sum, key.p, key.n);
    hex_encode(out, sum, sizeof(sum));
}
