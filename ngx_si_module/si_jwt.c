#include "si_jwt.h"

#define SUBJECT_MAX  255        /* bytes, OpenID Connect Core 2 */

typedef struct {
    const char *p[3];           /* header, payload, signature, in base64url */
    size_t      n[3];
    size_t      signed_len;     /* header, dot, payload */
} parts_t;

const char *si_jwt_reason(si_jwt_reason_t reason)
{
    static const char *const names[] = {
#define SI_JWT_ROW(id, name, text) name,
        SI_JWT_REASONS(SI_JWT_ROW)
#undef SI_JWT_ROW
    };
    return names[reason];
}

const char *si_jwt_text(si_jwt_reason_t reason)
{
    static const char *const texts[] = {
#define SI_JWT_ROW(id, name, text) text,
        SI_JWT_REASONS(SI_JWT_ROW)
#undef SI_JWT_ROW
    };
    return texts[reason];
}

static bool split(parts_t *parts, const char *token, size_t n)
{
    const char *end = token + n, *a = memchr(token, '.', n), *b = a ? memchr(a + 1, '.', (size_t) (end - a - 1)) : NULL;

    if (b == NULL || memchr(b + 1, '.', (size_t) (end - b - 1)) != NULL) {
        return false;
    }
    *parts = (parts_t) {
        .p = { token, a + 1, b + 1 },
        .n = { (size_t) (a - token), (size_t) (b - a - 1), (size_t) (end - b - 1) },
        .signed_len = (size_t) (b - token),
    };
    return true;
}

/* RFC 7515 4.1.9: "application/" may be left out, letters of either case. */
static bool take_typ(si_jwt_t *t, const si_json_t *j, const si_json_value_t *v)
{
    ptrdiff_t n = si_json_string(j, v, t->typ, sizeof(t->typ));

    t->has_typ = true;
    if (n < 0) {
        return false;
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        t->typ[i] = (char) (t->typ[i] >= 'A' && t->typ[i] <= 'Z' ? t->typ[i] + ('a' - 'A') : t->typ[i]);
    }
    t->typ_len = (size_t) n;
    if (n > 12 && memcmp(t->typ, "application/", 12) == 0) {
        t->typ_len -= 12;
        memmove(t->typ, t->typ + 12, t->typ_len);
    }
    return true;
}

static si_jwt_reason_t take_alg(si_jwt_t *t, const si_json_t *j, const si_json_value_t *v)
{
    char      name[16];
    ptrdiff_t n = si_json_string(j, v, name, sizeof(name));

    if (v == NULL || v->type != SI_JSON_STRING) {
        return SI_JWT_HEADER;
    }
    t->alg = n < 0 ? SI_ALG_NONE : si_alg_of(name, (size_t) n);
    if (t->alg == SI_ALG_NONE) {
        return n == 4 && (name[0] | 32) == 'n' && (name[1] | 32) == 'o' && (name[2] | 32) == 'n' && (name[3] | 32) == 'e' ? SI_JWT_NONE : SI_JWT_ALG;
    }
    return SI_JWT_OK;
}

static si_jwt_reason_t read_header(si_jwt_t *t, const parts_t *parts)
{
    ptrdiff_t              n = si_base64url(t->part, sizeof(t->part), parts->p[0], parts->n[0]);
    const si_json_value_t *top = &t->v[0], *kid, *typ;
    si_json_t              j;

    t->has_kid = t->has_typ = false;
    if (n < 0) {
        return SI_JWT_FORM;
    }
    if (!si_json_read(&j, (const char *) t->part, (size_t) n, t->v, SI_JWT_VALUES) || top->type != SI_JSON_OBJECT) {
        return SI_JWT_HEADER;
    }
    kid = si_json_get(&j, top, "kid");
    typ = si_json_get(&j, top, "typ");
    if (kid != NULL) {
        n = si_json_string(&j, kid, t->kid, sizeof(t->kid));
        if (n < 0) {
            return kid->type == SI_JSON_STRING ? SI_JWT_KID : SI_JWT_HEADER;
        }
        t->kid_len = (size_t) n;
        t->has_kid = true;
    }
    if (typ != NULL && !take_typ(t, &j, typ)) {
        return typ->type == SI_JSON_STRING ? SI_JWT_TYP : SI_JWT_HEADER;
    }
    if (si_json_get(&j, top, "crit") != NULL || si_json_get(&j, top, "b64") != NULL) {
        return SI_JWT_CRIT;
    }
    return take_alg(t, &j, si_json_get(&j, top, "alg"));
}

/* Keys of this name; a key without a name may be meant by any token, a token without one may mean any key. */
static bool named(const si_jwk_t *key, const si_jwt_t *t)
{
    return !t->has_kid || key->kid_len == 0 || (key->kid_len == t->kid_len && memcmp(key->kid, t->kid, t->kid_len) == 0);
}

typedef struct {
    const si_jwk_t *key[SI_JWT_TRIES];
    size_t          n;              /* of the algorithm; may be more than were kept */
    size_t          others;         /* of the name, but for another algorithm */
} found_t;

static void find_keys(found_t *f, const si_jwks_t *set, const si_jwt_t *t)
{
    for (size_t i = 0; set != NULL && i < set->n; i++) {
        if (!named(&set->keys[i], t)) {
            continue;
        }
        if (set->keys[i].alg != t->alg) {
            f->others++;
            continue;
        }
        if (f->n < SI_JWT_TRIES) {
            f->key[f->n] = &set->keys[i];
        }
        f->n++;
    }
}

si_jwt_reason_t si_jws_verify(si_jwt_t *t, const si_jwks_t *keys, const si_jwks_t *secrets, const char *token, size_t n)
{
    si_jwt_reason_t reason;
    parts_t         parts;
    ptrdiff_t       sig, payload;
    found_t         f = { .n = 0 };

    if (n > SI_JWT_MAX) {
        return SI_JWT_LONG;
    }
    if (!split(&parts, token, n)) {
        return SI_JWT_FORM;
    }
    reason = read_header(t, &parts);
    if (reason != SI_JWT_OK) {
        return reason;
    }
    sig = si_base64url(t->sig, sizeof(t->sig), parts.p[2], parts.n[2]);
    payload = si_base64url(t->part, sizeof(t->part), parts.p[1], parts.n[1]);
    if (sig < 0 || payload < 0) {
        return SI_JWT_FORM;
    }
    t->payload_len = (size_t) payload;
    find_keys(&f, keys, t);
    find_keys(&f, secrets, t);
    if (f.n == 0 || f.n > SI_JWT_TRIES) {
        return f.n > SI_JWT_TRIES ? SI_JWT_AMBIGUOUS : f.others > 0 ? SI_JWT_KEY_ALG : SI_JWT_KID;
    }
    for (size_t i = 0; i < f.n; i++) {
        if (si_jwk_verify(f.key[i], token, parts.signed_len, t->sig, (size_t) sig)) {
            return SI_JWT_OK;
        }
    }
    return SI_JWT_SIGNATURE;
}

const si_json_value_t *si_jwt_claim(const si_jwt_t *t, const char *name)
{
    return si_json_get(&t->claims, &t->claims.v[0], name);
}

static bool one_of(const si_jwt_t *t, const si_json_value_t *v, const si_jwt_name_t *names)
{
    for (size_t i = 0; i < SI_JWT_NAMES && names[i].n > 0; i++) {
        if (si_json_is(&t->claims, v, names[i].p, names[i].n)) {
            return true;
        }
    }
    return false;
}

static bool audience_fits(const si_jwt_t *t, const si_jwt_policy_t *policy)
{
    const si_json_value_t *aud = si_jwt_claim(t, "aud"), *v;

    if (policy->audience[0].n == 0 || one_of(t, aud, policy->audience)) {
        return true;
    }
    for (v = si_json_first(&t->claims, aud); v != NULL; v = si_json_after(&t->claims, aud, v)) {
        if (one_of(t, v, policy->audience)) {
            return true;
        }
    }
    return false;
}

static bool client_fits(const si_jwt_t *t, const si_jwt_policy_t *policy)
{
    const si_json_value_t *client = si_jwt_claim(t, "client_id");

    return policy->client[0].n == 0 || one_of(t, client ? client : si_jwt_claim(t, "azp"), policy->client);
}

/* A time that is missing is 0; false: it is there and no time. */
static bool take_time(const si_jwt_t *t, const char *name, int64_t *out)
{
    const si_json_value_t *v = si_jwt_claim(t, name);

    *out = 0;
    return v == NULL || si_json_whole(&t->claims, v, out);
}

static si_jwt_reason_t check_times(si_jwt_t *t, const si_jwt_policy_t *policy, int64_t now)
{
    int64_t nbf;

    if (!take_time(t, "exp", &t->exp) || !take_time(t, "nbf", &nbf) || !take_time(t, "iat", &t->iat)) {
        return SI_JWT_CLAIMS;
    }
    if (si_jwt_claim(t, "exp") == NULL) {
        return SI_JWT_EXP_MISSING;
    }
    if (now >= t->exp + policy->leeway) {
        return SI_JWT_EXPIRED;
    }
    return nbf > now + policy->leeway || t->iat > now + policy->leeway ? SI_JWT_EARLY : SI_JWT_OK;
}

static bool typ_fits(const si_jwt_t *t, const si_jwt_policy_t *policy)
{
    if (policy->typ.n > 0) {
        return t->has_typ && t->typ_len == policy->typ.n && memcmp(t->typ, policy->typ.p, t->typ_len) == 0;
    }
    return !t->has_typ || (t->typ_len == 3 && memcmp(t->typ, "jwt", 3) == 0) || (t->typ_len == 6 && memcmp(t->typ, "at+jwt", 6) == 0);
}

static si_jwt_reason_t check_claims(si_jwt_t *t, const si_jwt_policy_t *policy)
{
    char      subject[SUBJECT_MAX];
    ptrdiff_t n = si_json_string(&t->claims, si_jwt_claim(t, "sub"), subject, sizeof(subject));

    if (!si_json_is(&t->claims, si_jwt_claim(t, "iss"), policy->issuer.p, policy->issuer.n)) {
        return SI_JWT_ISSUER;
    }
    if (!audience_fits(t, policy)) {
        return SI_JWT_AUDIENCE;
    }
    if (!client_fits(t, policy)) {
        return SI_JWT_CLIENT;
    }
    if (policy->token_use.n > 0 && !si_json_is(&t->claims, si_jwt_claim(t, "token_use"), policy->token_use.p, policy->token_use.n)) {
        return SI_JWT_USE;
    }
    return n > 0 ? SI_JWT_OK : SI_JWT_SUBJECT;
}

si_jwt_reason_t si_jwt_verify(si_jwt_t *t, const si_jwks_t *keys, const si_jwks_t *secrets, const si_jwt_policy_t *policy,
                              int64_t now, const char *token, size_t n)
{
    si_jwt_reason_t reason = si_jws_verify(t, keys, secrets, token, n);

    if (reason != SI_JWT_OK) {
        return reason;
    }
    if (!typ_fits(t, policy)) {
        return SI_JWT_TYP;
    }
    if (!si_json_read(&t->claims, (const char *) t->part, t->payload_len, t->v, SI_JWT_VALUES) || t->v[0].type != SI_JSON_OBJECT) {
        return SI_JWT_CLAIMS;
    }
    reason = check_times(t, policy, now);
    return reason != SI_JWT_OK ? reason : check_claims(t, policy);
}
