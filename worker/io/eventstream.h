/*
 * Incremental decoder of application/vnd.amazon.eventstream, fed in pieces of any size.
 *
 * A message, all numbers big-endian: u32 its whole length, u32 the length of its headers, u32 CRC-32 of these 8 bytes,
 * headers, payload, u32 CRC-32 of all before it (docs.aws.amazon.com: "Event stream encoding"). A header: u8 length of
 * its name, name, u8 type, value. The limits of a message are those of Amazon's own clients.
 */
#ifndef SI_EVENTSTREAM_H
#define SI_EVENTSTREAM_H

#include "base/buf.h"

#define ES_HEADERS_MAX  (128u << 10)    /* bytes of all headers of a message */
#define ES_PAYLOAD_MAX  (24u << 20)     /* bytes of its payload */
#define ES_COUNT_MAX    64u             /* its headers: our own limit, no service sends more than a few */

/* The numbers of the wire. */
typedef enum { ES_TRUE, ES_FALSE, ES_BYTE, ES_SHORT, ES_INTEGER, ES_LONG, ES_BYTES, ES_STRING, ES_TIMESTAMP, ES_UUID } es_type_t;

typedef struct {
    str_t     name;         /* UTF-8, 1 to 255 bytes */
    es_type_t type;
    int64_t   number;       /* of ES_TRUE (1), ES_FALSE (0), ES_BYTE to ES_LONG, ES_TIMESTAMP (milliseconds since 1970) */
    str_t     bytes;        /* of ES_BYTES, ES_STRING (UTF-8), ES_UUID (16 bytes) */
} es_header_t;

/* Lives as long as the call that hands it out. Its headers have been checked: es_next() finds nothing wrong. */
typedef struct {
    str_t headers;          /* as on the wire, for es_next() and es_string() */
    str_t payload;
} es_message_t;

typedef struct eventstream {
    buf_t       in;         /* the beginning of the present message, and nothing behind it */
    size_t      max;
    const char *why;        /* static: what is wrong with the stream, NULL: nothing */
} eventstream_t;

/* max: longest payload, bytes, at most ES_PAYLOAD_MAX. Memory grows with what comes, not with what a message announces. */
void eventstream_init(eventstream_t *s, size_t max);
void eventstream_free(eventstream_t *s);
/*
 * Feeds bytes; calls fn for each complete message; fn returns 0 or an error that ends the feeding. 0, fn's error, or
 * SI_EPROTO with s->why: then the stream is lost, and every later call returns the same.
 */
int  eventstream_feed(eventstream_t *s, const char *p, size_t n, int (*fn)(const es_message_t *m, void *arg), void *arg);
/* Nothing of an unfinished message is held: the stream may end here. */
bool eventstream_between(const eventstream_t *s);

/* Takes the next header from the front of *rest: 1, 0 when there is none, SI_EPROTO when it is malformed. */
int   es_next(str_t *rest, es_header_t *h);
/* The value of a header of type ES_STRING; STR_NULL without one. */
str_t es_string(const es_message_t *m, const char *name);

#endif
