/* Of programs whose tests wait for a server: a loop, and the coroutine that runs them. */
#ifndef SI_TEST_CO_TEST_H
#define SI_TEST_CO_TEST_H

#include <signal.h>

#include "base/arena.h"
#include "base/logger.h"
#include "run/co.h"
#include "run/loop.h"
#include "tap.h"

/* What redis_init() and its like need. */
static inline void co_test_begin(void)
{
    signal(SIGPIPE, SIG_IGN);
    logger_open(NULL, LOG_DEBUG);
    loop_init();
    co_init();
}

/* Runs co_main with an arena until it calls loop_stop(), takes everything down, and prints the plan; what main() returns. */
static inline int co_test_run(void (*co_main)(void *arena))
{
    arena_t *a = arena_new(4096);

    co_spawn("test", co_main, a);
    loop_run();
    arena_free(a);
    co_exit();
    loop_free();
    return done_testing();
}

#endif
