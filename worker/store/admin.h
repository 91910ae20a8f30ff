/* Blocking tools of the command line (no loop). They print to stdout and say errors in one line on stderr. */
#ifndef SI_STORE_ADMIN_H
#define SI_STORE_ADMIN_H

#include "base/util.h"

/*
 * Brings the database to the newest schema: each migration in one transaction, under an advisory lock, recorded with its
 * SHA-256 in si_migration; a recorded one whose text has changed is an error. Grants the role `worker_role` what it needs
 * (it owns nothing). It asks for each lock for 2 s at most, since all who come after a lock that waits wait behind it; then
 * it lets them pass, says who holds locks, and tries again, for wait_ms in all. 0 or SI_E*: SI_EAGAIN when that did not do.
 */
int admin_migrate(const char *conninfo, const char *worker_role, uint64_t wait_ms);

typedef struct {
    const char *tenant, *user;      /* names, 1 to 200 bytes */
    const char *name;               /* of the key, for people, at most 200 bytes; may be "" */
    const char *scopes;             /* "" or "admin" */
    const char *expires;            /* a duration ("90d"), a time as Postgres reads it ("2030-01-31T12:00:00Z"), or NULL: never */
    const char *budget;             /* "12.50" or "12.50/day": US dollars in an hour, day, month (the default), or total; NULL: any amount */
    const char *calls;              /* "100" or "100/day": calls of models; NULL: any number. Of the same period */
    const char *requests, *tokens;  /* a minute; NULL: any number */
} admin_key_t;

/* Finds or creates tenant and user by name and prints a new API key (store/key.h) alone on a line; only its SHA-256 is kept. 0 or SI_E*. */
int admin_key_create(const char *conninfo, const admin_key_t *k);
/* Prints all keys of the tenant, without what is secret. 0 or SI_E*. */
int admin_key_list(const char *conninfo, const char *tenant);

/* A key that was revoked: what the workers are to be told. */
typedef struct {
    char tenant[UUID_LEN + 1], user[UUID_LEN + 1], key[UUID_LEN + 1], hash[2 * SHA256_LEN + 1];
} admin_gone_t;

/* Revokes a key by its id; one that is revoked already stays so. 0 or SI_E*. */
int admin_key_revoke(const char *conninfo, const char *tenant, const char *key_id, admin_gone_t *gone);

/* Tokens that were revoked, likewise (store/revoked.h). */
typedef struct {
    char     tenant[UUID_LEN + 1], marks[33];
    uint64_t before, until;
} admin_tokens_t;

typedef struct {
    const char *tenant;             /* its name */
    const char *kind;               /* "jti", "subject" or "digest" */
    const char *issuer, *value;     /* issuer: NULL for a digest */
    const char *expires;            /* as admin_key_t, within 30 days; NULL: after those */
} admin_revoke_t;

/* Revokes tokens of a tenant's users. 0 or SI_E*. */
int admin_token_revoke(const char *conninfo, const admin_revoke_t *t, admin_tokens_t *gone);
/* Prints the tenant's revocations that count. 0 or SI_E*. */
int admin_token_list(const char *conninfo, const char *tenant);
/* Takes one back, by its id: *gone says so to the workers. 0 or SI_E*. */
int admin_token_restore(const char *conninfo, const char *tenant, const char *id, admin_tokens_t *gone);

/*
 * Prints what the model calls of a tenant took and cost, in groups: "model", "agent", "user", "key" or "day" (NULL: model).
 * from, to: times or days as Postgres reads them; NULL: 30 days ago, now. 0 or SI_E*.
 */
int admin_usage(const char *conninfo, const char *tenant, const char *from, const char *to, const char *group);

#endif
