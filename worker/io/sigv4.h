/*
 * AWS Signature Version 4 (docs.aws.amazon.com, IAM user guide: "Create a signed AWS API request"), in header
 * fields or in the query. Pure: no I/O, no clock. Results live in the arena.
 */
#ifndef SI_SIGV4_H
#define SI_SIGV4_H

#include "base/arena.h"

typedef struct {
    const char *access_key, *secret_key;
    const char *token;                  /* of temporary credentials; NULL: none */
} sigv4_keys_t;

typedef struct {
    const char *name, *value;
} sigv4_header_t;

typedef struct {
    sigv4_keys_t keys;
    const char  *region, *service;      /* "us-east-1", "bedrock" */
    uint64_t     time;                  /* seconds since 1970; the service takes 5 minutes of difference, or so */
    const char  *method;
    str_t        path, query;           /* as they are sent: percent-encoded, the query without '?' */
    const sigv4_header_t *headers;      /* all of them are signed; "Host" must be among them */
    size_t       nheaders;
    str_t        body;
    bool         in_query;              /* sign in the query, as for a link that works for `expires` seconds */
    uint32_t     expires;
    bool         normalize;             /* the path loses "//", "." and ".." for signing: for every service but S3 */
    bool         body_header;           /* adds x-amz-content-sha256 (header form): S3 wants it, the others do not mind */
    bool         body_unsigned;         /* "UNSIGNED-PAYLOAD" stands for the body's digest */
    bool         token_unsigned;        /* the token is sent and not signed: some services want it so */
} sigv4_spec_t;

typedef struct {
    char           signature[65];
    const char    *canonical, *to_sign;     /* what was signed; they hold no secret */
    sigv4_header_t added[4];                /* header form: to be sent besides those of the spec */
    size_t         nadded;
    const char    *query;                   /* query form: to be sent instead of that of the spec */
} sigv4_signed_t;

void sigv4_sign(arena_t *a, const sigv4_spec_t *spec, sigv4_signed_t *out);
/* Percent-encodes all but A-Z a-z 0-9 - . _ ~, and '/' if `slashes`: a piece of a path or of a query. */
char *uri_encode(arena_t *a, str_t s, bool slashes);

#endif
