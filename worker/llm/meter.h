/*
 * What model calls take, for /metrics. Counters of this worker process, one set for each model; names of OpenTelemetry's
 * gen_ai conventions, with Prometheus' underscores and units, where these have one. No I/O.
 */
#ifndef SI_METER_H
#define SI_METER_H

#include "base/buf.h"
#include "llm/health.h"
#include "llm/chat.h"

typedef struct meter meter_t;

/* One model call. */
typedef struct {
    const conf_model_t *model;
    uint64_t            start, first, last;     /* clock_us(); first: 0 until something came */
    bool                open;
} meter_call_t;

meter_t *meter_new(const conf_t *c);
void     meter_free(meter_t *m);

/* A model is asked; again: not for the first time in this call of the gateway. */
void meter_start(meter_t *m, meter_call_t *c, const conf_model_t *model, bool again);
/* Another model is asked instead of this one. */
void meter_fallback(meter_t *m, const conf_model_t *from);
/* Something of its answer has come. */
void meter_piece(meter_t *m, meter_call_t *c);
/* Vectors of texts: made by the model, or kept since before. */
void meter_vectors(meter_t *m, const conf_model_t *model, size_t n, bool kept);
/* What a call of it has taken and cost, also one that was cut. */
struct usage;
void     meter_usage(meter_t *m, const conf_model_t *model, const struct usage *u);
/* It has ended: code of the failure, NULL: well, then with its result. Once for each meter_start(); more are ignored. */
void meter_end(meter_t *m, meter_call_t *c, const char *code, const llm_result_t *result);

/* In the text format of Prometheus; what does not fit into b is left out from the end. Families are there also without samples. */
void meter_print(const meter_t *m, const health_t *h, buf_t *b, uint64_t now);

#endif
