#include "io/http_multi.h"

#include <stdio.h>
#include <strings.h>

#include "base/buf.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "run/co.h"

#define CONNECT_MS        5000
#define BUFFERED_MAX      (256u << 10)
#define IDLE_SECONDS      60L            /* an older idle connection is not used again: servers close them silently */
#define RECEIVE_BYTES     4096L          /* curl's buffer of each transfer: it counts in every running turn */
#define UPLOAD_BYTES      16384L         /* the least that curl takes; its default of 64 KiB is allocated with TLS */
#define HEAD_BYTES_MAX    16384u
#define HEAD_LINES_MAX    64u

struct http {
    CURL              *easy;            /* NULL when the transfer is over */
    struct curl_slist *lines;
    char              *body;
    size_t             body_n;
    wait_t             wait;
    bool               done;            /* rc says how */
    bool               head_done;
    bool               paused;
    bool               sent;            /* it was on its way to the server once */
    int                rc;
    long               status;
    size_t             max;
    buf_t              head;            /* "name", NUL, "value", NUL, … */
    size_t             nlines;
    buf_t              in;              /* received */
    buf_t              out;             /* handed out by the last read */
    char               error[CURL_ERROR_SIZE];
};

/* ---- the end ---- */

static void transfer_end(http_t *h)
{
    if (h->easy == NULL) {
        return;
    }
    CURLMcode mc = curl_multi_remove_handle(proc.http->multi, h->easy);
    if (mc != CURLM_OK) {
        log_fmt(LOG_ALERT, "http: curl_multi_remove_handle: %s", curl_multi_strerror(mc));
    }
    curl_easy_cleanup(h->easy);
    h->easy = NULL;
    curl_slist_free_all(h->lines);
    h->lines = NULL;
    free(h->body);
    h->body = NULL;
}

/* Curl's own message, or its general one; with the system's reason, which curl leaves out for connects. */
static void note_error(http_t *h, CURLcode code)
{
    long   no = 0;
    size_t n;

    if (code == CURLE_ABORTED_BY_CALLBACK) {            /* on_send() */
        snprintf(h->error, sizeof(h->error), "the server closed the connection without an answer");
    } else if (h->error[0] == '\0') {
        strncpy(h->error, curl_easy_strerror(code), sizeof(h->error) - 1);
    }
    curl_easy_getinfo(h->easy, CURLINFO_OS_ERRNO, &no);
    n = strlen(h->error);
    if (code == CURLE_COULDNT_CONNECT && no != 0) {
        snprintf(h->error + n, sizeof(h->error) - n, ": %s", strerror((int) no));
    }
}

void http_transfer_done(http_t *h, CURLcode code)
{
    h->done = true;
    h->rc = code == CURLE_OK ? 0 : SI_EUNAVAIL;
    if (code != CURLE_OK) {
        note_error(h, code);
    }
    transfer_end(h);
    wait_wake(&h->wait, 0);
}

/* ---- callbacks of one transfer: they note and wake, nothing else ---- */

/* "Name: value\r\n" into the list; what exceeds the list's bounds is left out. */
static void head_add(http_t *h, const char *p, size_t n)
{
    const char *colon = memchr(p, ':', n);

    if (colon == NULL || h->nlines == HEAD_LINES_MAX || h->head.n + n + 2 > h->head.max) {
        return;
    }
    const char *v = colon + 1, *end = p + n;
    while (v < end && (*v == ' ' || *v == '\t')) {
        v++;
    }
    while (end > v && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    if (memchr(p, '\0', n) != NULL) {
        return;
    }
    buf_append(&h->head, p, (size_t) (colon - p));
    buf_append(&h->head, "", 1);
    buf_append(&h->head, v, (size_t) (end - v));
    buf_append(&h->head, "", 1);
    h->nlines++;
}

static size_t on_head(char *p, size_t one, size_t n, void *arg)
{
    http_t *h = arg;

    n *= one;
    if (h->head_done) {
        return n;                                       /* trailers */
    }
    if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {         /* also after a 100 or 103 */
        buf_consume(&h->head, h->head.n);
        h->nlines = 0;
    } else if (p[0] == '\r' || p[0] == '\n') {
        curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->status);
        if (h->status >= 200 || h->status == 101) {
            h->head_done = true;
            wait_wake(&h->wait, 0);
        }
    } else {
        head_add(h, p, n);
    }
    return n;
}

static size_t on_body(char *p, size_t one, size_t n, void *arg)
{
    http_t *h = arg;

    n *= one;
    if (h->in.n > 0 && h->in.n + n > h->max) {
        h->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (buf_append(&h->in, p, n) != 0) {
        return 0;
    }
    wait_wake(&h->wait, 0);
    return n;
}

/* ---- starting ---- */

static bool has_line_break(const char *z)
{
    return strpbrk(z, "\r\n") != NULL;
}

/* NULL, or why the request cannot be sent. */
static const char *set_lines(http_t *h, const http_spec_t *spec)
{
    /* Without this curl waits up to a second for "100 Continue" before a long body. */
    h->lines = curl_slist_append(NULL, "Expect:");

    for (const char **l = spec->headers; l != NULL && *l != NULL; l++) {
        if (has_line_break(*l)) {
            return "a request header contains a line break";
        }
        h->lines = curl_slist_append(h->lines, *l);
    }
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->lines);
    return NULL;
}

static void set_method(http_t *h, const http_spec_t *spec)
{
    const char *method = spec->method != NULL ? spec->method : "GET";
    bool        post = strcmp(method, "POST") == 0;

    if (spec->body.n > 0 || post) {
        h->body = si_malloc(spec->body.n + 1);
        h->body_n = spec->body.n;
        if (h->body_n > 0) {
            memcpy(h->body, spec->body.p, h->body_n);
        }
        curl_easy_setopt(h->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) h->body_n);
        curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, h->body);
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(h->easy, CURLOPT_NOBODY, 1L);
    }
    if (!post) {
        curl_easy_setopt(h->easy, CURLOPT_CUSTOMREQUEST, method);
    }
}

static void set_protocols(CURL *e)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(e, CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static void set_connection(CURL *e, const http_spec_t *spec)
{
    long connect_ms = spec->connect_ms != 0 ? (long) spec->connect_ms : CONNECT_MS;

    set_protocols(e);
    curl_easy_setopt(e, CURLOPT_URL, spec->url);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 15L);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, IDLE_SECONDS);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BYTES);
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (spec->unix_socket != NULL) {
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, spec->unix_socket);
    }
    if (strncasecmp(spec->url, "https:", 6) != 0 || spec->unix_socket != NULL) {
        curl_easy_setopt(e, CURLOPT_PROXY, "");         /* see http.h */
    }
}

/*
 * When a server closes a kept connection without a byte, curl sends the request again on another one. Nobody knows whether
 * the first was worked on, so what is not idempotent (RFC 9110, 9.2.2) fails instead, and who called decides.
 */
static int on_send(void *arg, char *remote, char *local, int remote_port, int local_port)
{
    http_t *h = arg;

    (void) remote, (void) local, (void) remote_port, (void) local_port;
    if (h->sent) {
        return CURL_PREREQFUNC_ABORT;
    }
    h->sent = true;
    return CURL_PREREQFUNC_OK;
}

static void set_callbacks(http_t *h, bool once)
{
    if (once) {
        curl_easy_setopt(h->easy, CURLOPT_PREREQFUNCTION, on_send);
        curl_easy_setopt(h->easy, CURLOPT_PREREQDATA, h);
    }
    curl_easy_setopt(h->easy, CURLOPT_PRIVATE, h);
    curl_easy_setopt(h->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->easy, CURLOPT_USERAGENT, "si-worker");
    curl_easy_setopt(h->easy, CURLOPT_ERRORBUFFER, h->error);
    curl_easy_setopt(h->easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(h->easy, CURLOPT_HEADERDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, h);
}

static http_t *http_new(size_t max)
{
    http_t *h = si_calloc(sizeof(*h));

    h->max = max != 0 ? max : BUFFERED_MAX;
    buf_init(&h->head, HEAD_BYTES_MAX);
    buf_init(&h->in, h->max + CURL_MAX_WRITE_SIZE);     /* an empty buffer takes any one piece */
    buf_init(&h->out, h->max + CURL_MAX_WRITE_SIZE);
    wait_init(&h->wait);
    h->easy = curl_easy_init();
    if (h->easy == NULL) {
        si_die("http: curl_easy_init failed");
    }
    return h;
}

http_t *http_start(const http_spec_t *spec)
{
    http_t     *h = http_new(spec->max_buffered);
    const char *why = set_lines(h, spec);

    set_method(h, spec);
    set_connection(h->easy, spec);
    set_callbacks(h, spec->method != NULL && strcmp(spec->method, "POST") == 0);

    CURLMcode mc = why != NULL ? CURLM_OK : curl_multi_add_handle(proc.http->multi, h->easy);
    if (mc != CURLM_OK) {
        why = curl_multi_strerror(mc);
    }
    if (why != NULL) {
        strncpy(h->error, why, sizeof(h->error) - 1);
        http_transfer_done(h, CURLE_FAILED_INIT);
    }
    return h;
}

/* ---- reading ---- */

/* The copy of the request body is not needed once it is sent: a turn may wait for minutes with it. */
static void drop_body(http_t *h)
{
    curl_off_t sent = 0;

    if (h->body == NULL || h->body_n == 0) {
        return;
    }
    curl_easy_getinfo(h->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    if ((uint64_t) sent >= h->body_n) {
        curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, NULL);
        free(h->body);
        h->body = NULL;
    }
}

int co_http_head(http_t *h, uint64_t deadline)
{
    while (!h->head_done && !h->done) {
        wait_init(&h->wait);
        int rc = co_wait(&h->wait, "http:head", deadline);
        if (rc != 0) {
            return rc;
        }
    }
    if (!h->head_done) {
        return h->rc != 0 ? h->rc : SI_EUNAVAIL;
    }
    if (h->easy != NULL) {
        drop_body(h);
    }
    return (int) h->status;
}

const char *http_header(http_t *h, const char *name)
{
    const char *p = h->head.p;

    for (size_t i = 0; i < h->nlines; i++) {
        const char *v = p + strlen(p) + 1;
        if (strcasecmp(p, name) == 0) {
            return v;
        }
        p = v + strlen(v) + 1;
    }
    return NULL;
}

/* Curl delivers from inside curl_easy_pause() what it held back, so h->in may be filled here. */
static void unpause(http_t *h)
{
    h->paused = false;
    if (h->easy == NULL) {
        return;
    }
    CURLcode code = curl_easy_pause(h->easy, CURLPAUSE_CONT);
    if (code != CURLE_OK) {
        http_transfer_done(h, code);
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

void http_close(http_t *h)
{
    if (h == NULL) {
        return;
    }
    transfer_end(h);
    buf_free(&h->head);
    buf_free(&h->in);
    buf_free(&h->out);
    free(h);
}
