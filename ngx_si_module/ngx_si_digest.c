
/*
 * SHA-256 with a context that is kept.  OpenSSL's one-shot functions look the
 * algorithm up by its name each time, which takes longer than to hash a key.
 */


#include "ngx_si_module.h"


static void ngx_si_digest_free(void *data);


EVP_MD_CTX *
ngx_si_digest_create(ngx_pool_t *pool)
{
    EVP_MD_CTX          *md;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(pool, 0);
    md = cln ? EVP_MD_CTX_new() : NULL;

    if (md == NULL) {
        return NULL;
    }

    cln->handler = ngx_si_digest_free;
    cln->data = md;

    return EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 ? md : NULL;
}


static void
ngx_si_digest_free(void *data)
{
    EVP_MD_CTX_free(data);
}


ngx_int_t
ngx_si_digest(EVP_MD_CTX *md, ngx_str_t *part, ngx_uint_t n, u_char *digest)
{
    ngx_uint_t  i;

    if (EVP_DigestInit_ex(md, NULL, NULL) != 1) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (EVP_DigestUpdate(md, part[i].data, part[i].len) != 1) {
            return NGX_ERROR;
        }
    }

    return EVP_DigestFinal_ex(md, digest, NULL) == 1 ? NGX_OK : NGX_ERROR;
}
