/*
 * Limits of the whole cluster: one bucket for each key in Redis, of which edges take slices in advance (ASK, GRANT of
 * link/frame.h), so that no request waits for it. GCRA (ITU-T I.371) in requests and microseconds of Redis' clock:
 *
 *   si:limit:{<zone>:<key, 16 hex digits>}   hash  at     us since 1970, when `level` was so
 *                                                  level  requests charged that have not drained, a double: exact far
 *                                                         below the 10^6 of the largest burst
 *
 * It expires a second after it has drained. One script drains it, takes back what a node did not use, charges what a node
 * passed without a lease, and grants of the rest what is asked for.
 */
#ifndef SI_QUOTA_H
#define SI_QUOTA_H

/*
 * Answers the ASKs of all links from now on: each within QUOTA_MS of Redis, 512 at a time (more are not answered, and asked
 * again). Without Redis, or with one that answers errors, GRANT says so. After links_init().
 */
#define QUOTA_MS  200
void quotas_init(void);

#endif
