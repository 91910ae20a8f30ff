/* Shared logs: who reads which log. */
#include "link/wire.h"

#include "base/logger.h"
#include "base/proc.h"

struct evlog {
    uint64_t id;
    uint32_t seq;                       /* of the last ATTACH on any link: so it only grows on each */
    list_t   subs, taps;
    size_t   nsubs, ntaps;
    void   (*on_idle)(void *arg);
    void    *arg;
    char     key[SI_KEY_MAX + 1];
};

evlog_t *evlog_new(const char *key, void (*on_idle)(void *arg), void *arg)
{
    size_t n = strlen(key);
    evlog_t *log = si_calloc(sizeof *log);

    if (n == 0 || n > SI_KEY_MAX) {
        si_die("evlog: a key of %zu bytes", n);
    }
    memcpy(log->key, key, n);
    log->id = ++proc.links->log_ids;
    log->on_idle = on_idle;
    log->arg = arg;
    list_init(&log->subs);
    list_init(&log->taps);
    return log;
}

static str_t sub_key(const evlog_sub_t *s)
{
    return (str_t) { (const char *) &s->id, sizeof s->id };
}

static evlog_sub_t *sub_find(const link_t *l, uint64_t log)
{
    hash_node_t *n = hash_get(&l->logs, (str_t) { (const char *) &log, sizeof log });

    return n ? container_of(n, evlog_sub_t, node) : NULL;
}

static void sub_free(evlog_sub_t *s)
{
    hash_del(&s->link->logs, &s->node);
    list_remove(&s->in_link);
    list_remove(&s->in_log);
    s->log->nsubs--;
    free(s);
}

static evlog_sub_t *sub_new(evlog_t *log, link_t *l)
{
    evlog_sub_t *s = si_calloc(sizeof *s);

    s->log = log;
    s->link = l;
    s->id = log->id;
    list_push(&log->subs, &s->in_log);
    list_push(&l->subs, &s->in_link);
    hash_put(&l->logs, &s->node, sub_key(s));
    log->nsubs++;
    return s;
}

void evlog_attach(evlog_t *log, link_t *l, uint64_t id)
{
    evlog_sub_t *s = sub_find(l, log->id);
    size_t       n = strlen(log->key);
    uint8_t     *p = link_frame(l, SI_F_ATTACH, 0, id, 12 + n);

    if (p == NULL) {
        return;
    }
    if (s == NULL) {
        s = sub_new(log, l);
        s->since = log->seq + 1;
        s->readers = 1;
    }
    s->seq = ++log->seq;
    si_put64(p, log->id);
    si_put32(p + 8, s->seq);
    memcpy(p + 12, log->key, n);
}

/* A reader has gone; the log may be freed by on_idle(). */
static void reader_left(evlog_t *log)
{
    if (evlog_readers(log) == 0 && log->on_idle != NULL) {
        log->on_idle(log->arg);
    }
}

static void sub_detach(evlog_sub_t *s)
{
    evlog_t *log = s->log;

    sub_free(s);
    reader_left(log);
}

void evlog_tap(evlog_t *log, evlog_tap_t *tap, void (*fn)(evlog_tap_t *tap, str_t id, str_t wire))
{
    tap->log = log;
    tap->fn = fn;
    list_push(&log->taps, &tap->node);
    log->ntaps++;
}

static void tap_off(evlog_tap_t *tap)
{
    list_remove(&tap->node);
    tap->log->ntaps--;
    tap->log = NULL;
}

void evlog_untap(evlog_tap_t *tap)
{
    evlog_t *log = tap->log;

    if (log != NULL) {
        tap_off(tap);
        reader_left(log);
    }
}

const char *evlog_got_detach(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    evlog_sub_t *s = sub_find(l, f->id);
    int32_t      newer;

    if (s == NULL) {
        return NULL;                    /* the log has ended meanwhile */
    }
    newer = (int32_t) (si_get32(p) - s->seq);
    if (newer > 0) {
        return "DETACH of an ATTACH that was never sent";
    }
    if (newer == 0) {
        sub_detach(s);
    } else {                            /* it crossed an ATTACH: the edge has a new mirror with one reader */
        s->readers = 1;
    }
    return NULL;
}

const char *evlog_got_readers(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    evlog_sub_t *s = sub_find(l, f->id);

    if (s == NULL) {
        return NULL;                    /* the log has ended meanwhile */
    }
    if ((int32_t) (si_get32(p) - s->seq) > 0) {
        return "READERS of an ATTACH that was never sent";
    }
    if ((int32_t) (si_get32(p) - s->since) >= 0) {
        s->readers = si_get32(p + 4);
    }
    return NULL;
}

void evlog_link_died(link_t *l)
{
    evlog_sub_t *s;

    while ((s = list_first(&l->subs, evlog_sub_t, in_link)) != NULL) {
        sub_detach(s);
    }
}

void evlog_publish(evlog_t *log, str_t id, str_t wire)
{
    size_t n = 1 + id.n + wire.n;

    if (id.n == 0 || id.n > SI_ID_MAX || n > SI_FRAME_MAX) {
        log_line(LOG_ALERT, "event without id, or too long for a frame; its readers must resume", "log", log->key, NULL);
        evlog_end(log, false);
        return;
    }
    list_each_safe(it, &log->taps) {
        evlog_tap_t *tap = list_entry(it, evlog_tap_t, node);

        tap->fn(tap, id, wire);
    }
    list_each(it, &log->subs) {
        uint8_t *p = link_frame(list_entry(it, evlog_sub_t, in_log)->link, SI_F_DATA, SI_FL_LOG, log->id, n);

        if (p != NULL) {
            p[0] = (uint8_t) id.n;
            memcpy(p + 1, id.p, id.n);
            if (wire.n > 0) {           /* else only the mirrors' last id is set */
                memcpy(p + 1 + id.n, wire.p, wire.n);
            }
        }
    }
}

void evlog_end(evlog_t *log, bool abort)
{
    evlog_sub_t *s;
    evlog_tap_t *tap;

    while ((tap = list_first(&log->taps, evlog_tap_t, node)) != NULL) {
        tap_off(tap);
        tap->fn(tap, STR_NULL, STR_NULL);
    }
    while ((s = list_first(&log->subs, evlog_sub_t, in_log)) != NULL) {
        link_frame0(s->link, SI_F_END, SI_FL_LOG | (abort ? SI_FL_ABORT : 0), log->id);
        sub_free(s);
    }
}

size_t evlog_readers(const evlog_t *log)
{
    return log->nsubs + log->ntaps;
}

uint64_t evlog_cursors(const evlog_t *log)
{
    uint64_t n = 0;

    list_each(it, &log->subs) {
        n += list_entry(it, evlog_sub_t, in_log)->readers;
    }
    return n;
}

void evlog_free(evlog_t *log)
{
    evlog_end(log, false);
    free(log);
}
