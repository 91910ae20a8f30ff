
/*
 * Bytes on their way to clients: blocks of a log, and the output of a request.
 * Included by ngx_si_module.h.
 */


#ifndef _NGX_SI_BLOCK_H_INCLUDED_
#define _NGX_SI_BLOCK_H_INCLUDED_


/* bytes of a log as they go over HTTP/1.1: chunk head, payload, CRLF */

struct ngx_si_block_s {
    ngx_si_block_t           *next;
    uint32_t                  cursors;  /* positions in it */
    uint32_t                  pins;     /* bufs into it, 1 for its mirror */
    uint32_t                  room;     /* most payload bytes */
    uint32_t                  size;     /* payload bytes */
    uint32_t                  head;     /* where the chunk head starts */
    uint32_t                  mid;      /* begins within an event */
    u_char                    data[1];
};

/* of memory, for `room` bytes of payload */
#define ngx_si_block_bytes(room)                                             \
    (offsetof(ngx_si_block_t, data) + NGX_SI_CHUNK_HEAD + (room) + 2)
#define ngx_si_block_payload(b)  ((b)->data + NGX_SI_CHUNK_HEAD)
#define ngx_si_block_wire(b)     ((b)->data + (b)->head)
#define ngx_si_block_length(b)                                               \
    (NGX_SI_CHUNK_HEAD - (b)->head + (b)->size + 2)


/* ngx_si_block.c */
ngx_si_block_t *ngx_si_block_new(size_t room);
void ngx_si_block_seal(ngx_si_block_t *b);
void ngx_si_block_unpin(ngx_si_block_t *b);
ngx_int_t ngx_si_out_add(ngx_si_ctx_t *ctx, ngx_si_block_t *b, u_char *pos,
    size_t len);
/* credit: the worker is told when the client has them */
ngx_int_t ngx_si_out_copy(ngx_si_ctx_t *ctx, const u_char *p, size_t len,
    ngx_uint_t credit);
/*
 * Bytes past the chunked filter, when nothing else is pending: of a block,
 * which is pinned, or, with b of NULL, static ones.
 */
ngx_int_t ngx_si_out_raw(ngx_si_ctx_t *ctx, ngx_si_block_t *b, u_char *p,
    size_t len);
/* the header alone */
ngx_int_t ngx_si_out_flush(ngx_si_ctx_t *ctx);
/* NGX_OK: the client has all, NGX_AGAIN: not yet, NGX_ERROR */
ngx_int_t ngx_si_out_send(ngx_si_ctx_t *ctx, ngx_uint_t last);
ngx_uint_t ngx_si_out_pending(ngx_si_ctx_t *ctx);
void ngx_si_out_cleanup(void *data);


#endif /* _NGX_SI_BLOCK_H_INCLUDED_ */
