/* The engine of the dialects: a request from its body to its end. Read co_face_run() first. */
#include "api/face.h"

#include <stdio.h>

#include "api/input.h"
#include "api/problem.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/span.h"
#include "turn/turn.h"

#define ERROR_MAX  8192u            /* bytes of an error's body; a message is a few hundred */
#define OUT_USUAL  2048u            /* bytes of an answer that are written before any is sent, of most */

#define BLOCKS     32u              /* room for parts of an answer is made for so many at once */

struct faces {
    size_t running;
};

void faces_init(void)
{
    proc.faces = si_calloc(sizeof(*proc.faces));
}

size_t faces_running(void)
{
    return proc.faces->running;
}

/* --- errors --- */

static int fail(face_call_t *c, int status, const char *code, const char *field, const char *message)
{
    status = status == 503 && c->face->busy != 0 ? c->face->busy : status == 402 && c->face->broke != 0 ? c->face->broke : status;
    c->err = (face_error_t) { .status = status, .code = code, .field = field,
                              .message = message };
    return -1;
}

/* What a provider's failure is to a client. That the provider refuses our key or our bill is no fault of the client's. */
static int status_of(const llm_error_t *e)
{
    static const struct { const char *code; int status; } codes[] = {
        { "provider_rate_limited", 429 }, { "provider_timeout", 504 }, { "unsupported", 400 }, { "content_filtered", 400 },
        { "budget_exceeded", 402 }, { "rate_limited", 429 }, { "budget_unavailable", 503 },
    };

    for (size_t i = 0; i < SI_COUNT(codes); i++) {
        if (strcmp(e->code, codes[i].code) == 0) {
            return codes[i].status;
        }
    }
    if (strcmp(e->code, "context_length") == 0 || strcmp(e->code, "content_filter") == 0
        || (strcmp(e->code, "provider_rejected") == 0 && e->status != 402)) {
        return e->status == 404 || e->status == 409 || e->status == 413 || e->status == 422 ? e->status : 400;
    }
    return e->status == 503 || e->status == 529 ? 503 : e->status == 408 || e->status == 504 ? 504 : 502;
}

/* Si's own filters and those of models are one thing to clients, by the code that OpenAI's know. */
void face_fail_model(face_call_t *c, const llm_error_t *e)
{
    const char *code = strcmp(e->code, "content_filtered") == 0 ? "content_filter" : e->code;

    (void) fail(c, status_of(e), arena_strdup(c->arena, code), NULL, arena_strdup(c->arena, e->detail));
    c->err.retry_ms = e->retry_ms;
}

void co_face_error(face_call_t *c)
{
    call_head_t head = { .status = c->err.status, .type = "application/json" };
    buf_t       b;

    c->err.request = c->r->call->key;
    problem_face_headers(c->r->call, &head, &c->err);
    buf_init(&b, ERROR_MAX);
    (void) c->face->error(&b, &c->err);
    co_whole(c->r->call, &head, (str_t) { b.p, b.n });
    buf_free(&b);
}

/* --- the request --- */

const json_t *co_face_object(face_call_t *c)
{
    const char *why;
    str_t       text;
    json_t     *o;

    if (co_input_body(c->r, proc.conf->request_max, &text) != 0) {
        return NULL;
    }
    o = json_own(c->arena, json_parse(c->arena, text, &why));
    if (o == NULL) {
        (void) fail(c, 400, "invalid_json", NULL, arena_printf(c->arena, "the body is not JSON: %s", why));
        return NULL;
    }
    if (!json_is_object(o)) {
        (void) fail(c, 400, "invalid_field", NULL, "the body must be a JSON object");
        return NULL;
    }
    return o;
}

/* -1 and nothing in c->err: answered. */
static int co_read(face_call_t *c)
{
    const json_t *o = co_face_object(c);

    return o != NULL ? c->face->read(c, o) : -1;
}

/* An agent speaks with its prompt before the client's messages. */
static void put_prompt(face_call_t *c, const char *prompt)
{
    chat_message_t *all;

    if (prompt[0] == '\0') {
        return;
    }
    all = arena_alloc(c->arena, (c->q.nmessages + 1) * sizeof *all);
    all[0] = chat_text(c->arena, CHAT_SYSTEM, str_of(prompt));
    memcpy(all + 1, c->q.messages, c->q.nmessages * sizeof *all);
    c->q.messages = all;
    c->q.nmessages++;
}

bool face_spec(const char *tenant, str_t name, gateway_spec_t *spec)
{
    const conf_model_t *model = conf_model(proc.conf, name);
    const conf_agent_t *agent = model == NULL ? conf_agent(proc.conf, name) : NULL;
    const conf_task_t  *task = model == NULL && agent == NULL ? conf_task(proc.conf, name) : NULL;

    task = task != NULL && task->models.n > 0 ? task : NULL;
    *spec = (gateway_spec_t) { .tenant = tenant, .agent = agent != NULL ? agent->name : NULL,
                               .model = model != NULL ? model->name : task != NULL ? task->name : NULL };
    return (spec->agent != NULL || spec->model != NULL) && gateway_first(spec) != NULL;
}

int face_no_model(face_call_t *c)
{
    return fail(c, 404, "model_not_found", "model", "there is no model, agent or task of this name");
}

int face_enter(face_call_t *c)
{
    if (turns_unfinished() + faces_running() >= proc.conf->turns_max) {
        (void) fail(c, 503, "overloaded", NULL, "too many turns and calls run here, try again");
        c->err.retry_ms = 1000;
        return -1;
    }
    proc.faces->running++;
    return 0;
}

void face_leave(void)
{
    proc.faces->running--;
}

int face_choose(face_call_t *c, gateway_spec_t *spec)
{
    const conf_agent_t *agent;

    if (!face_spec(c->r->who.tenant, c->model, spec)) {
        return face_no_model(c);
    }
    spec->user = c->r->who.user;
    spec->key = c->r->who.key_id[0] != '\0' ? c->r->who.key_id : NULL;
    spec->source = c->face->name;
    spec->cache = face_cache_want(c->r->call);
    spec->restarts = !c->stream;        /* of one body nothing was seen yet */
    agent = spec->agent != NULL ? conf_agent(proc.conf, str_of(spec->agent)) : NULL;
    if (agent != NULL) {
        put_prompt(c, agent->prompt);
    }
    c->q.answer_max = proc.conf->answer_max;
    c->q.deadline = clock_ms() + proc.conf->turn_deadline;
    return face_enter(c);
}

/* --- the answer --- */

static void name_answer(face_call_t *c, const gateway_call_t *g)
{
    const llm_result_t *res = gateway_result(g);

    c->so_far = res;
    c->name = arena_strdup(c->arena, res->model[0] != '\0' ? res->model : gateway_model(g)->name);
}

/* SI_ECLOSED and the like: the client has gone, or takes nothing. */
static int co_send(face_call_t *c)
{
    int rc = co_call_write(c->r->call, c->out.p, c->out.n, c->q.deadline);

    buf_consume(&c->out, c->out.n);
    return rc;
}

static void stream_head(face_call_t *c, const gateway_call_t *g)
{
    call_head_t head = { .status = 200, .length = -1, .stream = true, .once = true, .type = "text/event-stream", .nheaders = 1,
                         .headers = { { "Cache-Control", "no-store" } } };

    face_cache_status(&head, g);
    problem_face_headers(c->r->call, &head, NULL);
    call_head(c->r->call, &head);
}

static int begin(face_call_t *c, const gateway_call_t *g, const chat_event_t *first)
{
    name_answer(c, g);
    stream_head(c, g);
    return c->face->begin(c, first);
}

/* Sends what comes. 0: all, and the end; 1: the provider has failed; SI_E*: the client has gone. */
static int co_stream(face_call_t *c, gateway_call_t *g, llm_error_t *err)
{
    chat_event_t ev;
    int          rc, more;

    while ((more = co_gateway_next(g, &ev, err)) > 0) {
        rc = c->r->call->status == 0 ? begin(c, g, &ev) : 0;
        rc = rc != 0 ? rc : c->face->event(c, &ev);
        rc = rc != 0 ? rc : co_send(c);
        if (rc != 0) {
            return rc;
        }
    }
    if (more != 0) {
        return more == SI_ECANCELED ? more : 1;
    }
    rc = c->r->call->status == 0 ? begin(c, g, NULL) : 0;
    rc = rc != 0 ? rc : c->face->end(c, gateway_result(g));
    return rc != 0 ? rc : co_send(c);
}

static face_block_t *new_block(face_call_t *c, const chat_event_t *ev)
{
    face_block_t *b;

    if (c->nblocks == FACE_BLOCKS) {
        return NULL;
    }
    if (c->nblocks % BLOCKS == 0) {
        face_block_t *more = arena_alloc(c->arena, (c->nblocks + BLOCKS) * sizeof *more);

        if (c->nblocks > 0) {
            memcpy(more, c->blocks, c->nblocks * sizeof *more);
        }
        c->blocks = more;
    }
    b = &c->blocks[c->nblocks++];
    *b = (face_block_t) { .kind = ev->kind == CHAT_SIGNATURE ? CHAT_REASONING : ev->kind };
    buf_init(&b->text, proc.conf->answer_max);
    buf_init(&b->signature, proc.conf->answer_max);
    if (ev->kind == CHAT_CALL) {
        b->id = arena_strdup(c->arena, ev->id);
        b->name = arena_strdup(c->arena, ev->name);
    }
    return b;
}

/* The block that this event goes on with; NULL: it begins one. */
static face_block_t *goes_on(face_call_t *c, const chat_event_t *ev)
{
    face_block_t *last = c->nblocks > 0 ? &c->blocks[c->nblocks - 1] : NULL;
    uint32_t      n = 0;

    if (ev->kind == CHAT_ARGS) {
        for (size_t i = 0; i < c->nblocks; i++) {
            if (c->blocks[i].kind == CHAT_CALL && n++ == ev->index) {
                return &c->blocks[i];
            }
        }
    }
    if (last == NULL || ev->kind == CHAT_CALL || ev->kind == CHAT_REDACTED) {
        return NULL;
    }
    if (last->signature.n > 0) {
        return NULL;
    }
    if (ev->kind == CHAT_SIGNATURE) {
        return last->kind == CHAT_REASONING || last->kind == CHAT_CALL ? last : NULL;
    }
    return last->kind == ev->kind ? last : NULL;
}

static int gather(face_call_t *c, const chat_event_t *ev)
{
    face_block_t *b = goes_on(c, ev);

    b = b != NULL ? b : new_block(c, ev);
    if (b == NULL) {
        return SI_ENOMEM;
    }
    return buf_append(ev->kind == CHAT_SIGNATURE ? &b->signature : &b->text, ev->text.p, ev->text.n);
}

static void free_blocks(face_call_t *c)
{
    for (size_t i = 0; i < c->nblocks; i++) {
        buf_free(&c->blocks[i].text);
        buf_free(&c->blocks[i].signature);
    }
    c->nblocks = 0;
}

/* As co_stream(), for an answer that is one body. */
static int co_gather(face_call_t *c, gateway_call_t *g, llm_error_t *err)
{
    call_head_t  head = { .status = 200, .type = "application/json" };
    chat_event_t ev;
    int          rc;

    while ((rc = co_gateway_next(g, &ev, err)) > 0) {
        if (ev.kind == CHAT_RESTART) {
            free_blocks(c);
        } else if (gather(c, &ev) != 0) {
            (void) provider_fail(err, SI_ENOMEM, "answer_too_large", 0, false, "the answer has more than %d parts", FACE_BLOCKS);
            return 1;
        }
    }
    if (rc != 0) {
        return rc == SI_ECANCELED ? rc : 1;
    }
    name_answer(c, g);
    rc = c->face->whole(c, gateway_result(g));
    if (rc == 0) {
        face_cache_status(&head, g);
        problem_face_headers(c->r->call, &head, NULL);
        co_whole(c->r->call, &head, (str_t) { c->out.p, c->out.n });
    }
    return rc;
}

/* However the call went, the client is told: an error instead of an answer, or within it. */
static void co_finish(face_call_t *c, int rc)
{
    call_t *call = c->r->call;

    if (rc == 1 && call->status == 0) {
        co_face_error(c);
        return;
    }
    if (rc == 1) {
        c->err.request = call->key;
        span_fail(span_here(), c->err.code);
        rc = c->face->broken(c);
        rc = rc != 0 ? rc : co_send(c);
    }
    if (rc != 0) {
        call_abort(call);
    } else if (c->stream) {
        call_end(call);
    }
}

/* A UUID without dashes. */
static const char *new_id(arena_t *a)
{
    char *id = arena_alloc(a, UUID_LEN + 1), *to = id;

    uuid_new(id);
    for (const char *p = id; *p != '\0'; p++) {
        *to = *p;
        to += *p != '-';
    }
    *to = '\0';
    return id;
}

static void co_answer(face_call_t *c, const gateway_spec_t *spec)
{
    llm_error_t     err = { .code = "" };
    gateway_call_t *g;
    int             rc = co_gateway_open(c->arena, &c->q, spec, &g, &err);

    if (rc == 0) {
        c->id = new_id(c->arena);
        c->created = clock_wall_ms() / 1000;
        rc = c->stream ? co_stream(c, g, &err) : co_gather(c, g, &err);
        gateway_close(g);
    } else {
        rc = rc == SI_ECANCELED ? rc : 1;
    }
    if (rc == 1) {
        face_fail_model(c, &err);
    }
    co_finish(c, rc);
    free_blocks(c);
}

void co_face_run(request_t *r, const face_t *face)
{
    face_call_t    c = { .face = face, .r = r, .arena = r->call->arena, .q = { .options = CHAT_OPTIONS_NONE } };
    gateway_spec_t spec;

    /* A byte of an answer is six of JSON at most; four kinds of it can be in one body. */
    buf_init(&c.out, 24 * proc.conf->answer_max + (1u << 20));
    (void) buf_reserve(&c.out, OUT_USUAL);
    if (co_read(&c) != 0 || face_choose(&c, &spec) != 0) {
        if (c.err.status != 0) {
            co_face_error(&c);
        }
    } else {
        co_answer(&c, &spec);
        face_leave();
    }
    buf_free(&c.out);
}
