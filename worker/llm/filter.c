#include "llm/filter.h"

#include "base/logger.h"
#include "base/proc.h"
#include "io/span.h"
#include "llm/filter_request.h"
#include "llm/reply.h"

/* A call of a tool that is held until the answer ends. */
typedef struct {
    const char *id, *name;
    buf_t       args, signature;
} held_call_t;

typedef enum { RUNS_TEXT, RUNS_REASONING, RUNS_REFUSAL, RUNS } run_kind_t;     /* texts that may be open at the same time */

struct filter_call {
    arena_t        *arena;
    const char     *tenant;
    filter_rule_t **rules[FILTER_DIRECTIONS];
    size_t          n[FILTER_DIRECTIONS];
    filter_match_t *matches;
    size_t          nmatches;
    filter_direction_t direction;   /* of what is looked at now */
    /* of the answer: */
    size_t          max;            /* bytes of each kind */
    filter_text_t   texts[RUNS];
    buf_t           passed;         /* by a text, on its way to `ready` */
    reply_t         ready;          /* what may be seen */
    bool            reads;          /* texts and ready are set up */
    uint64_t        redactions;     /* of the answer so far */
    bool            sealed;         /* the reasoning since the last event of another kind is as the model wrote it */
    held_call_t    *calls;          /* CHAT_CALLS */
    size_t          ncalls;
    bool            at_call;        /* a signature is that of the last call, else of the reasoning */
    bool            over, blocked;
    int             rc;
};

static void note(filter_rule_t *r, void *arg)
{
    filter_call_t  *f = arg;
    filter_match_t *m = f->matches, *end = f->matches + f->nmatches;

    while (m < end && (strcmp(m->rule, r->name) != 0 || m->direction != f->direction)) {
        m++;
    }
    if (m == end) {
        *m = (filter_match_t) { r->name, f->direction, r->action, 0 };
        f->nmatches++;
        span_event_of(span_here(), "si.filter", (const char *const[][2]) { { "si.filter.rule", r->name },
                      { "si.filter.direction", filter_direction_name(f->direction) }, { "si.filter.action", filter_action_name(r->action) } }, 3);
        log_line(LOG_INFO, "a filter matched", "rule", r->name, "direction", filter_direction_name(f->direction), "action",
                 filter_action_name(r->action), "tenant", f->tenant, NULL);
    }
    m->times++;
    f->redactions += r->action == FILTER_REDACT;
}

/* --- which filters --- */

static void add(filter_call_t *f, filter_set_t *s, const conf_filters_t *list)
{
    for (size_t i = 0; i < s->n; i++) {
        filter_rule_t *r = &s->rules[i];
        bool           named = false;

        for (size_t k = 0; k < list->n; k++) {
            named |= list->p[k] == r->of;
        }
        for (filter_direction_t d = FILTER_INPUT; d < FILTER_DIRECTIONS && named; d++) {
            bool there = false;

            for (size_t k = 0; k < f->n[d]; k++) {
                there |= f->rules[d][k] == r;
            }
            if (r->looks[d] && !there) {
                f->rules[d][f->n[d]++] = r;
            }
        }
    }
}

static void free_answer(void *arg)
{
    filter_call_t *f = arg;

    if (f->reads) {
        for (size_t i = 0; i < RUNS; i++) {
            filter_text_free(&f->texts[i]);
        }
        for (size_t i = 0; i < f->ncalls; i++) {
            buf_free(&f->calls[i].args);
            buf_free(&f->calls[i].signature);
        }
        reply_free(&f->ready);
        buf_free(&f->passed);
        f->reads = false;
    }
}

filter_call_t *filter_open(filter_set_t *s, const conf_t *c, arena_t *a, const gateway_spec_t *spec)
{
    const conf_tenant_t *tenant = spec->tenant != NULL ? conf_tenant(c, str_of(spec->tenant)) : NULL;
    const conf_agent_t  *agents[] = { spec->agent != NULL ? conf_agent(c, str_of(spec->agent)) : NULL,
                                      spec->model != NULL && conf_model(c, str_of(spec->model)) == NULL ? conf_agent(c, str_of(spec->model)) : NULL };
    filter_call_t       *f;

    if (s->n == 0) {
        return NULL;
    }
    f = arena_calloc(a, sizeof *f);
    f->rules[FILTER_INPUT] = arena_alloc(a, 2 * s->n * sizeof *f->rules[0]);
    f->rules[FILTER_OUTPUT] = f->rules[FILTER_INPUT] + s->n;
    add(f, s, &c->filters);
    for (size_t i = 0; i < SI_COUNT(agents); i++) {
        if (agents[i] != NULL) {
            add(f, s, &agents[i]->filters);
        }
    }
    if (tenant != NULL) {
        add(f, s, &tenant->filters);
    }
    if (f->n[FILTER_INPUT] + f->n[FILTER_OUTPUT] == 0) {
        return NULL;
    }
    f->arena = a;
    f->tenant = spec->tenant;
    f->matches = arena_alloc(a, (f->n[FILTER_INPUT] + f->n[FILTER_OUTPUT]) * sizeof *f->matches);
    arena_defer(a, free_answer, f);
    return f;
}

const filter_match_t *filter_matches(const filter_call_t *f, size_t *n)
{
    *n = f != NULL ? f->nmatches : 0;
    return f != NULL ? f->matches : NULL;
}

filter_rule_t *const *filter_rules(const filter_call_t *f, filter_direction_t d, size_t *n)
{
    *n = f != NULL ? f->n[d] : 0;
    return f != NULL ? f->rules[d] : NULL;
}

bool filter_blocked(const filter_call_t *f)
{
    return f->blocked;
}

/* --- the request --- */

int co_filter_request(filter_call_t *f, llm_request_t *q, llm_error_t *err)
{
    filter_once_t w;
    int           rc;

    if (f == NULL) {
        return 0;
    }
    f->max = q->answer_max;
    if (f->n[FILTER_INPUT] == 0) {
        return 0;
    }
    f->direction = FILTER_INPUT;
    filter_once_init(&w, f->arena, f->rules[FILTER_INPUT], f->n[FILTER_INPUT], FILTER_INPUT, note, f);
    rc = co_filter_doors(&w, q);
    if (rc == 0 && w.blocked) {
        rc = provider_fail(err, SI_EINVAL, "content_filtered", 0, false, "a filter does not let this message through");
    }
    filter_once_free(&w);
    return rc;
}

/* --- the answer --- */

static void begin_answer(filter_call_t *f)
{
    free_answer(f);
    for (size_t i = 0; i < RUNS; i++) {
        filter_text_init(&f->texts[i], f->rules[FILTER_OUTPUT], f->n[FILTER_OUTPUT], FILTER_OUTPUT, note, f);
    }
    reply_init(&f->ready, f->arena, NULL, f->max);
    buf_init(&f->passed, f->max + FILTER_WINDOW);
    f->direction = FILTER_OUTPUT;
    f->ncalls = 0;
    f->sealed = true;
    f->at_call = f->over = f->blocked = false;
    f->rc = 0;
    f->reads = true;
}

/* More of a text, or its end. 0, or SI_ENOMEM. */
static int pass(filter_call_t *f, run_kind_t run, str_t piece, bool last)
{
    static const chat_kind_t kinds[] = { [RUNS_TEXT] = CHAT_TEXT, [RUNS_REASONING] = CHAT_REASONING, [RUNS_REFUSAL] = CHAT_REFUSAL };
    filter_text_t *t = &f->texts[run];
    uint64_t       before = f->redactions;
    int            rc = filter_text_feed(t, piece, last, &f->passed);

    rc = rc != 0 ? rc : reply_text(&f->ready, kinds[run], (str_t) { f->passed.p, f->passed.n });
    buf_consume(&f->passed, f->passed.n);
    f->sealed = f->sealed && (run != RUNS_REASONING || f->redactions == before);
    if (t->blocked != NULL) {
        f->blocked = true;
    } else if (last) {
        filter_text_reset(t);
    }
    return rc;
}

/* Reasoning is over for now: what of it is held goes out, since what follows it must not come before it. */
static int end_reasoning(filter_call_t *f)
{
    return f->texts[RUNS_REASONING].text.n > 0 ? pass(f, RUNS_REASONING, STR(""), true) : 0;
}

static int hold_call(filter_call_t *f, const chat_event_t *ev)
{
    held_call_t *c;

    if (f->ncalls == CHAT_CALLS) {
        return SI_ENOMEM;
    }
    if (f->calls == NULL) {
        f->calls = arena_alloc(f->arena, CHAT_CALLS * sizeof *f->calls);
    }
    c = &f->calls[f->ncalls++];
    c->id = arena_strdup(f->arena, ev->id);
    c->name = arena_strdup(f->arena, ev->name);
    buf_init(&c->args, f->max);
    buf_init(&c->signature, f->max);
    return 0;
}

static int take_signature(filter_call_t *f, const chat_event_t *ev)
{
    int rc;

    if (f->at_call && f->ncalls > 0) {
        return buf_append(&f->calls[f->ncalls - 1].signature, ev->text.p, ev->text.n);
    }
    rc = end_reasoning(f);
    return rc == 0 && f->sealed ? reply_text(&f->ready, CHAT_SIGNATURE, ev->text) : rc;
}

static int took(filter_call_t *f, const chat_event_t *ev)
{
    int rc = 0;

    if (ev->kind != CHAT_REASONING && ev->kind != CHAT_SIGNATURE) {
        rc = end_reasoning(f);
        f->sealed = true;
    }
    if (ev->kind != CHAT_SIGNATURE) {
        f->at_call = ev->kind == CHAT_CALL || ev->kind == CHAT_ARGS;
    }
    if (rc != 0 || f->blocked) {
        return rc;
    }
    switch (ev->kind) {
    case CHAT_TEXT:
        return pass(f, RUNS_TEXT, ev->text, false);
    case CHAT_REFUSAL:
        return pass(f, RUNS_REFUSAL, ev->text, false);
    case CHAT_REASONING:
        return pass(f, RUNS_REASONING, ev->text, false);
    case CHAT_SIGNATURE:
        return take_signature(f, ev);
    case CHAT_REDACTED:
        return reply_text(&f->ready, CHAT_REDACTED, ev->text);
    case CHAT_CALL:
        return hold_call(f, ev);
    case CHAT_ARGS:
        return ev->index < f->ncalls ? buf_append(&f->calls[ev->index].args, ev->text.p, ev->text.n) : 0;
    case CHAT_RESTART:
        break;
    }
    return 0;
}

static int co_end_calls(filter_call_t *f)
{
    filter_once_t w;
    uint32_t      index;
    int           rc = 0;

    filter_once_init(&w, f->arena, f->rules[FILTER_OUTPUT], f->n[FILTER_OUTPUT], FILTER_OUTPUT, note, f);
    for (size_t i = 0; i < f->ncalls && rc == 0 && !w.blocked; i++) {
        held_call_t *c = &f->calls[i];
        str_t        args = { c->args.p, c->args.n }, name = str_of(c->name);

        rc = co_filter_json(&w, &args);
        rc = rc != 0 ? rc : co_filter_once(&w, &name);
        if (rc != 0 || w.blocked) {
            break;
        }
        rc = reply_call(&f->ready, str_of(c->id), name, &index);
        rc = rc != 0 ? rc : reply_args(&f->ready, index, args);
        rc = rc != 0 || c->signature.n == 0 ? rc : reply_text(&f->ready, CHAT_SIGNATURE, (str_t) { c->signature.p, c->signature.n });
    }
    f->blocked = w.blocked;
    filter_once_free(&w);
    return rc;
}

/* The answer is whole: what was held goes out. */
static int co_end(filter_call_t *f)
{
    int rc = end_reasoning(f);

    for (size_t i = 0; i < RUNS && rc == 0 && !f->blocked; i++) {
        rc = pass(f, (run_kind_t) i, STR(""), true);
    }
    return rc != 0 || f->blocked || f->ncalls == 0 ? rc : co_end_calls(f);
}

/* One event of the model. 1: it is to be passed on as it is; 0, or SI_E* with *err. */
static int co_pull(filter_call_t *f, int (*co_next)(void *, chat_event_t *, llm_error_t *), void *arg, chat_event_t *ev, llm_error_t *err)
{
    int rc = co_next(arg, ev, err);

    if (rc > 0 && ev->kind == CHAT_RESTART) {
        begin_answer(f);
        return 1;
    }
    if (rc < 0) {
        return rc;
    }
    f->over = rc == 0;
    rc = f->over ? co_end(f) : took(f, ev);
    f->over = f->over || f->blocked;
    return rc == SI_ENOMEM ? provider_fail(err, rc, "answer_too_large", 0, false, "the answer is longer than %zu bytes", f->max) : rc;
}

int co_filter_next(filter_call_t *f, int (*co_next)(void *arg, chat_event_t *ev, llm_error_t *err), void *arg, chat_event_t *ev, llm_error_t *err)
{
    if (f->n[FILTER_OUTPUT] == 0) {
        return co_next(arg, ev, err);
    }
    if (!f->reads) {
        begin_answer(f);
    }
    while (!reply_next(&f->ready, ev)) {
        if (f->over) {
            return f->rc;
        }
        int rc = co_pull(f, co_next, arg, ev, err);
        if (rc != 0) {
            f->over = rc < 0;
            f->rc = rc < 0 ? rc : 0;
            return rc;
        }
    }
    return 1;
}
