/*
 * Calls of tools as blocks, which Anthropic's clients want one after the other. A provider may begin several calls at once and
 * mix their arguments; then those that came later wait until the open one is whole: its brackets are closed, something else
 * comes, or the answer ends.
 */
#include "api/face_anthropic.h"

#include "base/proc.h"

struct anthropic_held {
    uint32_t    index;
    const char *id, *name;
    buf_t       args;
};

static void free_held(void *arg)
{
    anthropic_state_t *s = arg;

    for (size_t i = 0; i < s->nheld; i++) {
        buf_free(&s->held[i].args);
    }
}

/* Says the first one that waits. */
static int next(face_call_t *c)
{
    anthropic_state_t     *s = c->state;
    struct anthropic_held  h = s->held[0];
    int                    rc = anthropic_put_call(c, h.index, h.id, h.name);

    rc = rc != 0 ? rc : anthropic_put_args(c, (str_t) { h.args.p, h.args.n });
    buf_free(&h.args);
    s->nheld--;
    memmove(s->held, s->held + 1, s->nheld * sizeof *s->held);
    return rc;
}

int anthropic_release(face_call_t *c)
{
    const anthropic_state_t *s = c->state;
    int                      rc = 0;

    while (rc == 0 && s->nheld > 0) {
        rc = next(c);
    }
    return rc;
}

static bool is_open(const anthropic_state_t *s)
{
    return s->open == CHAT_CALL && !args_whole(&s->args);
}

int anthropic_call(face_call_t *c, const chat_event_t *ev)
{
    anthropic_state_t     *s = c->state;
    struct anthropic_held *h;

    if (!is_open(s)) {
        return anthropic_put_call(c, ev->index, ev->id, ev->name);
    }
    if (s->held == NULL) {
        s->held = arena_calloc(c->arena, CHAT_CALLS * sizeof *s->held);
        arena_defer(c->arena, free_held, s);
    }
    if (s->nheld == CHAT_CALLS) {
        return SI_ENOMEM;
    }
    h = &s->held[s->nheld++];
    *h = (struct anthropic_held) { .index = ev->index, .id = arena_strdup(c->arena, ev->id), .name = arena_strdup(c->arena, ev->name) };
    buf_init(&h->args, proc.conf->answer_max);
    return 0;
}

int anthropic_args(face_call_t *c, const chat_event_t *ev)
{
    anthropic_state_t *s = c->state;
    int                rc;

    for (size_t i = 0; i < s->nheld; i++) {
        if (s->held[i].index == ev->index) {
            return buf_append(&s->held[i].args, ev->text.p, ev->text.n);
        }
    }
    if (s->open != CHAT_CALL || s->call != ev->index) {
        return str_is(ev->text, "{}") ? 0 : SI_EPROTO;     /* a call without arguments has ended: its block says {} */
    }
    rc = anthropic_put_args(c, ev->text);
    while (rc == 0 && s->nheld > 0 && !is_open(s)) {
        rc = next(c);
    }
    return rc;
}
