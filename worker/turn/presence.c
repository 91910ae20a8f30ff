#include "turn/presence.h"

#include "base/proc.h"
#include "store/store.h"

#define ANSWER_MS      500
#define SHARE_MS       12000    /* longer than the store's deadline and ANSWER_MS */
#define QUESTIONS_MAX  64

typedef struct {
    list_t             node;            /* convs.questions */
    uint64_t           id;
    const char        *tenant, *user, *conversation;
    arena_t           *arena;
    const char *const *names;           /* who was asked */
    bool              *answered;
    size_t             n, left;
    presence_t         found;
    wait_t             all;             /* nobody is left */
    list_t             sharers;         /* waiter_t */
    unsigned           refs;
} question_t;

static uint64_t readers_here(const char *tenant, const char *user, const char *conversation)
{
    conv_t *c = conv_find(tenant, user, conversation);

    return c ? evlog_cursors(c->log) : 0;
}

static question_t *find_same(const char *tenant, const char *user, const char *conversation)
{
    list_each(it, &proc.convs->questions) {
        question_t *q = list_entry(it, question_t, node);
        if (strcmp(q->conversation, conversation) == 0 && strcmp(q->user, user) == 0 && strcmp(q->tenant, tenant) == 0) {
            return q;
        }
    }
    return NULL;
}

static question_t *question_new(const char *tenant, const char *user, const char *conversation)
{
    arena_t    *a = arena_new(1024);
    question_t *q = arena_calloc(a, sizeof(*q));

    q->arena = a;
    q->id = ++proc.convs->question_ids;
    q->tenant = arena_strdup(a, tenant);
    q->user = arena_strdup(a, user);
    q->conversation = arena_strdup(a, conversation);
    wait_init(&q->all);
    list_init(&q->sharers);
    list_push(&proc.convs->questions, &q->node);
    proc.convs->nquestions++;
    q->refs = 1;
    return q;
}

static void question_unref(question_t *q)
{
    if (--q->refs == 0) {
        arena_free(q->arena);
    }
}

/* 0, also when not all have answered, or the store's error. */
static int co_ask(question_t *q)
{
    int rc = co_store_workers(q->arena, proc.convs->me, &q->names, &q->n);

    if (rc) {
        return rc;
    }
    q->left = q->n;
    q->answered = arena_calloc(q->arena, q->n + 1);
    if (q->left > 0 && bus_ask_all("count", q->tenant, q->user, q->conversation, q->id) == 0) {
        (void) co_wait(&q->all, "presence", clock_ms() + ANSWER_MS);
    }
    q->found.readers += readers_here(q->tenant, q->user, q->conversation);
    q->found.complete = q->left == 0;
    return 0;
}

static int co_share(question_t *q, presence_t *out)
{
    int rc;

    q->refs++;
    rc = co_wait_in(&q->sharers, "presence:share", clock_ms() + SHARE_MS);
    *out = q->found;
    question_unref(q);
    return rc;
}

int co_presence(const char *tenant, const char *user, const char *conversation, presence_t *out)
{
    question_t *q = find_same(tenant, user, conversation);
    bool        masked;
    int         rc;

    if (q) {
        return co_share(q, out);
    }
    if (proc.convs->nquestions >= QUESTIONS_MAX) {
        *out = (presence_t) { readers_here(tenant, user, conversation), false };
        return 0;
    }
    q = question_new(tenant, user, conversation);
    masked = co_mask(true);             /* others may share it */
    rc = co_ask(q);
    co_mask(masked);
    list_remove(&q->node);
    proc.convs->nquestions--;
    waiters_wake(&q->sharers, rc);
    *out = q->found;
    question_unref(q);
    return rc;
}

/* Once from each that was asked: a worker that has just started is not among them and has no readers yet. */
static void got_answer(question_t *q, const bus_msg_t *m)
{
    for (size_t i = 0; i < q->n; i++) {
        if (strcmp(q->names[i], m->from) == 0 && !q->answered[i]) {
            q->answered[i] = true;
            q->found.readers += m->b;
            if (--q->left == 0) {
                wait_wake(&q->all, 0);
            }
        }
    }
}

void presence_got(const bus_msg_t *m)
{
    question_t *q = find_same(m->tenant, m->user, m->conversation);

    if (strcmp(m->type, "readers") == 0) {
        if (q && q->id == m->a) {
            got_answer(q, m);
        }
    } else if (strcmp(m->from, proc.convs->me) != 0) {
        bus_reply(m, "readers", m->a, readers_here(m->tenant, m->user, m->conversation));
    }
}
