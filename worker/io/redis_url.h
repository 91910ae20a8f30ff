/* Address of a Redis server. */
#ifndef SI_REDIS_URL_H
#define SI_REDIS_URL_H

#include "base/base.h"

typedef struct {
    char host[256];         /* "" with a Unix socket */
    int  port;
    char path[108];         /* of the Unix socket, or "" */
    char user[128];         /* "" when not given */
    char password[256];     /* "" when not given */
    int  db;
} redis_addr_t;

/*
 * redis://[[user]:password@]host[:port][/db] or unix://[[user]:password@]/path[?db=n]; port 6379 and
 * db 0 when missing; [::1] for IPv6; user and password are percent-decoded. 0 or SI_EINVAL (logged without the URL).
 */
int redis_url_parse(const char *url, redis_addr_t *out);

#endif
