#include "llm/trim.h"

/* The user speaks, and does not hand over results. */
static bool begins(const chat_message_t *m)
{
    for (size_t i = 0; i < m->nparts; i++) {
        if (m->parts[i].kind == PART_RESULT) {
            return false;
        }
    }
    return m->role == CHAT_USER;
}

static size_t tokens(const chat_message_t *m)
{
    return chat_tokens(m, 1, &CHAT_OPTIONS_NONE);
}

size_t chat_cut(const chat_message_t *m, size_t n, unsigned percent)
{
    size_t all = chat_tokens(m, n, &CHAT_OPTIONS_NONE), sum = all, at = 0;

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
    size_t          at = chat_cut(messages, n, percent), k = 0;

    for (size_t i = 0; i < n; i++) {
        if (i >= at || messages[i].role == CHAT_SYSTEM) {
            kept[k++] = messages[i];
        }
    }
    *out = kept;
    return k;
}
