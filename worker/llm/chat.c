#include "llm/chat.h"

#include "base/util.h"

#define IMAGE_TOKENS 1000u          /* about what a picture of 1,000 x 750 pixels costs */

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

static size_t part_tokens(const chat_part_t *parts, size_t n)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        bool text = parts[i].kind != PART_IMAGE && parts[i].kind != PART_FILE;

        sum += text ? token_estimate(parts[i].text) : IMAGE_TOKENS;
        for (size_t k = 0; k < parts[i].nparts; k++) {     /* of a tool's result: texts and images */
            sum += parts[i].parts[k].kind == PART_TEXT ? token_estimate(parts[i].parts[k].text) : IMAGE_TOKENS;
        }
    }
    return sum;
}

size_t chat_tokens(const chat_message_t *messages, size_t n, const chat_options_t *o)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += part_tokens(messages[i].parts, messages[i].nparts);
    }
    for (size_t i = 0; i < o->ntools; i++) {
        sum += token_estimate((str_t) { "", strlen(o->tools[i].name) + strlen(o->tools[i].description) + o->tools[i].schema.n });
    }
    return sum;
}
