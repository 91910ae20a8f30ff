/*
 * The master: spawns workers, respawns the dead with back-off, reloads and drains.
 *
 * SIGHUP  a new generation of workers is started (after spec.reload() has accepted the
 *         configuration); the old one gets SIGQUIT and leaves when its turns are done
 * SIGQUIT all workers drain, then the master leaves
 * SIGTERM, SIGINT  all workers get SIGTERM; the master leaves when they have (SIGKILL after 10 s)
 * SIGUSR1 logs are reopened, in the workers too
 */
#ifndef SI_MASTER_H
#define SI_MASTER_H

#include "base/base.h"

typedef struct {
    int    workers;                             /* slots 0..workers-1 */
    /* Runs in the child and never returns. `died` is the instance ("<slot>.<pid>") that this one follows in its slot after a crash, or NULL. */
    _Noreturn void (*worker)(int slot, const char *died, void *arg);
    /* Re-reads the configuration in the master; 0, or negative: the old one stays. May change *workers. */
    int  (*reload)(int *workers, void *arg);
    void *arg;
    const char *pid_file;                       /* written with the master's pid, removed at the end; may be NULL */
} master_spec_t;

/* Returns the exit status when all is over. A worker whose master dies gets SIGTERM (PR_SET_PDEATHSIG). */
int master_run(const master_spec_t *spec);

/*
 * In a worker: SIGQUIT -> on_drain(), SIGTERM and SIGINT -> on_stop(), SIGUSR1 -> on_reopen(), as
 * events of the loop (signalfd). SIGPIPE and SIGHUP are ignored.
 */
void signals_init(void (*on_drain)(void), void (*on_stop)(void), void (*on_reopen)(void));

#endif
