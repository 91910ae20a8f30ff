
/*
 * Tokens that are revoked before their end, by the marks of frame.h: a table
 * that all nginx processes share, filled by what the workers push.  Who has
 * looked at it remembers its round, and looks again only when that is another
 * one; as long as nothing was ever revoked it is 0, and nobody looks.
 */


#include "ngx_si_module.h"


#define NGX_SI_REVOKED_LAYOUT  1
#define NGX_SI_REVOKED_SLOTS   16384    /* a power of 2 */
#define NGX_SI_REVOKED_MARKS   (2 * SI_REVOKED_MAX)


typedef struct {
    uint64_t                  mark;     /* 0: free */
    uint64_t                  before;   /* s, iat of those that are revoked */
    uint64_t                  until;    /* s, after that nobody has one */
} ngx_si_revoked_entry_t;


typedef struct {
    ngx_uint_t                layout;   /* first for ever */
    ngx_uint_t                used;     /* slots, past ones too */
    ngx_atomic_t              round;
    ngx_si_revoked_entry_t    slots[NGX_SI_REVOKED_SLOTS];
} ngx_si_revoked_t;


static ngx_int_t ngx_si_revoked_zone(ngx_shm_zone_t *zone, void *data);
static ngx_si_revoked_entry_t *ngx_si_revoked_slot(ngx_si_revoked_t *t,
    uint64_t mark);
static ngx_int_t ngx_si_revoked_add(ngx_si_revoked_t *t,
    si_revoked_t *entry);
static void ngx_si_revoked_sweep(ngx_si_revoked_t *t, uint64_t now);


ngx_int_t
ngx_si_revoked_init(ngx_conf_t *cf, ngx_si_main_conf_t *smcf)
{
    size_t     size;
    ngx_str_t  name = ngx_string("si_revoked");

    size = ngx_align(sizeof(ngx_si_revoked_t), ngx_pagesize)
           + 8 * ngx_pagesize;

    smcf->revoked = ngx_shared_memory_add(cf, &name, size, &ngx_si_module);
    if (smcf->revoked == NULL) {
        return NGX_ERROR;
    }

    smcf->revoked->init = ngx_si_revoked_zone;

    return NGX_OK;
}


static ngx_int_t
ngx_si_revoked_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t   *shpool = (ngx_slab_pool_t *) zone->shm.addr;
    ngx_si_revoked_t  *t;

    t = data ? data : zone->shm.exists ? shpool->data : NULL;

    if (t == NULL) {
        t = ngx_slab_calloc(shpool, sizeof(ngx_si_revoked_t));
        if (t == NULL) {
            return NGX_ERROR;
        }

        t->layout = NGX_SI_REVOKED_LAYOUT;
        shpool->data = t;

    } else if (t->layout != NGX_SI_REVOKED_LAYOUT) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "si revocations have layout %ui, this module needs %d: "
                      "restart nginx", t->layout, NGX_SI_REVOKED_LAYOUT);
        return NGX_ERROR;
    }

    zone->data = t;

    return NGX_OK;
}


ngx_uint_t
ngx_si_revoked_round(ngx_shm_zone_t *zone)
{
    return ((ngx_si_revoked_t *) zone->data)->round;
}


ngx_uint_t
ngx_si_revoked(ngx_shm_zone_t *zone, si_marks_t *marks)
{
    ngx_uint_t               i, found;
    ngx_slab_pool_t         *shpool = (ngx_slab_pool_t *) zone->shm.addr;
    ngx_si_revoked_entry_t  *e;

    if (ngx_si_revoked_round(zone) == 0) {
        return 0;
    }

    found = 0;
    ngx_shmtx_lock(&shpool->mutex);

    for (i = 0; i < SI_MARKS && !found; i++) {
        if (marks->mark[i]) {
            e = ngx_si_revoked_slot(zone->data, marks->mark[i]);
            found = e->mark && marks->issued <= e->before
                    && (uint64_t) ngx_time() < e->until;
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return found;
}


/* its slot, or the free one where it would be: at most half of them are used */

static ngx_si_revoked_entry_t *
ngx_si_revoked_slot(ngx_si_revoked_t *t, uint64_t mark)
{
    uint64_t  at;

    for (at = mark; /* void */; at++) {
        at &= NGX_SI_REVOKED_SLOTS - 1;

        if (t->slots[at].mark == mark || t->slots[at].mark == 0) {
            return &t->slots[at];
        }
    }
}


/* NGX_OK: this is news; NGX_DECLINED: it was known; NGX_ABORT: no room */

static ngx_int_t
ngx_si_revoked_add(ngx_si_revoked_t *t, si_revoked_t *entry)
{
    ngx_si_revoked_entry_t  *e;

    if (entry->mark == 0
        || (entry->until && entry->until <= (uint64_t) ngx_time()))
    {
        return NGX_DECLINED;
    }

    e = ngx_si_revoked_slot(t, entry->mark);

    if (entry->until == 0) {
        /* taken back: its slot goes with the next sweep */
        e->before = 0;
        e->until = 0;
        return NGX_DECLINED;
    }

    if (e->mark == 0) {

        if (t->used == NGX_SI_REVOKED_MARKS) {
            ngx_si_revoked_sweep(t, ngx_time());
            e = ngx_si_revoked_slot(t, entry->mark);
        }

        if (t->used == NGX_SI_REVOKED_MARKS) {
            return NGX_ABORT;
        }

        t->used++;
        e->mark = entry->mark;

    } else if (e->before >= entry->before && e->until >= entry->until) {
        return NGX_DECLINED;
    }

    e->before = ngx_max(e->before, entry->before);
    e->until = ngx_max(e->until, entry->until);

    return NGX_OK;
}


/*
 * Those that are over go.  An entry stands behind its place where that was
 * taken: a slot that gets free may part it from there, so all are put anew,
 * beginning behind a free slot; at most half of them are used.
 */

static void
ngx_si_revoked_sweep(ngx_si_revoked_t *t, uint64_t now)
{
    ngx_uint_t               i, at;
    ngx_si_revoked_entry_t   e;

    for (at = 0; t->slots[at].mark; at++) { /* void */ }

    for (i = 0; i < NGX_SI_REVOKED_SLOTS; i++) {
        at = (at + 1) & (NGX_SI_REVOKED_SLOTS - 1);

        if (t->slots[at].mark == 0) {
            continue;
        }

        e = t->slots[at];
        ngx_memzero(&t->slots[at], sizeof(ngx_si_revoked_entry_t));

        if (e.until > now) {
            *ngx_si_revoked_slot(t, e.mark) = e;

        } else {
            t->used--;
        }
    }
}


/*
 * What was revoked, from a worker that says so to every process, and all of
 * it when a link comes up.  Each process ends its own streams, so it does not
 * matter who was the first to fill in the table.
 */

const char *
ngx_si_revoked_push(ngx_si_proc_t *proc, const u_char *p, size_t len)
{
    ngx_int_t          rc;
    ngx_uint_t         i, news, lost;
    si_revoked_t       entry;
    ngx_shm_zone_t    *zone = proc->conf->revoked;
    ngx_slab_pool_t   *shpool = (ngx_slab_pool_t *) zone->shm.addr;
    ngx_si_revoked_t  *t = zone->data;

    if (len == 0 || len % SI_REVOKED_SIZE) {
        return "malformed PUSH";
    }

    news = 0;
    lost = 0;
    ngx_shmtx_lock(&shpool->mutex);

    for (i = 0; i < len / SI_REVOKED_SIZE; i++) {
        si_revoked_get(p + i * SI_REVOKED_SIZE, &entry);
        rc = ngx_si_revoked_add(t, &entry);
        news += rc == NGX_OK;
        lost += rc == NGX_ABORT;
    }

    if (news) {
        t->round++;
    }

    ngx_shmtx_unlock(&shpool->mutex);

    if (lost) {
        ngx_log_error(NGX_LOG_ERR, proc->tick.log, 0,
                      "si revocations: no room for %ui", lost);
    }

    if (proc->revoked_round != t->round) {
        proc->revoked_round = t->round;
        ngx_si_push_end(proc, NULL);
    }

    return NULL;
}
