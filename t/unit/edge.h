/* The edge's side of a link, written by hand, for unit tests: everything in coroutines of the worker's own process. */
#ifndef SI_TEST_EDGE_H
#define SI_TEST_EDGE_H

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "link/call.h"
#include "link/frame.h"
#include "link/link.h"
#include "run/co.h"
#include "run/loop.h"
#include "tap.h"

#define PATIENCE  30000                 /* ms: reached only by a test that fails */

typedef struct {
    int        fd;
    buf_t      in;
    si_frame_t f;                       /* the frame co_next() found; its payload: */
    uint8_t   *p;
    size_t     used;                    /* bytes of `in` that this frame takes */
} edge_t;

static char edge_folder[24];

static inline uint64_t soon(void) { return clock_ms() + PATIENCE; }

/* -1 when nobody listens. */
static inline int edge_socket(const char *name)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/%s.sock", edge_folder, name);
    if (connect(fd, (struct sockaddr *) &sa, sizeof sa) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void edge_init(edge_t *e)
{
    memset(e, 0, sizeof *e);
    e->fd = edge_socket(proc.instance);
    buf_init(&e->in, SI_FRAME_HEAD + 2 * (size_t) SI_FRAME_MAX);
}

static inline void edge_close(edge_t *e)
{
    close(e->fd);
    buf_free(&e->in);
}

/* False when the worker has closed the link. */
static inline bool co_edge_raw(edge_t *e, const void *p, size_t n)
{
    uint64_t until = soon();

    while (n > 0 && clock_ms() < until) {
        ssize_t rc = send(e->fd, p, n, MSG_NOSIGNAL);

        if (rc > 0) {
            p = (const char *) p + rc;
            n -= (size_t) rc;
        } else if (errno != EAGAIN) {
            return false;
        } else {
            co_sleep(1, "test");
        }
    }
    return n == 0;
}

static inline void put_frame(buf_t *b, uint8_t type, uint8_t flags, uint64_t id, const void *p, size_t n)
{
    uint8_t head[SI_FRAME_HEAD];

    si_frame_put(head, type, flags, id, (uint32_t) n);
    (void) buf_append(b, head, sizeof head);
    (void) buf_append(b, p, n);
}

static inline void put_field(buf_t *b, uint8_t tag, const void *p, size_t n)
{
    uint8_t head[5];

    si_field_head(head, tag, (uint32_t) n);
    (void) buf_append(b, head, sizeof head);
    (void) buf_append(b, p, n);
}

static inline void put_text(buf_t *b, uint8_t tag, const char *z) { put_field(b, tag, z, strlen(z)); }

static inline void put_header(buf_t *b, const char *name, const char *value)
{
    char line[512];
    int  n = snprintf(line, sizeof line, "%s%c%s", name, 0, value);

    put_field(b, SI_T_HEADER, line, (size_t) n);
}

static inline bool co_edge_send(edge_t *e, uint8_t type, uint8_t flags, uint64_t id, const void *p, size_t n)
{
    buf_t b;
    bool  sent;

    buf_init(&b, SI_FRAME_HEAD + SI_FRAME_MAX);
    put_frame(&b, type, flags, id, p, n);
    sent = co_edge_raw(e, b.p, b.n);
    buf_free(&b);
    return sent;
}

static inline bool co_edge_send32(edge_t *e, uint8_t type, uint64_t id, uint32_t v)
{
    uint8_t p[4];

    si_put32(p, v);
    return co_edge_send(e, type, 0, id, p, 4);
}

static inline void put_hello(buf_t *b, uint32_t version)
{
    uint8_t v[4];
    buf_t   fields;

    buf_init(&fields, 1024);
    si_put32(v, version);
    put_field(&fields, SI_T_VERSION, v, 4);
    put_text(&fields, SI_T_PEER, "nginx 4711");
    put_frame(b, SI_F_HELLO, 0, 0, fields.p, fields.n);
    buf_free(&fields);
}

static inline void put_open(buf_t *b, uint64_t id, uint8_t flags, const char *method, const char *path)
{
    buf_t fields;

    buf_init(&fields, 4096);
    put_text(&fields, SI_T_METHOD, method);
    put_text(&fields, SI_T_PATH, path);
    put_frame(b, SI_F_OPEN, flags, id, fields.p, fields.n);
    buf_free(&fields);
}

static inline bool co_edge_open(edge_t *e, uint64_t id, uint8_t flags, const char *method, const char *path)
{
    buf_t b;
    bool  sent;

    buf_init(&b, 8192);
    put_open(&b, id, flags, method, path);
    sent = co_edge_raw(e, b.p, b.n);
    buf_free(&b);
    return sent;
}

/* One read. 1, 0 at the end, -1 for nothing yet. */
static inline int edge_fill(edge_t *e)
{
    char   *to = buf_reserve(&e->in, 65536);
    ssize_t n = to == NULL ? 0 : recv(e->fd, to, 65536, 0);

    if (n > 0) {
        buf_commit(&e->in, (size_t) n);
        return 1;
    }
    return n < 0 && errno == EAGAIN ? -1 : 0;
}

/* The next frame; its type, or 0 when the worker has closed the link or nothing comes. */
static inline int co_edge_next(edge_t *e)
{
    uint64_t until = soon();

    buf_consume(&e->in, e->used);
    e->used = 0;
    while (clock_ms() < until) {
        int rc;

        if (e->in.n >= SI_FRAME_HEAD) {
            if (si_frame_get((uint8_t *) e->in.p, &e->f) != NULL) {
                return 0;
            }
            if (e->in.n >= SI_FRAME_HEAD + e->f.length) {
                e->p = (uint8_t *) e->in.p + SI_FRAME_HEAD;
                e->used = SI_FRAME_HEAD + e->f.length;
                return e->f.type;
            }
        }
        rc = edge_fill(e);
        if (rc == 0) {
            return 0;
        }
        if (rc < 0) {
            co_sleep(1, "test");
        }
    }
    return 0;
}

/* A field of the frame at hand; p == NULL when it is missing. */
static inline str_t edge_field(const edge_t *e, uint8_t tag)
{
    const uint8_t *p = e->p;
    si_field_t     f;

    while (si_field_next(&p, e->p + e->f.length, &f) > 0) {
        if (f.tag == tag) {
            return (str_t) { (const char *) f.data, f.length };
        }
    }
    return STR_NULL;
}

static inline int edge_status(const edge_t *e)
{
    str_t s = edge_field(e, SI_T_STATUS);

    return s.n == 4 ? (int) si_get32((const uint8_t *) s.p) : 0;
}

/* True if HEAD has this header. */
static inline bool edge_has(const edge_t *e, const char *name, const char *value)
{
    const uint8_t *p = e->p;
    si_field_t     f;
    size_t         n = strlen(name) + 1, v = strlen(value);

    while (si_field_next(&p, e->p + e->f.length, &f) > 0) {
        if (f.tag == SI_T_HEADER && f.length == n + v && memcmp(f.data, name, n) == 0
            && memcmp(f.data + n, value, v) == 0)
        {
            return true;
        }
    }
    return false;
}

/* True once the worker has closed the link, whatever it sent before. */
static inline bool co_edge_closed(edge_t *e)
{
    uint64_t until = soon();

    while (clock_ms() < until) {
        int rc = edge_fill(e);

        if (rc == 0) {
            return true;
        }
        if (rc < 0) {
            co_sleep(1, "test");
        }
        buf_consume(&e->in, e->in.n);
    }
    return false;
}

/* PING and its PONG, with no other frame before it: the worker has sent nothing else. */
static inline bool co_edge_quiet(edge_t *e)
{
    return co_edge_send(e, SI_F_PING, 0, 77, NULL, 0) && co_edge_next(e) == SI_F_PONG && e->f.id == 77;
}

/* A link with both HELLOs done. */
static inline void co_edge_up(edge_t *e)
{
    buf_t b;

    buf_init(&b, 1024);
    edge_init(e);
    put_hello(&b, SI_LINK_VERSION);
    if (!co_edge_raw(e, b.p, b.n) || co_edge_next(e) != SI_F_HELLO) {
        ok(false, "a link is opened");
    }
    buf_free(&b);
}

static inline bool co_until(bool (*cond)(void))
{
    uint64_t until = soon();

    while (!cond() && clock_ms() < until) {
        co_sleep(1, "test");
    }
    return cond();
}

/* Starts a worker's loop with links in a temporary folder, runs `co_test` in a coroutine, ends. */
static void edge_stop(void *arg) { (void) arg; loop_stop(); }

static void (*edge_test)(void);

static void co_edge_main(void *arg)
{
    (void) arg;
    edge_test();
    loop_defer(edge_stop, NULL);
}

static inline int edge_run(size_t max_calls, void (*co_handler)(call_t *call), void (*co_test)(void))
{
    snprintf(edge_folder, sizeof edge_folder, "/tmp/si-unit-XXXXXX");
    if (mkdtemp(edge_folder) == NULL) {
        ok(false, "a temporary folder");
        return done_testing();
    }
    logger_open("/dev/null", LOG_DEBUG);
    proc.slot = 3;
    snprintf(proc.instance, sizeof proc.instance, "3.%d", (int) getpid());
    loop_init();
    co_init();
    is_int(links_init(edge_folder, max_calls, co_handler), 0, "links_init");
    edge_test = co_test;
    co_spawn("test", co_edge_main, NULL);
    loop_run();
    links_exit();
    co_exit();
    loop_free();
    ok(rmdir(edge_folder) == 0, "links_exit leaves nothing in the folder");
    return done_testing();
}

#endif
