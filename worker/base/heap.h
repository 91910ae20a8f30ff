/* Binary min-heap of intrusive nodes, ordered by `at`: the timers of the loop. */
#ifndef SI_HEAP_H
#define SI_HEAP_H

#include "base/base.h"

typedef struct heap_node {
    uint64_t at;
    size_t   index;     /* private: place in the heap + 1; 0 when in none */
} heap_node_t;

typedef struct {
    heap_node_t **nodes;
    size_t        n, cap;
} heap_t;

void         heap_init(heap_t *h);
void         heap_free(heap_t *h);                      /* the array only, not the nodes */
/* Inserts n, or moves it when it is in the heap already. n must be zeroed before its first use. */
void         heap_put(heap_t *h, heap_node_t *n, uint64_t at);
/* Harmless for a node that is not in the heap. */
void         heap_del(heap_t *h, heap_node_t *n);
/* The node with the smallest `at`; NULL when empty. */
heap_node_t *heap_min(const heap_t *h);

#endif
