-- The order of all turns of one user, over their conversations: what a position in the user's whole stream counts.
-- It is taken from the user's row in the turn's own transaction, which keeps the row locked until it commits: so numbers
-- become visible in their order and without a hole, which a sequence does not promise.

ALTER TABLE app_user ADD COLUMN turns bigint NOT NULL DEFAULT 0;    -- ordinal of the newest turn
ALTER TABLE turn ADD COLUMN ordinal bigint CHECK (ordinal > 0);

-- The owner of the tables is bound by their policies; for this one statement each it must see all tenants.
ALTER TABLE turn     NO FORCE ROW LEVEL SECURITY;
ALTER TABLE app_user NO FORCE ROW LEVEL SECURITY;
UPDATE turn t SET ordinal = o.ordinal
  FROM (SELECT tenant_id, user_id, turn_id,
               row_number() OVER (PARTITION BY tenant_id, user_id ORDER BY created_at, turn_id) AS ordinal FROM turn) o
 WHERE t.tenant_id = o.tenant_id AND t.user_id = o.user_id AND t.turn_id = o.turn_id;
UPDATE app_user u SET turns = n.turns
  FROM (SELECT tenant_id, user_id, count(*) AS turns FROM turn GROUP BY tenant_id, user_id) n
 WHERE u.tenant_id = n.tenant_id AND u.user_id = n.user_id;
ALTER TABLE app_user FORCE ROW LEVEL SECURITY;
ALTER TABLE turn     FORCE ROW LEVEL SECURITY;

ALTER TABLE turn ALTER COLUMN ordinal SET NOT NULL;
ALTER TABLE turn ADD CONSTRAINT turn_ordinal UNIQUE (tenant_id, user_id, ordinal);
CREATE INDEX turn_unfinished ON turn (tenant_id, user_id) WHERE state IN ('queued', 'running');
