/*
 * Tokens of many users, signed with one key.
 *
 *   tokens KEY.pem KID N
 *
 * Prints N lines, RS256 tokens of the users u0, u1, … of the tenant (claim org) "house", from https://id.example for "si",
 * good for an hour.
 */
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "bench.h"

#define PART_MAX       256      /* bytes of a header or of claims */
#define SIGNATURE_MAX  512      /* RSA of 4096 bits */

/* Base64url of at most SIGNATURE_MAX bytes, without padding. */
static const char *base64url(char out[SIGNATURE_MAX * 4 / 3 + 8], const void *in, size_t n)
{
    size_t len = (size_t) EVP_EncodeBlock((unsigned char *) out, in, (int) n);

    while (len && out[len - 1] == '=') {
        len--;
    }
    out[len] = '\0';
    for (char *p = out; *p; p++) {
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    }
    return out;
}

static void print_token(EVP_PKEY *key, const char *kid, long user)
{
    char          head[PART_MAX], claims[PART_MAX], a[SIGNATURE_MAX * 4 / 3 + 8], b[sizeof(a)], text[2 * sizeof(a)];
    unsigned char sig[SIGNATURE_MAX];
    size_t        n = sizeof(sig);
    EVP_MD_CTX   *md = EVP_MD_CTX_new();
    int           h = snprintf(head, sizeof(head), "{\"alg\":\"RS256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    int           c = snprintf(claims, sizeof(claims), "{\"iss\":\"https://id.example\",\"aud\":\"si\",\"org\":\"house\",\"sub\":\"u%ld\",\"exp\":%ld}",
                               user, (long) time(NULL) + 3600);
    int           t;

    if (h >= PART_MAX || c >= PART_MAX) {
        errno = E2BIG;
        die("kid");
    }
    t = snprintf(text, sizeof(text), "%s.%s", base64url(a, head, (size_t) h), base64url(b, claims, (size_t) c));
    if (EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) != 1
        || EVP_DigestSign(md, sig, &n, (unsigned char *) text, (size_t) t) != 1)
    {
        die("sign");
    }
    EVP_MD_CTX_free(md);
    printf("%s.%s\n", text, base64url(a, sig, n));
}

int main(int argc, char **argv)
{
    FILE     *file = argc == 4 ? fopen(argv[1], "r") : NULL;
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;

    if (!key) {
        fprintf(stderr, "usage: tokens KEY.pem KID N\n");
        return 2;
    }
    for (long i = 0; i < atol(argv[3]); i++) {
        print_token(key, argv[2], i);
    }
    EVP_PKEY_free(key);
    fclose(file);
    return 0;
}
