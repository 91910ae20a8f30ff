
/*
 * A mirror whose link has died looks for its log at another worker, once for
 * all its readers.
 */


#include "ngx_si_module.h"


/* what a mirror needs only while it has no link */

struct ngx_si_resume_s {
    ngx_si_call_t             call;
    ngx_queue_t               queue;    /* proc->resumes */
    ngx_si_mirror_t          *mirror;
    ngx_msec_t                give_up;
    ngx_msec_t                retry;    /* when to try again */
    ngx_msec_t                backoff;
    ngx_int_t                 avoid;    /* slot, or -1 */
    ngx_uint_t                hops;
    size_t                    instance_len;     /* 0: any */
    u_char                    instance[SI_KEY_MAX]; /* where MOVED sent it */
};


static void ngx_si_resume_try(ngx_si_mirror_t *m);
static void ngx_si_resume_later(ngx_si_mirror_t *m);
static ngx_si_link_t *ngx_si_resume_choose(ngx_si_mirror_t *m);
static const char *ngx_si_resume_frame(ngx_si_call_t *call, si_frame_t *f,
    const u_char *p);
static const char *ngx_si_resume_data(ngx_si_mirror_t *m, si_frame_t *f,
    const u_char *p);
static const char *ngx_si_resume_attach(ngx_si_mirror_t *m, const u_char *p,
    size_t len);
static const char *ngx_si_resume_moved(ngx_si_mirror_t *m, const u_char *p,
    size_t len);
static const char *ngx_si_resume_head(ngx_si_mirror_t *m, const u_char *p,
    size_t len);
static const char *ngx_si_resume_end(ngx_si_mirror_t *m, ngx_uint_t aborted);
static void ngx_si_resume_lost(ngx_si_call_t *call);
static void ngx_si_resume_ready(ngx_si_call_t *call, ngx_uint_t expired);


static const ngx_si_ops_t  ngx_si_resume_ops = {
    ngx_si_resume_frame,
    ngx_si_resume_lost,
    ngx_si_resume_ready
};


#define ngx_si_resume_mirror(call)  ((ngx_si_resume_t *) (call))->mirror


static ngx_int_t
ngx_si_resume_begin(ngx_si_mirror_t *m, ngx_int_t avoid)
{
    ngx_si_resume_t  *rs;

    rs = ngx_calloc(sizeof(ngx_si_resume_t), ngx_cycle->log);
    if (rs == NULL) {
        return NGX_ERROR;
    }

    rs->call.ops = &ngx_si_resume_ops;
    rs->mirror = m;
    rs->avoid = avoid;
    rs->backoff = NGX_SI_BACKOFF_MIN;
    rs->give_up = ngx_current_msec + NGX_SI_RESUME;

    ngx_queue_insert_tail(&m->pool->proc->resumes, &rs->queue);
    m->resume = rs;

    return NGX_OK;
}


void
ngx_si_resume_start(ngx_si_mirror_t *m, ngx_int_t avoid)
{
    ngx_si_log_hold(m);

    ngx_si_log_publish(m);
    ngx_si_log_unbind(m, 0);

    ngx_log_error(NGX_LOG_INFO, m->pool->proc->tick.log, 0,
                  "si log %*s of %uD readers is resumed elsewhere",
                  (size_t) m->key_len, m->key, m->nreaders);

    if (m->nreaders == 0) {
        /* the release below ends it */

    } else if (ngx_exiting && !ngx_si_mirror_is_turn(m)) {
        /* they were about to be sent away */
        ngx_si_log_close(m, NGX_SI_DRAIN, 500);

    } else if (ngx_si_resume_begin(m, avoid) != NGX_OK) {
        ngx_si_log_close(m, NGX_SI_LOST, 500);

    } else {
        ngx_si_resume_try(m);
    }

    ngx_si_log_release(m);
}


/* the log was found, or nobody wants it any more */

void
ngx_si_resume_stop(ngx_si_mirror_t *m)
{
    ngx_si_resume_t  *rs = m->resume;

    if (rs == NULL) {
        return;
    }

    m->resume = NULL;

    ngx_si_call_unbind(&rs->call, 1);
    ngx_si_call_unqueue(&rs->call);
    ngx_queue_remove(&rs->queue);
    ngx_free(rs);
}


static ngx_si_link_t *
ngx_si_resume_choose(ngx_si_mirror_t *m)
{
    ngx_str_t         name;
    ngx_si_link_t    *link;
    ngx_si_resume_t  *rs = m->resume;

    if (rs->instance_len) {
        name.data = rs->instance;
        name.len = rs->instance_len;

        link = ngx_si_pool_instance(m->pool, &name);
        if (link) {
            return link;
        }

        rs->instance_len = 0;
    }

    name.data = m->key;
    name.len = m->key_len;

    return ngx_si_pool_pick(m->pool, &name, rs->avoid);
}


static void
ngx_si_resume_try(ngx_si_mirror_t *m)
{
    ngx_si_link_t    *link;
    ngx_si_resume_t  *rs = m->resume;

    rs->retry = rs->give_up;
    link = ngx_si_resume_choose(m);

    if (link == NULL) {
        if (ngx_si_pool_wait(m->pool, &rs->call, rs->give_up) != NGX_OK) {
            ngx_si_resume_later(m);
        }

    } else if (link->state == NGX_SI_LINK_HELLO) {
        ngx_si_link_wait(link, &rs->call);

    } else if (ngx_si_open_resume(m, &rs->call, link) != NGX_OK) {
        ngx_si_resume_later(m);
    }
}


static void
ngx_si_resume_later(ngx_si_mirror_t *m)
{
    ngx_si_resume_t  *rs = m->resume;

    rs->retry = ngx_current_msec + rs->backoff / 2
                + ngx_random() % (rs->backoff / 2 + 1);
    rs->backoff = ngx_min(rs->backoff * 2, NGX_SI_BACKOFF_MAX);
    rs->hops = 0;
}


void
ngx_si_resume_tick(ngx_si_proc_t *proc)
{
    ngx_queue_t       todo, *q;
    ngx_si_resume_t  *rs;

    ngx_si_queue_take(&todo, &proc->resumes);

    while (!ngx_queue_empty(&todo)) {
        q = ngx_queue_head(&todo);
        rs = ngx_queue_data(q, ngx_si_resume_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&proc->resumes, q);

        if ((ngx_msec_int_t) (ngx_current_msec - rs->give_up) >= 0) {
            ngx_si_log_close(rs->mirror, NGX_SI_LOST, 500);

        } else if (rs->call.link == NULL && !rs->call.queued
                   && (ngx_msec_int_t) (ngx_current_msec - rs->retry) >= 0)
        {
            ngx_si_resume_try(rs->mirror);
        }
    }
}


static const char *
ngx_si_resume_frame(ngx_si_call_t *call, si_frame_t *f, const u_char *p)
{
    ngx_si_mirror_t  *m = ngx_si_resume_mirror(call);

    switch (f->type) {

    case SI_F_HEAD:
        return ngx_si_resume_head(m, p, f->length);

    case SI_F_DATA:
        return ngx_si_resume_data(m, f, p);

    case SI_F_ATTACH:
        return ngx_si_resume_attach(m, p, f->length);

    case SI_F_MOVED:
        return ngx_si_resume_moved(m, p, f->length);

    case SI_F_END:
        return ngx_si_resume_end(m, f->flags & SI_FL_ABORT);

    default:
        return "CREDIT for a resume, which has no body";
    }
}


/* a worker that has the log may answer without HEAD, or with a status */

static const char *
ngx_si_resume_head(ngx_si_mirror_t *m, const u_char *p, size_t len)
{
    int            rc;
    si_field_t     f;
    const u_char  *end = p + len;

    while ((rc = si_field_next(&p, end, &f)) > 0) {

        if (f.tag != SI_T_STATUS || f.length != 4
            || si_get32(f.data) < 400)
        {
            continue;
        }

        ngx_log_error(NGX_LOG_WARN, m->pool->proc->tick.log, 0,
                      "si log %*s cannot be resumed: status %uD",
                      (size_t) m->key_len, m->key, si_get32(f.data));

        ngx_si_call_unbind(&m->resume->call, 1);
        ngx_si_resume_later(m);
        return NULL;
    }

    return rc < 0 ? "malformed HEAD" : NULL;
}


static const char *
ngx_si_resume_data(ngx_si_mirror_t *m, si_frame_t *f, const u_char *p)
{
    if (!(f->flags & SI_FL_EVENT)) {
        return "DATA of a resume without FL_EVENT";
    }

    /* a mirror takes all; its readers are bounded by other means */
    ngx_si_frame_u32(m->resume->call.link, SI_F_CREDIT,
                     m->resume->call.node.key, f->length);

    return ngx_si_log_feed(m, p, f->length);
}


static const char *
ngx_si_resume_attach(ngx_si_mirror_t *m, const u_char *p, size_t len)
{
    ngx_si_link_t  *link = m->resume->call.link;

    if (len - 12 != m->key_len || si_get64(p) == 0
        || ngx_memcmp(p + 12, m->key, m->key_len) != 0)
    {
        return "malformed ATTACH, or of another log";
    }

    ngx_si_call_unbind(&m->resume->call, 0);
    ngx_si_resume_stop(m);
    ngx_si_count(m->pool->proc, NGX_SI_RESUMED, 1);
    ngx_si_log_bind(m, link, si_get64(p), si_get32(p + 8));

    return NULL;
}


static const char *
ngx_si_resume_moved(ngx_si_mirror_t *m, const u_char *p, size_t len)
{
    ngx_si_resume_t  *rs = m->resume;

    if (len == 0 || len > SI_KEY_MAX) {
        return "malformed MOVED";
    }

    ngx_si_call_unbind(&rs->call, 0);

    if (rs->hops == NGX_SI_HOPS_MAX) {
        ngx_si_resume_later(m);
        return NULL;
    }

    rs->hops++;
    rs->instance_len = len;
    ngx_memcpy(rs->instance, p, len);

    ngx_si_resume_try(m);

    return NULL;
}


static const char *
ngx_si_resume_end(ngx_si_mirror_t *m, ngx_uint_t aborted)
{
    ngx_si_call_unbind(&m->resume->call, 0);

    if (aborted) {
        ngx_si_resume_later(m);

    } else {
        ngx_si_log_end(m, 0);
    }

    return NULL;
}


static void
ngx_si_resume_lost(ngx_si_call_t *call)
{
    ngx_si_resume_later(ngx_si_resume_mirror(call));
}


static void
ngx_si_resume_ready(ngx_si_call_t *call, ngx_uint_t expired)
{
    ngx_si_mirror_t  *m = ngx_si_resume_mirror(call);

    if (expired) {
        ngx_si_log_close(m, NGX_SI_LOST, 500);

    } else {
        ngx_si_resume_try(m);
    }
}
