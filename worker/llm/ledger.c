/* Entries, and their way into Postgres: co_ledger() shows it. The files they lie in are ledger_file.c's. */
#include "llm/ledger.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "io/pg.h"
#include "llm/budget.h"
#include "llm/ledger_file.h"
#include "llm/price.h"
#include "run/co.h"
#include "run/loop.h"

#define GATHER_MS   100         /* a row waits so long for others before it is stored, unless a whole batch of them is there */
#define FILES_KEPT  4           /* files that are not needed now: making one, and its pages' first use, takes ms */
#define RETRY_MS    200         /* doubled with every failure */
#define RETRY_MAX   5000
#define LOOK_MAX    1024        /* entries are looked at for those of one tenant */
#define ADOPT_MS    1000        /* files of the dead are looked for so often */

/* Of the process. */
struct ledger {
    list_t   files;             /* ledger_file_t */
    size_t   nfiles;
    list_t   free, done;        /* ledger_entry_t: of no call; to be stored */
    size_t   waiting;           /* in `done` */
    wait_t   wake;              /* of co_ledger() */
    bool     ending;
    uint64_t stored, refused, lost;
};

static void take_file(struct ledger *l, ledger_file_t *f)
{
    list_push(&l->files, &f->node);
    l->nfiles++;
    for (size_t i = 0; i < LEDGER_ENTRIES; i++) {
        ledger_entry_t *e = &f->entries[i];
        bool            done = e->slot->state == SLOT_DONE;

        if (done) {
            list_push(&l->done, &e->node);
            l->waiting++;
            f->used++;
        } else if (!f->adopted) {
            list_push(&l->free, &e->node);
        }
    }
}

/* A file of which nothing is needed any more. */
static void drop_file(struct ledger *l, ledger_file_t *f)
{
    for (size_t i = 0; i < LEDGER_ENTRIES; i++) {
        list_remove(&f->entries[i].node);
    }
    list_remove(&f->node);
    l->nfiles--;
    ledger_file_close(f, true);
}

/* --- the life of an entry --- */

static void copy(char *to, size_t cap, const char *z)
{
    size_t n = z != NULL ? strnlen(z, cap - 1) : 0;

    memcpy(to, n > 0 ? z : "", n);
    to[n] = '\0';
}

/* What the file had here before stands behind the ends of the texts, and in what ledger_end() or bury() will set. */
static void describe(usage_row_t *u, const account_t *a)
{
    const gateway_spec_t *s = a->spec;

    copy(u->id, sizeof u->id, a->id);
    copy(u->tenant, sizeof u->tenant, s->tenant);
    copy(u->user, sizeof u->user, s->user);
    copy(u->key, sizeof u->key, s->key);
    copy(u->turn, sizeof u->turn, s->turn);
    copy(u->source, sizeof u->source, s->source);
    copy(u->operation, sizeof u->operation, a->operation);
    copy(u->agent, sizeof u->agent, s->agent);
    copy(u->model, sizeof u->model, a->model->name);
    copy(u->provider, sizeof u->provider, a->endpoint->name);
    u->at = (int64_t) a->started;
    u->duration_ms = u->first_token_ms = -1;
}

ledger_entry_t *ledger_begin(const account_t *a)
{
    struct ledger  *l = proc.ledger;
    ledger_entry_t *e;

    if (list_empty(&l->free) && l->nfiles < LEDGER_FILES_MAX) {
        take_file(l, ledger_file_new());
    }
    e = list_first(&l->free, ledger_entry_t, node);
    if (e == NULL) {
        l->refused++;
        return NULL;
    }
    list_remove(&e->node);
    e->file->used++;
    describe(&e->slot->row, a);
    e->slot->price = a->model->price;
    e->slot->input = a->input;
    e->slot->received = 0;
    slot_set(e->slot, SLOT_OPEN);
    return e;
}

void ledger_received(ledger_entry_t *e, size_t bytes)
{
    e->slot->received = (int64_t) bytes;
}

static void done(struct ledger *l, ledger_entry_t *e)
{
    bool first = list_empty(&l->done);

    slot_set(e->slot, SLOT_DONE);
    list_push(&l->done, &e->node);
    l->waiting++;
    if (first || l->waiting >= USAGE_ROWS_MAX) {
        (void) wait_wake(&l->wake, 0);
    }
}

void ledger_end(ledger_entry_t *e, const account_t *a, const char *outcome)
{
    usage_row_t *u = &e->slot->row;

    u->input_tokens = a->usage.input_tokens;
    u->cached_tokens = a->usage.cached_tokens;
    u->cache_write_tokens = a->usage.cache_write_tokens;
    u->output_tokens = a->usage.output_tokens;
    u->reasoning_tokens = a->usage.reasoning_tokens;
    u->cost = a->usage.cost;
    u->estimated = a->usage.estimated;
    u->duration_ms = (int64_t) ((clock_us() - a->start) / 1000);
    u->first_token_ms = a->first != 0 ? (int64_t) ((a->first - a->start) / 1000) : -1;
    copy(u->outcome, sizeof u->outcome, outcome);
    done(proc.ledger, e);
}

static void release(struct ledger *l, ledger_entry_t *e)
{
    ledger_file_t *f = e->file;

    slot_set(e->slot, SLOT_FREE);
    if (!f->adopted) {
        list_insert(l->free.next, &e->node);    /* the next call takes it: the pages that it lies in are in use already */
    }
    if (--f->used == 0 && (f->adopted || l->nfiles > FILES_KEPT)) {
        drop_file(l, f);
    }
}

/* --- what the dead have left --- */

/* Nobody knows how far the call got that was under way. */
static void bury(ledger_slot_t *s)
{
    usage_row_t *u = &s->row;
    llm_result_t n = { .input_tokens = SI_MAX(s->input, 0),
                       .output_tokens = (int64_t) token_estimate((str_t) { "", (size_t) SI_MAX(s->received, 0) }) };

    u->input_tokens = n.input_tokens;
    u->output_tokens = n.output_tokens;
    u->cached_tokens = u->cache_write_tokens = u->reasoning_tokens = 0;
    u->cost = price_cost(&s->price, &n);
    u->estimated = true;
    u->duration_ms = u->first_token_ms = -1;
    copy(u->outcome, sizeof u->outcome, "worker_died");
    slot_set(s, SLOT_DONE);
}

static void adopt(struct ledger *l)
{
    ledger_file_t *f;
    char           rows[24];

    while (l->nfiles < LEDGER_FILES_MAX && (f = ledger_file_adopt()) != NULL) {
        for (size_t i = 0; i < LEDGER_ENTRIES; i++) {
            if (f->entries[i].slot->state == SLOT_OPEN) {
                bury(f->entries[i].slot);
            }
        }
        take_file(l, f);
        (void) snprintf(rows, sizeof rows, "%zu", f->used);
        log_line(LOG_INFO, "usage of a worker that is gone is taken over", "rows", rows, NULL);
        if (f->used == 0) {
            drop_file(l, f);
        }
    }
}

/* --- into Postgres --- */

/* Up to USAGE_ROWS_MAX entries of one tenant, taken from the list. */
static size_t take_batch(struct ledger *l, ledger_entry_t **out)
{
    const char *tenant = list_first(&l->done, ledger_entry_t, node)->slot->row.tenant;
    size_t      n = 0, seen = 0;

    list_each_safe(it, &l->done) {
        ledger_entry_t *e = list_entry(it, ledger_entry_t, node);

        if (n == USAGE_ROWS_MAX || seen++ == LOOK_MAX) {
            break;
        }
        if (strcmp(e->slot->row.tenant, tenant) == 0) {
            list_remove(&e->node);
            out[n++] = e;
        }
    }
    return n;
}

static int co_put(ledger_entry_t **entries, size_t n)
{
    arena_t            *a = arena_new(65536);
    const usage_row_t **rows = arena_alloc(a, n * sizeof *rows);
    int                 rc;

    for (size_t i = 0; i < n; i++) {
        rows[i] = &entries[i]->slot->row;
    }
    rc = co_store_usage_put(a, rows, n);
    arena_free(a);
    return rc;
}

static void stored(struct ledger *l, ledger_entry_t **entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        release(l, entries[i]);
    }
    l->waiting -= n;
    l->stored += n;
}

/* Postgres refuses one of them, for good: the others must not wait for it. */
static int co_put_each(struct ledger *l, ledger_entry_t **entries, size_t n, size_t *at)
{
    int rc = 0;

    for (*at = 0; rc == 0 && *at < n; *at += rc == 0) {
        rc = co_put(&entries[*at], 1);
        if (rc == SI_EINVAL) {
            log_line(LOG_ALERT, "a row of usage is refused by Postgres, and lost", "usage", entries[*at]->slot->row.id, NULL);
            l->lost++;
            rc = 0;
        }
        if (rc == 0) {
            stored(l, &entries[*at], 1);
        }
    }
    return rc;
}

/* What the dead had reserved of budgets is settled by their rows. What is not now, is when it lapses. */
static void co_settle_dead(ledger_entry_t **entries, size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = entries[i]->file->adopted ? co_budget_buried(&entries[i]->slot->row) : 0;
    }
}

/* 0, or why the rows are still there. */
static int co_store_batch(struct ledger *l)
{
    ledger_entry_t *entries[USAGE_ROWS_MAX];
    size_t          n = take_batch(l, entries), at = 0;
    int             rc = co_put(entries, n);

    if (rc == SI_EINVAL) {
        rc = co_put_each(l, entries, n, &at);
    } else if (rc == 0) {
        co_settle_dead(entries, n);
        stored(l, entries, n);
        at = n;
    }
    for (; at < n; at++) {
        list_push(&l->done, &entries[at]->node);
    }
    return rc;
}

/* Stores what there is now; what comes meanwhile waits for others. Postgres is not asked again at once when it is away. */
static int co_store(struct ledger *l, unsigned *failures)
{
    uint64_t until = l->stored + l->waiting;
    int      rc = 0;

    while (rc == 0 && l->stored < until && !list_empty(&l->done)) {
        rc = co_store_batch(l);
    }
    *failures = rc == 0 ? 0 : *failures + 1;
    if (*failures == 1) {
        log_line(LOG_WARN, "usage cannot be stored now, and is kept", "reason", si_strerror(rc), NULL);
    }
    return rc;
}

static void co_ledger(void *arg)
{
    struct ledger *l = arg;
    unsigned       failures = 0;
    uint64_t       looked = 0;

    while (!l->ending) {
        wait_init(&l->wake);
        if (list_empty(&l->done)) {
            (void) co_wait(&l->wake, "ledger", clock_ms() + ADOPT_MS);
        }
        if (clock_ms() - looked >= ADOPT_MS) {
            looked = clock_ms();
            adopt(l);
        }
        if (!list_empty(&l->done)) {
            wait_init(&l->wake);
            if (l->waiting < USAGE_ROWS_MAX) {
                (void) co_wait(&l->wake, "ledger:gather", clock_ms() + GATHER_MS);
            }
            if (co_store(l, &failures) != 0) {
                (void) co_sleep(SI_MIN((uint64_t) RETRY_MS << SI_MIN(failures, 8u), RETRY_MAX), "ledger:retry");
            }
        }
    }
}

void ledger_init(void)
{
    struct ledger *l = proc.ledger = si_calloc(sizeof *l);

    list_init(&l->files);
    list_init(&l->free);
    list_init(&l->done);
    ledger_folder();
    take_file(l, ledger_file_new());
    co_spawn("ledger", co_ledger, l);
}

void co_ledger_end(uint64_t ms)
{
    struct ledger *l = proc.ledger;
    uint64_t       until = clock_ms() + ms;
    unsigned       failures = 0;

    l->ending = true;
    (void) co_deadline(until);
    while (l->waiting > 0 && pg_ready() > 0 && clock_ms() < until) {     /* some may be on their way by co_ledger() */
        (void) co_store(l, &failures);
        (void) co_sleep(10, "ledger:end");
    }
    (void) co_deadline(0);
    list_each_safe(it, &l->files) {
        ledger_file_t *f = list_entry(it, ledger_file_t, node);

        if (f->used == 0) {
            drop_file(l, f);
        }
    }
}

void ledger_metrics(buf_t *b)
{
    const struct ledger *l = proc.ledger;

    (void) buf_printf(b,
                      "# HELP si_usage_waiting Rows of usage that are not in Postgres yet.\n# TYPE si_usage_waiting gauge\n"
                      "si_usage_waiting %zu\n"
                      "# HELP si_usage_stored_total Rows of usage that were stored.\n# TYPE si_usage_stored_total counter\n"
                      "si_usage_stored_total %" PRIu64 "\n"
                      "# HELP si_usage_lost_total Rows of usage that Postgres refused.\n# TYPE si_usage_lost_total counter\n"
                      "si_usage_lost_total %" PRIu64 "\n"
                      "# HELP si_usage_refused_total Model calls that were refused because the ledger was full.\n"
                      "# TYPE si_usage_refused_total counter\nsi_usage_refused_total %" PRIu64 "\n",
                      l->waiting, l->stored, l->lost, l->refused);
}
