
/*
 * How many read each log, told to the worker that has it: once a second what
 * has changed, so that an event costs nothing and a storm of readers little.
 */


#include "ngx_si_module.h"


#define NGX_SI_CENSUS  1000     /* ms */


void
ngx_si_census_mark(ngx_si_mirror_t *m)
{
    if (m->in_census || m->nreaders == m->told) {
        return;
    }

    m->in_census = 1;
    ngx_queue_insert_tail(&m->pool->proc->census, &m->census);
}


void
ngx_si_census_drop(ngx_si_mirror_t *m)
{
    if (m->in_census) {
        m->in_census = 0;
        ngx_queue_remove(&m->census);
    }
}


/* a mirror that has no link now is marked again when it is bound */

void
ngx_si_census_tick(ngx_si_proc_t *proc)
{
    u_char           *p;
    ngx_si_mirror_t  *m;

    if (ngx_queue_empty(&proc->census)
        || ngx_current_msec - proc->census_at < NGX_SI_CENSUS)
    {
        return;
    }

    proc->census_at = ngx_current_msec;

    while (!ngx_queue_empty(&proc->census)) {
        m = ngx_queue_data(ngx_queue_head(&proc->census), ngx_si_mirror_t,
                           census);
        ngx_si_census_drop(m);

        if (m->link == NULL || m->nreaders == m->told) {
            continue;
        }

        p = ngx_si_frame_add(m->link, SI_F_READERS, 0, m->log, 8);
        if (p) {
            si_put32(p, m->seq);
            si_put32(p + 4, (uint32_t) m->nreaders);
            m->told = m->nreaders;
        }
    }
}
