#include "store/rows.h"

#include "base/util.h"

/* The fence as a condition: a claim row c that still names us, with the epoch we were given. */
#define FENCE(tenant, user, owner, epoch) \
    "c.tenant_id = " tenant " AND c.user_id = " user " AND c.owner = " owner " AND c.epoch = " epoch

/* The first statement of a write: waits for whoever writes the conversation's turns, so that the next one sees it. */
#define LOCK_CLAIM \
    "SELECT 1 FROM claim c JOIN turn t ON t.conversation_id = c.conversation_id AND t.tenant_id = c.tenant_id" \
    " AND t.user_id = c.user_id AND t.turn_id = $3 WHERE " FENCE("$1", "$2", "$4", "$5") " FOR UPDATE OF c"

/* --- a new turn --- */

/* The turn that idem or client_turn_id has made before, if the request was the same. SI_ENOENT: neither has made one. */
static int co_earlier(arena_t *a, const identity_t *who, const turn_new_t *t, turn_row_t *out)
{
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    int         rc, by_key;

    pg_add(b, "SELECT kind, target_id, request_hash FROM idempotency WHERE tenant_id = $1 AND user_id = $2 AND key = $3",
           3, who->tenant, who->user, t->idem);
    pg_add(b,
           "SELECT " TURN_COLUMNS " FROM " TURN_TABLES " WHERE t.tenant_id = $1 AND t.user_id = $2 AND t.turn_id ="
           " (SELECT target_id FROM idempotency WHERE tenant_id = $1 AND user_id = $2 AND key = $3)",
           3, who->tenant, who->user, t->idem);
    pg_add(b,
           "SELECT " TURN_COLUMNS " FROM " TURN_TABLES
           " WHERE t.tenant_id = $1 AND t.user_id = $2 AND t.conversation_id = $3 AND t.client_turn_id = $4",
           4, who->tenant, who->user, t->conversation, t->client_turn_id);
    rc = co_store_run(b, "pg:turn_earlier");
    if (rc) {
        return rc;
    }
    by_key = pg_rows(b, 0) > 0 ? 1 : 2;
    if (by_key == 1 && strcmp(row_text(b, 0, 0, "request_hash"), t->request_hash) != 0) {
        return SI_EEXIST;
    }
    if (by_key == 2 && pg_rows(b, 2) == 0) {
        return SI_ENOENT;
    }
    if (pg_rows(b, by_key) == 0 || strcmp(row_text(b, by_key, 0, "request_hash"), t->request_hash) != 0
        || strcmp(row_text(b, by_key, 0, "conversation_id"), t->conversation) != 0
        || (pg_rows(b, 2) > 0 && strcmp(row_text(b, 2, 0, "turn_id"), row_text(b, by_key, 0, "turn_id")) != 0)) {
        return SI_EEXIST;
    }
    *out = row_turn(b, by_key, 0);
    return 0;
}

static turn_row_t fresh(arena_t *a, const identity_t *who, const turn_new_t *t, const pg_batch_t *b)
{
    return (turn_row_t) {
        .id = arena_strdup(a, t->id), .conversation = arena_strdup(a, t->conversation),
        .user = arena_strdup(a, who->user), .number = row_int(b, 1, 0, "number"),
        .ordinal = row_int(b, 1, 0, "ordinal"), .state = TURN_QUEUED,
        .input = arena_strdup(a, t->input), .agent = arena_strdup(a, t->agent != NULL ? t->agent : ""),
        .model = arena_strdup(a, t->model != NULL ? t->model : ""),
        .client_turn_id = arena_strdup(a, t->client_turn_id != NULL ? t->client_turn_id : ""),
        .model_used = "", .output = "", .error = "", .error_detail = "", .finished = "", .message_id = "", .finish = "",
        .key = arena_strdup(a, who->key_id), .traceparent = arena_strdup(a, t->traceparent != NULL ? t->traceparent : ""),
        .input_tokens = -1, .output_tokens = -1, .cached_tokens = -1, .cache_write_tokens = -1, .reasoning_tokens = -1, .cost = -1,
        .first_token_ms = -1, .duration_ms = -1,
        .created = row_text(b, 1, 0, "created"),
    };
}

/*
 * One statement, because everything hangs on the claim row: its UPDATE is the fence (a fenced-off owner finds no row,
 * and then nothing else happens), and it makes two turns of one conversation wait for each other. Before it, turns of one
 * user wait for each other, so that it counts all those that are not over.
 */
int co_store_turn_new(arena_t *a, const identity_t *who, const char *me, uint64_t epoch, const turn_new_t *t,
                      turn_row_t *out, bool *existed)
{
    char        message[UUID_LEN + 1];
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    const char *max = row_number(a, (int64_t) t->user_max);
    bool        full;
    int         rc;

    uuid_new(message);
    pg_add(b, "SELECT 1 FROM app_user WHERE tenant_id = $1 AND user_id = $2 AND $3::bigint > 0 FOR NO KEY UPDATE",
           3, who->tenant, who->user, max);
    pg_add(b,
           "WITH busy AS (SELECT $15::bigint > 0 AND count(*) >= $15::bigint AS full FROM turn t WHERE t.tenant_id = $1"
           "  AND t.user_id = $2 AND t.state IN ('queued', 'running')),"
           " fence AS (UPDATE claim c SET unfinished = true FROM busy WHERE NOT busy.full AND c.conversation_id = $3 AND "
           FENCE("$1", "$2", "$4", "$5") " RETURNING c.tenant_id, c.user_id, c.conversation_id),"
           " seq AS (UPDATE conversation v SET last_turn = v.last_turn + 1, version = v.version + 1, updated_at = now()"
           "  FROM fence f WHERE v.tenant_id = f.tenant_id AND v.user_id = f.user_id"
           "  AND v.conversation_id = f.conversation_id RETURNING f.*, v.last_turn AS number),"
           " ord AS (UPDATE app_user u SET turns = u.turns + 1 FROM fence f WHERE u.tenant_id = f.tenant_id"
           "  AND u.user_id = f.user_id RETURNING u.turns AS ordinal),"
           " made AS (INSERT INTO turn (tenant_id, user_id, conversation_id, turn_id, number, agent, model,"
           "   client_turn_id, request_hash, ordinal, key_id, traceparent)"
           "  SELECT tenant_id, user_id, conversation_id, $6, number, coalesce($7, ''), coalesce($8, ''), $9, $10, ordinal, $16::uuid, $17"
           "  FROM seq, ord RETURNING number, ordinal, created_at),"
           " said AS (INSERT INTO message (tenant_id, user_id, conversation_id, message_id, turn_id, number, role,"
           "   content, tokens, words)"
           "  SELECT tenant_id, user_id, conversation_id, $11, $6, 2 * number - 1, 'user', $12, $13,"
           "   to_tsvector('english', left($12, 8000)) FROM seq),"
           " key AS (INSERT INTO idempotency (tenant_id, user_id, key, kind, target_id, request_hash)"
           "  SELECT tenant_id, user_id, $14, 'turn', $6, $10 FROM seq)"
           " SELECT number, ordinal, " TIME_TEXT("created_at") " AS created, busy.full FROM busy LEFT JOIN made ON true",
           17, who->tenant, who->user, t->conversation, me, row_number(a, (int64_t) epoch), t->id, t->agent, t->model,
           t->client_turn_id, t->request_hash, message, t->input,
           row_number(a, (int64_t) token_estimate(str_of(t->input))), t->idem, max,
           who->key_id[0] ? who->key_id : NULL, t->traceparent);
    rc = co_store_run(b, "pg:turn_new");
    full = rc == 0 && row_bool(b, 1, 0, "full");
    *existed = rc == SI_EEXIST || full;
    if (*existed) {
        rc = co_earlier(a, who, t, out);
        return rc != SI_ENOENT ? rc : full ? SI_ENOMEM : SI_EINTERNAL;  /* the turn's own id is taken */
    }
    if (rc) {
        return rc;
    }
    if (row_int(b, 1, 0, "number") < 0) {
        return SI_ECONFLICT;
    }
    *out = fresh(a, who, t, b);
    return 0;
}

/* --- its life --- */

int co_store_turn_start(arena_t *a, const char *tenant, const char *user, const char *me, uint64_t epoch,
                        const char *turn, int attempt, const char *model_used)
{
    pg_batch_t *b = pg_batch(a, tenant, user);
    const char *fence = row_number(a, (int64_t) epoch);
    int         rc;

    pg_add(b, LOCK_CLAIM, 5, tenant, user, turn, me, fence);
    pg_add(b,
           "UPDATE turn t SET state = 'running', attempt = $6, model_used = $7, version = version + 1,"
           "  started_at = coalesce(started_at, now())"
           " FROM claim c WHERE c.conversation_id = t.conversation_id AND " FENCE("$1", "$2", "$4", "$5")
           "  AND t.tenant_id = $1 AND t.user_id = $2 AND t.turn_id = $3"
           "  AND t.state IN ('queued', 'running') AND t.attempt <= $6::integer",
           7, tenant, user, turn, me, fence, row_number(a, attempt), model_used != NULL ? model_used : "");
    rc = co_store_run(b, "pg:turn_start");
    if (rc == SI_EEXIST) {
        return SI_ECONFLICT;                            /* turn_running: another turn of the conversation runs */
    }
    return rc ? rc : pg_affected(b, 1) == 1 ? 0 : SI_ECONFLICT;
}

/* True if the turn has already ended in exactly this way: an answer to an earlier try was lost on its way. */
static int co_ended_so(arena_t *a, const char *tenant, const char *user, const turn_row_t *t, bool *same)
{
    pg_batch_t *b = pg_batch(a, tenant, user);
    int         rc;

    pg_add(b,
           "SELECT 1 FROM turn t LEFT JOIN message m ON m.tenant_id = t.tenant_id AND m.user_id = t.user_id"
           "  AND m.conversation_id = t.conversation_id AND m.number = 2 * t.number"
           " WHERE t.tenant_id = $1 AND t.user_id = $2 AND t.turn_id = $3 AND t.state = $4 AND t.last_event = $5"
           "  AND m.message_id IS NOT DISTINCT FROM $6::uuid",
           6, tenant, user, t->id, turn_state_name(t->state), row_number(a, SI_MAX(t->last_event, 0)),
           t->message_id != NULL && t->message_id[0] ? t->message_id : NULL);
    rc = co_store_run(b, "pg:turn_ended");
    *same = rc == 0 && pg_rows(b, 0) == 1;
    return rc;
}

static const char *or_empty(const char *z) { return z != NULL ? z : ""; }

static const char *null_or(arena_t *a, int64_t n) { return n >= 0 ? row_number(a, n) : "null"; }

/* Adds the statement that writes the end; its one row says that it did. */
static void add_end(pg_batch_t *b, arena_t *a, const char *tenant, const char *user, const char *me, const char *fence,
                    const turn_row_t *t, bool said)
{
    int64_t tokens = t->output_tokens >= 0 ? t->output_tokens : (int64_t) token_estimate(str_of(or_empty(t->output)));

    pg_add(b,
           "WITH done AS (UPDATE turn t SET state = $6, agent = coalesce(nullif($7, ''), t.agent),"
           "   model_used = coalesce(nullif($8, ''), t.model_used), error = $9, error_detail = $10,"
           "   retryable = $11::boolean, input_tokens = $12, output_tokens = $13, first_token_ms = $14,"
           "   duration_ms = $15, finish = $16, estimated = $17::boolean, last_event = $18, attempt = $22,"
           "   (cached_tokens, cache_write_tokens, reasoning_tokens, cost_micros, cached_answer) ="
           "    (SELECT (n->>0)::bigint, (n->>1)::bigint, (n->>2)::bigint, (n->>3)::bigint, (n->>4)::boolean FROM (SELECT $23::jsonb AS n) AS more),"
           "   finished_at = now(), version = t.version + 1"
           "  FROM claim c WHERE c.conversation_id = t.conversation_id AND " FENCE("$1", "$2", "$4", "$5")
           "   AND t.tenant_id = $1 AND t.user_id = $2 AND t.turn_id = $3 AND t.state IN ('queued', 'running')"
           "  RETURNING t.tenant_id, t.user_id, t.conversation_id, t.turn_id, t.number, t.state),"
           " said AS (INSERT INTO message (tenant_id, user_id, conversation_id, message_id, turn_id, number, role,"
           "   content, tokens) SELECT tenant_id, user_id, conversation_id, $19::uuid, turn_id, 2 * number, 'assistant',"
           "   $20, $21 FROM done WHERE $19::uuid IS NOT NULL),"
           " mark AS (UPDATE claim c SET unfinished = EXISTS (SELECT 1 FROM turn o WHERE o.tenant_id = d.tenant_id"
           "   AND o.user_id = d.user_id AND o.conversation_id = d.conversation_id AND o.turn_id <> d.turn_id"
           "   AND o.state IN ('queued', 'running')) FROM done d WHERE c.conversation_id = d.conversation_id),"
           " conv AS (UPDATE conversation v SET updated_at = now(), version = v.version + 1 FROM done d"
           "  WHERE v.tenant_id = d.tenant_id AND v.user_id = d.user_id AND v.conversation_id = d.conversation_id),"
           " news AS (INSERT INTO outbox (tenant_id, topic, key, payload)"
           "  SELECT tenant_id, 'turn.' || state, turn_id, jsonb_build_object('user', user_id, 'conversation',"
           "   conversation_id, 'turn', turn_id, 'number', number) FROM done)"
           " SELECT number FROM done",
           23, tenant, user, t->id, me, fence, turn_state_name(t->state), or_empty(t->agent), or_empty(t->model_used),
           or_empty(t->error), or_empty(t->error_detail), t->retryable ? "t" : "f", row_number(a, t->input_tokens),
           row_number(a, t->output_tokens), row_number(a, t->first_token_ms), row_number(a, t->duration_ms),
           or_empty(t->finish), t->estimated ? "t" : "f", row_number(a, SI_MAX(t->last_event, 0)),
           said ? t->message_id : NULL, said ? or_empty(t->output) : NULL, row_number(a, tokens),
           row_number(a, t->attempt), arena_printf(a, "[%s,%s,%s,%s,%s]", null_or(a, t->cached_tokens), null_or(a, t->cache_write_tokens),
                                                   null_or(a, t->reasoning_tokens), null_or(a, t->cost), t->cached_answer ? "true" : "false"));
}

int co_store_turn_end(arena_t *a, const char *tenant, const char *user, const char *me, uint64_t epoch, const turn_row_t *t)
{
    pg_batch_t *b = pg_batch(a, tenant, user);
    const char *fence = row_number(a, (int64_t) epoch);
    bool        said, same = false;
    int         rc;

    if (t->state < TURN_COMPLETED) {
        return SI_EINVAL;
    }
    said = t->message_id != NULL && t->message_id[0]
           && (t->state == TURN_COMPLETED || (t->state == TURN_CANCELLED && or_empty(t->output)[0]));
    pg_add(b, LOCK_CLAIM, 5, tenant, user, t->id, me, fence);
    add_end(b, a, tenant, user, me, fence, t, said);
    rc = co_store_run(b, "pg:turn_end");
    if (rc || pg_rows(b, 1) == 1) {
        return rc;
    }
    rc = co_ended_so(a, tenant, user, t, &same);
    return rc ? rc : same ? 0 : SI_ECONFLICT;
}

int co_store_turn_cancel_mark(arena_t *a, const identity_t *who, const char *turn)
{
    pg_batch_t *b;
    int         rc;

    if (!uuid_valid(str_of(turn))) {
        return SI_ENOENT;
    }
    b = pg_batch(a, who->tenant, who->user);
    pg_add(b,
           "UPDATE turn SET cancel_requested = true, version = version + 1 WHERE tenant_id = $1 AND user_id = $2"
           " AND turn_id = $3 AND state IN ('queued', 'running') AND NOT cancel_requested",
           3, who->tenant, who->user, turn);
    pg_add(b, "SELECT 1 FROM turn WHERE tenant_id = $1 AND user_id = $2 AND turn_id = $3",
           3, who->tenant, who->user, turn);
    rc = co_store_run(b, "pg:turn_cancel");
    return rc ? rc : pg_rows(b, 1) == 1 ? 0 : SI_ENOENT;
}

/* --- reading --- */

int co_store_turn(arena_t *a, const identity_t *who, const char *id, turn_row_t *out)
{
    pg_batch_t *b;
    int         rc;

    if (!uuid_valid(str_of(id))) {
        return SI_ENOENT;
    }
    b = pg_batch(a, who->tenant, who->user);
    pg_add(b, "SELECT " TURN_COLUMNS " FROM " TURN_TABLES
           " WHERE t.tenant_id = $1 AND t.user_id = $2 AND t.turn_id = $3", 3, who->tenant, who->user, id);
    rc = co_store_run(b, "pg:turn");
    if (rc == 0 && pg_rows(b, 0) == 0) {
        return SI_ENOENT;
    }
    if (rc == 0) {
        *out = row_turn(b, 0, 0);
    }
    return rc;
}

/* One page of whole turns that `filter` lets through, in the order of `key`, cut when their texts are too large. */
#define PAGE(filter, key) \
    "SELECT * FROM (SELECT r.*, count(*) OVER () AS total, sum(size) OVER (ORDER BY " key ") - size AS bytes FROM" \
    "  (SELECT " TURN_COLUMNS ", octet_length(i.content) + coalesce(octet_length(o.content), 0) AS size" \
    "   FROM " TURN_TABLES " WHERE t.tenant_id = $1 AND t.user_id = $2 AND t." key " > $3 AND t." key " < $4 AND " filter \
    "   ORDER BY t." key " LIMIT $5) r) p WHERE bytes < " STORE_PAGE_BYTES " ORDER BY " key

/* What co_page() reads: turns with after < number < before of a conversation, finished ones or the others; or without one: all of a user by ordinal. */
typedef struct {
    const char *tenant, *user, *conversation;
    int64_t     after, before;
    bool        finished;
    size_t      limit;
    turn_row_t *rows;               /* NULL before the first batch */
    size_t      n;
    int64_t     last_number;        /* of the conversation's newest turn; -1: no such conversation */
} page_t;

static void add_page(pg_batch_t *b, arena_t *a, const page_t *p)
{
    const char *after = row_number(a, p->after), *before = row_number(a, p->before);
    const char *limit = row_number(a, (int64_t) (p->limit - p->n));

    if (p->conversation != NULL) {
        pg_add(b, PAGE("t.conversation_id = $6 AND (t.state NOT IN ('queued', 'running')) = $7", "number"),
               7, p->tenant, p->user, after, before, limit, p->conversation, p->finished ? "t" : "f");
    } else {
        pg_add(b, PAGE("true", "ordinal"), 5, p->tenant, p->user, after, before, limit);
    }
}

/* Reads on from p->after; *more when the texts were too large for one batch. */
static int co_page(arena_t *a, page_t *p, const char *where, bool *more)
{
    pg_batch_t *b = pg_batch(a, p->tenant, p->user);
    int         rc, rows;

    pg_add(b, "SELECT last_turn FROM conversation WHERE tenant_id = $1 AND user_id = $2 AND conversation_id = $3",
           3, p->tenant, p->user, p->conversation);
    add_page(b, a, p);
    rc = co_store_run(b, where);
    if (rc) {
        return rc;
    }
    p->last_number = row_int(b, 0, 0, "last_turn");
    rows = pg_rows(b, 1);
    *more = rows > 0 && row_int(b, 1, 0, "total") > rows;
    if (p->rows == NULL) {
        p->limit = (size_t) SI_MAX(0, row_int(b, 1, 0, "total"));
        p->rows = arena_calloc(a, (p->limit + 1) * sizeof(*p->rows));
    }
    for (int i = 0; i < rows; i++) {
        const turn_row_t *row = &p->rows[p->n];

        p->rows[p->n++] = row_turn(b, 1, i);
        p->after = p->conversation != NULL ? row->number : row->ordinal;
    }
    return 0;
}

static int co_pages(arena_t *a, page_t *p, const char *where)
{
    bool more = true;
    int  rc = 0;

    while (rc == 0 && more) {
        rc = co_page(a, p, where, &more);
    }
    return rc;
}

int co_store_turns_open(arena_t *a, const char *tenant, const char *user, const char *conversation,
                        turn_row_t **out, size_t *n, int64_t *last_number)
{
    page_t p = { .tenant = tenant, .user = user, .conversation = conversation, .before = INT64_MAX, .limit = 1024 };
    int    rc;

    if (!uuid_valid(str_of(conversation))) {
        return SI_ENOENT;
    }
    rc = co_pages(a, &p, "pg:turns_open");
    *out = p.rows;
    *n = p.n;
    *last_number = p.last_number;
    return rc ? rc : p.last_number < 0 ? SI_ENOENT : 0;
}

int co_store_turns_between(arena_t *a, const char *tenant, const char *user, const char *conversation,
                           int64_t after, int64_t before, int limit, turn_row_t **out, size_t *n)
{
    page_t p = { .tenant = tenant, .user = user, .conversation = conversation, .after = SI_MAX(after, 0),
                 .before = before, .finished = true, .limit = (size_t) SI_MAX(1, SI_MIN(limit, 1000)) };
    int    rc = co_pages(a, &p, "pg:turns_between");

    *out = p.rows;
    *n = p.n;
    return rc;
}

int co_store_turns_of_user(arena_t *a, const char *tenant, const char *user, int64_t after, int64_t before, int limit,
                           turn_row_t **out, size_t *n)
{
    page_t p = { .tenant = tenant, .user = user, .after = SI_MAX(after, 0), .before = before,
                 .limit = (size_t) SI_MAX(1, SI_MIN(limit, 1000)) };
    int    rc = co_pages(a, &p, "pg:turns_of_user");

    *out = p.rows;
    *n = p.n;
    return rc;
}

/* One statement, and so one moment: a turn that it does not show as unfinished and that is counted is over. */
int co_store_unfinished(arena_t *a, const char *tenant, const char *user, int64_t *turns, unfinished_t **out, size_t *n)
{
    pg_batch_t *b = pg_batch(a, tenant, user);
    int         rc;

    pg_add(b,
           "SELECT u.turns, t.conversation_id, t.number, t.ordinal FROM app_user u LEFT JOIN turn t"
           "  ON t.tenant_id = u.tenant_id AND t.user_id = u.user_id AND t.state IN ('queued', 'running')"
           " WHERE u.tenant_id = $1 AND u.user_id = $2 ORDER BY t.ordinal LIMIT $3",
           3, tenant, user, row_number(a, UNFINISHED_MAX));
    rc = co_store_run(b, "pg:unfinished");
    if (rc) {
        return rc;
    }
    *turns = row_int(b, 0, 0, "turns");
    *n = 0;
    *out = arena_calloc(a, (UNFINISHED_MAX + 1) * sizeof(**out));
    for (int i = 0; i < pg_rows(b, 0); i++) {
        if (row_int(b, 0, i, "ordinal") > 0) {
            (*out)[(*n)++] = (unfinished_t) {
                .conversation = row_text(b, 0, i, "conversation_id"), .number = row_int(b, 0, i, "number"),
                .ordinal = row_int(b, 0, i, "ordinal"),
            };
        }
    }
    if (*n == UNFINISHED_MAX) {
        *turns = (*out)[*n - 1].ordinal;                /* there may be more behind it */
    }
    return pg_rows(b, 0) > 0 ? 0 : SI_ENOENT;
}
