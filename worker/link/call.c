/* The life of a call, and its request. */
#include "link/wire.h"

#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"

#define ARENA_BLOCK  16384              /* all that most calls need, the streamed answer of a model too; as arena.c keeps them */

static str_t id_key(const uint64_t *id)
{
    return (str_t) { (const char *) id, sizeof *id };
}

static call_core_t *call_find(const link_t *l, uint64_t id)
{
    hash_node_t *n = hash_get(&l->calls, id_key(&id));

    return n ? container_of(n, call_core_t, node) : NULL;
}

/* Life */

void call_over(call_core_t *c)
{
    if (c->link != NULL) {
        hash_del(&c->link->calls, &c->node);
        list_remove(&c->writer);
        c->link = NULL;
    }
}

static void readable(call_core_t *c, int rc)
{
    wait_wake(&c->readable, rc);
    if (c->also != NULL) {
        wait_wake(c->also, 0);
    }
}

static void call_gone(call_core_t *c)
{
    call_over(c);
    c->gone = true;
    readable(c, SI_ECLOSED);
    wait_wake(&c->writable, SI_ECLOSED);
    co_cancel(c->co);
}

static void gone_each(hash_node_t *n, void *arg)
{
    (void) arg;
    call_gone(container_of(n, call_core_t, node));
}

void call_link_died(link_t *l)
{
    hash_each(&l->calls, gone_each, NULL);
}

/* A handler must end its call. One that does not leaves a client waiting: so it is done here. */
static void call_finish(call_core_t *c)
{
    if (c->link == NULL) {
        return;
    }
    if (c->pub.status != 0) {
        log_line(LOG_ERROR, "a handler left its answer unfinished", NULL);
        call_abort(&c->pub);
        return;
    }
    answer_problem(c->link, c->id, 500, "Internal Server Error", "internal", "the request was left without an answer");
    call_over(c);
}

static void co_call_main(void *arg)
{
    call_core_t *c = arg;

    if (!c->gone) {                     /* before it began: nobody is there to be answered */
        proc.links->co_handler(&c->pub);
    }
    call_finish(c);
    if (proc.links != NULL) {           /* links_exit() may have come first */
        proc.links->ncalls--;
    }
    buf_free(&c->body);
    arena_free(c->pub.arena);
}

bool call_alive(const call_t *call)
{
    return !container_of(call, const call_core_t, pub)->gone;
}

/* OPEN */

static const char *set_text(str_t *to, const si_field_t *f, size_t max)
{
    if (to->p != NULL) {
        return "OPEN: a field twice";
    }
    if (f->length > max || memchr(f->data, 0, f->length) != NULL) {
        return "OPEN: a field is too long or has a NUL";
    }
    *to = (str_t) { (const char *) f->data, f->length };
    return NULL;
}

static const char *add_header(call_core_t *c, const si_field_t *f)
{
    const uint8_t *nul = memchr(f->data, 0, f->length);
    size_t         n = c->nheaders++, name;

    if (nul == NULL) {
        return "OPEN: malformed header";
    }
    if (n < CALL_HEADERS) {
        name = (size_t) (nul - f->data);
        c->headers[n].name = (str_t) { (const char *) f->data, name };
        c->headers[n].value = (str_t) { (const char *) nul + 1, f->length - name - 1 };
    }
    return NULL;
}

static const char *open_field(call_core_t *c, const si_field_t *f)
{
    switch (f->tag) {
    case SI_T_METHOD:
        return set_text(&c->pub.method, f, SI_OPEN_MAX);
    case SI_T_PATH:
        return set_text(&c->pub.path, f, SI_OPEN_MAX);
    case SI_T_ARGS:
        return set_text(&c->pub.query, f, SI_OPEN_MAX);
    case SI_T_HEADER:
        return add_header(c, f);
    case SI_T_ADDR:
        return set_text(&c->pub.addr, f, 256);
    case SI_T_CALL_KEY:
        return set_text(&c->pub.key, f, SI_KEY_MAX);
    case SI_T_RESUME:
        return set_text(&c->pub.resume, f, SI_KEY_MAX);
    case SI_T_TENANT:
        return set_text(&c->pub.resume_tenant, f, SI_KEY_MAX);
    case SI_T_LAST_ID:
        return set_text(&c->pub.resume_id, f, SI_ID_MAX);
    case SI_T_ISSUER:
        return set_text(&c->pub.issuer, f, SI_OPEN_MAX);
    case SI_T_SUBJECT:
        return set_text(&c->pub.subject, f, 255);
    case SI_T_ORG:
        return set_text(&c->pub.org, f, 255);
    case SI_T_SCOPES:
        return set_text(&c->pub.scopes, f, 1024);
    case SI_T_TICKET:
        return set_text(&c->pub.ticket, f, SI_TICKET_MAX);
    case SI_T_UNTIL:
        if (f->length != 8) {
            return "OPEN: malformed end";
        }
        c->pub.until = si_get64(f->data);
        return NULL;
    case SI_T_VERDICT:
        c->pub.verdict = (str_t) { (const char *) f->data, f->length };
        return si_verdict_get(f->data, f->length, &(si_verdict_t) { 0 }) && f->data[SI_DIGEST + 20] ? NULL : "OPEN: malformed verdict";
    case SI_T_MARKS:
        c->pub.marks = f->data;
        return f->length == SI_MARKS_SIZE ? NULL : "OPEN: malformed marks";
    default:
        return "OPEN: unknown field";
    }
}

/* Fields point into the copy of the payload that the arena holds. */
static const char *open_fields(call_core_t *c, const uint8_t *p, size_t n)
{
    const uint8_t *at = (const uint8_t *) arena_dup(c->pub.arena, p, n), *end = at + n;
    si_field_t     f;
    const char    *reason;
    int            rc;

    while ((rc = si_field_next(&at, end, &f)) > 0) {
        reason = open_field(c, &f);
        if (reason != NULL) {
            return reason;
        }
    }
    if (rc < 0) {
        return "OPEN: malformed fields";
    }
    if (c->pub.resume.n > 0) {
        return c->pub.path.n > 0 || c->has_body ? "OPEN: a resume with a path or a body" : NULL;
    }
    if (c->pub.resume_tenant.p != NULL || c->pub.resume_id.p != NULL) {
        return "OPEN: fields of a resume without its key";
    }
    if ((c->pub.issuer.n == 0) != (c->pub.subject.n == 0) || (c->pub.subject.n == 0) != (c->pub.org.n == 0)) {
        return "OPEN: a part of an identity";
    }
    if (c->pub.verdict.n > 0 && (c->pub.subject.n > 0 || c->pub.ticket.n > 0)) {
        return "OPEN: two credentials";
    }
    return c->pub.method.n == 0 || c->pub.path.n == 0 ? "OPEN without method or path" : NULL;
}

call_core_t *call_new(uint64_t id, bool has_body, size_t body_max)
{
    arena_t     *a = arena_new(ARENA_BLOCK);
    call_core_t *c = arena_alloc(a, sizeof *c);

    memset(c, 0, offsetof(call_core_t, headers));   /* there are nheaders of them */
    c->pub.arena = a;
    c->pub.started = clock_us();
    c->id = id;
    c->has_body = has_body;
    buf_init(&c->body, body_max);
    wait_init(&c->readable);
    wait_init(&c->writable);
    list_init(&c->writer);
    return c;
}

const char *call_open(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    struct links *ls = proc.links;
    call_core_t  *c;
    const char   *reason;

    if (call_find(l, f->id) != NULL) {
        return "OPEN: the id is in use";
    }
    if (ls->ncalls >= ls->max_calls) {
        answer_problem(l, f->id, 503, "Service Unavailable", "overloaded", "too many requests are being handled; try again soon");
        return NULL;
    }
    c = call_new(f->id, (f->flags & SI_FL_BODY) != 0, SI_WINDOW);
    reason = open_fields(c, p, f->length);
    if (reason != NULL) {
        arena_free(c->pub.arena);
        return reason;
    }
    if (c->nheaders > CALL_HEADERS) {   /* the client's doing, not the edge's */
        answer_problem(l, f->id, 431, "Request Header Fields Too Large", "too_many_headers", "the request has more than 100 headers");
        arena_free(c->pub.arena);
        return NULL;
    }
    c->link = l;
    hash_put(&l->calls, &c->node, id_key(&c->id));
    ls->ncalls++;
    c->co = co_spawn("call", co_call_main, c);
    return NULL;
}

/* Frames of a call that is over are under way still and are ignored. */
const char *call_got_cancel(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    call_core_t *c = call_find(l, f->id);

    (void) p;
    if (c != NULL) {
        call_gone(c);
    }
    return NULL;
}

/* Body */

static void body_credit(call_core_t *c, size_t n)
{
    c->body_unacked -= n;
    if (c->link != NULL && !c->last && n > 0) {
        link_frame32(c->link, SI_F_CREDIT, c->id, (uint32_t) n);
    }
}

const char *call_got_body(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    call_core_t *c = call_find(l, f->id);

    if (c == NULL) {
        return NULL;
    }
    if (!c->has_body || c->last) {
        return "BODY without announcement or after the last";
    }
    if (f->length > SI_WINDOW - c->body_unacked) {
        return "BODY exceeds its window";
    }
    c->body_unacked += f->length;
    c->last = (f->flags & SI_FL_LAST) != 0;
    if (c->discard) {
        body_credit(c, f->length);
    } else {
        (void) buf_append(&c->body, p, f->length);
    }
    readable(c, 0);
    return NULL;
}

/* What comes from now on is thrown away, acknowledged so that the edge gets rid of it. */
static int body_too_long(call_core_t *c)
{
    c->discard = true;
    body_credit(c, c->body.n);
    buf_free(&c->body);
    return SI_ENOMEM;
}

/* Moves what has come into `whole`. */
static int body_take(call_core_t *c, buf_t *whole)
{
    size_t n = c->body.n;

    if (buf_append(whole, c->body.p, n) != 0) {
        return body_too_long(c);
    }
    buf_consume(&c->body, n);
    body_credit(c, n);
    return 0;
}

static int co_body_read(call_core_t *c, buf_t *whole, uint64_t deadline)
{
    int rc;

    for ( ;; ) {
        rc = body_take(c, whole);
        if (rc != 0 || !c->has_body || c->last) {
            return rc;
        }
        wait_init(&c->readable);
        rc = c->gone ? SI_ECLOSED : co_wait(&c->readable, "call:body", deadline);
        if (rc != 0) {
            return rc;
        }
    }
}

int co_call_body(call_t *call, size_t max, str_t *out, uint64_t deadline)
{
    call_core_t *c = call_core(call);
    uint64_t     length;
    buf_t        whole;
    int          rc;

    *out = (str_t) { "", 0 };
    if (c->gone) {
        return co_cancelled(co_self()) ? SI_ECANCELED : SI_ECLOSED;
    }
    if (c->discard || (c->has_body && parse_u64(call_header(call, "content-length"), &length) == 0 && length > max)) {
        return body_too_long(c);
    }
    if (c->last && c->body.n <= max) {  /* it is whole already, as most are */
        *out = (str_t) { arena_dup(call->arena, c->body.n > 0 ? c->body.p : "", c->body.n), c->body.n };
        body_credit(c, c->body.n);
        buf_consume(&c->body, c->body.n);
        return 0;
    }
    buf_init(&whole, max);
    rc = co_body_read(c, &whole, deadline);
    if (rc == 0) {
        *out = (str_t) { arena_dup(call->arena, whole.n > 0 ? whole.p : "", whole.n), whole.n };
    }
    buf_free(&whole);
    return rc;
}

size_t call_take(call_t *call, buf_t *b)
{
    call_core_t *c = call_core(call);
    size_t       n = SI_MIN(c->body.n, b->max - b->n);

    if (n > 0) {
        (void) buf_append(b, c->body.p, n);
        buf_consume(&c->body, n);
        body_credit(c, n);
    }
    return n;
}

void call_wake(call_t *call, wait_t *w)
{
    call_core(call)->also = w;
}

/* Headers */

static str_t join(arena_t *a, str_t x, str_t y)
{
    char *p = arena_alloc(a, x.n + 2 + y.n);

    memcpy(p, x.p, x.n);
    memcpy(p + x.n, ", ", 2);
    memcpy(p + x.n + 2, y.p, y.n);
    return (str_t) { p, x.n + 2 + y.n };
}

str_t call_header(call_t *call, const char *name)
{
    call_core_t *c = call_core(call);
    str_t        found = STR_NULL, wanted = str_of(name);

    for (size_t i = 0; i < c->nheaders; i++) {
        if (str_eq(c->headers[i].name, wanted)) {
            found = found.p == NULL ? c->headers[i].value : join(call->arena, found, c->headers[i].value);
        }
    }
    return found;
}
