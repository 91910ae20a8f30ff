#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "run/loop.h"
#include "run/master.h"

struct signals {
    watch_t watch;
    void  (*on_drain)(void);
    void  (*on_stop)(void);
    void  (*on_reopen)(void);
};

static void on_signal(watch_t *w, uint32_t events)
{
    struct signals *s = proc.signals;
    struct signalfd_siginfo info;

    (void) events;
    if (read(w->fd, &info, sizeof(info)) != (ssize_t) sizeof(info)) {
        return;             /* another event of the loop follows if there is more */
    }
    log_line(LOG_DEBUG, "signal", "name", strsignal((int) info.ssi_signo), NULL);
    switch (info.ssi_signo) {
    case SIGQUIT:
        s->on_drain();
        break;
    case SIGUSR1:
        s->on_reopen();
        break;
    default:
        s->on_stop();
    }
}

void signals_init(void (*on_drain)(void), void (*on_stop)(void), void (*on_reopen)(void))
{
    struct signals *s = si_calloc(sizeof(*s));
    sigset_t set;
    int fd;

    *s = (struct signals) { .on_drain = on_drain, .on_stop = on_stop, .on_reopen = on_reopen };
    (void) signal(SIGPIPE, SIG_IGN);
    (void) signal(SIGHUP, SIG_IGN);

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGQUIT);
    (void) sigaddset(&set, SIGTERM);
    (void) sigaddset(&set, SIGINT);
    (void) sigaddset(&set, SIGUSR1);
    /* Exactly these: the master left more blocked. */
    if (sigprocmask(SIG_SETMASK, &set, NULL) != 0
        || (fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
    {
        si_die("signalfd: %s", strerror(errno));
    }
    proc.signals = s;
    if (loop_watch(&s->watch, fd, EPOLLIN, on_signal) != SI_OK) {
        si_die("signals cannot be watched");
    }
}

void signals_exit(void)
{
    struct signals *s = proc.signals;
    int fd;

    if (s != NULL) {
        fd = s->watch.fd;
        loop_unwatch(&s->watch);
        (void) close(fd);
        free(s);
        proc.signals = NULL;
    }
}
