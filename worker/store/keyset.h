/*
 * Key sets of issuers on this machine's disk: <auth.keys>/<name>.json, so that the last good one outlives an issuer that does
 * not answer and a restart; and <name>.lock, whose holder may ask the issuer and whose time says when that was tried last,
 * so that the workers of a machine ask once together. Small files of one's own disk: nothing here yields.
 */
#ifndef SI_STORE_KEYSET_H
#define SI_STORE_KEYSET_H

#include "base/arena.h"

typedef struct {
    str_t    text;              /* a JWK set (RFC 7517 section 5) */
    uint64_t fetched;           /* ms since 1970, when the issuer gave it */
    uint64_t age;               /* ms: it is good for so long */
} keyset_t;

/* Makes the folder, 0700. What cannot be done is logged; then nothing is kept. */
void keyset_init(void);
/* A descriptor to be closed; SI_EAGAIN: another worker has it; SI_EUNAVAIL: no lock can be had. */
int  keyset_lock(const char *name);
/* When its issuer was last asked, ms since 1970, and that it is now. */
uint64_t keyset_tried(int lock);
void keyset_try(int lock);
/*
 * What was kept of this source (the issuer's or the set's URL), in the arena. False: nothing, or what cannot be trusted,
 * which is thrown away (logged): another's file, one that others may read or write, another source's.
 */
bool keyset_read(arena_t *a, const char *name, const char *source, keyset_t *out);
/* Keeps it instead of the former one, 0600; by the holder of the lock. */
void keyset_write(arena_t *a, const char *name, const char *source, const keyset_t *set);

#endif
