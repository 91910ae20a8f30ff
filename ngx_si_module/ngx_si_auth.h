
/*
 * Who is calling, as far as the edge finds out itself.  Plain checks of
 * tokens are in si_jwt.h; here is what nginx has to do with them.
 */


#ifndef _NGX_SI_AUTH_H_INCLUDED_
#define _NGX_SI_AUTH_H_INCLUDED_


#include "si_field.h"
#include "si_jwt.h"
#include "../worker/link/frame.h"


#define NGX_SI_AUTH_KEY      0x0002     /* API keys, which the worker checks */
#define NGX_SI_AUTH_JWT      0x0004

#define NGX_SI_AUTH_DIGEST   32         /* SHA-256 */
#define NGX_SI_AUTH_CACHED   4096       /* tokens that a process remembers */
#define NGX_SI_AUTH_TEXT     255        /* bytes of a tenant or user */
#define NGX_SI_AUTH_SCOPES   1024       /* bytes of all scopes */
#define NGX_SI_AUTH_KEYS     SI_JSON_TEXT   /* bytes of a file of keys */


/* for what is found by si_field.h, and given to it */
#define ngx_si_text(s)  ((si_field_text_t) { (char *) (s)->data, (s)->len })
#define ngx_si_found(s, t)                                                   \
    do { (s)->data = (u_char *) (t).p; (s)->len = (t).n; } while (0)


struct ngx_si_pool_s;
struct ngx_si_link_s;


/* an issuer whose keys the workers of a pool fetch, as it is known here */

typedef struct {
    ngx_queue_t               queue;    /* pool->sources */
    ngx_str_t                 name;
    struct ngx_si_pool_s     *pool;

    /* of this process: */
    si_jwks_t                *set;      /* heap; NULL: none has come */
    u_char                    digest[NGX_SI_AUTH_DIGEST];   /* of its text */
    uint64_t                  fetched;  /* ms since 1970 */
    ngx_msec_t                fresh;    /* it is the newest for so long */
    ngx_msec_t                asked;    /* ngx_current_msec, 0: never */
    ngx_uint_t                sent;     /* that question has found a link */
} ngx_si_source_t;


/* si_auth_jwt, si_auth_jwt_keys, si_auth_claim of one level */

typedef struct {
    si_jwt_policy_t           policy;
    ngx_str_t                 issuer;   /* in si.yaml, whose keys count */
    ngx_si_source_t          *source;   /* likewise; NULL: keys of a file */
    ngx_uint_t                cognito;  /* the pool of the environment */
    si_jwks_t                *keys;     /* NULL: none */
    si_jwks_t                *secrets;
    ngx_str_t                 tenant;   /* of all its users, if set */
    ngx_str_t                 tenant_claim;
    ngx_str_t                 user_claim;   /* "sub" if not set */
    ngx_str_t                 scopes_claim;
} ngx_si_auth_conf_t;


/* what a token says of its bearer */

typedef struct {
    ngx_str_t                 issuer;   /* belongs to the configuration */
    ngx_str_t                 subject;
    ngx_str_t                 tenant;   /* name or id */
    ngx_str_t                 scopes;   /* separated by spaces */
    time_t                    expires;  /* leeway included */
    si_marks_t                marks;
} ngx_si_identity_t;


typedef struct ngx_si_auth_s  ngx_si_auth_t;    /* of a process */


/* ngx_si_auth.c */
ngx_int_t ngx_si_auth_handler(ngx_http_request_t *r);
/* $si_credential: the key or token that the request comes with, not a copy */
ngx_int_t ngx_si_auth_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

/* looks for what is known of who calls: of an API key or a token seen before */
void ngx_si_auth_look(ngx_http_request_t *r);

/* ngx_si_digest.c */
/* NULL: no memory; it goes with the pool */
EVP_MD_CTX *ngx_si_digest_create(ngx_pool_t *pool);
/* of n parts, one after the other; NGX_ERROR: OpenSSL has failed */
ngx_int_t ngx_si_digest(EVP_MD_CTX *md, ngx_str_t *part, ngx_uint_t n,
    u_char *digest);

/* ngx_si_request_id.c */
#define NGX_SI_RANDOM        256        /* bytes, for 16 ids */

typedef struct {
    ngx_uint_t                left;     /* so many, from the first on */
    u_char                    bytes[NGX_SI_RANDOM];
} ngx_si_random_t;

/* $request_id; NULL: no memory */
ngx_http_variable_value_t *ngx_si_request_id(ngx_http_request_t *r);

/* ngx_si_auth_cache.c */
/* room to verify, and the tokens that were */
ngx_si_auth_t *ngx_si_auth_create(ngx_cycle_t *cycle, EVP_MD_CTX *md,
    ngx_shm_zone_t *revoked);
/*
 * SI_JWT_OK: *id is who bears the token; its texts live until the next call,
 * but for the issuer.  *cached: it was known.
 */
si_jwt_reason_t ngx_si_auth_verify(ngx_si_auth_t *auth,
    ngx_si_auth_conf_t *conf, ngx_str_t *token, ngx_si_identity_t *id,
    ngx_uint_t *cached);
/* whether it was verified before and counts: then *id is as above */
ngx_uint_t ngx_si_auth_known(ngx_si_auth_t *auth, ngx_si_auth_conf_t *conf,
    ngx_str_t *token, ngx_si_identity_t *id);
/* all tokens are verified again */
void ngx_si_auth_forget(ngx_si_auth_t *auth);

/* ngx_si_auth_keys.c */
ngx_si_source_t *ngx_si_keys_source(ngx_conf_t *cf,
    struct ngx_si_pool_s *pool, ngx_str_t *name);
/* a set from a worker; NULL, or why the link must be closed */
const char *ngx_si_keys_push(struct ngx_si_link_s *link, const u_char *p,
    size_t len);
ngx_int_t ngx_si_keys_wait(ngx_http_request_t *r, ngx_si_source_t *source);

/* ngx_si_verdict.c; more of it there */
typedef struct {
    ngx_uint_t                good;     /* keys that it holds */
    ngx_uint_t                bad;
    ngx_uint_t                evicted;  /* before their time, ever */
} ngx_si_verdict_stat_t;

void ngx_si_verdict_stat(ngx_shm_zone_t *shm, ngx_si_verdict_stat_t *stat);
char *ngx_si_verdict_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_si_verdict_find(ngx_http_request_t *r,
    struct ngx_si_pool_s *pool, ngx_str_t *key);
/* NULL, or why the link must be closed */
const char *ngx_si_verdict_push(struct ngx_si_link_s *link, const u_char *p,
    size_t len);

/* ngx_si_auth_conf.c */
char *ngx_si_auth_conf_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_si_auth_conf_jwt(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_si_auth_conf_claim(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
/* what is missing for tokens to be verified, or NULL; *conf gets its source
   of keys, for which it may be copied */
char *ngx_si_auth_conf_check(ngx_conf_t *cf, ngx_si_auth_conf_t **conf,
    struct ngx_si_pool_s *pool);

/* ngx_si_cookie.c */
/*
 * The token of si_auth_cookie; NGX_DECLINED: there is none.  NGX_ABORT: the
 * request may be another page's, which must not act in the name of the user.
 */
ngx_int_t ngx_si_cookie(ngx_http_request_t *r, ngx_str_t *token);
char *ngx_si_cookie_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* ngx_si_ticket.c */
ngx_int_t ngx_si_ticket_init(ngx_conf_t *cf);
/*
 * The request is judged by its ticket alone.  To refuse that is no failure to
 * be charged: after a break every EventSource comes once with a used one.
 */
ngx_uint_t ngx_si_ticket_came(ngx_http_request_t *r);


extern ngx_conf_bitmask_t  ngx_si_auth_kinds[];


#endif /* _NGX_SI_AUTH_H_INCLUDED_ */
