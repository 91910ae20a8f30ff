
/*
 * A pool in this process: its slots, which link takes a call, and the calls
 * that wait for one.
 */


#include "ngx_si_module.h"


static void ngx_si_slot_timer(ngx_event_t *ev);
static void ngx_si_slot_arm(ngx_si_slot_t *slot, ngx_msec_t delay);
static ngx_uint_t ngx_si_slot_usable(ngx_si_slot_t *slot, ngx_int_t avoid);
static ngx_si_link_t *ngx_si_pool_by_key(ngx_si_pool_t *pool, ngx_str_t *key,
    ngx_int_t avoid);
static ngx_si_link_t *ngx_si_pool_by_load(ngx_si_pool_t *pool,
    ngx_int_t avoid);
static ngx_si_link_t *ngx_si_pool_slot(ngx_si_pool_t *pool,
    ngx_uint_t number);
static void ngx_si_pool_wake(ngx_si_pool_t *pool);


ngx_int_t
ngx_si_pool_start(ngx_si_pool_t *pool, ngx_si_proc_t *proc,
    ngx_cycle_t *cycle)
{
    ngx_uint_t      i;
    ngx_si_slot_t  *slot;

    pool->proc = proc;

    ngx_queue_init(&pool->links);
    ngx_queue_init(&pool->waiting);

    pool->slots = ngx_pcalloc(cycle->pool,
                              pool->nslots * sizeof(ngx_si_slot_t));
    if (pool->slots == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < pool->nslots; i++) {
        slot = &pool->slots[i];

        slot->pool = pool;
        slot->number = i;
        slot->dummy.fd = (ngx_socket_t) -1;
        slot->dummy.data = slot;
        slot->timer.data = &slot->dummy;
        slot->timer.handler = ngx_si_slot_timer;
        slot->timer.log = cycle->log;
        slot->timer.cancelable = 1;

        /* at once, but from the event loop: the cycle is not complete yet */
        ngx_add_timer(&slot->timer, 1);
    }

    return NGX_OK;
}


static void
ngx_si_slot_timer(ngx_event_t *ev)
{
    ngx_err_t          err;
    ngx_connection_t  *dummy;
    ngx_si_slot_t     *slot;

    dummy = ev->data;
    slot = dummy->data;

    /* during a graceful exit only a waiting call needs a new link */

    if (slot->link || (ngx_exiting && slot->pool->nwaiting == 0)) {
        return;
    }

    slot->link = ngx_si_link_connect(slot->pool, slot, NULL, &err);

    if (slot->link) {
        return;
    }

    if (!slot->logged) {
        slot->logged = 1;
        ngx_log_error(NGX_LOG_ERR, ev->log, err,
                      "si worker %ui of pool \"%V\" is not reachable",
                      slot->number, &slot->pool->name);
    }

    ngx_si_slot_down(slot);
}


static void
ngx_si_slot_arm(ngx_si_slot_t *slot, ngx_msec_t delay)
{
    if (slot->timer.timer_set) {
        ngx_del_timer(&slot->timer);
    }

    ngx_add_timer(&slot->timer, delay);
}


void
ngx_si_slot_down(ngx_si_slot_t *slot)
{
    ngx_msec_t  delay;

    slot->link = NULL;

    if (slot->backoff == 0) {
        slot->backoff = NGX_SI_BACKOFF_MIN;
    }

    /* half of it is fixed, half is jitter */

    delay = slot->backoff / 2 + ngx_random() % (slot->backoff / 2 + 1);
    slot->backoff = ngx_min(slot->backoff * 2, NGX_SI_BACKOFF_MAX);

    ngx_si_slot_arm(slot, delay);
}


void
ngx_si_slot_up(ngx_si_slot_t *slot)
{
    slot->backoff = 0;

    if (slot->logged) {
        slot->logged = 0;
        ngx_log_error(NGX_LOG_NOTICE, slot->timer.log, 0,
                      "si worker %ui of pool \"%V\" is reachable again",
                      slot->number, &slot->pool->name);
    }
}


/* the worker goes: its slot's socket leads to another one soon */

void
ngx_si_slot_renew(ngx_si_slot_t *slot)
{
    slot->link = NULL;
    slot->backoff = 0;

    if (!ngx_exiting) {
        ngx_si_slot_arm(slot, 1);
    }
}


static ngx_uint_t
ngx_si_slot_usable(ngx_si_slot_t *slot, ngx_int_t avoid)
{
    return slot->link
           && slot->link->state == NGX_SI_LINK_UP
           && slot->link->reason == NULL
           && slot->link->out_size < NGX_SI_OUT_SOFT
           && (ngx_int_t) slot->number != avoid;
}


ngx_si_link_t *
ngx_si_pool_pick(ngx_si_pool_t *pool, ngx_str_t *key, ngx_int_t avoid)
{
    ngx_si_link_t  *link;

    link = key->len ? ngx_si_pool_by_key(pool, key, avoid)
                    : ngx_si_pool_by_load(pool, avoid);

    if (link == NULL && avoid != -1) {
        /* better the one that failed than none */
        return ngx_si_pool_pick(pool, key, -1);
    }

    return link;
}


/*
 * Rendezvous hashing: each slot has a weight for the key, the heaviest that
 * is up wins, and a slot that goes or comes moves only its own keys.
 */

static ngx_si_link_t *
ngx_si_pool_by_key(ngx_si_pool_t *pool, ngx_str_t *key, ngx_int_t avoid)
{
    uint32_t        hash, weight, best;
    uint32_t        mix[2];
    ngx_uint_t      i;
    ngx_si_link_t  *link;

    hash = ngx_murmur_hash2(key->data, key->len);
    link = NULL;
    best = 0;

    for (i = 0; i < pool->nslots; i++) {

        if (!ngx_si_slot_usable(&pool->slots[i], avoid)) {
            continue;
        }

        mix[0] = hash;
        mix[1] = (uint32_t) i;
        weight = ngx_murmur_hash2((u_char *) mix, sizeof(mix));

        if (link == NULL || weight > best) {
            link = pool->slots[i].link;
            best = weight;
        }
    }

    return link;
}


static ngx_si_link_t *
ngx_si_pool_by_load(ngx_si_pool_t *pool, ngx_int_t avoid)
{
    ngx_uint_t      i, n;
    ngx_si_link_t  *link;

    link = NULL;

    for (n = 0; n < pool->nslots; n++) {
        i = (pool->rotate + n) % pool->nslots;

        if (ngx_si_slot_usable(&pool->slots[i], avoid)
            && (link == NULL || pool->slots[i].link->ncalls < link->ncalls))
        {
            link = pool->slots[i].link;
        }
    }

    pool->rotate++;

    return link;
}


/* a slot's number as a name: whoever has the slot now */

static ngx_si_link_t *
ngx_si_pool_slot(ngx_si_pool_t *pool, ngx_uint_t number)
{
    ngx_err_t       err;
    ngx_si_slot_t  *slot = &pool->slots[number];

    if (slot->link == NULL) {
        slot->link = ngx_si_link_connect(pool, slot, NULL, &err);
    }

    return slot->link && slot->link->reason == NULL ? slot->link : NULL;
}


/* a worker that goes still takes the calls that another one sends to it */

ngx_si_link_t *
ngx_si_pool_instance(ngx_si_pool_t *pool, ngx_str_t *name)
{
    ngx_int_t       n;
    ngx_err_t       err;
    ngx_uint_t      i;
    ngx_queue_t    *q;
    ngx_si_link_t  *link;

    n = ngx_atoi(name->data, name->len);

    if (n != NGX_ERROR) {
        return (ngx_uint_t) n < pool->nslots ? ngx_si_pool_slot(pool, n)
                                             : NULL;
    }

    for (q = ngx_queue_head(&pool->links);
         q != ngx_queue_sentinel(&pool->links);
         q = ngx_queue_next(q))
    {
        link = ngx_queue_data(q, ngx_si_link_t, queue);

        if (link->reason == NULL
            && (link->state == NGX_SI_LINK_UP
                || link->state == NGX_SI_LINK_AWAY
                || (link->state == NGX_SI_LINK_HELLO && link->slot == NULL))
            && link->name_len == name->len
            && ngx_strncmp(link->name, name->data, name->len) == 0)
        {
            return link;
        }
    }

    /* the name becomes part of a path */

    for (i = 0; i < name->len; i++) {
        if (!((name->data[i] >= '0' && name->data[i] <= '9')
              || (name->data[i] >= 'a' && name->data[i] <= 'z')
              || (i > 0 && (name->data[i] == '.' || name->data[i] == '-'))))
        {
            return NULL;
        }
    }

    return ngx_si_link_connect(pool, NULL, name, &err);
}


ngx_int_t
ngx_si_pool_wait(ngx_si_pool_t *pool, ngx_si_call_t *call,
    ngx_msec_t deadline)
{
    if (pool->nwaiting >= NGX_SI_WAIT_MAX) {
        return NGX_BUSY;
    }

    ngx_si_call_unqueue(call);

    ngx_queue_insert_tail(&pool->waiting, &call->queue);
    call->queued = 1;
    call->waits = pool;
    call->deadline = deadline;
    pool->nwaiting++;

    ngx_si_pool_wake(pool);

    return NGX_OK;
}


/* a graceful exit has closed idle links that a call now needs again */

static void
ngx_si_pool_wake(ngx_si_pool_t *pool)
{
    ngx_uint_t  i;

    for (i = 0; i < pool->nslots; i++) {
        if (pool->slots[i].link == NULL && !pool->slots[i].timer.timer_set) {
            ngx_si_slot_arm(&pool->slots[i], 1);
        }
    }
}


/* those that must wait again go to the pool's queue, not to the one walked */

void
ngx_si_pool_ready(ngx_si_pool_t *pool, ngx_uint_t expired)
{
    ngx_queue_t     todo, *q;
    ngx_si_call_t  *call;

    ngx_si_queue_take(&todo, &pool->waiting);

    while (!ngx_queue_empty(&todo)) {
        q = ngx_queue_head(&todo);
        call = ngx_queue_data(q, ngx_si_call_t, queue);

        if (expired
            && (ngx_msec_int_t) (call->deadline - ngx_current_msec) > 0)
        {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&pool->waiting, q);
            continue;
        }

        ngx_si_call_unqueue(call);
        call->ops->ready(call, expired);
    }
}
