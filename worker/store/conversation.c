#include "store/rows.h"

#include "base/util.h"
#include "store/cursor.h"

/* What an earlier request with the same key has made. */
static int co_earlier(arena_t *a, const identity_t *who, const char *idem, const char *request_hash, conversation_t *out)
{
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    int         rc;

    pg_add(b,
           "SELECT i.kind, i.request_hash, " CONVERSATION_COLUMNS
           " FROM idempotency i JOIN conversation c ON c.tenant_id = i.tenant_id AND c.user_id = i.user_id"
           "  AND c.conversation_id = i.target_id"
           " WHERE i.tenant_id = $1 AND i.user_id = $2 AND i.key = $3", 3, who->tenant, who->user, idem);
    rc = co_store_run(b, "pg:conversation_earlier");
    if (rc) {
        return rc;
    }
    if (strcmp(row_text(b, 0, 0, "kind"), "conversation") != 0
        || strcmp(row_text(b, 0, 0, "request_hash"), request_hash) != 0) {
        return SI_ECONFLICT;
    }
    *out = row_conversation(b, 0, 0);
    return 0;
}

int co_store_conversation_new(arena_t *a, const identity_t *who, const char *title, const char *idem,
                              const char *request_hash, conversation_t *out, bool *existed)
{
    char        id[UUID_LEN + 1];
    pg_batch_t *b = pg_batch(a, who->tenant, who->user);
    int         rc;

    uuid_new(id);
    pg_add(b,
           "WITH c AS (INSERT INTO conversation (tenant_id, user_id, conversation_id, title)"
           "  VALUES ($1, $2, $3, $4) RETURNING *),"
           " k AS (INSERT INTO idempotency (tenant_id, user_id, key, kind, target_id, request_hash)"
           "  SELECT tenant_id, user_id, $5, 'conversation', conversation_id, $6 FROM c WHERE $5::text IS NOT NULL)"
           " SELECT " CONVERSATION_COLUMNS " FROM c",
           6, who->tenant, who->user, id, title != NULL ? title : "", idem, request_hash);
    rc = co_store_run(b, "pg:conversation_new");
    *existed = rc == SI_EEXIST;
    if (rc == SI_EEXIST && idem != NULL) {
        return co_earlier(a, who, idem, request_hash, out);
    }
    if (rc == 0) {
        *out = row_conversation(b, 0, 0);
    }
    return rc;
}

int co_store_conversation(arena_t *a, const identity_t *who, const char *id, conversation_t *out)
{
    pg_batch_t *b;
    int         rc;

    if (!uuid_valid(str_of(id))) {
        return SI_ENOENT;
    }
    b = pg_batch(a, who->tenant, who->user);
    pg_add(b,
           "SELECT " CONVERSATION_COLUMNS " FROM conversation c"
           " WHERE c.tenant_id = $1 AND c.user_id = $2 AND c.conversation_id = $3", 3, who->tenant, who->user, id);
    rc = co_store_run(b, "pg:conversation");
    if (rc == 0 && pg_rows(b, 0) == 0) {
        return SI_ENOENT;
    }
    if (rc == 0) {
        *out = row_conversation(b, 0, 0);
    }
    return rc;
}

/* By creation, which the ids carry: an order that does not change while somebody pages through it. */
int co_store_conversations(arena_t *a, const identity_t *who, const char *cursor, int limit,
                           conversation_t **out, size_t *n, const char **next)
{
    const char *last = NULL;
    pg_batch_t *b;
    int         rc;

    if (cursor != NULL && (cursor_decode(a, 'c', cursor, &last) != 0 || !uuid_valid(str_of(last)))) {
        return SI_EINVAL;
    }
    limit = SI_MAX(1, SI_MIN(limit, 100));
    b = pg_batch(a, who->tenant, who->user);
    pg_add(b,
           "SELECT " CONVERSATION_COLUMNS " FROM conversation c"
           " WHERE c.tenant_id = $1 AND c.user_id = $2 AND ($3::uuid IS NULL OR c.conversation_id < $3)"
           " ORDER BY c.conversation_id DESC LIMIT $4",
           4, who->tenant, who->user, last, row_number(a, limit + 1));
    rc = co_store_run(b, "pg:conversations");
    if (rc) {
        return rc;
    }
    *n = (size_t) SI_MIN(pg_rows(b, 0), limit);
    *out = arena_calloc(a, (*n + 1) * sizeof(**out));
    for (size_t i = 0; i < *n; i++) {
        (*out)[i] = row_conversation(b, 0, (int) i);
    }
    *next = pg_rows(b, 0) > limit ? cursor_encode(a, 'c', (*out)[*n - 1].id) : NULL;
    return 0;
}
