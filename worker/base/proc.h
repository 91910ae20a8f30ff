/*
 * The process context: the only mutable static data of the worker. Each
 * module keeps its state behind its own pointer here and sees no other's.
 */
#ifndef SI_PROC_H
#define SI_PROC_H

#include "base/pieces.h"

typedef struct proc {
    int    slot;               /* 0..workers-1; -1 in the master and in tools */
    char   instance[64];       /* "<slot>.<pid>": the worker's name on this machine */
    char   node[64];           /* name of the machine, from the configuration */
    bool   draining;           /* no new work is wanted; running turns finish */

    uint64_t uuid_last;        /* base/uuid: time of the last id, so that ids sort */
    struct random *random;     /* base/digest: bytes of random_bytes() */
    struct json_pool *json_pool;    /* base/json_pool */
    struct buf_pool *buf_pool; /* base/buf */
    pieces_t       arenas;     /* base/arena: freed ones */

    struct logger   *logger;   /* base/logger */
    struct loop     *loop;     /* run/loop */
    struct co_sched *co;       /* run/co */
    struct signals  *signals;  /* run/signals */
    struct http_ctx *http;     /* io/http */
    struct pg_pool  *pg;       /* io/pg */
    struct redis    *redis;    /* io/redis */
    struct redis_cluster *redis_cluster;
    struct aws      *aws;      /* io/aws_creds */
    struct otlp     *otlp;     /* io/otlp; NULL: no traces are exported */
    struct links    *links;    /* link/link */
    struct conf     *conf;     /* conf/conf */
    struct convs    *convs;    /* turn/conv */
    struct issuers  *issuers;  /* api/issuers */
    struct identities *identities;  /* api/identity */
    struct faces    *faces;    /* api/face */
    struct sockets  *sockets;  /* api/socket */
    struct feeds    *feeds;    /* turn/feed */
    struct verdicts *verdicts; /* store/verdict */
    struct revoked  *revoked;  /* store/revoked */
    struct quotas   *quotas;   /* store/quota */
    struct gateway  *gateway;  /* llm/gateway */
    struct ledger   *ledger;   /* llm/ledger */
    struct budgets  *budgets;  /* llm/budget */
    struct allowances *allowances;  /* store/allowance */
} proc_t;

extern proc_t proc;

#endif
