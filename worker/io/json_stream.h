/*
 * Incremental reader of a body that is one JSON array of objects, or one object: each object is handed out whole as soon
 * as its last byte has come. Fed in pieces of any size. It finds the objects' ends; whether they are JSON, their reader says.
 */
#ifndef SI_JSON_STREAM_H
#define SI_JSON_STREAM_H

#include "base/buf.h"

typedef struct {
    buf_t    object;        /* the one that has begun */
    int      state;
    uint32_t depth;         /* brackets open in it */
    bool     string, escape;
    bool     array;
} json_stream_t;

/* max: bytes of one object. */
void json_stream_init(json_stream_t *s, size_t max);
void json_stream_free(json_stream_t *s);
/*
 * Feeds bytes; calls fn for each object, which lives until fn returns; fn returns 0 or an error that ends the feeding.
 * 0, fn's error, SI_ENOMEM: an object exceeds max, SI_EPROTO: the body is something else.
 */
int  json_stream_feed(json_stream_t *s, const char *p, size_t n, int (*fn)(str_t object, void *arg), void *arg);
/* Whether the array is closed, or the one object whole. */
bool json_stream_done(const json_stream_t *s);

#endif
