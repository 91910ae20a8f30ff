/* Curl's multi handle on the loop: it says which sockets and which time it waits for, the loop says when they are there. */
#include "io/http_multi.h"

#include "base/logger.h"
#include "base/proc.h"

#define CONNECTIONS_MAX  1024L          /* in use and idle; above it a finished connection is closed, not kept */

/* What curl keeps with a socket. */
typedef struct {
    watch_t watch;
} http_sock_t;

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
        char    *h = NULL;
        CURLcode code = m->data.result;                 /* m dies with the handle */
        if (m->msg == CURLMSG_DONE && curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &h) == CURLE_OK) {
            http_transfer_done((http_t *) (void *) h, code);
        }
    }
}

static void on_ready(watch_t *w, uint32_t events)
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
    return loop_watch(&s->watch, fd, events, on_ready) == 0 ? 0 : -1;
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
    curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
    curl_multi_setopt(m, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
}

void http_exit(void)
{
    if (proc.http == NULL) {
        return;
    }
    curl_multi_cleanup(proc.http->multi);               /* calls on_socket for what it closes */
    loop_timer_del(&proc.http->timer);
    free(proc.http);
    proc.http = NULL;
    curl_global_cleanup();
}
