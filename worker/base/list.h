/* Intrusive doubly linked list. A node that is in no list points to itself after list_init(). */
#ifndef SI_LIST_H
#define SI_LIST_H

#include "base/base.h"

typedef struct list { struct list *prev, *next; } list_t;

static inline void list_init(list_t *l) { l->prev = l->next = l; }
static inline bool list_empty(const list_t *l) { return l->next == l; }

static inline void list_insert(list_t *at, list_t *n)   /* before `at`; at the end when `at` is the head */
{
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
}

static inline void list_push(list_t *head, list_t *n) { list_insert(head, n); }

static inline void list_remove(list_t *n)               /* harmless for a node in no list */
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

#define list_entry(n, type, member)  container_of(n, type, member)
#define list_first(head, type, member) \
    (list_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_each(it, head) \
    for (list_t *it = (head)->next; it != (head); it = it->next)
/* The body may remove `it`. */
#define list_each_safe(it, head) \
    for (list_t *it = (head)->next, *it##_next = it->next; it != (head); it = it##_next, it##_next = it->next)

#endif
