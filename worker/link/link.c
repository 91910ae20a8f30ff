/* The listener, the socket's names in the folder, and all links together. */
#include "link/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"

#define ACCEPTS_PER_EVENT  64
#define ACCEPT_RETRY_MS    100

/* <folder>/<name>.sock as an address. False if it does not fit. */
static bool socket_path(struct sockaddr_un *sa, const char *name)
{
    int n;

    memset(sa, 0, sizeof *sa);
    sa->sun_family = AF_UNIX;
    n = snprintf(sa->sun_path, sizeof sa->sun_path, "%s/%s.sock", proc.links->folder, name);
    return n > 0 && (size_t) n < sizeof sa->sun_path;
}

static void slot_path(struct sockaddr_un *sa)
{
    char slot[16];

    snprintf(slot, sizeof slot, "%d", proc.slot);
    (void) socket_path(sa, slot);       /* shorter than the instance's, which fits */
}

static int fail_errno(const char *what, const char *path)
{
    log_line(LOG_ERROR, what, "path", path, "error", strerror(errno), NULL);
    return SI_EINVAL;
}

static void on_listen(watch_t *w, uint32_t events);

static void accept_again(ltimer_t *t)
{
    struct links *ls = container_of(t, struct links, retry);

    (void) loop_watch(&ls->listen, ls->listen.fd, EPOLLIN, on_listen);
}

/* Level-triggered: without a pause the loop would spin until a descriptor becomes free. */
static void accept_pause(struct links *ls)
{
    log_line(LOG_ERROR, "cannot accept a link", "error", strerror(errno), NULL);
    (void) loop_watch(&ls->listen, ls->listen.fd, 0, on_listen);
    loop_timer(&ls->retry, ACCEPT_RETRY_MS, accept_again);
}

static void on_listen(watch_t *w, uint32_t events)
{
    struct links *ls = container_of(w, struct links, listen);

    (void) events;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR && errno != ECONNABORTED) {
                accept_pause(ls);
            }
            return;
        }
        if (ls->nlinks >= LINKS_MAX) {
            log_line(LOG_WARN, "link refused", "reason", "too many links", NULL);
            close(fd);
            continue;
        }
        link_new(fd);
    }
}

/* The listening descriptor, or SI_EINVAL. */
static int listen_open(void)
{
    struct sockaddr_un sa;
    int                fd;

    if (!socket_path(&sa, proc.instance)) {
        log_line(LOG_ERROR, "path of the worker's socket is too long", "folder", proc.links->folder, NULL);
        return SI_EINVAL;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail_errno("cannot make a socket", sa.sun_path);
    }
    unlink(sa.sun_path);                /* left by a process that had the same pid */
    if (bind(fd, (struct sockaddr *) &sa, sizeof sa) != 0) {
        close(fd);
        return fail_errno("cannot bind the worker's socket", sa.sun_path);
    }
    /* The folder's permissions protect it; nginx runs as another user. */
    if (chmod(sa.sun_path, 0666) != 0 || listen(fd, 511) != 0) {
        int rc = fail_errno("cannot listen", sa.sun_path);
        unlink(sa.sun_path);
        close(fd);
        return rc;
    }
    return fd;
}

static void links_free(void)
{
    free(proc.links->folder);
    free(proc.links);
    proc.links = NULL;
}

int links_init(const char *folder, size_t max_calls, void (*co_handler)(struct call *call))
{
    struct links *ls = si_calloc(sizeof *ls);
    int           fd;

    proc.links = ls;
    list_init(&ls->all);
    ls->folder = si_strdup(folder);
    ls->max_calls = max_calls;
    ls->co_handler = co_handler;
    ls->listen.fd = -1;
    fd = listen_open();
    if (fd < 0) {
        links_free();
        return fd;
    }
    if (loop_watch(&ls->listen, fd, EPOLLIN, on_listen) != 0) {
        close(fd);
        links_free();
        return SI_EINVAL;
    }
    return 0;
}

/*
 * Held while a slot's name changes hands, so that a worker that leaves cannot remove the name its
 * successor has just taken. Closing the descriptor lets go.
 */
static int folder_lock(void)
{
    int fd = open(proc.links->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && flock(fd, LOCK_EX) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int publish_locked(void)
{
    struct sockaddr_un own, slot, temp;
    char               name[96];
    int                rc = 0;

    snprintf(name, sizeof name, "%s.new", proc.instance);
    if (!socket_path(&own, proc.instance) || !socket_path(&temp, name)) {
        log_line(LOG_ERROR, "path of the worker's socket is too long", "folder", proc.links->folder, NULL);
        return SI_EINVAL;
    }
    slot_path(&slot);
    unlink(temp.sun_path);
    if (link(own.sun_path, temp.sun_path) != 0) {
        return fail_errno("cannot link the worker's socket", temp.sun_path);
    }
    if (rename(temp.sun_path, slot.sun_path) != 0) {
        rc = fail_errno("cannot publish the worker's socket", slot.sun_path);
    }
    unlink(temp.sun_path);              /* rename() leaves it when both names are one file already */
    return rc;
}

int links_publish(void)
{
    int lock = folder_lock(), rc;

    if (lock < 0) {
        return fail_errno("cannot lock the sockets' folder", proc.links->folder);
    }
    rc = publish_locked();
    close(lock);
    proc.links->published = rc == 0;
    return rc;
}

/* Whether the slot's name means this instance. */
static bool slot_is_ours(void)
{
    struct sockaddr_un own, slot;
    struct stat        a, b;

    (void) socket_path(&own, proc.instance);
    slot_path(&slot);
    return stat(own.sun_path, &a) == 0 && stat(slot.sun_path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool links_succeeded(void)
{
    struct sockaddr_un slot;
    struct stat        st;

    slot_path(&slot);
    return stat(slot.sun_path, &st) == 0 && !slot_is_ours();
}

/* Removes the slot's name if it still means this instance, and the instance's own. */
static void unpublish(void)
{
    struct sockaddr_un own, slot;
    int                lock = folder_lock();

    (void) socket_path(&own, proc.instance);
    slot_path(&slot);
    if (proc.links->published && slot_is_ours()) {
        unlink(slot.sun_path);
    }
    unlink(own.sun_path);
    if (lock >= 0) {
        close(lock);
    }
}

void links_load(size_t (*turns)(void))
{
    proc.links->turns = turns;
}

size_t links_calls(void)
{
    return proc.links != NULL ? proc.links->ncalls : 0;
}

void links_drain(void)
{
    if (proc.links->draining) {
        return;
    }
    proc.links->draining = true;
    list_each(it, &proc.links->all) {
        link_frame0(list_entry(it, link_t, node), SI_F_GOAWAY, 0, 0);
    }
}

void links_push(link_t *to, uint8_t kind, const void *p, size_t n)
{
    if (to != NULL) {
        link_push(to, kind, p, n);
        return;
    }
    list_each(it, &proc.links->all) {
        link_push(list_entry(it, link_t, node), kind, p, n);
    }
}

void links_asks(void (*fn)(uint64_t link, const si_ask_t *ask))
{
    proc.links->ask = fn;
}

void links_grant(uint64_t link, const si_grant_t *grant)
{
    uint8_t text[SI_GRANT_HEAD + SI_LIMIT_MAX];

    si_grant_put(text, grant);
    list_each(it, &proc.links->all) {
        link_t *l = list_entry(it, link_t, node);

        if (l->serial == link) {
            link_push(l, SI_PUSH_GRANT, text, SI_GRANT_HEAD + grant->name_len);
        }
    }
}

void links_hooks(void (*hello)(link_t *to), void (*want)(str_t name))
{
    proc.links->hello = hello;
    proc.links->want = want;
}

void links_exit(void)
{
    struct links *ls = proc.links;
    int           fd;

    if (ls == NULL) {
        return;
    }
    unpublish();
    fd = ls->listen.fd;
    loop_unwatch(&ls->listen);
    close(fd);
    loop_timer_del(&ls->retry);
    list_each_safe(it, &ls->all) {
        link_bury(list_entry(it, link_t, node));
    }
    links_free();
}

bool links_alive(const char *instance)
{
    struct sockaddr_un sa;
    int                fd, err = 0;

    if (instance[0] == '\0' || strchr(instance, '/') != NULL || !socket_path(&sa, instance)) {
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return true;                    /* cannot tell: nobody may be declared dead for that */
    }
    if (connect(fd, (struct sockaddr *) &sa, sizeof sa) != 0) {
        err = errno;                    /* EAGAIN: its backlog is full, so it lives */
    }
    close(fd);
    return err != ECONNREFUSED && err != ENOENT;
}
