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

static void put_conversation(buf_t *b, const void *row)
{
    const conversation_t *c = row;

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

void co_conversation_list(request_t *r)
{
    conversation_t *list = NULL;
    const char     *cursor, *next = NULL;
    size_t          n = 0;
    int             limit, rc;

    if (co_input_page(r, &limit, &cursor)) {
        return;
    }
    rc = co_store_conversations(r->call->arena, &r->who, cursor, limit, &list, &n, &next);
    co_put_page(r, rc, &(page_t) { list, n, sizeof(*list), put_conversation, ANSWER_MAX, next });
}

static void put_message(buf_t *b, const void *row)
{
    const message_row_t *m = row;

    buf_printf(b, "{\"id\":\"%s\",\"turn\":\"%s\",\"role\":\"%s\",\"content\":", m->id, m->turn, m->role);
    buf_json_str(b, str_of(m->content));
    buf_printf(b, ",\"number\":%" PRId64 ",\"tokens\":%" PRId64 ",\"created\":\"%s\"}", m->number, m->tokens, m->created);
}

void co_conversation_messages(request_t *r)
{
    message_row_t *list = NULL;
    const char    *cursor, *next = NULL;
    size_t         n = 0;
    int            limit, rc;

    if (co_input_page(r, &limit, &cursor)) {
        return;
    }
    rc = co_store_messages(r->call->arena, &r->who, r->id, cursor, limit, &list, &n, &next);
    co_put_page(r, rc, &(page_t) { list, n, sizeof(*list), put_message, ANSWER_MAX, next });
}
