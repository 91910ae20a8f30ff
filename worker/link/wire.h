/*
 * Private to link/: what link.c, wire.c, call.c, answer.c and evlog.c share. Links are closed at the
 * end of a batch only, by link_settle(): until then a failed link is just `dead`.
 */
#ifndef SI_WIRE_H
#define SI_WIRE_H

#include "base/buf.h"
#include "base/hash.h"
#include "link/call.h"
#include "link/frame.h"
#include "link/link.h"
#include "run/co.h"
#include "run/loop.h"

#define LINK_OUT_MAX    (64u << 20)     /* gathered and not yet taken by the socket; past it the link is closed */
#define LINK_OUT_KEPT   (64u << 10)     /* of memory for it stays with a link that is busy or was */
#define LINK_OUT_HIGH   (1u << 20)      /* past it private writers wait, so that one edge cannot fill the above with them */
#define LINK_IN         (64u << 10)     /* the usual read buffer */
#define LINK_HELLO_MS   5000
#define LINKS_MAX       1024            /* edge processes on one machine */
#define CALL_HEADERS    100             /* of one request; past it 431 */

struct links {
    watch_t   listen;
    ltimer_t  retry;                    /* accepts again after a lack of descriptors */
    list_t    all;
    size_t    nlinks, ncalls, max_calls;
    void    (*co_handler)(call_t *call);
    size_t  (*turns)(void);
    void    (*ask)(uint64_t link, const si_ask_t *ask);
    uint64_t  serials;                  /* the last one given out */
    void    (*hello)(struct link *to);  /* links_hooks() */
    void    (*want)(str_t name);
    char     *folder;
    bool      published, draining;
    uint64_t  log_ids;                  /* the last one given out */
};

typedef struct link {
    list_t    node;                     /* links.all */
    uint64_t  serial;                   /* its name for who may outlive it */
    watch_t   watch;
    ltimer_t  hello_by;
    char      peer[SI_KEY_MAX + 1];     /* as HELLO names it, "" before */
    bool      greeted;                  /* its HELLO has come */
    bool      queued;                   /* link_settle() is due at the end of this batch */
    bool      blocked;                  /* the socket is full: EPOLLOUT is watched */
    bool      dead;
    bool      buried;                   /* closed; link_settle() frees it */
    uint8_t  *in;
    size_t    in_n, in_cap;
    buf_t     out;
    hash_t    calls;                    /* call_core_t by id: calls that are not over */
    hash_t    logs;                     /* evlog_sub_t by log id */
    list_t    subs;                     /* the same */
    list_t    writers;                  /* calls that wait for `out` to shrink */
} link_t;

/* A call with what its handler need not see. */
typedef struct call_core {
    call_t    pub;
    link_t   *link;                     /* NULL once the call is over or gone */
    uint64_t  id;
    hash_node_t node;
    co_t     *co;
    bool      gone;                     /* CANCEL, or the link died */
    bool      has_body, last;           /* BODY frames are due; the last one has come */
    bool      discard;                  /* the body is unwanted: acknowledged as it comes */
    buf_t     body;                     /* come and not consumed */
    size_t    body_unacked;
    size_t    unacked;                  /* private bytes sent and not acknowledged */
    wait_t    readable, writable;
    wait_t   *also;                     /* call_wake() */
    bool      local, whole;             /* call_local(): it has no link; its answer is whole, in `answer` */
    buf_t     answer;
    list_t    writer;                   /* link.writers */
    size_t    nheaders;
    struct { str_t name, value; } headers[CALL_HEADERS];
} call_core_t;

/* A link's interest in a log. */
typedef struct evlog_sub {
    evlog_t  *log;
    link_t   *link;
    uint64_t  id;                       /* the log's, as key */
    uint32_t  seq;                      /* of the last ATTACH */
    uint32_t  since;                    /* the same when the edge's mirror was new */
    uint32_t  readers;                  /* cursors at that mirror */
    list_t    in_log, in_link;
    hash_node_t node;
} evlog_sub_t;

/* wire.c */

/* Takes over fd, sends HELLO. */
void     link_new(int fd);
/* Room for n bytes of payload behind a frame head in the output; NULL when the link is dead or its output would exceed its bound. */
uint8_t *link_frame(link_t *l, uint8_t type, uint8_t flags, uint64_t id, size_t n);
/* A frame without payload, or with one u32. */
void     link_frame0(link_t *l, uint8_t type, uint8_t flags, uint64_t id);
void     link_frame32(link_t *l, uint8_t type, uint64_t id, uint32_t v);
/* PUSH, once the edge's HELLO has come. */
void     link_push(link_t *l, uint8_t kind, const void *p, size_t n);
/* Marks the link dead; it is buried at the end of the batch. Logged once. `reason` static. */
void     link_fail(link_t *l, const char *reason);
/* Sends what it can, ends its calls and subscriptions, closes it; frees it, or leaves that to link_settle() when it is due. */
void     link_bury(link_t *l);

/* call.c: frames of calls; each returns NULL, or the reason why the link must be closed. */

const char *call_open(link_t *l, const si_frame_t *f, const uint8_t *p);
const char *call_got_body(link_t *l, const si_frame_t *f, const uint8_t *p);
const char *call_got_cancel(link_t *l, const si_frame_t *f, const uint8_t *p);
/* The link has died: each of its calls is gone. */
void call_link_died(link_t *l);
/* A call without a link, in an arena of its own. */
call_core_t *call_new(uint64_t id, bool has_body, size_t body_max);
/* Takes the call off its link: no frame of it goes out any more. */
void call_over(call_core_t *c);
static inline call_core_t *call_core(const call_t *call) { return container_of(call, call_core_t, pub); }

/* answer.c */

const char *call_got_credit(link_t *l, const si_frame_t *f, const uint8_t *p);
/* Answers with a problem of RFC 9457, whole, straight onto the link. */
void answer_problem(link_t *l, uint64_t id, int status, const char *title, const char *code, const char *detail);
/* Wakes calls that waited for the link's output to shrink. */
void answer_wake_writers(link_t *l);

/* local.c */

/* What answer.c does for a call with a link. */
int  local_write(call_core_t *c, const void *p, size_t n);
void local_end(call_core_t *c);

/* evlog.c */

const char *evlog_got_detach(link_t *l, const si_frame_t *f, const uint8_t *p);
const char *evlog_got_readers(link_t *l, const si_frame_t *f, const uint8_t *p);
/* ATTACHes call `id` on link l. */
void evlog_attach(evlog_t *log, link_t *l, uint64_t id);
/* The link has died: it reads no log any more. */
void evlog_link_died(link_t *l);

#endif
