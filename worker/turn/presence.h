/*
 * How many read a conversation's stream: each worker knows the readers that its links have told of, so all of them are
 * asked over the bus when somebody wants to know, and nothing is kept or sent when nobody does.
 */
#ifndef SI_PRESENCE_H
#define SI_PRESENCE_H

#include "turn/bus.h"

typedef struct {
    uint64_t readers;
    bool     complete;      /* every worker whose lease is in force has answered; else there may be more */
} presence_t;

/*
 * Asks, for at most half a second after Postgres has said who lives. Who asks the same meanwhile gets the same answer. With
 * 64 questions under way, or without Redis, it is what this worker knows. 0, SI_ECANCELED or the store's error.
 */
int  co_presence(const char *tenant, const char *user, const char *conversation, presence_t *out);
/* A question or an answer came. */
void presence_got(const bus_msg_t *m);

#endif
