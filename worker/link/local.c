/* Calls of this process to itself: a request without an edge, whose answer stays here. */
#include "link/wire.h"

#include "base/logger.h"

#define LOCAL_ANSWER_MAX  (32u << 20)   /* more than any answer that is not a stream has */

call_t *call_local(const char *method, const char *path, str_t body)
{
    call_core_t *c = call_new(0, true, body.n);

    c->pub.method = str_of(method);
    c->pub.path = str_of(arena_strdup(c->pub.arena, path));
    c->pub.query = c->pub.addr = c->pub.key = STR("");
    (void) buf_append(&c->body, body.p, body.n);
    c->body_unacked = body.n;
    c->last = true;
    c->local = true;
    buf_init(&c->answer, LOCAL_ANSWER_MAX);
    return &c->pub;
}

void call_local_header(call_t *call, const char *name, str_t value)
{
    call_core_t *c = call_core(call);

    if (c->nheaders < CALL_HEADERS) {
        c->headers[c->nheaders].name = str_of(name);
        c->headers[c->nheaders++].value = value;
    }
}

bool call_is_local(const call_t *call)
{
    return call_core(call)->local;
}

int local_write(call_core_t *c, const void *p, size_t n)
{
    return buf_append(&c->answer, p, n);
}

void local_end(call_core_t *c)
{
    c->whole = c->local && c->pub.status != 0;
}

bool call_local_answer(call_t *call, str_t *body)
{
    call_core_t *c = call_core(call);

    *body = (str_t) { c->answer.n > 0 ? c->answer.p : "", c->answer.n };
    return c->whole;
}

void call_local_free(call_t *call)
{
    call_core_t *c = call_core(call);

    buf_free(&c->body);
    buf_free(&c->answer);
    arena_free(c->pub.arena);
}
