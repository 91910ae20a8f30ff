/*
 * /v1/tickets, and calls that come with a ticket instead of a credential: EventSource can send no header. It is good for one
 * GET of the path that it was made for, and for pages of the origin that asked for it.
 */
#include "api/input.h"
#include "api/problem.h"
#include "base/buf.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "run/co.h"
#include "store/key.h"
#include "store/revoked.h"
#include "store/ticket.h"

#define BODY_MAX    4096
#define PATH_BYTES 200         /* bytes */
#define ORIGIN_MAX  300

/* What there is to be read as a stream, or as a WebSocket. */
static bool streams(str_t path)
{
    static const char *const patterns[] = { "/v1/events", "/v1/socket", "/v1/conversations/{id}/events", "/v1/turns/{id}/events" };
    char  lower[UUID_LEN + 1];
    str_t id, name;

    for (size_t i = 0; i < SI_COUNT(patterns); i++) {
        if (route_match(patterns[i], path, &id, &name)) {
            return !id.p || uuid_lower(id, lower);
        }
    }
    return false;
}

/* 0 or -1: answered. */
static int co_read(request_t *r, ticket_new_t *t)
{
    static const char *const names[] = { "path", NULL };
    str_t   text, path, origin = call_header(r->call, "origin");
    json_t *o = co_input_object(r, BODY_MAX, false, names, &text);

    if (!o || co_input_string(r, o, "path", true, PATH_BYTES, &path)) {
        return -1;
    }
    if (!streams(path)) {
        co_problem(r->call, 422, "invalid_field", "path", "must be the path of an event stream or of the WebSocket, without a query");
        return -1;
    }
    if (origin.n > ORIGIN_MAX) {
        co_problem(r->call, 422, "invalid_field", "Origin", "may have %d bytes", ORIGIN_MAX);
        return -1;
    }
    t->path = path.p;
    t->origin = origin.n ? arena_printf(r->call->arena, "%.*s", STR_ARG(origin)) : NULL;
    t->life = proc.conf->auth_ticket;
    return 0;
}

static void co_put_ticket(request_t *r, const ticket_new_t *t, const char *ticket, const char *expires)
{
    buf_t b;

    buf_init(&b, 8192);
    buf_printf(&b, "{\"ticket\":\"%s\",\"path\":\"%s\",\"origin\":", ticket, t->path);
    if (t->origin) {
        buf_json_str(&b, str_of(t->origin));
    } else {
        buf_puts(&b, "null");
    }
    buf_printf(&b, ",\"expires\":\"%s\"}", expires);
    co_json(r->call, 201, (str_t) { b.p, b.n }, 0, NULL);
    buf_free(&b);
}

void co_ticket_create(request_t *r)
{
    char         ticket[KEY_LEN + 1], hash[65], marks[2 * SI_MARKS_SIZE + 1];
    ticket_new_t t = { .hash = hash };
    const char  *expires;
    int          rc;

    if (co_read(r, &t)) {
        return;
    }
    if (r->call->marks) {
        hex_encode(marks, r->call->marks, SI_MARKS_SIZE);
        t.marks = marks;
    }
    ticket_new(ticket);
    key_hash(str_of(ticket), hash);
    rc = co_store_ticket_new(r->call->arena, &r->who, &t, &expires);
    if (rc) {
        co_problem_rc(r->call, rc);
    } else {
        co_put_ticket(r, &t, ticket, expires);
    }
}

/*
 * A GET to the page's own origin names none (https://fetch.spec.whatwg.org/#append-a-request-origin-header); one that another
 * origin's page makes without asking for permission does not either, but browsers tell these by Sec-Fetch-Site, if over TLS.
 */
static bool from_own_page(call_t *call)
{
    str_t site = call_header(call, "sec-fetch-site");

    return !call_header(call, "origin").p && (!site.p || str_is(site, "same-origin"));
}

/* Of the token that asked for it: the call has them from now on. */
static int co_take_marks(call_t *call, const char *hex)
{
    uint8_t   *raw = arena_alloc(call->arena, SI_MARKS_SIZE);
    si_marks_t marks;

    if (!hex_decode(raw, SI_MARKS_SIZE, str_of(hex))) {
        return 0;                           /* a key asked for it */
    }
    si_marks_get(raw, &marks);
    call->marks = raw;
    return co_revoked(&marks);
}

bool co_authenticate_ticket(request_t *r)
{
    call_t      *call = r->call;
    str_t        origin = call_header(call, "origin");
    char         hash[65], nobody[UUID_LEN + 1];
    ticket_use_t use = { .hash = hash, .same = from_own_page(call) };
    const char  *marks;
    int          rc = SI_EDENIED;

    if (str_is(call->method, "GET") && ticket_valid(call->ticket)) {
        uuid_new(nobody);
        key_hash(call->ticket, hash);
        use.path = arena_printf(call->arena, "%.*s", STR_ARG(call->path));
        use.origin = origin.p ? arena_printf(call->arena, "%.*s", STR_ARG(origin)) : NULL;
        use.request = call->key.n ? arena_printf(call->arena, "%.*s", STR_ARG(call->key)) : nobody;
        rc = co_store_ticket_use(call->arena, &use, &r->who, &marks);
        rc = rc ? rc : co_take_marks(call, marks);
    }
    if (rc == SI_EDENIED) {
        co_problem(call, 401, "invalid_ticket", NULL, "the ticket is unknown, expired, used already, or for another path or origin");
    } else if (rc) {
        co_problem_rc(call, rc);
    }
    return rc == 0;
}
