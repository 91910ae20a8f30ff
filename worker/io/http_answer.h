/*
 * An HTTP/1.1 answer (RFC 9112), fed in pieces of any size. No I/O. What is ambiguous about where an answer ends is refused,
 * not guessed: two lengths, a transfer coding that is not chunked alone, folded lines, a blank before a colon, NUL and bare CR.
 * A line may end with LF alone. Interim answers (1xx but 101) and trailers are passed over.
 */
#ifndef SI_HTTP_ANSWER_H
#define SI_HTTP_ANSWER_H

#include "base/buf.h"

#define HTTP_FIELDS      64u            /* are kept of a head, … */
#define HTTP_FIELDS_MAX  16384u         /* … and so many bytes of them: others are read and left out */
#define HTTP_HEAD_MAX    (256u << 10)   /* bytes of all heads and trailers of an answer */
#define HTTP_LINE_MAX    16384u         /* bytes of a line */

typedef struct {
    int      at;                        /* private: what is expected next */
    bool     no_body;                   /* the answer to HEAD */
    int      status;                    /* of the head that is read, or was */
    bool     head_done, done;
    bool     last;                      /* nothing else may come on this connection */
    bool     has_length, chunked;
    uint64_t left;                      /* of the body or the chunk */
    size_t   head_bytes;
    buf_t    line;                      /* a begun one */
    buf_t    fields;                    /* "name", NUL, "value", NUL, … */
    size_t   nfields;
    const char *why;                    /* when it is refused; static */
} http_answer_t;

void http_answer_init(http_answer_t *a, bool no_body);
void http_answer_free(http_answer_t *a);
/*
 * Feeds bytes; those of the body go into `body`. *used < n only if the answer has ended before them. 0, SI_EPROTO with
 * a->why, or SI_ENOMEM when the body buffer is full. Must not be called again after a failure, or when it is done.
 */
int  http_answer_feed(http_answer_t *a, const char *p, size_t n, buf_t *body, size_t *used);
/* The connection was closed. 0: that was the end of the answer; SI_EPROTO with a->why: it was cut. */
int  http_answer_eof(http_answer_t *a);
/* The first field of this name (any case), or NULL. */
const char *http_answer_field(const http_answer_t *a, const char *name);

#endif
