-- Who is calling: tenants, their users, the users' logins, devices and API keys.
--
-- Every table of a tenant has tenant_id first in its keys and FORCED row-level security: also the owner of the
-- tables sees only the tenant named in si.tenant. The setting has no default: without it a statement fails,
-- and so it does with the empty string that an earlier SET LOCAL leaves behind.

CREATE TABLE tenant (
    tenant_id   uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    region      text NOT NULL DEFAULT '',
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE app_user (
    tenant_id   uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    user_id     uuid NOT NULL,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled', 'erasing', 'erased')),
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    erased_at   timestamptz,
    PRIMARY KEY (tenant_id, user_id),
    UNIQUE (tenant_id, name)
);

-- A login at an identity provider: (issuer, subject) of a token.
CREATE TABLE user_identity (
    tenant_id   uuid NOT NULL,
    user_id     uuid NOT NULL,
    provider    text NOT NULL,
    subject     text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, provider, subject),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);
CREATE INDEX user_identity_user ON user_identity (tenant_id, user_id);

CREATE TABLE device (
    tenant_id   uuid NOT NULL,
    user_id     uuid NOT NULL,
    device_id   uuid NOT NULL,
    name        text NOT NULL DEFAULT '',
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz,
    PRIMARY KEY (tenant_id, user_id, device_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);

CREATE TABLE api_key (
    tenant_id   uuid NOT NULL,
    user_id     uuid NOT NULL,
    key_id      uuid NOT NULL,
    hash        bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),  -- SHA-256 of the whole key
    hint        text NOT NULL DEFAULT '',                               -- its first characters, to tell keys apart
    scopes      text NOT NULL DEFAULT '',                               -- separated by spaces
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    revoked_at  timestamptz,
    PRIMARY KEY (tenant_id, user_id, key_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);

ALTER TABLE tenant        ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant        FORCE ROW LEVEL SECURITY;
ALTER TABLE app_user      ENABLE ROW LEVEL SECURITY;
ALTER TABLE app_user      FORCE ROW LEVEL SECURITY;
ALTER TABLE user_identity ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_identity FORCE ROW LEVEL SECURITY;
ALTER TABLE device        ENABLE ROW LEVEL SECURITY;
ALTER TABLE device        FORCE ROW LEVEL SECURITY;
ALTER TABLE api_key       ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_key       FORCE ROW LEVEL SECURITY;

-- A tenant is looked up by name before its id is known: si.tenant_name admits that one row, for reading.
-- CASE, not OR, because only CASE promises that the setting which is missing is not read.
CREATE POLICY tenant_read ON tenant FOR SELECT USING (
    CASE WHEN current_setting('si.tenant_name', true) <> '' THEN name = current_setting('si.tenant_name', true)
         ELSE tenant_id = current_setting('si.tenant')::uuid END);
CREATE POLICY tenant_insert ON tenant FOR INSERT WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);
CREATE POLICY tenant_update ON tenant FOR UPDATE USING (tenant_id = current_setting('si.tenant')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);
CREATE POLICY tenant_delete ON tenant FOR DELETE USING (tenant_id = current_setting('si.tenant')::uuid);

-- Users, and the logins that lead to one, are found before si.user_id is known: the tenant is the boundary.
CREATE POLICY app_user_own ON app_user
    USING (tenant_id = current_setting('si.tenant')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);
CREATE POLICY user_identity_own ON user_identity
    USING (tenant_id = current_setting('si.tenant')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);

CREATE POLICY device_own ON device
    USING (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid);

-- A key is what tells us the tenant: si.key_hash admits the one row with that hash, for reading only.
CREATE POLICY api_key_read ON api_key FOR SELECT USING (
    CASE WHEN current_setting('si.key_hash', true) <> '' THEN hash = decode(current_setting('si.key_hash', true), 'hex')
         ELSE tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid END);
CREATE POLICY api_key_insert ON api_key FOR INSERT WITH CHECK (
    tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid);
CREATE POLICY api_key_update ON api_key FOR UPDATE
    USING (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid);
CREATE POLICY api_key_delete ON api_key FOR DELETE USING (
    tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid);
