#include "base/heap.h"

void heap_init(heap_t *h)
{
    *h = (heap_t) { 0 };
}

void heap_free(heap_t *h)
{
    free(h->nodes);
    heap_init(h);
}

static void place(heap_t *h, size_t i, heap_node_t *n)
{
    h->nodes[i] = n;
    n->index = i + 1;
}

static void sift_up(heap_t *h, size_t i, heap_node_t *n)
{
    while (i > 0 && h->nodes[(i - 1) / 2]->at > n->at) {
        place(h, i, h->nodes[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(h, i, n);
}

static void sift_down(heap_t *h, size_t i, heap_node_t *n)
{
    for (size_t child = 2 * i + 1; child < h->n; child = 2 * i + 1) {
        if (child + 1 < h->n && h->nodes[child + 1]->at < h->nodes[child]->at) {
            child++;
        }
        if (h->nodes[child]->at >= n->at) {
            break;
        }
        place(h, i, h->nodes[child]);
        i = child;
    }
    place(h, i, n);
}

static void settle(heap_t *h, size_t i, heap_node_t *n)
{
    if (i > 0 && h->nodes[(i - 1) / 2]->at > n->at) {
        sift_up(h, i, n);
    } else {
        sift_down(h, i, n);
    }
}

void heap_put(heap_t *h, heap_node_t *n, uint64_t at)
{
    n->at = at;
    if (n->index != 0) {
        settle(h, n->index - 1, n);
        return;
    }
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 64;
        h->nodes = si_realloc(h->nodes, h->cap * sizeof(*h->nodes));
    }
    h->n++;
    sift_up(h, h->n - 1, n);
}

void heap_del(heap_t *h, heap_node_t *n)
{
    size_t i = n->index;
    heap_node_t *last;

    if (i == 0) {
        return;
    }
    if (i > h->n || h->nodes[i - 1] != n) {
        si_die("heap_del: the node is not in this heap");
    }
    last = h->nodes[--h->n];
    n->index = 0;
    if (last != n) {
        settle(h, i - 1, last);
    }
}

heap_node_t *heap_min(const heap_t *h)
{
    return h->n ? h->nodes[0] : NULL;
}
