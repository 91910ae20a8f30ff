/* One link: bytes in, frames out. A state machine on the main stack. */
#include "link/wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"

#define READS_PER_EVENT  4              /* then the other links get their turn */

static void link_settle(void *arg);

static void link_queue(link_t *l)
{
    if (!l->queued && !l->buried) {
        l->queued = true;
        loop_defer(link_settle, l);
    }
}

void link_fail(link_t *l, const char *reason)
{
    if (!l->dead) {
        l->dead = true;
        log_line(LOG_WARN, "link closed", "peer", l->peer, "reason", reason, NULL);
        link_queue(l);
    }
}

/* The edge has gone in good order, or was none: a probe of links_alive(). */
static void link_left(link_t *l)
{
    if (!l->dead) {
        l->dead = true;
        if (l->greeted) {
            log_line(LOG_INFO, "link closed", "peer", l->peer, "reason", "the edge has gone", NULL);
        }
        link_queue(l);
    }
}

/* Output */

uint8_t *link_frame(link_t *l, uint8_t type, uint8_t flags, uint64_t id, size_t n)
{
    char *p;

    if (l->dead) {
        return NULL;
    }
    p = buf_reserve(&l->out, SI_FRAME_HEAD + n);
    if (p == NULL) {
        link_fail(l, "the edge does not read: too much output is pending");
        return NULL;
    }
    buf_commit(&l->out, SI_FRAME_HEAD + n);
    si_frame_put((uint8_t *) p, type, flags, id, (uint32_t) n);
    if (!l->blocked) {
        link_queue(l);
    }
    return (uint8_t *) p + SI_FRAME_HEAD;
}

void link_frame0(link_t *l, uint8_t type, uint8_t flags, uint64_t id)
{
    (void) link_frame(l, type, flags, id, 0);
}

void link_frame32(link_t *l, uint8_t type, uint64_t id, uint32_t v)
{
    uint8_t *p = link_frame(l, type, 0, id, 4);

    if (p != NULL) {
        si_put32(p, v);
    }
}

void link_push(link_t *l, uint8_t kind, const void *p, size_t n)
{
    uint8_t *to = l->greeted ? link_frame(l, SI_F_PUSH, 0, 0, 1 + n) : NULL;

    if (to != NULL) {
        to[0] = kind;
        memcpy(to + 1, p, n);
    }
}

/* True unless the socket broke; `blocked` tells whether something is left. */
static bool link_send(link_t *l)
{
    while (l->out.n > 0) {
        ssize_t n = send(l->watch.fd, l->out.p, l->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n == (ssize_t) l->out.n) {
            buf_clear(&l->out, LINK_OUT_KEPT);
        } else if (n >= 0) {
            buf_consume(&l->out, (size_t) n);
        } else if (errno != EINTR) {
            l->blocked = errno == EAGAIN || errno == EWOULDBLOCK;
            return l->blocked;
        }
    }
    l->blocked = false;
    return true;
}

static void link_event(watch_t *w, uint32_t events);

static void link_flush(link_t *l)
{
    uint32_t want;

    if (!link_send(l)) {
        link_left(l);
        return;
    }
    want = EPOLLIN | (l->blocked ? (uint32_t) EPOLLOUT : 0);
    if (want != l->watch.events && loop_watch(&l->watch, l->watch.fd, want, link_event) != 0) {
        link_fail(l, "epoll refused it");
        return;
    }
    if (l->out.n < LINK_OUT_HIGH) {
        answer_wake_writers(l);
    }
}

void link_bury(link_t *l)
{
    int fd = l->watch.fd;

    if (!l->dead) {
        (void) link_send(l);
        l->dead = true;
    }
    l->buried = true;
    call_link_died(l);
    evlog_link_died(l);
    loop_timer_del(&l->hello_by);
    loop_unwatch(&l->watch);
    close(fd);
    list_remove(&l->node);
    proc.links->nlinks--;
    hash_free(&l->calls);
    hash_free(&l->logs);
    buf_free(&l->out);
    free(l->in);
    if (!l->queued) {
        free(l);
    }
}

/* The end of a batch: writes what was gathered, buries a dead link. */
static void link_settle(void *arg)
{
    link_t *l = arg;

    if (l->buried) {
        free(l);
        return;
    }
    if (!l->dead) {
        link_flush(l);                  /* still `queued`: a failure in here is seen below */
    }
    l->queued = false;
    if (l->dead) {
        link_bury(l);
    }
}

/* Input */

static const char *got_hello(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    const uint8_t *end = p + f->length;
    si_field_t     t;
    uint32_t       version = 0;
    int            rc;

    if (l->greeted) {
        return "HELLO twice";
    }
    while ((rc = si_field_next(&p, end, &t)) > 0) {
        if (t.tag == SI_T_VERSION && t.length == 4) {
            version = si_get32(t.data);
        } else if (t.tag == SI_T_PEER && t.length > 0 && t.length <= SI_KEY_MAX) {
            memcpy(l->peer, t.data, t.length);
            l->peer[t.length] = '\0';
        } else {
            return "malformed HELLO";
        }
    }
    if (rc < 0 || l->peer[0] == '\0') {
        return "malformed HELLO";
    }
    if (version != SI_LINK_VERSION) {
        return "HELLO of another version";
    }
    l->greeted = true;
    loop_timer_del(&l->hello_by);
    log_line(LOG_INFO, "link opened", "peer", l->peer, NULL);
    if (proc.links->hello != NULL) {
        proc.links->hello(l);
    }
    return NULL;
}

static const char *got_ping(link_t *l, const si_frame_t *f, const uint8_t *payload)
{
    uint8_t *p = link_frame(l, SI_F_PONG, 0, f->id, 8);

    (void) payload;
    if (p != NULL) {
        si_put32(p, proc.links->turns != NULL ? (uint32_t) proc.links->turns() : 0);
        si_put32(p + 4, (uint32_t) proc.links->ncalls);
    }
    return NULL;
}

static const char *got_ask(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    si_ask_t ask;

    if (!si_ask_get(p, f->length, &ask)) {
        return "malformed ASK";
    }
    if (proc.links->ask != NULL) {
        proc.links->ask(l->serial, &ask);
    }
    return NULL;
}

static const char *got_want(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    (void) l;
    if (f->length == 0 || f->length > SI_KEYS_NAME) {
        return "malformed WANT";
    }
    if (proc.links->want != NULL) {
        proc.links->want((str_t) { (const char *) p, f->length });
    }
    return NULL;
}

/* What an edge may send. Types that are missing here are the worker's. */
static const struct rule {
    const char *(*fn)(link_t *l, const si_frame_t *f, const uint8_t *p);
    uint8_t flags;                      /* those allowed */
    bool    id;                         /* must not be 0 */
    bool    fixed;                      /* length must be `length` */
    uint8_t length;
} rules[SI_F_TYPES] = {
    [SI_F_HELLO]   = { got_hello,         0,          false, false, 0 },
    [SI_F_OPEN]    = { call_open,         SI_FL_BODY, true,  false, 0 },
    [SI_F_BODY]    = { call_got_body,     SI_FL_LAST, true,  false, 0 },
    [SI_F_CANCEL]  = { call_got_cancel,   0,          true,  true,  0 },
    [SI_F_CREDIT]  = { call_got_credit,   0,          true,  true,  4 },
    [SI_F_DETACH]  = { evlog_got_detach,  0,          true,  true,  4 },
    [SI_F_READERS] = { evlog_got_readers, 0,          true,  true,  8 },
    [SI_F_ASK]     = { got_ask,           0,          false, false, 0 },
    [SI_F_WANT]    = { got_want,          0,          false, false, 0 },
    [SI_F_PING]    = { got_ping,          0,          false, true,  0 },
};

/* The head alone: before its payload is waited for. */
static const char *frame_check(const link_t *l, const si_frame_t *f)
{
    const struct rule *r = &rules[f->type];

    if (r->fn == NULL) {
        return "a frame that only workers send";
    }
    if (!l->greeted && f->type != SI_F_HELLO) {
        return "the first frame is not HELLO";
    }
    if ((f->flags & ~r->flags) != 0 || (r->id && f->id == 0)) {
        return "wrong flags or id";
    }
    if (r->fixed && f->length != r->length) {
        return "wrong length";
    }
    return NULL;
}

/* Handles the whole frames in p..p+n. Returns the bytes used; *want is the size of a begun frame, 0 when it is not known. */
static size_t link_frames(link_t *l, const uint8_t *p, size_t n, size_t *want)
{
    const char *reason;
    si_frame_t  f;
    size_t      used = 0;

    *want = 0;
    while (n - used >= SI_FRAME_HEAD && !l->dead) {
        reason = si_frame_get(p + used, &f);
        if (reason == NULL) {
            reason = frame_check(l, &f);
        }
        if (reason == NULL && n - used - SI_FRAME_HEAD < f.length) {
            *want = SI_FRAME_HEAD + f.length;
            break;
        }
        if (reason == NULL) {
            reason = rules[f.type].fn(l, &f, p + used + SI_FRAME_HEAD);
        }
        if (reason != NULL) {
            link_fail(l, reason);
        }
        used += SI_FRAME_HEAD + f.length;
    }
    return used;
}

/* Keeps the begun frame at the front and makes room for its rest; gives room back that is not needed any more. */
static void link_shift(link_t *l, size_t used, size_t want)
{
    size_t cap = SI_MAX(want, (size_t) LINK_IN);

    l->in_n -= used;
    memmove(l->in, l->in + used, l->in_n);
    if (cap != l->in_cap) {
        l->in = si_realloc(l->in, cap);
        l->in_cap = cap;
    }
}

/* One read. True when another may bring more. */
static bool link_read(link_t *l)
{
    size_t  room = l->in_cap - l->in_n, used, want;
    ssize_t n = recv(l->watch.fd, l->in + l->in_n, room, MSG_DONTWAIT);

    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            link_left(l);
        }
        return false;
    }
    if (n == 0) {
        if (l->in_n > 0) {
            link_fail(l, "closed within a frame");
        } else {
            link_left(l);
        }
        return false;
    }
    l->in_n += (size_t) n;
    used = link_frames(l, l->in, l->in_n, &want);
    if (l->dead) {
        return false;
    }
    link_shift(l, used, want);
    return (size_t) n == room;
}

static void link_event(watch_t *w, uint32_t events)
{
    link_t *l = container_of(w, link_t, watch);

    if (l->dead) {
        return;
    }
    if (events & EPOLLOUT) {
        l->blocked = false;
        link_queue(l);
    }
    if (events & ~(uint32_t) EPOLLOUT) {
        for (int i = 0; i < READS_PER_EVENT && link_read(l); i++) {
        }
    }
}

/* Beginning */

static void hello_late(ltimer_t *t)
{
    link_fail(container_of(t, link_t, hello_by), "no HELLO in time");
}

static void link_hello(link_t *l)
{
    size_t   n = strlen(proc.instance);
    uint8_t *p = link_frame(l, SI_F_HELLO, 0, 0, 5 + 4 + 5 + n);

    si_field_head(p, SI_T_VERSION, 4);
    si_put32(p + 5, SI_LINK_VERSION);
    si_field_head(p + 9, SI_T_PEER, (uint32_t) n);
    memcpy(p + 14, proc.instance, n);
}

void link_new(int fd)
{
    link_t *l = si_calloc(sizeof *l);

    l->serial = ++proc.links->serials;
    l->in_cap = LINK_IN;
    l->in = si_malloc(l->in_cap);
    buf_init(&l->out, LINK_OUT_MAX);
    hash_init(&l->calls);
    hash_init(&l->logs);
    list_init(&l->subs);
    list_init(&l->writers);
    list_push(&proc.links->all, &l->node);
    proc.links->nlinks++;
    l->watch.fd = -1;
    if (loop_watch(&l->watch, fd, EPOLLIN, link_event) != 0) {
        l->watch.fd = fd;
        link_fail(l, "epoll refused it");
        return;
    }
    loop_timer(&l->hello_by, LINK_HELLO_MS, hello_late);
    link_hello(l);
    if (proc.links->draining) {
        link_frame0(l, SI_F_GOAWAY, 0, 0);
    }
}
