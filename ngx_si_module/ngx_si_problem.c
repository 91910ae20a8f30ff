
/*
 * Errors of the edge itself: application/problem+json (RFC 9457), or what
 * the clients of a dialect know how to read.  The workers' are the same, see
 * problem.c, face_openai_put.c and face_anthropic_put.c of worker/api.
 */


#include "ngx_si_module.h"


typedef enum {
    NGX_SI_PROBLEM_JSON = 0,
    NGX_SI_PROBLEM_OPENAI,
    NGX_SI_PROBLEM_ANTHROPIC,
    NGX_SI_PROBLEM_WORDS
} ngx_si_problem_words_e;


static ngx_si_problem_words_e ngx_si_problem_words(ngx_str_t *word);
static ngx_si_problem_words_e ngx_si_problem_asked(ngx_http_request_t *r);
static u_char *ngx_si_problem_text(u_char *p, u_char *end,
    ngx_si_problem_words_e words, ngx_uint_t status, const char *title,
    const char *code, const char *detail, ngx_str_t *request);
static ngx_int_t ngx_si_problem_head(ngx_http_request_t *r,
    ngx_si_problem_words_e words, ngx_uint_t status, ngx_str_t *request);


static ngx_str_t  ngx_si_problem_names[NGX_SI_PROBLEM_WORDS] = {
    ngx_string("problem"),
    ngx_string("openai"),
    ngx_string("anthropic")
};


/* the types that the dialects have; the last one is for other statuses */

static struct {
    ngx_uint_t   status;
    const char  *openai;
    const char  *anthropic;
} ngx_si_problem_types[] = {
    { 401, "authentication_error", "authentication_error" },
    { 403, "permission_error", "permission_error" },
    { 404, "invalid_request_error", "not_found_error" },
    { 413, "invalid_request_error", "request_too_large" },
    { 429, "rate_limit_error", "rate_limit_error" },
    { 500, "server_error", "api_error" },
    { 502, "server_error", "api_error" },
    { 503, "server_error", "api_error" },
    { 504, "server_error", "timeout_error" },
    { 0, "invalid_request_error", "invalid_request_error" }
};


/* what nginx refuses; the last one is for other statuses */

static struct {
    ngx_uint_t   status;
    const char  *title;
    const char  *code;
    const char  *detail;
} ngx_si_problem_pages[] = {
    { 400, "Bad Request", "bad_request",
      "nginx could not read the request" },
    { 403, "Forbidden", "forbidden",
      "this is not open to you" },
    { 404, "Not Found", "not_found",
      "there is no such page" },
    { 405, "Method Not Allowed", "method_not_allowed",
      "see the header Allow" },
    { 408, "Request Timeout", "request_timeout",
      "the request took too long to arrive" },
    { 413, "Content Too Large", "body_too_large",
      "the request body is larger than this server accepts" },
    { 414, "URI Too Long", "uri_too_long",
      "the address is longer than this server accepts" },
    { 429, "Too Many Requests", "too_many_connections",
      "there are too many requests from this address at once" },
    { 431, "Request Header Fields Too Large", "headers_too_large",
      "the request headers are longer than this server accepts" },
    { 502, "Bad Gateway", "worker_failed",
      "the worker went away before it answered" },
    { 503, "Service Unavailable", "unavailable",
      "no worker can take the request now" },
    { 504, "Gateway Timeout", "timeout",
      "the worker did not answer in time" },
    { 0, "Internal Server Error", "internal",
      "something went wrong here; it is in the log" }
};


static ngx_str_t  ngx_si_problem_allow = ngx_string("Allow");
static ngx_str_t  ngx_si_problem_methods =
    ngx_string("GET, HEAD, POST, OPTIONS");
static ngx_str_t  ngx_si_problem_retry = ngx_string("Retry-After");
static ngx_str_t  ngx_si_problem_second = ngx_string("1");
static ngx_str_t  ngx_si_problem_cache = ngx_string("Cache-Control");
static ngx_str_t  ngx_si_problem_no_store = ngx_string("no-store");
static ngx_str_t  ngx_si_problem_ids[] = {
    ngx_string("X-Request-Id"),         /* OpenAI's name for it */
    ngx_string("Request-Id")            /* Anthropic's */
};


/* si_errors WORD; with variables it may be another one for each request */

char *
ngx_si_problem_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char               *rv;
    ngx_si_loc_conf_t  *slcf = conf;

    rv = ngx_http_set_complex_value_slot(cf, cmd, conf);

    if (rv == NGX_CONF_OK && slcf->errors->lengths == NULL
        && ngx_si_problem_words(&slcf->errors->value) == NGX_SI_PROBLEM_WORDS)
    {
        return "expects \"problem\", \"openai\" or \"anthropic\"";
    }

    return rv;
}


void
ngx_si_ctx_problem(ngx_si_ctx_t *ctx, ngx_uint_t status, const char *title,
    const char *code, const char *detail)
{
    ngx_int_t  rc;

    rc = ngx_si_problem_send(ctx->request, status, title, code, detail);

    ngx_si_ctx_finish(ctx, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


ngx_int_t
ngx_si_problem_handler(ngx_http_request_t *r)
{
    ngx_int_t   rc;
    ngx_uint_t  i, status = r->err_status;

    if (!r->internal || status < NGX_HTTP_BAD_REQUEST) {
        return NGX_HTTP_NOT_FOUND;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (status == NGX_HTTP_NOT_ALLOWED) {
        rc = ngx_si_head_add(r, &ngx_si_problem_allow,
                             &ngx_si_problem_methods);

    } else if (status == NGX_HTTP_TOO_MANY_REQUESTS) {
        rc = ngx_si_head_add(r, &ngx_si_problem_retry,
                             &ngx_si_problem_second);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; ngx_si_problem_pages[i].status; i++) {
        if (ngx_si_problem_pages[i].status == status) {
            break;
        }
    }

    return ngx_si_problem_send(r, status, ngx_si_problem_pages[i].title,
                               ngx_si_problem_pages[i].code,
                               ngx_si_problem_pages[i].detail);
}


ngx_int_t
ngx_si_problem_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *title, const char *code, const char *detail)
{
    size_t                      size;
    ngx_int_t                   rc;
    ngx_str_t                   request;
    ngx_buf_t                  *b;
    ngx_chain_t                 out;
    ngx_si_main_conf_t         *smcf;
    ngx_si_problem_words_e      words;
    ngx_http_variable_value_t  *id;

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);
    words = ngx_si_problem_asked(r);

    id = ngx_http_get_indexed_variable(r, smcf->request_id);
    if (id == NULL || id->not_found) {
        return NGX_ERROR;
    }

    request.len = id->len;
    request.data = id->data;

    size = ngx_strlen(title) + ngx_strlen(code) + ngx_strlen(detail)
           + request.len + 192;

    b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last = ngx_si_problem_text(b->pos, b->end, words, status, title, code,
                                  detail, &request);
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.content_length_n = b->last - b->pos;

    if (ngx_si_problem_head(r, words, status, &request) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


/* NGX_SI_PROBLEM_WORDS: none of them */

static ngx_si_problem_words_e
ngx_si_problem_words(ngx_str_t *word)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_SI_PROBLEM_WORDS; i++) {
        if (word->len == ngx_si_problem_names[i].len
            && ngx_strncmp(word->data, ngx_si_problem_names[i].data,
                           word->len) == 0)
        {
            break;
        }
    }

    return i;
}


static ngx_si_problem_words_e
ngx_si_problem_asked(ngx_http_request_t *r)
{
    ngx_str_t                word;
    ngx_si_loc_conf_t       *slcf;
    ngx_si_problem_words_e   words;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    if (slcf->errors == NULL
        || ngx_http_complex_value(r, slcf->errors, &word) != NGX_OK)
    {
        return NGX_SI_PROBLEM_JSON;
    }

    words = ngx_si_problem_words(&word);

    return words == NGX_SI_PROBLEM_WORDS ? NGX_SI_PROBLEM_JSON : words;
}


static u_char *
ngx_si_problem_text(u_char *p, u_char *end, ngx_si_problem_words_e words,
    ngx_uint_t status, const char *title, const char *code,
    const char *detail, ngx_str_t *request)
{
    ngx_uint_t  i;

    for (i = 0; ngx_si_problem_types[i].status; i++) {
        if (ngx_si_problem_types[i].status == status) {
            break;
        }
    }

    if (words == NGX_SI_PROBLEM_OPENAI) {
        return ngx_slprintf(p, end, "{\"error\":{\"message\":\"%s\","
                            "\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}",
                            detail, ngx_si_problem_types[i].openai, code);
    }

    if (words == NGX_SI_PROBLEM_ANTHROPIC) {
        return ngx_slprintf(p, end, "{\"type\":\"error\",\"error\":{"
                            "\"type\":\"%s\",\"message\":\"%s\",\"details\":{"
                            "\"error_code\":\"%s\"}},\"request_id\":\"%V\"}",
                            ngx_si_problem_types[i].anthropic, detail, code,
                            request);
    }

    return ngx_slprintf(p, end, "{\"type\":\"about:blank\",\"title\":\"%s\","
                        "\"status\":%ui,\"code\":\"%s\",\"detail\":\"%s\","
                        "\"request_id\":\"%V\"}" CRLF,
                        title, status, code, detail, request);
}


static ngx_int_t
ngx_si_problem_head(ngx_http_request_t *r, ngx_si_problem_words_e words,
    ngx_uint_t status, ngx_str_t *request)
{
    ngx_int_t   rc;
    ngx_uint_t  i, ids;

    r->headers_out.status = status;

    if (words == NGX_SI_PROBLEM_JSON) {
        ngx_str_set(&r->headers_out.content_type, "application/problem+json");
        ids = 0;

    } else {
        ngx_str_set(&r->headers_out.content_type, "application/json");
        ids = sizeof(ngx_si_problem_ids) / sizeof(ngx_si_problem_ids[0]);
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_si_head_add(r, &ngx_si_problem_cache, &ngx_si_problem_no_store);

    if (rc == NGX_OK && status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        rc = ngx_si_head_add(r, &ngx_si_problem_retry,
                             &ngx_si_problem_second);
    }

    for (i = 0; rc == NGX_OK && i < ids; i++) {
        rc = ngx_si_head_add(r, &ngx_si_problem_ids[i], request);
    }

    return rc;
}
