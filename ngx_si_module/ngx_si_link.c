
/*
 * One connection to a worker, from connect to close.
 *
 * A link is closed only by its own events (ngx_si_link_close), never from
 * inside a call's work: that only marks it (ngx_si_link_fail) and posts the
 * link's event, so nobody up the stack holds a freed link.
 */


#include "ngx_si_module.h"


static ngx_connection_t *ngx_si_link_socket(ngx_si_pool_t *pool,
    struct sockaddr_un *un, socklen_t len, ngx_err_t *err);
static void ngx_si_link_setup(ngx_si_link_t *link, ngx_connection_t *c);
static void ngx_si_link_say_hello(ngx_si_link_t *link);
static void ngx_si_link_read(ngx_event_t *rev);
static void ngx_si_link_write(ngx_event_t *wev);
static void ngx_si_link_timer(ngx_event_t *ev);
static void ngx_si_link_kick(ngx_event_t *ev);
static ngx_uint_t ngx_si_link_useless(ngx_si_link_t *link);
static ngx_uint_t ngx_si_link_twin(ngx_si_link_t *link);
static void ngx_si_link_log(ngx_si_link_t *link, const char *reason);
static void ngx_si_link_drop_users(ngx_si_link_t *link);
static void ngx_si_link_free(ngx_si_link_t *link);


ngx_si_link_t *
ngx_si_link_connect(ngx_si_pool_t *pool, ngx_si_slot_t *slot,
    ngx_str_t *name, ngx_err_t *err)
{
    u_char              *p, *end;
    ngx_si_link_t       *link;
    ngx_connection_t    *c;
    struct sockaddr_un   un;

    *err = 0;

    if (pool->nlinks >= NGX_SI_LINKS_MAX) {
        return NULL;
    }

    ngx_memzero(&un, sizeof(struct sockaddr_un));

    un.sun_family = AF_UNIX;
    end = (u_char *) un.sun_path + sizeof(un.sun_path) - 1;

    p = slot ? ngx_slprintf((u_char *) un.sun_path, end, "%V/%ui.sock",
                            &pool->folder, slot->number)
             : ngx_slprintf((u_char *) un.sun_path, end, "%V/%V.sock",
                            &pool->folder, name);
    if (p == end) {
        return NULL;
    }

    c = ngx_si_link_socket(pool, &un, sizeof(struct sockaddr_un), err);
    if (c == NULL) {
        return NULL;
    }

    link = ngx_calloc(sizeof(ngx_si_link_t), c->log);
    if (link == NULL) {
        ngx_close_connection(c);
        return NULL;
    }

    link->pool = pool;
    link->slot = slot;

    if (name) {
        link->name_len = ngx_min(name->len, SI_KEY_MAX);
        ngx_memcpy(link->name, name->data, link->name_len);
    }

    ngx_si_link_setup(link, c);
    ngx_si_link_say_hello(link);

    return link;
}


static ngx_connection_t *
ngx_si_link_socket(ngx_si_pool_t *pool, struct sockaddr_un *un,
    socklen_t len, ngx_err_t *err)
{
    ngx_log_t         *log;
    ngx_socket_t       s;
    ngx_connection_t  *c;

    log = pool->proc->tick.log;

    s = ngx_socket(AF_UNIX, SOCK_STREAM, 0);
    if (s == (ngx_socket_t) -1) {
        *err = ngx_socket_errno;
        return NULL;
    }

    c = ngx_get_connection(s, log);

    if (c == NULL) {
        (void) ngx_close_socket(s);
        return NULL;
    }

    c->recv = ngx_recv;
    c->send = ngx_send;
    c->log = log;
    c->log_error = NGX_ERROR_INFO;
    c->read->log = log;
    c->write->log = log;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;

    /*
     * Not ngx_add_conn(): whenever the worker took what was sent to it, the
     * event that it can be written to would wake this process.
     */

    if (ngx_nonblocking(s) == -1
        || ngx_add_event(c->read, NGX_READ_EVENT,
                         (ngx_event_flags & NGX_USE_CLEAR_EVENT)
                             ? NGX_CLEAR_EVENT : NGX_LEVEL_EVENT)
           != NGX_OK
        || connect(s, (struct sockaddr *) un, len) == -1)
    {
        /* for a Unix socket EAGAIN means that its backlog is full */
        *err = ngx_socket_errno;
        ngx_close_connection(c);
        return NULL;
    }

    c->write->ready = 1;

    return c;
}


static void
ngx_si_link_setup(ngx_si_link_t *link, ngx_connection_t *c)
{
    ngx_si_pool_t  *pool = link->pool;

    link->connection = c;
    link->state = NGX_SI_LINK_HELLO;
    link->next_id = 1;
    link->heard = ngx_current_msec;
    link->used = ngx_current_msec;

    ngx_rbtree_init(&link->calls, &link->sentinel, ngx_rbtree_insert_value);
    ngx_queue_init(&link->waiting);
    link->logs = &link->bucket;

    ngx_queue_insert_tail(&pool->links, &link->queue);
    pool->nlinks++;

    c->data = link;
    c->idle = 1;
    c->read->handler = ngx_si_link_read;
    c->write->handler = ngx_si_link_write;

    link->timer.data = c;
    link->timer.handler = ngx_si_link_timer;
    link->timer.log = c->log;
    link->timer.cancelable = 1;

    link->kick.data = c;
    link->kick.handler = ngx_si_link_kick;
    link->kick.log = c->log;

    ngx_add_timer(&link->timer, NGX_SI_WAIT_HELLO);
}


static void
ngx_si_link_say_hello(ngx_si_link_t *link)
{
    size_t   len;
    u_char  *p, peer[NGX_INT64_LEN + sizeof("nginx ")];

    len = ngx_sprintf(peer, "nginx %P", ngx_pid) - peer;

    p = ngx_si_frame_add(link, SI_F_HELLO, 0, 0, 5 + 4 + 5 + len);
    if (p == NULL) {
        return;
    }

    si_field_head(p, SI_T_VERSION, 4);
    si_put32(p + 5, SI_LINK_VERSION);
    si_field_head(p + 9, SI_T_PEER, (uint32_t) len);
    ngx_memcpy(p + 14, peer, len);
}


/* the worker's first frame */

const char *
ngx_si_link_hello(ngx_si_link_t *link, const u_char *p, size_t len)
{
    int            rc;
    uint32_t       version = 0;
    si_field_t     f;
    const u_char  *end = p + len;

    if (link->state != NGX_SI_LINK_HELLO) {
        return "second HELLO";
    }

    while ((rc = si_field_next(&p, end, &f)) > 0) {

        if (f.tag == SI_T_VERSION && f.length == 4) {
            version = si_get32(f.data);

        } else if (f.tag == SI_T_PEER && f.length <= SI_KEY_MAX) {
            link->name_len = f.length;
            ngx_memcpy(link->name, f.data, f.length);
        }
    }

    if (rc < 0 || link->name_len == 0) {
        return "malformed HELLO";
    }

    if (version != SI_LINK_VERSION) {
        return "HELLO of another version";
    }

    if (ngx_si_link_twin(link)) {
        /* the old worker still holds the slot's socket */
        link->quiet = 1;
        return "the worker is going";
    }

    link->state = NGX_SI_LINK_UP;
    ngx_si_count(link->pool->proc, NGX_SI_LINKS, 1);
    ngx_si_count(link->pool->proc, NGX_SI_LINKED, 1);
    ngx_add_timer(&link->timer, NGX_SI_PING);

    ngx_log_error(NGX_LOG_INFO, link->connection->log, 0,
                  "si link to worker %*s is up", link->name_len, link->name);

    if (link->slot) {
        ngx_si_slot_up(link->slot);
    }

    /* whoever waits is served by the link's posted event */
    ngx_si_link_post(link);

    return NULL;
}


static ngx_uint_t
ngx_si_link_twin(ngx_si_link_t *link)
{
    ngx_queue_t    *q;
    ngx_si_link_t  *other;

    for (q = ngx_queue_head(&link->pool->links);
         link->slot && q != ngx_queue_sentinel(&link->pool->links);
         q = ngx_queue_next(q))
    {
        other = ngx_queue_data(q, ngx_si_link_t, queue);

        if (other != link
            && other->state == NGX_SI_LINK_AWAY
            && other->name_len == link->name_len
            && ngx_memcmp(other->name, link->name, link->name_len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


void
ngx_si_link_goaway(ngx_si_link_t *link)
{
    if (link->state != NGX_SI_LINK_UP) {
        return;
    }

    ngx_log_error(NGX_LOG_INFO, link->connection->log, 0,
                  "si worker %*s takes no more calls",
                  link->name_len, link->name);

    link->state = NGX_SI_LINK_AWAY;

    if (link->slot) {
        ngx_si_slot_renew(link->slot);
        link->slot = NULL;
    }

    ngx_si_link_post(link);
}


static void
ngx_si_link_read(ngx_event_t *rev)
{
    ngx_si_link_t     *link;
    ngx_connection_t  *c;

    c = rev->data;
    link = c->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "si link read, close:%d", c->close);

    if (c->close) {
        /* a graceful exit closes idle links, its timeout the others too */
        ngx_si_link_close(link, NULL);
        return;
    }

    if (ngx_si_frame_read(link) != NGX_OK) {
        ngx_si_link_close(link, link->reason ? link->reason
                                             : "the worker has gone");
        return;
    }

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_si_link_close(link, "read event failed");
    }
}


static void
ngx_si_link_write(ngx_event_t *wev)
{
    ngx_connection_t  *c = wev->data;

    ngx_si_link_post(c->data);
}


/* HELLO is late; or it is time for PING; or the worker is silent */

static void
ngx_si_link_timer(ngx_event_t *ev)
{
    ngx_si_link_t     *link;
    ngx_connection_t  *c;

    c = ev->data;
    link = c->data;

    if (link->state == NGX_SI_LINK_HELLO) {
        ngx_si_link_close(link, "no HELLO in time");
        return;
    }

    if ((ngx_msec_int_t) (ngx_current_msec - link->heard) >= NGX_SI_SILENCE) {
        ngx_si_link_close(link, "the worker is silent");
        return;
    }

    if (ngx_si_link_useless(link)) {
        ngx_si_link_close(link, NULL);
        return;
    }

    ngx_si_frame_empty(link, SI_F_PING, ++link->pings);
    ngx_add_timer(ev, NGX_SI_PING);
}


void
ngx_si_link_post(ngx_si_link_t *link)
{
    if (link->state != NGX_SI_LINK_DEAD) {
        ngx_post_event(&link->kick, &ngx_posted_events);
    }
}


void
ngx_si_link_fail(ngx_si_link_t *link, const char *reason)
{
    if (link->reason == NULL) {
        link->reason = reason;
    }

    ngx_si_link_post(link);
}


/* the link's work after a batch of events: send, wake who waits, or close */

static void
ngx_si_link_kick(ngx_event_t *ev)
{
    ngx_queue_t        todo, *q;
    ngx_si_call_t     *call;
    ngx_si_link_t     *link;
    ngx_connection_t  *c;

    c = ev->data;
    link = c->data;

    if (link->reason) {
        ngx_si_link_close(link, link->reason);
        return;
    }

    if (ngx_si_frame_flush(link) != NGX_OK) {
        ngx_si_link_close(link, "send failed");
        return;
    }

    if (link->state != NGX_SI_LINK_HELLO
        && link->out_size < NGX_SI_OUT_SOFT / 2)
    {
        ngx_si_queue_take(&todo, &link->waiting);

        while (!ngx_queue_empty(&todo)) {
            q = ngx_queue_head(&todo);
            call = ngx_queue_data(q, ngx_si_call_t, queue);
            ngx_si_call_unqueue(call);
            call->ops->ready(call, 0);
        }

        if (link->state == NGX_SI_LINK_UP) {
            ngx_si_pool_ready(link->pool, 0);
        }
    }

    if (ngx_si_link_useless(link) && link->out == NULL) {
        ngx_si_link_close(link, NULL);
    }
}


static ngx_uint_t
ngx_si_link_useless(ngx_si_link_t *link)
{
    if (link->ncalls || link->nlogs || !ngx_queue_empty(&link->waiting)) {
        return 0;
    }

    if (ngx_exiting) {
        return link->pool->nwaiting == 0;
    }

    return link->state == NGX_SI_LINK_AWAY
           || (link->slot == NULL
               && (ngx_msec_int_t) (ngx_current_msec - link->used)
                   >= NGX_SI_SPARE);
}


/* a call or log has come or gone */

void
ngx_si_link_touch(ngx_si_link_t *link)
{
    ngx_uint_t  idle;

    if (link->state == NGX_SI_LINK_DEAD) {
        return;
    }

    idle = link->ncalls == 0 && link->nlogs == 0;

    link->connection->idle = idle;
    link->used = ngx_current_msec;

    if (idle && (ngx_exiting || link->state == NGX_SI_LINK_AWAY)) {
        ngx_si_link_post(link);
    }
}


void
ngx_si_link_wait(ngx_si_link_t *link, ngx_si_call_t *call)
{
    ngx_si_call_unqueue(call);

    ngx_queue_insert_tail(&link->waiting, &call->queue);
    call->queued = 1;

    if (link->state != NGX_SI_LINK_HELLO) {
        ngx_si_link_post(link);
    }
}


void
ngx_si_link_close(ngx_si_link_t *link, const char *reason)
{
    ngx_si_slot_t  *slot;

    ngx_si_link_log(link, reason);

    if (link->state == NGX_SI_LINK_UP || link->state == NGX_SI_LINK_AWAY) {
        ngx_si_count(link->pool->proc, NGX_SI_LINKS, -1);
    }

    link->state = NGX_SI_LINK_DEAD;

    if (link->timer.timer_set) {
        ngx_del_timer(&link->timer);
    }

    if (link->kick.posted) {
        ngx_delete_posted_event(&link->kick);
    }

    ngx_queue_remove(&link->queue);
    link->pool->nlinks--;

    ngx_close_connection(link->connection);

    slot = link->slot;

    if (slot && slot->link == link) {
        ngx_si_slot_down(slot);
    }

    ngx_si_link_drop_users(link);
    ngx_si_link_free(link);
}


static void
ngx_si_link_log(ngx_si_link_t *link, const char *reason)
{
    ngx_uint_t  level;

    level = reason && link->reason ? NGX_LOG_ERR : NGX_LOG_WARN;

    if (reason == NULL || link->quiet) {
        reason = reason ? reason : "no longer needed";
        level = NGX_LOG_INFO;
    }

    ngx_log_error(level, link->connection->log, 0,
                  "si link to worker %*s closed: %s",
                  link->name_len, link->name, reason);
}


/* each is taken out first: what it then does may end others of this link */

static void
ngx_si_link_drop_users(ngx_si_link_t *link)
{
    ngx_queue_t        *q;
    ngx_uint_t          i;
    ngx_si_call_t      *call;
    ngx_rbtree_node_t  *node;

    while (link->calls.root != &link->sentinel) {
        node = ngx_rbtree_min(link->calls.root, &link->sentinel);
        call = (ngx_si_call_t *) node;
        ngx_si_call_unbind(call, 0);
        ngx_si_call_unqueue(call);
        call->ops->lost(call);
    }

    while (!ngx_queue_empty(&link->waiting)) {
        q = ngx_queue_head(&link->waiting);
        call = ngx_queue_data(q, ngx_si_call_t, queue);
        ngx_si_call_unqueue(call);
        call->ops->lost(call);
    }

    while (link->nlogs) {
        for (i = 0; link->logs[i] == NULL; i++) { /* void */ }
        ngx_si_resume_start(link->logs[i], -1);
    }
}


static void
ngx_si_link_free(ngx_si_link_t *link)
{
    ngx_si_out_t  *out;

    while (link->out) {
        out = link->out;
        link->out = out->next;
        ngx_free(out);
    }

    if (link->in) {
        ngx_free(link->in);
    }

    ngx_si_link_free_logs(link);
    ngx_free(link);
}
