-- Tokens of issuers that are revoked before their end: one (by its id or its digest), or all that a user has now. The marks are
-- what nginx compares (worker/link/frame.h), of the tenant's id and of its name, since a token may name either.

CREATE FUNCTION si_token_mark(kind text, tenant text, issuer text, value text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(sha256(convert_to(kind, 'UTF8') || '\x00'::bytea
        || convert_to(CASE WHEN octet_length(tenant) = 36
                           THEN translate(tenant, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') ELSE tenant END, 'UTF8')
        || '\x00'::bytea || convert_to(issuer, 'UTF8') || '\x00'::bytea || convert_to(value, 'UTF8')), 1, 8)
$$;

CREATE TABLE token_revocation (
    tenant_id      uuid NOT NULL REFERENCES tenant ON DELETE CASCADE,
    revocation_id  uuid NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('jti', 'subject', 'digest')),
    issuer         text NOT NULL,               -- "" for a digest
    value          text NOT NULL,
    marks          bytea NOT NULL CHECK (octet_length(marks) = 16),
    revoked_at     timestamptz NOT NULL DEFAULT now(),      -- of a subject: tokens issued until then
    expires_at     timestamptz NOT NULL,        -- the tokens have, too
    PRIMARY KEY (tenant_id, kind, issuer, value)
);
CREATE INDEX token_revocation_age ON token_revocation (expires_at);

ALTER TABLE token_revocation ENABLE ROW LEVEL SECURITY;
ALTER TABLE token_revocation FORCE ROW LEVEL SECURITY;

-- A worker reads those of all tenants, under si.revocations, to tell nginx.
CREATE POLICY token_revocation_read ON token_revocation FOR SELECT USING (
    CASE WHEN current_setting('si.revocations', true) = 'on' THEN true ELSE tenant_id = current_setting('si.tenant')::uuid END);
CREATE POLICY token_revocation_insert ON token_revocation FOR INSERT WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);
CREATE POLICY token_revocation_update ON token_revocation FOR UPDATE USING (tenant_id = current_setting('si.tenant')::uuid)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid);
CREATE POLICY token_revocation_delete ON token_revocation FOR DELETE USING (tenant_id = current_setting('si.tenant')::uuid);

-- A ticket that a token asked for ends with it.
ALTER TABLE ticket ADD COLUMN marks bytea CHECK (octet_length(marks) = 32);
