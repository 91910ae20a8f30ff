/* Intrusive chained hash table, keyed by bytes that live in the owner of the node. Grows by itself. */
#ifndef SI_HASH_H
#define SI_HASH_H

#include "base/base.h"

typedef struct hash_node {
    struct hash_node *next;
    str_t             key;      /* not owned; must stay until the node is removed */
    uint64_t          hash;
} hash_node_t;

typedef struct {
    hash_node_t **slots;
    size_t        nslots, count;
    uint64_t      seed;
} hash_t;

void         hash_init(hash_t *h);
void         hash_free(hash_t *h);                        /* the table only, not the nodes */
hash_node_t *hash_get(const hash_t *h, str_t key);
void         hash_put(hash_t *h, hash_node_t *n, str_t key);  /* the key must not be present */
void         hash_del(hash_t *h, hash_node_t *n);
/* Calls fn for each node; fn may remove the node it is given, and no other. */
void         hash_each(hash_t *h, void (*fn)(hash_node_t *n, void *arg), void *arg);
/* Keyed hash of bytes (SipHash-1-3), for other uses too. */
uint64_t     hash_bytes(uint64_t seed, const void *p, size_t n);

#endif
