-- What was said: conversations, their turns, the messages of the turns, and the keys that make retries safe.
-- Ids are UUIDs of version 7, so an index on them is an index on time.

CREATE TABLE conversation (
    tenant_id        uuid NOT NULL,
    user_id          uuid NOT NULL,
    conversation_id  uuid NOT NULL,
    title            text NOT NULL DEFAULT '',
    last_turn        bigint NOT NULL DEFAULT 0,     -- number of the newest turn: the order, since clocks are none
    version          bigint NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, conversation_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);

CREATE TABLE turn (
    tenant_id         uuid NOT NULL,
    user_id           uuid NOT NULL,
    conversation_id   uuid NOT NULL,
    turn_id           uuid NOT NULL,
    number            bigint NOT NULL CHECK (number > 0),
    state             text NOT NULL DEFAULT 'queued'
                      CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    attempt           integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    agent             text NOT NULL DEFAULT '',     -- asked for
    model             text NOT NULL DEFAULT '',     -- asked for
    client_turn_id    text,
    request_hash      text NOT NULL,
    cancel_requested  boolean NOT NULL DEFAULT false,
    model_used        text NOT NULL DEFAULT '',
    error             text NOT NULL DEFAULT '',     -- stable code
    error_detail      text NOT NULL DEFAULT '',
    retryable         boolean NOT NULL DEFAULT false,
    finish            text NOT NULL DEFAULT '',
    input_tokens      bigint,
    output_tokens     bigint,
    estimated         boolean NOT NULL DEFAULT false,
    first_token_ms    bigint,
    duration_ms       bigint,
    last_event        bigint NOT NULL DEFAULT 0,    -- number of its final event, so that a replay has the same id
    version           bigint NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    finished_at       timestamptz,
    PRIMARY KEY (tenant_id, user_id, turn_id),
    UNIQUE (tenant_id, conversation_id, number),
    CONSTRAINT turn_client_turn_id UNIQUE (tenant_id, conversation_id, client_turn_id),
    FOREIGN KEY (tenant_id, user_id, conversation_id) REFERENCES conversation ON DELETE CASCADE,
    CHECK ((finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'cancelled')))
);
-- One running turn in a conversation, whatever the workers believe.
CREATE UNIQUE INDEX turn_running ON turn (tenant_id, conversation_id) WHERE state = 'running';

CREATE TABLE message (
    tenant_id        uuid NOT NULL,
    user_id          uuid NOT NULL,
    conversation_id  uuid NOT NULL,
    message_id       uuid NOT NULL,
    turn_id          uuid NOT NULL,
    number           bigint NOT NULL,               -- of turn n: 2n - 1 the user's, 2n the assistant's
    role             text NOT NULL CHECK (role IN ('user', 'assistant')),
    content          text NOT NULL,
    tokens           bigint NOT NULL DEFAULT 0,
    words            tsvector,                      -- of user messages: what the offline answerer looks through
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, message_id),
    UNIQUE (tenant_id, conversation_id, number),
    FOREIGN KEY (tenant_id, user_id, turn_id) REFERENCES turn ON DELETE CASCADE,
    CHECK ((number % 2 = 1) = (role = 'user'))
);
CREATE INDEX message_turn ON message (tenant_id, user_id, turn_id);

-- Idempotency keys of a user and what they made. One row for each POST that made something.
CREATE TABLE idempotency (
    tenant_id     uuid NOT NULL,
    user_id       uuid NOT NULL,
    key           text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('conversation', 'turn')),
    target_id     uuid NOT NULL,
    request_hash  text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, key),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);
CREATE INDEX idempotency_age ON idempotency (created_at);

ALTER TABLE conversation ENABLE ROW LEVEL SECURITY;
ALTER TABLE conversation FORCE ROW LEVEL SECURITY;
ALTER TABLE turn         ENABLE ROW LEVEL SECURITY;
ALTER TABLE turn         FORCE ROW LEVEL SECURITY;
ALTER TABLE message      ENABLE ROW LEVEL SECURITY;
ALTER TABLE message      FORCE ROW LEVEL SECURITY;
ALTER TABLE idempotency  ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency  FORCE ROW LEVEL SECURITY;

CREATE POLICY conversation_own ON conversation
    USING (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid);
CREATE POLICY turn_own ON turn
    USING (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid);
CREATE POLICY message_own ON message
    USING (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid);
CREATE POLICY idempotency_own ON idempotency
    USING (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid);
