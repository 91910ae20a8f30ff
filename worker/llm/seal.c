#include "llm/seal.h"

#include "base/util.h"

#define MARK  "si:"

void seal_mark(arena_t *a, const conf_model_t *m, chat_event_t *ev)
{
    const char *name = m->provider->name;
    size_t      mark = sizeof MARK - 1, len = strlen(name);
    char       *text;

    if (ev->kind != CHAT_SIGNATURE && ev->kind != CHAT_REDACTED) {
        return;
    }
    text = arena_alloc(a, mark + len + 1 + ev->text.n);
    memcpy(text, MARK, mark);
    memcpy(text + mark, name, len);
    text[mark + len] = ':';
    memcpy(text + mark + len + 1, ev->text.p, ev->text.n);
    ev->text = (str_t) { text, mark + len + 1 + ev->text.n };
}

/* Takes the mark of this provider off; false: it is another one's. */
static bool is_own(const char *name, str_t *text)
{
    size_t      mark = sizeof MARK - 1, len = strlen(name);
    const char *end = text->n > mark && memcmp(text->p, MARK, mark) == 0 ? memchr(text->p + mark, ':', text->n - mark) : NULL;

    if (end == NULL) {
        return true;
    }
    if ((size_t) (end - text->p) != mark + len || memcmp(text->p + mark, name, len) != 0) {
        return false;
    }
    *text = (str_t) { end + 1, text->n - mark - len - 1 };
    return true;
}

/* False: this provider must not see the part. */
static bool open_part(const conf_provider_t *p, chat_part_t *part)
{
    bool own;

    switch (part->kind) {
    case PART_REDACTED:
        return is_own(p->name, &part->text);
    case PART_CALL: case PART_REASONING:
        own = is_own(p->name, &part->signature);
        if (!own) {
            part->signature = STR_NULL;
        }
        if (part->kind == PART_CALL) {
            return true;
        }
        if (strcmp(p->kind, "anthropic") == 0) {
            return part->signature.n > 0;
        }
        return own || strcmp(p->kind, "openai") == 0;
    default:
        return true;
    }
}

/* A message whose parts are all left out is none. */
static bool open_message(arena_t *a, const conf_provider_t *p, const chat_message_t *from, chat_message_t *to)
{
    chat_part_t *parts = arena_alloc(a, SI_MAX(from->nparts, (size_t) 1) * sizeof *parts);

    *to = (chat_message_t) { from->role, parts, 0 };
    for (size_t i = 0; i < from->nparts; i++) {
        parts[to->nparts] = from->parts[i];
        to->nparts += open_part(p, &parts[to->nparts]);
    }
    return to->nparts > 0 || from->nparts == 0;
}

void seal_open(arena_t *a, const llm_request_t *from, const conf_model_t *m, llm_request_t *to)
{
    chat_message_t *messages = arena_alloc(a, SI_MAX(from->nmessages, (size_t) 1) * sizeof *messages);

    to->messages = messages;
    to->nmessages = 0;
    for (size_t i = 0; i < from->nmessages; i++) {
        if (from->messages[i].role != CHAT_ASSISTANT) {
            messages[to->nmessages++] = from->messages[i];
        } else {
            to->nmessages += open_message(a, m->provider, &from->messages[i], &messages[to->nmessages]);
        }
    }
}
