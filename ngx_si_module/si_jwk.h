/*
 * Keys for signatures: JWK sets (RFC 7517) read into OpenSSL's form, and signatures (RFC 7518, RFC 8037) verified by them.
 * Plain C over libcrypto.
 *
 * Each key has exactly one algorithm (RFC 8725 3.1): its `alg`, or without one what its type says: RSA RS256 (the default
 * of OpenID Connect), P-256 ES256, P-384 ES384, Ed25519 EdDSA, oct HS256. Public keys and secrets never share a set, so a
 * public key can never serve as an HMAC secret.
 */
#ifndef SI_JWK_H
#define SI_JWK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#define SI_JWK_KEYS        32       /* of one set */
#define SI_JWK_KID         128      /* bytes of a key's name */
#define SI_JWK_SECRET_MIN  32       /* bytes; RFC 7518 3.2: as long as the hash */
#define SI_JWK_SECRET_MAX  256
#define SI_JWK_RSA_MIN     2048     /* bits; RFC 7518 3.3 */
#define SI_JWK_RSA_MAX     8192     /* bits; more is a load on us, not a strength */
#define SI_JWK_SET_VALUES  4096     /* JSON values of a set */

typedef enum {
    SI_ALG_NONE = 0, SI_ALG_RS256, SI_ALG_RS384, SI_ALG_RS512, SI_ALG_PS256, SI_ALG_ES256, SI_ALG_ES384, SI_ALG_EDDSA, SI_ALG_HS256
} si_alg_t;

typedef struct {
    si_alg_t  alg;
    uint16_t  kid_len;              /* 0: it has no name */
    uint16_t  secret_len;
    char      kid[SI_JWK_KID];
    EVP_PKEY *pkey;                 /* NULL of a secret */
    uint8_t   secret[SI_JWK_SECRET_MAX];
} si_jwk_t;

typedef struct {
    si_jwk_t    keys[SI_JWK_KEYS];
    size_t      n;
    size_t      skipped;            /* keys in the text that are not for us, or are too weak */
    const char *why;                /* of the last one skipped; static */
} si_jwks_t;

/* "RS256" and so on; SI_ALG_NONE: none that is taken. */
si_alg_t si_alg_of(const char *name, size_t n);

/*
 * Reads a set {"keys": [...]}, or one bare key. secrets: only keys of type oct are taken; otherwise only public ones. Keys
 * that are of another kind, for another use, of an unknown algorithm, too short, or whose numbers are wrong are skipped
 * (RFC 7517 section 5). Returns NULL, or a static text why the set cannot be used: no JSON, no key left, too many,
 * two keys with one name and algorithm. Call si_jwks_free() in either case.
 */
const char *si_jwks_read(si_jwks_t *set, const char *text, size_t n, bool secrets);
void        si_jwks_free(si_jwks_t *set);

/* The signature of n bytes at p is this key's. */
bool si_jwk_verify(const si_jwk_t *key, const void *p, size_t n, const uint8_t *sig, size_t sig_len);

#endif
