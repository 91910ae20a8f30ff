#include "llm/spare.h"

#include "base/logger.h"
#include "base/proc.h"
#include "llm/summary.h"
#include "llm/trim.h"

enum { AS_IT_IS, SUMMED_UP, SHORTER, CHEAPER };

static const conf_agent_t *agent_of(const gateway_spec_t *spec)
{
    return spec->agent != NULL && !spec->as_is ? conf_agent(proc.conf, str_of(spec->agent)) : NULL;
}

/* Puts a summary in front of the messages that stay, behind those of the system before them. */
static void put_summary(arena_t *a, llm_request_t *q, size_t at, str_t text)
{
    chat_message_t *all = arena_alloc(a, (q->nmessages + 1) * sizeof *all);
    size_t          n = 0;

    for (size_t i = 0; i < q->nmessages; i++) {
        if (i == at) {
            all[n++] = chat_text(a, CHAT_USER, text);
        }
        if (i >= at || q->messages[i].role == CHAT_SYSTEM) {
            all[n++] = q->messages[i];
        }
    }
    q->messages = all;
    q->nmessages = n;
}

/* 1, 0: there is none, or SI_ECANCELED. */
static int co_sum_up(arena_t *a, const gateway_spec_t *spec, const conf_agent_t *agent, filter_call_t *f, llm_request_t *q)
{
    size_t at = agent->over_budget_summary != NULL ? chat_cut(q->messages, q->nmessages, (unsigned) agent->over_budget_keep) : 0;
    str_t  text;
    int    rc = at > 0 ? co_summary(a, spec, agent, f, q, at, &text) : SI_EINVAL;

    if (rc == 0) {
        put_summary(a, q, at, text);
        log_line(LOG_INFO, "over budget: the oldest messages are summed up", "agent", agent->name, NULL);
    }
    return rc == 0 ? 1 : rc == SI_ECANCELED ? rc : 0;
}

static bool shorten(arena_t *a, const conf_agent_t *agent, const spare_t *s, llm_request_t *q)
{
    const chat_message_t *kept;
    size_t                n = s->nmessages;

    if (agent->over_budget_keep < 100) {
        n = chat_trim(a, s->messages, s->nmessages, (unsigned) agent->over_budget_keep, &kept);
    }
    if (n == s->nmessages) {
        return false;
    }
    q->messages = kept;
    q->nmessages = n;
    log_line(LOG_INFO, "over budget: the oldest messages are left out", "agent", agent->name, NULL);
    return true;
}

int co_spare(arena_t *a, const gateway_spec_t *spec, filter_call_t *f, spare_t *s, llm_request_t *q, attempt_t *t)
{
    const conf_agent_t *agent = agent_of(spec);
    int                 rc = 0;

    if (agent == NULL) {
        return 0;
    }
    if (s->stage == AS_IT_IS) {
        *s = (spare_t) { SUMMED_UP, q->messages, q->nmessages };
        rc = co_sum_up(a, spec, agent, f, q);
    }
    if (rc == 0 && s->stage == SUMMED_UP) {
        s->stage = SHORTER;
        rc = shorten(a, agent, s, q);
    }
    if (rc == 0 && s->stage == SHORTER && attempt_divert(t, &agent->over_budget_models)) {
        s->stage = CHEAPER;
        rc = 1;
        log_line(LOG_INFO, "over budget: a cheaper model is asked", "agent", agent->name, NULL);
    }
    return rc;
}
