
/*
 * Tables, configuration and the start of a process.
 */


#include "ngx_si_module.h"
#include "ngx_si_status.h"


static ngx_int_t ngx_si_init(ngx_conf_t *cf);
static void *ngx_si_create_main_conf(ngx_conf_t *cf);
static void *ngx_si_create_loc_conf(ngx_conf_t *cf);
static char *ngx_si_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);
static ngx_int_t ngx_si_init_process(ngx_cycle_t *cycle);
static void ngx_si_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_si_commands[] = {

    { ngx_string("si_pool"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE3,
      ngx_si_conf_pool,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_pass"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_TAKE12,
      ngx_si_conf_pass,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_stream_heartbeat"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_si_loc_conf_t, heartbeat),
      NULL },

    { ngx_string("si_stream_buffer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_si_loc_conf_t, buffer),
      NULL },

    { ngx_string("si_stream_stall"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_si_loc_conf_t, stall),
      NULL },

    { ngx_string("si_stream_drain"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_si_loc_conf_t, drain),
      NULL },

    { ngx_string("si_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_conf_set_bitmask_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_si_loc_conf_t, auth),
      &ngx_si_auth_kinds },

    { ngx_string("si_auth_jwt"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_si_auth_conf_jwt,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_auth_jwt_keys"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_si_auth_conf_keys,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_auth_claim"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_si_auth_conf_claim,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_auth_cookie"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_si_cookie_conf,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_auth_cache"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_si_verdict_conf,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_cors"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_1MORE,
      ngx_si_cors_conf,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_errors"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_si_problem_conf,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_si_loc_conf_t, errors),
      NULL },

    { ngx_string("si_problem"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_si_conf_content,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_si_problem_handler },

    { ngx_string("si_limit_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_si_limit_conf_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_limit"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_si_limit_conf_use,
      NGX_HTTP_LOC_CONF_OFFSET,
      NGX_SI_LIMIT_RATE,
      NULL },

    { ngx_string("si_limit_failures"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_si_limit_conf_use,
      NGX_HTTP_LOC_CONF_OFFSET,
      NGX_SI_LIMIT_FAILURES,
      NULL },

    { ngx_string("si_limit_streams"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_si_limit_conf_use,
      NGX_HTTP_LOC_CONF_OFFSET,
      NGX_SI_LIMIT_STREAMS,
      NULL },

    { ngx_string("si_origin_secret"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1234,
      ngx_si_origin_conf,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("si_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_si_conf_content,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_si_status_handler },

    { ngx_string("si_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_si_conf_content,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_si_metrics_handler },

      ngx_null_command
};


static ngx_http_module_t  ngx_si_module_ctx = {
    ngx_si_variables_add,          /* preconfiguration */
    ngx_si_init,                   /* postconfiguration */

    ngx_si_create_main_conf,       /* create main configuration */
    NULL,                          /* init main configuration */

    NULL,                          /* create server configuration */
    NULL,                          /* merge server configuration */

    ngx_si_create_loc_conf,        /* create location configuration */
    ngx_si_merge_loc_conf          /* merge location configuration */
};


ngx_module_t  ngx_si_module = {
    NGX_MODULE_V1,
    &ngx_si_module_ctx,            /* module context */
    ngx_si_commands,               /* module directives */
    NGX_HTTP_MODULE,               /* module type */
    NULL,                          /* init master */
    NULL,                          /* init module */
    ngx_si_init_process,           /* init process */
    NULL,                          /* init thread */
    NULL,                          /* exit thread */
    ngx_si_exit_process,           /* exit process */
    NULL,                          /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_si_init(ngx_conf_t *cf)
{
    ngx_str_t            name = ngx_string("request_id");
    ngx_str_t            addr = ngx_string("si_client_addr");
    ngx_si_main_conf_t  *smcf;

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_si_module);

    if (smcf->limit_zones.nelts && ngx_si_limit_init(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    smcf->request_id = ngx_http_get_variable_index(cf, &name);
    smcf->client_addr = ngx_http_get_variable_index(cf, &addr);

    if (smcf->request_id == NGX_ERROR || smcf->client_addr == NGX_ERROR
        || ngx_si_cors_init(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (smcf->pools.nelts == 0) {
        return ngx_si_origin_init(cf);
    }

    if (ngx_si_zone_add(cf, smcf) != NGX_OK
        || ngx_si_revoked_init(cf, smcf) != NGX_OK
        || ngx_si_verdict_init(cf, smcf) != NGX_OK
        || ngx_si_ticket_init(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if ((smcf->jwt || smcf->keys)
        && ngx_si_conf_phase(cf, NGX_HTTP_ACCESS_PHASE, ngx_si_auth_handler)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_si_origin_init(cf);
}


static void *
ngx_si_create_main_conf(ngx_conf_t *cf)
{
    ngx_si_main_conf_t  *smcf;

    smcf = ngx_pcalloc(cf->pool, sizeof(ngx_si_main_conf_t));
    if (smcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&smcf->pools, cf->pool, 2, sizeof(ngx_si_pool_t *))
        != NGX_OK
        || ngx_array_init(&smcf->limit_zones, cf->pool, 2,
                          sizeof(ngx_si_limit_zone_t *))
           != NGX_OK)
    {
        return NULL;
    }

    smcf->md = ngx_si_digest_create(cf->pool);
    smcf->beat = 15000;

    return smcf->md ? smcf : NULL;
}


static void *
ngx_si_create_loc_conf(ngx_conf_t *cf)
{
    ngx_si_loc_conf_t  *slcf;

    slcf = ngx_pcalloc(cf->pool, sizeof(ngx_si_loc_conf_t));
    if (slcf == NULL) {
        return NULL;
    }

    /* set by ngx_pcalloc(): name, pool, key, errors, auth, cookie, jwt, limits */

    slcf->origin = NGX_CONF_UNSET_PTR;
    slcf->cors = NGX_CONF_UNSET_PTR;
    slcf->heartbeat = NGX_CONF_UNSET_MSEC;
    slcf->stall = NGX_CONF_UNSET_MSEC;
    slcf->drain = NGX_CONF_UNSET_MSEC;
    slcf->buffer = NGX_CONF_UNSET_SIZE;

    return slcf;
}


static char *
ngx_si_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_si_loc_conf_t   *prev = parent;
    ngx_si_loc_conf_t   *conf = child;

    ngx_si_main_conf_t  *smcf;

    ngx_conf_merge_ptr_value(conf->origin, prev->origin, NULL);
    ngx_conf_merge_ptr_value(conf->cors, prev->cors, NULL);
    ngx_conf_merge_msec_value(conf->heartbeat, prev->heartbeat, 15000);
    ngx_conf_merge_msec_value(conf->stall, prev->stall, 60000);
    ngx_conf_merge_msec_value(conf->drain, prev->drain, 30000);
    ngx_conf_merge_size_value(conf->buffer, prev->buffer, 256 * 1024);

    if (conf->heartbeat == 0 || conf->stall == 0) {
        return "has si_stream_heartbeat or si_stream_stall of zero";
    }

    ngx_conf_merge_bitmask_value(conf->auth, prev->auth,
                                 NGX_CONF_BITMASK_SET|NGX_SI_AUTH_KEY);

    if (conf->cookie.data == NULL) {
        conf->cookie = prev->cookie;
    }

    if (conf->jwt == NULL) {
        conf->jwt = prev->jwt;
    }

    if (conf->errors == NULL) {
        conf->errors = prev->errors;
    }

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_si_module);

    smcf->beat = ngx_min(smcf->beat, ngx_min(conf->heartbeat, conf->stall));
    smcf->drain = ngx_max(smcf->drain, conf->drain);

    if (ngx_si_limit_merge(cf, &smcf->limit_zones, &prev->limits,
                           &conf->limits)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->name.len == 0) {

        /* an "if" block inherits the handler of its location */

        if (prev->name.len) {
            conf->name = prev->name;
            conf->pool = prev->pool;
            conf->key = prev->key;
        }

        return NGX_CONF_OK;
    }

    conf->pool = ngx_si_conf_find_pool(smcf, &conf->name);

    if (conf->pool == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown si_pool \"%V\"", &conf->name);
        return NGX_CONF_ERROR;
    }

    smcf->keys |= conf->auth & NGX_SI_AUTH_KEY;

    if (conf->auth & NGX_SI_AUTH_JWT) {
        smcf->jwt = 1;
        return ngx_si_auth_conf_check(cf, &conf->jwt, conf->pool);
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_si_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t            i;
    ngx_si_pool_t       **pools;
    ngx_si_proc_t        *proc;
    ngx_si_main_conf_t   *smcf;

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_si_module);

    if (smcf == NULL || smcf->pools.nelts == 0
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    proc = ngx_pcalloc(cycle->pool, sizeof(ngx_si_proc_t));
    if (proc == NULL) {
        return NGX_ERROR;
    }

    proc->conf = smcf;
    smcf->proc = proc;

    ngx_si_zone_claim(proc);

    if (smcf->jwt) {
        proc->auth = ngx_si_auth_create(cycle, smcf->md, smcf->revoked);
        if (proc->auth == NULL) {
            return NGX_ERROR;
        }
    }

    if (ngx_si_tick_init(proc, cycle->log) != NGX_OK
        || ngx_si_shrink_init(smcf, cycle) != NGX_OK)
    {
        return NGX_ERROR;
    }

    pools = smcf->pools.elts;

    for (i = 0; i < smcf->pools.nelts; i++) {
        if (ngx_si_pool_start(pools[i], proc, cycle) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
ngx_si_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t            i;
    ngx_queue_t          *q;
    ngx_si_link_t        *link;
    ngx_si_pool_t       **pools;
    ngx_si_main_conf_t   *smcf;

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_si_module);

    if (smcf == NULL || smcf->proc == NULL) {
        return;
    }

    pools = smcf->pools.elts;

    for (i = 0; i < smcf->pools.nelts; i++) {

        /* an open link would be taken for a leak */

        for (q = ngx_queue_head(&pools[i]->links);
             q != ngx_queue_sentinel(&pools[i]->links);
             q = ngx_queue_next(q))
        {
            link = ngx_queue_data(q, ngx_si_link_t, queue);
            ngx_close_connection(link->connection);
        }
    }

    ngx_si_zone_release(smcf->proc);
}
