
/*
 * Calls and logs and their links: ids, the tree and the hash table a link
 * finds them in, and the queues in which calls wait.
 */


#include "ngx_si_module.h"


static void ngx_si_link_rehash(ngx_si_link_t *link, ngx_uint_t mask);


ngx_rbtree_node_t *
ngx_si_tree_find(ngx_rbtree_t *tree, uint64_t key)
{
    ngx_rbtree_node_t  *node;

    node = tree->root;

    while (node != tree->sentinel) {

        if (node->key == key) {
            return node;
        }

        node = key < node->key ? node->left : node->right;
    }

    return NULL;
}


ngx_si_call_t *
ngx_si_link_call(ngx_si_link_t *link, uint64_t id)
{
    return (ngx_si_call_t *) ngx_si_tree_find(&link->calls, id);
}


void
ngx_si_call_bind(ngx_si_call_t *call, ngx_si_link_t *link)
{
    call->node.key = link->next_id++;
    call->link = link;
    ngx_rbtree_insert(&link->calls, &call->node);
    link->ncalls++;
    ngx_si_link_touch(link);
}


void
ngx_si_call_unbind(ngx_si_call_t *call, ngx_uint_t cancel)
{
    ngx_si_link_t  *link = call->link;
    uint64_t        id = call->node.key;    /* deleting clears it */

    if (link == NULL) {
        return;
    }

    call->link = NULL;
    ngx_rbtree_delete(&link->calls, &call->node);
    link->ncalls--;

    if (cancel) {
        ngx_si_frame_empty(link, SI_F_CANCEL, id);
    }

    ngx_si_link_touch(link);
}


void
ngx_si_call_unqueue(ngx_si_call_t *call)
{
    if (!call->queued) {
        return;
    }

    ngx_queue_remove(&call->queue);
    call->queued = 0;

    if (call->waits) {
        call->waits->nwaiting--;
        call->waits = NULL;
    }
}


/*
 * A worker numbers its logs one after the other, so the low bits of the id
 * are the hash, and each delivery finds its log in one step.
 */

ngx_si_mirror_t *
ngx_si_link_find_log(ngx_si_link_t *link, uint64_t log)
{
    ngx_si_mirror_t  *m;

    for (m = link->logs[log & link->mask]; m && m->log != log; m = m->next) {
        /* void */
    }

    return m;
}


void
ngx_si_link_add_log(ngx_si_link_t *link, ngx_si_mirror_t *m)
{
    ngx_si_mirror_t  **bucket;

    if (link->nlogs > link->mask) {
        ngx_si_link_rehash(link, 2 * link->mask + 1);
    }

    bucket = &link->logs[m->log & link->mask];
    m->next = *bucket;
    *bucket = m;

    link->nlogs++;
    ngx_si_link_touch(link);
}


void
ngx_si_link_remove_log(ngx_si_link_t *link, ngx_si_mirror_t *m)
{
    ngx_si_mirror_t  **p;

    for (p = &link->logs[m->log & link->mask]; *p != m; p = &(*p)->next) {
        /* void */
    }

    *p = m->next;

    if (--link->nlogs < link->mask / 16) {
        ngx_si_link_rehash(link, link->mask / 4);
    }
}


/* without memory the table stays as it is, and slower */

static void
ngx_si_link_rehash(ngx_si_link_t *link, ngx_uint_t mask)
{
    ngx_uint_t         i;
    ngx_si_mirror_t  **logs, **bucket, *m;

    logs = calloc(mask + 1, sizeof(ngx_si_mirror_t *));
    if (logs == NULL) {
        return;
    }

    for (i = 0; i <= link->mask; i++) {
        while ((m = link->logs[i])) {
            link->logs[i] = m->next;
            bucket = &logs[m->log & mask];
            m->next = *bucket;
            *bucket = m;
        }
    }

    ngx_si_link_free_logs(link);
    link->logs = logs;
    link->mask = mask;
}


void
ngx_si_link_free_logs(ngx_si_link_t *link)
{
    if (link->logs != &link->bucket) {
        free(link->logs);
    }
}
