#include <time.h>

#include "base/util.h"

static uint64_t clock_read(clockid_t id, uint64_t per_second)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) != 0) {
        si_die("clock_gettime failed");
    }
    return (uint64_t) ts.tv_sec * per_second
           + (uint64_t) ts.tv_nsec / (1000000000u / per_second);
}

uint64_t clock_ms(void)
{
    return clock_read(CLOCK_MONOTONIC, 1000);
}

uint64_t clock_us(void)
{
    return clock_read(CLOCK_MONOTONIC, 1000000);
}

uint64_t backoff_ms(unsigned failures, uint64_t min, uint64_t max)
{
    uint64_t ms = min;
    uint16_t r;

    while (--failures > 0 && ms < max) {
        ms *= 2;
    }
    ms = SI_MIN(ms, max);
    random_bytes(&r, sizeof(r));
    return ms / 2 + ms * r / (2 * UINT16_MAX);
}

uint64_t clock_wall_ms(void)
{
    return clock_read(CLOCK_REALTIME, 1000);
}
