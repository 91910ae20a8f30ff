#include "store/rows.h"

#include "base/util.h"
#include "store/cursor.h"

/* A word as a quoted term of a tsquery, whatever stands in it (quote_literal() is for SQL and writes E'' at a backslash). */
#define TSQUERY_WORD(word)  "'''' || replace(replace(" word ", '\\', '\\\\'), '''', '''''') || ''''"

static message_row_t *decode(arena_t *a, const pg_batch_t *b, int i, size_t n)
{
    message_row_t *out = arena_calloc(a, (n + 1) * sizeof(*out));

    for (size_t row = 0; row < n; row++) {
        out[row] = row_message(b, i, (int) row);
    }
    return out;
}

/* A cursor is decimal and small enough for a bigint. */
static int number_of(arena_t *a, const char *cursor, const char **number)
{
    uint64_t v;

    if (cursor_decode(a, 'm', cursor, number) != 0 || parse_u64(str_of(*number), &v) != 0 || v > INT64_MAX) {
        return SI_EINVAL;
    }
    return 0;
}

int co_store_messages(arena_t *a, const identity_t *who, const char *conversation, const char *cursor, int limit,
                      message_row_t **out, size_t *n, const char **next)
{
    const char *after = "0";
    pg_batch_t *b;
    int         rc;

    if (cursor != NULL && number_of(a, cursor, &after) != 0) {
        return SI_EINVAL;
    }
    if (!uuid_valid(str_of(conversation))) {
        return SI_ENOENT;
    }
    limit = SI_MAX(1, SI_MIN(limit, 100));
    b = pg_batch(a, who->tenant, who->user);
    pg_add(b, "SELECT 1 FROM conversation WHERE tenant_id = $1 AND user_id = $2 AND conversation_id = $3",
           3, who->tenant, who->user, conversation);
    pg_add(b,
           "SELECT * FROM (SELECT m.*, count(*) OVER () AS total,"
           "   sum(octet_length(content)) OVER (ORDER BY number) - octet_length(content) AS bytes FROM"
           "  (SELECT " MESSAGE_COLUMNS " FROM message m WHERE m.tenant_id = $1 AND m.user_id = $2"
           "   AND m.conversation_id = $3 AND m.number > $4 ORDER BY m.number LIMIT $5) m) p"
           " WHERE bytes < " STORE_PAGE_BYTES " ORDER BY number",
           5, who->tenant, who->user, conversation, after, row_number(a, limit + 1));
    rc = co_store_run(b, "pg:messages");
    if (rc) {
        return rc;
    }
    if (pg_rows(b, 0) == 0) {
        return SI_ENOENT;
    }
    *n = (size_t) SI_MIN(pg_rows(b, 1), limit);
    *out = decode(a, b, 1, *n);
    *next = row_int(b, 1, 0, "total") > (int64_t) *n
            ? cursor_encode(a, 'm', row_number(a, (*out)[*n - 1].number)) : NULL;
    return 0;
}

int co_store_history(arena_t *a, const char *tenant, const char *user, const char *conversation,
                     int64_t turn_number, int limit, message_row_t **out, size_t *n)
{
    pg_batch_t *b = pg_batch(a, tenant, user);
    int         rc;

    pg_add(b,
           "SELECT * FROM (SELECT m.*, sum(octet_length(content)) OVER (ORDER BY number DESC)"
           "   - octet_length(content) AS bytes FROM"
           "  (SELECT " MESSAGE_COLUMNS " FROM message m JOIN turn t ON t.tenant_id = m.tenant_id"
           "   AND t.user_id = m.user_id AND t.turn_id = m.turn_id"
           "   WHERE m.tenant_id = $1 AND m.user_id = $2 AND m.conversation_id = $3 AND m.number <= 2 * ($4::bigint - 1)"
           "   AND t.state NOT IN ('queued', 'running') ORDER BY m.number DESC LIMIT $5) m) p"
           " WHERE bytes < " STORE_PAGE_BYTES " ORDER BY number",
           5, tenant, user, conversation, row_number(a, turn_number), row_number(a, SI_MAX(limit, 0)));
    rc = co_store_run(b, "pg:history");
    if (rc) {
        return rc;
    }
    *n = (size_t) pg_rows(b, 0);
    *out = decode(a, b, 0, *n);
    return 0;
}

/*
 * Looks through the newest 200 messages only, and each one's words were put down when it was stored: a demonstration,
 * not recall.
 */
int co_store_related(arena_t *a, const char *tenant, const char *user, const char *turn, const char *text, int limit,
                     message_row_t **out, size_t *n)
{
    pg_batch_t *b = pg_batch(a, tenant, user);
    int         rc;

    pg_add(b,
           "WITH q AS MATERIALIZED (SELECT string_agg(" TSQUERY_WORD("lexeme") ", ' | ')::tsquery AS words"
           "  FROM unnest(to_tsvector('english', left($4, 8000)))),"
           " recent AS MATERIALIZED (SELECT m.* FROM message m WHERE m.tenant_id = $1 AND m.user_id = $2"
           "  AND m.role = 'user' AND m.turn_id <> $3 AND m.message_id <"
           "   (SELECT x.message_id FROM message x WHERE x.tenant_id = $1 AND x.user_id = $2 AND x.turn_id = $3"
           "    AND x.role = 'user')"
           "  ORDER BY m.message_id DESC LIMIT 200)"
           " SELECT " MESSAGE_COLUMNS " FROM recent m, q WHERE m.words @@ q.words"
           " ORDER BY ts_rank(m.words, q.words) DESC, m.message_id DESC LIMIT $5",
           5, tenant, user, turn, text, row_number(a, SI_MAX(0, SI_MIN(limit, 4))));
    rc = co_store_run(b, "pg:related");
    if (rc) {
        return rc;
    }
    *n = (size_t) pg_rows(b, 0);
    *out = decode(a, b, 0, *n);
    return 0;
}
