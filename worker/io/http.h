/*
 * HTTP client, streaming, driven by the loop. Used from coroutines. Curl opens connections and carries the bytes of TLS; what
 * is said on them is ours: a transfer of curl's took a third of all the CPU of a model call, and a poll() for each token.
 *
 * HTTP/1.1, connections are kept and used again (1,024 at most, idle ones for 60 s). A POST is sent once at most,
 * another request a second time when a kept connection breaks before a byte of the answer has come. Nothing is compressed,
 * nothing redirected. Proxies: https requests honour https_proxy, all_proxy and no_proxy of the environment, as people expect
 * who sit behind one; plain http never uses a proxy, since it is meant for servers at hand (Ollama, vLLM). Certificates are
 * verified, against SSL_CERT_FILE of the environment if it is set. SIGPIPE must be ignored by the process (signals_init() does).
 */
#ifndef SI_HTTP_H
#define SI_HTTP_H

#include "base/arena.h"

typedef struct http http_t;

typedef struct {
    const char  *method;            /* "POST" */
    const char  *url;               /* http or https and no other scheme; its host is ASCII; may have a user and a password */
    const char **headers;           /* "Name: value", NULL-terminated; may be NULL. Host, User-Agent and Accept are there unless they are here */
    str_t        body;              /* copied */
    uint32_t     connect_ms;        /* 0: 5,000 */
    const char  *unix_socket;       /* path, or NULL */
    size_t       max_buffered;      /* bytes received and not read before the transfer is paused; 0: 256 KiB */
} http_spec_t;

void     http_init(void);           /* sets proc.http; needs the loop */
void     http_exit(void);           /* when all requests are closed */
/* Starts a request. Never NULL: what is wrong with the spec comes from co_http_head(). Strings of the spec are copied. */
http_t  *http_start(const http_spec_t *spec);
/* Waits for the response head. Status code (>= 100), or SI_EUNAVAIL (connect, TLS, reset: http_error()), SI_ETIMEDOUT, SI_ECANCELED. */
int      co_http_head(http_t *h, uint64_t deadline);
/* Value of a response header (any case), or NULL; lives until http_close(). 64 headers, 16 KiB are kept; of two the first. */
const char *http_header(http_t *h, const char *name);
/*
 * Waits for body bytes and hands out all that have come: *out lives until the next call.
 * 1 with bytes, 0 at the clean end, SI_EUNAVAIL when it was cut (http_error()), SI_ETIMEDOUT, SI_ECANCELED.
 */
int      co_http_read(http_t *h, str_t *out, uint64_t deadline);
/* Reads the rest of the body into the arena, at most max bytes: 0, SI_ENOMEM, or as co_http_read(). */
int      co_http_body(http_t *h, arena_t *a, size_t max, str_t *out, uint64_t deadline);
/* "Failed to connect to models.internal port 80: Connection refused" …; may name hosts, so it is for logs. Lives until http_close(). */
const char *http_error(const http_t *h);
/* The same for anybody: "Couldn't connect to server: Connection refused" …; names no host and no address. */
const char *http_reason(const http_t *h);
/* Ends it: a transfer under way is cut and its connection closed at once. */
void     http_close(http_t *h);

#endif
