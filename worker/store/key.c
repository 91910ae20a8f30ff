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

void key_new(char out[KEY_LEN + 1])
{
    size_t  n = sizeof(KEY_PREFIX) - 1;
    uint8_t c;

    memcpy(out, KEY_PREFIX, n);
    while (n < BODY_LEN) {
        random_bytes(&c, 1);
        if (c < 248) {                                  /* 4 * 62: above it some digits would come more often */
            out[n++] = digits[c % 62];
        }
    }
    checksum(out, out + n);
    out[KEY_LEN] = '\0';
}

bool key_valid(str_t key)
{
    size_t n = sizeof(KEY_PREFIX) - 1;
    char   sum[CHECK_LEN];

    if (key.n != KEY_LEN || memcmp(key.p, KEY_PREFIX, n) != 0) {
        return false;
    }
    for (size_t i = n; i < KEY_LEN; i++) {
        if (key.p[i] == '\0' || strchr(digits, key.p[i]) == NULL) {
            return false;
        }
    }
    checksum(key.p, sum);
    return memcmp(sum, key.p + BODY_LEN, CHECK_LEN) == 0;
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
