
/*
 * Directives of tokens: keys are loaded here, at the start and at a reload.
 */


#include "ngx_si_module.h"


static ngx_si_auth_conf_t *ngx_si_auth_conf_get(ngx_conf_t *cf, void *conf);
static char *ngx_si_auth_conf_load(ngx_conf_t *cf, ngx_str_t *name,
    ngx_uint_t secrets, si_jwks_t **set);
static u_char *ngx_si_auth_conf_read(ngx_conf_t *cf, ngx_str_t *path,
    size_t *len);
static void ngx_si_auth_conf_free(void *data);
static char *ngx_si_auth_conf_source(ngx_conf_t *cf,
    ngx_si_auth_conf_t **conf, ngx_si_pool_t *pool);
static ngx_uint_t ngx_si_auth_conf_arg(ngx_str_t *arg, const char *name,
    ngx_str_t *value);
static char *ngx_si_auth_conf_cognito(ngx_conf_t *cf,
    ngx_si_auth_conf_t *acf);
static char *ngx_si_auth_conf_name(si_jwt_name_t *names, ngx_uint_t max,
    ngx_str_t *value);


ngx_conf_bitmask_t  ngx_si_auth_kinds[] = {
    { ngx_string("key"), NGX_SI_AUTH_KEY },
    { ngx_string("jwt"), NGX_SI_AUTH_JWT },
    { ngx_null_string, 0 }
};


static ngx_si_auth_conf_t *
ngx_si_auth_conf_get(ngx_conf_t *cf, void *conf)
{
    ngx_si_loc_conf_t  *slcf = conf;

    if (slcf->jwt == NULL) {
        slcf->jwt = ngx_pcalloc(cf->pool, sizeof(ngx_si_auth_conf_t));

        if (slcf->jwt) {
            slcf->jwt->policy.leeway = 30;
            ngx_str_set(&slcf->jwt->user_claim, "sub");
        }
    }

    return slcf->jwt;
}


/* NAME=VALUE with a value */

static ngx_uint_t
ngx_si_auth_conf_arg(ngx_str_t *arg, const char *name, ngx_str_t *value)
{
    size_t  len;

    len = ngx_strlen(name);

    if (arg->len <= len + 1 || ngx_strncmp(arg->data, name, len) != 0
        || arg->data[len] != '=')
    {
        return 0;
    }

    value->data = arg->data + len + 1;
    value->len = arg->len - len - 1;

    return 1;
}


/* si_auth_jwt_keys file=PATH | secret=PATH | issuer=NAME ...; */

char *
ngx_si_auth_conf_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                *rv;
    ngx_str_t           *value, path;
    ngx_uint_t           i, secrets;
    ngx_si_auth_conf_t  *acf;

    acf = ngx_si_auth_conf_get(cf, conf);
    if (acf == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        secrets = ngx_si_auth_conf_arg(&value[i], "secret", &path);

        if (ngx_si_auth_conf_arg(&value[i], "issuer", &path)) {
            if (acf->issuer.len || path.len > SI_KEYS_NAME) {
                return "has two issuers, or one with too long a name";
            }

            acf->issuer = path;
            continue;
        }

        if (!secrets && !ngx_si_auth_conf_arg(&value[i], "file", &path)) {
            return "expects \"file=PATH\", \"secret=PATH\" or "
                   "\"issuer=NAME\"";
        }

        rv = ngx_si_auth_conf_load(cf, &path, secrets,
                                   secrets ? &acf->secrets : &acf->keys);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_si_auth_conf_load(ngx_conf_t *cf, ngx_str_t *path, ngx_uint_t secrets,
    si_jwks_t **set)
{
    size_t               len;
    u_char              *text;
    const char          *why;
    ngx_pool_cleanup_t  *cln;

    if (*set) {
        return "is duplicate";
    }

    if (ngx_conf_full_name(cf->cycle, path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    text = ngx_si_auth_conf_read(cf, path, &len);
    cln = ngx_pool_cleanup_add(cf->pool, sizeof(si_jwks_t));

    if (text == NULL || cln == NULL) {
        return NGX_CONF_ERROR;
    }

    *set = cln->data;
    why = si_jwks_read(*set, (char *) text, len, secrets);
    cln->handler = ngx_si_auth_conf_free;

    ngx_explicit_memzero(text, len);

    if ((*set)->skipped) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "%ui keys in \"%V\" are not used; of the last: %s",
                           (ngx_uint_t) (*set)->skipped, path, (*set)->why);
    }

    if (why) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the keys in \"%V\" cannot be used: %s",
                           path, why);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void
ngx_si_auth_conf_free(void *data)
{
    si_jwks_free(data);
}


static u_char *
ngx_si_auth_conf_read(ngx_conf_t *cf, ngx_str_t *path, size_t *len)
{
    u_char     *text;
    ssize_t     n;
    ngx_fd_t    fd;

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", path);
        return NULL;
    }

    text = ngx_palloc(cf->temp_pool, NGX_SI_AUTH_KEYS + 1);
    n = text ? ngx_read_fd(fd, text, NGX_SI_AUTH_KEYS + 1) : -1;

    if (n < 0 || n > NGX_SI_AUTH_KEYS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, n < 0 ? ngx_errno : 0,
                           "\"%V\" cannot be read, or is too long", path);
        text = NULL;
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", path);
    }

    *len = n > 0 ? (size_t) n : 0;

    return text;
}


static char *
ngx_si_auth_conf_name(si_jwt_name_t *names, ngx_uint_t max, ngx_str_t *value)
{
    ngx_uint_t  i;

    for (i = 0; i < max; i++) {
        if (names[i].n == 0) {
            names[i].p = (char *) value->data;
            names[i].n = value->len;
            return NGX_CONF_OK;
        }
    }

    return "has a parameter too often";
}


/* si_auth_jwt issuer=URL audience=NAME ... client=ID ... token_use=USE
   type=TYPE leeway=TIME tenant=NAME; */

char *
ngx_si_auth_conf_jwt(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                *rv;
    ngx_int_t            leeway;
    ngx_str_t           *value, v;
    ngx_uint_t           i;
    si_jwt_policy_t     *p;
    ngx_si_auth_conf_t  *acf;

    acf = ngx_si_auth_conf_get(cf, conf);
    if (acf == NULL) {
        return NGX_CONF_ERROR;
    }

    p = &acf->policy;
    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        rv = NGX_CONF_OK;

        if (ngx_si_auth_conf_arg(&value[i], "issuer", &v)) {
            rv = ngx_si_auth_conf_name(&p->issuer, 1, &v);

        } else if (ngx_si_auth_conf_arg(&value[i], "audience", &v)) {
            rv = ngx_si_auth_conf_name(p->audience, SI_JWT_NAMES, &v);

        } else if (ngx_si_auth_conf_arg(&value[i], "client", &v)) {
            rv = ngx_si_auth_conf_name(p->client, SI_JWT_NAMES, &v);

        } else if (ngx_si_auth_conf_arg(&value[i], "token_use", &v)) {
            rv = ngx_si_auth_conf_name(&p->token_use, 1, &v);

        } else if (ngx_si_auth_conf_arg(&value[i], "type", &v)) {
            ngx_strlow(v.data, v.data, v.len);
            rv = ngx_si_auth_conf_name(&p->typ, 1, &v);

        } else if (ngx_si_auth_conf_arg(&value[i], "tenant", &v)) {
            acf->tenant = v;

        } else if (ngx_strcmp(value[i].data, "cognito") == 0) {
            acf->cognito = 1;

        } else if (ngx_si_auth_conf_arg(&value[i], "leeway", &v)) {
            leeway = ngx_parse_time(&v, 1);

            if (leeway == NGX_ERROR || leeway > 600) {
                return "has an invalid leeway, at most 10m";
            }

            p->leeway = leeway;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return acf->cognito ? ngx_si_auth_conf_cognito(cf, acf) : NGX_CONF_OK;
}


/*
 * An access token of Amazon Cognito names its client in client_id, an ID
 * token in aud, and token_use says which it is.
 */

static char *
ngx_si_auth_conf_cognito(ngx_conf_t *cf, ngx_si_auth_conf_t *acf)
{
    char             *region, *pool;
    u_char           *p;
    size_t            len;
    ngx_str_t         v;
    si_jwt_policy_t  *policy = &acf->policy;

    region = getenv("AWS_REGION");
    pool = getenv("COGNITO_USER_POOL_ID");
    v.data = (u_char *) getenv("COGNITO_CLIENT_ID");

    if (region == NULL || pool == NULL || v.data == NULL || *v.data == '\0'
        || policy->issuer.n)
    {
        return "has \"cognito\" with an issuer, or without AWS_REGION, "
               "COGNITO_USER_POOL_ID and COGNITO_CLIENT_ID in the environment";
    }

    len = sizeof("https://cognito-idp..amazonaws.com/") + ngx_strlen(region)
          + ngx_strlen(pool);
    v.len = ngx_strlen(v.data);

    p = ngx_pnalloc(cf->pool, len);
    v.data = ngx_pstrdup(cf->pool, &v);

    if (p == NULL || v.data == NULL) {
        return NGX_CONF_ERROR;
    }

    policy->issuer.p = (char *) p;
    policy->issuer.n = ngx_snprintf(p, len,
                                    "https://cognito-idp.%s.amazonaws.com/%s",
                                    region, pool)
                       - p;

    if (policy->token_use.n == 0) {
        policy->token_use.p = "access";
        policy->token_use.n = sizeof("access") - 1;
    }

    if (policy->token_use.n == 2) {
        return ngx_si_auth_conf_name(policy->audience, SI_JWT_NAMES, &v);
    }

    return ngx_si_auth_conf_name(policy->client, SI_JWT_NAMES, &v);
}


/* si_auth_claim tenant|user|scopes CLAIM; */

char *
ngx_si_auth_conf_claim(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t           *value;
    ngx_si_auth_conf_t  *acf;

    acf = ngx_si_auth_conf_get(cf, conf);
    if (acf == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    /* a claim is looked up by a string with an end */

    if (ngx_strcmp(value[1].data, "tenant") == 0) {
        acf->tenant_claim = value[2];

    } else if (ngx_strcmp(value[1].data, "user") == 0) {
        acf->user_claim = value[2];

    } else if (ngx_strcmp(value[1].data, "scopes") == 0) {
        acf->scopes_claim = value[2];

    } else {
        return "expects \"tenant\", \"user\" or \"scopes\"";
    }

    return NGX_CONF_OK;
}


/* tokens that keys of one pool have verified say nothing in another one */

static char *
ngx_si_auth_conf_source(ngx_conf_t *cf, ngx_si_auth_conf_t **conf,
    ngx_si_pool_t *pool)
{
    ngx_si_auth_conf_t  *acf = *conf;

    if (acf->source && acf->source->pool != pool) {
        acf = ngx_palloc(cf->pool, sizeof(ngx_si_auth_conf_t));
        if (acf == NULL) {
            return NGX_CONF_ERROR;
        }

        *acf = **conf;
        *conf = acf;
    }

    acf->source = ngx_si_keys_source(cf, pool, &acf->issuer);

    return acf->source ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_si_auth_conf_check(ngx_conf_t *cf, ngx_si_auth_conf_t **conf,
    ngx_si_pool_t *pool)
{
    ngx_si_auth_conf_t  *acf = *conf;

    if (acf == NULL
        || (acf->keys == NULL && acf->secrets == NULL
            && acf->issuer.len == 0))
    {
        return "has \"si_auth jwt\" without si_auth_jwt_keys";
    }

    if (acf->keys && acf->issuer.len) {
        return "has si_auth_jwt_keys with \"file\" and \"issuer\"";
    }

    if (acf->policy.issuer.n == 0) {
        return "has \"si_auth jwt\" without an issuer";
    }

    if (acf->policy.audience[0].n == 0 && acf->policy.client[0].n == 0) {
        return "has \"si_auth jwt\" without an audience or client";
    }

    if ((acf->tenant.len == 0) == (acf->tenant_claim.len == 0)) {
        return "has \"si_auth jwt\" and not one of \"si_auth_jwt tenant=\" "
               "and \"si_auth_claim tenant\"";
    }

    return acf->issuer.len ? ngx_si_auth_conf_source(cf, conf, pool)
                           : NGX_CONF_OK;
}
