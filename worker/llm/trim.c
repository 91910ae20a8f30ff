#include "llm/trim.h"

/* The user speaks, and does not hand over results. */
static bool begins(const chat_message_t *m)
{
    return m->role == CHAT_USER && (m->nparts == 0 || m->parts[0].kind != PART_RESULT);
}

static size_t tokens(const chat_message_t *m)
{
    return chat_tokens(m, 1, &CHAT_OPTIONS_NONE);
}

/* Where what stays begins. */
static size_t cut(const chat_message_t *m, size_t n, size_t all, unsigned percent)
{
    size_t sum = all, at = 0;

    for (size_t i = 0; i < n; i++) {
        if (begins(&m[i])) {
            at = i;
            if (sum * 100 <= all * percent) {
                break;
            }
        }
        sum -= m[i].role == CHAT_SYSTEM ? 0 : tokens(&m[i]);
    }
    return at;
}

size_t chat_trim(arena_t *a, const chat_message_t *messages, size_t n, unsigned percent, const chat_message_t **out)
{
    chat_message_t *kept = arena_alloc(a, (n + 1) * sizeof *kept);
    size_t          all = 0, at, k = 0;

    for (size_t i = 0; i < n; i++) {
        all += tokens(&messages[i]);
    }
    at = cut(messages, n, all, percent);
    for (size_t i = 0; i < n; i++) {
        if (i >= at || messages[i].role == CHAT_SYSTEM) {
            kept[k++] = messages[i];
        }
    }
    *out = kept;
    return k;
}
