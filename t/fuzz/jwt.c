/*
 * libFuzzer target: what the edge reads of tokens and keys. The first byte says how the rest is taken: 0 as JSON, 1 as a key
 * set, 2 as a token with its dots, else as a header and claims (divided at the first newline) that are put into a token
 * signed by a key that the verifier has, so that every check of claims is reached. Whatever is accepted must keep the rules
 * of the headers. Run by scripts/fuzz.
 */
#include "ngx_si_module/si_jwt.h"

#include <stdlib.h>

#include <openssl/hmac.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char secret_set[] = "{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}";
static const char secret[] = "0123456789abcdef0123456789abcdef";

static void check(int good)
{
    if (!good) {
        abort();
    }
}

static void json(const char *p, size_t n)
{
    static si_json_value_t v[256];
    si_json_t              j;
    char                   out[512];

    if (!si_json_read(&j, p, n, v, 256)) {
        return;
    }
    check(j.count > 0 && v[0].next == j.count);
    for (uint32_t i = 0; i < j.count; i++) {
        int64_t   number;
        ptrdiff_t len = si_json_string(&j, &v[i], out, sizeof(out));

        check(v[i].at + (size_t) v[i].len <= n && v[i].next > i && v[i].next <= j.count);
        check(len < 0 || v[i].type == SI_JSON_STRING);
        check(len < 0 || len > SI_JSON_NAME || si_json_is(&j, &v[i], out, (size_t) len));
        check(!si_json_whole(&j, &v[i], &number) || (number < 1000000000000000 && number > -1000000000000000));
    }
}

static void key_set(const char *p, size_t n)
{
    static si_jwks_t set;

    for (int secrets = 0; secrets < 2; secrets++) {
        if (si_jwks_read(&set, p, n, secrets) == NULL) {
            check(set.n > 0 && set.n <= SI_JWK_KEYS);
        }
        for (size_t i = 0; i < set.n; i++) {
            check((set.keys[i].pkey == NULL) == (secrets == 1) && set.keys[i].alg != SI_ALG_NONE && set.keys[i].kid_len <= SI_JWK_KID);
        }
        si_jwks_free(&set);
    }
}

static size_t put_base64url(char *out, const uint8_t *p, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i += 3) {
        char block[5];
        int  bytes = n - i > 2 ? 3 : (int) (n - i);

        EVP_EncodeBlock((unsigned char *) block, p + i, bytes);
        memcpy(out + len, block, (size_t) bytes + 1);
        len += (size_t) bytes + 1;
    }
    for (size_t i = 0; i < len; i++) {
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    }
    return len;
}

static void verify(const si_jwks_t *secrets, const char *token, size_t n, const void *payload, size_t payload_len)
{
    static const si_jwt_policy_t policy = { .issuer = { "i", 1 }, .audience = { { "a", 1 } }, .leeway = 10 };
    static si_jwt_t              t;
    char                         sub[256];

    if (si_jwt_verify(&t, NULL, secrets, &policy, 1700000000, token, n) == SI_JWT_OK) {
        check(payload != NULL);         /* nobody else has the secret */
        check(t.payload_len == payload_len && memcmp(t.part, payload, payload_len) == 0);
        check(t.exp > 1700000000 - 10 && t.alg == SI_ALG_HS256);
        check(si_json_string(&t.claims, si_jwt_claim(&t, "sub"), sub, sizeof(sub)) > 0);
    }
}

static void signed_token(const si_jwks_t *secrets, const uint8_t *p, size_t n)
{
    const uint8_t *nl = memchr(p, '\n', n);
    char          *token = malloc(2 * n + 64);
    uint8_t        mac[32];
    size_t         len;

    if (nl != NULL) {
        len = put_base64url(token, p, (size_t) (nl - p));
        token[len++] = '.';
        len += put_base64url(token + len, nl + 1, (size_t) (p + n - nl - 1));
        HMAC(EVP_sha256(), secret, sizeof(secret) - 1, (uint8_t *) token, len, mac, NULL);
        token[len++] = '.';
        len += put_base64url(token + len, mac, sizeof(mac));
        verify(secrets, token, len, nl + 1, (size_t) (p + n - nl - 1));
    }
    free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static si_jwks_t secrets;
    char            *copy;

    if (n == 0) {
        return 0;
    }
    check(secrets.n == 1 || si_jwks_read(&secrets, secret_set, sizeof(secret_set) - 1, true) == NULL);
    copy = malloc(n - 1 ? n - 1 : 1);                   /* of just that size, so that the sanitizer sees a step beyond it */
    memcpy(copy, p + 1, n - 1);
    switch (p[0]) {
    case 0:
        json(copy, n - 1);
        break;
    case 1:
        key_set(copy, n - 1);
        break;
    case 2:
        verify(&secrets, copy, n - 1, NULL, 0);
        break;
    default:
        signed_token(&secrets, (uint8_t *) copy, n - 1);
    }
    free(copy);
    return 0;
}
