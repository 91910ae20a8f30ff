/* What the model gets to read: system prompt, the last messages under a token budget, the user's input. */
#ifndef SI_HISTORY_H
#define SI_HISTORY_H

#include "llm/provider.h"
#include "store/store.h"

typedef struct {
    arena_t            *arena;
    const conf_t       *conf;
    const conf_agent_t *agent;
    const turn_row_t   *row;
    const char         *tenant, *user;
    bool                related;            /* look for what the user said elsewhere, too */

    chat_message_t      *messages;           /* out: oldest first, the input last */
    size_t              n;
    chat_message_t      *related_messages;   /* out */
    size_t              nrelated;
} history_t;

/* 0 or the store's error. The newest messages win: history.messages of them at most, history.tokens together. */
int co_history(history_t *h);

#endif
