/* One HTTP request as the worker sees it. Used by the coroutine that handles it. */
#ifndef SI_CALL_H
#define SI_CALL_H

#include "base/arena.h"
#include "base/buf.h"
#include "link/evlog.h"
#include "run/co.h"

typedef struct call {
    arena_t *arena;             /* freed when the handler has returned and the call is over */
    str_t    method, path, query, addr;
    str_t    key;               /* the edge's request id; the same when the edge sends the call again */
    str_t    resume;            /* log key, when the edge resumes a mirror; path is empty then */
    str_t    resume_tenant, resume_id;
    str_t    issuer, subject, org, scopes;      /* of a token that the edge verified; no client can set them */
    str_t    verdict;           /* si_verdict_put(): what the edge keeps of the caller's key; no client can set it. n == 0: nothing */
    str_t    ticket;            /* of the query, in which it is hidden; no client can set it otherwise */
    uint64_t started;           /* clock_us() */
    const struct face *face;    /* in whose words errors are told (api/face.h); NULL: problem+json */
    const char *tenant, *user, *turn;   /* set by the handler before call_head(): HEAD fields for the access log */
    const char *credential;     /* the same, of a key: its id, by which links_push() ends a stream; NULL: none */
    const uint8_t *marks;       /* of a token, si_marks_put(), by which links_push() ends the stream; NULL: none */
    uint64_t    until;          /* ms since 1970: the stream ends with its credential; 0: never */
    int      status;            /* sent by call_head(), 0 before */
} call_t;

typedef struct {
    int      status;
    int64_t  length;            /* -1: unknown, chunked */
    bool     stream;            /* an event stream */
    bool     once;              /* that nobody resumes: what ends early is cut, and not asked to reconnect */
    const char *type;           /* Content-Type, or NULL */
    size_t   nheaders;
    const char *headers[8][2];  /* further ones: name, value (no CR, LF, NUL: such a header is dropped and logged) */
} call_head_t;

/* Request header by lower-case name; n == 0 and p == NULL when missing. Joined with ", " when repeated. */
str_t call_header(call_t *call, const char *name);
/*
 * The whole body, in the arena. 0, SI_ENOMEM (longer than max; the rest is discarded), SI_ECLOSED, SI_ETIMEDOUT, SI_ECANCELED.
 */
int   co_call_body(call_t *call, size_t max, str_t *out, uint64_t deadline);
/*
 * For a body that is a stream without end (a WebSocket): moves what has come into b, as far as its maximum allows; the edge
 * sends more as it is taken. Bytes moved, 0: none now.
 */
size_t call_take(call_t *call, buf_t *b);
/* Wakes w (NULL: nobody) whenever call_take() has more, or the client has gone. */
void  call_wake(call_t *call, wait_t *w);
/* Sends HEAD once. */
void  call_head(call_t *call, const call_head_t *head);
/* Sends private bytes within the credit window. 0, SI_ECLOSED (the client or the link has gone), SI_ETIMEDOUT, SI_ECANCELED. */
int   co_call_write(call_t *call, const void *p, size_t n, uint64_t deadline);
/* The same in one piece, which the edge never sees a part of: n is SI_DATA_MAX at most. */
int   co_call_piece(call_t *call, const void *p, size_t n, uint64_t deadline);
/* One event in log form, for a call with `resume`; for others the same as co_call_write(). */
int   co_call_event(call_t *call, str_t id, str_t wire, uint64_t deadline);
/* PUSH (SI_PUSH_...) to the edge process that the call came from, if its link still is there: n bytes, SI_DATA_MAX - 1 at most. */
void  call_push(call_t *call, uint8_t kind, const void *p, size_t n);
/* The answer is whole / is cut. Ends the call. */
void  call_end(call_t *call);
void  call_abort(call_t *call);
/* Ends the call: the edge sends it to that instance instead. Only before call_head(). */
void  call_moved(call_t *call, const char *instance);
/* Ends the call: its reader goes on in the log, from the log's present end. False when the link has gone. */
bool  call_attach(call_t *call, evlog_t *log);
/*
 * A call that comes over no link: handlers serve it as any other, and its answer is kept. Its arena, and with it the call,
 * is freed by call_local_free(). Header names in lower case; name and value are not copied. It cannot be moved.
 */
call_t *call_local(const char *method, const char *path, str_t body);
void  call_local_header(call_t *call, const char *name, str_t value);
bool  call_is_local(const call_t *call);
/* The body of its answer, whose status is call->status; false when the answer is not whole. */
bool  call_local_answer(call_t *call, str_t *body);
void  call_local_free(call_t *call);
/* False once the client or the link has gone. The coroutine is cancelled then (co_cancel). */
bool  call_alive(const call_t *call);

#endif
