-- What is to happen after a transaction: events to publish, work to do. Written with the rows they follow from,
-- in the same transaction; nothing else may publish.

CREATE TABLE outbox (
    tenant_id   uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    outbox_id   bigint GENERATED ALWAYS AS IDENTITY,
    topic       text NOT NULL,
    key         uuid NOT NULL,          -- of the thing it is about
    payload     jsonb NOT NULL,         -- ids, never message text
    created_at  timestamptz NOT NULL DEFAULT now(),
    sent_at     timestamptz,
    PRIMARY KEY (tenant_id, outbox_id)
);
CREATE INDEX outbox_unsent ON outbox (outbox_id) WHERE sent_at IS NULL;

CREATE TABLE job (
    tenant_id    uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    job_id       uuid NOT NULL,
    kind         text NOT NULL,
    order_key    text NOT NULL DEFAULT '',          -- jobs of one key run one after the other
    dedupe_key   text,
    payload      jsonb NOT NULL,
    state        text NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'running', 'done', 'dead')),
    attempts     integer NOT NULL DEFAULT 0,
    run_at       timestamptz NOT NULL DEFAULT now(),
    lease_owner  text,
    lease_until  timestamptz,
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, job_id)
);
CREATE INDEX job_ready ON job (run_at) WHERE state = 'ready';
CREATE UNIQUE INDEX job_dedupe ON job (tenant_id, kind, dedupe_key) WHERE state IN ('ready', 'running');

ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
ALTER TABLE job    ENABLE ROW LEVEL SECURITY;
ALTER TABLE job    FORCE ROW LEVEL SECURITY;

CREATE POLICY outbox_own ON outbox
    USING (tenant_id = current_setting('si.tenant')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);
CREATE POLICY job_own ON job
    USING (tenant_id = current_setting('si.tenant')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);
