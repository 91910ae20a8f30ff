#include "si_jwk.h"

#include <stdlib.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "si_json.h"

#define NUMBER_MAX  (SI_JWK_RSA_MAX / 8)    /* bytes of a key's number */

/* What belongs to an algorithm. `kty` and `crv` are what its key must say. */
static const struct { const char *name, *kty, *crv, *digest; uint16_t coordinate; } algs[] = {
    [SI_ALG_RS256] = { "RS256", "RSA", NULL, "SHA256", 0 },
    [SI_ALG_RS384] = { "RS384", "RSA", NULL, "SHA384", 0 },
    [SI_ALG_RS512] = { "RS512", "RSA", NULL, "SHA512", 0 },
    [SI_ALG_PS256] = { "PS256", "RSA", NULL, "SHA256", 0 },
    [SI_ALG_ES256] = { "ES256", "EC", "P-256", "SHA256", 32 },
    [SI_ALG_ES384] = { "ES384", "EC", "P-384", "SHA384", 48 },
    [SI_ALG_EDDSA] = { "EdDSA", "OKP", "Ed25519", NULL, 32 },
    [SI_ALG_HS256] = { "HS256", "oct", NULL, "SHA256", 0 },
};
#define NALGS  (sizeof(algs) / sizeof(algs[0]))

typedef struct {
    const si_json_t       *j;
    const si_json_value_t *v;           /* the key's object */
} source_t;

si_alg_t si_alg_of(const char *name, size_t n)
{
    for (size_t i = SI_ALG_RS256; i < NALGS; i++) {
        if (strlen(algs[i].name) == n && memcmp(algs[i].name, name, n) == 0) {
            return (si_alg_t) i;
        }
    }
    return SI_ALG_NONE;
}

static const si_json_value_t *member(const source_t *s, const char *name)
{
    return si_json_get(s->j, s->v, name);
}

static bool says(const source_t *s, const char *name, const char *value)
{
    return si_json_is(s->j, member(s, name), value, strlen(value));
}

/* The bytes of a base64url member; -1: it is missing or wrong. */
static ptrdiff_t number(const source_t *s, const char *name, uint8_t *out, size_t cap)
{
    const si_json_value_t *v = member(s, name);

    if (v == NULL || v->type != SI_JSON_STRING || v->escaped) {
        return -1;
    }
    return si_base64url(out, cap, s->j->text + v->at, v->len);
}

/* The first algorithm of the table that fits the key's type and curve is the one a key without `alg` has. */
static si_alg_t alg_of_key(const source_t *s)
{
    const si_json_value_t *alg = member(s, "alg");

    for (size_t i = SI_ALG_RS256; i < NALGS; i++) {
        if (says(s, "kty", algs[i].kty) && (algs[i].crv == NULL || says(s, "crv", algs[i].crv))
            && (alg == NULL || si_json_is(s->j, alg, algs[i].name, strlen(algs[i].name))))
        {
            return (si_alg_t) i;
        }
    }
    return SI_ALG_NONE;
}

static bool usable(const source_t *s)
{
    const si_json_value_t *ops = member(s, "key_ops"), *op;

    if (member(s, "use") != NULL && !says(s, "use", "sig")) {
        return false;
    }
    if (ops == NULL) {
        return true;
    }
    for (op = si_json_first(s->j, ops); op != NULL; op = si_json_after(s->j, ops, op)) {
        if (si_json_is(s->j, op, "verify", 6)) {
            return true;
        }
    }
    return false;
}

static EVP_PKEY *make(const char *type, OSSL_PARAM_BLD *bld)
{
    OSSL_PARAM   *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = params ? EVP_PKEY_CTX_new_from_name(NULL, type, NULL) : NULL;
    EVP_PKEY     *pkey = NULL;

    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0) {
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

/* Takes n and e. */
static EVP_PKEY *make_rsa(BIGNUM *n, BIGNUM *e)
{
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY       *pkey = NULL;

    if (bld && n && e && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e)) {
        pkey = make("RSA", bld);
    }
    OSSL_PARAM_BLD_free(bld);
    BN_free(n);
    BN_free(e);
    return pkey;
}

static const char *rsa_key(si_jwk_t *key, const source_t *s)
{
    uint8_t   n[NUMBER_MAX], e[8];
    ptrdiff_t n_len = number(s, "n", n, sizeof(n)), e_len = number(s, "e", e, sizeof(e));
    uint64_t  exponent = 0;

    if (n_len <= 0 || e_len <= 0 || n[0] == 0 || e[0] == 0 || (n[n_len - 1] & 1) == 0) {
        return "its modulus or exponent is missing, malformed or too long";
    }
    for (ptrdiff_t i = 0; i < e_len; i++) {
        exponent = exponent << 8 | e[i];
    }
    if (exponent < 3 || exponent % 2 == 0) {
        return "its exponent is 1 or even";
    }
    key->pkey = make_rsa(BN_bin2bn(n, (int) n_len, NULL), BN_bin2bn(e, (int) e_len, NULL));
    if (key->pkey == NULL) {
        return "OpenSSL does not take it";
    }
    return EVP_PKEY_get_bits(key->pkey) < SI_JWK_RSA_MIN ? "it has fewer than 2048 bits" : NULL;
}

static const char *ec_key(si_jwk_t *key, const source_t *s)
{
    size_t          size = algs[key->alg].coordinate;
    uint8_t         point[1 + 2 * 48];
    OSSL_PARAM_BLD *bld;
    EVP_PKEY_CTX   *ctx;
    bool            good;

    point[0] = 4;                       /* SEC 1, 2.3.3: uncompressed */
    if (number(s, "x", point + 1, size) != (ptrdiff_t) size || number(s, "y", point + 1 + size, size) != (ptrdiff_t) size) {
        return "its coordinates are missing or of the wrong length";
    }
    bld = OSSL_PARAM_BLD_new();
    if (bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, algs[key->alg].crv, 0)
        && OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * size))
    {
        key->pkey = make("EC", bld);
    }
    OSSL_PARAM_BLD_free(bld);
    ctx = key->pkey ? EVP_PKEY_CTX_new(key->pkey, NULL) : NULL;
    good = ctx && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good ? NULL : "its point is not on the curve";
}

static const char *okp_key(si_jwk_t *key, const source_t *s)
{
    uint8_t x[32];

    if (number(s, "x", x, sizeof(x)) != (ptrdiff_t) sizeof(x)) {
        return "its x is missing or of the wrong length";
    }
    key->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
    return key->pkey ? NULL : "OpenSSL does not take it";
}

static const char *oct_key(si_jwk_t *key, const source_t *s)
{
    ptrdiff_t n = number(s, "k", key->secret, sizeof(key->secret));

    if (n < SI_JWK_SECRET_MIN) {
        return "its secret is missing, malformed, shorter than 32 bytes or longer than 256";
    }
    key->secret_len = (uint16_t) n;
    return NULL;
}

static const char *read_key(si_jwk_t *key, const source_t *s, bool secrets)
{
    const si_json_value_t *kid = member(s, "kid");
    ptrdiff_t              n = kid ? si_json_string(s->j, kid, key->kid, sizeof(key->kid)) : 0;

    key->alg = alg_of_key(s);
    if (key->alg == SI_ALG_NONE) {
        return "its type, curve and algorithm are none that is taken";
    }
    if ((key->alg == SI_ALG_HS256) != secrets) {
        return secrets ? "it is no secret" : "it is a secret among public keys";
    }
    if (!usable(s)) {
        return "it is not for verifying signatures";
    }
    if (n < 0) {
        return "its kid is no string or too long";
    }
    key->kid_len = (uint16_t) n;
    switch (algs[key->alg].kty[0]) {
    case 'R':
        return rsa_key(key, s);
    case 'E':
        return ec_key(key, s);
    default:
        return secrets ? oct_key(key, s) : okp_key(key, s);
    }
}

static void key_free(si_jwk_t *key)
{
    EVP_PKEY_free(key->pkey);
    OPENSSL_cleanse(key, sizeof(*key));
}

static bool same_kid(const source_t *a, const source_t *b)
{
    char      x[SI_JWK_KID], y[SI_JWK_KID];
    ptrdiff_t n = si_json_string(a->j, member(a, "kid"), x, sizeof(x)), m = si_json_string(b->j, member(b, "kid"), y, sizeof(y));

    return n == m && (n <= 0 || memcmp(x, y, (size_t) n) == 0);
}

/* A token could not tell this key from an earlier one, even if the numbers of one are wrong. */
static bool twin(const source_t *s, const si_json_value_t *keys)
{
    for (const si_json_value_t *v = si_json_first(s->j, keys); v != s->v && v != NULL; v = si_json_after(s->j, keys, v)) {
        source_t other = { s->j, v };

        if (usable(&other) && alg_of_key(&other) == alg_of_key(s) && same_kid(&other, s)) {
            return true;
        }
    }
    return false;
}

static const char *add_key(si_jwks_t *set, const source_t *s, bool secrets)
{
    si_jwk_t   *key = &set->keys[set->n];
    const char *why;

    if (set->n == SI_JWK_KEYS) {
        return "it has more than 32 keys";
    }
    why = read_key(key, s, secrets);
    if (why != NULL) {
        key_free(key);
        set->skipped++;
        set->why = why;
        ERR_clear_error();              /* what OpenSSL said would be taken for another's error */
        return NULL;
    }
    set->n++;
    return NULL;
}

static const char *read_set(si_jwks_t *set, const si_json_t *j, bool secrets)
{
    const si_json_value_t *keys = si_json_get(j, &j->v[0], "keys"), *v = si_json_first(j, keys);
    const char            *why = NULL;

    if (keys == NULL && si_json_get(j, &j->v[0], "kty") != NULL) {
        why = add_key(set, &(source_t) { j, &j->v[0] }, secrets);
    } else if (keys == NULL || keys->type != SI_JSON_ARRAY) {
        return "it is no JSON Web Key Set";
    }
    for ( ; v != NULL && why == NULL; v = si_json_after(j, keys, v)) {
        source_t s = { j, v };

        why = usable(&s) && alg_of_key(&s) != SI_ALG_NONE && twin(&s, keys) ? "two of its keys have the same kid and algorithm"
              : add_key(set, &s, secrets);
    }
    return why != NULL ? why : set->n == 0 ? "it has no key that can be used" : NULL;
}

const char *si_jwks_read(si_jwks_t *set, const char *text, size_t n, bool secrets)
{
    si_json_value_t *v = malloc(SI_JWK_SET_VALUES * sizeof(*v));    /* too large for a stack, and only while keys are loaded */
    si_json_t        j;
    const char      *why;

    memset(set, 0, sizeof(*set));
    if (v == NULL) {
        return "there is no memory";
    }
    why = si_json_read(&j, text, n, v, SI_JWK_SET_VALUES) ? read_set(set, &j, secrets) : "it is no JSON, says something twice, or is too large";
    free(v);
    return why;
}

void si_jwks_free(si_jwks_t *set)
{
    for (size_t i = 0; i < set->n; i++) {
        key_free(&set->keys[i]);
    }
    set->n = 0;
}

/* r and s of a JWS (RFC 7518 3.4) as the DER that OpenSSL wants. Its length, 0: it failed. The caller frees *der. */
static size_t ecdsa_der(const uint8_t *sig, size_t half, uint8_t **der)
{
    ECDSA_SIG *es = ECDSA_SIG_new();
    BIGNUM    *r = BN_bin2bn(sig, (int) half, NULL), *s = BN_bin2bn(sig + half, (int) half, NULL);
    int        n = 0;

    if (es && r && s && ECDSA_SIG_set0(es, r, s)) {
        r = s = NULL;                   /* they are es's now */
        n = i2d_ECDSA_SIG(es, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(es);
    return n > 0 ? (size_t) n : 0;
}

static bool verify_pkey(const si_jwk_t *key, const void *p, size_t n, const uint8_t *sig, size_t sig_len)
{
    EVP_MD_CTX   *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    bool          good = md && EVP_DigestVerifyInit_ex(md, &ctx, algs[key->alg].digest, NULL, NULL, key->pkey, NULL) > 0;

    if (good && key->alg == SI_ALG_PS256) {
        good = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0
               && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0;    /* RFC 7518 3.5 */
    }
    good = good && EVP_DigestVerify(md, sig, sig_len, p, n) == 1;
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return good;
}

static bool verify_hmac(const si_jwk_t *key, const void *p, size_t n, const uint8_t *sig, size_t sig_len)
{
    uint8_t  mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    return HMAC(EVP_sha256(), key->secret, key->secret_len, p, n, mac, &len) != NULL && sig_len == len && CRYPTO_memcmp(mac, sig, len) == 0;
}

bool si_jwk_verify(const si_jwk_t *key, const void *p, size_t n, const uint8_t *sig, size_t sig_len)
{
    uint8_t *der = NULL;
    size_t   half = algs[key->alg].coordinate, der_len;
    bool     good;

    if (key->alg == SI_ALG_HS256) {
        return verify_hmac(key, p, n, sig, sig_len);
    }
    if (key->alg != SI_ALG_ES256 && key->alg != SI_ALG_ES384) {
        return verify_pkey(key, p, n, sig, sig_len);
    }
    if (sig_len != 2 * half) {
        return false;
    }
    der_len = ecdsa_der(sig, half, &der);
    good = der_len > 0 && verify_pkey(key, p, n, der, der_len);
    OPENSSL_free(der);
    return good;
}
