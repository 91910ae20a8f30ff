/* GET /v1/events: everything a user does, on one stream. */
#include "turn/feed.h"

#include <stdio.h>

#include "api/own.h"
#include "api/problem.h"
#include "base/proc.h"
#include "conf/conf.h"
#include "link/link.h"
#include "turn/reader.h"

/* All readers of a user go to one worker of this machine, if it is there: then one feed serves them. True: sent there. */
static bool moved(call_t *call, const char *user)
{
    char     slot[16];
    uint64_t home = hash_bytes(0, user, strlen(user)) % proc.conf->workers;

    if (home == (uint64_t) proc.slot) {
        return false;
    }
    snprintf(slot, sizeof(slot), "%u", (unsigned) home);
    if (!links_alive(slot)) {
        return false;
    }
    call_moved(call, slot);
    return true;
}

feed_t *co_feed(request_t *r)
{
    feed_t *f;
    int     rc;

    if (!call_is_local(r->call) && moved(r->call, r->who.user)) {
        return NULL;
    }
    rc = co_feed_open(r->who.tenant, r->who.user, &f);
    if (rc == SI_EAGAIN && !call_is_local(r->call) && proc.draining && co_to_successor(r)) {
        return NULL;
    }
    if (rc) {
        co_problem_rc(r->call, rc == SI_ETIMEDOUT ? SI_EUNAVAIL : rc);
        return NULL;
    }
    return f;
}

/* An id from another worker may be ahead of this one, but not of Postgres. True: answered. */
static bool co_future(request_t *r, const feed_t *f, const feed_pos_t *pos)
{
    unfinished_t *open;
    size_t        n;
    int64_t       turns = 0;
    int           rc;

    if (pos->top <= f->pos.top) {
        return false;
    }
    rc = co_store_unfinished(r->call->arena, r->who.tenant, r->who.user, &turns, &open, &n);
    if (rc) {
        co_problem_rc(r->call, rc);
    } else if (pos->top > turns) {
        co_future_id(r);
    }
    return rc != 0 || pos->top > turns;
}

/* 0, or -1: answered. */
static int co_begin_at(request_t *r, feed_t *f, feed_pos_t *pos)
{
    bool  start, now;
    str_t id;
    int   given = co_last_id(r, &id);

    if (given < 0) {
        return -1;
    }
    if (given) {
        if (feed_pos_parse(id, pos)) {
            co_bad_id(r);
            return -1;
        }
        return co_future(r, f, pos) ? -1 : 0;
    }
    if (co_from(r, &start, &now)) {
        return -1;
    }
    if (start) {
        *pos = (feed_pos_t) { 0 };
        return 0;
    }
    while (now && feed_opening(f) && co_feed_wait(f) == 0) {
        /* then it has what the running turns have said so far */
    }
    *pos = f->pos;
    for (size_t i = 0; !now && i < pos->n; i++) {
        pos->open[i].seen = 0;
    }
    return 0;
}

feed_t *co_feed_stream(request_t *r, feed_pos_t *pos)
{
    feed_t *f = co_feed(r);

    if (f && co_begin_at(r, f, pos)) {
        feed_leave(f);
        return NULL;
    }
    return f;
}

void co_user_events(request_t *r)
{
    feed_pos_t pos;
    feed_t    *f = co_feed_stream(r, &pos);

    if (!f) {
        return;
    }
    if (!co_head_only(r)) {
        if (co_reader_head(r->call)) {
            call_abort(r->call);
        } else {
            co_feed_read(r->call, f, &pos);
        }
    }
    feed_leave(f);
}

void co_feed_resume(call_t *call)
{
    request_t  r = { .call = call };
    feed_pos_t pos = { 0 };
    feed_t    *f;

    r.who.tenant = arena_printf(call->arena, "%.*s", STR_ARG(call->resume_tenant));
    r.who.user = arena_printf(call->arena, "%.*s", (int) call->resume.n - 2, call->resume.p + 2);
    if (!uuid_valid(str_of(r.who.tenant)) || !uuid_valid(str_of(r.who.user)) || feed_pos_parse(call->resume_id, &pos)) {
        co_problem(call, 400, "invalid_event_id", NULL, "this log cannot be resumed");
        return;
    }
    f = co_feed(&r);
    if (f) {
        if (co_reader_head(call) == 0) {
            co_feed_read(call, f, &pos);
        }
        feed_leave(f);
    }
}
