-- The statements of the ledger: admit, settle, expire. Each is one round trip and one commit.

-- Admits a batch of asks in their order. Answers one row for each, in the same order: a verdict,
-- and the numbers that it rests on. A rule that refuses is a verdict, never an exception.
--
-- p_budgets: the distinct budgets of the batch, ascending. The asks' own budgets lie end to end in
-- p_ask_budgets, and as positions of p_budgets in p_budget_of (1-based); ask i has p_budget_count[i]
-- of them from p_budget_first[i] on, in the order of checking: calls, tokens, dollars. An ask with
-- p_behind has an earlier one waiting before it on its gateway: its run's state is checked, its
-- budgets are not.
CREATE FUNCTION ledger_admit(
    p_gateway uuid, p_budgets uuid[], p_ask_budgets uuid[], p_budget_of integer[],
    p_budget_first integer[], p_budget_count integer[],
    p_ids uuid[], p_runs uuid[], p_token_hashes bytea[], p_behind boolean[],
    p_usd numeric[], p_tokens bigint[],
    p_request_ids text[], p_models text[], p_providers text[], p_endpoints text[],
    p_price_versions text[], p_input_bounds bigint[], p_output_bounds bigint[]
) RETURNS TABLE (
    verdict text, state text, attempt integer,
    unit text, limit_amount numeric, spent numeric, reserved numeric,
    usd_limit numeric, usd_spent numeric, usd_reserved numeric
) LANGUAGE plpgsql AS $$
DECLARE
    limits numeric[]; spents numeric[]; reserveds numeric[]; units text[];
    deltas numeric[] := array_fill(0::numeric, ARRAY[cardinality(p_budgets)]);
    -- 0 for an ask that is not admitted.
    attempts integer[] := array_fill(0, ARRAY[cardinality(p_ids)]);
    organizations uuid[] := array_fill(NULL::uuid, ARRAY[cardinality(p_ids)]);
    admitted boolean := false;
    blocked uuid[] := '{}';
    waited_for uuid[] := '{}';
    r record;
    pos integer;
    usd_pos integer;
    refused integer;
    amount numeric;
    alive boolean;
BEGIN
    -- The locks come first. What they protect besides the budgets (state, token, expiry) is read
    -- by later statements, whose snapshots are newer than the locks.
    SELECT array_agg(b.limit_amount ORDER BY b.id), array_agg(b.spent ORDER BY b.id),
           array_agg(b.reserved ORDER BY b.id), array_agg(b.unit ORDER BY b.id)
      INTO limits, spents, reserveds, units
      FROM (SELECT * FROM budgets WHERE id = ANY (p_budgets) ORDER BY id FOR UPDATE) b;
    IF cardinality(limits) IS DISTINCT FROM cardinality(p_budgets) THEN
        RAISE EXCEPTION 'a budget of the batch does not exist';
    END IF;

    SELECT g.lease_until > clock_timestamp() AND NOT g.dead INTO alive
      FROM gateways g WHERE g.id = p_gateway;

    FOR r IN
        SELECT o.*, x.id, x.organization_id, x.state, x.attempt, x.token_hash,
               x.require_token, x.expires_at <= clock_timestamp() AS expired
          FROM unnest(p_runs, p_token_hashes, p_behind, p_usd, p_tokens, p_budget_first,
                      p_budget_count) WITH ORDINALITY
               AS o (run, hash, behind, usd, tokens, first, budgets, ord)
          LEFT JOIN runs x ON x.id = o.run
         ORDER BY o.ord
    LOOP
        unit := NULL; limit_amount := NULL; spent := NULL; reserved := NULL;
        usd_limit := NULL; usd_spent := NULL; usd_reserved := NULL;
        state := r.state; attempt := r.attempt;
        IF alive IS NOT TRUE THEN
            verdict := 'lapsed';
        ELSIF r.id IS NULL THEN
            verdict := 'run_not_found';
        ELSIF (r.hash IS NULL AND r.require_token) OR r.hash <> r.token_hash THEN
            verdict := 'invalid_key';
        ELSIF r.state IN ('scoring', 'finished', 'failed', 'cancelled') THEN
            verdict := 'run_closed';
        ELSIF r.expired THEN
            verdict := 'run_expired';
        ELSIF r.state <> 'running' THEN
            verdict := 'run_not_active';
        ELSE
            refused := NULL; usd_pos := NULL;
            FOR i IN r.first .. r.first + r.budgets - 1 LOOP
                pos := p_budget_of[i];
                IF units[pos] = 'usd' THEN
                    usd_pos := pos; amount := r.usd;
                ELSE
                    amount := CASE units[pos] WHEN 'tokens' THEN r.tokens ELSE 1 END;
                END IF;
                IF refused IS NULL
                    AND spents[pos] + reserveds[pos] + amount > limits[pos] THEN
                    refused := pos;
                END IF;
            END LOOP;
            IF r.behind OR r.id = ANY (blocked) THEN
                verdict := 'behind';
            ELSIF refused IS NULL THEN
                verdict := 'admitted'; admitted := true;
                FOR i IN r.first .. r.first + r.budgets - 1 LOOP
                    pos := p_budget_of[i];
                    amount := CASE units[pos] WHEN 'usd' THEN r.usd
                        WHEN 'tokens' THEN r.tokens ELSE 1 END;
                    reserveds[pos] := reserveds[pos] + amount;
                    deltas[pos] := deltas[pos] + amount;
                END LOOP;
                attempts[r.ord] := r.attempt;
                organizations[r.ord] := r.organization_id;
            ELSE
                verdict := 'budget';
                unit := units[refused]; limit_amount := limits[refused];
                spent := spents[refused]; reserved := reserveds[refused];
                blocked := blocked || r.id;
                IF reserveds[refused] > 0 THEN
                    waited_for := waited_for || p_budgets[refused];
                END IF;
            END IF;
            usd_limit := limits[usd_pos]; usd_spent := spents[usd_pos];
            usd_reserved := reserveds[usd_pos];
        END IF;
        RETURN NEXT;
    END LOOP;

    IF admitted THEN
        INSERT INTO reservations (
            organization_id, id, gateway_id, run_id, attempt, budget_ids, usd, tokens, request_id,
            model, provider, endpoint, price_version, input_bound, output_bound)
        SELECT a.organization_id, a.id, p_gateway, a.run, a.attempt,
               p_ask_budgets[a.first : a.first + a.budgets - 1], a.usd, a.tokens, a.request_id,
               a.model, a.provider, a.endpoint, a.price_version, a.input_bound, a.output_bound
          FROM unnest(organizations, attempts, p_ids, p_runs, p_budget_first, p_budget_count,
                      p_usd, p_tokens, p_request_ids, p_models, p_providers, p_endpoints,
                      p_price_versions, p_input_bounds, p_output_bounds)
               AS a (organization_id, attempt, id, run, first, budgets, usd, tokens, request_id,
                     model, provider, endpoint, price_version, input_bound, output_bound)
         WHERE a.attempt > 0;
        UPDATE budgets b SET reserved = b.reserved + d.delta
          FROM unnest(p_budgets, deltas) AS d (id, delta)
         WHERE b.id = d.id AND d.delta > 0;
    END IF;
    IF cardinality(waited_for) > 0 THEN
        UPDATE budgets b SET waiting = true WHERE b.id = ANY (waited_for) AND NOT b.waiting;
    END IF;
END
$$;

-- Moves ended reservations into calls and books what they took, in one statement whose sums come
-- from the deleted rows: a batch that is sent twice counts once. Answers the ids that were moved.
CREATE FUNCTION ledger_settle(
    p_budgets uuid[], p_ids uuid[], p_served_models text[],
    p_uncached bigint[], p_cached bigint[], p_cache_write bigint[], p_output bigint[],
    p_reasoning bigint[], p_costs numeric[], p_sources text[], p_flags text[],
    p_statuses integer[], p_latencies bigint[], p_ttfbs bigint[]
) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    waiters uuid[];
BEGIN
    SELECT array_agg(DISTINCT b.scope_id) FILTER (WHERE b.waiting) INTO waiters
      FROM (SELECT scope_id, waiting FROM budgets
             WHERE id = ANY (p_budgets) ORDER BY id FOR UPDATE) b;
    PERFORM 1 FROM reservations WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;

    RETURN QUERY
    WITH gone AS (
        DELETE FROM reservations r
         USING unnest(
            p_ids, p_served_models, p_uncached, p_cached, p_cache_write, p_output, p_reasoning,
            p_costs, p_sources, p_flags, p_statuses, p_latencies, p_ttfbs
         ) AS i (ended, served_model, uncached, cached, cache_write, output, reasoning, cost,
                 source, flag, status, latency, ttfb)
         WHERE r.id = i.ended
        RETURNING r.*, i.*
    ), moved AS (
        INSERT INTO calls (
            organization_id, id, gateway_id, run_id, attempt, budget_ids, request_id, model,
            served_model, provider, endpoint, uncached_input_tokens, cached_input_tokens,
            cache_write_tokens, output_tokens, reasoning_tokens, cost_usd, cost_source, flag,
            price_version, status, latency_ms, ttfb_ms, created_at)
        SELECT g.organization_id, g.id, g.gateway_id, g.run_id, g.attempt, g.budget_ids,
               g.request_id, g.model, g.served_model, g.provider, g.endpoint, g.uncached,
               g.cached, g.cache_write, g.output, g.reasoning, g.cost, g.source, g.flag,
               g.price_version, g.status, g.latency, g.ttfb, g.created_at
          FROM gone g
        RETURNING id
    ), delta AS (
        SELECT x.budget_id, sum(g.usd) AS usd_freed, sum(g.tokens) AS tokens_freed,
               count(*) AS calls_freed, sum(g.cost) AS usd,
               sum(g.uncached + g.cached + g.cache_write + g.output) AS tokens,
               count(*) FILTER (WHERE g.source <> 'none') AS calls
          FROM gone g CROSS JOIN LATERAL unnest(g.budget_ids) AS x (budget_id)
         GROUP BY x.budget_id
    ), booked AS (
        UPDATE budgets b
           SET reserved = b.reserved - CASE b.unit WHEN 'usd' THEN d.usd_freed
                   WHEN 'tokens' THEN d.tokens_freed ELSE d.calls_freed END,
               spent = b.spent + CASE b.unit WHEN 'usd' THEN d.usd
                   WHEN 'tokens' THEN d.tokens ELSE d.calls END,
               waiting = false
          FROM delta d WHERE b.id = d.budget_id
    )
    SELECT m.id FROM moved m;

    IF waiters IS NOT NULL THEN
        PERFORM pg_notify('rungate', 'budget:' || w) FROM unnest(waiters) AS w;
    END IF;
END
$$;

-- Settles and then admits, in one round trip and one commit: what ends and what begins together on
-- one lane. The locks of both are taken first, in their one order. Answers a row with `settled` for
-- each id that was moved, then the verdicts in the order of the asks.
CREATE FUNCTION ledger_step(
    p_all_budgets uuid[],
    p_settled_budgets uuid[], p_settled_ids uuid[], p_served_models text[],
    p_uncached bigint[], p_cached bigint[], p_cache_write bigint[], p_output bigint[],
    p_reasoning bigint[], p_costs numeric[], p_sources text[], p_flags text[],
    p_statuses integer[], p_latencies bigint[], p_ttfbs bigint[],
    p_gateway uuid, p_budgets uuid[], p_ask_budgets uuid[], p_budget_of integer[],
    p_budget_first integer[], p_budget_count integer[],
    p_ids uuid[], p_runs uuid[], p_token_hashes bytea[], p_behind boolean[],
    p_usd numeric[], p_tokens bigint[],
    p_request_ids text[], p_models text[], p_providers text[], p_endpoints text[],
    p_price_versions text[], p_input_bounds bigint[], p_output_bounds bigint[]
) RETURNS TABLE (
    settled uuid, verdict text, state text, attempt integer,
    unit text, limit_amount numeric, spent numeric, reserved numeric,
    usd_limit numeric, usd_spent numeric, usd_reserved numeric
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM budgets WHERE id = ANY (p_all_budgets) ORDER BY id FOR UPDATE;
    RETURN QUERY
    SELECT s, NULL::text, NULL::text, NULL::integer, NULL::text, NULL::numeric, NULL::numeric,
           NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric
      FROM ledger_settle(
        p_settled_budgets, p_settled_ids, p_served_models, p_uncached, p_cached, p_cache_write,
        p_output, p_reasoning, p_costs, p_sources, p_flags, p_statuses, p_latencies, p_ttfbs) s;
    RETURN QUERY
    SELECT NULL::uuid, a.*
      FROM ledger_admit(
        p_gateway, p_budgets, p_ask_budgets, p_budget_of, p_budget_first, p_budget_count, p_ids,
        p_runs, p_token_hashes, p_behind, p_usd, p_tokens, p_request_ids, p_models, p_providers,
        p_endpoints, p_price_versions, p_input_bounds, p_output_bounds) a;
END
$$;

-- Expires reservations of gateways that are dead, at the worst case, at most p_limit of them.
-- Answers the ids that it moved. Death is final, so what is read here cannot come alive again.
CREATE FUNCTION ledger_expire(p_limit integer) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[]; all_budgets uuid[];
BEGIN
    SELECT array_agg(c.id ORDER BY c.id) INTO ids
      FROM (SELECT r.id FROM reservations r
             WHERE NOT EXISTS (SELECT 1 FROM gateways g WHERE g.id = r.gateway_id AND NOT g.dead)
             LIMIT p_limit) c;
    IF ids IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(DISTINCT x) INTO all_budgets
      FROM reservations r CROSS JOIN LATERAL unnest(r.budget_ids) AS x WHERE r.id = ANY (ids);
    PERFORM 1 FROM budgets WHERE id = ANY (all_budgets) ORDER BY id FOR UPDATE;
    PERFORM 1 FROM reservations WHERE id = ANY (ids) ORDER BY id FOR UPDATE;
    RETURN QUERY
    SELECT s FROM (
        SELECT array_agg(r.id) AS id, array_agg(r.usd) AS usd, array_agg(r.input_bound) AS input,
               array_agg(r.output_bound) AS output, count(*)::integer AS n
          FROM reservations r WHERE r.id = ANY (ids)
    ) e
    CROSS JOIN LATERAL ledger_settle(
        all_budgets, e.id, array_fill(NULL::text, ARRAY[e.n]), e.input,
        array_fill(0::bigint, ARRAY[e.n]), array_fill(0::bigint, ARRAY[e.n]), e.output,
        array_fill(0::bigint, ARRAY[e.n]), e.usd, array_fill('worst_case'::text, ARRAY[e.n]),
        array_fill('gateway_lost'::text, ARRAY[e.n]), array_fill(NULL::integer, ARRAY[e.n]),
        array_fill(NULL::bigint, ARRAY[e.n]), array_fill(NULL::bigint, ARRAY[e.n])) AS s
    WHERE e.n > 0;
END
$$;
