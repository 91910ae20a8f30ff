/*
 * AWS credentials of this process: the chain that Amazon's own clients follow, as far as servers need it
 * (docs.aws.amazon.com/sdkref: "Standardized credential providers"), the first that is configured counts:
 *
 *   environment   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   web identity  AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_SESSION_NAME: AssumeRoleWithWebIdentity of
 *                 AWS_ENDPOINT_URL_STS, or of STS in AWS_REGION (AWS_DEFAULT_REGION), or of the global STS
 *   container     AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI (https, or http to this machine, ECS or EKS), with
 *                 AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN
 *   instance      IMDSv2 (never version 1) at AWS_EC2_METADATA_SERVICE_ENDPOINT, unless AWS_EC2_METADATA_DISABLED is true;
 *                 AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE, AWS_METADATA_SERVICE_TIMEOUT, AWS_METADATA_SERVICE_NUM_ATTEMPTS
 *
 * They are kept until shortly before they expire and then fetched again while the old ones are still used. One fetch
 * runs at a time, in a coroutine of its own: whoever waits may be cancelled without harm to the others.
 */
#ifndef SI_AWS_CREDS_H
#define SI_AWS_CREDS_H

#include "io/sigv4.h"

#define AWS_WHY_MAX  256

void aws_init(void);                /* sets proc.aws; needs http_init() */
void aws_exit(void);                /* after co_exit() */
/*
 * Keys that are valid now, copied into the arena. 0; SI_ENOENT (none configured) or SI_EUNAVAIL (a source is, and
 * fails) with `why` for a person, no secrets in it; SI_ETIMEDOUT, SI_ECANCELED. After a failure the same comes at once
 * until it is time to try again (0.5 to 30 s).
 */
int  co_aws_keys(arena_t *a, sigv4_keys_t *out, char why[AWS_WHY_MAX], uint64_t deadline);
/* A service refused the keys: they are fetched again at the next call, unless that was done less than 30 s ago. */
void aws_keys_refused(void);

#endif
