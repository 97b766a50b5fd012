-- What an orchestrator decides about the calls of its run: other names of models, parameters that
-- are forced, the one provider, and a budget for each attempt.
--
-- The ledger learns two things. A reservation and its call keep the name that the client asked for,
-- and a budget may be for one attempt of its run. Both come with the ask, which is a composite type
-- that gateways of the release before this one send as it was: so there is a new type and a new
-- function, and ledger_step calls it for those that still run.

ALTER TABLE runs
    ADD COLUMN model_aliases jsonb,
    ADD COLUMN forced_parameters jsonb,
    ADD COLUMN provider text,
    ADD COLUMN attempt_budget text NOT NULL DEFAULT 'shared'
        CHECK (attempt_budget IN ('shared', 'per_attempt'));
COMMENT ON COLUMN runs.model_aliases IS 'names that clients use, and the models they stand for';
COMMENT ON COLUMN runs.forced_parameters IS 'parameters of every request, whatever the client says';
COMMENT ON COLUMN runs.provider IS 'the one provider that serves the run; null: any';
COMMENT ON COLUMN runs.attempt_budget IS 'whether attempts share the budgets of the run';

ALTER TABLE budgets ADD COLUMN attempt integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN budgets.attempt IS 'the attempt of the run that may spend it; 0: all of them';
ALTER TABLE budgets
    DROP CONSTRAINT budgets_scope_id_scope_unit_window_window_start_key,
    ADD CONSTRAINT budgets_of_a_scope
        UNIQUE (scope_id, scope, unit, "window", window_start, attempt);

ALTER TABLE reservations ADD COLUMN requested_model text;
ALTER TABLE calls ADD COLUMN requested_model text;
COMMENT ON COLUMN reservations.requested_model IS 'what the client called the model, if not model';
COMMENT ON COLUMN calls.requested_model IS 'what the client called the model, if not model';

-- One call that wants in: as ledger_ask, and the name that the client asked for, if it is another
-- one than the model's.
CREATE TYPE ledger_ask_v2 AS (
    id uuid, run uuid, token_hash bytea, behind boolean, positions integer[], budget_ids uuid[],
    usd numeric, tokens bigint, request_id text, model text, provider text, endpoint text,
    price_version text, input_bound bigint, output_bound bigint, requested_model text
);

-- Settles p_ends and then decides about p_asks in their order, in one round trip and one commit.
-- p_budgets: the distinct budgets of both, ascending. Answers a row with `settled` for each
-- reservation that was moved into calls, then a verdict for each ask and the numbers that it rests
-- on. A rule that refuses is a verdict, never an exception. An ask on the budgets of another
-- attempt than the run's current one is 'outdated': its gateway has to look the run up again.
--
-- What a settlement books is summed from the reservations that it deleted, never from its input: a
-- batch that is sent twice counts once. Whoever touches a reservation holds its budgets locked, so
-- reservations need no order of their own.
CREATE FUNCTION ledger_step_v2(
    p_gateway uuid, p_budgets uuid[], p_ends ledger_end[], p_asks ledger_ask_v2[]
) RETURNS TABLE (
    settled uuid, verdict text, state text, attempt integer,
    unit text, limit_amount numeric, spent numeric, reserved numeric,
    usd_limit numeric, usd_spent numeric, usd_reserved numeric
) LANGUAGE plpgsql AS $$
DECLARE
    -- Of the budgets: as they stood, then as what is decided here leaves them.
    units text[]; limits numeric[]; spents numeric[]; reserveds numeric[]; waitings boolean[];
    changed boolean[];
    -- The attempt that a budget is for; 0 for all of them.
    own_attempts integer[];
    -- Of the asks' runs, one for each ask.
    organizations uuid[]; states text[]; attempts integer[]; hashes bytea[];
    need_token boolean[]; expired boolean[];
    alive boolean;
    admitted boolean[];
    blocked uuid[];
    waiters uuid[];
    several boolean;
    -- Left open: it ends with the transaction.
    ends refcursor;
    nth integer := 0;
    ended ledger_end;
    gone record;
    ask ledger_ask_v2;
    budget uuid;
    pos integer;
    usd_pos integer;
    refused integer;
BEGIN
    -- The locks come first. What they protect besides the budgets (state, token, expiry) is read
    -- by later statements, whose snapshots are newer than the locks. Ids never change, so the
    -- order of the locks is the order of the rows.
    IF cardinality(p_budgets) = 1 THEN
        SELECT ARRAY[b.unit::text], ARRAY[b.limit_amount::numeric], ARRAY[b.spent::numeric],
               ARRAY[b.reserved::numeric], ARRAY[b.waiting], ARRAY[b.attempt]
          INTO units, limits, spents, reserveds, waitings, own_attempts
          FROM budgets b WHERE b.id = p_budgets[1] FOR UPDATE;
    ELSE
        SELECT array_agg(b.unit::text), array_agg(b.limit_amount::numeric),
               array_agg(b.spent::numeric), array_agg(b.reserved::numeric), array_agg(b.waiting),
               array_agg(b.attempt)
          INTO units, limits, spents, reserveds, waitings, own_attempts
          FROM (SELECT * FROM budgets WHERE id = ANY (p_budgets) ORDER BY id FOR UPDATE) b;
    END IF;
    IF cardinality(units) IS DISTINCT FROM cardinality(p_budgets) THEN
        RAISE EXCEPTION 'a budget of the batch does not exist';
    END IF;

    several := cardinality(p_ends) > 1;
    IF several THEN
        OPEN ends FOR
            WITH gone AS (
                DELETE FROM reservations v USING unnest(p_ends) AS e WHERE v.id = e.id
                RETURNING v.*, e.served_model, e.uncached, e.cached, e.cache_write, e.output,
                          e.reasoning, e.cost, e.source, e.flag, e.status, e.latency_ms, e.ttfb_ms
            ), moved AS (
                INSERT INTO calls (
                    organization_id, id, gateway_id, run_id, attempt, budget_ids, request_id,
                    model, requested_model, served_model, provider, endpoint, uncached_input_tokens,
                    cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
                    cost_usd, cost_source, flag, price_version, status, latency_ms, ttfb_ms,
                    created_at)
                SELECT g.organization_id, g.id, g.gateway_id, g.run_id, g.attempt, g.budget_ids,
                       g.request_id, g.model, g.requested_model, g.served_model, g.provider,
                       g.endpoint, g.uncached, g.cached, g.cache_write, g.output, g.reasoning,
                       g.cost, g.source, g.flag, g.price_version, g.status, g.latency_ms,
                       g.ttfb_ms, g.created_at
                  FROM gone g
            )
            SELECT g.id, g.budget_ids, g.usd::numeric, g.tokens::bigint, g.cost,
                   g.uncached + g.cached + g.cache_write + g.output AS used,
                   CASE g.source WHEN 'none' THEN 0 ELSE 1 END AS calls
              FROM gone g;
    END IF;
    WHILE cardinality(p_ends) > 0 LOOP
        IF several THEN
            FETCH ends INTO gone;
            EXIT WHEN NOT FOUND;
        ELSE
            ended := p_ends[1];
            DELETE FROM reservations v WHERE v.id = ended.id
            RETURNING v.id, v.budget_ids, v.usd::numeric, v.tokens::bigint, ended.cost AS cost,
                      ended.uncached + ended.cached + ended.cache_write + ended.output AS used,
                      CASE ended.source WHEN 'none' THEN 0 ELSE 1 END AS calls,
                      v.organization_id, v.gateway_id, v.run_id, v.attempt, v.request_id, v.model,
                      v.requested_model, v.provider, v.endpoint, v.price_version, v.created_at
                 INTO gone;
            EXIT WHEN NOT FOUND;
            INSERT INTO calls (
                organization_id, id, gateway_id, run_id, attempt, budget_ids, request_id, model,
                requested_model, served_model, provider, endpoint, uncached_input_tokens,
                cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
                cost_source, flag, price_version, status, latency_ms, ttfb_ms, created_at)
            VALUES (gone.organization_id, gone.id, gone.gateway_id, gone.run_id, gone.attempt,
                    gone.budget_ids, gone.request_id, gone.model, gone.requested_model,
                    ended.served_model, gone.provider, gone.endpoint, ended.uncached, ended.cached,
                    ended.cache_write, ended.output, ended.reasoning, ended.cost, ended.source,
                    ended.flag, gone.price_version, ended.status, ended.latency_ms,
                    ended.ttfb_ms, gone.created_at);
        END IF;
        FOREACH budget IN ARRAY gone.budget_ids LOOP
            pos := array_position(p_budgets, budget);
            IF pos IS NULL THEN
                RAISE EXCEPTION 'a settled reservation has a budget that is not locked';
            END IF;
            reserveds[pos] := reserveds[pos] - CASE units[pos]
                WHEN 'usd' THEN gone.usd WHEN 'tokens' THEN gone.tokens ELSE 1 END;
            spents[pos] := spents[pos] + CASE units[pos]
                WHEN 'usd' THEN gone.cost WHEN 'tokens' THEN gone.used ELSE gone.calls END;
            changed[pos] := true;
            IF waitings[pos] THEN
                waitings[pos] := false;
                waiters := waiters || budget;
            END IF;
        END LOOP;
        settled := gone.id;
        RETURN NEXT;
        EXIT WHEN NOT several;
    END LOOP;
    settled := NULL;

    IF cardinality(p_asks) = 1 THEN
        ask := p_asks[1];
        SELECT ARRAY[x.organization_id], ARRAY[x.state], ARRAY[x.attempt],
               ARRAY[x.token_hash], ARRAY[x.require_token],
               ARRAY[x.expires_at <= clock_timestamp()],
               g.lease_until > clock_timestamp() AND NOT g.dead
          INTO organizations, states, attempts, hashes, need_token, expired, alive
          FROM gateways g LEFT JOIN runs x ON x.id = ask.run WHERE g.id = p_gateway;
    ELSIF cardinality(p_asks) > 1 THEN
        SELECT array_agg(s.organization_id), array_agg(s.state),
               array_agg(s.attempt), array_agg(s.token_hash), array_agg(s.require_token),
               array_agg(s.expired),
               (SELECT g.lease_until > clock_timestamp() AND NOT g.dead
                  FROM gateways g WHERE g.id = p_gateway)
          INTO organizations, states, attempts, hashes, need_token, expired, alive
          FROM (SELECT x.*, x.expires_at <= clock_timestamp() AS expired
                  FROM unnest(p_asks) WITH ORDINALITY AS o (
                           ask_id, run, token_hash, behind, positions, budget_ids, usd, tokens,
                           request_id, model, provider, endpoint, price_version, input_bound,
                           output_bound, requested_model, ord)
                  LEFT JOIN runs x ON x.id = o.run
                 ORDER BY o.ord) s;
    END IF;
    FOREACH ask IN ARRAY p_asks LOOP
        nth := nth + 1;
        IF nth > 1 THEN
            unit := NULL; limit_amount := NULL; spent := NULL; reserved := NULL;
            usd_limit := NULL; usd_spent := NULL; usd_reserved := NULL;
        END IF;
        state := states[nth]; attempt := attempts[nth];
        verdict := CASE
            WHEN alive IS NOT TRUE THEN 'lapsed'
            WHEN state IS NULL THEN 'run_not_found'
            WHEN ask.token_hash IS NULL AND need_token[nth] OR ask.token_hash <> hashes[nth]
                THEN 'invalid_key'
            WHEN state IN ('scoring', 'finished', 'failed', 'cancelled') THEN 'run_closed'
            WHEN expired[nth] THEN 'run_expired'
            WHEN state <> 'running' THEN 'run_not_active'
        END;
        IF verdict IS NULL THEN
            refused := NULL; usd_pos := NULL;
            FOREACH pos IN ARRAY ask.positions LOOP
                IF own_attempts[pos] <> 0 AND own_attempts[pos] <> attempt THEN
                    verdict := 'outdated';
                    EXIT;
                END IF;
                IF units[pos] = 'usd' THEN
                    usd_pos := pos;
                END IF;
                IF refused IS NULL AND limits[pos] < spents[pos] + reserveds[pos]
                    + (CASE units[pos] WHEN 'usd' THEN ask.usd
                        WHEN 'tokens' THEN ask.tokens ELSE 1 END) THEN
                    refused := pos;
                END IF;
            END LOOP;
            IF verdict IS NOT NULL THEN
                usd_pos := NULL;
            ELSIF ask.behind OR ask.run = ANY (blocked) THEN
                verdict := 'behind';
            ELSIF refused IS NULL THEN
                verdict := 'admitted';
                FOREACH pos IN ARRAY ask.positions LOOP
                    reserveds[pos] := reserveds[pos] + CASE units[pos]
                        WHEN 'usd' THEN ask.usd WHEN 'tokens' THEN ask.tokens ELSE 1 END;
                    changed[pos] := true;
                END LOOP;
                IF cardinality(p_asks) > 1 THEN
                    admitted[nth] := true;
                ELSE
                    INSERT INTO reservations (
                        organization_id, id, gateway_id, run_id, attempt, budget_ids, usd, tokens,
                        request_id, model, requested_model, provider, endpoint, price_version,
                        input_bound, output_bound)
                    VALUES (organizations[1], ask.id, p_gateway, ask.run, attempt,
                            ask.budget_ids, ask.usd, ask.tokens, ask.request_id, ask.model,
                            ask.requested_model, ask.provider, ask.endpoint, ask.price_version,
                            ask.input_bound, ask.output_bound);
                END IF;
            ELSE
                verdict := 'budget';
                unit := units[refused]; limit_amount := limits[refused];
                spent := spents[refused]; reserved := reserveds[refused];
                blocked := blocked || ask.run;
                IF reserveds[refused] > 0 AND NOT waitings[refused] THEN
                    waitings[refused] := true; changed[refused] := true;
                END IF;
            END IF;
            usd_limit := limits[usd_pos]; usd_spent := spents[usd_pos];
            usd_reserved := reserveds[usd_pos];
        END IF;
        RETURN NEXT;
    END LOOP;

    IF admitted IS NOT NULL THEN
        INSERT INTO reservations (
            organization_id, id, gateway_id, run_id, attempt, budget_ids, usd, tokens,
            request_id, model, requested_model, provider, endpoint, price_version, input_bound,
            output_bound)
        SELECT organizations[a.ord], a.id, p_gateway, a.run, attempts[a.ord], a.budget_ids,
               a.usd, a.tokens, a.request_id, a.model, a.requested_model, a.provider, a.endpoint,
               a.price_version, a.input_bound, a.output_bound
          FROM unnest(p_asks) WITH ORDINALITY AS a (
                   id, run, token_hash, behind, positions, budget_ids, usd, tokens,
                   request_id, model, provider, endpoint, price_version, input_bound,
                   output_bound, requested_model, ord)
         WHERE admitted[a.ord];
    END IF;

    IF cardinality(p_budgets) = 1 THEN
        UPDATE budgets b SET spent = spents[1], reserved = reserveds[1], waiting = waitings[1]
         WHERE b.id = p_budgets[1] AND changed[1];
    ELSE
        UPDATE budgets b
           SET spent = spents[n.ord], reserved = reserveds[n.ord], waiting = waitings[n.ord]
          FROM unnest(p_budgets) WITH ORDINALITY AS n (id, ord)
         WHERE b.id = n.id AND changed[n.ord];
    END IF;
    IF waiters IS NOT NULL THEN
        PERFORM pg_notify('rungate', 'budget:' || d.scope_id)
           FROM (SELECT DISTINCT b.scope_id FROM budgets b WHERE b.id = ANY (waiters)) d;
    END IF;
END
$$;

-- For gateways of the release before this one, which send no requested_model.
CREATE OR REPLACE FUNCTION ledger_step(
    p_gateway uuid, p_budgets uuid[], p_ends ledger_end[], p_asks ledger_ask[]
) RETURNS TABLE (
    settled uuid, verdict text, state text, attempt integer,
    unit text, limit_amount numeric, spent numeric, reserved numeric,
    usd_limit numeric, usd_spent numeric, usd_reserved numeric
) LANGUAGE sql AS $$
    SELECT s.* FROM ledger_step_v2(p_gateway, p_budgets, p_ends, coalesce(
        (SELECT array_agg(ROW (a.id, a.run, a.token_hash, a.behind, a.positions, a.budget_ids,
                               a.usd, a.tokens, a.request_id, a.model, a.provider, a.endpoint,
                               a.price_version, a.input_bound, a.output_bound,
                               NULL)::ledger_ask_v2 ORDER BY a.ord)
           FROM unnest(p_asks) WITH ORDINALITY AS a (
                    id, run, token_hash, behind, positions, budget_ids, usd, tokens, request_id,
                    model, provider, endpoint, price_version, input_bound, output_bound, ord)),
        '{}')) s
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
        RETURN QUERY SELECT s.settled FROM ledger_step_v2(NULL, all_budgets, ends, '{}') s;
    END IF;
END
$$;
