
/*
 * Directives of limits.
 */


#include "ngx_si_module.h"


static char *ngx_si_limit_conf_key(ngx_conf_t *cf, ngx_si_limit_zone_t *zone);
static const char *ngx_si_limit_conf_param(ngx_si_limit_zone_t *zone,
    ngx_str_t *value, ngx_str_t *name, ssize_t *size);
static const char *ngx_si_limit_conf_name(ngx_str_t *value, ngx_str_t *name,
    ssize_t *size);
static const char *ngx_si_limit_conf_rate(ngx_si_limit_zone_t *zone,
    u_char *p, size_t len);
static char *ngx_si_limit_conf_share(ngx_conf_t *cf,
    ngx_si_limit_zone_t *zone, ngx_str_t *name, size_t size);
static const char *ngx_si_limit_conf_limit(ngx_conf_t *cf, ngx_array_t *a);
static char *ngx_si_limit_resolve(ngx_conf_t *cf, ngx_array_t *zones,
    ngx_si_limit_t *limit, ngx_uint_t streams);
static ngx_int_t ngx_si_limit_policy(ngx_conf_t *cf, ngx_si_limits_t *conf);
static int ngx_libc_cdecl ngx_si_limit_cmp(const void *one, const void *two);


/* si_limit_zone KEY zone=NAME:SIZE rate=R [burst=N] [scope=S] | streams=N; */

char *
ngx_si_limit_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_si_main_conf_t    *smcf = conf;

    ssize_t                size;
    ngx_str_t             *value, name;
    ngx_uint_t             i;
    const char            *error;
    ngx_si_limit_zone_t   *zone, **slot;

    value = cf->args->elts;

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_si_limit_zone_t));
    slot = ngx_array_push(&smcf->limit_zones);

    if (zone == NULL || slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = zone;

    zone->text = value[1];
    if (ngx_si_limit_conf_key(cf, zone) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    name.len = 0;
    size = 0;

    for (i = 2; i < cf->args->nelts; i++) {
        error = ngx_si_limit_conf_param(zone, &value[i], &name, &size);

        if (error) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" has the parameter \"%V\": %s",
                               &cmd->name, &value[i], error);
            return NGX_CONF_ERROR;
        }
    }

    if (name.len == 0) {
        return "must have the parameter \"zone=NAME:SIZE\"";
    }

    if ((zone->interval == 0) == (zone->streams == 0)) {
        return "must have either the parameter \"rate=Nr/s\" or "
               "\"rate=Nr/m\", or \"streams=N\"";
    }

    if (zone->streams && zone->bucket) {
        return "must have the parameter \"burst=N\" with a rate only";
    }

    if (zone->streams && zone->cluster) {
        return "must have the parameter \"scope=cluster\" with a rate only";
    }

    zone->bucket = ngx_max(zone->bucket, 1) * zone->interval;

    if (zone->cluster) {
        /* what comes while a node waits for its turn must find room */
        zone->bucket = ngx_max(zone->bucket, NGX_SI_QUOTA_BUCKET);
        zone->asker = &smcf->proc;
    }

    return ngx_si_limit_conf_share(cf, zone, &name, size);
}


/* a variable alone is looked at where it is; all else is put together */

static char *
ngx_si_limit_conf_key(ngx_conf_t *cf, ngx_si_limit_zone_t *zone)
{
    size_t                             i;
    ngx_str_t                          name;
    ngx_http_compile_complex_value_t   ccv;

    name.data = zone->text.data + 1;
    name.len = zone->text.len - 1;

    for (i = 0; i < name.len; i++) {
        if (name.data[i] != '_' && (name.data[i] < '0' || name.data[i] > '9')
            && ((name.data[i] | 0x20) < 'a' || (name.data[i] | 0x20) > 'z'))
        {
            break;
        }
    }

    if (zone->text.len > 1 && zone->text.data[0] == '$' && i == name.len
        && (name.data[0] < '0' || name.data[0] > '9'))
    {
        zone->variable = ngx_http_get_variable_index(cf, &name);
        return zone->variable == NGX_ERROR ? NGX_CONF_ERROR : NGX_CONF_OK;
    }

    zone->variable = NGX_ERROR;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &zone->text;
    ccv.complex_value = &zone->key;

    return ngx_http_compile_complex_value(&ccv) == NGX_OK ? NGX_CONF_OK
                                                          : NGX_CONF_ERROR;
}


/* the bucket counts requests until the interval is known */

static const char *
ngx_si_limit_conf_param(ngx_si_limit_zone_t *zone, ngx_str_t *value,
    ngx_str_t *name, ssize_t *size)
{
    ngx_int_t  n;

    if (ngx_strncmp(value->data, "zone=", 5) == 0) {
        return ngx_si_limit_conf_name(value, name, size);
    }

    if (ngx_strncmp(value->data, "rate=", 5) == 0) {
        return ngx_si_limit_conf_rate(zone, value->data + 5, value->len - 5);
    }

    if (ngx_strncmp(value->data, "burst=", 6) == 0) {
        n = ngx_atoi(value->data + 6, value->len - 6);

        if (n < 1 || n > NGX_SI_LIMIT_BURST_MAX) {
            return "a burst is 1 to 1000000 requests";
        }

        zone->bucket = n;
        return NULL;
    }

    if (ngx_strncmp(value->data, "streams=", 8) == 0) {
        n = ngx_atoi(value->data + 8, value->len - 8);

        if (n < 1 || n > NGX_SI_LIMIT_STREAMS_MAX) {
            return "a limit of streams is 1 to 1000000";
        }

        zone->streams = n;
        return NULL;
    }

    if (ngx_strcmp(value->data, "scope=cluster") == 0) {
        zone->cluster = 1;
        return NULL;
    }

    if (ngx_strcmp(value->data, "scope=node") == 0) {
        zone->cluster = 0;
        return NULL;
    }

    return "there is no such parameter";
}


/* the name stands in a header field, as a string of RFC 9651 */

static const char *
ngx_si_limit_conf_name(ngx_str_t *value, ngx_str_t *name, ssize_t *size)
{
    u_char     *p, *colon;
    ngx_str_t   s;

    name->data = value->data + 5;
    colon = (u_char *) ngx_strchr(name->data, ':');

    if (colon == NULL || colon == name->data) {
        return "expected \"zone=NAME:SIZE\"";
    }

    name->len = colon - name->data;

    for (p = name->data; p < colon; p++) {
        if (*p <= ' ' || *p > '~' || *p == '"' || *p == '\\') {
            return "a name has printable ASCII characters only";
        }
    }

    s.data = colon + 1;
    s.len = value->data + value->len - s.data;

    *size = ngx_parse_size(&s);

    if (*size < (ssize_t) (8 * ngx_pagesize)) {
        return "the size must be at least 8 pages";
    }

    if (name->len > NGX_SI_LIMIT_NAME_MAX
        || ngx_strncmp(name->data, "si_counters:", 12) == 0)
    {
        return "the name is too long or reserved";
    }

    return NULL;
}


static const char *
ngx_si_limit_conf_rate(ngx_si_limit_zone_t *zone, u_char *p, size_t len)
{
    int64_t    unit;
    ngx_int_t  n;

    unit = NGX_SI_LIMIT_SECOND;
    n = NGX_ERROR;

    if (len > 3 && ngx_strncmp(p + len - 3, "r/m", 3) == 0) {
        unit *= 60;
        n = ngx_atoi(p, len - 3);

    } else if (len > 3 && ngx_strncmp(p + len - 3, "r/s", 3) == 0) {
        n = ngx_atoi(p, len - 3);
    }

    if (n < 1 || n > NGX_SI_LIMIT_RATE_MAX) {
        return "a rate is 1 to 1000000 \"r/s\" or \"r/m\"";
    }

    zone->interval = unit / n;

    return NULL;
}


static char *
ngx_si_limit_conf_share(ngx_conf_t *cf, ngx_si_limit_zone_t *zone,
    ngx_str_t *name, size_t size)
{
    zone->shm = ngx_shared_memory_add(cf, name, size, &ngx_si_module);
    if (zone->shm == NULL) {
        return NGX_CONF_ERROR;
    }

    if (zone->shm->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the limit zone \"%V\" is defined twice", name);
        return NGX_CONF_ERROR;
    }

    zone->shm->init = ngx_si_limit_zone_init;
    zone->shm->data = zone;

    return NGX_CONF_OK;
}


/* si_limit, si_limit_failures, si_limit_streams: off | zone=NAME [dry_run]; */

char *
ngx_si_limit_conf_use(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_si_loc_conf_t  *slcf = conf;

    ngx_str_t          *value;
    ngx_array_t        *a;
    const char         *error;

    value = cf->args->elts;
    a = slcf->limits.of[cmd->offset];

    if (ngx_strcmp(value[1].data, "off") == 0) {
        if (a || cf->args->nelts > 2) {
            return "may be \"off\" only alone";
        }

    } else if (a && a->nelts == 0) {
        return "may be \"off\" only alone";
    }

    if (a == NULL) {
        a = ngx_array_create(cf->pool, 2, sizeof(ngx_si_limit_t));
        if (a == NULL) {
            return NGX_CONF_ERROR;
        }

        slcf->limits.of[cmd->offset] = a;
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    error = ngx_si_limit_conf_limit(cf, a);

    if (error) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" %s",
                           &cmd->name, error);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static const char *
ngx_si_limit_conf_limit(ngx_conf_t *cf, ngx_array_t *a)
{
    ngx_str_t       *value, name;
    ngx_uint_t       i;
    ngx_si_limit_t  *limit;

    value = cf->args->elts;

    if (ngx_strncmp(value[1].data, "zone=", 5) != 0 || value[1].len == 5) {
        return "expects \"zone=NAME\" or \"off\" first";
    }

    name.data = value[1].data + 5;
    name.len = value[1].len - 5;

    limit = a->elts;

    for (i = 0; i < a->nelts; i++) {
        if (limit[i].name.len == name.len
            && ngx_strncmp(limit[i].name.data, name.data, name.len) == 0)
        {
            return "names a zone twice";
        }
    }

    if (a->nelts == NGX_SI_LIMITS_MAX) {
        return "stands here too often";
    }

    limit = ngx_array_push(a);
    if (limit == NULL) {
        return "has no memory";
    }

    ngx_memzero(limit, sizeof(ngx_si_limit_t));
    limit->name = name;

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_strcmp(value[i].data, "dry_run") != 0 || limit->dry_run) {
            return "expects nothing but \"dry_run\" after the zone";
        }

        limit->dry_run = 1;
    }

    return NULL;
}


/* the level "http" is never merged itself, so what is inherited may be new */

char *
ngx_si_limit_merge(ngx_conf_t *cf, ngx_array_t *zones, ngx_si_limits_t *prev,
    ngx_si_limits_t *conf)
{
    ngx_uint_t       i, kind;
    ngx_array_t     *a;
    ngx_si_limit_t  *limit;

    for (kind = 0; kind < NGX_SI_LIMIT_KINDS; kind++) {

        if (conf->of[kind] == NULL) {
            conf->of[kind] = prev->of[kind];
        }

        a = conf->of[kind];

        if (a == NULL) {
            continue;
        }

        limit = a->elts;

        for (i = 0; i < a->nelts; i++) {
            if (ngx_si_limit_resolve(cf, zones, &limit[i],
                                     kind == NGX_SI_LIMIT_STREAMS)
                != NGX_CONF_OK)
            {
                return NGX_CONF_ERROR;
            }

            if (limit[i].zone->cluster && kind != NGX_SI_LIMIT_RATE) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "limit zone \"%V\" has \"scope=cluster\", "
                                   "which only \"si_limit\" can use",
                                   &limit[i].name);
                return NGX_CONF_ERROR;
            }
        }

        ngx_qsort(a->elts, a->nelts, sizeof(ngx_si_limit_t),
                  ngx_si_limit_cmp);
    }

    return ngx_si_limit_policy(cf, conf) == NGX_OK ? NGX_CONF_OK
                                                   : NGX_CONF_ERROR;
}


static char *
ngx_si_limit_resolve(ngx_conf_t *cf, ngx_array_t *zones,
    ngx_si_limit_t *limit, ngx_uint_t streams)
{
    ngx_str_t             *name;
    ngx_uint_t             i;
    ngx_si_limit_zone_t  **zone;

    zone = zones->elts;

    for (i = 0; i < zones->nelts; i++) {
        name = &zone[i]->shm->shm.name;

        if (name->len == limit->name.len
            && ngx_strncmp(name->data, limit->name.data, name->len) == 0
            && (zone[i]->streams > 0) == streams)
        {
            limit->zone = zone[i];
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown limit zone \"%V\" of %s", &limit->name,
                       streams ? "streams" : "a rate");

    return NGX_CONF_ERROR;
}


/* zones are locked in this order, by the processes of an old cycle too */

static int ngx_libc_cdecl
ngx_si_limit_cmp(const void *one, const void *two)
{
    const ngx_si_limit_t  *a = one, *b = two;

    return (int) ngx_memn2cmp(a->name.data, b->name.data, a->name.len,
                              b->name.len);
}


/*
 * draft-ietf-httpapi-ratelimit-headers-10, section 3: a list of names with
 * the quota q of a window of w whole seconds.  The window is the one in
 * which an empty bucket fills.
 */

static ngx_int_t
ngx_si_limit_policy(ngx_conf_t *cf, ngx_si_limits_t *conf)
{
    u_char               *p, *end;
    size_t                size;
    int64_t               w;
    ngx_uint_t            i;
    ngx_array_t          *a = conf->of[NGX_SI_LIMIT_RATE];
    ngx_si_limit_t       *limit;
    ngx_si_limit_zone_t  *zone;

    ngx_str_null(&conf->policy);

    if (a == NULL || a->nelts == 0) {
        return NGX_OK;
    }

    size = a->nelts * (NGX_SI_LIMIT_NAME_MAX + 64);

    p = ngx_pnalloc(cf->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    conf->policy.data = p;
    end = p + size;
    limit = a->elts;

    for (i = 0; i < a->nelts; i++) {
        if (limit[i].dry_run) {
            continue;
        }

        zone = limit[i].zone;
        w = (zone->bucket + NGX_SI_LIMIT_SECOND - 1) / NGX_SI_LIMIT_SECOND;

        p = ngx_slprintf(p, end, "%s\"%V\";q=%L;w=%L",
                         p == conf->policy.data ? "" : ", ",
                         &limit[i].name,
                         w * NGX_SI_LIMIT_SECOND / zone->interval, w);
    }

    conf->policy.len = p - conf->policy.data;

    return NGX_OK;
}
