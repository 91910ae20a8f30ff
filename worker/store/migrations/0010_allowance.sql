-- What an API key may use, and sums of the ledger over all tenants.

ALTER TABLE api_key
    ADD COLUMN budget_micros        bigint NOT NULL DEFAULT 0 CHECK (budget_micros >= 0),   -- millionths of a US dollar, in a
    ADD COLUMN budget_calls         bigint NOT NULL DEFAULT 0 CHECK (budget_calls >= 0),    -- period; 0: any amount
    ADD COLUMN budget_period        text NOT NULL DEFAULT 'month' CHECK (budget_period IN ('hour', 'day', 'month', 'total')),
    ADD COLUMN requests_per_minute  bigint NOT NULL DEFAULT 0 CHECK (requests_per_minute >= 0),
    ADD COLUMN tokens_per_minute    bigint NOT NULL DEFAULT 0 CHECK (tokens_per_minute >= 0);

-- Under si.usage_sum, which no caller's words lead to, a worker sums up what budgets count.
CREATE POLICY usage_sum ON usage FOR SELECT USING (current_setting('si.usage_sum', true) = 'on');
CREATE INDEX usage_at ON usage (at);
