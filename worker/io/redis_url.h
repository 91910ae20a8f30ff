/* Addresses of Redis: one server, several of which one is the master, a cluster, or sentinels that know the master. */
#ifndef SI_REDIS_URL_H
#define SI_REDIS_URL_H

#include "base/base.h"

#define REDIS_NODES_MAX  16

typedef enum { REDIS_SERVERS, REDIS_CLUSTER, REDIS_SENTINEL } redis_kind_t;

typedef struct {
    char host[256];
    int  port;
} redis_node_t;

/* 5 KiB: too large for a stack. */
typedef struct {
    redis_kind_t  kind;
    size_t        n;                        /* of nodes; 0 with a Unix socket */
    redis_node_t  nodes[REDIS_NODES_MAX];   /* the sentinels, if the kind says so */
    char          path[108];                /* of the Unix socket, or "" */
    char          master[128];              /* by which name the sentinels know it, or "" */
    char          user[128];                /* "" when not given */
    char          password[256];            /* "" when not given */
    int           db;
} redis_addr_t;

/*
 *   redis://[[user]:password@]host[:port][,host[:port]…][/db]
 *   redis+cluster://[[user]:password@]host[:port][,host[:port]…]
 *   redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/master[/db]
 *   unix://[[user]:password@]/path[?db=n]
 *
 * Port 6379 (of a sentinel 26379) and db 0 when missing; [::1] for IPv6; user, password and the master's name are
 * percent-decoded. 0 or SI_EINVAL (logged without the URL).
 */
int redis_url_parse(const char *url, redis_addr_t *out);

#endif
