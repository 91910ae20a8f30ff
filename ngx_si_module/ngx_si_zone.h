
/*
 * The counters that all nginx processes share.  To add one: here, and a line
 * in ngx_si_metrics.c and in README.md.
 */


#ifndef _NGX_SI_ZONE_H_INCLUDED_
#define _NGX_SI_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "si_jwt.h"


struct ngx_si_proc_s;


/* gauges first, then totals, which outlive their process */

typedef enum {
    NGX_SI_READERS = 0,     /* requests that read a log */
    NGX_SI_LOGS,            /* mirrors */
    NGX_SI_CALLS,           /* requests in this module, readers too */
    NGX_SI_LINKS,           /* up, or going and still used */
    NGX_SI_GAUGES,

    NGX_SI_BYTES = NGX_SI_GAUGES,   /* answer bytes handed to clients */
    NGX_SI_SLOW,                    /* readers closed at si_stream_buffer */
    NGX_SI_STALL,                   /* at si_stream_stall */
    NGX_SI_DRAIN,                   /* by a graceful exit */
    NGX_SI_LOST,                    /* with their worker */
    NGX_SI_EXPIRED,                 /* with their credential, sockets too */
    NGX_SI_CALLED,                  /* all CALLS ever */
    NGX_SI_READ,                    /* all READERS ever */
    NGX_SI_RESUMED,                 /* mirrors that found their log again */
    NGX_SI_LINKED,                  /* all LINKS ever */
    NGX_SI_UNPROVEN,                /* requests past the CDN */
    NGX_SI_KEYS,                    /* new key sets of issuers */
    NGX_SI_KEYS_BAD,                /* refused ones */
    NGX_SI_KEY_KNOWN,               /* API keys with a verdict in the zone */
    NGX_SI_KEY_REFUSED,             /* likewise: nobody's */
    NGX_SI_KEY_UNKNOWN,             /* a worker has to look */
    NGX_SI_KEYLESS,                 /* tokens that no known key verifies */
    NGX_SI_AUTH,                    /* tokens verified, then refused by reason */
    NGX_SI_AUTH_KNOWN = NGX_SI_AUTH + SI_JWT_REASON_COUNT,  /* remembered */
    NGX_SI_COUNTERS
} ngx_si_counter_e;


typedef struct {
    ngx_atomic_t  pid;      /* 0: free */
    ngx_atomic_t  value[NGX_SI_COUNTERS];
} ngx_si_row_t;


#define ngx_si_count(proc, what, n)  ((proc)->row->value[what] += (n))


void ngx_si_zone_claim(struct ngx_si_proc_s *proc);
void ngx_si_zone_release(struct ngx_si_proc_s *proc);
/* sums of all living processes, totals of dead ones too */
void ngx_si_zone_sum(struct ngx_si_proc_s *proc, ngx_atomic_uint_t *sum);


#endif /* _NGX_SI_ZONE_H_INCLUDED_ */
