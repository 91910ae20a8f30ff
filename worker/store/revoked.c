#include "store/revoked.h"

#include <inttypes.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "link/link.h"
#include "run/co.h"
#include "store/cursor.h"

#define RETRY_MS     1000
#define FIRST_MS     3000               /* who comes first waits so long for the table */
#define MARKS_MAX    (2 * SI_REVOKED_MAX)
#define FRAME_MARKS  ((SI_DATA_MAX - 1) / SI_REVOKED_SIZE)

typedef struct {
    hash_node_t  node;
    uint8_t      key[8];                /* the mark's bytes */
    si_revoked_t is;
    uint64_t     heard;                 /* clock_ms(), last: by Postgres or a message */
} entry_t;

struct revoked {
    hash_t  table;
    bool    known;                      /* it was read once */
    bool    full;                       /* logged */
    wait_t  wake;                       /* of co_keep() */
    list_t  waiters;
    void  (*gone)(void);
};

/* ---- telling ---- */

typedef struct {
    struct link *to;                    /* NULL: all */
    size_t       n;
    uint8_t      bytes[FRAME_MARKS * SI_REVOKED_SIZE];
} told_t;

static void told_flush(told_t *t)
{
    if (t->n > 0) {
        links_push(t->to, SI_PUSH_TOKENS, t->bytes, t->n * SI_REVOKED_SIZE);
        t->n = 0;
    }
}

static void told_add(told_t *t, const si_revoked_t *r)
{
    if (t->n == FRAME_MARKS) {
        told_flush(t);
    }
    si_revoked_put(t->bytes + t->n++ * SI_REVOKED_SIZE, r);
}

static void tell_one(hash_node_t *n, void *arg)
{
    told_add(arg, &container_of(n, entry_t, node)->is);
}

void revoked_tell(struct link *to)
{
    told_t *t = si_malloc(sizeof(*t));

    t->to = to;
    t->n = 0;
    hash_each(&proc.revoked->table, tell_one, t);
    told_flush(t);
    free(t);
}

/* ---- the table ---- */

static void sweep_one(hash_node_t *n, void *arg)
{
    entry_t *e = container_of(n, entry_t, node);

    (void) arg;
    if (e->is.until <= clock_wall_ms() / 1000) {
        hash_del(&proc.revoked->table, n);
        free(e);
    }
}

static entry_t *look(uint64_t mark)
{
    uint8_t      key[8];
    hash_node_t *n;

    si_put64(key, mark);
    n = hash_get(&proc.revoked->table, (str_t) { (char *) key, sizeof(key) });
    return n != NULL ? container_of(n, entry_t, node) : NULL;
}

static entry_t *place(uint64_t mark)
{
    struct revoked *s = proc.revoked;
    entry_t        *e = look(mark);

    if (e != NULL) {
        return e;
    }
    if (s->table.count >= MARKS_MAX) {
        hash_each(&s->table, sweep_one, NULL);
    }
    if (s->table.count >= MARKS_MAX) {
        if (!s->full) {
            log_fmt(LOG_ERROR, "more than %u revocations of tokens count: further ones are not known", SI_REVOKED_MAX);
        }
        s->full = true;
        return NULL;
    }
    s->full = false;
    e = si_calloc(sizeof(*e));
    si_put64(e->key, mark);
    e->is.mark = mark;
    hash_put(&s->table, &e->node, (str_t) { (char *) e->key, sizeof(e->key) });
    return e;
}

typedef struct {
    told_t  *told;
    uint64_t before;                    /* clock_ms() */
} leave_t;

static void drop(told_t *t, entry_t *e)
{
    told_add(t, &(si_revoked_t) { .mark = e->is.mark });
    hash_del(&proc.revoked->table, &e->node);
    free(e);
}

/* What Postgres has no more was taken back. */
static void leave_one(hash_node_t *n, void *arg)
{
    leave_t *l = arg;
    entry_t *e = container_of(n, entry_t, node);

    if (e->heard < l->before) {
        drop(l->told, e);
    }
}

static void count_one(hash_node_t *n, void *arg)
{
    size_t *live = arg;

    *live += container_of(n, entry_t, node)->is.until > clock_wall_ms() / 1000;
}

size_t revoked_count(void)
{
    size_t live = 0;

    hash_each(&proc.revoked->table, count_one, &live);
    return live / 2;                    /* each has two marks */
}

/* True: this is news, and in *t. */
static bool add(told_t *t, uint64_t mark, uint64_t before, uint64_t until)
{
    entry_t *e = until == 0 ? look(mark) : until > clock_wall_ms() / 1000 ? place(mark) : NULL;

    if (e != NULL && until == 0) {
        drop(t, e);
        return false;
    }
    if (e != NULL) {
        e->heard = clock_ms();
    }
    if (e == NULL || (e->is.until >= until && e->is.before >= before)) {
        return false;
    }
    e->is.until = SI_MAX(e->is.until, until);
    e->is.before = SI_MAX(e->is.before, before);
    told_add(t, &e->is);
    return true;
}

static bool add_both(told_t *t, str_t marks, uint64_t before, uint64_t until)
{
    uint8_t  raw[16];
    bool     news;

    if (!hex_decode(raw, sizeof(raw), marks)) {
        log_line(LOG_WARN, "a revocation was not understood", NULL);
        return false;
    }
    news = add(t, si_get64(raw), before, until);
    return add(t, si_get64(raw + 8), before, until) || news;
}

void revoked_heard(str_t marks, uint64_t before, uint64_t until)
{
    told_t *t = si_malloc(sizeof(*t));

    t->to = NULL;
    t->n = 0;
    if (add_both(t, marks, before, until)) {
        proc.revoked->gone();
    }
    told_flush(t);
    free(t);
}

bool revoked(const si_marks_t *m)
{
    const struct revoked *s = proc.revoked;

    for (int i = 0; i < SI_MARKS && s->table.count > 0; i++) {
        const entry_t *e = m->mark[i] != 0 ? look(m->mark[i]) : NULL;
        if (e != NULL && m->issued <= e->is.before && clock_wall_ms() / 1000 < e->is.until) {
            return true;
        }
    }
    return false;
}

int co_revoked(const si_marks_t *m)
{
    int rc = proc.revoked->known ? 0 : co_wait_in(&proc.revoked->waiters, "revoked", clock_ms() + FIRST_MS);

    if (rc == SI_ETIMEDOUT) {
        return SI_EUNAVAIL;
    }
    return rc != 0 ? rc : revoked(m) ? SI_EDENIED : 0;
}

/* ---- Postgres ---- */

uint64_t revoked_before(const char *kind, uint64_t at)
{
    return strcmp(kind, "subject") == 0 ? at : UINT64_MAX;
}

int co_store_revoke(arena_t *a, const identity_t *who, const revoke_t *t, revoke_row_t *out)
{
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    char        id[UUID_LEN + 1];
    int         rc;

    uuid_new(id);
    pg_add(b, "DELETE FROM token_revocation WHERE tenant_id = $1 AND expires_at < now()", 1, who->tenant);
    pg_add(b, REVOKE_SQL,
           6, who->tenant, id, t->kind, t->issuer, t->value, row_number(a, (int64_t) t->expires));
    rc = co_store_run(b, "pg:revoke");
    if (rc) {
        return rc;
    }
    if (pg_rows(b, 1) == 0) {
        return SI_ENOMEM;
    }
    *out = (revoke_row_t) {
        .id = row_text(b, 1, 0, "revocation_id"), .kind = t->kind, .issuer = t->issuer, .value = t->value,
        .marks = row_text(b, 1, 0, "marks"), .created = row_text(b, 1, 0, "created"), .expires = row_text(b, 1, 0, "expires"),
        .before = revoked_before(t->kind, (uint64_t) row_int(b, 1, 0, "at")), .until = (uint64_t) row_int(b, 1, 0, "until"),
    };
    return 0;
}

int co_store_revocations(arena_t *a, const identity_t *who, const char *cursor, int limit, revoke_row_t **out, size_t *n, const char **next)
{
    const char *after = NULL;
    pg_batch_t *b;
    int         rc;

    if (cursor != NULL && (cursor_decode(a, 'r', cursor, &after) != 0 || !uuid_valid(str_of(after)))) {
        return SI_EINVAL;
    }
    limit = SI_MAX(1, SI_MIN(limit, 100));
    b = pg_batch(a, who->tenant, who->user);
    pg_add(b,
           "SELECT revocation_id, kind, issuer, value, " TIME_TEXT("revoked_at") " AS created, " TIME_TEXT("expires_at") " AS expires"
           " FROM token_revocation WHERE tenant_id = $1 AND expires_at > now() AND ($2::uuid IS NULL OR revocation_id < $2)"
           " ORDER BY revocation_id DESC LIMIT $3", 3, who->tenant, after, row_number(a, limit + 1));
    rc = co_store_run(b, "pg:revocations");
    if (rc) {
        return rc;
    }
    *n = (size_t) SI_MIN(pg_rows(b, 0), limit);
    *out = arena_calloc(a, (*n + 1) * sizeof(**out));
    for (int i = 0; i < (int) *n; i++) {
        (*out)[i] = (revoke_row_t) {
            .id = row_text(b, 0, i, "revocation_id"), .kind = row_text(b, 0, i, "kind"), .issuer = row_text(b, 0, i, "issuer"),
            .value = row_text(b, 0, i, "value"), .created = row_text(b, 0, i, "created"), .expires = row_text(b, 0, i, "expires"),
        };
    }
    *next = pg_rows(b, 0) > limit ? cursor_encode(a, 'r', (*out)[*n - 1].id) : NULL;
    return 0;
}

int co_store_restore(arena_t *a, const identity_t *who, const char *id, const char **marks)
{
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    int         rc;

    pg_add(b, RESTORE_SQL, 2, who->tenant, id);
    rc = co_store_run(b, "pg:restore");
    if (rc == 0 && pg_rows(b, 0) == 0) {
        return SI_ENOENT;
    }
    *marks = rc ? NULL : row_text(b, 0, 0, "marks");
    return rc;
}

/* Also deletes those that are over. */
static int co_read(arena_t *a, told_t *t)
{
    pg_batch_t *b = pg_batch(a, NULL, NULL);
    leave_t     left = { t, clock_ms() };
    bool        news = false;
    int         rc;

    pg_add(b, "SELECT set_config('si.revocations', 'on', true)", 0);
    pg_add(b, "SELECT kind, encode(marks, 'hex') AS marks, " REVOKE_TIMES " FROM token_revocation WHERE expires_at > now() ORDER BY expires_at DESC LIMIT $1",
           1, row_number(a, SI_REVOKED_MAX));
    pg_add(b, "DELETE FROM token_revocation WHERE expires_at <= now()", 0);
    rc = co_store_run(b, "pg:revoked");
    for (int i = 0; rc == 0 && i < pg_rows(b, 1); i++) {
        news = add_both(t, str_of(row_text(b, 1, i, "marks")), revoked_before(row_text(b, 1, i, "kind"), (uint64_t) row_int(b, 1, i, "at")),
                        (uint64_t) row_int(b, 1, i, "until")) || news;
    }
    if (rc == 0 && pg_rows(b, 1) < (int) SI_REVOKED_MAX) {
        hash_each(&proc.revoked->table, leave_one, &left);
    }
    if (rc == 0) {
        proc.revoked->known = true;
        waiters_wake(&proc.revoked->waiters, 0);
    }
    told_flush(t);
    if (news) {
        proc.revoked->gone();
    }
    return rc;
}

/* All of it, again and again; the deadline of what it asks is the store's. */
static void co_keep(void *arg)
{
    struct revoked *s = arg;
    int             rc;

    do {
        arena_t *a = arena_new(4096);
        told_t  *t = arena_calloc(a, sizeof(*t));
        wait_init(&s->wake);
        rc = co_read(a, t);
        arena_free(a);
        if (rc != SI_ECANCELED) {
            rc = co_wait(&s->wake, "revoked", clock_ms() + (rc ? RETRY_MS : SI_MAX(proc.conf->auth_cache, (uint64_t) RETRY_MS)));
        }
    } while (rc != SI_ECANCELED);
}

void revoked_doubt(void)
{
    wait_wake(&proc.revoked->wake, 0);
}

void revoked_init(void (*gone)(void))
{
    struct revoked *s = si_calloc(sizeof(*s));

    hash_init(&s->table);
    list_init(&s->waiters);
    wait_init(&s->wake);
    s->gone = gone;
    proc.revoked = s;
    co_spawn("revoked", co_keep, s);
}
