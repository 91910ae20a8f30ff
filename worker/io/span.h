/*
 * Spans of OpenTelemetry: what took how long, within which trace. A span is written down in OTLP's JSON as it goes on, and handed to
 * the exporter (io/otlp.h) at its end. Where nothing is exported there are no spans: each function takes NULL and does
 * nothing. A trace that is not sampled has spans that only carry its ids.
 *
 * Never a word of a message: only ids, names of the configuration, numbers and codes.
 */
#ifndef SI_SPAN_H
#define SI_SPAN_H

#include "base/arena.h"
#include "base/trace.h"

typedef struct span span_t;

/* As OTLP numbers them. */
typedef enum { SPAN_INTERNAL = 1, SPAN_SERVER = 2, SPAN_CLIENT = 3 } span_kind_t;

/* What a span begins in. */
typedef struct {
    const span_t  *parent;      /* of this process */
    const trace_t *caller;      /* or the context that came from elsewhere; NULL: none */
    bool           here;        /* `caller` is of this process, and was kept */
    str_t          id;          /* without both: the id of the new trace if it is one, else a random one */
} span_from_t;

/* Lives in the arena, and is dropped with it unless it has ended. NULL: nothing is exported. name: cut at 127 bytes. */
span_t *span_new(arena_t *a, span_kind_t kind, span_from_t from, const char *name);
/* Its context: for logs, for what happens within it, for others. NULL for NULL. */
const trace_t *span_trace(const span_t *s);
/* The span whose trace the running coroutine has (co_trace()), or NULL. */
span_t *span_here(void);

/* Attributes; each key once. A text that is NULL or empty is left out. All of one span have 8 KiB: what comes later is counted, not kept. */
void span_text(span_t *s, const char *key, const char *value);
void span_int(span_t *s, const char *key, int64_t value);
void span_real(span_t *s, const char *key, double value);
void span_flag(span_t *s, const char *key, bool value);
/* A list of one text. */
void span_list(span_t *s, const char *key, const char *value);
/* A text that every span within it has, too; 512 bytes for all of those. */
void span_text_below(span_t *s, const char *key, const char *value);
/* Something happened now. */
void span_event(span_t *s, const char *name);
/* The same, with texts: pairs of key and value. All events of one span have as much room as its attributes. */
void span_event_of(span_t *s, const char *name, const char *const (*texts)[2], size_t n);
/* Another span has to do with it; the attribute si.link says how. */
void span_link(span_t *s, const trace_t *to, const char *how);
/* It failed: status error, and error.type. The first one counts. */
void span_fail(span_t *s, const char *type);
/* Another name than at the start. */
void span_name(span_t *s, const char *name);

/* Ends it, now; once. */
void span_end(span_t *s);
/* It is no span after all. */
void span_drop(span_t *s);

#endif
