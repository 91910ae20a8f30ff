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

#define MASTER_WORKERS_MAX  256

typedef struct {
    int    workers;                             /* slots 0..workers-1, at most MASTER_WORKERS_MAX */
    /*
     * Runs in the child and never returns. `died` is the instance ("<slot>.<pid>") that this one follows in
     * its slot after a crash, or NULL. proc.slot and proc.instance are set. The signals below stay
     * blocked until signals_init().
     */
    void (*worker)(int slot, const char *died, void *arg);
    /* Re-reads the configuration in the master; 0, or negative: the old one stays. May change *workers. */
    int  (*reload)(int *workers, void *arg);
    void *arg;
    const char *pid_file;                       /* written with the master's pid, removed at the end; may be NULL */
} master_spec_t;

/*
 * Returns the exit status when all is over: 0, or 1 when it could not start (logged). A dead worker is
 * respawned at once; one that dies again within 10 s waits 100 ms, then twice as long each time, at most 5 s. A worker whose
 * master dies gets SIGTERM (PR_SET_PDEATHSIG).
 */
int master_run(const master_spec_t *spec);

/*
 * In a worker: SIGQUIT -> on_drain(), SIGTERM and SIGINT -> on_stop(), SIGUSR1 -> on_reopen(), as
 * events of the loop (signalfd). They may come more than once. SIGPIPE and SIGHUP are ignored.
 * Sets proc.signals. Works without a master too.
 */
void signals_init(void (*on_drain)(void), void (*on_stop)(void), void (*on_reopen)(void));
void signals_exit(void);

#endif
