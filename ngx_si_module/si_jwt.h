/*
 * Who a token says is calling: JWS in compact form (RFC 7515) with the claims of a JWT (RFC 7519), verified as RFC 8725 asks.
 * Plain C over libcrypto; the caller brings the memory.
 *
 * What a token says about its own key is never followed: jwk, jku, x5u and x5c are ignored, `crit` and `b64` are refused
 * because no extension is understood. A key is found by the token's kid and algorithm among those that are configured.
 */
#ifndef SI_JWT_H
#define SI_JWT_H

#include "si_json.h"
#include "si_jwk.h"

#define SI_JWT_MAX     8192     /* bytes of a token */
#define SI_JWT_VALUES  512      /* JSON values of a header, or of the claims */
#define SI_JWT_NAMES   8        /* audiences, or clients */
#define SI_JWT_TRIES   4        /* keys tried for one token: it may name none */

/* Why a token is refused: the name stands in logs and metrics, the text is all that a client is told. */
#define SI_JWT_REASONS(X) \
    X(OK, "ok", "") \
    X(LONG, "too_long", "the token is too long") \
    X(FORM, "malformed", "the token is malformed") \
    X(HEADER, "header", "the token is malformed") \
    X(NONE, "alg_none", "the token's signature cannot be verified") \
    X(ALG, "alg_unsupported", "the token's signature cannot be verified") \
    X(CRIT, "crit", "the token's signature cannot be verified") \
    X(KID, "kid_unknown", "the token's signature cannot be verified") \
    X(KEY_ALG, "alg_mismatch", "the token's signature cannot be verified") \
    X(AMBIGUOUS, "kid_missing", "the token's signature cannot be verified") \
    X(SIGNATURE, "signature", "the token's signature cannot be verified") \
    X(TYP, "typ", "the token is not meant for this service") \
    X(CLAIMS, "claims", "the token is malformed") \
    X(EXP_MISSING, "exp_missing", "the token has no end") \
    X(EXPIRED, "expired", "the token has expired") \
    X(EARLY, "not_yet_valid", "the token is not valid yet") \
    X(ISSUER, "issuer", "the token is not meant for this service") \
    X(AUDIENCE, "audience", "the token is not meant for this service") \
    X(CLIENT, "client", "the token is not meant for this service") \
    X(USE, "token_use", "the token is not meant for this service") \
    X(SUBJECT, "subject", "the token names no user") \
    X(TENANT, "tenant", "the token names no tenant") \
    X(REVOKED, "revoked", "the token was revoked")      /* said by ngx_si_auth_cache.c */

typedef enum {
#define SI_JWT_ENUM(id, name, text) SI_JWT_##id,
    SI_JWT_REASONS(SI_JWT_ENUM)
#undef SI_JWT_ENUM
    SI_JWT_REASON_COUNT
} si_jwt_reason_t;

const char *si_jwt_reason(si_jwt_reason_t reason);  /* "expired"; static */
const char *si_jwt_text(si_jwt_reason_t reason);    /* "the token has expired"; static */

typedef struct {
    const char *p;
    size_t      n;              /* 0: not asked for */
} si_jwt_name_t;

/* What the claims must be. Each that is given must hold; the names are not owned. */
typedef struct {
    si_jwt_name_t issuer;                       /* iss; always asked for */
    si_jwt_name_t audience[SI_JWT_NAMES];       /* aud (a string or a list) holds one of them */
    si_jwt_name_t client[SI_JWT_NAMES];         /* client_id, or without one azp, is one of them */
    si_jwt_name_t token_use;                    /* token_use, as Amazon Cognito says it: "access", "id" */
    si_jwt_name_t typ;                          /* typ of the header, which then must be there; otherwise JWT or at+jwt */
    int64_t       leeway;                       /* s: clocks differ by so much */
} si_jwt_policy_t;

/* Room for one token at a time, 15 KiB. */
typedef struct {
    si_json_value_t v[SI_JWT_VALUES];
    uint8_t         part[SI_JWT_MAX / 4 * 3];   /* the header, then the payload */
    uint8_t         sig[SI_JWK_RSA_MAX / 8];
    char            kid[SI_JWK_KID];
    char            typ[64];                    /* in lower case, without "application/" */
    size_t          kid_len, typ_len, sig_len, payload_len;
    bool            has_kid, has_typ;
    si_alg_t        alg;
    si_json_t       claims;                     /* set by si_jwt_verify(): claims.v[0] is the object */
    int64_t         exp;                        /* s since 1970; it is past at exp + leeway */
    int64_t         iat;                        /* s since 1970; 0: it does not say */
} si_jwt_t;

/*
 * Verifies the signature. The payload is t->part then, t->payload_len bytes; after a refusal it says nothing. keys or
 * secrets may be NULL.
 */
si_jwt_reason_t si_jws_verify(si_jwt_t *t, const si_jwks_t *keys, const si_jwks_t *secrets, const char *token, size_t n);
/* Verifies signature, type and claims; now: s since 1970. `sub` is there, 1 to 255 bytes (OpenID Connect Core 2). */
si_jwt_reason_t si_jwt_verify(si_jwt_t *t, const si_jwks_t *keys, const si_jwks_t *secrets, const si_jwt_policy_t *policy,
                              int64_t now, const char *token, size_t n);
/* A claim of the token last verified; NULL: it has none of this name. */
const si_json_value_t *si_jwt_claim(const si_jwt_t *t, const char *name);

#endif
