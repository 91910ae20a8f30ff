/*
 * A shared log as the worker sees it: a key, the links that have readers, and readers inside this process.
 * It keeps no bytes: who publishes keeps what a replay needs.
 */
#ifndef SI_EVLOG_H
#define SI_EVLOG_H

#include "base/list.h"

typedef struct evlog evlog_t;

/* A reader inside this process; lives in its owner, zeroed before its first use. fn must not yield. */
typedef struct evlog_tap {
    list_t   node;
    evlog_t *log;           /* NULL: it reads none (any more) */
    /* Whole events came, or only the last id was set (no bytes). The log has ended: id.p is NULL, and the tap is off. */
    void   (*fn)(struct evlog_tap *tap, str_t id, str_t wire);
} evlog_tap_t;

/* key: "c:<conversation>" or "t:<turn>", copied. on_idle(arg), if given, is called when the last reader has gone. */
evlog_t *evlog_new(const char *key, void (*on_idle)(void *arg), void *arg);
/*
 * Whole events in wire form; `id` is the last one's. To every link with readers; gathered and written at the end of
 * the batch. Without bytes only the mirrors' last id is set: from where they would resume.
 */
void     evlog_publish(evlog_t *log, str_t id, str_t wire);
/* Every reader ends; with `abort` the edge resumes them at another worker. No link has readers afterwards. */
void     evlog_end(evlog_t *log, bool abort);
/* From now on fn is called. */
void     evlog_tap(evlog_t *log, evlog_tap_t *tap, void (*fn)(evlog_tap_t *tap, str_t id, str_t wire));
/* Takes it off; harmless when it is. */
void     evlog_untap(evlog_tap_t *tap);
/* Links with readers, and taps. */
size_t   evlog_readers(const evlog_t *log);
/* Cursors of clients at those links, as the edges told: at once when a link's first comes or its last goes, else a second late. */
uint64_t evlog_cursors(const evlog_t *log);
/* Ends it (without abort) if links are left, and frees it. */
void     evlog_free(evlog_t *log);

#endif
