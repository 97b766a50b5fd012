//! Every statement of the ledger, as constant text. A test prepares each of them.

/// Answers if the database does.
pub const PING: &str = "SELECT 1";

/// Whether this session may write.
pub const CAN_WRITE: &str = "SELECT current_setting('default_transaction_read_only') = 'off' \
    AND NOT pg_is_in_recovery()";

/// The step, and what else is selected of its rows once all of it is done.
macro_rules! step {
    ($besides:literal) => {
        concat!(
            "SELECT settled, verdict, state, attempt, scope, unit, period, limit_amount, spent, ",
            "reserved, latched, usd_limit, usd_spent, usd_reserved, today",
            $besides,
            " FROM ledger_step_v4($1, $2, $3, $4, $5, $6)"
        )
    };
}

/// Settles a batch and then admits one; answers the ids that were moved, then the verdicts. See the
/// function's own comment.
pub const STEP: &str = step!("");

/// The same for a batch in which calls were served in other tiers than the default one: `$7` are
/// their ids, `$8` the tiers.
pub const STEP_TIERED: &str = step!(", ledger_note_tier(settled, $7, $8)");

/// What calls of these ids were booked at.
pub const BOOKED_COSTS: &str = "SELECT id, cost_usd FROM calls WHERE id = ANY ($1)";

/// A gateway's first lease, of `$2` seconds.
pub const TAKE_LEASE: &str = "INSERT INTO gateways (id, lease_until) \
    VALUES ($1, clock_timestamp() + $2 * interval '1 second')";

/// Renews a lease of `$2` seconds unless the gateway was declared dead. A gap of half a lease since
/// the last renewal ends its steadiness. Answers whether it has been steady for a whole lease.
pub const RENEW_LEASE: &str = "UPDATE gateways SET \
    steady_since = CASE WHEN clock_timestamp() - renewed_at < $2 * interval '0.5 second' \
        THEN steady_since ELSE clock_timestamp() END, \
    renewed_at = clock_timestamp(), \
    lease_until = clock_timestamp() + $2 * interval '1 second' \
    WHERE id = $1 AND NOT dead \
    RETURNING clock_timestamp() - steady_since >= $2 * interval '1 second'";

/// Declares gateways dead whose lease has lapsed; final. Only a gateway whose own lease of `$2`
/// seconds is alive, and was renewed without a gap for one whole lease, may do so: after an outage
/// or a jump of the clock everybody's lease has lapsed, and everybody comes back first.
pub const DECLARE_DEAD: &str = "UPDATE gateways g SET dead = true \
    WHERE NOT g.dead AND g.lease_until <= clock_timestamp() AND g.id <> $1 AND EXISTS \
    (SELECT 1 FROM gateways m WHERE m.id = $1 AND NOT m.dead \
        AND m.lease_until > clock_timestamp() \
        AND clock_timestamp() - m.renewed_at < $2 * interval '0.5 second' \
        AND m.steady_since <= clock_timestamp() - $2 * interval '1 second') RETURNING g.id";

/// Expires what dead gateways had in flight.
pub const EXPIRE: &str = "SELECT ledger_expire($1)";

/// Forgets gateways that died long ago and left nothing.
pub const FORGET_DEAD: &str = "DELETE FROM gateways g \
    WHERE g.dead AND g.lease_until < clock_timestamp() - interval '1 day' \
    AND NOT EXISTS (SELECT 1 FROM reservations r WHERE r.gateway_id = g.id)";

/// A gateway that leaves in order, with nothing in flight, needs no lease to lapse.
pub const LEAVE: &str = "UPDATE gateways SET dead = true, lease_until = clock_timestamp() \
    WHERE id = $1";

/// Reservations of a gateway that are older than any statement can take, in seconds `$2`.
pub const STALE_RESERVATIONS: &str = "SELECT id, budget_ids FROM reservations \
    WHERE gateway_id = $1 AND created_at < clock_timestamp() - $2 * interval '1 second'";

/// A run as a gateway knows it, by id.
pub const FIND_BY_ID: &str = concat!(
    "SELECT r.organization_id, r.id, r.state, r.attempt, r.token_hash, r.cut, r.allowed_models, ",
    "r.max_concurrency, r.requests_per_minute, r.max_output_tokens_per_call, r.on_cap, ",
    "r.require_token, r.expires_at, r.metadata::text, r.close_reason, r.created_at, r.closed_at, ",
    "r.version, coalesce(r.expires_at <= clock_timestamp(), false), ",
    "r.model_aliases::text, r.forced_parameters::text, r.provider, r.attempt_budget, ",
    "r.own_providers, r.fallback ",
    "FROM runs r WHERE r.id = $1"
);

/// The same for many ids.
pub const FIND_MANY: &str = concat!(
    "SELECT r.organization_id, r.id, r.state, r.attempt, r.token_hash, r.cut, r.allowed_models, ",
    "r.max_concurrency, r.requests_per_minute, r.max_output_tokens_per_call, r.on_cap, ",
    "r.require_token, r.expires_at, r.metadata::text, r.close_reason, r.created_at, r.closed_at, ",
    "r.version, coalesce(r.expires_at <= clock_timestamp(), false), ",
    "r.model_aliases::text, r.forced_parameters::text, r.provider, r.attempt_budget, ",
    "r.own_providers, r.fallback ",
    "FROM runs r WHERE r.id = ANY ($1)"
);

/// The same by the current attempt's token.
pub const FIND_BY_TOKEN: &str = concat!(
    "SELECT r.organization_id, r.id, r.state, r.attempt, r.token_hash, r.cut, r.allowed_models, ",
    "r.max_concurrency, r.requests_per_minute, r.max_output_tokens_per_call, r.on_cap, ",
    "r.require_token, r.expires_at, r.metadata::text, r.close_reason, r.created_at, r.closed_at, ",
    "r.version, coalesce(r.expires_at <= clock_timestamp(), false), ",
    "r.model_aliases::text, r.forced_parameters::text, r.provider, r.attempt_budget, ",
    "r.own_providers, r.fallback ",
    "FROM runs r WHERE r.token_hash = $1"
);

/// The same for a page of runs in the order of their registration.
pub const LIST: &str = concat!(
    "SELECT r.organization_id, r.id, r.state, r.attempt, r.token_hash, r.cut, r.allowed_models, ",
    "r.max_concurrency, r.requests_per_minute, r.max_output_tokens_per_call, r.on_cap, ",
    "r.require_token, r.expires_at, r.metadata::text, r.close_reason, r.created_at, r.closed_at, ",
    "r.version, coalesce(r.expires_at <= clock_timestamp(), false), ",
    "r.model_aliases::text, r.forced_parameters::text, r.provider, r.attempt_budget, ",
    "r.own_providers, r.fallback ",
    "FROM runs r WHERE ($1::text IS NULL OR r.state = $1) AND ($2::uuid IS NULL OR ",
    "(r.created_at, r.id) > (SELECT a.created_at, a.id FROM runs a WHERE a.id = $2 ",
    "AND ($4::uuid IS NULL OR a.organization_id = $4))) ",
    "AND ($4::uuid IS NULL OR r.organization_id = $4) ORDER BY r.created_at, r.id LIMIT $3"
);

/// The budgets of runs, those of earlier attempts too: `attempt` is 0 where all share one.
pub const BUDGETS: &str = "SELECT scope_id, id, unit, limit_amount, spent, reserved, attempt \
    FROM budgets WHERE scope = 'run' AND scope_id = ANY ($1)";

/// How much runs have in flight, by attempt.
pub const IN_FLIGHT: &str = "SELECT run_id, attempt, count(*) FROM reservations \
    WHERE run_id = ANY ($1) GROUP BY run_id, attempt";

/// What runs used, by model and source: over all attempts, or in the current one if each has its
/// own budget.
pub const USED: &str = "SELECT u.run_id, u.model, u.cost_source, sum(u.calls)::bigint, \
        sum(u.input)::bigint, sum(u.cached)::bigint, sum(u.output)::bigint, sum(u.cost) \
    FROM (SELECT run_id, attempt, model, cost_source::text, count(*) AS calls, \
            sum(uncached_input_tokens + cached_input_tokens + cache_write_tokens) AS input, \
            sum(cached_input_tokens) AS cached, sum(output_tokens) AS output, \
            sum(cost_usd) AS cost \
        FROM calls WHERE run_id = ANY ($1) AND cost_source <> 'none' GROUP BY 1, 2, 3, 4 \
        UNION ALL SELECT run_id, attempt, model, cost_source, calls, input_tokens, \
            cached_input_tokens, output_tokens, cost_usd \
        FROM retired_runs WHERE run_id = ANY ($1)) u JOIN runs r ON r.id = u.run_id \
    WHERE r.attempt_budget = 'shared' OR u.attempt = r.attempt \
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

/// How often runs were refused.
pub const REFUSALS: &str = "SELECT run_id, code, count FROM refusals \
    WHERE run_id = ANY ($1) ORDER BY code";

/// A page of a run's calls. The first one begins after an id that none has, because an `OR` would
/// keep a plan for every page from using the index for where the page begins.
pub const CALLS: &str = "SELECT id, request_id, attempt, model, provider, endpoint, price_version, \
    served_model, uncached_input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, \
    reasoning_tokens, cost_usd, cost_source, flag, status, latency_ms, ttfb_ms, created_at, \
    key_id, requested_model, service_tier FROM calls WHERE run_id = $1 AND \
    id > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000') ORDER BY id LIMIT $3";

/// Registers a run, unless its id is taken.
pub const INSERT_RUN: &str = "INSERT INTO runs (organization_id, id, state, token_hash, \
    allowed_models, max_concurrency, requests_per_minute, max_output_tokens_per_call, on_cap, \
    require_token, expires_at, metadata, fingerprint, closed_at, cut, model_aliases, \
    forced_parameters, provider, attempt_budget, own_providers, fallback) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::jsonb, $13, \
        CASE WHEN $14 THEN clock_timestamp() END, $15, $16::jsonb, $17::jsonb, $18, $19, $20, \
        $21) \
    ON CONFLICT DO NOTHING";

/// The registration that took an id.
pub const FINGERPRINT: &str = "SELECT fingerprint FROM runs WHERE id = $1";

/// Gives a run a budget: for one attempt, or with 0 for all of them.
pub const INSERT_BUDGET: &str = "INSERT INTO budgets \
    (organization_id, id, scope, scope_id, unit, \"window\", limit_amount, attempt) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Locks a run's budgets, in the order that everybody keeps. Whoever changes a run does this first.
pub const LOCK_BUDGETS: &str = "SELECT id, unit, spent, limit_amount, attempt FROM budgets \
    WHERE scope = 'run' AND scope_id = $1 ORDER BY id FOR UPDATE";

/// Changes a run's cap.
pub const SET_LIMIT: &str = "UPDATE budgets SET limit_amount = $2::numeric, \
    lowered = lowered OR $2::numeric < spent + reserved WHERE id = $1";

/// Writes what may change of a run.
pub const UPDATE_RUN: &str = "UPDATE runs SET state = $2, cut = $3, expires_at = $4, \
    metadata = coalesce($5::jsonb, metadata), close_reason = $6, \
    closed_at = CASE WHEN $7 THEN coalesce(closed_at, clock_timestamp()) END, \
    version = version + 1 WHERE id = $1";

/// Opens the next attempt.
pub const NEXT_ATTEMPT: &str = "UPDATE runs SET state = $2, attempt = attempt + 1, \
    token_hash = $3, cut = false, close_reason = NULL, closed_at = NULL, \
    version = version + 1 WHERE id = $1";

/// Replaces a token.
pub const SET_TOKEN: &str = "UPDATE runs SET token_hash = $2, version = version + 1 WHERE id = $1";

/// Tells every gateway that a run changed.
pub const NOTIFY_RUN: &str = "SELECT pg_notify('rungate', 'run:' || $1)";

/// Adds to the counts of refusals of runs that exist.
pub const COUNT_REFUSALS: &str = "INSERT INTO refusals (organization_id, run_id, code, count) \
    SELECT r.organization_id, r.id, i.code, i.count \
    FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS i (run_id, code, count) \
    JOIN runs r ON r.id = i.run_id ORDER BY r.id, i.code \
    ON CONFLICT (run_id, code) DO UPDATE SET count = refusals.count + excluded.count";

/// Budgets whose sums differ from their calls' and reservations', with both.
pub const CHECK_SUMS: &str = "SELECT b.id, b.scope || ' ' || b.scope_id, b.unit, b.spent, \
        coalesce(c.spent, 0) + coalesce(t.spent, 0), b.reserved, coalesce(r.reserved, 0) \
    FROM budgets b LEFT JOIN retired_budgets t ON t.budget_id = b.id \
    LEFT JOIN (SELECT x.id AS budget_id, x.unit, sum(CASE x.unit WHEN 'usd' THEN k.cost_usd \
            WHEN 'tokens' THEN k.uncached_input_tokens + k.cached_input_tokens \
                + k.cache_write_tokens + k.output_tokens \
            ELSE (k.cost_source <> 'none')::int END) AS spent \
        FROM calls k CROSS JOIN LATERAL unnest(k.budget_ids) AS u (id) \
        JOIN budgets x ON x.id = u.id GROUP BY x.id, x.unit) c ON c.budget_id = b.id \
    LEFT JOIN (SELECT x.id AS budget_id, sum(CASE x.unit WHEN 'usd' THEN v.usd \
            WHEN 'tokens' THEN v.tokens ELSE 1 END) AS reserved \
        FROM reservations v CROSS JOIN LATERAL unnest(v.budget_ids) AS u (id) \
        JOIN budgets x ON x.id = u.id GROUP BY x.id) r ON r.budget_id = b.id \
    WHERE b.spent <> coalesce(c.spent, 0) + coalesce(t.spent, 0) \
    OR b.reserved <> coalesce(r.reserved, 0)";

/// Budgets past their limit although it was never lowered and no provider overran a reservation.
pub const CHECK_LIMITS: &str = "SELECT b.id, b.scope || ' ' || b.scope_id, b.unit, b.limit_amount, \
        b.spent + b.reserved \
    FROM budgets b WHERE b.spent + b.reserved > b.limit_amount AND NOT b.lowered \
    AND NOT EXISTS (SELECT 1 FROM retired_budgets t WHERE t.budget_id = b.id AND t.overrun) \
    AND NOT CASE b.scope WHEN 'run' \
        THEN EXISTS (SELECT 1 FROM calls c WHERE c.run_id = b.scope_id \
            AND b.id = ANY (c.budget_ids) AND c.flag = 'over_reservation') \
        ELSE EXISTS (SELECT 1 FROM calls c WHERE b.id = ANY (c.budget_ids) \
            AND c.flag = 'over_reservation') END";

/// Rows of the ledger that contradict each other: ids both in flight and ended, calls that were
/// released and yet cost something, charges of nothing that are not called so, calls of nobody.
pub const CHECK_ROWS: &str = "SELECT c.id, 'is both in flight and ended' FROM calls c \
        JOIN reservations r ON r.id = c.id \
    UNION ALL SELECT c.id, 'was released and yet has a cost' FROM calls c \
        WHERE c.cost_source = 'none' AND c.cost_usd <> 0 \
    UNION ALL SELECT c.id, 'names a run that does not exist' FROM calls c \
        WHERE c.run_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = c.run_id) \
    UNION ALL SELECT c.id, 'names a key that does not exist' FROM calls c \
        WHERE c.key_id IS NOT NULL \
        AND NOT EXISTS (SELECT 1 FROM inference_keys k WHERE k.id = c.key_id) \
    UNION ALL SELECT c.id, 'is of no run and no key' FROM calls c \
        WHERE c.run_id IS NULL AND c.key_id IS NULL";

/// Calls, ended or not, that are taken from a budget which is not theirs, or from a window that
/// they were not admitted in.
pub const CHECK_OWNERS: &str = "SELECT x.id, 'is taken from budget ' || b.id || ' of another ' \
        || b.scope \
    FROM (SELECT id, organization_id, run_id, key_id, budget_ids FROM calls UNION ALL \
        SELECT id, organization_id, run_id, key_id, budget_ids FROM reservations) x \
    CROSS JOIN LATERAL unnest(x.budget_ids) AS u (id) JOIN budgets b ON b.id = u.id \
    WHERE b.organization_id <> x.organization_id OR b.scope_id IS DISTINCT FROM CASE b.scope \
        WHEN 'run' THEN x.run_id WHEN 'key' THEN x.key_id ELSE x.organization_id END \
    UNION ALL SELECT x.id, 'is outside of the ' || b.\"window\" || ' of its budget ' || b.id \
    FROM (SELECT id, created_at, budget_ids FROM calls UNION ALL \
        SELECT id, created_at, budget_ids FROM reservations) x \
    CROSS JOIN LATERAL unnest(x.budget_ids) AS u (id) JOIN budgets b ON b.id = u.id \
    WHERE b.\"window\" <> 'lifetime' AND b.window_start IS DISTINCT FROM date_trunc( \
        CASE b.\"window\" WHEN 'day' THEN 'day' ELSE 'month' END, x.created_at, 'UTC')";

/// Budgets, reservations and calls that are not of the attempt that they should be of.
pub const CHECK_ATTEMPTS: &str = "SELECT b.id, 'budget', 'is for attempt ' || b.attempt \
        || ' of a run in attempt ' || r.attempt || ' whose budget is ' || r.attempt_budget \
    FROM budgets b JOIN runs r ON r.id = b.scope_id WHERE b.scope = 'run' AND \
        CASE r.attempt_budget WHEN 'shared' THEN b.attempt <> 0 \
            ELSE b.attempt NOT BETWEEN 1 AND r.attempt END \
    UNION ALL SELECT r.id, 'run', 'has no cap for attempt ' || a.n FROM runs r \
        CROSS JOIN LATERAL generate_series(1, CASE r.attempt_budget WHEN 'shared' THEN 1 \
            ELSE r.attempt END) AS a (n) WHERE NOT EXISTS (SELECT 1 FROM budgets b \
        WHERE b.scope_id = r.id AND b.scope = 'run' AND b.unit = 'usd' \
        AND b.attempt = CASE r.attempt_budget WHEN 'shared' THEN 0 ELSE a.n END) \
    UNION ALL SELECT x.id, 'call', 'is of attempt ' || x.attempt \
        || ' and taken from the budget of attempt ' || b.attempt \
    FROM (SELECT c.id, c.attempt, c.budget_ids FROM calls c \
        UNION ALL SELECT v.id, v.attempt, v.budget_ids FROM reservations v) x \
        CROSS JOIN LATERAL unnest(x.budget_ids) AS u (id) JOIN budgets b ON b.id = u.id \
    WHERE b.attempt NOT IN (0, x.attempt)";

/// Days whose sums differ from those of their calls, as far as they are folded.
pub const CHECK_USAGE: &str = "SELECT organization_id, 'the usage of ' || day || ' of ' || model \
        || ' at ' || provider || ' is ' || coalesce(u.calls, 0) || ' calls for ' \
        || coalesce(u.cost_usd, 0) || ' but its calls are ' || coalesce(c.calls, 0) || ' for ' \
        || coalesce(c.cost_usd, 0) \
    FROM usage_days u FULL JOIN ( \
        SELECT organization_id, day, model, provider, key_id, of_run, sum(calls) AS calls, \
            sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens, \
            sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd \
        FROM (SELECT * FROM retired_days UNION ALL \
            SELECT organization_id, (created_at AT TIME ZONE 'UTC')::date, model, provider, \
                coalesce(key_id, '00000000-0000-0000-0000-000000000000'), run_id IS NOT NULL, 1, \
                uncached_input_tokens + cached_input_tokens + cache_write_tokens, \
                cached_input_tokens, output_tokens, cost_usd FROM calls \
            WHERE coalesce(seq, 0) <= (SELECT folded FROM usage_mark) \
            AND cost_source <> 'none') folded GROUP BY 1, 2, 3, 4, 5, 6) c \
    USING (organization_id, day, model, provider, key_id, of_run) \
    WHERE (u.calls, u.input_tokens, u.cached_input_tokens, u.output_tokens, u.cost_usd) \
        IS DISTINCT FROM \
        (c.calls, c.input_tokens, c.cached_input_tokens, c.output_tokens, c.cost_usd)";

/// How much there is to check.
pub const CHECK_COUNTS: &str = "SELECT (SELECT count(*) FROM runs), \
    (SELECT count(*) FROM budgets), \
    (SELECT count(*) FROM reservations), (SELECT count(*) FROM calls), \
    (SELECT count(*) FROM reservations v WHERE NOT EXISTS \
        (SELECT 1 FROM gateways g WHERE g.id = v.gateway_id AND NOT g.dead))";

/// Every statement above.
pub const ALL: [&str; 38] = [
    PING,
    CAN_WRITE,
    STEP,
    STEP_TIERED,
    BOOKED_COSTS,
    TAKE_LEASE,
    RENEW_LEASE,
    DECLARE_DEAD,
    EXPIRE,
    FORGET_DEAD,
    LEAVE,
    STALE_RESERVATIONS,
    FIND_BY_ID,
    FIND_MANY,
    FIND_BY_TOKEN,
    LIST,
    BUDGETS,
    IN_FLIGHT,
    USED,
    REFUSALS,
    CALLS,
    INSERT_RUN,
    FINGERPRINT,
    INSERT_BUDGET,
    LOCK_BUDGETS,
    SET_LIMIT,
    UPDATE_RUN,
    NEXT_ATTEMPT,
    SET_TOKEN,
    NOTIFY_RUN,
    COUNT_REFUSALS,
    CHECK_SUMS,
    CHECK_LIMITS,
    CHECK_ROWS,
    CHECK_ATTEMPTS,
    CHECK_OWNERS,
    CHECK_USAGE,
    CHECK_COUNTS,
];
