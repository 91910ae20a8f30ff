/* Transfers: a request is written, and its answer read as far as there is room for it. Connections are http_conn.c's. */
#include <stdio.h>
#include <strings.h>

#include "base/proc.h"
#include "base/util.h"
#include "io/http_answer.h"
#include "io/http_conn.h"
#include "run/co.h"

#define BUFFERED_MAX     (256u << 10)
#define HEAD_BYTES_MAX   (256u << 10)   /* of a request */
#define HEAD_USUAL       1024           /* of most */
#define READS_PER_EVENT  4              /* then others get their turn */

struct http {
    http_conn_t  *conn;                 /* NULL when the transfer is over */
    buf_t         request;              /* what is not sent yet, and until the answer begins all of it */
    size_t        sent;
    uint32_t      connect_ms;
    wait_t        wait;
    bool          done;                 /* rc says how */
    bool          paused;
    bool          answered;             /* a byte has come */
    bool          once;                 /* it must not be sent twice */
    int           rc;
    size_t        max;
    http_answer_t answer;
    buf_t         in;                   /* received */
    buf_t         out;                  /* handed out by the last read */
    char          error[CURL_ERROR_SIZE];
    char          reason[HTTP_REASON_MAX];  /* "": error names nobody */
};

/* --- the end --- */

static void over(http_t *h, int rc, const char *why)
{
    if (h->conn != NULL) {
        http_conn_close(h->conn);
        h->conn = NULL;
    }
    buf_free(&h->request);
    (void) snprintf(h->error, sizeof h->error, "%s", why);
    h->done = true;
    h->rc = rc;
    wait_wake(&h->wait, 0);
}

/* The answer is whole. What is left over, or was not sent, would be taken for a part of the next one. */
static void whole(http_t *h, bool clean)
{
    if (clean && !h->answer.last && h->sent == h->request.n) {
        http_conn_keep(h->conn);
        h->conn = NULL;
    }
    over(h, 0, "");
}

/*
 * The connection broke before a byte of the answer had come. One that was kept may have been closed by the server before it saw
 * the request: it is sent once more, on a new one. Nobody knows whether it was worked on, so what is not idempotent (RFC 9110,
 * section 9.2.2) fails instead, and who called decides.
 */
static bool again(http_t *h)
{
    const char  *why;
    bool         may = h->conn->kept && !h->answered && !(h->once && h->sent > 0);
    http_conn_t *c = may ? http_conn_again(h->conn, h->connect_ms, h, &why) : NULL;

    if (c != NULL) {
        http_conn_close(h->conn);
        h->conn = c;
        h->sent = 0;
    }
    return c != NULL;
}

static void broken(http_t *h, const char *why)
{
    char text[CURL_ERROR_SIZE];

    if (!again(h)) {
        (void) snprintf(text, sizeof text, "%s", why);      /* the connection's own */
        memcpy(h->reason, h->conn->reason, sizeof h->reason);
        over(h, SI_EUNAVAIL, text);
    }
}

static void ended(http_t *h)
{
    if (http_answer_eof(&h->answer) == 0) {
        over(h, 0, "");
    } else {
        broken(h, h->answer.why);
    }
}

/* --- bytes --- */

static bool take(http_t *h, size_t n)
{
    size_t before = h->in.n, used;
    bool   head = h->answer.head_done;

    h->answered = true;
    (void) buf_reserve(&h->in, n);      /* once, not chunk by chunk */
    if (http_answer_feed(&h->answer, proc.http->bytes, n, &h->in, &used) != 0) {
        over(h, SI_EUNAVAIL, h->answer.why != NULL ? h->answer.why : "the answer is too long");
        return false;
    }
    if (h->answer.done) {
        whole(h, used == n);
        return false;
    }
    if (h->in.n > before || h->answer.head_done != head) {
        wait_wake(&h->wait, 0);
    }
    return true;
}

/* Reads what there is room for. With TLS until nothing is left: what curl holds of a record does not wake the loop. */
static void read_some(http_t *h)
{
    size_t  room;
    ssize_t n;

    for (int i = 0; h->conn != NULL; i++) {
        room = h->in.n == 0 ? HTTP_READ_BYTES : SI_MIN(HTTP_READ_BYTES, h->max - SI_MIN(h->max, h->in.n));
        h->paused = room == 0;
        if (h->paused || (h->conn->easy == NULL && i == READS_PER_EVENT)) {
            break;
        }
        n = http_conn_read(h->conn, proc.http->bytes, room);
        if (n == SI_EAGAIN) {
            break;
        }
        if (n < 0) {
            broken(h, h->conn->error);
            return;
        }
        if (n == 0) {
            ended(h);
            return;
        }
        if (!take(h, (size_t) n) || ((size_t) n < room && h->conn->easy == NULL)) {
            break;
        }
        if (i == 0 && (size_t) n == room) {     /* much is coming: not to be moved with each read */
            (void) buf_reserve(&h->in, (READS_PER_EVENT - 1) * HTTP_READ_BYTES);
        }
    }
}

static void settle(http_t *h)
{
    if (h->conn != NULL && http_conn_open(h->conn)) {
        http_conn_want(h->conn, (h->paused ? 0 : (uint32_t) EPOLLIN) | (h->sent < h->request.n ? (uint32_t) EPOLLOUT : 0));
    }
}

/* What a server says that does not take all of a request counts: so a failure is left to reading. */
static void write_some(http_t *h)
{
    ssize_t n = 1;

    while (n > 0 && h->sent < h->request.n) {
        n = http_conn_write(h->conn, h->request.p + h->sent, h->request.n - h->sent);
        h->sent += n > 0 ? (size_t) n : 0;
    }
    if (n < 0 && n != SI_EAGAIN) {
        read_some(h);
        if (h->conn != NULL && http_conn_open(h->conn)) {
            broken(h, "the request could not be sent");
        }
    }
}

void http_ready(http_t *h, uint32_t events)
{
    if (events & EPOLLOUT) {
        write_some(h);
    }
    if (h->conn != NULL && http_conn_open(h->conn) && (events & ~(uint32_t) EPOLLOUT) != 0) {
        read_some(h);
    }
    settle(h);
}

void http_opened(http_t *h, const char *why)
{
    if (why != NULL) {
        broken(h, why);
        return;
    }
    write_some(h);
    settle(h);
}

/* --- starting --- */

static bool has(const http_spec_t *spec, const char *name)
{
    for (const char **l = spec->headers; l != NULL && *l != NULL; l++) {
        if (((*l)[0] | 0x20) == (name[0] | 0x20) && strncasecmp(*l, name, strlen(name)) == 0) {
            return true;
        }
    }
    return false;
}

static int put_lines(buf_t *b, const http_spec_t *spec, const char **why)
{
    int rc = 0;

    for (const char **l = spec->headers; l != NULL && *l != NULL; l++) {
        size_t n = strlen(*l);

        if (memchr(*l, '\r', n) != NULL || memchr(*l, '\n', n) != NULL) {
            *why = "a request header contains a line break";
            return SI_EINVAL;
        }
        rc = rc != 0 ? rc : buf_append(b, *l, n);
        rc = rc != 0 ? rc : buf_append(b, "\r\n", 2);
    }
    return rc;
}

/* What stands behind the host, without a fragment; what is not ASCII is encoded (RFC 3986, section 2.1). */
static int put_target(buf_t *b, const char *url)
{
    const char *p = strstr(url, "://") + 3;
    int         rc = 0;

    p += strcspn(p, "/?#");
    rc = *p != '/' ? buf_append(b, "/", 1) : 0;
    while (rc == 0 && *p != '\0' && *p != '#') {
        size_t n = 0;

        while (p[n] != '\0' && p[n] != '#' && (unsigned char) p[n] < 0x80) {
            n++;
        }
        rc = n > 0 ? buf_append(b, p, n) : buf_printf(b, "%%%02X", (unsigned char) *p);
        p += n > 0 ? n : 1;
    }
    return rc;
}

static int put_request(http_t *h, const http_spec_t *spec, const char **why)
{
    const char *method = spec->method != NULL ? spec->method : "GET", *lines = h->conn->origin->lines;
    buf_t      *b = &h->request;
    int         rc = buf_reserve(b, HEAD_USUAL + spec->body.n) != NULL ? buf_puts(b, method) : SI_ENOMEM;

    *why = "the request's head is too long";
    rc = rc != 0 ? rc : buf_append(b, " ", 1);
    rc = rc != 0 ? rc : put_target(b, spec->url);
    rc = rc != 0 ? rc : buf_puts(b, " HTTP/1.1\r\n");
    rc = rc != 0 || has(spec, "Host:") ? rc : buf_puts(b, lines);
    rc = rc != 0 || has(spec, "User-Agent:") ? rc : buf_puts(b, "User-Agent: si-worker\r\n");
    rc = rc != 0 || has(spec, "Accept:") ? rc : buf_puts(b, "Accept: */*\r\n");
    rc = rc != 0 ? rc : put_lines(b, spec, why);
    if (spec->body.n > 0 || strcmp(method, "POST") == 0) {
        rc = rc != 0 ? rc : buf_puts(b, "Content-Length: ");
        rc = rc != 0 ? rc : buf_int(b, (int64_t) spec->body.n);
        rc = rc != 0 ? rc : buf_append(b, "\r\n", 2);
    }
    rc = rc != 0 ? rc : buf_append(b, "\r\n", 2);
    return rc != 0 ? rc : buf_append(b, spec->body.p, spec->body.n);
}

http_t *http_start(const http_spec_t *spec)
{
    http_t     *h = si_calloc(sizeof *h);
    const char *why = NULL;

    h->max = spec->max_buffered != 0 ? spec->max_buffered : BUFFERED_MAX;
    h->connect_ms = spec->connect_ms;
    h->once = spec->method != NULL && strcmp(spec->method, "POST") == 0;
    buf_init(&h->request, HEAD_BYTES_MAX + spec->body.n);
    buf_init(&h->in, h->max + HTTP_READ_BYTES);         /* an empty buffer takes any one piece */
    buf_init(&h->out, h->max + HTTP_READ_BYTES);
    wait_init(&h->wait);
    http_answer_init(&h->answer, spec->method != NULL && strcmp(spec->method, "HEAD") == 0);
    h->conn = http_conn_get(spec, h, &why);
    if (h->conn == NULL || put_request(h, spec, &why) != 0) {
        over(h, SI_EUNAVAIL, why);
    } else if (http_conn_open(h->conn)) {
        http_opened(h, NULL);
    }
    return h;
}

/* --- reading --- */

/* The request is not needed once it is sent: a turn may wait for minutes with it. */
static void drop_request(http_t *h)
{
    if (h->sent == h->request.n) {
        buf_free(&h->request);
        h->sent = 0;
    }
}

int co_http_head(http_t *h, uint64_t deadline)
{
    while (!h->answer.head_done && !h->done) {
        wait_init(&h->wait);
        int rc = co_wait(&h->wait, "http:head", deadline);
        if (rc != 0) {
            return rc;
        }
    }
    if (!h->answer.head_done) {
        return h->rc != 0 ? h->rc : SI_EUNAVAIL;
    }
    drop_request(h);
    return h->answer.status;
}

const char *http_header(http_t *h, const char *name)
{
    return http_answer_field(&h->answer, name);
}

/* Reads at once: of TLS something may be there that no event tells of. */
static void unpause(http_t *h)
{
    h->paused = false;
    if (h->conn != NULL) {
        read_some(h);
        settle(h);
    }
}

int co_http_read(http_t *h, str_t *out, uint64_t deadline)
{
    buf_consume(&h->out, h->out.n);

    while (h->in.n == 0 && !h->done) {
        if (h->paused) {
            unpause(h);
            continue;
        }
        wait_init(&h->wait);
        int rc = co_wait(&h->wait, "http:read", deadline);
        if (rc != 0) {
            return rc;
        }
    }
    if (h->in.n == 0) {
        *out = STR_NULL;
        return h->rc;
    }

    buf_t empty = h->out;
    h->out = h->in;
    h->in = empty;
    if (h->paused) {
        unpause(h);
    }
    *out = (str_t) { h->out.p, h->out.n };
    return 1;
}

int co_http_body(http_t *h, arena_t *a, size_t max, str_t *out, uint64_t deadline)
{
    buf_t all;
    str_t piece = STR_NULL;
    int   rc;

    buf_init(&all, max);
    while ((rc = co_http_read(h, &piece, deadline)) == 1) {
        if (buf_append(&all, piece.p, piece.n) != 0) {
            rc = SI_ENOMEM;
            break;
        }
    }
    if (rc == 0) {
        *out = (str_t) { arena_dup(a, all.n > 0 ? all.p : "", all.n), all.n };
    }
    buf_free(&all);
    return rc;
}

const char *http_error(const http_t *h)
{
    return h->error;
}

const char *http_reason(const http_t *h)
{
    return h->reason[0] != '\0' ? h->reason : h->error;
}

void http_close(http_t *h)
{
    if (h == NULL) {
        return;
    }
    if (h->conn != NULL) {
        http_conn_close(h->conn);
    }
    http_answer_free(&h->answer);
    buf_free(&h->request);
    buf_free(&h->in);
    buf_free(&h->out);
    free(h);
}
