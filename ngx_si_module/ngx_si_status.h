
/*
 * What si_status and si_metrics share: workers are asked, then the answer is
 * made of all that they said.
 */


#ifndef _NGX_SI_STATUS_H_INCLUDED_
#define _NGX_SI_STATUS_H_INCLUDED_


#include "ngx_si_module.h"


typedef struct ngx_si_status_s  ngx_si_status_t;


typedef struct {
    ngx_str_t            path;      /* what the workers are asked for */
    ngx_str_t            type;      /* of the answer */
    u_char               first;     /* byte of a worker's answer */
    ngx_chain_t       *(*body)(ngx_si_status_t *st);    /* NULL: no memory */
} ngx_si_face_t;


typedef struct {
    ngx_si_call_t        call;
    ngx_si_status_t     *status;
    ngx_si_pool_t       *pool;
    ngx_uint_t           slot;
    ngx_chain_t         *body;
    ngx_chain_t        **last;
    size_t               size;      /* bytes of body */
    const char          *error;     /* NULL: the body is whole */
    unsigned             ok:1;      /* HEAD said 200 */
} ngx_si_query_t;


struct ngx_si_status_s {
    ngx_connection_t     dummy;     /* data of the timer */
    ngx_event_t          timer;
    ngx_http_request_t  *request;
    ngx_si_proc_t       *proc;
    const ngx_si_face_t *face;
    ngx_si_query_t      *queries;   /* one for each slot of each pool */
    ngx_uint_t           n;
    ngx_uint_t           pending;
};


/* ngx_si_query.c; a content handler's work */
ngx_int_t ngx_si_query_start(ngx_http_request_t *r,
    const ngx_si_face_t *face);
/* an empty buffer of the pool, NULL: no memory */
ngx_chain_t *ngx_si_query_text(ngx_pool_t *pool, size_t size);

/* ngx_si_status.c, ngx_si_metrics.c; content handlers */
ngx_int_t ngx_si_status_handler(ngx_http_request_t *r);
ngx_int_t ngx_si_metrics_handler(ngx_http_request_t *r);


#endif /* _NGX_SI_STATUS_H_INCLUDED_ */
