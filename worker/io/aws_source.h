/* Inside of io/aws_creds: where credentials come from. */
#ifndef SI_AWS_SOURCE_H
#define SI_AWS_SOURCE_H

#include "io/aws_creds.h"

#define AWS_FOREVER  UINT64_MAX

typedef struct {
    arena_t     *a;                 /* for strings of the result */
    uint64_t     deadline;          /* clock_ms() of the whole fetch */
    sigv4_keys_t keys;
    uint64_t     expires;           /* clock_wall_ms(), or AWS_FOREVER */
    const char  *source;            /* "environment" …; static */
    char         why[AWS_WHY_MAX];
} aws_fetch_t;

/* Asks the chain. 0, SI_ENOENT, SI_EUNAVAIL, SI_ETIMEDOUT with f->why, or SI_ECANCELED. */
int co_aws_fetch(aws_fetch_t *f);
/* May credentials be asked for, and a token be sent, without encryption? `url` as in AWS_CONTAINER_CREDENTIALS_FULL_URI. */
bool aws_url_allowed(const char *url);

#endif
