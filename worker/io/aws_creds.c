/* The credentials that are kept, and when they are fetched. */
#include "io/aws_creds.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/aws_source.h"
#include "run/co.h"

#define FETCH_MS     20000u             /* a whole fetch, with all its attempts */
#define EARLY_MS     300000u            /* an instance has new keys 5 minutes before the old ones expire (EC2 user guide) */
#define AGAIN_MS     30000u             /* between two fetches while the keys are good */
#define FAILED_MS    500u               /* after the first failure, doubled with each */
#define MARGIN_MS    10000u             /* keys are not used in their last seconds: a request takes time, clocks differ */

struct aws {
    arena_t     *arena;                 /* of `keys`; NULL: there are none */
    sigv4_keys_t keys;
    uint64_t     expires;               /* clock_wall_ms(), or AWS_FOREVER */
    uint64_t     fetched, next;         /* clock_ms(): when they came; not fetched again before, while they are good */
    unsigned     failures;              /* in a row */
    int          rc;                    /* of the last fetch */
    char         why[AWS_WHY_MAX];
    bool         fetching;
    list_t       waiters;
};

void aws_init(void)
{
    proc.aws = si_calloc(sizeof *proc.aws);
    list_init(&proc.aws->waiters);
}

void aws_exit(void)
{
    arena_free(proc.aws->arena);
    free(proc.aws);
    proc.aws = NULL;
}

/* ---- fetching ---- */

/* How long from now the keys need no thought. */
static uint64_t rest_ms(uint64_t expires)
{
    uint64_t now = clock_wall_ms(), left = expires > now ? expires - now : 0;

    if (expires == AWS_FOREVER) {
        return UINT32_MAX;
    }
    return SI_MAX(left > EARLY_MS ? left - EARLY_MS : 0, (uint64_t) AGAIN_MS);
}

static void keep(struct aws *w, const aws_fetch_t *f)
{
    arena_free(w->arena);
    w->arena = f->a;
    w->keys = f->keys;
    w->expires = f->expires;
    w->failures = 0;
    w->fetched = clock_ms();
    w->next = w->fetched + rest_ms(f->expires);
    log_line(LOG_INFO, "AWS credentials are there", "source", f->source, NULL);
}

static void note_failure(struct aws *w, const aws_fetch_t *f)
{
    w->next = clock_ms() + backoff_ms(++w->failures, FAILED_MS, AGAIN_MS);
    memcpy(w->why, f->why, sizeof w->why);
    log_line(LOG_WARN, "no AWS credentials", "why", f->why, NULL);
}

static bool good_until(uint64_t expires)
{
    return expires == AWS_FOREVER || clock_wall_ms() + MARGIN_MS < expires;
}

static void co_fetch(void *arg)
{
    struct aws *w = arg;
    aws_fetch_t f = { .a = arena_new(4096), .deadline = clock_ms() + FETCH_MS };

    w->rc = co_aws_fetch(&f);
    w->fetching = false;
    if (w->rc == 0 && !good_until(f.expires)) {
        snprintf(f.why, sizeof f.why, "the AWS credentials of the %s have expired already", f.source);
        w->rc = SI_EUNAVAIL;
    }
    if (w->rc == 0) {
        keep(w, &f);
    } else {
        arena_free(f.a);
        if (w->rc != SI_ECANCELED) {
            note_failure(w, &f);
        }
    }
    waiters_wake(&w->waiters, w->rc);
}

/* ---- using ---- */

static bool usable(const struct aws *w)
{
    return w->arena != NULL && good_until(w->expires);
}

static void fetch_if_due(struct aws *w)
{
    if (!w->fetching && (clock_ms() >= w->next || (!usable(w) && w->failures == 0))) {
        w->fetching = true;
        co_spawn("aws-keys", co_fetch, w);
    }
}

static const char *copy(arena_t *a, const char *z)
{
    return z != NULL ? arena_strdup(a, z) : NULL;
}

int co_aws_keys(arena_t *a, sigv4_keys_t *out, char why[AWS_WHY_MAX], uint64_t deadline)
{
    struct aws *w = proc.aws;
    int         rc;

    fetch_if_due(w);
    if (!usable(w) && w->fetching) {
        rc = co_wait_in(&w->waiters, "aws:keys", deadline);
        if (rc == SI_ECANCELED || (rc == SI_ETIMEDOUT && w->fetching)) {
            snprintf(why, AWS_WHY_MAX, "AWS credentials did not come in time");
            return rc;
        }
    }
    if (!usable(w)) {
        snprintf(why, AWS_WHY_MAX, "%s", w->why);
        return w->rc == SI_ENOENT ? SI_ENOENT : SI_EUNAVAIL;
    }
    *out = (sigv4_keys_t) { copy(a, w->keys.access_key), copy(a, w->keys.secret_key), copy(a, w->keys.token) };
    return 0;
}

void aws_keys_refused(void)
{
    struct aws *w = proc.aws;

    if (w->arena != NULL && w->expires != AWS_FOREVER && clock_ms() >= w->fetched + AGAIN_MS) {
        arena_free(w->arena);
        w->arena = NULL;
    }
}
