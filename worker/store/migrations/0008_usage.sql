-- What model calls took and cost: a row for each, also for those that were cut, failed or thrown away. Rows are written once,
-- by a worker for the tenant, and never changed. They are bookkeeping, so nothing deletes them with the user or the key that
-- they name by id; the owner of the tables deletes what is too old: DELETE FROM usage WHERE at < now() - interval '400 days'.

CREATE TABLE usage (
    tenant_id           uuid NOT NULL,
    usage_id            uuid NOT NULL,              -- of the call, so that a row which is written twice is there once
    user_id             uuid,
    key_id              uuid,
    turn_id             uuid,
    source              text NOT NULL,              -- turn, or the dialect it came in
    operation           text NOT NULL,              -- chat, embeddings
    agent               text NOT NULL,
    model               text NOT NULL,
    provider            text NOT NULL,              -- and which of its endpoints
    outcome             text NOT NULL,              -- ok, cancelled, worker_died, or the code of the failure
    at                  timestamptz NOT NULL,       -- when it began
    duration_ms         bigint,
    first_token_ms      bigint,
    input_tokens        bigint NOT NULL CHECK (input_tokens >= 0),      -- all of the input; the next two are part of it
    cached_tokens       bigint NOT NULL CHECK (cached_tokens >= 0),
    cache_write_tokens  bigint NOT NULL CHECK (cache_write_tokens >= 0),
    output_tokens       bigint NOT NULL CHECK (output_tokens >= 0),     -- all of the output; the next one is part of it
    reasoning_tokens    bigint NOT NULL CHECK (reasoning_tokens >= 0),
    cost_micros         bigint NOT NULL CHECK (cost_micros >= 0),       -- millionths of a US dollar
    estimated           boolean NOT NULL,
    PRIMARY KEY (tenant_id, usage_id)
);
-- A tenant's, or a user's, within a span of time: all that is asked for.
CREATE INDEX usage_time ON usage (tenant_id, at);
CREATE INDEX usage_user ON usage (tenant_id, user_id, at);

ALTER TABLE usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage FORCE ROW LEVEL SECURITY;

-- Everybody sees the own usage; under si.usage_all, which a worker sets for a caller with the scope `admin`, the whole tenant's.
CREATE POLICY usage_read ON usage FOR SELECT USING (
    CASE WHEN current_setting('si.usage_all', true) = 'on' THEN tenant_id = current_setting('si.tenant')::uuid
         ELSE tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid END);
CREATE POLICY usage_insert ON usage FOR INSERT WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);

-- What a turn's answer took beyond input and output, what it cost, and the key that it was asked with.
ALTER TABLE turn ADD COLUMN cached_tokens      bigint;
ALTER TABLE turn ADD COLUMN cache_write_tokens bigint;
ALTER TABLE turn ADD COLUMN reasoning_tokens   bigint;
ALTER TABLE turn ADD COLUMN cost_micros        bigint;
ALTER TABLE turn ADD COLUMN key_id             uuid;
