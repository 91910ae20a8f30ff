
/*
 * Tokens that were verified, by their digest, until they expire: the common
 * request costs a hash.  Each process has its own, so no lock is needed.
 */


#include "ngx_si_module.h"


typedef struct {
    ngx_rbtree_node_t         node;     /* key: the digest's first bytes */
    ngx_queue_t               queue;    /* last used first */
    ngx_si_auth_conf_t       *conf;     /* by which it was verified */
    ngx_si_identity_t         id;       /* its texts are in data */
    ngx_uint_t                round;    /* of what is revoked, seen then */
    u_char                    digest[NGX_SI_AUTH_DIGEST];
    u_char                    data[1];
} ngx_si_auth_token_t;


struct ngx_si_auth_s {
    ngx_rbtree_t              tree;
    ngx_rbtree_node_t         sentinel;
    ngx_queue_t               queue;
    ngx_uint_t                n;
    ngx_log_t                *log;
    ngx_shm_zone_t           *revoked;
    EVP_MD_CTX               *md;
    si_jwt_t                  work;
    u_char                    subject[NGX_SI_AUTH_TEXT];
    u_char                    tenant[NGX_SI_AUTH_TEXT];
    u_char                    scopes[NGX_SI_AUTH_SCOPES];
};


static void ngx_si_auth_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);
static ngx_int_t ngx_si_auth_compare(ngx_si_auth_token_t *t,
    ngx_si_auth_conf_t *conf, u_char *digest);
static ngx_rbtree_key_t ngx_si_auth_key(u_char *digest);
static ngx_uint_t ngx_si_auth_recall(ngx_si_auth_t *auth,
    ngx_si_auth_token_t *t, ngx_uint_t round, ngx_si_identity_t *id);
static ngx_si_auth_token_t *ngx_si_auth_find(ngx_si_auth_t *auth,
    ngx_si_auth_conf_t *conf, u_char *digest);
static void ngx_si_auth_keep(ngx_si_auth_t *auth, ngx_si_auth_conf_t *conf,
    u_char *digest, ngx_si_identity_t *id, ngx_uint_t round);
static void ngx_si_auth_marks(ngx_si_auth_t *auth, u_char *digest,
    ngx_si_identity_t *id);
static uint64_t ngx_si_auth_mark(ngx_si_auth_t *auth, const char *kind,
    ngx_str_t *tenant, ngx_str_t *issuer, ngx_str_t *value);
static void ngx_si_auth_drop(ngx_si_auth_t *auth, ngx_si_auth_token_t *t);
static si_jwt_reason_t ngx_si_auth_read(ngx_si_auth_t *auth,
    ngx_si_auth_conf_t *conf, ngx_str_t *token, ngx_si_identity_t *id);
static ngx_int_t ngx_si_auth_text(si_jwt_t *work, ngx_str_t *claim,
    u_char *buf, size_t size, ngx_str_t *text);
static ngx_int_t ngx_si_auth_list(si_jwt_t *work, ngx_str_t *claim,
    u_char *buf, size_t size, ngx_str_t *text);


ngx_si_auth_t *
ngx_si_auth_create(ngx_cycle_t *cycle, EVP_MD_CTX *md,
    ngx_shm_zone_t *revoked)
{
    ngx_si_auth_t  *auth;

    auth = ngx_pcalloc(cycle->pool, sizeof(ngx_si_auth_t));
    if (auth == NULL) {
        return NULL;
    }

    auth->md = md;
    auth->log = cycle->log;
    auth->revoked = revoked;
    ngx_rbtree_init(&auth->tree, &auth->sentinel, ngx_si_auth_insert);
    ngx_queue_init(&auth->queue);

    return auth;
}


si_jwt_reason_t
ngx_si_auth_verify(ngx_si_auth_t *auth, ngx_si_auth_conf_t *conf,
    ngx_str_t *token, ngx_si_identity_t *id, ngx_uint_t *cached)
{
    u_char                digest[NGX_SI_AUTH_DIGEST];
    ngx_uint_t            round;
    si_jwt_reason_t       reason;
    ngx_si_auth_token_t  *t;

    *cached = 0;

    if (token->len > SI_JWT_MAX) {
        return SI_JWT_LONG;
    }

    if (ngx_si_digest(auth->md, token, 1, digest) != NGX_OK) {
        return SI_JWT_FORM;
    }

    t = ngx_si_auth_find(auth, conf, digest);
    round = ngx_si_revoked_round(auth->revoked);

    if (t && t->round != round) {

        if (ngx_si_revoked(auth->revoked, &t->id.marks)) {
            ngx_si_auth_drop(auth, t);
            return SI_JWT_REVOKED;
        }

        t->round = round;
    }

    if (ngx_si_auth_recall(auth, t, round, id)) {
        *cached = 1;

        return SI_JWT_OK;
    }

    if (t) {
        ngx_si_auth_drop(auth, t);
    }

    reason = ngx_si_auth_read(auth, conf, token, id);

    if (reason != SI_JWT_OK) {
        return reason;
    }

    ngx_si_auth_marks(auth, digest, id);

    if (ngx_si_revoked(auth->revoked, &id->marks)) {
        return SI_JWT_REVOKED;
    }

    ngx_si_auth_keep(auth, conf, digest, id, round);

    return SI_JWT_OK;
}


ngx_uint_t
ngx_si_auth_known(ngx_si_auth_t *auth, ngx_si_auth_conf_t *conf,
    ngx_str_t *token, ngx_si_identity_t *id)
{
    u_char  digest[NGX_SI_AUTH_DIGEST];

    if (token->len > SI_JWT_MAX
        || ngx_si_digest(auth->md, token, 1, digest) != NGX_OK)
    {
        return 0;
    }

    return ngx_si_auth_recall(auth, ngx_si_auth_find(auth, conf, digest),
                              ngx_si_revoked_round(auth->revoked), id);
}


/* a token that is remembered, if it still counts */

static ngx_uint_t
ngx_si_auth_recall(ngx_si_auth_t *auth, ngx_si_auth_token_t *t,
    ngx_uint_t round, ngx_si_identity_t *id)
{
    if (t == NULL || t->round != round || ngx_time() >= t->id.expires) {
        return 0;
    }

    ngx_queue_remove(&t->queue);
    ngx_queue_insert_head(&auth->queue, &t->queue);

    *id = t->id;

    return 1;
}


static si_jwt_reason_t
ngx_si_auth_read(ngx_si_auth_t *auth, ngx_si_auth_conf_t *conf,
    ngx_str_t *token, ngx_si_identity_t *id)
{
    si_jwt_t         *work = &auth->work;
    si_jwt_reason_t   reason;

    reason = si_jwt_verify(work, conf->source ? conf->source->set : conf->keys,
                           conf->secrets, &conf->policy,
                           ngx_time(), (char *) token->data, token->len);

    if (reason != SI_JWT_OK) {
        return reason;
    }

    ngx_memzero(id, sizeof(ngx_si_identity_t));

    id->issuer.data = (u_char *) conf->policy.issuer.p;
    id->issuer.len = conf->policy.issuer.n;
    id->expires = work->exp + conf->policy.leeway;
    id->tenant = conf->tenant;

    if (ngx_si_auth_text(work, &conf->user_claim, auth->subject,
                         NGX_SI_AUTH_TEXT, &id->subject)
        != NGX_OK)
    {
        return SI_JWT_SUBJECT;
    }

    if (conf->tenant_claim.len
        && ngx_si_auth_text(work, &conf->tenant_claim, auth->tenant,
                            NGX_SI_AUTH_TEXT, &id->tenant)
           != NGX_OK)
    {
        return SI_JWT_TENANT;
    }

    if (conf->scopes_claim.len
        && ngx_si_auth_list(work, &conf->scopes_claim, auth->scopes,
                            NGX_SI_AUTH_SCOPES, &id->scopes)
           != NGX_OK)
    {
        return SI_JWT_CLAIMS;
    }

    return SI_JWT_OK;
}


/* by what it can be revoked, see frame.h */

static void
ngx_si_auth_marks(ngx_si_auth_t *auth, u_char *digest, ngx_si_identity_t *id)
{
    u_char      jti[NGX_SI_AUTH_TEXT], tenant[NGX_SI_AUTH_TEXT];
    u_char      hex[2 * NGX_SI_AUTH_DIGEST];
    ngx_str_t   name, value, none = ngx_null_string;
    ptrdiff_t   n;
    si_jwt_t   *work = &auth->work;

    name = id->tenant;

    if (name.len == 36) {
        ngx_strlow(tenant, name.data, name.len);
        name.data = tenant;
    }

    n = si_json_string(&work->claims, si_jwt_claim(work, "jti"),
                       (char *) jti, sizeof(jti));
    value.data = jti;
    value.len = n > 0 ? n : 0;

    id->marks.mark[0] = n > 0 ? ngx_si_auth_mark(auth, "jti", &name,
                                                 &id->issuer, &value)
                              : 0;
    id->marks.mark[1] = ngx_si_auth_mark(auth, "subject", &name, &id->issuer,
                                         &id->subject);

    ngx_hex_dump(hex, digest, NGX_SI_AUTH_DIGEST);
    value.data = hex;
    value.len = sizeof(hex);

    id->marks.mark[2] = ngx_si_auth_mark(auth, "digest", &name, &none,
                                         &value);
    id->marks.issued = work->iat > 0 ? work->iat : 0;
}


/* a digest that fails stands for no mark */

static uint64_t
ngx_si_auth_mark(ngx_si_auth_t *auth, const char *kind, ngx_str_t *tenant,
    ngx_str_t *issuer, ngx_str_t *value)
{
    u_char     sum[NGX_SI_AUTH_DIGEST];
    ngx_str_t  nul = { 1, (u_char *) "" };
    ngx_str_t  part[] = {
        { ngx_strlen(kind), (u_char *) kind }, nul,
        *tenant, nul, *issuer, nul, *value
    };

    return ngx_si_digest(auth->md, part, 7, sum) == NGX_OK ? si_get64(sum)
                                                           : 0;
}


static ngx_int_t
ngx_si_auth_text(si_jwt_t *work, ngx_str_t *claim, u_char *buf, size_t size,
    ngx_str_t *text)
{
    ptrdiff_t  n;

    n = si_json_string(&work->claims,
                       si_jwt_claim(work, (char *) claim->data),
                       (char *) buf, size);
    if (n <= 0) {
        return NGX_ERROR;
    }

    text->data = buf;
    text->len = n;

    return NGX_OK;
}


/* a string, or a list of strings that becomes one; it may be missing */

static ngx_int_t
ngx_si_auth_list(si_jwt_t *work, ngx_str_t *claim, u_char *buf, size_t size,
    ngx_str_t *text)
{
    u_char                 *p;
    ptrdiff_t               n;
    const si_json_value_t  *v, *e;

    v = si_jwt_claim(work, (char *) claim->data);

    if (v == NULL) {
        return NGX_OK;
    }

    if (v->type == SI_JSON_STRING) {
        return v->len ? ngx_si_auth_text(work, claim, buf, size, text)
                      : NGX_OK;
    }

    p = buf;

    for (e = si_json_first(&work->claims, v);
         e;
         e = si_json_after(&work->claims, v, e))
    {
        if (p > buf && p < buf + size) {
            *p++ = ' ';
        }

        n = si_json_string(&work->claims, e, (char *) p, buf + size - p);
        if (n <= 0) {
            return NGX_ERROR;
        }

        p += n;
    }

    text->data = buf;
    text->len = p - buf;

    return v->type == SI_JSON_ARRAY ? NGX_OK : NGX_ERROR;
}


static ngx_rbtree_key_t
ngx_si_auth_key(u_char *digest)
{
    ngx_rbtree_key_t  key;

    ngx_memcpy(&key, digest, sizeof(ngx_rbtree_key_t));

    return key;
}


/* one token may be known under several configurations */

static ngx_int_t
ngx_si_auth_compare(ngx_si_auth_token_t *t, ngx_si_auth_conf_t *conf,
    u_char *digest)
{
    if (t->conf != conf) {
        return conf < t->conf ? -1 : 1;
    }

    return ngx_memcmp(digest, t->digest, NGX_SI_AUTH_DIGEST);
}


static void
ngx_si_auth_insert(ngx_rbtree_node_t *temp, ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel)
{
    ngx_uint_t             left;
    ngx_rbtree_node_t    **p;
    ngx_si_auth_token_t   *t = (ngx_si_auth_token_t *) node;

    for ( ;; ) {
        left = node->key != temp->key
               ? node->key < temp->key
               : ngx_si_auth_compare((ngx_si_auth_token_t *) temp, t->conf,
                                     t->digest) < 0;

        p = left ? &temp->left : &temp->right;

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;
    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


static ngx_si_auth_token_t *
ngx_si_auth_find(ngx_si_auth_t *auth, ngx_si_auth_conf_t *conf,
    u_char *digest)
{
    ngx_int_t           order;
    ngx_rbtree_key_t    key;
    ngx_rbtree_node_t  *node;

    key = ngx_si_auth_key(digest);
    node = auth->tree.root;

    while (node != &auth->sentinel) {
        order = key != node->key
                ? (key < node->key ? -1 : 1)
                : ngx_si_auth_compare((ngx_si_auth_token_t *) node, conf,
                                      digest);
        if (order == 0) {
            return (ngx_si_auth_token_t *) node;
        }

        node = order < 0 ? node->left : node->right;
    }

    return NULL;
}


/* without memory it is not kept, and verified again next time */

static void
ngx_si_auth_keep(ngx_si_auth_t *auth, ngx_si_auth_conf_t *conf,
    u_char *digest, ngx_si_identity_t *id, ngx_uint_t round)
{
    u_char               *p;
    ngx_queue_t          *q;
    ngx_si_auth_token_t  *t;

    if (auth->n == NGX_SI_AUTH_CACHED) {
        q = ngx_queue_last(&auth->queue);
        ngx_si_auth_drop(auth, ngx_queue_data(q, ngx_si_auth_token_t, queue));
    }

    t = ngx_alloc(offsetof(ngx_si_auth_token_t, data) + id->subject.len
                  + id->tenant.len + id->scopes.len, auth->log);
    if (t == NULL) {
        return;
    }

    t->conf = conf;
    t->id = *id;
    t->round = round;
    ngx_memcpy(t->digest, digest, NGX_SI_AUTH_DIGEST);

    p = t->data;
    t->id.subject.data = p;
    p = ngx_cpymem(p, id->subject.data, id->subject.len);
    t->id.tenant.data = p;
    p = ngx_cpymem(p, id->tenant.data, id->tenant.len);
    t->id.scopes.data = p;
    ngx_memcpy(p, id->scopes.data, id->scopes.len);

    t->node.key = ngx_si_auth_key(digest);
    ngx_rbtree_insert(&auth->tree, &t->node);
    ngx_queue_insert_head(&auth->queue, &t->queue);
    auth->n++;
}


void
ngx_si_auth_forget(ngx_si_auth_t *auth)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&auth->queue)) {
        q = ngx_queue_head(&auth->queue);
        ngx_si_auth_drop(auth, ngx_queue_data(q, ngx_si_auth_token_t, queue));
    }
}


static void
ngx_si_auth_drop(ngx_si_auth_t *auth, ngx_si_auth_token_t *t)
{
    ngx_rbtree_delete(&auth->tree, &t->node);
    ngx_queue_remove(&t->queue);
    auth->n--;
    ngx_free(t);
}
