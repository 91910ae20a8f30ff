/*
 * What Postgres has said of API keys, kept by their SHA-256, so that a call of a known key asks nothing.
 *
 * A known key is asked about again after auth.cache, an unknown one after auth.negative_cache; whoever comes with the same key
 * meanwhile waits for the same answer. While Postgres does not answer, a key that was known goes on for auth.grace more, and
 * any other is SI_EUNAVAIL: an outage refuses nobody. A key's own end (expires_at) is kept to the second.
 *
 * Kept are the 65,536 known and the 4,096 unknown keys used last, about 400 bytes each: who tries keys out forgets only
 * his own.
 */
#ifndef SI_STORE_VERDICT_H
#define SI_STORE_VERDICT_H

#include "store/store.h"

#define VERDICTS_GOOD_MAX  65536
#define VERDICTS_BAD_MAX   4096

/* Sets proc.verdicts. key_gone: called when Postgres says that a key is not good any more. */
void verdicts_init(void (*key_gone)(const char *key_id));
/*
 * Who a key of the right form (store/key.h) belongs to, in the arena. 0; SI_EDENIED: unknown, expired, revoked, or of a user or
 * tenant that is disabled; SI_EUNAVAIL, SI_ETIMEDOUT: nobody can say; SI_ECANCELED. Waits for 11 s at most.
 */
int  co_verdict(arena_t *a, str_t key, identity_t *out);
/* A key was revoked: its verdict is forgotten. hash: as key_hash() makes it; any other text is harmless. */
void verdict_drop(str_t hash);
/* Revocations may have been missed: Postgres is asked about every key again, those that nobody uses one after the other. */
void verdicts_doubt(void);

typedef struct {
    size_t   good, bad;         /* kept */
    uint64_t hits, asked;       /* calls answered from memory; questions to Postgres */
} verdicts_count_t;

verdicts_count_t verdicts_count(void);

#endif
