#include "store/rows.h"

#include "base/util.h"

int co_store_run(pg_batch_t *b, const char *where)
{
    return co_pg(b, where, clock_ms() + STORE_DEADLINE_MS);
}

const char *row_number(arena_t *a, int64_t n)
{
    return n < 0 ? NULL : arena_printf(a, "%lld", (long long) n);
}

const char *row_text(const pg_batch_t *b, int i, int row, const char *column)
{
    const char *v = pg_get(b, i, row, column);

    return v != NULL ? v : "";
}

int64_t row_int(const pg_batch_t *b, int i, int row, const char *column)
{
    const char *v = pg_get(b, i, row, column);

    return v != NULL ? strtoll(v, NULL, 10) : -1;
}

bool row_bool(const pg_batch_t *b, int i, int row, const char *column)
{
    return row_text(b, i, row, column)[0] == 't';
}

conversation_t row_conversation(const pg_batch_t *b, int i, int row)
{
    return (conversation_t) {
        .id = row_text(b, i, row, "conversation_id"),
        .title = row_text(b, i, row, "title"),
        .version = row_int(b, i, row, "version"),
        .created = row_text(b, i, row, "created"),
        .updated = row_text(b, i, row, "updated"),
        .last_turn = row_int(b, i, row, "last_turn"),
    };
}

static const char *const state_names[] = {
    [TURN_QUEUED] = "queued", [TURN_RUNNING] = "running", [TURN_COMPLETED] = "completed",
    [TURN_FAILED] = "failed", [TURN_CANCELLED] = "cancelled",
};

const char *turn_state_name(turn_state_t s)
{
    return (size_t) s < SI_COUNT(state_names) ? state_names[s] : "unknown";
}

/* The table's CHECK admits no other word. */
static turn_state_t state_of(const char *name)
{
    for (size_t i = 0; i < SI_COUNT(state_names); i++) {
        if (strcmp(name, state_names[i]) == 0) {
            return (turn_state_t) i;
        }
    }
    si_die("store: unknown turn state \"%s\"", name);
}

turn_row_t row_turn(const pg_batch_t *b, int i, int row)
{
    return (turn_row_t) {
        .id = row_text(b, i, row, "turn_id"),
        .conversation = row_text(b, i, row, "conversation_id"),
        .user = row_text(b, i, row, "user_id"),
        .number = row_int(b, i, row, "number"),
        .ordinal = row_int(b, i, row, "ordinal"),
        .state = state_of(row_text(b, i, row, "state")),
        .attempt = (int) row_int(b, i, row, "attempt"),
        .input = row_text(b, i, row, "input"),
        .agent = row_text(b, i, row, "agent"),
        .model = row_text(b, i, row, "model"),
        .client_turn_id = row_text(b, i, row, "client_turn_id"),
        .model_used = row_text(b, i, row, "model_used"),
        .output = row_text(b, i, row, "output"),
        .error = row_text(b, i, row, "error"),
        .error_detail = row_text(b, i, row, "error_detail"),
        .retryable = row_bool(b, i, row, "retryable"),
        .cancel_requested = row_bool(b, i, row, "cancel_requested"),
        .input_tokens = row_int(b, i, row, "input_tokens"),
        .output_tokens = row_int(b, i, row, "output_tokens"),
        .first_token_ms = row_int(b, i, row, "first_token_ms"),
        .duration_ms = row_int(b, i, row, "duration_ms"),
        .created = row_text(b, i, row, "created"),
        .finished = row_text(b, i, row, "finished"),
        .message_id = row_text(b, i, row, "message_id"),
        .finish = row_text(b, i, row, "finish"),
        .estimated = row_bool(b, i, row, "estimated"),
        .last_event = row_int(b, i, row, "last_event"),
        .cached_tokens = row_int(b, i, row, "cached_tokens"),
        .cache_write_tokens = row_int(b, i, row, "cache_write_tokens"),
        .reasoning_tokens = row_int(b, i, row, "reasoning_tokens"),
        .cost = row_int(b, i, row, "cost_micros"),
        .key = row_text(b, i, row, "key_id"),
        .cached_answer = row_bool(b, i, row, "cached_answer"),
        .traceparent = row_text(b, i, row, "traceparent"),
    };
}

message_row_t row_message(const pg_batch_t *b, int i, int row)
{
    return (message_row_t) {
        .id = row_text(b, i, row, "message_id"),
        .turn = row_text(b, i, row, "turn_id"),
        .role = row_text(b, i, row, "role"),
        .content = row_text(b, i, row, "content"),
        .created = row_text(b, i, row, "created"),
        .number = row_int(b, i, row, "number"),
        .tokens = row_int(b, i, row, "tokens"),
    };
}

allowance_t row_allowance(const pg_batch_t *b, int i, int row)
{
    return (allowance_t) {
        .dollars = row_int(b, i, row, "budget_micros"), .calls = row_int(b, i, row, "budget_calls"),
        .period = row_text(b, i, row, "budget_period"), .requests = row_int(b, i, row, "requests_per_minute"),
        .tokens = row_int(b, i, row, "tokens_per_minute"),
    };
}
