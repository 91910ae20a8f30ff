/* Of store.c: turns, messages and the fence around them. */
#ifndef STORE_TURNS_H
#define STORE_TURNS_H

/* A conversation of ann that ME owns. */
typedef struct {
    const char *id;
    uint64_t    epoch;
} own_t;

static own_t co_own(arena_t *a)
{
    own_t       o = { .id = co_conversation(a, &ann) };
    const char *owner;

    if (co_claim(a, o.id, ME, NULL, &o.epoch, &owner) != 0) {
        ok(false, "a conversation of our own");
    }
    return o;
}

static turn_new_t asked(arena_t *a, const own_t *o, const char *input)
{
    char id[UUID_LEN + 1], idem[UUID_LEN + 1];

    uuid_new(id);
    uuid_new(idem);
    return (turn_new_t) { .id = arena_strdup(a, id), .conversation = o->id, .input = input, .idem = arena_strdup(a, idem),
                          .request_hash = "h" };
}

static int co_ask(arena_t *a, const own_t *o, const turn_new_t *t, turn_row_t *row, bool *existed)
{
    return co_store_turn_new(a, &ann, ME, o->epoch, t, row, existed);
}

/* A new turn that nobody knew; dies in the test's eyes if it fails. */
static turn_row_t co_asked(arena_t *a, const own_t *o, const char *input)
{
    turn_new_t t = asked(a, o, input);
    turn_row_t row = { .id = "" };
    bool       existed = false;
    int        rc = co_ask(a, o, &t, &row, &existed);

    if (rc || existed) {
        ok(false, "a turn (%s)", si_strerror(rc));
    }
    return row;
}

/* How a turn ends: as a worker would fill it in. */
static turn_row_t answered(arena_t *a, turn_row_t t, const char *output)
{
    char id[UUID_LEN + 1];

    uuid_new(id);
    t.state = TURN_COMPLETED;
    t.output = output;
    t.message_id = arena_strdup(a, id);
    t.model_used = "offline";
    t.agent = "default";
    t.finish = "stop";
    t.input_tokens = 12;
    t.output_tokens = 34;
    t.first_token_ms = 5;
    t.duration_ms = 67;
    t.estimated = true;
    t.last_event = 9;
    return t;
}

static int co_end(arena_t *a, const own_t *o, const turn_row_t *t)
{
    return co_store_turn_end(a, ann.tenant, ann.user, ME, o->epoch, t);
}

static int co_start(arena_t *a, const own_t *o, const turn_row_t *t, int attempt)
{
    return co_store_turn_start(a, ann.tenant, ann.user, ME, o->epoch, t->id, attempt, "offline");
}

static bool unfinished(arena_t *a, const own_t *o)
{
    return strcmp(sql(a, super_db, arena_printf(a, "SELECT unfinished FROM claim WHERE conversation_id = '%s'", o->id)), "t") == 0;
}

static void co_test_life(arena_t *a)
{
    own_t          o = co_own(a);
    turn_new_t     t = asked(a, &o, "what's \\ 'up'? \xc3\xa9");
    turn_row_t     row, read, end;
    conversation_t c;
    bool           existed = true;

    t.agent = "poet";
    t.client_turn_id = "client-1";
    is_int(co_ask(a, &o, &t, &row, &existed), 0, "a turn");
    ok(!existed && row.number == 1 && row.state == TURN_QUEUED, "is the first, and queued");
    is_int(co_store_turn(a, &ann, t.id, &read), 0, "it can be read");
    ok(strcmp(read.input, t.input) == 0 && strcmp(read.agent, "poet") == 0 && strcmp(read.model, "") == 0
       && strcmp(read.client_turn_id, "client-1") == 0 && strcmp(read.created, row.created) == 0
       && strcmp(read.user, ann.user) == 0 && read.attempt == 0, "as it was asked");
    ok(read.input_tokens == -1 && read.first_token_ms == -1 && read.duration_ms == -1 && read.last_event == 0
       && strcmp(read.finished, "") == 0 && strcmp(read.output, "") == 0 && strcmp(read.message_id, "") == 0, "and nothing more");
    ok(unfinished(a, &o), "the claim knows of it");
    is_int(co_store_release(a, o.id, ME, o.epoch), SI_ECONFLICT, "so it cannot be released");
    is_int(co_store_turn(a, &bob, t.id, &read), SI_ENOENT, "another user finds no such turn");
    is_int(co_store_turn(a, &eve, t.id, &read), SI_ENOENT, "another tenant neither");
    is_int(co_store_turn(a, &ann, "x", &read), SI_ENOENT, "nor anybody one that is no id");

    is_int(co_start(a, &o, &row, 0), 0, "it starts");
    is_int(co_start(a, &o, &row, 1), 0, "and starts again, as a second attempt");
    is_int(co_start(a, &o, &row, 0), SI_ECONFLICT, "but not back to the first");
    row.attempt = 1;
    end = answered(a, row, "not \\ \"much\"\n");
    is_int(co_end(a, &o, &end), 0, "it ends");
    is_int(co_end(a, &o, &end), 0, "saying so twice is no harm");
    is_int(co_store_turn(a, &ann, t.id, &read), 0, "it can be read");
    ok(read.state == TURN_COMPLETED && read.attempt == 1 && read.estimated && read.last_event == 9 && read.input_tokens == 12
       && read.output_tokens == 34 && read.first_token_ms == 5 && read.duration_ms == 67, "with all numbers");
    ok(strcmp(read.output, end.output) == 0 && strcmp(read.message_id, end.message_id) == 0 && strcmp(read.finish, "stop") == 0
       && strcmp(read.model_used, "offline") == 0 && strcmp(read.agent, "default") == 0 && strlen(read.finished) == 24, "and texts");
    end.last_event = 10;
    is_int(co_end(a, &o, &end), SI_ECONFLICT, "it cannot end in another way");
    is_int(co_start(a, &o, &row, 1), SI_ECONFLICT, "nor start once more");
    ok(!unfinished(a, &o), "the claim knows that nothing is left");
    is_int(co_as(a, &ann, arena_printf(a, "SELECT count(*) AS n FROM message WHERE turn_id = '%s'", t.id)), 2, "two messages");
    is_str(sql(a, super_db, arena_printf(a, "SELECT string_agg(topic, ' ') FROM outbox WHERE key = '%s'", t.id)), "turn.completed",
           "one row in the outbox");
    is_int(co_store_conversation(a, &ann, o.id, &c), 0, "the conversation");
    ok(c.last_turn == 1 && c.version == 3 && strcmp(c.updated, read.finished) == 0, "has been touched");
    end.state = TURN_RUNNING;
    is_int(co_end(a, &o, &end), SI_EINVAL, "running is no end");
    is_int(co_store_release(a, o.id, ME, o.epoch), 0, "the claim can be given up");
}

static void co_test_endings(arena_t *a)
{
    own_t      o = co_own(a);
    turn_row_t failed = co_asked(a, &o, "one"), cut = co_asked(a, &o, "two"), queued = co_asked(a, &o, "three"), read;

    is_int(co_start(a, &o, &failed, 0), 0, "the first runs");
    is_int(co_start(a, &o, &cut, 0), SI_ECONFLICT, "so the second cannot");
    failed.state = TURN_FAILED;
    failed.error = "turn_timeout";
    failed.error_detail = "it took too long";
    failed.retryable = true;
    is_int(co_end(a, &o, &failed), 0, "it fails");
    is_int(co_store_turn(a, &ann, failed.id, &read), 0, "and is read");
    ok(read.state == TURN_FAILED && read.retryable && strcmp(read.error, "turn_timeout") == 0
       && strcmp(read.error_detail, "it took too long") == 0 && read.output_tokens == -1 && !read.message_id[0], "as failed");
    ok(unfinished(a, &o), "others are left");

    is_int(co_start(a, &o, &cut, 0), 0, "now the second runs");
    is_int(co_store_turn_cancel_mark(a, &bob, cut.id), SI_ENOENT, "another user cannot cancel it");
    is_int(co_store_turn_cancel_mark(a, &ann, cut.id), 0, "its own can");
    is_int(co_store_turn(a, &ann, cut.id, &read), 0, "then it is");
    ok(read.cancel_requested && read.state == TURN_RUNNING, "marked");
    cut = answered(a, cut, "as far as");
    cut.state = TURN_CANCELLED;
    is_int(co_end(a, &o, &cut), 0, "it ends as cancelled");
    is_int(co_store_turn(a, &ann, cut.id, &read), 0, "and keeps");
    ok(read.state == TURN_CANCELLED && strcmp(read.output, "as far as") == 0, "what was said");

    queued.state = TURN_CANCELLED;
    is_int(co_end(a, &o, &queued), 0, "a queued one is cancelled");
    is_int(co_store_turn(a, &ann, queued.id, &read), 0, "and has");
    ok(read.state == TURN_CANCELLED && strcmp(read.output, "") == 0 && !read.message_id[0], "no message");
    is_int(co_store_turn_cancel_mark(a, &ann, queued.id), 0, "cancelling what is over is no error");
    is_int(co_store_turn_cancel_mark(a, &ann, "01890000-0000-7000-8000-000000000000"), SI_ENOENT, "cancelling nothing is");
    ok(!unfinished(a, &o), "nothing is left");
}

static void co_test_fence(arena_t *a)
{
    own_t       o = co_own(a), old = o;
    turn_row_t  row = co_asked(a, &o, "one"), read, end;
    turn_new_t  t = asked(a, &o, "two");
    const char *owner;
    bool        existed;

    is_int(co_start(a, &o, &row, 0), 0, "a turn runs");
    is_int(co_claim(a, o.id, OTHER, ME, &o.epoch, &owner), 0, "another worker takes the conversation");
    is_int(co_ask(a, &old, &t, &read, &existed), SI_ECONFLICT, "the old owner can add no turn");
    is_int(co_start(a, &old, &row, 1), SI_ECONFLICT, "start none");
    end = answered(a, row, "late");
    is_int(co_end(a, &old, &end), SI_ECONFLICT, "and end none");
    is_int(co_end(a, &o, &end), SI_ECONFLICT, "not even with the new epoch: the name counts too");
    is_int(co_store_turn_start(a, ann.tenant, ann.user, OTHER, old.epoch, row.id, 1, ""), SI_ECONFLICT, "the old epoch is no good");
    is_int(co_store_turn(a, &ann, row.id, &read), 0, "the turn");
    ok(read.state == TURN_RUNNING && read.attempt == 0, "is as it was");
    is_int(co_as(a, &ann, arena_printf(a, "SELECT count(*) AS n FROM message WHERE conversation_id = '%s'", o.id)), 1, "one message");
    is_int(co_as(a, &ann, arena_printf(a, "SELECT last_turn AS n FROM conversation WHERE conversation_id = '%s'", o.id)), 1, "one turn");
    is_int(co_store_turn_start(a, ann.tenant, ann.user, OTHER, o.epoch, row.id, 1, ""), 0, "the new owner goes on");
    is_int(co_store_turn_end(a, ann.tenant, ann.user, OTHER, o.epoch, &end), 0, "and ends it");
    is_int(co_store_turn_new(a, &eve, OTHER, o.epoch, &t, &read, &existed), SI_ECONFLICT, "another tenant is fenced off");
    is_int(co_store_turn_new(a, &bob, OTHER, o.epoch, &t, &read, &existed), SI_ECONFLICT, "and another user");
}

static void co_test_again(arena_t *a)
{
    own_t      o = co_own(a), p = co_own(a);
    turn_new_t t = asked(a, &o, "one"), u;
    turn_row_t row, read;
    bool       existed;

    t.client_turn_id = "c-1";
    is_int(co_ask(a, &o, &t, &row, &existed), 0, "a turn");
    u = asked(a, &o, "one");
    u.idem = t.idem;
    is_int(co_ask(a, &o, &u, &read, &existed), 0, "its idempotency key again");
    ok(existed && strcmp(read.id, t.id) == 0 && strcmp(read.input, "one") == 0 && read.number == 1, "gives the first");
    u = asked(a, &o, "one");
    u.client_turn_id = "c-1";
    is_int(co_ask(a, &o, &u, &read, &existed), 0, "its client_turn_id again");
    ok(existed && strcmp(read.id, t.id) == 0, "gives the first too");
    u.idem = t.idem;
    is_int(co_ask(a, &o, &u, &read, &existed), 0, "both");
    ok(existed && strcmp(read.id, t.id) == 0, "as well");
    u.request_hash = "other";
    is_int(co_ask(a, &o, &u, &read, &existed), SI_EEXIST, "with another request both are refused");
    u.client_turn_id = "c-2";
    is_int(co_ask(a, &o, &u, &read, &existed), SI_EEXIST, "the key alone");
    u = asked(a, &o, "one");
    u.client_turn_id = "c-1";
    u.request_hash = "other";
    is_int(co_ask(a, &o, &u, &read, &existed), SI_EEXIST, "and the client_turn_id alone");
    u = asked(a, &p, "one");
    u.idem = t.idem;
    is_int(co_ask(a, &p, &u, &read, &existed), SI_EEXIST, "a key of another conversation's turn");
    u = asked(a, &p, "one");
    u.client_turn_id = "c-1";
    is_int(co_ask(a, &p, &u, &read, &existed), 0, "a client_turn_id counts in its conversation");
    ok(!existed, "only");
    t = asked(a, &o, "two");
    t.client_turn_id = "c-3";
    is_int(co_ask(a, &o, &t, &row, &existed), 0, "another turn");
    u = t;
    u.client_turn_id = "c-1";
    is_int(co_ask(a, &o, &u, &read, &existed), SI_EEXIST, "a key of one turn with the client_turn_id of another");
    is_int(co_as(a, &ann, arena_printf(a, "SELECT last_turn AS n FROM conversation WHERE conversation_id = '%s'", o.id)), 2,
           "no number was spent on all that");
}

static void co_one_turn(void *arg)
{
    arena_t   *a = arena_new(1024);
    own_t      o = { crowd.conversation, crowd.epoch };
    turn_new_t t = asked(a, &o, "x");
    turn_row_t row;
    bool       existed;
    int        rc;

    t.client_turn_id = (intptr_t) arg % 2 ? "the same" : NULL;
    rc = co_ask(a, &o, &t, &row, &existed);
    crowd.sum += rc == 0 && !existed ? row.number : 0;
    crowd_left(rc);
    arena_free(a);
}

static void co_test_crowd(arena_t *a)
{
    own_t o = co_own(a);

    crowd_start(40, o.id, o.epoch);
    for (intptr_t i = 0; i < 40; i++) {
        co_spawn("turn", co_one_turn, (void *) i);
    }
    is_int(co_wait(&crowd.all, "test:crowd", soon()), 0, "forty turns at once");
    ok(crowd.won == 40 && crowd.failed == 0, "none fails");
    is_int(crowd.sum, 21 * 22 / 2, "twenty, and one that was sent twenty times, are numbered without a gap");
}

static void co_one_end(void *arg)
{
    arena_t   *a = arena_new(1024);
    own_t      o = { crowd.conversation, crowd.epoch };
    turn_row_t row = { .id = arg, .state = TURN_CANCELLED, .input_tokens = -1, .output_tokens = -1, .first_token_ms = -1, .duration_ms = -1 };

    crowd_left(co_end(a, &o, &row));
    arena_free(a);
}

/* The end of the last turn and a new one meet: whoever comes second must see the other. */
static void co_test_unfinished(arena_t *a)
{
    own_t o = co_own(a);
    int   right = 0;

    for (int round = 0; round < 40; round++) {
        turn_row_t row = co_asked(a, &o, "x"), *open;
        size_t     n;
        int64_t    last;
        crowd_start(2, o.id, o.epoch);
        co_spawn("end", co_one_end, (void *) (uintptr_t) row.id);
        co_spawn("turn", co_one_turn, (void *) 0);
        co_wait(&crowd.all, "test:crowd", soon());
        right += crowd.won == 2 && unfinished(a, &o);
        co_store_turns_open(a, ann.tenant, ann.user, o.id, &open, &n, &last);
        right += n == 1 && last == row.number + 1;
        open[0].state = TURN_CANCELLED;
        right += co_end(a, &o, &open[0]) == 0 && !unfinished(a, &o);
    }
    is_int(right, 120, "the claim says the truth when an end and a beginning meet, forty times");
}

static void co_test_orphans(arena_t *a)
{
    own_t    mine = co_own(a), theirs = co_own(a), idle = co_own(a), live = co_own(a);
    claim_t *list;
    size_t   n, seen_mine = 0, seen_theirs = 0, others = 0;
    uint64_t epoch;
    const char *owner;

    co_asked(a, &mine, "x");
    co_asked(a, &theirs, "x");
    co_asked(a, &live, "x");
    co_claim(a, theirs.id, "node/9.9", ME, &epoch, &owner);
    co_claim(a, idle.id, "node/9.9", ME, &epoch, &owner);
    co_claim(a, live.id, OTHER, ME, &epoch, &owner);
    is_int(co_store_orphans(a, ME, &list, &n), 0, "orphans");
    for (size_t i = 0; i < n; i++) {
        seen_mine += strcmp(list[i].conversation, mine.id) == 0 && strcmp(list[i].owner, ME) == 0;
        seen_theirs += strcmp(list[i].conversation, theirs.id) == 0 && strcmp(list[i].owner, "node/9.9") == 0
                       && strcmp(list[i].user, ann.user) == 0 && strcmp(list[i].tenant, ann.tenant) == 0;
        others += strcmp(list[i].conversation, idle.id) == 0 || strcmp(list[i].conversation, live.id) == 0;
    }
    ok(seen_theirs == 1 && strcmp(list[0].owner, ME) != 0, "what the dead left comes first");
    ok(seen_mine == 1 && others == 0, "then our own; not what is finished or lives elsewhere");
}

static void co_test_reading(arena_t *a)
{
    own_t          o = co_own(a), empty = co_own(a);
    char          *big = arena_alloc(a, 900001);
    turn_row_t    *rows;
    message_row_t *m;
    const char    *next = NULL;
    size_t         n, seen = 0;
    int64_t        last;
    int            right = 0, pages = 0;

    memset(big, 'b', 900000);
    big[900000] = '\0';
    for (int i = 1; i <= 6; i++) {
        turn_row_t row = co_asked(a, &o, arena_printf(a, "question %d", i)), end = answered(a, row, big);
        right += co_start(a, &o, &row, 0) == 0 && co_end(a, &o, &end) == 0;
    }
    turn_row_t failed = co_asked(a, &o, "in vain");
    failed.state = TURN_FAILED;
    right += co_end(a, &o, &failed) == 0;
    co_asked(a, &o, "waits");
    is_int(right, 7, "seven finished turns and one that waits");

    is_int(co_store_turns_open(a, ann.tenant, ann.user, o.id, &rows, &n, &last), 0, "what is open");
    ok(n == 1 && last == 8 && rows[0].number == 8 && strcmp(rows[0].input, "waits") == 0, "is the last");
    is_int(co_store_turns_open(a, ann.tenant, ann.user, empty.id, &rows, &n, &last), 0, "in an empty conversation");
    ok(n == 0 && last == 0, "nothing");
    is_int(co_store_turns_open(a, eve.tenant, eve.user, o.id, &rows, &n, &last), SI_ENOENT, "in another tenant's, none");

    is_int(co_store_turns_between(a, ann.tenant, ann.user, o.id, 0, 100, 50, &rows, &n), 0, "all that is over");
    ok(n == 7 && rows[0].number == 1 && rows[6].number == 7 && strlen(rows[5].output) == 900000, "comes, however large");
    is_int(co_store_turns_between(a, ann.tenant, ann.user, o.id, 1, 7, 3, &rows, &n), 0, "between, with a limit");
    ok(n == 3 && rows[0].number == 2 && rows[2].number == 4, "so many");
    is_int(co_store_turns_between(a, ann.tenant, ann.user, o.id, 7, 100, 3, &rows, &n), 0, "behind the end");
    is_int((long long) n, 0, "nothing");

    do {
        is_int(co_store_messages(a, &ann, o.id, next, 5, &m, &n, &next), 0, "a page of messages");
        for (size_t i = 0; i < n; i++) {
            seen++;
            right += m[i].number == (int64_t) (seen <= 13 ? seen : 15) && strcmp(m[i].role, m[i].number % 2 ? "user" : "assistant") == 0;
        }
    } while (next && ++pages < 20);
    ok(seen == 14 && right == 21, "fourteen in all, in order");
    is_int(co_store_messages(a, &bob, o.id, NULL, 5, &m, &n, &next), SI_ENOENT, "not for another user");
    is_int(co_store_messages(a, &ann, empty.id, NULL, 5, &m, &n, &next), 0, "of an empty conversation");
    ok(n == 0 && !next, "none");
    is_int(co_store_messages(a, &ann, o.id, "bad", 5, &m, &n, &next), SI_EINVAL, "a bad cursor");
    is_int(co_store_messages(a, &ann, o.id, cursor_encode(a, 'm', "99999999999999999999"), 5, &m, &n, &next), SI_EINVAL, "one past all numbers");

    is_int(co_store_history(a, ann.tenant, ann.user, o.id, 8, 3, &m, &n), 0, "history");
    ok(n == 3 && m[0].number == 11 && m[1].number == 12 && m[2].number == 13 && strcmp(m[2].content, "in vain") == 0,
       "the last three before the turn, with the question that failed");
    is_int(co_store_history(a, ann.tenant, ann.user, o.id, 3, 100, &m, &n), 0, "before the third");
    ok(n == 4 && m[0].number == 1 && m[3].number == 4 && m[3].tokens == 34, "four, oldest first");
    is_int(co_store_history(a, ann.tenant, ann.user, o.id, 8, 100, &m, &n), 0, "large ones");
    ok(n >= 4 && n < 13 && m[n - 1].number == 13, "are cut at the old end");
}

static void co_test_related(arena_t *a)
{
    own_t          o = co_own(a), p = co_own(a);
    turn_row_t     t;
    message_row_t *m;
    size_t         n;

    co_asked(a, &o, "My dog is called Bruno and likes walking");
    co_asked(a, &o, "verysecret: the weather was fine");
    co_asked(a, &o, "Bruno ate my shoes; the dog is a menace");
    t = co_asked(a, &p, "Where did I walk the dogs with Bruno?");
    co_asked(a, &p, "dog dog dog Bruno, but later");
    is_int(co_store_related(a, ann.tenant, ann.user, t.id, t.input, 4, &m, &n), 0, "related messages");
    ok(n == 2 && strstr(m[0].content, "walking") != NULL && strstr(m[1].content, "shoes") != NULL,
       "those that share words with the turn and came before it, the best first");
    is_int(co_store_related(a, bob.tenant, bob.user, t.id, t.input, 4, &m, &n), 0, "for bob");
    is_int((long long) n, 0, "nothing of ann's");
    is_int(co_store_related(a, ann.tenant, ann.user, t.id, "the and of", 4, &m, &n), 0, "stop words only");
    is_int((long long) n, 0, "find nothing");
    is_int(co_store_related(a, ann.tenant, ann.user, t.id, "it's a:\\*b & | ! <-> (dog' \\' /etc/pass\\wd http://x.y/z?a=\\", 4, &m, &n),
           0, "the signs of a query are no query");
    is_int((long long) n, 2, "its words are");
}

/* The order of a user's turns over all conversations, which grows as they are committed. */
static void co_test_ordinals(arena_t *a)
{
    own_t         o = co_own(a), p = co_own(a);
    int64_t       before, turns, theirs;
    unfinished_t *open;
    size_t        n0, n, seen = 0;
    turn_row_t    t[4], end, *rows;

    is_int(co_store_unfinished(a, ann.tenant, ann.user, &before, &open, &n0), 0, "what is unfinished of a user");
    is_int(co_store_unfinished(a, bob.tenant, bob.user, &theirs, &open, &n), 0, "and of another one");
    for (int i = 0; i < 4; i++) {
        t[i] = co_asked(a, i % 2 ? &p : &o, "in order");
        seen += t[i].ordinal == before + 1 + i && t[i].number == 1 + i / 2;
    }
    is_int((long long) seen, 4, "turns of two conversations are numbered in one row");
    end = answered(a, t[1], "over");
    ok(co_start(a, &p, &t[1], 0) == 0 && co_end(a, &p, &end) == 0, "the second one ends");
    is_int(co_store_unfinished(a, ann.tenant, ann.user, &turns, &open, &n), 0, "three more are unfinished");
    ok(turns == before + 4 && n == n0 + 3 && open[n - 1].ordinal == t[3].ordinal && open[n - 2].ordinal == t[2].ordinal
       && open[n - 3].ordinal == t[0].ordinal && strcmp(open[n - 1].conversation, p.id) == 0 && open[n - 1].number == 2, "by ordinal");
    is_int(co_store_unfinished(a, bob.tenant, bob.user, &turns, &open, &n), 0, "of the other one");
    is_int(turns, theirs, "as before");
    is_int(co_store_unfinished(a, ann.tenant, p.id, &turns, &open, &n), SI_ENOENT, "nobody");

    is_int(co_store_turns_of_user(a, ann.tenant, ann.user, before, before + 4, 9, &rows, &n), 0, "turns between ordinals");
    ok(n == 3 && strcmp(rows[1].id, t[1].id) == 0 && strcmp(rows[1].output, "over") == 0 && rows[2].state == TURN_QUEUED
       && rows[0].ordinal == t[0].ordinal, "of every state, in order");
    is_int(co_store_turns_of_user(a, ann.tenant, ann.user, 0, INT64_MAX, 2, &rows, &n), 0, "from the start, with a limit");
    ok(n == 2 && rows[0].ordinal == 1 && rows[1].ordinal == 2, "the first ones");
    is_int(co_store_turns_of_user(a, bob.tenant, bob.user, theirs, INT64_MAX, 2, &rows, &n), 0, "of the other one");
    is_int((long long) n, 0, "none");
}

static void co_test_turns(arena_t *a)
{
    co_test_life(a);
    co_test_endings(a);
    co_test_fence(a);
    co_test_again(a);
    co_test_crowd(a);
    co_test_unfinished(a);
    co_test_orphans(a);
    co_test_reading(a);
    co_test_related(a);
    co_test_ordinals(a);
}

#endif
