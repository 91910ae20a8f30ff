/*
 * The worker's side of the links: it listens on <folder>/<instance>.sock, speaks
 * frame.h with every edge process, and starts a coroutine for each call.
 */
#ifndef SI_LINK_H
#define SI_LINK_H

#include "base/base.h"

struct call;
struct si_ask;
struct si_grant;
struct link;

/*
 * Listens. `handler` runs in a coroutine of its own for each call and must answer it (head and end,
 * attach, or moved); when it returns without, the call is answered with 500. At most `max_calls`
 * at once over all links; a further OPEN is answered 503 with Retry-After: 1 without a coroutine.
 * Sets proc.links. 0 or SI_EINVAL (logged).
 */
int  links_init(const char *folder, size_t max_calls, void (*co_handler)(struct call *call));
/* Puts this instance at <folder>/<slot>.sock (hard link, then rename: atomic). Called when calls can be served. */
int  links_publish(void);
/* GOAWAY to every link, now and to those that come. Calls that come all the same are served. */
void links_drain(void);
/* Says it (SI_PUSH_...) to this edge process, NULL: to all: n bytes, SI_DATA_MAX - 1 at most. */
void links_push(struct link *to, uint8_t kind, const void *p, size_t n);
/* ASK has come on that link: fn must not block; what it is told of lives until it returns. After links_init(). */
void links_asks(void (*fn)(uint64_t link, const struct si_ask *ask));
/* The answer to it, if the link still is there. */
void links_grant(uint64_t link, const struct si_grant *grant);
/* hello: a link has come up, and is told what all must know. want: WANT has come. After links_init(). None: nothing happens. */
void links_hooks(void (*hello)(struct link *to), void (*want)(str_t name));
/* Calls being handled. */
size_t links_calls(void);
/* `turns` says how many turns run now: PONG carries it to the edge (least loaded). None: 0. After links_init(). */
void links_load(size_t (*turns)(void));
/* Closes everything, removes the instance's socket (and the slot's, if it still is this instance's). */
void links_exit(void);
/* True when another instance has taken this one's slot: calls for what is not here can go there. */
bool links_succeeded(void);
/* True when a worker of this machine listens on <folder>/<instance>.sock: it lives. Never blocks (Unix sockets). */
bool links_alive(const char *instance);

#endif
