
/*
 * The variables.
 */


#include "ngx_si_module.h"


static ngx_int_t ngx_si_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_si_variable_known(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_si_variable_caller(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_si_variable_first_byte(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_si_variable_conversation(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_si_vars[] = {

    { ngx_string("si_tenant"), NULL, ngx_si_variable_known,
      offsetof(ngx_si_ctx_t, tenant), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_user"), NULL, ngx_si_variable_known,
      offsetof(ngx_si_ctx_t, user), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_key"), NULL, ngx_si_variable_known,
      offsetof(ngx_si_ctx_t, credential), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_turn"), NULL, ngx_si_variable,
      offsetof(ngx_si_ctx_t, turn), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_worker"), NULL, ngx_si_variable,
      offsetof(ngx_si_ctx_t, worker), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_auth"), NULL, ngx_si_variable,
      offsetof(ngx_si_ctx_t, auth), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_first_byte_time"), NULL, ngx_si_variable_first_byte,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_client_addr"), NULL, ngx_si_origin_variable, 0, 0, 0 },

    { ngx_string("si_conversation"), NULL, ngx_si_variable_conversation,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_limit_status"), NULL, ngx_si_limit_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_caller"), NULL, ngx_si_variable_caller,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("si_credential"), NULL, ngx_si_auth_variable,
      0, 0, 0 },

      ngx_http_null_variable
};


static ngx_int_t
ngx_si_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t     *s;
    ngx_si_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    s = (ngx_str_t *) ((u_char *) ctx + data);

    if (s->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = s->data;
    v->len = s->len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* of an API key that was seen before a limit can know, too */

static ngx_int_t
ngx_si_variable_known(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_si_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    if (ctx == NULL || !ctx->looked) {
        ngx_si_auth_look(r);
    }

    return ngx_si_variable(r, v, data);
}


/* 8 bytes of a hash for a token's user: of its tenant, issuer and subject */

static ngx_int_t
ngx_si_variable_caller(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_si_ctx_t  *ctx;

    (void) ngx_si_variable_known(r, v, offsetof(ngx_si_ctx_t, user));

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    if (ctx && ctx->who) {
        v->data = (u_char *) &ctx->who->marks.mark[1];
        v->len = sizeof(ctx->who->marks.mark[1]);
        v->valid = 1;
        v->no_cacheable = 0;
        v->not_found = 0;
        return NGX_OK;
    }

    return v->not_found ? ngx_si_auth_variable(r, v, data) : NGX_OK;
}


static ngx_int_t
ngx_si_variable_first_byte(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char          *p;
    ngx_msec_int_t   ms;
    ngx_si_ctx_t    *ctx;

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    if (ctx == NULL || ctx->first < 0) {
        v->len = 1;
        *p = '-';

    } else {
        ms = ctx->first;
        v->len = ngx_sprintf(p, "%T.%03M", (time_t) ms / 1000, ms % 1000) - p;
    }

    v->data = p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* the {id} of /v1/conversations/{id}[/...] */

static ngx_int_t
ngx_si_variable_conversation(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char            *p, *end;
    static ngx_str_t   prefix = ngx_string("/v1/conversations/");

    v->data = (u_char *) "";
    v->len = 0;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    if (r->uri.len <= prefix.len
        || ngx_strncmp(r->uri.data, prefix.data, prefix.len) != 0)
    {
        return NGX_OK;
    }

    p = r->uri.data + prefix.len;
    end = ngx_strlchr(p, r->uri.data + r->uri.len, '/');

    if (end == NULL) {
        end = r->uri.data + r->uri.len;
    }

    v->data = p;
    v->len = end - p;

    return NGX_OK;
}


ngx_int_t
ngx_si_variables_add(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_si_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}
