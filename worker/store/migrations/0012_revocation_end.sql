-- A worker deletes revocations that are over, of all tenants, when it reads them: under si.revocations it may delete nothing else.

DROP POLICY token_revocation_delete ON token_revocation;
CREATE POLICY token_revocation_delete ON token_revocation FOR DELETE USING (
    CASE WHEN current_setting('si.revocations', true) = 'on' THEN expires_at <= now() ELSE tenant_id = current_setting('si.tenant')::uuid END);
