#include "llm/chat.h"

#include "base/util.h"

static const char *const role_names[] = { "system", "user", "assistant" };

const char *chat_role_name(chat_role_t role)
{
    return role_names[role];
}

chat_role_t chat_role(const char *name)
{
    return strcmp(name, "system") == 0 ? CHAT_SYSTEM : strcmp(name, "assistant") == 0 ? CHAT_ASSISTANT : CHAT_USER;
}

chat_message_t chat_text(arena_t *a, chat_role_t role, str_t text)
{
    chat_part_t *part = arena_calloc(a, sizeof *part);

    part->kind = PART_TEXT;
    part->text = text;
    return (chat_message_t) { role, part, 1 };
}

static size_t texts(const chat_message_t *m, const chat_part_t **one)
{
    size_t n = 0;

    for (size_t i = 0; i < m->nparts; i++) {
        if (m->parts[i].kind == PART_TEXT) {
            *one = &m->parts[i];
            n++;
        }
    }
    return n;
}

str_t chat_text_of(arena_t *a, const chat_message_t *m)
{
    const chat_part_t *one = NULL;
    size_t             n = texts(m, &one), len = 0, at = 0;
    char              *out;

    if (n <= 1) {
        return n == 1 ? one->text : STR("");
    }
    for (size_t i = 0; i < m->nparts; i++) {
        len += m->parts[i].kind == PART_TEXT ? m->parts[i].text.n + 1 : 0;
    }
    out = arena_alloc(a, len);
    for (size_t i = 0; i < m->nparts; i++) {
        if (m->parts[i].kind == PART_TEXT) {
            if (at > 0) {
                out[at++] = '\n';
            }
            if (m->parts[i].text.n > 0) {
                memcpy(out + at, m->parts[i].text.p, m->parts[i].text.n);
            }
            at += m->parts[i].text.n;
        }
    }
    return (str_t) { out, at };
}
