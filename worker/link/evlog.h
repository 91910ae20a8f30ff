/*
 * A shared log as the worker sees it: a key and the links that have readers.
 * It keeps no bytes: who publishes keeps what a replay needs.
 */
#ifndef SI_EVLOG_H
#define SI_EVLOG_H

#include "base/list.h"

typedef struct evlog evlog_t;

/* key: "c:<conversation>" or "t:<turn>", copied. on_idle(arg), if given, is called when the last link has detached. */
evlog_t *evlog_new(const char *key, void (*on_idle)(void *arg), void *arg);
/*
 * Whole events in wire form; `id` is the last one's. To every link with readers; gathered and written at the end of
 * the batch. Without bytes only the mirrors' last id is set: from where they would resume.
 */
void     evlog_publish(evlog_t *log, str_t id, str_t wire);
/* Every reader ends; with `abort` the edge resumes them at another worker. No link has readers afterwards. */
void     evlog_end(evlog_t *log, bool abort);
/* Links with readers. */
size_t   evlog_links(const evlog_t *log);
/* Ends it (without abort) if links are left, and frees it. */
void     evlog_free(evlog_t *log);

#endif
