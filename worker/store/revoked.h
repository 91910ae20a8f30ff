/*
 * Tokens that were revoked before their end, by the marks of link/frame.h. Postgres has them; every worker knows all that count
 * and tells them to the nginx processes of its machine (PUSH TOKENS): when a link comes up, and when there is news, over
 * Redis (turn/bus.h) within moments, or from Postgres after auth.cache at the latest.
 */
#ifndef SI_STORE_REVOKED_H
#define SI_STORE_REVOKED_H

#include "link/frame.h"
#include "store/rows.h"
#include "store/store.h"

#define REVOKED_MAX_MS      (30ull * 24 * 3600 * 1000)  /* it counts for so long at most: a token that lives longer is good again */
#define REVOKED_TENANT_MAX  "500"                       /* of one tenant that count at once */
#define REVOKED_VALUE_MAX   255                         /* bytes of a jti or subject, as nginx reads them */
#define REVOKED_ISSUER_MAX  255

struct link;

typedef struct {
    const char *kind;           /* "jti", "subject" or "digest" */
    const char *issuer, *value; /* a digest: issuer "", lower-case hex */
    uint64_t    expires;        /* ms since 1970, within REVOKED_MAX_MS */
} revoke_t;

typedef struct {
    const char *id, *kind, *issuer, *value;
    const char *marks;          /* two, in hex: of the tenant's id and of its name */
    uint64_t    before, until;  /* as in si_revoked_t */
    const char *created, *expires;      /* RFC 3339, ms, UTC */
} revoke_row_t;

/* Writes it down; what was revoked before is so again, from now. SI_ENOMEM: the tenant has REVOKED_TENANT_MAX others that count. */
int  co_store_revoke(arena_t *a, const identity_t *who, const revoke_t *t, revoke_row_t *out);
/* Those of the tenant that count, the latest first, as co_store_keys(). marks, before and until are not set. */
int  co_store_revocations(arena_t *a, const identity_t *who, const char *cursor, int limit, revoke_row_t **out, size_t *n, const char **next);
/* Takes one back: its marks as above. SI_ENOENT: the tenant has none of that id that counts. */
int  co_store_restore(arena_t *a, const identity_t *who, const char *id, const char **marks);

/*
 * The statement of that, also for sictl. $1 tenant's id, $2 a new id, $3 to $5 kind, issuer, value, $6 its end, ms since 1970.
 * One row: marks in hex, revoked_at and expires_at as text, both in seconds (REVOKE_TIMES), and its id; none: too many.
 */
#define REVOKE_TIMES  "floor(extract(epoch FROM revoked_at))::bigint AS at, ceil(extract(epoch FROM expires_at))::bigint AS until"
#define REVOKE_SQL \
    "INSERT INTO token_revocation (tenant_id, revocation_id, kind, issuer, value, marks, expires_at)" \
    " SELECT t.tenant_id, $2, $3, $4, $5," \
    "  si_token_mark($3, t.tenant_id::text, $4, $5) || si_token_mark($3, t.name, $4, $5), to_timestamp($6::float8 / 1000)" \
    " FROM tenant t WHERE t.tenant_id = $1" \
    "  AND ((SELECT count(*) FROM token_revocation r WHERE r.tenant_id = $1 AND r.expires_at > now()) < " REVOKED_TENANT_MAX \
    "   OR EXISTS (SELECT 1 FROM token_revocation r WHERE r.tenant_id = $1 AND r.kind = $3 AND r.issuer = $4 AND r.value = $5))" \
    " ON CONFLICT (tenant_id, kind, issuer, value) DO UPDATE" \
    "  SET revoked_at = now(), expires_at = greatest(token_revocation.expires_at, excluded.expires_at)" \
    " RETURNING encode(marks, 'hex') AS marks, " TIME_TEXT("revoked_at") " AS created, " TIME_TEXT("expires_at") " AS expires, " \
    REVOKE_TIMES ", revocation_id"
/* Takes one back, also for sictl: $1 tenant's id, $2 its id. One row: marks in hex; none: there is none that counts. */
#define RESTORE_SQL \
    "DELETE FROM token_revocation WHERE tenant_id = $1 AND revocation_id = $2 AND expires_at > now() RETURNING encode(marks, 'hex') AS marks"
/* si_revoked_t.before of a kind that was revoked at `at`, s since 1970: of a subject the tokens until then, else all. */
uint64_t revoked_before(const char *kind, uint64_t at);

/* Reads what there is, now and every auth.cache, and keeps trying. gone() is called after news. After links_init(). */
void revoked_init(void (*gone)(void));
/* What was heard counts at once: two marks in hex, as they come. until 0: it was taken back. */
void revoked_heard(str_t marks, uint64_t before, uint64_t until);
/* Tells all to a link that came up. */
void revoked_tell(struct link *to);
/* Messages may have been lost: reads again. */
void revoked_doubt(void);
/* Revocations that count now, of all tenants. */
size_t revoked_count(void);
/* Whether it is known to be revoked. */
bool revoked(const si_marks_t *m);
/* The same for who comes: SI_EDENIED if it is; 0; or SI_EUNAVAIL, SI_ECANCELED when nothing could be read yet, for 3 s. */
int  co_revoked(const si_marks_t *m);

#endif
