
/*
 * Errors of the edge itself, as application/problem+json.
 */


#include "ngx_si_module.h"


static ngx_str_t  ngx_si_problem_retry_name = ngx_string("Retry-After");
static ngx_str_t  ngx_si_problem_retry_value = ngx_string("1");


void
ngx_si_ctx_problem(ngx_si_ctx_t *ctx, ngx_uint_t status, const char *title,
    const char *code, const char *detail)
{
    ngx_int_t  rc;

    rc = ngx_si_problem_send(ctx->request, status, title, code, detail);

    ngx_si_ctx_finish(ctx, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


ngx_int_t
ngx_si_problem_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *title, const char *code, const char *detail)
{
    size_t        size;
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    size = ngx_strlen(title) + ngx_strlen(code) + ngx_strlen(detail) + 128;

    b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last = ngx_slprintf(b->last, b->end,
                           "{\"type\":\"about:blank\",\"title\":\"%s\","
                           "\"status\":%ui,\"code\":\"%s\","
                           "\"detail\":\"%s\"}" CRLF,
                           title, status, code, detail);

    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.status = status;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "application/problem+json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (status == NGX_HTTP_SERVICE_UNAVAILABLE
        && ngx_si_head_add(r, &ngx_si_problem_retry_name,
                             &ngx_si_problem_retry_value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}
