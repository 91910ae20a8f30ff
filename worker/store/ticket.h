/*
 * One-use tickets for streams. Which request uses one is decided by an update of its row, so by Postgres, once for all nodes;
 * nothing is cached. The row names that request, because the edge may send it to a second worker: it moved, or the first died.
 */
#ifndef SI_STORE_TICKET_H
#define SI_STORE_TICKET_H

#include "store/store.h"

typedef struct {
    const char *hash;           /* key_hash() of the ticket */
    const char *path;           /* which it is for, 1 to 200 bytes */
    const char *origin;         /* of the page that it is for, at most 300 bytes; NULL: any */
    uint64_t    life;           /* ms */
    const char *marks;          /* of the token that asks for it, 64 hex digits; NULL: a key does */
} ticket_new_t;

/* It ends with the caller's credential at the latest. *expires: RFC 3339, ms, UTC. The user's tickets that have expired are deleted. */
int co_store_ticket_new(arena_t *a, const identity_t *who, const ticket_new_t *t, const char **expires);

typedef struct {
    const char *hash, *path;
    const char *origin;         /* of the request; NULL: it names none */
    bool        same;           /* it names none and comes from the server's own pages, or does not say whence */
    const char *request;        /* who uses it: the edge's request id */
} ticket_use_t;

/*
 * Uses it up. SI_EDENIED: unknown, expired, used by another request, for another path or origin (then it is not used up), or
 * whoever asked for it may not call any more. out->expires is the end of that credential, *marks those of a token or "".
 */
int co_store_ticket_use(arena_t *a, const ticket_use_t *t, identity_t *out, const char **marks);

#endif
