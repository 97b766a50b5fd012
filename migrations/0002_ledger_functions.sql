-- The statements of the ledger: admit, settle, expire. Each is one round trip and one commit.

-- Admits a batch of asks in their order. Answers one row for each, in the same order: a verdict,
-- and the numbers that it rests on. A rule that refuses is a verdict, never an exception.
--
-- p_budgets: the distinct budgets of the batch, ascending. The asks' own budgets are positions in
-- it (1-based), laid end to end in p_budget_of; ask i has p_budget_count[i] of them, in the order
-- of checking: calls, tokens, dollars. An ask with p_behind has an earlier one waiting before it
-- on its gateway: its run's state is checked, its budgets are not.
CREATE FUNCTION ledger_admit(
    p_gateway uuid, p_budgets uuid[], p_budget_count integer[], p_budget_of integer[],
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
    amounts numeric[];
    accepted integer[] := '{}';
    attempts integer[] := array_fill(0, ARRAY[cardinality(p_ids)]);
    organizations uuid[] := array_fill(NULL::uuid, ARRAY[cardinality(p_ids)]);
    blocked uuid[] := '{}';
    waited_for uuid[] := '{}';
    r record;
    first integer := 1;
    pos integer;
    usd_pos integer;
    refused integer;
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
        SELECT o.ord::integer AS ord, x.id, x.organization_id, x.state, x.attempt, x.token_hash,
               x.require_token, x.expires_at <= clock_timestamp() AS expired
          FROM unnest(p_runs) WITH ORDINALITY AS o (run, ord)
          LEFT JOIN runs x ON x.id = o.run
         ORDER BY o.ord
    LOOP
        verdict := NULL; unit := NULL; limit_amount := NULL; spent := NULL; reserved := NULL;
        usd_limit := NULL; usd_spent := NULL; usd_reserved := NULL;
        state := r.state; attempt := r.attempt;
        IF alive IS NOT TRUE THEN
            verdict := 'lapsed';
        ELSIF r.id IS NULL THEN
            verdict := 'run_not_found';
        ELSIF (p_token_hashes[r.ord] IS NULL AND r.require_token)
            OR p_token_hashes[r.ord] <> r.token_hash THEN
            verdict := 'invalid_key';
        ELSIF r.state IN ('scoring', 'finished', 'failed', 'cancelled') THEN
            verdict := 'run_closed';
        ELSIF r.expired THEN
            verdict := 'run_expired';
        ELSIF r.state <> 'running' THEN
            verdict := 'run_not_active';
        ELSIF p_behind[r.ord] OR r.id = ANY (blocked) THEN
            verdict := 'behind';
        ELSE
            refused := NULL; usd_pos := NULL; amounts := '{}';
            FOR i IN first .. first + p_budget_count[r.ord] - 1 LOOP
                pos := p_budget_of[i];
                amounts := amounts || CASE units[pos] WHEN 'usd' THEN p_usd[r.ord]
                    WHEN 'tokens' THEN p_tokens[r.ord]::numeric ELSE 1::numeric END;
                IF units[pos] = 'usd' THEN
                    usd_pos := pos;
                END IF;
                IF refused IS NULL AND spents[pos] + reserveds[pos]
                    + amounts[cardinality(amounts)] > limits[pos] THEN
                    refused := pos;
                END IF;
            END LOOP;
            IF refused IS NULL THEN
                verdict := 'admitted';
                FOR i IN 1 .. p_budget_count[r.ord] LOOP
                    pos := p_budget_of[first + i - 1];
                    reserveds[pos] := reserveds[pos] + amounts[i];
                    deltas[pos] := deltas[pos] + amounts[i];
                END LOOP;
                accepted := accepted || r.ord;
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
        first := first + p_budget_count[r.ord];
        RETURN NEXT;
    END LOOP;

    IF cardinality(accepted) > 0 THEN
        INSERT INTO reservations (
            organization_id, id, gateway_id, run_id, attempt, budget_ids, usd, tokens, request_id,
            model, provider, endpoint, price_version, input_bound, output_bound)
        SELECT organizations[a.i], p_ids[a.i], p_gateway, p_runs[a.i], attempts[a.i],
               (SELECT array_agg(p_budgets[p_budget_of[j]] ORDER BY j)
                  FROM generate_series(
                      1 + coalesce((SELECT sum(c)::integer
                                      FROM unnest(p_budget_count[1 : a.i - 1]) c), 0),
                      (SELECT sum(c)::integer FROM unnest(p_budget_count[1 : a.i]) c)) j),
               p_usd[a.i], p_tokens[a.i], p_request_ids[a.i], p_models[a.i], p_providers[a.i],
               p_endpoints[a.i], p_price_versions[a.i], p_input_bounds[a.i], p_output_bounds[a.i]
          FROM unnest(accepted) AS a (i);
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
    WITH input AS (
        SELECT * FROM unnest(
            p_ids, p_served_models, p_uncached, p_cached, p_cache_write, p_output, p_reasoning,
            p_costs, p_sources, p_flags, p_statuses, p_latencies, p_ttfbs
        ) AS i (id, served_model, uncached, cached, cache_write, output, reasoning, cost, source,
                flag, status, latency, ttfb)
    ), gone AS (
        DELETE FROM reservations r USING input i WHERE r.id = i.id RETURNING r.*
    ), moved AS (
        INSERT INTO calls (
            organization_id, id, gateway_id, run_id, attempt, budget_ids, request_id, model,
            served_model, provider, endpoint, uncached_input_tokens, cached_input_tokens,
            cache_write_tokens, output_tokens, reasoning_tokens, cost_usd, cost_source, flag,
            price_version, status, latency_ms, ttfb_ms, created_at)
        SELECT g.organization_id, g.id, g.gateway_id, g.run_id, g.attempt, g.budget_ids,
               g.request_id, g.model, i.served_model, g.provider, g.endpoint, i.uncached,
               i.cached, i.cache_write, i.output, i.reasoning, i.cost, i.source, i.flag,
               g.price_version, i.status, i.latency, i.ttfb, g.created_at
          FROM gone g JOIN input i ON i.id = g.id
        RETURNING id
    ), delta AS (
        SELECT x.budget_id, sum(g.usd) AS usd_freed, sum(g.tokens) AS tokens_freed,
               count(*) AS calls_freed, sum(i.cost) AS usd,
               sum(i.uncached + i.cached + i.cache_write + i.output) AS tokens,
               count(*) FILTER (WHERE i.source <> 'none') AS calls
          FROM gone g JOIN input i ON i.id = g.id
         CROSS JOIN LATERAL unnest(g.budget_ids) AS x (budget_id)
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
