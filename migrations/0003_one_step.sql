-- What ends and what begins on a lane, in one pass over its budgets.
--
-- The functions of 0002 took each member of an ask as an array of its own. Every array that is
-- unnested beside others costs about 2.5 us, whatever its length, and ledger_step locked and
-- updated the same budgets twice. Here an ask and an end are each one composite row, budgets are
-- locked once and written once, and the limits of columns are domains: a table's CHECK is parsed
-- anew by each statement that writes to it, a domain's once in a session.
--
-- The functions of 0002 stay for gateways of the release before this one, which may still run.

CREATE DOMAIN usd_amount AS numeric CHECK (VALUE >= 0);
CREATE DOMAIN budget_amount AS numeric CHECK (VALUE >= 0);
CREATE DOMAIN token_count AS bigint CHECK (VALUE >= 0);
CREATE DOMAIN cost_source AS text CHECK (VALUE IN ('usage', 'estimate', 'worst_case', 'none'));
CREATE DOMAIN budget_scope AS text CHECK (VALUE IN ('run'));
CREATE DOMAIN budget_unit AS text CHECK (VALUE IN ('calls', 'tokens', 'usd'));
CREATE DOMAIN budget_window AS text CHECK (VALUE IN ('lifetime', 'day', 'month'));
COMMENT ON DOMAIN usd_amount IS 'US dollars, exact';
COMMENT ON DOMAIN budget_amount IS 'in the unit of the budget: US dollars, tokens or calls';

ALTER TABLE budgets
    DROP CONSTRAINT budgets_scope_check, ALTER COLUMN scope TYPE budget_scope,
    DROP CONSTRAINT budgets_unit_check, ALTER COLUMN unit TYPE budget_unit,
    DROP CONSTRAINT budgets_window_check, ALTER COLUMN "window" TYPE budget_window,
    DROP CONSTRAINT budgets_limit_amount_check, ALTER COLUMN limit_amount TYPE budget_amount,
    DROP CONSTRAINT budgets_spent_check, ALTER COLUMN spent TYPE budget_amount,
    DROP CONSTRAINT budgets_reserved_check, ALTER COLUMN reserved TYPE budget_amount;
ALTER TABLE reservations
    DROP CONSTRAINT reservations_usd_check, ALTER COLUMN usd TYPE usd_amount,
    DROP CONSTRAINT reservations_tokens_check, ALTER COLUMN tokens TYPE token_count,
    DROP CONSTRAINT reservations_input_bound_check, ALTER COLUMN input_bound TYPE token_count,
    DROP CONSTRAINT reservations_output_bound_check, ALTER COLUMN output_bound TYPE token_count;
ALTER TABLE calls
    DROP CONSTRAINT calls_uncached_input_tokens_check,
    DROP CONSTRAINT calls_cached_input_tokens_check,
    DROP CONSTRAINT calls_cache_write_tokens_check,
    DROP CONSTRAINT calls_output_tokens_check,
    DROP CONSTRAINT calls_reasoning_tokens_check,
    DROP CONSTRAINT calls_cost_usd_check,
    DROP CONSTRAINT calls_cost_source_check,
    ALTER COLUMN uncached_input_tokens TYPE token_count,
    ALTER COLUMN cached_input_tokens TYPE token_count,
    ALTER COLUMN cache_write_tokens TYPE token_count,
    ALTER COLUMN output_tokens TYPE token_count,
    ALTER COLUMN reasoning_tokens TYPE token_count,
    ALTER COLUMN cost_usd TYPE usd_amount,
    ALTER COLUMN cost_source TYPE cost_source;

-- One call that wants in. `positions` are those of its budgets among the batch's, counted from 1,
-- in the order of checking: calls, tokens, dollars. With `behind` an earlier call waits before it
-- on its gateway: its run's state is checked, its budgets are not.
CREATE TYPE ledger_ask AS (
    id uuid, run uuid, token_hash bytea, behind boolean, positions integer[], budget_ids uuid[],
    usd numeric, tokens bigint, request_id text, model text, provider text, endpoint text,
    price_version text, input_bound bigint, output_bound bigint
);

-- One attempt that has ended.
CREATE TYPE ledger_end AS (
    id uuid, served_model text, uncached bigint, cached bigint, cache_write bigint, output bigint,
    reasoning bigint, cost numeric, source text, flag text, status integer, latency_ms bigint,
    ttfb_ms bigint
);

-- Settles p_ends and then decides about p_asks in their order, in one round trip and one commit.
-- p_budgets: the distinct budgets of both, ascending. Answers a row with `settled` for each
-- reservation that was moved into calls, then a verdict for each ask and the numbers that it rests
-- on. A rule that refuses is a verdict, never an exception.
--
-- What a settlement books is summed from the reservations that it deleted, never from its input: a
-- batch that is sent twice counts once. Whoever touches a reservation holds its budgets locked, so
-- reservations need no order of their own.
CREATE FUNCTION ledger_step(
    p_gateway uuid, p_budgets uuid[], p_ends ledger_end[], p_asks ledger_ask[]
) RETURNS TABLE (
    settled uuid, verdict text, state text, attempt integer,
    unit text, limit_amount numeric, spent numeric, reserved numeric,
    usd_limit numeric, usd_spent numeric, usd_reserved numeric
) LANGUAGE plpgsql AS $$
DECLARE
    units text[]; limits numeric[]; spents numeric[]; reserveds numeric[]; waitings boolean[];
    changed boolean[] := array_fill(false, ARRAY[cardinality(p_budgets)]);
    -- 0 for an ask that is not admitted.
    attempts integer[]; organizations uuid[];
    admitted boolean := false;
    blocked uuid[] := '{}';
    waiters uuid[] := '{}';
    r record;
    budget uuid;
    pos integer;
    usd_pos integer;
    refused integer;
    amount numeric;
BEGIN
    -- The locks come first. What they protect besides the budgets (state, token, expiry) is read
    -- by later statements, whose snapshots are newer than the locks. Ids never change, so the
    -- order of the locks is the order of the rows.
    SELECT array_agg(b.unit::text), array_agg(b.limit_amount::numeric),
           array_agg(b.spent::numeric), array_agg(b.reserved::numeric), array_agg(b.waiting)
      INTO units, limits, spents, reserveds, waitings
      FROM (SELECT * FROM budgets WHERE id = ANY (p_budgets) ORDER BY id FOR UPDATE) b;
    IF cardinality(units) IS DISTINCT FROM cardinality(p_budgets) THEN
        RAISE EXCEPTION 'a budget of the batch does not exist';
    END IF;

    IF cardinality(p_ends) > 0 THEN
        FOR r IN
            WITH gone AS (
                DELETE FROM reservations v USING unnest(p_ends) AS e WHERE v.id = e.id
                RETURNING v.*, e.served_model, e.uncached, e.cached, e.cache_write, e.output,
                          e.reasoning, e.cost, e.source, e.flag, e.status, e.latency_ms, e.ttfb_ms
            ), moved AS (
                INSERT INTO calls (
                    organization_id, id, gateway_id, run_id, attempt, budget_ids, request_id,
                    model, served_model, provider, endpoint, uncached_input_tokens,
                    cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
                    cost_usd, cost_source, flag, price_version, status, latency_ms, ttfb_ms,
                    created_at)
                SELECT g.organization_id, g.id, g.gateway_id, g.run_id, g.attempt, g.budget_ids,
                       g.request_id, g.model, g.served_model, g.provider, g.endpoint, g.uncached,
                       g.cached, g.cache_write, g.output, g.reasoning, g.cost, g.source, g.flag,
                       g.price_version, g.status, g.latency_ms, g.ttfb_ms, g.created_at
                  FROM gone g
            )
            SELECT g.id, g.budget_ids, g.usd, g.tokens, g.cost, g.source,
                   g.uncached + g.cached + g.cache_write + g.output AS used
              FROM gone g
        LOOP
            FOREACH budget IN ARRAY r.budget_ids LOOP
                pos := array_position(p_budgets, budget);
                IF pos IS NULL THEN
                    RAISE EXCEPTION 'a settled reservation has a budget that is not locked';
                END IF;
                IF units[pos] = 'usd' THEN
                    reserveds[pos] := reserveds[pos] - r.usd;
                    spents[pos] := spents[pos] + r.cost;
                ELSIF units[pos] = 'tokens' THEN
                    reserveds[pos] := reserveds[pos] - r.tokens;
                    spents[pos] := spents[pos] + r.used;
                ELSE
                    reserveds[pos] := reserveds[pos] - 1;
                    spents[pos] := spents[pos] + CASE r.source WHEN 'none' THEN 0 ELSE 1 END;
                END IF;
                changed[pos] := true;
                IF waitings[pos] THEN
                    waitings[pos] := false;
                    waiters := waiters || budget;
                END IF;
            END LOOP;
            settled := r.id;
            RETURN NEXT;
        END LOOP;
        settled := NULL;
    END IF;

    IF cardinality(p_asks) > 0 THEN
        attempts := array_fill(0, ARRAY[cardinality(p_asks)]);
        organizations := array_fill(NULL::uuid, ARRAY[cardinality(p_asks)]);
        FOR r IN
            SELECT o.run, o.token_hash AS hash, o.behind, o.positions, o.usd, o.tokens, o.ord,
                   x.id, x.organization_id, x.state, x.attempt, x.token_hash, x.require_token,
                   x.expires_at <= clock_timestamp() AS expired,
                   (SELECT g.lease_until > clock_timestamp() AND NOT g.dead
                      FROM gateways g WHERE g.id = p_gateway) AS alive
              FROM unnest(p_asks) WITH ORDINALITY AS o (
                       ask_id, run, token_hash, behind, positions, budget_ids, usd, tokens,
                       request_id, model, provider, endpoint, price_version, input_bound,
                       output_bound, ord)
              LEFT JOIN runs x ON x.id = o.run
             ORDER BY o.ord
        LOOP
            unit := NULL; limit_amount := NULL; spent := NULL; reserved := NULL;
            usd_limit := NULL; usd_spent := NULL; usd_reserved := NULL;
            state := r.state; attempt := r.attempt;
            IF r.alive IS NOT TRUE THEN
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
                FOREACH pos IN ARRAY r.positions LOOP
                    IF units[pos] = 'usd' THEN
                        usd_pos := pos; amount := r.usd;
                    ELSIF units[pos] = 'tokens' THEN
                        amount := r.tokens;
                    ELSE
                        amount := 1;
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
                    FOREACH pos IN ARRAY r.positions LOOP
                        reserveds[pos] := reserveds[pos] + CASE units[pos]
                            WHEN 'usd' THEN r.usd WHEN 'tokens' THEN r.tokens ELSE 1 END;
                        changed[pos] := true;
                    END LOOP;
                    attempts[r.ord] := r.attempt;
                    organizations[r.ord] := r.organization_id;
                ELSE
                    verdict := 'budget';
                    unit := units[refused]; limit_amount := limits[refused];
                    spent := spents[refused]; reserved := reserveds[refused];
                    blocked := blocked || r.id;
                    IF reserveds[refused] > 0 AND NOT waitings[refused] THEN
                        waitings[refused] := true; changed[refused] := true;
                    END IF;
                END IF;
                usd_limit := limits[usd_pos]; usd_spent := spents[usd_pos];
                usd_reserved := reserveds[usd_pos];
            END IF;
            RETURN NEXT;
        END LOOP;

        IF admitted THEN
            INSERT INTO reservations (
                organization_id, id, gateway_id, run_id, attempt, budget_ids, usd, tokens,
                request_id, model, provider, endpoint, price_version, input_bound, output_bound)
            SELECT organizations[a.ord], a.id, p_gateway, a.run, attempts[a.ord], a.budget_ids,
                   a.usd, a.tokens, a.request_id, a.model, a.provider, a.endpoint,
                   a.price_version, a.input_bound, a.output_bound
              FROM unnest(p_asks) WITH ORDINALITY AS a (
                       id, run, token_hash, behind, positions, budget_ids, usd, tokens,
                       request_id, model, provider, endpoint, price_version, input_bound,
                       output_bound, ord)
             WHERE attempts[a.ord] > 0;
        END IF;
    END IF;

    UPDATE budgets b
       SET spent = spents[n.ord], reserved = reserveds[n.ord], waiting = waitings[n.ord]
      FROM unnest(p_budgets) WITH ORDINALITY AS n (id, ord)
     WHERE b.id = n.id AND changed[n.ord];
    IF cardinality(waiters) > 0 THEN
        PERFORM pg_notify('rungate', 'budget:' || d.scope_id)
           FROM (SELECT DISTINCT b.scope_id FROM budgets b WHERE b.id = ANY (waiters)) d;
    END IF;
END
$$;

-- Expires reservations of gateways that are dead, at the worst case, at most p_limit of them.
-- Answers the ids that it moved. Death is final, so what is read here cannot come alive again.
CREATE OR REPLACE FUNCTION ledger_expire(p_limit integer) RETURNS SETOF uuid
LANGUAGE plpgsql AS $$
DECLARE
    ends ledger_end[]; all_budgets uuid[];
BEGIN
    WITH lost AS (
        SELECT v.id, v.budget_ids, v.usd, v.input_bound, v.output_bound FROM reservations v
         WHERE NOT EXISTS (SELECT 1 FROM gateways g WHERE g.id = v.gateway_id AND NOT g.dead)
         LIMIT p_limit
    )
    SELECT (SELECT array_agg(ROW (l.id, NULL, l.input_bound, 0, 0, l.output_bound, 0, l.usd,
                                  'worst_case', 'gateway_lost', NULL, NULL, NULL)::ledger_end)
              FROM lost l),
           (SELECT array_agg(DISTINCT x) FROM lost l CROSS JOIN LATERAL unnest(l.budget_ids) AS x)
      INTO ends, all_budgets;
    IF ends IS NOT NULL THEN
        RETURN QUERY SELECT s.settled FROM ledger_step(NULL, all_budgets, ends, '{}') s;
    END IF;
END
$$;
