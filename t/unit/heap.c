/* Heap of timers: order under random insertion, moving and removal. */
#include "base/heap.h"

#include "tap.h"

static heap_node_t nodes[2000];

static uint64_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005ull + 1442695040888963407ull;
    return *x >> 33;
}

static size_t drain(heap_t *h, bool *sorted)
{
    uint64_t last = 0;
    size_t n = 0;

    *sorted = true;
    for (heap_node_t *m; (m = heap_min(h)) != NULL; n++) {
        *sorted &= m->at >= last;
        last = m->at;
        heap_del(h, m);
    }
    return n;
}

int main(void)
{
    heap_t h;
    uint64_t x = 42;
    size_t removed = 0;
    bool sorted;

    heap_init(&h);
    ok(heap_min(&h) == NULL, "empty");
    heap_del(&h, &nodes[0]);
    ok(h.n == 0, "removing what is not there is harmless");

    for (size_t i = 0; i < SI_COUNT(nodes); i++) {
        heap_put(&h, &nodes[i], next_random(&x) % 1000);
    }
    is_int((long long) drain(&h, &sorted), (long long) SI_COUNT(nodes), "all come out");
    ok(sorted, "in order");

    for (size_t i = 0; i < SI_COUNT(nodes); i++) {
        heap_put(&h, &nodes[i], next_random(&x) % 1000);
    }
    for (size_t i = 0; i < 20000; i++) {
        heap_node_t *n = &nodes[next_random(&x) % SI_COUNT(nodes)];

        if (i % 4 == 0) {
            heap_del(&h, n);
        } else {
            heap_put(&h, n, next_random(&x) % 1000);
        }
    }
    for (size_t i = 0; i < SI_COUNT(nodes); i++) {
        removed += nodes[i].index == 0;
    }
    is_int((long long) drain(&h, &sorted), (long long) (SI_COUNT(nodes) - removed),
           "after moves and removals the right number comes out");
    ok(sorted, "in order");
    heap_free(&h);
    return done_testing();
}
