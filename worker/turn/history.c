#include "turn/history.h"

#include "base/util.h"

#define RELATED_MAX  3

static chat_message_t message(arena_t *a, const message_row_t *m)
{
    return chat_text(a, chat_role(m->role), str_of(m->content));
}

/* Index of the oldest message that still fits the budget. */
static size_t first_that_fits(const message_row_t *rows, size_t n, size_t budget)
{
    while (n > 0) {
        size_t tokens = token_estimate(str_of(rows[n - 1].content));

        if (tokens > budget) {
            break;
        }
        budget -= tokens;
        n--;
    }
    return n;
}

/* An answer whose question does not fit goes, too: many models refuse a chat that begins with the assistant. */
static size_t first_question(const message_row_t *rows, size_t first, size_t n)
{
    while (first < n && chat_role(rows[first].role) == CHAT_ASSISTANT) {
        first++;
    }
    return first;
}

static int co_related(history_t *h)
{
    message_row_t *rows;
    size_t         n;
    int rc = co_store_related(h->arena, h->tenant, h->user, h->row->id, h->row->input, RELATED_MAX, &rows, &n);

    if (rc) {
        return rc;
    }
    h->related_messages = arena_alloc(h->arena, (n + 1) * sizeof(*h->related_messages));
    for (h->nrelated = 0; h->nrelated < n; h->nrelated++) {
        h->related_messages[h->nrelated] = message(h->arena, &rows[h->nrelated]);
    }
    return 0;
}

int co_history(history_t *h)
{
    message_row_t *rows = NULL;
    size_t         n = 0, first;
    int            rc = 0;

    if (h->row->number > 1) {
        rc = co_store_history(h->arena, h->tenant, h->user, h->row->conversation, h->row->number,
                              (int) h->conf->history_messages, &rows, &n);
    }
    if (rc == 0 && h->related) {
        rc = co_related(h);
    }
    if (rc) {
        return rc;
    }
    first = first_question(rows, first_that_fits(rows, n, h->conf->history_tokens), n);
    h->messages = arena_alloc(h->arena, (n - first + 2) * sizeof(*h->messages));
    h->n = 0;
    if (h->agent->prompt && h->agent->prompt[0]) {
        h->messages[h->n++] = chat_text(h->arena, CHAT_SYSTEM, str_of(h->agent->prompt));
    }
    for (size_t i = first; i < n; i++) {
        h->messages[h->n++] = message(h->arena, &rows[i]);
    }
    h->messages[h->n++] = chat_text(h->arena, CHAT_USER, str_of(h->row->input));
    return 0;
}
