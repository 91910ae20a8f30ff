-- Who works on what. These two tables have no row-level security, because their readers have no tenant: a worker
-- that starts must find what a dead one left behind, of all tenants. They hold ids and times, nothing that a person
-- said or is called; what a claim leads to is read under the tenant and user that it names.

CREATE TABLE worker (
    instance     text PRIMARY KEY CHECK (length(instance) BETWEEN 1 AND 200),
    lease_until  timestamptz NOT NULL,
    buried       boolean NOT NULL DEFAULT false,    -- declared dead; the row stays a while so that it hears of it
    started_at   timestamptz NOT NULL DEFAULT now()
);

-- The owner of a conversation and its fence: whoever writes turns names owner and epoch, and locks this row.
CREATE TABLE claim (
    conversation_id  uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL,
    user_id          uuid NOT NULL,
    owner            text,                          -- worker.instance; no foreign key: it may be long forgotten
    epoch            bigint NOT NULL DEFAULT 1,     -- grows with each change of owner
    unfinished       boolean NOT NULL DEFAULT false,    -- it has a turn that is queued or running
    claimed_at       timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, user_id, conversation_id) REFERENCES conversation ON DELETE CASCADE
);
CREATE INDEX claim_conversation ON claim (tenant_id, user_id, conversation_id);
CREATE INDEX claim_unfinished ON claim (owner) WHERE unfinished;
