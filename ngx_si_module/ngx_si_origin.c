
/*
 * The origin lock: only who knows a secret that the CDN adds as a header gets
 * in, and only then is the CDN believed who its client is.
 */


#include "ngx_si_module.h"


#define NGX_SI_ORIGIN_FILE  4096    /* bytes of the file, at most */
#define NGX_SI_ORIGIN_MIN   16      /* bytes of a secret */
#define NGX_SI_ORIGIN_MAX   256
#define NGX_SI_ORIGIN_KEYS  2       /* secrets, for rotation */
#define NGX_SI_ORIGIN_HOPS  8


struct ngx_si_origin_s {
    ngx_si_origin_t  *next;         /* main conf's list */
    ngx_str_t         header;       /* in lower case */
    ngx_str_t         secrets[NGX_SI_ORIGIN_KEYS];
    ngx_uint_t        nsecrets;
    ngx_uint_t        hops;         /* of X-Forwarded-For, from the right */
    ngx_uint_t        viewer;       /* CloudFront-Viewer-Address first */
};


static ngx_int_t ngx_si_origin_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_si_origin_proven(ngx_http_request_t *r,
    ngx_si_origin_t *origin);
static ngx_uint_t ngx_si_origin_same(ngx_str_t *secret, ngx_str_t *value);
static ngx_int_t ngx_si_origin_addr(ngx_http_request_t *r, ngx_str_t *addr);
static ngx_int_t ngx_si_origin_parse(ngx_http_request_t *r, ngx_str_t *text,
    ngx_uint_t port, ngx_str_t *addr);
static char *ngx_si_origin_name(ngx_conf_t *cf, ngx_si_origin_t *origin,
    ngx_str_t *name);
static ngx_int_t ngx_si_origin_hidden(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static char *ngx_si_origin_load(ngx_conf_t *cf, ngx_si_origin_t *origin,
    ngx_str_t *file);
static char *ngx_si_origin_lines(ngx_conf_t *cf, ngx_si_origin_t *origin,
    u_char *p, u_char *last);


static ngx_int_t
ngx_si_origin_handler(ngx_http_request_t *r)
{
    ngx_int_t            rc;
    ngx_si_loc_conf_t   *slcf;
    ngx_si_main_conf_t  *smcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);

    if (slcf->origin == NULL || r != r->main
        || ngx_si_origin_proven(r, slcf->origin))
    {
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "si request did not come through the CDN");

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);

    if (smcf->proc) {
        ngx_si_count(smcf->proc, NGX_SI_UNPROVEN, 1);
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    r->keepalive = 0;

    rc = ngx_si_problem_send(r, NGX_HTTP_FORBIDDEN, "Forbidden",
                             "origin_required",
                             "this server is reached through its CDN only");

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


static ngx_uint_t
ngx_si_origin_proven(ngx_http_request_t *r, ngx_si_origin_t *origin)
{
    ngx_str_t   value;
    ngx_uint_t  i, same;

    if (ngx_si_origin_values(r, (char *) origin->header.data,
                             origin->header.len, &value, 0) != 1)
    {
        return 0;
    }

    same = 0;

    for (i = 0; i < origin->nsecrets; i++) {
        same |= ngx_si_origin_same(&origin->secrets[i], &value);
    }

    return same;
}


/* takes a time that says nothing of how much of the value is right */

static ngx_uint_t
ngx_si_origin_same(ngx_str_t *secret, ngx_str_t *value)
{
    size_t           i;
    volatile size_t  diff;

    diff = secret->len ^ value->len;

    for (i = 0; i < secret->len; i++) {
        diff |= secret->data[i] ^ (i < value->len ? value->data[i] : 0);
    }

    return diff == 0;
}


ngx_uint_t
ngx_si_origin_values(ngx_http_request_t *r, const char *name, size_t len,
    ngx_str_t *last, ngx_uint_t n)
{
    ngx_uint_t        i, found;
    si_field_text_t   texts[NGX_SI_ORIGIN_HOPS];
    ngx_table_elt_t  *h;

    found = 0;
    h = NULL;
    ngx_memzero(texts, sizeof(texts));

    while ((h = ngx_si_header_in(r, name, len, h))) {

        if (n == 0) {
            *last = h->value;
            found++;
            continue;
        }

        found += si_field_members(ngx_si_text(&h->value), texts, n);
    }

    for (i = 0; n && i < ngx_min(found, n); i++) {
        ngx_si_found(&last[i], texts[i]);
    }

    return n ? ngx_min(found, n) : found;
}


/* NGX_DECLINED: nobody says who the client is, the peer is it */

static ngx_int_t
ngx_si_origin_addr(ngx_http_request_t *r, ngx_str_t *addr)
{
    ngx_int_t           rc;
    ngx_str_t           values[NGX_SI_ORIGIN_HOPS];
    ngx_si_origin_t    *origin;
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_si_module);
    origin = slcf->origin;

    if (origin == NULL || !ngx_si_origin_proven(r, origin)) {
        return NGX_DECLINED;
    }

    if (origin->viewer
        && ngx_si_origin_values(r, "cloudfront-viewer-address", 25, values, 0)
           == 1)
    {
        rc = ngx_si_origin_parse(r, values, 1, addr);
        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (ngx_si_origin_values(r, "x-forwarded-for", 15, values, origin->hops)
        == origin->hops)
    {
        return ngx_si_origin_parse(r, &values[origin->hops - 1], 0, addr);
    }

    return NGX_DECLINED;
}


/*
 * The address in its usual form, so that one client has one key.  CloudFront
 * puts a port behind the last colon, also of an IPv6 address, without
 * brackets; an ALB may, with brackets.
 */

static ngx_int_t
ngx_si_origin_parse(ngx_http_request_t *r, ngx_str_t *text, ngx_uint_t port,
    ngx_str_t *addr)
{
    ngx_int_t         rc;
    ngx_addr_t        a;
    si_field_text_t   t;

    if (!si_field_addr(ngx_si_text(text), port, &t)) {
        return NGX_DECLINED;
    }

    rc = port ? ngx_parse_addr(r->pool, &a, (u_char *) t.p, t.n)
              : ngx_parse_addr_port(r->pool, &a, (u_char *) t.p, t.n);
    if (rc != NGX_OK) {
        return rc;
    }

    addr->data = ngx_pnalloc(r->pool, NGX_SOCKADDR_STRLEN);
    if (addr->data == NULL) {
        return NGX_ERROR;
    }

    addr->len = ngx_sock_ntop(a.sockaddr, a.socklen, addr->data,
                              NGX_SOCKADDR_STRLEN, 0);

    return NGX_OK;
}


ngx_int_t
ngx_si_origin_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_int_t   rc;
    ngx_str_t   addr;

    rc = ngx_si_origin_addr(r, &addr);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        addr = r->connection->addr_text;
    }

    v->data = addr.data;
    v->len = addr.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


ngx_uint_t
ngx_si_origin_is_secret(ngx_si_main_conf_t *smcf, ngx_table_elt_t *h)
{
    ngx_si_origin_t  *origin;

    for (origin = smcf->origins; origin; origin = origin->next) {
        if (h->key.len == origin->header.len
            && ngx_strncmp(h->lowcase_key, origin->header.data, h->key.len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* must be the last of the module to register: the last one runs first */

ngx_int_t
ngx_si_origin_init(ngx_conf_t *cf)
{
    ngx_si_main_conf_t  *smcf;

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_si_module);

    if (smcf->origins == NULL) {
        return NGX_OK;
    }

    return ngx_si_conf_phase(cf, NGX_HTTP_PREACCESS_PHASE,
                             ngx_si_origin_handler);
}


/* si_origin_secret off | HEADER FILE [viewer] [hops=N]; */

char *
ngx_si_origin_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_si_loc_conf_t  *slcf = conf;

    char                *rv;
    ngx_str_t           *value;
    ngx_uint_t           i;
    ngx_si_origin_t     *origin;
    ngx_si_main_conf_t  *smcf;

    if (slcf->origin != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2) {
        slcf->origin = NULL;
        return ngx_strcmp(value[1].data, "off") == 0
               ? NGX_CONF_OK : "expects \"off\", or a header and a file";
    }

    origin = ngx_pcalloc(cf->pool, sizeof(ngx_si_origin_t));
    if (origin == NULL) {
        return NGX_CONF_ERROR;
    }

    origin->hops = 1;

    for (i = 3; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "viewer") == 0) {
            origin->viewer = 1;
            continue;
        }

        if (value[i].len != 6 || ngx_strncmp(value[i].data, "hops=", 5) != 0
            || value[i].data[5] < '1'
            || value[i].data[5] > '0' + NGX_SI_ORIGIN_HOPS)
        {
            return "expects \"viewer\" or \"hops=N\", N from 1 to 8, behind "
                   "the file";
        }

        origin->hops = value[i].data[5] - '0';
    }

    rv = ngx_si_origin_name(cf, origin, &value[1]);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_si_module);

    origin->next = smcf->origins;
    smcf->origins = origin;
    slcf->origin = origin;

    return ngx_si_origin_load(cf, origin, &value[2]);
}


/* the header's own variable is taken away, so that no log can have it */

static char *
ngx_si_origin_name(ngx_conf_t *cf, ngx_si_origin_t *origin, ngx_str_t *name)
{
    u_char                c;
    size_t                i;
    ngx_str_t             var;
    ngx_http_variable_t  *v;

    var.len = 5 + name->len;
    var.data = ngx_pnalloc(cf->pool, var.len);
    origin->header.len = name->len;
    origin->header.data = ngx_pnalloc(cf->pool, name->len);

    if (var.data == NULL || origin->header.data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(var.data, "http_", 5);

    for (i = 0; i < name->len; i++) {
        c = ngx_tolower(name->data[i]);

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-') {
            return "has a header name with other than letters, digits and "
                   "hyphens";
        }

        origin->header.data[i] = c;
        var.data[5 + i] = c == '-' ? '_' : c;
    }

    v = ngx_http_add_variable(cf, &var, NGX_HTTP_VAR_CHANGEABLE);
    if (v == NULL) {
        return NGX_CONF_ERROR;
    }

    v->get_handler = ngx_si_origin_hidden;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_si_origin_hidden(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    v->not_found = 1;

    return NGX_OK;
}


static char *
ngx_si_origin_load(ngx_conf_t *cf, ngx_si_origin_t *origin, ngx_str_t *file)
{
    char      *rv;
    u_char     text[NGX_SI_ORIGIN_FILE + 1];
    ssize_t    n;
    ngx_fd_t   fd;

    if (ngx_conf_full_name(cf->cycle, file, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(file->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "si_origin_secret cannot open \"%V\"", file);
        return NGX_CONF_ERROR;
    }

    n = ngx_read_fd(fd, text, sizeof(text));

    if (n < 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "si_origin_secret cannot read \"%V\"", file);
        rv = NGX_CONF_ERROR;

    } else if (n > NGX_SI_ORIGIN_FILE) {
        rv = "has a file of more than 4096 bytes";

    } else {
        rv = ngx_si_origin_lines(cf, origin, text, text + n);
    }

    ngx_close_file(fd);
    ngx_explicit_memzero(text, sizeof(text));

    return rv;
}


static char *
ngx_si_origin_lines(ngx_conf_t *cf, ngx_si_origin_t *origin, u_char *p,
    u_char *last)
{
    u_char     *end, *c;
    ngx_str_t  *secret;

    for ( ; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '\n');
        end = end ? end : last;

        c = end > p && end[-1] == '\r' ? end - 1 : end;

        if (c == p) {
            continue;
        }

        if (origin->nsecrets == NGX_SI_ORIGIN_KEYS) {
            return "has a file with more than two secrets";
        }

        if (c - p < NGX_SI_ORIGIN_MIN || c - p > NGX_SI_ORIGIN_MAX) {
            return "has a file with a secret of less than 16 or more than "
                   "256 bytes";
        }

        secret = &origin->secrets[origin->nsecrets++];
        secret->len = c - p;
        secret->data = ngx_pnalloc(cf->pool, secret->len);

        if (secret->data == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memcpy(secret->data, p, secret->len);

        while (c > p) {
            if (*--c <= ' ' || *c >= 0x7f) {
                return "has a file with a secret of other than visible "
                       "ASCII characters";
            }
        }
    }

    return origin->nsecrets ? NGX_CONF_OK : "has a file without a secret";
}
