#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/proc.h"
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

/* A page of random bytes that are not used yet. A child of fork() finds it empty, so that no two processes use the same. */
struct random {
    size_t        left;
    unsigned char bytes[2048];
};

static void from_system(unsigned char *b, size_t n)
{
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

static struct random *random_page(void)
{
    void *p = mmap(NULL, sizeof(struct random), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || madvise(p, sizeof(struct random), MADV_WIPEONFORK) != 0) {
        si_die("no page for random bytes: %s", strerror(errno));
    }
    return p;
}

void random_bytes(void *p, size_t n)
{
    struct random *r = proc.random = proc.random != NULL ? proc.random : random_page();

    if (n > sizeof r->bytes / 8) {
        from_system(p, n);
        return;
    }
    if (r->left < n) {
        from_system(r->bytes, sizeof r->bytes);
        r->left = sizeof r->bytes;
    }
    r->left -= n;
    memcpy(p, r->bytes + r->left, n);
    explicit_bzero(r->bytes + r->left, n);
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
