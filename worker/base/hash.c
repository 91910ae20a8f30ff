#include "base/hash.h"

#include <endian.h>

#include "base/util.h"

#define HASH_FIRST  16u     /* slots of the first table; always a power of two */

static inline uint64_t rotl(uint64_t x, int b)
{
    return x << b | x >> (64 - b);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

/* Little-endian. */
static inline uint64_t load64(const unsigned char *p, size_t n)
{
    uint64_t m = 0;

    memcpy(&m, p, n);
    return le64toh(m);
}

/* SipHash-1-3 (Aumasson and Bernstein); the second half of the key is made from the seed. */
uint64_t hash_bytes(uint64_t seed, const void *p, size_t n)
{
    const unsigned char *b = p;
    uint64_t k0 = seed, k1 = seed * 0x9e3779b97f4a7c15ull + 1, m;
    uint64_t v[4] = {
        k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull,
        k0 ^ 0x6c7967656e657261ull, k1 ^ 0x7465646279746573ull
    };
    size_t left = n;

    for (; left >= 8; left -= 8, b += 8) {
        m = load64(b, 8);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    m = (left ? load64(b, left) : 0) | (uint64_t) n << 56;
    v[3] ^= m;
    sip_round(v);
    v[0] ^= m;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void hash_init(hash_t *h)
{
    *h = (hash_t) { 0 };
    random_bytes(&h->seed, sizeof(h->seed));
}

void hash_free(hash_t *h)
{
    free(h->slots);
    h->slots = NULL;
    h->nslots = h->count = 0;
}

hash_node_t *hash_get(const hash_t *h, str_t key)
{
    uint64_t hash;

    if (h->count == 0) {
        return NULL;
    }
    hash = hash_bytes(h->seed, key.p, key.n);
    for (hash_node_t *n = h->slots[hash & (h->nslots - 1)]; n != NULL; n = n->next) {
        if (n->hash == hash && str_eq(n->key, key)) {
            return n;
        }
    }
    return NULL;
}

static void hash_grow(hash_t *h)
{
    size_t nslots = h->nslots ? h->nslots * 2 : HASH_FIRST;
    hash_node_t **slots = si_calloc(nslots * sizeof(*slots));

    for (size_t i = 0; i < h->nslots; i++) {
        for (hash_node_t *n = h->slots[i], *next; n != NULL; n = next) {
            hash_node_t **at = &slots[n->hash & (nslots - 1)];

            next = n->next;
            n->next = *at;
            *at = n;
        }
    }
    free(h->slots);
    h->slots = slots;
    h->nslots = nslots;
}

void hash_put(hash_t *h, hash_node_t *n, str_t key)
{
    hash_node_t **at;

    if (h->count >= h->nslots) {
        hash_grow(h);
    }
    n->key = key;
    n->hash = hash_bytes(h->seed, key.p, key.n);
    at = &h->slots[n->hash & (h->nslots - 1)];
    n->next = *at;
    *at = n;
    h->count++;
}

void hash_del(hash_t *h, hash_node_t *n)
{
    hash_node_t **at;

    if (h->nslots == 0) {
        si_die("hash_del: the table is empty");
    }
    at = &h->slots[n->hash & (h->nslots - 1)];
    while (*at != NULL && *at != n) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        si_die("hash_del: the node is not in the table");
    }
    *at = n->next;
    n->next = NULL;
    h->count--;
}

void hash_each(hash_t *h, void (*fn)(hash_node_t *n, void *arg), void *arg)
{
    for (size_t i = 0; i < h->nslots; i++) {
        for (hash_node_t *n = h->slots[i], *next; n != NULL; n = next) {
            next = n->next;
            fn(n, arg);
        }
    }
}
