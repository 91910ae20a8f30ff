/*
 * The exporter of spans: OTLP over HTTP with JSON (https://opentelemetry.io/docs/specs/otlp/, 1.11). Spans are gathered and sent
 * in batches by a coroutine of its own; nobody waits for it. What the collector does not take in time is lost, and counted.
 */
#ifndef SI_OTLP_H
#define SI_OTLP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/proc.h"

#define OTLP_SPAN_MAX     20480u    /* bytes of one span */
#define OTLP_HEADERS_MAX  16u

typedef struct {
    const char *url;            /* where traces go; "": nothing is exported */
    const char *headers;        /* see otlp_headers(); may be "" */
    const char *service;        /* service.name */
    double      share;          /* of the traces that begin here, 0 to 1 */
    bool        follows;        /* a client's context is taken over, and its `sampled` with it */
    uint64_t    batch;          /* spans in one request at most */
    uint64_t    queue;          /* spans that wait at most; past it the oldest is lost */
    uint64_t    interval_ms;    /* a span waits for so long until it is sent with those that came meanwhile */
    uint64_t    timeout_ms;     /* of one request */
} otlp_spec_t;

/*
 * "name=value,name=value", values percent-encoded, as in OTEL_EXPORTER_OTLP_HEADERS; into lines "name: value" of the arena,
 * with a NULL behind the last. SI_EINVAL: not that, or more than OTLP_HEADERS_MAX.
 */
int  otlp_headers(arena_t *a, const char *text, const char *lines[OTLP_HEADERS_MAX + 1]);

/* Sets proc.otlp, unless url is ""; strings of the spec are not copied. Needs io/http. */
void otlp_init(const otlp_spec_t *spec);
static inline bool otlp_on(void) { return proc.otlp != NULL; }
/* Whether a trace of this id that begins here is sampled. Only when on. */
bool otlp_draws(const char *trace_id);
/* Whether clients' contexts are taken over. */
bool otlp_follows(void);
/* A span in OTLP's JSON; copied. Only when on. */
void otlp_put(str_t span);
/* Sends what is there, without pauses: returns when that is done, has failed, or at the deadline. Off: at once. */
void co_otlp_flush(uint64_t deadline);
/* Its metrics for Prometheus, also when off. */
void otlp_metrics(buf_t *b);

#endif
