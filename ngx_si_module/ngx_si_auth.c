
/*
 * ACCESS: who is calling.  A token is verified here; an API key that no worker
 * has spoken of yet goes to the worker, as do a ticket and a request without a
 * credential, whose 401 is the worker's.
 */


#include "ngx_si_module.h"


static ngx_uint_t ngx_si_auth_credential(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_uint_t ngx_si_auth_subprotocol(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_uint_t ngx_si_auth_is_jwt(ngx_str_t *token);
static ngx_int_t ngx_si_auth_key(ngx_http_request_t *r, ngx_si_pool_t *pool,
    ngx_str_t *key);
static ngx_int_t ngx_si_auth_accept(ngx_http_request_t *r,
    ngx_si_identity_t *id, ngx_uint_t cached);
static ngx_int_t ngx_si_auth_refuse(ngx_http_request_t *r,
    si_jwt_reason_t reason);
static ngx_int_t ngx_si_auth_answer(ngx_http_request_t *r, ngx_uint_t status,
    const char *code, const char *detail, ngx_str_t *challenge);


static ngx_str_t  ngx_si_auth_challenge = ngx_string("WWW-Authenticate");


ngx_int_t
ngx_si_auth_handler(ngx_http_request_t *r)
{
    ngx_str_t            token, challenge = ngx_string("Bearer realm=\"si\"");
    ngx_int_t            rc;
    ngx_uint_t           cached;
    ngx_si_ctx_t        *ctx;
    si_jwt_reason_t      reason;
    ngx_si_loc_conf_t   *slcf;
    ngx_si_identity_t    id;
    ngx_si_main_conf_t  *smcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    if (slcf->pool == NULL || r->method == NGX_HTTP_OPTIONS) {
        return NGX_DECLINED;
    }

    if (ngx_si_ticket_came(r)) {
        /* the worker judges it, and looks at nothing else then */
        return NGX_DECLINED;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);

    if (smcf->proc == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);

    if (ctx && ctx->who) {
        /* a limit has asked before */
        ngx_si_count(smcf->proc, NGX_SI_AUTH_KNOWN, 1);
        return NGX_OK;
    }

    rc = ngx_si_auth_credential(r, &token) ? NGX_OK : NGX_DECLINED;

    if (rc == NGX_OK && (slcf->auth & NGX_SI_AUTH_KEY)
        && !ngx_si_auth_is_jwt(&token))
    {
        return ngx_si_auth_key(r, slcf->pool, &token);
    }

    if (!(slcf->auth & NGX_SI_AUTH_JWT)) {
        return NGX_DECLINED;
    }

    if (smcf->proc->auth == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc != NGX_OK) {
        rc = ngx_si_cookie(r, &token);
    }

    if (rc == NGX_ABORT) {
        return ngx_si_auth_answer(r, NGX_HTTP_FORBIDDEN, "foreign_origin",
                                  "the cookie came from another page", NULL);
    }

    if (rc != NGX_OK || !ngx_si_auth_is_jwt(&token)) {

        if (slcf->auth & NGX_SI_AUTH_KEY) {
            return NGX_DECLINED;
        }

        return ngx_si_auth_answer(r, NGX_HTTP_UNAUTHORIZED, "unauthorized",
                                  "send Authorization: Bearer <token>",
                                  &challenge);
    }

    reason = ngx_si_auth_verify(smcf->proc->auth, slcf->jwt, &token, &id,
                                &cached);

    if (reason == SI_JWT_KID && slcf->jwt->source) {
        rc = ngx_si_keys_wait(r, slcf->jwt->source);

        if (rc == NGX_BUSY) {
            ngx_si_count(smcf->proc, NGX_SI_KEYLESS, 1);
            return ngx_si_auth_answer(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                      "keys_unavailable", "the issuer's keys "
                                      "are not known now; try again soon",
                                      NULL);
        }

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (reason != SI_JWT_OK) {
        ngx_si_count(smcf->proc, NGX_SI_AUTH + reason, 1);
        return ngx_si_auth_refuse(r, reason);
    }

    ngx_si_count(smcf->proc, cached ? NGX_SI_AUTH_KNOWN : NGX_SI_AUTH, 1);

    return ngx_si_auth_accept(r, &id, cached);
}


ngx_int_t
ngx_si_auth_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t  value;

    if (!ngx_si_auth_credential(r, &value)
        && ngx_si_cookie(r, &value) != NGX_OK)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = value.data;
    v->len = value.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


void
ngx_si_auth_look(ngx_http_request_t *r)
{
    ngx_str_t            value;
    ngx_uint_t           header;
    ngx_si_ctx_t        *ctx;
    ngx_si_identity_t    id;
    ngx_si_loc_conf_t   *slcf;
    ngx_si_main_conf_t  *smcf;

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);
    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    if (slcf->pool == NULL || smcf->proc == NULL || ngx_si_ticket_came(r)) {
        return;
    }

    header = ngx_si_auth_credential(r, &value);

    if (header && (slcf->auth & NGX_SI_AUTH_KEY)
        && !ngx_si_auth_is_jwt(&value))
    {
        (void) ngx_si_verdict_find(r, slcf->pool, &value);
        return;
    }

    if (!(slcf->auth & NGX_SI_AUTH_JWT) || smcf->proc->auth == NULL
        || (!header && ngx_si_cookie(r, &value) != NGX_OK)
        || !ngx_si_auth_known(smcf->proc->auth, slcf->jwt, &value, &id)
        || ngx_si_auth_accept(r, &id, 1) != NGX_OK)
    {
        return;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_si_module);
    ctx->looked = 1;
}


/*
 * RFC 6750 2.1; the scheme's letters may be of either case.  Anthropic's
 * clients send X-Api-Key instead.
 */

static ngx_uint_t
ngx_si_auth_credential(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_table_elt_t  *h;
    si_field_text_t   token;

    h = r->headers_in.authorization;

    if (h == NULL || h->value.len == 0) {
        h = ngx_si_header_in(r, "x-api-key", sizeof("x-api-key") - 1, NULL);

        if (h == NULL || h->value.len == 0) {
            return ngx_si_auth_subprotocol(r, value);
        }

        *value = h->value;
        return 1;
    }

    if (!si_field_bearer(ngx_si_text(&h->value), &token)) {
        return 0;
    }

    ngx_si_found(value, token);

    return 1;
}


/*
 * A browser's WebSocket can send no Authorization header, but names of
 * subprotocols: "si, si.bearer.<token>".  The worker looks there of any
 * request, so a limit must as well.
 */

static ngx_uint_t
ngx_si_auth_subprotocol(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_table_elt_t  *h;
    si_field_text_t   token;

    h = NULL;

    do {
        h = ngx_si_header_in(r, "sec-websocket-protocol",
                             sizeof("sec-websocket-protocol") - 1, h);
        if (h == NULL) {
            return 0;
        }

    } while (!si_field_subprotocol(ngx_si_text(&h->value), &token));

    ngx_si_found(value, token);

    return 1;
}


/* a JWS has two dots, an API key none */

static ngx_uint_t
ngx_si_auth_is_jwt(ngx_str_t *token)
{
    u_char      *p = token->data, *end = p + token->len;
    ngx_uint_t   dots;

    for (dots = 0; (p = memchr(p, '.', end - p)) != NULL; p++) {
        dots++;
    }

    return dots == 2;
}


static ngx_int_t
ngx_si_auth_key(ngx_http_request_t *r, ngx_si_pool_t *pool, ngx_str_t *key)
{
    ngx_str_t      challenge = ngx_string("Bearer realm=\"si\"");
    ngx_int_t      rc;
    ngx_si_ctx_t  *ctx;

    rc = ngx_si_verdict_find(r, pool, key);

    if (rc != NGX_ABORT) {
        return rc == NGX_ERROR ? NGX_HTTP_INTERNAL_SERVER_ERROR
                               : NGX_DECLINED;
    }

    ctx = ngx_si_ctx_get(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&ctx->auth, "key");

    /* in the worker's words */
    return ngx_si_auth_answer(r, NGX_HTTP_UNAUTHORIZED, "unauthorized",
                              "the key is unknown, expired or revoked",
                              &challenge);
}


/* what is known outlives the cache's entry */

static ngx_int_t
ngx_si_auth_accept(ngx_http_request_t *r, ngx_si_identity_t *id,
    ngx_uint_t cached)
{
    u_char             *p;
    ngx_si_ctx_t       *ctx;
    ngx_si_identity_t  *who;

    ctx = ngx_si_ctx_get(r);
    who = ngx_palloc(r->pool, sizeof(ngx_si_identity_t) + id->subject.len
                              + id->tenant.len + id->scopes.len);

    if (ctx == NULL || who == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    *who = *id;

    p = (u_char *) (who + 1);
    who->subject.data = p;
    p = ngx_cpymem(p, id->subject.data, id->subject.len);
    who->tenant.data = p;
    p = ngx_cpymem(p, id->tenant.data, id->tenant.len);
    who->scopes.data = p;
    ngx_memcpy(p, id->scopes.data, id->scopes.len);

    ctx->who = who;
    ctx->until = who->expires;

    if (cached) {
        ngx_str_set(&ctx->auth, "cached");

    } else {
        ngx_str_set(&ctx->auth, "ok");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_si_auth_refuse(ngx_http_request_t *r, si_jwt_reason_t reason)
{
    u_char        *p;
    size_t         size;
    ngx_str_t      challenge;
    const char    *detail;
    ngx_si_ctx_t  *ctx;

    detail = si_jwt_text(reason);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "si token refused: %s", si_jwt_reason(reason));

    size = sizeof("Bearer realm=\"si\", error=\"invalid_token\", "
                  "error_description=\"\"") + ngx_strlen(detail);

    ctx = ngx_si_ctx_get(r);
    p = ngx_pnalloc(r->pool, size);

    if (ctx == NULL || p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->auth.data = (u_char *) si_jwt_reason(reason);
    ctx->auth.len = ngx_strlen(ctx->auth.data);

    challenge.data = p;
    challenge.len = ngx_snprintf(p, size, "Bearer realm=\"si\", "
                                 "error=\"invalid_token\", "
                                 "error_description=\"%s\"", detail)
                    - p;

    return ngx_si_auth_answer(r, NGX_HTTP_UNAUTHORIZED, "invalid_token",
                              detail, &challenge);
}


static ngx_int_t
ngx_si_auth_answer(ngx_http_request_t *r, ngx_uint_t status,
    const char *code, const char *detail, ngx_str_t *challenge)
{
    ngx_int_t                  rc;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->satisfy == NGX_HTTP_SATISFY_ANY
        && status != NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        /* another check of this phase may let it in */
        return status;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc == NGX_OK && challenge) {
        rc = ngx_si_head_add(r, &ngx_si_auth_challenge, challenge);
    }

    if (rc == NGX_OK) {
        rc = ngx_si_problem_send(r, status,
                                 status == NGX_HTTP_UNAUTHORIZED ? "Unauthorized"
                                 : status == NGX_HTTP_FORBIDDEN ? "Forbidden"
                                 : "Service Unavailable",
                                 code, detail);
    }

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}
