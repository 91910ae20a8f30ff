/* Incremental parser of text/event-stream (WHATWG HTML, section 9.2.6), fed in pieces of any size. */
#ifndef SI_SSE_H
#define SI_SSE_H

#include "base/buf.h"

typedef struct {
    str_t event;        /* "" when not given */
    str_t data;         /* pieces joined with LF */
    str_t id;           /* last event id in force */
} sse_event_t;

typedef struct sse {
    buf_t  line, data, event, id;
    bool   cr, bom_done, has_data;
    int    bom;
    int64_t retry_ms;   /* last valid retry, -1: none */
} sse_t;

/* max: longest line and longest event, bytes. */
void sse_init(sse_t *s, size_t max);
void sse_free(sse_t *s);
/*
 * Feeds bytes; calls fn for each complete event; fn returns 0 or an error that ends the feeding.
 * 0, fn's error, or SI_ENOMEM when a line or event exceeds max.
 */
int  sse_feed(sse_t *s, const char *p, size_t n, int (*fn)(const sse_event_t *e, void *arg), void *arg);

#endif
