
/*
 * $request_id as nginx makes it, of 16 random bytes, which are fetched for
 * many requests at once: OpenSSL's generator takes longer to be asked, and
 * looks with getpid() each time whether the process has forked, than to give
 * them.
 */


#include "ngx_si_module.h"

#include <openssl/rand.h>


#define NGX_SI_ID_BYTES  16


static ngx_int_t ngx_si_request_id_make(ngx_http_request_t *r,
    ngx_si_random_t *random, ngx_http_variable_value_t *v);


ngx_http_variable_value_t *
ngx_si_request_id(ngx_http_request_t *r)
{
    ngx_si_main_conf_t         *smcf;
    ngx_http_variable_value_t  *v;

    smcf = ngx_http_get_module_main_conf(r, ngx_si_module);
    v = &r->variables[smcf->request_id];

    if (!v->valid && !v->not_found) {
        /* nginx makes one where this cannot */
        (void) ngx_si_request_id_make(r, &smcf->random, v);
    }

    return ngx_http_get_indexed_variable(r, smcf->request_id);
}


static ngx_int_t
ngx_si_request_id_make(ngx_http_request_t *r, ngx_si_random_t *random,
    ngx_http_variable_value_t *v)
{
    u_char  *id;

    id = ngx_pnalloc(r->pool, 2 * NGX_SI_ID_BYTES);
    if (id == NULL) {
        return NGX_ERROR;
    }

    if (random->left < NGX_SI_ID_BYTES) {
        if (RAND_bytes(random->bytes, NGX_SI_RANDOM) != 1) {
            return NGX_ERROR;
        }

        random->left = NGX_SI_RANDOM;
    }

    random->left -= NGX_SI_ID_BYTES;
    (void) ngx_hex_dump(id, &random->bytes[random->left], NGX_SI_ID_BYTES);

    v->data = id;
    v->len = 2 * NGX_SI_ID_BYTES;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
