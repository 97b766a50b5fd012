-- Runs, their budgets, what is reserved and what was called.
--
-- Every amount of a budget is in the budget's unit: US dollars for 'usd', tokens for 'tokens',
-- upstream attempts that bought something for 'calls'. Dollars are exact NUMERIC, never rounded.
-- Lock order everywhere: budgets by id, then reservations by id.

CREATE TABLE organizations (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO organizations (id, name)
VALUES ('00000000-0000-0000-0000-000000000001', 'default');

-- One row for each gateway process. A lease that lapsed may be taken up again until somebody, who
-- has renewed his own without a gap, has declared the gateway dead.
CREATE TABLE gateways (
    id uuid PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    steady_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    dead boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON COLUMN gateways.steady_since IS 'since when it has renewed its lease without a gap';

CREATE TABLE runs (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    id uuid NOT NULL,
    state text NOT NULL CHECK (state IN (
        'pending', 'initializing', 'running', 'scoring', 'finished', 'failed', 'cancelled')),
    attempt integer NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
    cut boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 0,
    allowed_models text[],
    max_concurrency integer CHECK (max_concurrency >= 1),
    requests_per_minute integer CHECK (requests_per_minute >= 1),
    max_output_tokens_per_call bigint CHECK (max_output_tokens_per_call >= 1),
    on_cap text NOT NULL CHECK (on_cap IN ('clamp', 'refuse')),
    require_token boolean NOT NULL,
    expires_at timestamptz,
    metadata jsonb NOT NULL,
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    close_reason text,
    closed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT runs_id_is_taken UNIQUE (id)
);
CREATE UNIQUE INDEX runs_by_token ON runs (token_hash);
CREATE INDEX runs_by_creation ON runs (created_at, id);
COMMENT ON COLUMN runs.cut IS 'whether calls in flight of the current attempt are to be cut';
COMMENT ON COLUMN runs.version IS 'how often the run was changed';
COMMENT ON COLUMN runs.fingerprint IS 'SHA-256 of the registration: the same body is the same run';

CREATE TABLE budgets (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    id uuid PRIMARY KEY,
    scope text NOT NULL CHECK (scope IN ('run')),
    scope_id uuid NOT NULL,
    unit text NOT NULL CHECK (unit IN ('calls', 'tokens', 'usd')),
    "window" text NOT NULL CHECK ("window" IN ('lifetime', 'day', 'month')),
    window_start timestamptz NOT NULL DEFAULT '-infinity',
    limit_amount numeric NOT NULL CHECK (limit_amount >= 0),
    spent numeric NOT NULL DEFAULT 0 CHECK (spent >= 0),
    reserved numeric NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    waiting boolean NOT NULL DEFAULT false,
    lowered boolean NOT NULL DEFAULT false,
    UNIQUE (scope_id, scope, unit, "window", window_start)
) WITH (fillfactor = 50);
COMMENT ON COLUMN budgets.limit_amount IS 'in the row''s unit: US dollars, tokens or calls';
COMMENT ON COLUMN budgets.spent IS 'in the row''s unit: what the ended calls of the window took';
COMMENT ON COLUMN budgets.reserved IS 'in the row''s unit: what calls in flight may take';
COMMENT ON COLUMN budgets.lowered IS 'the limit was once set below what was spent and reserved';
COMMENT ON COLUMN budgets.waiting IS 'a gateway has a call waiting for this budget';

-- What is in flight. Small: a row lives as long as its call.
CREATE TABLE reservations (
    organization_id uuid NOT NULL,
    id uuid PRIMARY KEY,
    gateway_id uuid NOT NULL,
    run_id uuid NOT NULL,
    attempt integer NOT NULL,
    budget_ids uuid[] NOT NULL,
    usd numeric NOT NULL CHECK (usd >= 0),
    tokens bigint NOT NULL CHECK (tokens >= 0),
    request_id text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    price_version text NOT NULL,
    input_bound bigint NOT NULL CHECK (input_bound >= 0),
    output_bound bigint NOT NULL CHECK (output_bound >= 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX reservations_by_run ON reservations (run_id);
COMMENT ON COLUMN reservations.usd IS 'US dollars: the worst case';
COMMENT ON COLUMN reservations.tokens IS 'tokens: input and output bound together';

-- What has ended. Append-only; the id is the reservation's (UUID v7), and partitions range over it.
CREATE TABLE calls (
    organization_id uuid NOT NULL,
    id uuid PRIMARY KEY,
    gateway_id uuid NOT NULL,
    run_id uuid NOT NULL,
    attempt integer NOT NULL,
    budget_ids uuid[] NOT NULL,
    request_id text NOT NULL,
    model text NOT NULL,
    served_model text,
    provider text NOT NULL,
    endpoint text NOT NULL,
    uncached_input_tokens bigint NOT NULL CHECK (uncached_input_tokens >= 0),
    cached_input_tokens bigint NOT NULL CHECK (cached_input_tokens >= 0),
    cache_write_tokens bigint NOT NULL CHECK (cache_write_tokens >= 0),
    output_tokens bigint NOT NULL CHECK (output_tokens >= 0),
    reasoning_tokens bigint NOT NULL CHECK (reasoning_tokens >= 0),
    cost_usd numeric NOT NULL CHECK (cost_usd >= 0),
    cost_source text NOT NULL CHECK (cost_source IN ('usage', 'estimate', 'worst_case', 'none')),
    flag text,
    price_version text NOT NULL,
    status integer,
    latency_ms bigint,
    ttfb_ms bigint,
    created_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (id);
CREATE TABLE calls_all PARTITION OF calls DEFAULT;
CREATE INDEX calls_by_run ON calls (run_id, id);
COMMENT ON COLUMN calls.cost_usd IS 'US dollars, exact';
COMMENT ON COLUMN calls.status IS 'HTTP status that the client got; 499 if it had gone';

-- How often a run was refused, by code. One row for each code at most.
CREATE TABLE refusals (
    organization_id uuid NOT NULL,
    run_id uuid NOT NULL,
    code text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (run_id, code)
) WITH (fillfactor = 50);

ALTER TABLE budgets SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE reservations
    SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
         autovacuum_vacuum_cost_delay = 0);
