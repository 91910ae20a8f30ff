/*
 * Trace context (W3C Trace Context, https://www.w3.org/TR/trace-context/): which trace an operation belongs to, and its own
 * name in it. As text, since it is only ever copied, compared and sent. No I/O.
 */
#ifndef SI_TRACE_H
#define SI_TRACE_H

#include "base/base.h"

#define TRACE_ID_LEN      32
#define TRACE_SPAN_LEN    16
#define TRACE_PARENT_LEN  55    /* "00-<trace>-<span>-<flags>" */

typedef struct {
    char trace[TRACE_ID_LEN + 1];       /* lower-case hex, not all zero; "": none */
    char span[TRACE_SPAN_LEN + 1];      /* the same */
    bool sampled;
} trace_t;

/*
 * Reads the header traceparent. False, and nothing written, when it is to be ignored: malformed, upper-case, version ff, zero
 * ids, version 00 with more behind it. Of a later version what is known of it is read. Flags but `sampled` are ignored.
 */
bool trace_parse(str_t header, trace_t *out);
/* That header, version 00. */
void trace_header(const trace_t *t, char out[TRACE_PARENT_LEN + 1]);
/* An id of a trace: 32 lower-case hex digits, not all zero. */
bool trace_id_ok(str_t s);
/* Random ids, never zero. */
void trace_new_id(char out[TRACE_ID_LEN + 1]);
void trace_new_span(char out[TRACE_SPAN_LEN + 1]);
/*
 * Whether this share (0 to 1) of all traces has this one in it: by the last 56 bits of its id, which are random ("random
 * trace id flag" of level 2), so that whoever decides by them decides the same.
 */
bool trace_drawn(const char *trace_id, double share);

#endif
