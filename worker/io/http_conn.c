/* Connections: where they lead, how curl's multi handle opens them on the loop, and their bytes. */
#include "io/http_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"

#define CONNECTIONS_MAX  1024u          /* above it one that is not used any more is closed, not kept */
#define CONNECT_MS       5000
#define IDLE_MS          60000u         /* an older idle connection is not used again: servers close them silently */
#define KEY_MAX          1024           /* bytes of what names an origin */

/* --- origins --- */

/* Bytes of "http://host:port", or 0 with *why. */
static size_t address_len(const char *url, const char **why)
{
    size_t scheme = strncasecmp(url, "http://", 7) == 0 ? 7 : strncasecmp(url, "https://", 8) == 0 ? 8 : 0, host;

    if (scheme == 0) {
        *why = "a protocol that is neither http nor https";
        return 0;
    }
    host = strcspn(url + scheme, "/?#");
    for (const unsigned char *p = (const unsigned char *) url; *p != '\0'; p++) {
        if (*p <= ' ' || *p == 0x7f || (*p > 0x7f && (const char *) p < url + scheme + host)) {
            *why = "the URL has a blank, a control character, or a host that is not ASCII";
            return 0;
        }
    }
    *why = "the URL has no host";
    return host > 0 ? scheme + host : 0;
}

static void put_basic(buf_t *b, const char *user, size_t n)
{
    int    len = 0;
    char  *plain = curl_easy_unescape(NULL, user, (int) n, &len);
    char  *text = si_malloc(BASE64_LEN((size_t) len) + 1);

    base64_encode(text, plain, (size_t) len);
    (void) buf_printf(b, "Authorization: Basic %s\r\n", text);
    free(text);
    curl_free(plain);
}

/* Of "http://user:password@host:80": a port that goes without saying is left out. */
static char *lines_of(const char *address, bool tls)
{
    const char *from = strstr(address, "://") + 3, *at = strrchr(from, '@'), *host = at != NULL ? at + 1 : from;
    const char *port = tls ? ":443" : ":80";
    size_t      n = strlen(host), usual = strlen(port);
    buf_t       b;
    char       *lines;

    n -= n > usual && strcmp(host + n - usual, port) == 0 ? usual : 0;
    buf_init(&b, 8 * KEY_MAX);
    (void) buf_printf(&b, "Host: %.*s\r\n", (int) n, host);
    if (at != NULL) {
        put_basic(&b, from, (size_t) (at - from));
    }
    (void) buf_append(&b, "", 1);
    lines = si_strdup(b.p);
    buf_free(&b);
    return lines;
}

static http_origin_t *origin_new(str_t key, const char *socket, const char *url, size_t n)
{
    http_origin_t *o = si_calloc(sizeof *o);

    o->key = memcpy(si_malloc(key.n), key.p, key.n);
    o->socket = socket != NULL ? si_strdup(socket) : NULL;
    o->url = si_calloc(n + 1);
    memcpy(o->url, url, n);
    o->tls = strncasecmp(url, "https", 5) == 0;
    o->lines = lines_of(o->url, o->tls);
    list_init(&o->idle);
    hash_put(&proc.http->origins, &o->node, (str_t) { o->key, key.n });
    return o;
}

static http_origin_t *origin_of(const http_spec_t *spec, const char **why)
{
    char         key[KEY_MAX];
    const char  *socket = spec->unix_socket != NULL ? spec->unix_socket : "";
    size_t       n = address_len(spec->url, why), path = strlen(socket), len = path + 1 + n;
    hash_node_t *found;

    if (n == 0) {
        return NULL;
    }
    if (len > sizeof key) {
        *why = "the URL's host is too long";
        return NULL;
    }
    memcpy(key, socket, path);
    key[path] = '\n';
    memcpy(key + path + 1, spec->url, n);
    found = hash_get(&proc.http->origins, (str_t) { key, len });
    return found != NULL ? container_of(found, http_origin_t, node) : origin_new((str_t) { key, len }, spec->unix_socket, spec->url, n);
}

static void origin_drop(http_origin_t *o)
{
    if (o->nconns == 0) {
        hash_del(&proc.http->origins, &o->node);
        free(o->key);
        free(o->url);
        free(o->socket);
        free(o->lines);
        free(o);
    }
}

/* --- the end --- */

static void easy_drop(http_conn_t *c)
{
    if (c->easy != NULL) {
        CURLMcode mc = curl_multi_remove_handle(proc.http->multi, c->easy);

        if (mc != CURLM_OK) {
            log_fmt(LOG_ALERT, "http: curl_multi_remove_handle: %s", curl_multi_strerror(mc));
        }
        curl_easy_cleanup(c->easy);
        c->easy = NULL;
    }
}

void http_conn_close(http_conn_t *c)
{
    http_origin_t *o = c->origin;
    int            fd = c->easy == NULL ? c->fd : -1;

    list_remove(&c->node);
    loop_unwatch(&c->watch);
    easy_drop(c);
    if (fd >= 0) {
        close(fd);
    }
    free(c);
    o->nconns--;
    proc.http->nconns--;
    origin_drop(o);
}

/* --- bytes --- */

/* Of recv() and send(). */
static ssize_t bytes_of(http_conn_t *c, ssize_t rc, const char *what)
{
    if (rc >= 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        return rc >= 0 ? rc : SI_EAGAIN;
    }
    (void) snprintf(c->error, sizeof c->error, "%s failed: %s", what, strerror(errno));
    return SI_ECLOSED;
}

/* Curl's own message, or its general one, which names nobody. */
static void tell(http_conn_t *c, CURLcode code)
{
    (void) snprintf(c->reason, sizeof c->reason, "%s", curl_easy_strerror(code));
    if (c->error[0] == '\0') {
        memcpy(c->error, c->reason, sizeof c->reason);
    }
}

static ssize_t outcome(http_conn_t *c, CURLcode code, size_t n)
{
    if (code == CURLE_OK || code == CURLE_AGAIN) {
        return code == CURLE_OK ? (ssize_t) n : SI_EAGAIN;
    }
    tell(c, code);
    return SI_ECLOSED;
}

ssize_t http_conn_read(http_conn_t *c, char *p, size_t n)
{
    size_t   got = 0;
    CURLcode code;

    if (c->easy != NULL) {
        code = curl_easy_recv(c->easy, p, n, &got);
        return outcome(c, code, got);
    }
    return bytes_of(c, recv(c->fd, p, n, MSG_DONTWAIT), "receiving");
}

ssize_t http_conn_write(http_conn_t *c, const char *p, size_t n)
{
    size_t   put = 0;
    CURLcode code;

    if (c->easy != NULL) {
        code = curl_easy_send(c->easy, p, n, &put);
        return outcome(c, code, put);
    }
    return bytes_of(c, send(c->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL), "sending");
}

/* Nobody waits for anything on an idle connection: but for what TLS says to itself, it is of no more use. */
static void on_ready(watch_t *w, uint32_t events)
{
    http_conn_t *c = container_of(w, http_conn_t, watch);

    if (c->user != NULL) {
        http_ready(c->user, events);
    } else if (c->easy == NULL || http_conn_read(c, proc.http->bytes, HTTP_READ_BYTES) != SI_EAGAIN) {
        http_conn_close(c);
    }
}

void http_conn_want(http_conn_t *c, uint32_t events)
{
    if (events == 0) {
        loop_unwatch(&c->watch);        /* else a peer that has gone would be told of again and again */
    } else if (c->watch.fd < 0 || c->watch.events != events) {
        (void) loop_watch(&c->watch, c->fd, events, on_ready);
    }
}

/* --- opening --- */

static void add_errno(char *text, size_t size, long no)
{
    size_t n = strlen(text);

    (void) snprintf(text + n, size - n, ": %s", strerror((int) no));
}

/* With the system's reason, which curl leaves out for connects. */
static const char *why_not(http_conn_t *c, CURLcode code)
{
    long no = 0;

    tell(c, code);
    curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &no);
    if (code == CURLE_COULDNT_CONNECT && no != 0) {
        add_errno(c->error, sizeof c->error, no);
        add_errno(c->reason, sizeof c->reason, no);
    }
    return c->error;
}

/* It stands. A plain one is ours alone from now on: curl closes its own descriptor of it. */
static bool take_over(http_conn_t *c)
{
    curl_socket_t fd = CURL_SOCKET_BAD;

    if (curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD) {
        return false;
    }
    c->error[0] = c->reason[0] = '\0';  /* of an address that was tried before */
    c->fd = c->origin->tls ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (!c->origin->tls) {
        easy_drop(c);
    }
    return c->fd >= 0;
}

static void opened(http_conn_t *c, CURLcode code)
{
    const char *why = code != CURLE_OK ? why_not(c, code) : take_over(c) ? NULL : "the connection has no socket";

    http_opened(c->user, why);
}

static void drive(curl_socket_t fd, int events)
{
    CURLM    *multi = proc.http->multi;
    CURLMsg  *m;
    int       n;
    CURLMcode mc = curl_multi_socket_action(multi, fd, events, &n);

    if (mc != CURLM_OK) {
        log_fmt(LOG_ALERT, "http: curl_multi_socket_action: %s", curl_multi_strerror(mc));
    }
    while ((m = curl_multi_info_read(multi, &n)) != NULL) {
        char    *c = NULL;
        CURLcode code = m->data.result;                 /* m dies with the handle */

        if (m->msg == CURLMSG_DONE && curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c) == CURLE_OK) {
            opened((http_conn_t *) (void *) c, code);
        }
    }
}

static void set_place(CURL *e, const http_origin_t *o)
{
    const char *authorities = getenv("SSL_CERT_FILE");      /* as curl's own tool */

    if (authorities != NULL && authorities[0] != '\0') {
        curl_easy_setopt(e, CURLOPT_CAINFO, authorities);
    }
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(e, CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(e, CURLOPT_URL, o->url);
    if (o->socket != NULL) {
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, o->socket);
    }
    if (!o->tls || o->socket != NULL) {
        curl_easy_setopt(e, CURLOPT_PROXY, "");         /* see http.h */
    }
}

static void set_options(http_conn_t *c, uint32_t connect_ms)
{
    CURL *e = c->easy;

    set_place(e, c->origin);
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "si-worker");            /* to a proxy */
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms != 0 ? (long) connect_ms : CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 15L);
}

static http_conn_t *conn_new(http_origin_t *o, uint32_t connect_ms, http_t *user, const char **why)
{
    http_conn_t *c = si_calloc(sizeof *c);
    CURLMcode    mc;

    c->origin = o;
    c->user = user;
    c->fd = c->watch.fd = -1;
    list_init(&c->node);
    o->nconns++;
    proc.http->nconns++;
    c->easy = curl_easy_init();
    if (c->easy == NULL) {
        si_die("http: curl_easy_init failed");
    }
    set_options(c, connect_ms);
    mc = curl_multi_add_handle(proc.http->multi, c->easy);
    if (mc != CURLM_OK) {
        *why = curl_multi_strerror(mc);
        http_conn_close(c);
        return NULL;
    }
    return c;
}

/* --- those that are kept --- */

/* The oldest ones are at the end. */
static void drop_stale(http_origin_t *o)
{
    while (!list_empty(&o->idle)) {
        http_conn_t *c = list_entry(o->idle.prev, http_conn_t, node);

        if (loop_now() - c->since < IDLE_MS) {
            break;
        }
        o->nconns++;                    /* it stays, whichever is the last to go */
        http_conn_close(c);
        o->nconns--;
    }
}

void http_conn_keep(http_conn_t *c)
{
    if (proc.http->nconns > CONNECTIONS_MAX) {
        http_conn_close(c);
        return;
    }
    c->user = NULL;
    c->kept = true;
    http_conn_want(c, EPOLLIN);
    c->since = loop_now();
    list_insert(c->origin->idle.next, &c->node);
    drop_stale(c->origin);
}

http_conn_t *http_conn_get(const http_spec_t *spec, http_t *user, const char **why)
{
    http_origin_t *o = origin_of(spec, why);
    http_conn_t   *c;

    if (o == NULL) {
        return NULL;
    }
    drop_stale(o);
    c = list_first(&o->idle, http_conn_t, node);
    if (c == NULL) {
        return conn_new(o, spec->connect_ms, user, why);
    }
    list_remove(&c->node);
    c->user = user;
    return c;
}

http_conn_t *http_conn_again(const http_conn_t *c, uint32_t connect_ms, http_t *user, const char **why)
{
    return conn_new(c->origin, connect_ms, user, why);
}

/* --- curl and the loop --- */

/* What curl keeps with a socket. */
typedef struct {
    watch_t watch;
} http_sock_t;

static void on_curl_ready(watch_t *w, uint32_t events)
{
    int mask = 0;

    if (events & EPOLLIN) {
        mask |= CURL_CSELECT_IN;
    }
    if (events & EPOLLOUT) {
        mask |= CURL_CSELECT_OUT;
    }
    if (events & (EPOLLERR | EPOLLHUP)) {
        mask |= CURL_CSELECT_ERR;
    }
    drive(w->fd, mask);
}

static void on_timer(ltimer_t *t)
{
    (void) t;
    drive(CURL_SOCKET_TIMEOUT, 0);
}

/* Curl says which events of a socket it wants. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    http_sock_t *s = known;
    uint32_t     events = 0;

    (void) easy;
    (void) arg;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            loop_unwatch(&s->watch);
            curl_multi_assign(proc.http->multi, fd, NULL);
            loop_defer(free, s);
        }
        return 0;
    }
    if (s == NULL) {
        s = si_calloc(sizeof(*s));
        s->watch.fd = -1;
        curl_multi_assign(proc.http->multi, fd, s);
    }
    if (what & CURL_POLL_IN) {
        events |= EPOLLIN;
    }
    if (what & CURL_POLL_OUT) {
        events |= EPOLLOUT;
    }
    return loop_watch(&s->watch, fd, events, on_curl_ready) == 0 ? 0 : -1;
}

static int on_timeout(CURLM *multi, long ms, void *arg)
{
    (void) multi;
    (void) arg;
    if (ms < 0) {
        loop_timer_del(&proc.http->timer);
    } else {
        loop_timer(&proc.http->timer, (uint64_t) ms, on_timer);
    }
    return 0;
}

void http_init(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        si_die("http: curl_global_init failed");
    }
    proc.http = si_calloc(sizeof(*proc.http));

    CURLM *m = proc.http->multi = curl_multi_init();
    if (m == NULL) {
        si_die("http: curl_multi_init failed");
    }
    curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, (long) INT_MAX / 8);      /* it closes none by itself */
    curl_multi_setopt(m, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    hash_init(&proc.http->origins);
}

static void idle_close(hash_node_t *n, void *arg)
{
    http_origin_t *o = container_of(n, http_origin_t, node);

    (void) arg;
    o->nconns++;
    while (!list_empty(&o->idle)) {
        http_conn_close(list_first(&o->idle, http_conn_t, node));
    }
    o->nconns--;
    origin_drop(o);
}

void http_exit(void)
{
    if (proc.http == NULL) {
        return;
    }
    hash_each(&proc.http->origins, idle_close, NULL);
    hash_free(&proc.http->origins);
    curl_multi_cleanup(proc.http->multi);               /* calls on_socket for what it closes */
    loop_timer_del(&proc.http->timer);
    free(proc.http);
    proc.http = NULL;
    curl_global_cleanup();
}
