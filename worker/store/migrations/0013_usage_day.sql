-- Sums of the ledger for each day (UTC) that is closed, so that a budget of a month, or for ever, is not summed up from millions of rows.
-- A day is closed two hours after its end, once, by si_usage_close(); until then its rows are summed as they are. A row that comes later
-- than an hour after its call began (Postgres was away, a worker died) looks whether its day is closed, and then stands here, too, as a
-- row of its own: so nobody waits for anybody's sum, and the usual row costs no more than the look at its time.
-- Sums stay when the owner of the tables deletes old rows of usage; DELETE FROM usage_day WHERE day < … deletes them.

CREATE TABLE usage_day (
    tenant_id    uuid NOT NULL,
    day          date NOT NULL,
    user_id      uuid,
    key_id       uuid,
    agent        text NOT NULL,
    model        text NOT NULL,
    provider     text NOT NULL,
    calls        bigint NOT NULL,       -- as budgets count them
    cost_micros  bigint NOT NULL
);
CREATE INDEX usage_day_time ON usage_day (day);
CREATE INDEX usage_day_tenant ON usage_day (tenant_id, day);

CREATE TABLE usage_closed (             -- one row
    until  date NOT NULL                -- all days before are
);
INSERT INTO usage_closed (until) VALUES ('1970-01-01');

-- Late rows hold this lock together, whoever closes a day holds it alone: a row is in the sum of its day, or finds it closed.
CREATE FUNCTION si_usage_lock() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT hashtextextended('si_usage_close', 0) $$;

-- Before a worker has its rights no day is closed.
CREATE FUNCTION si_usage_late() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    IF NOT has_table_privilege('usage_day', 'INSERT') THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(si_usage_lock());
    INSERT INTO usage_day (tenant_id, day, user_id, key_id, agent, model, provider, calls, cost_micros)
    SELECT new.tenant_id, (new.at AT TIME ZONE 'UTC')::date, new.user_id, new.key_id, new.agent, new.model, new.provider,
           (new.outcome = 'ok' OR new.input_tokens + new.output_tokens > 0)::int, new.cost_micros
      FROM usage_closed WHERE (new.at AT TIME ZONE 'UTC')::date < until;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_late AFTER INSERT ON usage FOR EACH ROW WHEN (new.at < now() - interval '1 hour') EXECUTE FUNCTION si_usage_late();

-- Closes the next day that is old enough; whether there may be more. Days without rows are passed over.
CREATE FUNCTION si_usage_close() RETURNS boolean LANGUAGE plpgsql SET search_path = public AS $$
DECLARE
    last   date := ((now() - interval '2 hours') AT TIME ZONE 'UTC')::date;     -- the first one that stays open
    since  timestamptz;
    today  date;
BEGIN
    IF (SELECT until FROM usage_closed) >= last OR NOT pg_try_advisory_xact_lock(si_usage_lock()) THEN
        RETURN false;
    END IF;
    SELECT until::timestamp AT TIME ZONE 'UTC' INTO since FROM usage_closed;
    SELECT (at AT TIME ZONE 'UTC')::date INTO today FROM usage WHERE at >= since ORDER BY at LIMIT 1;
    today := least(last, coalesce(today, last));
    IF today < last THEN
        INSERT INTO usage_day (tenant_id, day, user_id, key_id, agent, model, provider, calls, cost_micros)
        SELECT tenant_id, today, user_id, key_id, agent, model, provider,
               count(*) FILTER (WHERE outcome = 'ok' OR input_tokens + output_tokens > 0), sum(cost_micros)
          FROM usage WHERE at >= today::timestamp AT TIME ZONE 'UTC' AND at < (today + 1)::timestamp AT TIME ZONE 'UTC'
         GROUP BY tenant_id, user_id, key_id, agent, model, provider;
        today := today + 1;
    END IF;
    UPDATE usage_closed SET until = today;
    RETURN today < last;
END $$;

ALTER TABLE usage_day ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_day FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_closed ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_closed FORCE ROW LEVEL SECURITY;
-- Whoever closes a day sums up all tenants, under si.usage_sum as there.
CREATE POLICY usage_day_sum ON usage_day FOR SELECT USING (current_setting('si.usage_sum', true) = 'on');
CREATE POLICY usage_day_insert ON usage_day FOR INSERT WITH CHECK (
    CASE WHEN current_setting('si.usage_sum', true) = 'on' THEN true ELSE tenant_id = current_setting('si.tenant')::uuid END);
CREATE POLICY usage_closed_all ON usage_closed USING (true);
