#include <inttypes.h>
#include <stdio.h>

#include "api/input.h"
#include "api/problem.h"
#include "base/buf.h"
#include "base/util.h"
#include "run/co.h"
#include "turn/presence.h"

#define TITLE_MAX   800         /* bytes: 200 characters of four */
#define BODY_MAX    8192
#define ANSWER_MAX  (160u << 20)    /* 100 messages of the largest size */

static void put_conversation(buf_t *b, const conversation_t *c)
{
    buf_printf(b, "{\"id\":\"%s\",\"title\":", c->id);
    buf_json_str(b, str_of(c->title));
    buf_printf(b, ",\"created\":\"%s\",\"updated\":\"%s\",\"version\":%" PRId64 ",\"last_turn\":%" PRId64 "}", c->created,
               c->updated, c->version, c->last_turn);
}

static size_t characters(str_t s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        n += (s.p[i] & 0xc0) != 0x80;
    }
    return n;
}

static void co_put(request_t *r, int status, const conversation_t *c)
{
    char        etag[32];
    const char *headers[][2] = {
        { "ETag", etag },
        { "Location", status == 201 ? arena_printf(r->call->arena, "/v1/conversations/%s", c->id) : NULL },
    };
    buf_t       b;

    snprintf(etag, sizeof(etag), "\"%" PRId64 "\"", c->version);
    buf_init(&b, 16384);
    put_conversation(&b, c);
    co_json(r->call, status, (str_t) { b.p, b.n }, SI_COUNT(headers), headers);
    buf_free(&b);
}

void co_conversation_create(request_t *r)
{
    static const char *const names[] = { "title", NULL };
    conversation_t           c;
    const char              *idem;
    bool                     existed = false;
    str_t                    text, title;
    json_t                  *o;

    if (co_input_idempotency(r, &idem) || !(o = co_input_object(r, BODY_MAX, true, names, &text))
        || co_input_string(r, o, "title", false, TITLE_MAX, &title))
    {
        return;
    }
    if (characters(title) > 200) {
        co_problem(r->call, 422, "invalid_field", "title", "may have 200 characters");
        return;
    }
    co_mask(true);
    int rc = co_store_conversation_new(r->call->arena, &r->who, title.n ? title.p : "", idem, input_hash(r, text), &c,
                                       &existed);
    co_mask(false);
    if (rc == SI_ECONFLICT || rc == SI_EEXIST) {
        co_problem(r->call, 422, "idempotency_conflict", "Idempotency-Key", "was used with another request");
    } else if (rc) {
        co_problem_rc(r->call, rc);
    } else {
        co_put(r, 201, &c);
    }
}

void co_conversation_get(request_t *r)
{
    conversation_t c;
    int            rc = co_store_conversation(r->call->arena, &r->who, r->id, &c);

    if (rc) {
        co_problem_rc(r->call, rc);
    } else {
        co_put(r, 200, &c);
    }
}

void co_conversation_readers(request_t *r)
{
    conversation_t c;
    presence_t     p;
    int            rc = co_store_conversation(r->call->arena, &r->who, r->id, &c);

    rc = rc ? rc : co_presence(r->who.tenant, r->who.user, r->id, &p);
    if (rc) {
        co_problem_rc(r->call, rc);
        return;
    }
    char *text = arena_printf(r->call->arena, "{\"readers\":%" PRIu64 ",\"complete\":%s}", p.readers, p.complete ? "true" : "false");
    co_json(r->call, 200, str_of(text), 0, NULL);
}

void co_page(request_t *r, buf_t *b, const char *next)
{
    buf_puts(b, "],\"next\":");
    if (next) {
        buf_json_str(b, str_of(next));
    } else {
        buf_puts(b, "null");
    }
    buf_puts(b, "}");
    co_json(r->call, 200, (str_t) { b->p, b->n }, 0, NULL);
    buf_free(b);
}

void co_page_error(request_t *r, int rc)
{
    if (rc == SI_EINVAL) {
        co_problem(r->call, 400, "invalid_cursor", "cursor", "is not a cursor that this list gave out");
    } else {
        co_problem_rc(r->call, rc);
    }
}

void co_conversation_list(request_t *r)
{
    conversation_t *list;
    const char     *cursor, *next;
    size_t          n;
    int             limit, rc;
    buf_t           b;

    if (co_input_page(r, &limit, &cursor)) {
        return;
    }
    rc = co_store_conversations(r->call->arena, &r->who, cursor, limit, &list, &n, &next);
    if (rc) {
        co_page_error(r, rc);
        return;
    }
    buf_init(&b, ANSWER_MAX);
    buf_puts(&b, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, i ? "," : "");
        put_conversation(&b, &list[i]);
    }
    co_page(r, &b, next);
}

void co_conversation_messages(request_t *r)
{
    message_row_t *list;
    const char    *cursor, *next;
    size_t         n;
    int            limit, rc;
    buf_t          b;

    if (co_input_page(r, &limit, &cursor)) {
        return;
    }
    rc = co_store_messages(r->call->arena, &r->who, r->id, cursor, limit, &list, &n, &next);
    if (rc) {
        co_page_error(r, rc);
        return;
    }
    buf_init(&b, ANSWER_MAX);
    buf_puts(&b, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        const message_row_t *m = &list[i];

        buf_printf(&b, "%s{\"id\":\"%s\",\"turn\":\"%s\",\"role\":\"%s\",\"content\":", i ? "," : "", m->id, m->turn, m->role);
        buf_json_str(&b, str_of(m->content));
        buf_printf(&b, ",\"number\":%" PRId64 ",\"tokens\":%" PRId64 ",\"created\":\"%s\"}", m->number, m->tokens, m->created);
    }
    co_page(r, &b, next);
}
