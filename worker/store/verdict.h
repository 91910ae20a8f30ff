/*
 * What Postgres has said of API keys, kept by their SHA-256, so that a call of a known key asks nothing.
 *
 * A known key is asked about again after auth.cache, an unknown one after auth.negative_cache; whoever comes with the same key
 * meanwhile waits for the same answer. While Postgres does not answer, a key that was known goes on for auth.grace more, and
 * any other is SI_EUNAVAIL: an outage refuses nobody. A key's own end (expires_at) is kept to the second.
 *
 * Kept are the 65,536 known and the 4,096 unknown keys used last, about 400 bytes each: who tries keys out forgets only
 * his own.
 *
 * nginx keeps verdicts, too (ngx_si_verdict.c): it refuses unknown keys itself, and brings the verdict of a known one along. Here is
 * decided whether that still counts. This table stays, since here the questions of all nginx processes are gathered, an outage is
 * weighed, and what was opened with a key is asked about when messages were lost.
 */
#ifndef SI_STORE_VERDICT_H
#define SI_STORE_VERDICT_H

#include "link/frame.h"
#include "store/store.h"

#define VERDICTS_GOOD_MAX  65536
#define VERDICTS_BAD_MAX   4096

/* Sets proc.verdicts. key_gone: called when Postgres says that a key is not good any more. */
void verdicts_init(void (*key_gone)(const char *key_id));
/*
 * Who a key of the right form (store/key.h) belongs to, in the arena; hash: key_hash() of it. kept: what nginx keeps of it, or NULL:
 * it counts unless it is older than auth.cache, or from before messages were lost, or before the key was revoked; and it is as good as
 * one's own while Postgres does not answer. 0; SI_EDENIED: unknown, expired, revoked, or of a user or tenant that is disabled;
 * SI_EUNAVAIL, SI_ETIMEDOUT: nobody can say; SI_ECANCELED. Waits for 11 s at most.
 */
int  co_verdict(arena_t *a, const char *hash, const si_verdict_t *kept, identity_t *out);
/* For nginx to keep: what is known of the key, if that is newer than `after` (si_verdict_t.at). Bytes of it, 0: nothing. */
size_t verdict_put(const char *hash, uint64_t after, uint8_t out[SI_VERDICT_MAX]);
/* A key was revoked: its verdict is forgotten, here and in nginx. hash: as key_hash() makes it; any other text is harmless. */
void verdict_drop(str_t hash);
/* Revocations may have been missed: Postgres is asked about every key again, those that nobody uses one after the other. */
void verdicts_doubt(void);

typedef struct {
    size_t   good, bad;         /* kept */
    uint64_t hits, asked;       /* calls answered from memory; questions to Postgres */
} verdicts_count_t;

verdicts_count_t verdicts_count(void);

#endif
