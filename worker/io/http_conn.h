/*
 * Inside of io/http: connections, and those that are kept. Curl opens them (names, proxies, TLS) and carries the bytes of TLS;
 * a plain one is taken from it once it stands, and costs a system call for each read and write and nothing more.
 */
#ifndef SI_HTTP_CONN_H
#define SI_HTTP_CONN_H

#include <curl/curl.h>

#include "base/hash.h"
#include "base/list.h"
#include "io/http.h"
#include "run/loop.h"

#define HTTP_READ_BYTES  16384u     /* at once; a record of TLS is no longer */
#define HTTP_REASON_MAX  128

struct http_ctx {
    CURLM    *multi;
    ltimer_t  timer;
    hash_t    origins;
    size_t    nconns;
    char      bytes[HTTP_READ_BYTES];   /* just read */
};

/* Where connections lead; there while any does. */
typedef struct {
    hash_node_t node;
    char       *key;                /* the socket's path, a line end, and the address: what makes connections alike */
    char       *url, *socket;       /* without a path; NULL: no Unix socket */
    char       *lines;              /* "Host: …\r\n" and, when the address has a user, "Authorization: Basic …\r\n" */
    bool        tls;
    list_t      idle;               /* newest first */
    size_t      nconns;
} http_origin_t;

typedef struct {
    list_t         node;            /* in `idle` */
    http_origin_t *origin;
    http_t        *user;            /* NULL: idle */
    CURL          *easy;            /* while it is opened, and all the time with TLS */
    int            fd;              /* -1 until it is open */
    watch_t        watch;
    bool           kept;            /* it has carried an answer before */
    uint64_t       since;           /* loop_now() when it became idle */
    char           error[CURL_ERROR_SIZE];
    char           reason[HTTP_REASON_MAX];     /* the same without names; "": error has none */
} http_conn_t;

/* A kept one, which is open, or a new one, of which http_opened() will tell. NULL with *why: static. */
http_conn_t *http_conn_get(const http_spec_t *spec, http_t *user, const char **why);
/* A new one to the same place. */
http_conn_t *http_conn_again(const http_conn_t *c, uint32_t connect_ms, http_t *user, const char **why);
static inline bool http_conn_open(const http_conn_t *c) { return c->fd >= 0; }
/* Bytes (> 0), 0 at the end, SI_EAGAIN, or SI_ECLOSED with c->error. */
ssize_t      http_conn_read(http_conn_t *c, char *p, size_t n);
/* The same; never 0. */
ssize_t      http_conn_write(http_conn_t *c, const char *p, size_t n);
/* Which of EPOLLIN and EPOLLOUT http_ready() is called for; 0: it is not called. Of an open one. */
void         http_conn_want(http_conn_t *c, uint32_t events);
/* Its user needs it no more: for the next one, or closed at once. */
void         http_conn_keep(http_conn_t *c);
void         http_conn_close(http_conn_t *c);

/* http.c: it is open, or never will be (why; lives as long as the call). */
void http_opened(http_t *h, const char *why);
void http_ready(http_t *h, uint32_t events);

#endif
