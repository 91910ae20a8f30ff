#include "llm/spare.h"

#include "base/logger.h"
#include "base/proc.h"
#include "llm/trim.h"

enum { AS_IT_IS, SHORTER, CHEAPER };

bool spare(arena_t *a, const char *name, llm_request_t *q, attempt_t *t, unsigned *stage)
{
    const conf_agent_t   *agent = name != NULL ? conf_agent(proc.conf, str_of(name)) : NULL;
    const chat_message_t *kept;
    size_t                n;

    if (agent == NULL) {
        return false;
    }
    if (*stage == AS_IT_IS) {
        *stage = SHORTER;
        n = agent->over_budget_keep < 100 ? chat_trim(a, q->messages, q->nmessages, (unsigned) agent->over_budget_keep, &kept) : q->nmessages;
        if (n < q->nmessages) {
            q->messages = kept;
            q->nmessages = n;
            log_line(LOG_INFO, "over budget: the oldest messages are left out", "agent", name, NULL);
            return true;
        }
    }
    if (*stage == SHORTER && attempt_divert(t, &agent->over_budget_models)) {
        *stage = CHEAPER;
        log_line(LOG_INFO, "over budget: a cheaper model is asked", "agent", name, NULL);
        return true;
    }
    return false;
}
