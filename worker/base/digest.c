#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include "base/util.h"

void hex_encode(char *out, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *b = p;

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[b[i] >> 4];
        out[2 * i + 1] = digits[b[i] & 15];
    }
    out[2 * n] = '\0';
}

void sha256(uint8_t out[SHA256_LEN], const void *p, size_t n)
{
    if (EVP_Digest(n ? p : "", n, out, NULL, EVP_sha256(), NULL) != 1) {
        si_die("SHA-256 failed");
    }
}

void hmac_sha256(uint8_t out[SHA256_LEN], str_t key, str_t text)
{
    if (key.n > INT32_MAX || HMAC(EVP_sha256(), key.n ? key.p : "", (int) key.n, (const uint8_t *) (text.n ? text.p : ""), text.n, out, NULL) == NULL) {
        si_die("HMAC-SHA-256 failed");
    }
}

void sha1(uint8_t out[SHA1_LEN], const void *p, size_t n)
{
    if (EVP_Digest(n ? p : "", n, out, NULL, EVP_sha1(), NULL) != 1) {
        si_die("SHA-1 failed");
    }
}

void random_bytes(void *p, size_t n)
{
    unsigned char *b = p;

    while (n > 0) {
        ssize_t got = getrandom(b, n, 0);

        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            si_die("getrandom: %s", strerror(errno));
        }
        b += got;
        n -= (size_t) got;
    }
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(void *out, size_t n, str_t hex)
{
    uint8_t *p = out;

    if (hex.n != 2 * n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        int hi = digit_of(hex.p[2 * i]), lo = digit_of(hex.p[2 * i + 1]);
        if (hi < 0 || lo < 0) {
            return false;
        }
        p[i] = (uint8_t) (hi << 4 | lo);
    }
    return true;
}
