/* Inside of io/http: what http.c (transfers) and http_multi.c (curl and the loop) share. */
#ifndef SI_HTTP_MULTI_H
#define SI_HTTP_MULTI_H

#include <curl/curl.h>

#include "io/http.h"
#include "run/loop.h"

struct http_ctx {
    CURLM    *multi;
    ltimer_t  timer;
};

/* http.c: the transfer is over. Its handle is freed, its coroutine woken. Not from a callback of curl. */
void http_transfer_done(http_t *h, CURLcode code);

#endif
