-- Keys that are made and revoked over HTTP. Everybody sees and revokes the own ones; under si.key_admin, which a worker sets
-- for a caller with the scope `admin`, those of the whole tenant.

ALTER TABLE api_key ADD COLUMN name text NOT NULL DEFAULT '' CHECK (length(name) <= 200);
CREATE UNIQUE INDEX api_key_id ON api_key (tenant_id, key_id);

DROP POLICY api_key_read ON api_key;
CREATE POLICY api_key_read ON api_key FOR SELECT USING (
    CASE WHEN current_setting('si.key_hash', true) <> '' THEN hash = decode(current_setting('si.key_hash', true), 'hex')
         WHEN current_setting('si.key_admin', true) = 'on' THEN tenant_id = current_setting('si.tenant')::uuid
         ELSE tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid END);

-- A key may be revoked, and never come back.
DROP POLICY api_key_update ON api_key;
CREATE POLICY api_key_revoke ON api_key FOR UPDATE
    USING (CASE WHEN current_setting('si.key_admin', true) = 'on' THEN tenant_id = current_setting('si.tenant')::uuid
                ELSE tenant_id = current_setting('si.tenant')::uuid AND user_id = current_setting('si.user_id')::uuid END)
    WITH CHECK (tenant_id = current_setting('si.tenant')::uuid AND revoked_at IS NOT NULL);

ALTER TABLE idempotency DROP CONSTRAINT idempotency_kind_check;
ALTER TABLE idempotency ADD CONSTRAINT idempotency_kind_check CHECK (kind IN ('conversation', 'turn', 'key'));
