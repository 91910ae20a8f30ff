/* Inside of store/: how rows are asked for and decoded, the same way in every file. */
#ifndef SI_STORE_ROWS_H
#define SI_STORE_ROWS_H

#include "io/pg.h"
#include "store/store.h"

#define STORE_DEADLINE_MS  10000
/*
 * A page of rows with texts ends after so many bytes, even if more rows were asked for: io/pg takes 8 MiB of results
 * in a batch, and the one row that goes past this has at most limits.input_max + limits.answer_max (5 MiB).
 */
#define STORE_PAGE_BYTES   "2097152"

#define TIME_TEXT(column) \
    "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

#define CONVERSATION_COLUMNS \
    "c.conversation_id, c.title, c.version, c.last_turn, " \
    TIME_TEXT("c.created_at") " AS created, " TIME_TEXT("c.updated_at") " AS updated"

/* A turn t with its user message i and, if there is one, its assistant message o. */
#define TURN_COLUMNS \
    "t.turn_id, t.conversation_id, t.user_id, t.number, t.ordinal, t.state, t.attempt, t.agent, t.model, t.client_turn_id, " \
    "t.request_hash, t.model_used, t.error, t.error_detail, t.retryable, t.cancel_requested, t.input_tokens, " \
    "t.output_tokens, t.first_token_ms, t.duration_ms, t.finish, t.estimated, t.last_event, " \
    "t.cached_tokens, t.cache_write_tokens, t.reasoning_tokens, t.cost_micros, t.key_id, t.cached_answer, t.traceparent, " \
    TIME_TEXT("t.created_at") " AS created, " TIME_TEXT("t.finished_at") " AS finished, " \
    "i.content AS input, o.content AS output, o.message_id"
#define TURN_TABLES \
    "turn t JOIN message i ON i.tenant_id = t.tenant_id AND i.user_id = t.user_id" \
    " AND i.conversation_id = t.conversation_id AND i.number = 2 * t.number - 1" \
    " LEFT JOIN message o ON o.tenant_id = t.tenant_id AND o.user_id = t.user_id" \
    " AND o.conversation_id = t.conversation_id AND o.number = 2 * t.number"

#define MESSAGE_COLUMNS \
    "m.message_id, m.turn_id, m.role, m.content, m.number, m.tokens, " TIME_TEXT("m.created_at") " AS created"

/* Runs a batch under the store's deadline. As co_pg(). */
int co_store_run(pg_batch_t *b, const char *where);

/* Decimal text in the arena; NULL for a number below 0 (not known: SQL NULL). */
const char *row_number(arena_t *a, int64_t n);
/* Fields of row `row` of statement i. A NULL is "", -1, false. */
const char *row_text(const pg_batch_t *b, int i, int row, const char *column);
int64_t     row_int(const pg_batch_t *b, int i, int row, const char *column);
bool        row_bool(const pg_batch_t *b, int i, int row, const char *column);

/* Whole rows; the strings live in the batch, and so as long as its arena. */
conversation_t row_conversation(const pg_batch_t *b, int i, int row);
turn_row_t     row_turn(const pg_batch_t *b, int i, int row);
message_row_t  row_message(const pg_batch_t *b, int i, int row);
allowance_t    row_allowance(const pg_batch_t *b, int i, int row);

#endif
