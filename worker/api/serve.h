/* The worker process: brings every layer up and runs until it is told to leave. */
#ifndef SI_SERVE_H
#define SI_SERVE_H

#include "conf/conf.h"

/* `died`: the instance that held this slot before, if it crashed. Never returns. */
_Noreturn void worker_run(int slot, const char *died, conf_t *conf);

#endif
