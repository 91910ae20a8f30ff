
/*
 * Counters that all nginx processes share.  Each process writes only its
 * own row, so no update needs a lock, and what a killed process had in its
 * gauges goes with its row.  Totals of a dead row are added to the zone's.
 */


#include "ngx_si_module.h"


#define NGX_SI_ZONE_LAYOUT  1
#define NGX_SI_ZONE_ROWS    256


typedef struct {
    ngx_uint_t    layout;       /* first for ever: another module may look */
    ngx_uint_t    counters;
    ngx_atomic_t  total[NGX_SI_COUNTERS];
    ngx_si_row_t  rows[NGX_SI_ZONE_ROWS];
} ngx_si_zone_t;


static ngx_int_t ngx_si_zone_init(ngx_shm_zone_t *zone, void *data);
static void ngx_si_zone_fold(ngx_si_zone_t *z, ngx_si_row_t *row);
static ngx_uint_t ngx_si_zone_alive(ngx_atomic_uint_t pid);


ngx_int_t
ngx_si_zone_add(ngx_conf_t *cf, ngx_si_main_conf_t *smcf)
{
    size_t     size;
    ngx_str_t  name = ngx_string("si_counters");

    /* the struct takes whole pages; eight more are for the slab itself */

    size = ngx_align(sizeof(ngx_si_zone_t), ngx_pagesize) + 8 * ngx_pagesize;

    smcf->zone = ngx_shared_memory_add(cf, &name, size, &ngx_si_module);
    if (smcf->zone == NULL) {
        return NGX_ERROR;
    }

    smcf->zone->init = ngx_si_zone_init;

    return NGX_OK;
}


static ngx_int_t
ngx_si_zone_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_si_zone_t    *z;
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data || zone->shm.exists) {
        z = data ? data : shpool->data;

        if (z->layout != NGX_SI_ZONE_LAYOUT
            || z->counters != NGX_SI_COUNTERS)
        {
            ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                          "si counters have layout %ui, this module needs "
                          "%d: restart nginx", z->layout, NGX_SI_ZONE_LAYOUT);
            return NGX_ERROR;
        }

        zone->data = z;
        return NGX_OK;
    }

    z = ngx_slab_calloc(shpool, sizeof(ngx_si_zone_t));
    if (z == NULL) {
        return NGX_ERROR;
    }

    z->layout = NGX_SI_ZONE_LAYOUT;
    z->counters = NGX_SI_COUNTERS;

    shpool->data = z;
    zone->data = z;

    return NGX_OK;
}


static ngx_uint_t
ngx_si_zone_alive(ngx_atomic_uint_t pid)
{
    return pid && (kill((pid_t) pid, 0) == 0 || ngx_errno != ESRCH);
}


static void
ngx_si_zone_fold(ngx_si_zone_t *z, ngx_si_row_t *row)
{
    ngx_uint_t  i;

    for (i = NGX_SI_GAUGES; i < NGX_SI_COUNTERS; i++) {
        (void) ngx_atomic_fetch_add(&z->total[i], row->value[i]);
    }

    ngx_memzero((void *) row->value, sizeof(row->value));
}


void
ngx_si_zone_claim(ngx_si_proc_t *proc)
{
    ngx_uint_t          i;
    ngx_si_row_t       *row;
    ngx_si_zone_t      *z;
    ngx_atomic_uint_t   pid;

    z = proc->conf->zone->data;
    proc->row = &proc->spare;

    for (i = 0; i < NGX_SI_ZONE_ROWS; i++) {
        row = &z->rows[i];
        pid = row->pid;

        if (ngx_si_zone_alive(pid)
            || !ngx_atomic_cmp_set(&row->pid, pid,
                                   (ngx_atomic_uint_t) ngx_pid))
        {
            continue;
        }

        ngx_si_zone_fold(z, row);
        proc->row = row;
        return;
    }
}


void
ngx_si_zone_release(ngx_si_proc_t *proc)
{
    ngx_si_zone_fold(proc->conf->zone->data, proc->row);

    proc->row->pid = 0;
    proc->row = &proc->spare;
}


void
ngx_si_zone_sum(ngx_si_proc_t *proc, ngx_atomic_uint_t *sum)
{
    ngx_uint_t      i, n, alive;
    ngx_si_row_t   *row;
    ngx_si_zone_t  *z;

    z = proc->conf->zone->data;

    for (n = 0; n < NGX_SI_COUNTERS; n++) {
        sum[n] = z->total[n];
    }

    for (i = 0; i < NGX_SI_ZONE_ROWS; i++) {
        row = &z->rows[i];
        alive = ngx_si_zone_alive(row->pid);

        for (n = alive ? 0 : NGX_SI_GAUGES; n < NGX_SI_COUNTERS; n++) {
            sum[n] += row->value[n];
        }
    }
}
