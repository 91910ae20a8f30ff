/* Tokens at the edge: JSON and base64url, keys, the published vectors, each attack of RFC 8725, claims. */
#include "ngx_si_module/si_jwt.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "jwt_sign.h"

#define NOW  1700000000

static si_jwt_t  t;
static signer_t  rs256, es256, es384, eddsa, hs256;
static arena_t  *arena;
static buf_t     token, set_text;
static si_jwks_t keys, secrets;

static const si_jwt_policy_t policy = {
    .issuer = { "https://id.example", 18 },
    .audience = { { "si", 2 }, { "si-test", 7 } },
    .leeway = 30,
};

#define CLAIMS(more)  "{\"iss\":\"https://id.example\",\"sub\":\"anna\",\"aud\":\"si\",\"exp\":1700000100" more "}"

/* JSON */

static const char *reads(const char *text)
{
    static si_json_value_t v[64];
    si_json_t              j;

    return si_json_read(&j, text, strlen(text), v, 64) ? "read" : "refused";
}

static void test_json(void)
{
    static const char *const good[] = {
        "{}", "[]", " { \"a\" : [ 1 , -0.5e+7 , true , false , null , \"x\" ] } ", "\"\\u00e9\\ud83d\\ude00\\n\"", "0", "-0", "1E5",
        "{\"a\":{\"a\":1},\"b\":{\"a\":1}}", "\"\xf4\x8f\xbf\xbf\"", "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
    };
    static const char *const bad[] = {
        "", "{", "}", "{\"a\":1,}", "[1,]", "[1 2]", "{a:1}", "{\"a\" 1}", "'x'", "01", "-", "1.", ".5", "1e", "+1", "tru", "nul", "truex",
        "{} {}", "\"x", "\"\t\"", "\"\\x\"", "\"\\u12\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\xff\"", "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "{\"a\":1,\"a\":2}", "{\"alg\":1,\"\\u0061lg\":2}", "{\"x\":[],\"\\/\":1,\"/\":2}",
        "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", "{\"a\":/**/1}", "NaN", "\xef\xbb\xbf{}", "[1]\f",
    };

    for (size_t i = 0; i < SI_COUNT(good); i++) {
        is_str(reads(good[i]), "read", good[i]);
    }
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        is_str(reads(bad[i]), "refused", bad[i]);
    }
}

static void test_json_values(void)
{
    static const char text[] = "{\"s\":\"a\\u20ac\\ud83d\\ude00\\\"\",\"n\":-12.9,\"big\":1234567890123456,\"e\":1e3,\"l\":[\"x\",[\"y\"],\"z\"],\"in\":{\"s\":1}}";
    si_json_value_t   v[32];
    si_json_t         j;
    char              out[16];
    int64_t           n = 0;

    ok(si_json_read(&j, text, sizeof text - 1, v, 32), "values are read");
    is_mem(out, (size_t) si_json_string(&j, si_json_get(&j, v, "s"), out, sizeof out), "a\xe2\x82\xac\xf0\x9f\x98\x80\"", "escapes are resolved");
    is_int(si_json_string(&j, si_json_get(&j, v, "s"), out, 8), -1, "a string that does not fit is none");
    ok(si_json_whole(&j, si_json_get(&j, v, "n"), &n) && n == -12, "the whole part of a number");
    ok(!si_json_whole(&j, si_json_get(&j, v, "big"), &n) && !si_json_whole(&j, si_json_get(&j, v, "e"), &n)
       && !si_json_whole(&j, si_json_get(&j, v, "s"), &n) && !si_json_whole(&j, NULL, &n), "16 digits, an exponent, a string are no times");
    ok(si_json_get(&j, v, "x") == NULL && si_json_get(&j, si_json_get(&j, v, "s"), "s") == NULL, "no such member");

    const si_json_value_t *l = si_json_get(&j, v, "l"), *e = si_json_first(&j, l);

    ok(si_json_is(&j, e, "x", 1), "the first element");
    e = si_json_after(&j, l, si_json_after(&j, l, e));
    ok(si_json_is(&j, e, "z", 1) && si_json_after(&j, l, e) == NULL && si_json_first(&j, v) == NULL, "the last one");
    for (uint32_t max = 0; max < j.count; max++) {
        si_json_t few;

        if (si_json_read(&few, text, sizeof text - 1, v, max)) {
            ok(false, "%u values are too few", max);
        }
    }
}

static void test_base64url(void)
{
    static const char *const bad[] = { "A", "AB=", "AA==", "AB", "AAB", "AA+A", "AA/A", "AA A", "AAA\n", "AAAAA", "=" };
    uint8_t                  out[8];

    is_mem(out, (size_t) si_base64url(out, sizeof out, "-_8x", 4), "\xfb\xff\x31", "all of the alphabet");
    is_int(si_base64url(out, sizeof out, "", 0), 0, "nothing is nothing");
    is_int(si_base64url(out, 2, "AAAA", 4), -1, "more than there is room");
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        ok(si_base64url(out, sizeof out, bad[i], strlen(bad[i])) < 0, "refused: '%s'", bad[i]);
    }
}

/* The corpus */

static json_t *corpus(const char *name)
{
    const char   *root = getenv("SI_CORPUS");
    char          path[512];
    json_error_t  err;
    json_t       *v;

    snprintf(path, sizeof path, "%s/jwt/%s", root ? root : "../shared/corpus", name);
    v = json_load_file(path, 0, &err);
    if (v == NULL) {
        ok(false, "%s: %s", path, err.text);
    }
    return v;
}

/* "valid", or why not. The key is taken as public, and if it is none, as a secret. */
static const char *verdict(const json_t *key, const char *jws)
{
    char           *text = json_dumps(key, JSON_ENCODE_ANY);
    const char     *why = si_jwks_read(&keys, text, strlen(text), false);
    si_jwt_reason_t reason = SI_JWT_KID;

    if (why != NULL) {
        si_jwks_free(&keys);
        why = si_jwks_read(&keys, text, strlen(text), true);
    }
    if (why == NULL) {
        reason = si_jws_verify(&t, &keys, NULL, jws, strlen(jws));
    }
    si_jwks_free(&keys);
    free(text);
    return why ? why : reason == SI_JWT_OK ? "valid" : si_jwt_reason(reason);
}

/* Algorithms of the vectors that we do not take, PS384, PS512, ES512, HS384, HS512: there a valid token is refused, too. */
static bool taken(const json_t *key)
{
    const json_t *list = json_object_get(key, "keys");
    const char   *alg = json_string_value(json_object_get(list ? json_array_get(list, 0) : key, "alg"));

    return alg == NULL || si_alg_of(alg, strlen(alg)) != SI_ALG_NONE;
}

static const char *stated(const json_t *test, const json_t *exceptions)
{
    size_t  i;
    json_t *e;

    json_array_foreach(json_object_get(exceptions, "cases"), i, e) {
        if (json_equal(json_object_get(e, "tcId"), json_object_get(test, "tcId"))) {
            return json_string_value(json_object_get(e, "strict"));
        }
    }
    return json_string_value(json_object_get(test, "result"));
}

/* ROCA (case 7 of the keys) is a weakness of smart cards that made keys before 2017: not looked for. */
static bool is_roca(const json_t *group)
{
    return strcmp(json_string_value(json_object_get(group, "comment")), "jws_rsa_roca_key") == 0;
}

static void wycheproof_group(const char *file, const json_t *g, const json_t *exceptions, int *n, int *valid)
{
    const json_t *key = json_object_get(g, "public");
    size_t        i;
    json_t       *test;

    if (key == NULL) {
        key = json_object_get(g, "private");
    }
    json_array_foreach(json_object_get(g, "tests"), i, test) {
        const json_t *jws = json_object_get(test, "jws");
        const char   *got = json_is_string(jws) ? verdict(key, json_string_value(jws)) : "malformed";
        bool          want = strcmp(stated(test, exceptions), "valid") == 0 && taken(key);

        ++*n;
        *valid += want;
        if (!is_roca(g)) {
            ok((strcmp(got, "valid") == 0) == want, "%s %lld %s: %s", file, (long long) json_integer_value(json_object_get(test, "tcId")),
               json_string_value(json_object_get(test, "comment")), got);
        }
    }
}

static void wycheproof(const char *file, bool with_exceptions, int want_n, int want_valid)
{
    json_t *all = corpus(file), *exceptions = with_exceptions ? corpus("wycheproof/exceptions.json") : NULL, *g;
    size_t  i;
    int     n = 0, valid = 0;

    json_array_foreach(json_object_get(all, "testGroups"), i, g) {
        wycheproof_group(file, g, exceptions, &n, &valid);
    }
    is_int(n, want_n, "every case was tried");
    is_int(valid, want_valid, "and so many are good");
    json_decref(all);
    json_decref(exceptions);
}

static char *corpus_text(const char *name)
{
    const char *root = getenv("SI_CORPUS");
    char        path[512], *text = arena_calloc(arena, TEXT_MAX);
    FILE       *f;

    snprintf(path, sizeof path, "%s/jwt/rfc7515/%s", root ? root : "../shared/corpus", name);
    f = fopen(path, "r");
    ok(f != NULL && fread(text, 1, TEXT_MAX - 1, f) > 0, "%s", name);
    if (f != NULL) {
        fclose(f);
    }
    text[strcspn(text, "\r\n")] = '\0';
    return text;
}

/* Of a JWS in JSON: the compact form of its signature. */
static const char *compact(const json_t *jws, const json_t *signature)
{
    return arena_printf(arena, "%s.%s.%s", json_string_value(json_object_get(signature, "protected")),
                        json_string_value(json_object_get(jws, "payload")), json_string_value(json_object_get(signature, "signature")));
}

static void test_rfc7515(void)
{
    json_t *k, *set = corpus("rfc7515/rfc7515_A.6.jwkset"), *jws;

    k = corpus("rfc7515/rfc7515_A.1.jwk");
    is_str(verdict(k, corpus_text("rfc7515_A.1.jwsc")), "valid", "A.1: HS256");
    is_mem(t.part, t.payload_len, "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}", "its payload");
    is_str(verdict(k, corpus_text("rfc7515_A.5.jwsc")), "alg_none", "A.5: none");
    json_decref(k);
    k = corpus("rfc7515/rfc7515_A.2.jwk");
    is_str(verdict(k, corpus_text("rfc7515_A.2.jwsc")), "valid", "A.2: RS256");
    is_str(verdict(k, corpus_text("rfc7515_A.3.jwsc")), "alg_mismatch", "A.3 with the key of A.2");
    json_decref(k);
    k = corpus("rfc7515/rfc7515_A.3.jwk");
    is_str(verdict(k, corpus_text("rfc7515_A.3.jwsc")), "valid", "A.3: ES256");
    json_decref(k);
    k = corpus("rfc7515/rfc7515_A.4.jwk");
    is_str(verdict(k, corpus_text("rfc7515_A.4.jwsc")), "it has no key that can be used", "A.4: ES512 is not taken");
    json_decref(k);
    jws = corpus("rfc7515/rfc7515_A.6.jwsg");
    is_str(verdict(set, compact(jws, json_array_get(json_object_get(jws, "signatures"), 0))), "valid", "A.6: RS256");
    is_str(verdict(set, compact(jws, json_array_get(json_object_get(jws, "signatures"), 1))), "valid", "A.6: ES256");
    json_decref(jws);
    jws = corpus("rfc7515/rfc7515_A.7.jwsf");
    k = corpus("rfc7515/rfc7515_A.7.jwk");
    is_str(verdict(k, compact(jws, jws)), "valid", "A.7: ES256");
    json_decref(k);
    json_decref(jws);
    json_decref(set);
}

static void test_rfc7520(void)
{
    static const struct { const char *file, *want; } cases[] = {
        { "jws__4_1.rsa_v15_signature", "valid" }, { "jws__4_2.rsa-pss_signature", "alg_unsupported" },
        { "jws__4_3.ecdsa_signature", "it has no key that can be used" }, { "jws__4_4.hmac-sha2_integrity_protection", "valid" },
        { "jws__4_6.protecting_specific_header_fields", NULL }, { "jws__4_7.protecting_content_only", NULL },
        { "curve25519__jws", "valid" }, { "rfc7797__4.2.hmac-sha2_b64_false", NULL }, { "rfc7797__hmac-sha2_b64_false", "crit" },
    };
    char name[128];

    for (size_t i = 0; i < SI_COUNT(cases); i++) {
        json_t     *c, *out;
        const char *jws;

        snprintf(name, sizeof name, "rfc7520/%s.json", cases[i].file);
        c = corpus(name);
        out = json_object_get(c, "output");
        jws = json_string_value(json_object_get(out, "compact"));
        /* Detached or unprotected ones have no compact form: their flat form is no token. */
        is_str(verdict(json_object_get(json_object_get(c, "input"), "key"), jws ? jws : "{}"), cases[i].want ? cases[i].want : "malformed", cases[i].file);
        json_decref(c);
    }
}

/* Keys and tokens of our own */

static void use_keys(const char *text, bool as_secrets, const char *want, const char *name)
{
    si_jwks_t *set = as_secrets ? &secrets : &keys;

    si_jwks_free(set);
    is_str(si_jwks_read(set, text, strlen(text), as_secrets), want, name);
}

static const char *jwk_text(const signer_t *s, const char *more)
{
    buf_consume(&set_text, set_text.n);
    put_jwk(&set_text, s, more);
    return arena_printf(arena, "%.*s", (int) set_text.n, set_text.p);
}

static void is_reason(const char *header, const signer_t *s, const char *claims, const char *want, const char *name)
{
    str_t tok = sign_token(&token, s, header, claims);

    is_str(si_jwt_reason(si_jwt_verify(&t, &keys, &secrets, &policy, NOW, tok.p, tok.n)), want, name);
}

static void test_algorithms(void)
{
    static const char *const names[] = { "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA" };

    for (size_t i = 0; i < SI_COUNT(names); i++) {
        signer_t s = { .alg = names[i], .pkey = i < 4 ? rs256.pkey : i == 4 ? es256.pkey : i == 5 ? es384.pkey : eddsa.pkey };

        use_keys(jwk_text(&s, arena_printf(arena, ",\"alg\":\"%s\",\"kid\":\"k\"", names[i])), false, NULL, names[i]);
        is_reason(arena_printf(arena, "{\"alg\":\"%s\",\"kid\":\"k\"}", names[i]), &s, CLAIMS(""), "ok", "a good token");
        token.p[token.n / 2] ^= 1;
        ok(si_jwt_verify(&t, &keys, NULL, &policy, NOW, token.p, token.n) != SI_JWT_OK, "one changed bit");
        for (size_t k = 0; k < SI_COUNT(names); k++) {
            signer_t other = s;

            other.alg = names[k];
            if (k != i && (k < 4) == (i < 4) && k < 4) {
                is_reason(arena_printf(arena, "{\"alg\":\"%s\"}", names[k]), &other, CLAIMS(""), "alg_mismatch", "the same key, another algorithm");
            }
        }
    }
    use_keys(jwk_text(&hs256, ""), true, NULL, "HS256");
    is_reason("{\"alg\":\"HS256\"}", &hs256, CLAIMS(""), "ok", "a good token");
}

static void test_keys(void)
{
    signer_t    weak = { .alg = "RS256", .pkey = EVP_RSA_gen(1024) }, tiny = { .alg = "HS256", .secret = SECRET, .secret_len = 31 };
    const char *a = jwk_text(&rs256, ",\"kid\":\"a\""), *b = jwk_text(&es256, ",\"kid\":\"b\""), *none = "it has no key that can be used";

    use_keys(arena_printf(arena, "{\"keys\":[%s,%s,{\"kty\":\"new\"},%s]}", a, b, jwk_text(&hs256, "")), false, NULL, "a set");
    ok(keys.n == 2 && keys.skipped == 2 && strcmp(keys.why, "it is a secret among public keys") == 0, "what is not for us is skipped, with a reason");
    use_keys(arena_printf(arena, "{\"keys\":[%s,%s]}", a, a), false, "two of its keys have the same kid and algorithm", "a key twice");
    use_keys(jwk_text(&weak, ""), false, none, "RSA of 1024 bits");
    is_str(keys.why, "it has fewer than 2048 bits", "the reason");
    use_keys(jwk_text(&tiny, ""), true, none, "a secret of 31 bytes");
    use_keys(a, true, none, "a public key as a secret");
    use_keys(jwk_text(&es256, ",\"alg\":\"ES384\""), false, none, "an algorithm for another curve");
    use_keys(jwk_text(&rs256, ",\"use\":\"enc\""), false, none, "a key for encryption");
    use_keys(jwk_text(&rs256, ",\"key_ops\":[\"sign\"]"), false, none, "a key for signing only");
    use_keys(jwk_text(&rs256, ",\"kid\":7"), false, none, "a kid that is a number");
    use_keys("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\",\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}", false,
             none, "a point off the curve");
    is_str(keys.why, "its point is not on the curve", "the reason");
    use_keys("{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQ\"}", false, none, "an exponent of 1");
    use_keys("[]", false, "it is no JSON Web Key Set", "no set");
    use_keys("{\"keys\":[],\"keys\":[]}", false, "it is no JSON, says something twice, or is too large", "a set twice");
    use_keys("{\"keys\":[]}", false, none, "no key");
    EVP_PKEY_free(weak.pkey);
}

/* RFC 8725, by its sections */
static void test_attacks(void)
{
    const char *pub;
    signer_t    confused = { .alg = "HS256" }, stranger = { .alg = "RS256", .pkey = EVP_RSA_gen(2048) };

    use_keys(arena_printf(arena, "{\"keys\":[%s,%s]}", jwk_text(&rs256, ",\"kid\":\"r\""), jwk_text(&es256, ",\"kid\":\"e\"")), false, NULL, "the keys");
    use_keys(jwk_text(&hs256, ",\"kid\":\"h\""), true, NULL, "the secret");
    is_reason("{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":\"JWT\"}", &rs256, CLAIMS(""), "ok", "a good token");

    is_reason("{\"alg\":\"none\"}", &rs256, CLAIMS(""), "alg_none", "2.1: none");
    is_reason("{\"alg\":\"nOnE\"}", &rs256, CLAIMS(""), "alg_none", "2.1: none, written otherwise");
    is_reason("{\"alg\":\"rs256\"}", &rs256, CLAIMS(""), "alg_unsupported", "2.1: letters of another case");
    sign_token(&token, &rs256, "{\"alg\":\"none\"}", CLAIMS(""));
    token.n = (size_t) ((char *) memrchr(token.p, '.', token.n) - token.p) + 1;
    is_str(si_jwt_reason(si_jwt_verify(&t, &keys, &secrets, &policy, NOW, token.p, token.n)), "alg_none", "2.1: none without a signature");
    pub = jwk_text(&rs256, "");
    confused.secret = pub;
    confused.secret_len = strlen(pub);
    is_reason("{\"alg\":\"HS256\",\"kid\":\"r\"}", &confused, CLAIMS(""), "alg_mismatch", "2.1: HMAC with the public key");
    is_reason("{\"alg\":\"HS256\",\"kid\":\"h\"}", &confused, CLAIMS(""), "signature", "2.1: under the secret's name");
    is_reason("{\"alg\":\"ES256\",\"kid\":\"r\"}", &es256, CLAIMS(""), "alg_mismatch", "3.1: a key used for another algorithm");
    is_reason("{\"alg\":\"HS256\"}", &hs256, CLAIMS(""), "ok", "2.2: a long secret is taken; short ones are not, see above");
    is_reason("{\"alg\":\"ECDH-ES\",\"enc\":\"A128GCM\",\"epk\":{}}", &rs256, CLAIMS(""), "alg_unsupported", "2.5: no encryption");
    is_reason("{\"alg\":\"RS256\",\"alg\":\"none\"}", &rs256, CLAIMS(""), "header", "2.6: a name twice");
    is_reason("{\"alg\":\"RS256\"}", &rs256, CLAIMS(",\"\\u0073ub\":\"eve\""), "claims", "2.6: a claim twice");
    is_reason("{\"alg\":\"RS256\"}", &rs256, "{\"iss\":\"https://id.example\",\"sub\":\"\xff\"}", "claims", "2.6, 3.7: not UTF-8");
    is_reason("{\"alg\":\"RS256\",\"kid\":\"' OR 1=1 --\"}", &rs256, CLAIMS(""), "kid_unknown", "2.9: a kid that wants to be SQL");
    is_reason("{\"alg\":\"RS256\",\"kid\":\"../../dev/null\"}", &rs256, CLAIMS(""), "kid_unknown", "2.9: or a file");
    is_reason("{\"alg\":\"RS256\",\"jku\":\"http://127.0.0.1/\",\"x5u\":\"http://127.0.0.1/\"}", &stranger, CLAIMS(""), "signature", "2.9: addresses are not followed");
    is_reason(arena_printf(arena, "{\"alg\":\"RS256\",\"jwk\":%s,\"x5c\":[\"MII\"]}", jwk_text(&stranger, "")), &stranger, CLAIMS(""), "signature",
              "3.10: a key that came with the token is not taken");
    is_reason("{\"alg\":\"RS256\",\"crit\":[\"exp\"],\"exp\":1}", &rs256, CLAIMS(""), "crit", "RFC 7515 4.1.11: crit");
    is_reason("{\"alg\":\"RS256\",\"crit\":[]}", &rs256, CLAIMS(""), "crit", "an empty one");
    is_reason("{\"alg\":\"RS256\",\"b64\":true}", &rs256, CLAIMS(""), "crit", "b64");
    is_reason("{\"alg\":\"RS256\",\"typ\":\"secevent+jwt\"}", &rs256, CLAIMS(""), "typ", "2.8, 3.11: a token of another type");
    is_reason("{\"alg\":\"RS256\",\"typ\":\"application/AT+JWT\"}", &rs256, CLAIMS(""), "ok", "an access token");
    is_reason("{\"alg\":\"RS256\",\"cty\":\"JWT\"}", &rs256, "eyJhbGciOiJub25lIn0.e30.", "claims", "3.3: a token in the token");
    is_reason("{\"alg\":\"RS256\"}", &rs256, "{\"iss\":\"https://evil.example\",\"sub\":\"anna\",\"aud\":\"si\",\"exp\":1700000100}", "issuer",
              "2.7, 3.8: another issuer");
    is_reason("{\"alg\":\"RS256\"}", &rs256, "{\"iss\":\"https://id.example\",\"sub\":\"anna\",\"aud\":\"other\",\"exp\":1700000100}", "audience",
              "2.7, 3.9: a token for another service");
    EVP_PKEY_free(stranger.pkey);
}

static void test_claims(void)
{
    static const struct { const char *claims, *want, *name; } cases[] = {
        { CLAIMS(""), "ok", "good" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":[\"x\",\"si-test\"],\"exp\":1700000100.9}", "ok", "a list of audiences, a fraction" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":\"si\",\"exp\":1699999971}", "ok", "past, within the leeway" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":\"si\",\"exp\":1699999970}", "expired", "past" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":\"si\"}", "exp_missing", "without an end" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":\"si\",\"exp\":\"1700000100\"}", "claims", "an end that is a string" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":\"si\",\"exp\":1e12}", "claims", "or has an exponent" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":\"si\",\"exp\":-1}", "expired", "or is before 1970" },
        { CLAIMS(",\"nbf\":1700000030"), "ok", "from now, within the leeway" },
        { CLAIMS(",\"nbf\":1700000031"), "not_yet_valid", "not yet" },
        { CLAIMS(",\"iat\":1700000031"), "not_yet_valid", "made in the future" },
        { CLAIMS(",\"nbf\":null"), "claims", "a start that is none" },
        { "{\"sub\":\"a\",\"aud\":\"si\",\"exp\":1700000100}", "issuer", "no issuer" },
        { "{\"iss\":[\"https://id.example\"],\"sub\":\"a\",\"aud\":\"si\",\"exp\":1700000100}", "issuer", "an issuer in a list" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"exp\":1700000100}", "audience", "no audience" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":[],\"exp\":1700000100}", "audience", "an empty one" },
        { "{\"iss\":\"https://id.example\",\"sub\":\"a\",\"aud\":[[\"si\"]],\"exp\":1700000100}", "audience", "one too deep" },
        { "{\"iss\":\"https://id.example\",\"aud\":\"si\",\"exp\":1700000100}", "subject", "no subject" },
        { "{\"iss\":\"https://id.example\",\"aud\":\"si\",\"exp\":1700000100,\"sub\":\"\"}", "subject", "an empty one" },
        { "[]", "claims", "no object" }, { "", "claims", "nothing" },
    };

    use_keys(jwk_text(&es256, ""), false, NULL, "a key");
    for (size_t i = 0; i < SI_COUNT(cases); i++) {
        is_reason("{\"alg\":\"ES256\"}", &es256, cases[i].claims, cases[i].want, cases[i].name);
    }
}

static void is_policy(const si_jwt_policy_t *p, const char *header, const char *claims, const char *want, const char *name)
{
    str_t tok = sign_token(&token, &es256, header, claims);

    is_str(si_jwt_reason(si_jwt_verify(&t, &keys, NULL, p, NOW, tok.p, tok.n)), want, name);
}

/* Access tokens of Amazon Cognito have client_id and token_use, and no aud. */
static void test_policy(void)
{
    si_jwt_policy_t p = { .issuer = policy.issuer, .client = { { "app", 3 } }, .token_use = { "access", 6 }, .typ = { "at+jwt", 6 } };

    is_policy(&p, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", CLAIMS(",\"client_id\":\"app\",\"token_use\":\"access\""), "ok", "client_id and token_use");
    is_policy(&p, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", CLAIMS(",\"azp\":\"app\",\"token_use\":\"access\""), "ok", "azp");
    is_policy(&p, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", CLAIMS(",\"azp\":\"app\",\"client_id\":\"x\",\"token_use\":\"access\""), "client", "another client");
    is_policy(&p, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", CLAIMS(",\"token_use\":\"access\""), "client", "no client");
    is_policy(&p, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", CLAIMS(",\"azp\":\"app\",\"token_use\":\"id\""), "token_use", "an id token");
    is_policy(&p, "{\"alg\":\"ES256\",\"typ\":\"JWT\"}", CLAIMS(",\"azp\":\"app\",\"token_use\":\"access\""), "typ", "a type that is not asked for");
    is_policy(&p, "{\"alg\":\"ES256\"}", CLAIMS(",\"azp\":\"app\",\"token_use\":\"access\""), "typ", "no type");
}

static void test_form(void)
{
    static const char *const bad[] = { "", ".", "..", "...", "a.b", "e30.e30.e30.e30", "e30..", "bnVsbA..", "W10.e30.", "eyJhbGciOjF9.e30.", "e30=.e30.AA" };
    char                    *big = arena_alloc(arena, SI_JWT_MAX + 1);

    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        si_jwt_reason_t r = si_jws_verify(&t, &keys, &secrets, bad[i], strlen(bad[i]));

        ok(r == SI_JWT_FORM || r == SI_JWT_HEADER, "refused: '%s' (%s)", bad[i], si_jwt_reason(r));
    }
    memset(big, 'A', SI_JWT_MAX + 1);
    is_int(si_jws_verify(&t, &keys, NULL, big, SI_JWT_MAX + 1), SI_JWT_LONG, "more than 8 KiB");
    is_int(si_jws_verify(&t, &keys, NULL, big, SI_JWT_MAX), SI_JWT_FORM, "8 KiB without a dot");
}

int main(void)
{
    arena = arena_new(65536);
    buf_init(&token, TEXT_MAX);
    buf_init(&set_text, TEXT_MAX);
    rs256 = (signer_t) { .alg = "RS256", .pkey = EVP_RSA_gen(2048) };
    es256 = (signer_t) { .alg = "ES256", .pkey = EVP_EC_gen("P-256") };
    es384 = (signer_t) { .alg = "ES384", .pkey = EVP_EC_gen("P-384") };
    eddsa = (signer_t) { .alg = "EdDSA", .pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };
    hs256 = (signer_t) { .alg = "HS256", .secret = SECRET, .secret_len = 32 };
    test_json();
    test_json_values();
    test_base64url();
    wycheproof("wycheproof/json_web_signature_test.json", true, 401, 34);
    wycheproof("wycheproof/json_web_key_test.json", false, 26, 3);
    test_rfc7515();
    test_rfc7520();
    test_algorithms();
    test_keys();
    test_attacks();
    test_claims();
    test_policy();
    test_form();
    si_jwks_free(&keys);
    si_jwks_free(&secrets);
    EVP_PKEY_free(rs256.pkey);
    EVP_PKEY_free(es256.pkey);
    EVP_PKEY_free(es384.pkey);
    EVP_PKEY_free(eddsa.pkey);
    buf_free(&token);
    buf_free(&set_text);
    arena_free(arena);
    return done_testing();
}
