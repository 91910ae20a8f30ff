
/*
 * Calls and their links: ids, the tree a link finds them in, and the queues
 * in which they wait.
 */


#include "ngx_si_module.h"


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
