/* Keys and tokens of the test's own making, by OpenSSL: what an identity provider does. */
#ifndef SI_TEST_JWT_SIGN_H
#define SI_TEST_JWT_SIGN_H

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "base/buf.h"
#include "tap.h"

#define TEXT_MAX  16384
#define SECRET    "0123456789abcdef0123456789abcdef"

typedef struct {
    const char *alg;                /* as in a header */
    EVP_PKEY   *pkey;               /* NULL: HMAC with secret */
    const char *secret;
    size_t      secret_len;
} signer_t;

static inline void put_base64url(buf_t *b, const void *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t    *p = bytes;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t) p[i] << 16 | (i + 1 < n ? (uint32_t) p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        char     c[4] = { digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63] };

        (void) buf_append(b, c, n - i > 2 ? 4 : n - i + 1);
    }
}

/* r and s of fixed width, as a JWS has them. */
static inline size_t raw_ecdsa(uint8_t *sig, size_t n, size_t half)
{
    const uint8_t *p = sig;
    ECDSA_SIG     *es = d2i_ECDSA_SIG(NULL, &p, (long) n);

    BN_bn2binpad(ECDSA_SIG_get0_r(es), sig, (int) half);
    BN_bn2binpad(ECDSA_SIG_get0_s(es), sig + half, (int) half);
    ECDSA_SIG_free(es);
    return 2 * half;
}

static inline size_t sign_bytes(const signer_t *s, const void *p, size_t n, uint8_t sig[1024])
{
    const char   *digest = s->pkey && strcmp(s->alg, "EdDSA") == 0 ? NULL : strstr(s->alg, "384") ? "SHA384" : strstr(s->alg, "512") ? "SHA512" : "SHA256";
    EVP_MD_CTX   *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    size_t        len = 1024;
    unsigned      mac = 0;

    if (s->pkey == NULL) {
        HMAC(EVP_sha256(), s->secret, (int) s->secret_len, p, n, sig, &mac);
        EVP_MD_CTX_free(md);
        return mac;
    }
    EVP_DigestSignInit_ex(md, &ctx, digest, NULL, NULL, s->pkey, NULL);
    if (s->alg[0] == 'P') {
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST);
    }
    EVP_DigestSign(md, sig, &len, p, n);
    EVP_MD_CTX_free(md);
    return s->alg[0] == 'E' && s->alg[1] == 'S' ? raw_ecdsa(sig, len, strstr(s->alg, "384") ? 48 : 32) : len;
}

/* A token of these texts, whatever they say. Returns it, in b. */
static inline str_t sign_token(buf_t *b, const signer_t *s, const char *header, const char *claims)
{
    uint8_t sig[1024];
    size_t  n;

    buf_consume(b, b->n);
    put_base64url(b, header, strlen(header));
    (void) buf_puts(b, ".");
    put_base64url(b, claims, strlen(claims));
    n = sign_bytes(s, b->p, b->n, sig);
    (void) buf_puts(b, ".");
    put_base64url(b, sig, n);
    return (str_t) { b->p, b->n };
}

static inline void put_number(buf_t *b, const char *name, const EVP_PKEY *pkey, const char *param, int width)
{
    BIGNUM *bn = NULL;
    uint8_t bytes[1024];
    int     n;

    EVP_PKEY_get_bn_param(pkey, param, &bn);
    n = width > 0 ? BN_bn2binpad(bn, bytes, width) : BN_bn2bin(bn, bytes);
    BN_free(bn);
    buf_printf(b, ",\"%s\":\"", name);
    put_base64url(b, bytes, (size_t) n);
    (void) buf_puts(b, "\"");
}

/* The signer's key as a JWK: public, or the secret. more: further members, with a comma before them. */
static inline void put_jwk(buf_t *b, const signer_t *s, const char *more)
{
    uint8_t x[32];
    size_t  n = sizeof x;
    int     width = strstr(s->alg, "384") ? 48 : 32;

    if (s->pkey == NULL) {
        buf_printf(b, "{\"kty\":\"oct\",\"k\":\"");
        put_base64url(b, s->secret, s->secret_len);
        buf_printf(b, "\"%s}", more);
        return;
    }
    switch (EVP_PKEY_get_base_id(s->pkey)) {
    case EVP_PKEY_RSA:
        buf_printf(b, "{\"kty\":\"RSA\"");
        put_number(b, "n", s->pkey, OSSL_PKEY_PARAM_RSA_N, 0);
        put_number(b, "e", s->pkey, OSSL_PKEY_PARAM_RSA_E, 0);
        break;
    case EVP_PKEY_EC:
        buf_printf(b, "{\"kty\":\"EC\",\"crv\":\"P-%d\"", width * 8);
        put_number(b, "x", s->pkey, OSSL_PKEY_PARAM_EC_PUB_X, width);
        put_number(b, "y", s->pkey, OSSL_PKEY_PARAM_EC_PUB_Y, width);
        break;
    default:
        EVP_PKEY_get_raw_public_key(s->pkey, x, &n);
        buf_printf(b, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
        put_base64url(b, x, n);
        (void) buf_puts(b, "\"");
    }
    buf_printf(b, "%s}", more);
}

#endif
