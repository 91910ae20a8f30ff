
/*
 * Directive setters.
 */


#include "ngx_si_module.h"


static char *ngx_si_conf_folder(ngx_conf_t *cf, ngx_si_pool_t *pool);


ngx_si_pool_t *
ngx_si_conf_find_pool(ngx_si_main_conf_t *smcf, ngx_str_t *name)
{
    ngx_uint_t       i;
    ngx_si_pool_t  **pools;

    pools = smcf->pools.elts;

    for (i = 0; i < smcf->pools.nelts; i++) {
        if (pools[i]->name.len == name->len
            && ngx_strncmp(pools[i]->name.data, name->data, name->len) == 0)
        {
            return pools[i];
        }
    }

    return NULL;
}


/* si_pool NAME FOLDER workers=N; */

char *
ngx_si_conf_pool(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_si_main_conf_t  *smcf = conf;

    ngx_int_t            n;
    ngx_str_t           *value;
    ngx_si_pool_t       *pool, **slot;

    value = cf->args->elts;

    if (ngx_si_conf_find_pool(smcf, &value[1])) {
        return "is duplicate";
    }

    if (ngx_strncmp(value[3].data, "workers=", 8) != 0) {
        return "expects \"workers=N\" as its third argument";
    }

    n = ngx_atoi(value[3].data + 8, value[3].len - 8);

    if (n < 1 || n > NGX_SI_WORKERS_MAX) {
        return "has an invalid number of workers";
    }

    pool = ngx_pcalloc(cf->pool, sizeof(ngx_si_pool_t));
    slot = ngx_array_push(&smcf->pools);

    if (pool == NULL || slot == NULL) {
        return NGX_CONF_ERROR;
    }

    pool->name = value[1];
    pool->folder = value[2];
    pool->nslots = n;
    ngx_queue_init(&pool->sources);
    *slot = pool;

    return ngx_si_conf_folder(cf, pool);
}


static char *
ngx_si_conf_folder(ngx_conf_t *cf, ngx_si_pool_t *pool)
{
    struct sockaddr_un  un;

    if (ngx_conf_full_name(cf->cycle, &pool->folder, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (pool->folder.len > 1
           && pool->folder.data[pool->folder.len - 1] == '/')
    {
        pool->folder.len--;
    }

    /* the longest usual name in it is "/127.4194304.sock" */

    if (pool->folder.len + sizeof("/127.4194304.sock") > sizeof(un.sun_path)) {
        return "has a folder name too long for a socket address";
    }

    return NGX_CONF_OK;
}


/* si_pass POOL [key=$var]; */

char *
ngx_si_conf_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_si_loc_conf_t  *slcf = conf;

    ngx_str_t                         *value, key;
    ngx_http_core_loc_conf_t          *clcf;
    ngx_http_compile_complex_value_t   ccv;

    if (slcf->name.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_si_call_handler;

    slcf->name = value[1];

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[2].data, "key=", 4) != 0) {
        return "expects \"key=$variable\" as its second argument";
    }

    key.data = value[2].data + 4;
    key.len = value[2].len - 4;

    slcf->key = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (slcf->key == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &key;
    ccv.complex_value = slcf->key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* a directive without arguments: its handler is the command's post */

char *
ngx_si_conf_content(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = (ngx_http_handler_pt) cmd->post;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_si_conf_phase(ngx_conf_t *cf, ngx_http_phases phase,
    ngx_http_handler_pt handler)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    return NGX_OK;
}
