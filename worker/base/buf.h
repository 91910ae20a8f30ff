/* A growing byte buffer that carries its maximum. Consumed at the front, appended at the end. */
#ifndef SI_BUF_H
#define SI_BUF_H

#include "base/base.h"

typedef struct {
    char   *p;      /* first unread byte; not terminated */
    size_t  n;      /* unread bytes */
    size_t  max;    /* n never exceeds this */
    char   *mem;    /* private */
    size_t  cap;    /* private */
} buf_t;

/* Once in a worker: what buffers give back is kept for others, 1.5 MiB at most. Without it all goes to free(). */
void buf_pool_init(void);
void buf_init(buf_t *b, size_t max);
void buf_free(buf_t *b);                        /* empty and usable again afterwards, same max */
/* 0, or SI_ENOMEM when max would be exceeded: then nothing is appended. */
int  buf_append_slow(buf_t *b, const void *p, size_t n);        /* private */
static inline int buf_append(buf_t *b, const void *p, size_t n)
{
    if (n == 0 || n > b->cap - (size_t) (b->p - b->mem) - b->n || n > b->max - b->n) {
        return buf_append_slow(b, p, n);
    }
    memcpy(b->p + b->n, p, n);          /* most find room */
    b->n += n;
    return SI_OK;
}
static inline int buf_puts(buf_t *b, const char *z) { return buf_append(b, z, strlen(z)); }
int  buf_int(buf_t *b, int64_t v);               /* in decimal */
int  buf_printf(buf_t *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for n bytes at the end, to be followed by buf_commit(); NULL when max would be exceeded. */
char *buf_reserve(buf_t *b, size_t n);
void buf_commit(buf_t *b, size_t n);
/* Drops n bytes at the front. Memory is given back when the buffer becomes empty and is large. */
void buf_consume(buf_t *b, size_t n);
/* Drops all. Memory of up to `keep` bytes stays with the buffer. */
void buf_clear(buf_t *b, size_t keep);
/* Appends s as a JSON string with quotes; invalid UTF-8 becomes U+FFFD; CR, LF, NUL never appear raw. */
int  buf_json_str(buf_t *b, str_t s);

#endif
