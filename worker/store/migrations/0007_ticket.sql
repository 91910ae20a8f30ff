-- One-use tickets for streams: what a browser's EventSource, which can send no header, puts into the address. A row lives a
-- minute or so; it is deleted with the next ticket of its user.

CREATE TABLE ticket (
    tenant_id        uuid NOT NULL,
    user_id          uuid NOT NULL,
    hash             bytea NOT NULL CHECK (octet_length(hash) = 32),    -- SHA-256 of the whole ticket
    key_id           uuid,                      -- the API key that asked for it; none: a token did
    scopes           text NOT NULL DEFAULT '',  -- of whoever asked
    path             text NOT NULL CHECK (length(path) BETWEEN 1 AND 200),
    origin           text CHECK (length(origin) <= 300),                -- none: any
    credential_ends  timestamptz,               -- end of what asked for it: the stream ends then, too
    expires_at       timestamptz NOT NULL,
    used_by          text,                      -- the request that used it, which the edge may send again
    PRIMARY KEY (tenant_id, user_id, hash),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);
CREATE UNIQUE INDEX ticket_hash ON ticket (hash);
CREATE INDEX ticket_age ON ticket (tenant_id, user_id, expires_at);

ALTER TABLE ticket ENABLE ROW LEVEL SECURITY;
ALTER TABLE ticket FORCE ROW LEVEL SECURITY;

-- As with a key, the ticket is what tells us the tenant: si.key_hash admits the one row with that hash.
CREATE POLICY ticket_own ON ticket USING (
    CASE WHEN current_setting('si.key_hash', true) <> '' THEN hash = decode(current_setting('si.key_hash', true), 'hex')
         ELSE tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid END)
    WITH CHECK (
    CASE WHEN current_setting('si.key_hash', true) <> '' THEN hash = decode(current_setting('si.key_hash', true), 'hex')
         ELSE tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid END);
