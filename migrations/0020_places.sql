-- Budgets are written where they were found and locked, instead of being looked up a second time: in
-- tables of a million runs the way down an index whose pages are in no cache is most of what a
-- statement costs more than in small ones. Gateways see no difference.

-- Settles p_ends and then decides about p_asks in their order, in one round trip and one commit.
-- p_budgets: the distinct budgets of both, ascending; p_shared: whether any of them is not a run's;
-- p_keys: the distinct keys of the asks. Answers a row with `settled` for each reservation that was
-- moved into calls, then a verdict for each ask and the numbers that it rests on. A rule that
-- refuses is a verdict, never an exception. An ask on the budgets of another attempt than the run's
-- current one, or on another version of the organization or the key than the current one, is
-- 'outdated': its gateway has to look them up again. An ask on a window that is over or was never
-- opened is 'window', with the day that it is.
--
-- An organization needs no lock for that. Its version is read after the locks: an admission that
-- begins once a change is answered sees it.
--
-- Which window is the current one is decided behind the locks, and a reservation's time is that of
-- its decision, so a call is always within its windows.
--
-- Budgets are looked up once. Who holds a row locked knows where it is until the end of his
-- transaction, since nobody else can put a newer version of it anywhere: so it is written by its
-- place, its ctid, and a row that is not found there fails the batch.
--
-- What a settlement books is summed from the reservations that it deleted, never from its input: a
-- batch that is sent twice counts once. Whoever touches a reservation holds its budgets locked, so
-- reservations need no order of their own.
CREATE OR REPLACE FUNCTION ledger_step_v4(
    p_gateway uuid, p_budgets uuid[], p_shared boolean, p_keys uuid[], p_ends ledger_end[],
    p_asks ledger_ask_v4[]
) RETURNS TABLE (
    settled uuid, verdict text, state text, attempt integer,
    scope text, unit text, period text, limit_amount numeric, spent numeric, reserved numeric,
    latched boolean, usd_limit numeric, usd_spent numeric, usd_reserved numeric, today timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
    -- Of the budgets: as they stood, then as what is decided here leaves them.
    units text[]; limits numeric[]; spents numeric[]; reserveds numeric[]; waitings boolean[];
    changed boolean[];
    -- Where their rows are.
    places tid[];
    -- The attempt that a budget is for; 0 for all of them.
    own_attempts integer[];
    -- Null where all budgets are runs'.
    credits uuid[]; ids uuid[]; scopes text[]; periods text[]; starts timestamptz[]; latcheds boolean[];
    now_is timestamptz;
    this_day timestamptz;
    this_month timestamptz;
    -- Of the asks' runs, one for each ask.
    organizations uuid[]; states text[]; attempts integer[]; hashes bytea[];
    need_token boolean[]; expired boolean[];
    -- Of the organizations that pay, one for each ask.
    payer_versions bigint[];
    -- Of p_keys.
    key_organizations uuid[]; key_hashes bytea[]; key_good boolean[]; key_versions bigint[];
    account uuid;
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
    ask ledger_ask_v4;
    budget uuid;
    pos integer;
    usd_pos integer;
    refused integer;
    written integer;
BEGIN
    -- The locks come first. What they protect besides the budgets (state, token, expiry, key) is
    -- read by later statements, whose snapshots are newer than the locks. Ids never change, so the
    -- order of the locks is the order of the rows.
    IF p_shared THEN
        SELECT array_agg(b.id), array_agg(b.ctid), array_agg(b.unit::text),
               array_agg(b.limit_amount::numeric), array_agg(b.spent::numeric),
               array_agg(b.reserved::numeric), array_agg(b.waiting), array_agg(b.attempt),
               array_agg(b.scope::text), array_agg(b."window"::text),
               array_agg(b.window_start), array_agg(b.latched)
          INTO ids, places, units, limits, spents, reserveds, waitings, own_attempts, scopes,
               periods, starts, latcheds
          FROM (SELECT *, ctid FROM budgets WHERE id = ANY (p_budgets) ORDER BY id FOR UPDATE) b;
        IF cardinality(ids) IS DISTINCT FROM cardinality(p_budgets) THEN
            -- Windows that are not open leave gaps. What is read again here is locked already.
            SELECT array_agg(b.ctid ORDER BY n.ord), array_agg(b.unit::text ORDER BY n.ord),
                   array_agg(b.limit_amount::numeric ORDER BY n.ord),
                   array_agg(b.spent::numeric ORDER BY n.ord),
                   array_agg(b.reserved::numeric ORDER BY n.ord),
                   array_agg(b.waiting ORDER BY n.ord), array_agg(b.attempt ORDER BY n.ord),
                   array_agg(b.scope::text ORDER BY n.ord),
                   array_agg(b."window"::text ORDER BY n.ord),
                   array_agg(b.window_start ORDER BY n.ord), array_agg(b.latched ORDER BY n.ord)
              INTO places, units, limits, spents, reserveds, waitings, own_attempts, scopes,
                   periods, starts, latcheds
              FROM unnest(p_budgets) WITH ORDINALITY AS n (id, ord)
              LEFT JOIN budgets b ON b.id = n.id AND b.id = ANY (ids);
        END IF;
        IF 'credits' = ANY (scopes) THEN
            credits := ARRAY(SELECT n.id FROM unnest(p_budgets, scopes) AS n (id, scope)
                              WHERE n.scope = 'credits');
        END IF;
        now_is := ledger_now();
        this_day := date_trunc('day', now_is, 'UTC');
        this_month := date_trunc('month', now_is, 'UTC');
    ELSIF cardinality(p_budgets) = 1 THEN
        SELECT ARRAY[b.ctid], ARRAY[b.unit::text], ARRAY[b.limit_amount::numeric],
               ARRAY[b.spent::numeric], ARRAY[b.reserved::numeric], ARRAY[b.waiting],
               ARRAY[b.attempt]
          INTO places, units, limits, spents, reserveds, waitings, own_attempts
          FROM budgets b WHERE b.id = p_budgets[1] FOR UPDATE;
    ELSE
        SELECT array_agg(b.ctid), array_agg(b.unit::text), array_agg(b.limit_amount::numeric),
               array_agg(b.spent::numeric), array_agg(b.reserved::numeric), array_agg(b.waiting),
               array_agg(b.attempt)
          INTO places, units, limits, spents, reserveds, waitings, own_attempts
          FROM (SELECT *, ctid FROM budgets WHERE id = ANY (p_budgets) ORDER BY id FOR UPDATE) b;
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
                    organization_id, id, gateway_id, run_id, key_id, attempt, budget_ids,
                    request_id, model, requested_model, served_model, provider, endpoint,
                    uncached_input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                    reasoning_tokens, cost_usd, cost_source, flag, price_version, status,
                    latency_ms, ttfb_ms, created_at, prepaid)
                SELECT g.organization_id, g.id, g.gateway_id, g.run_id, g.key_id, g.attempt,
                       g.budget_ids, g.request_id, g.model, g.requested_model, g.served_model,
                       g.provider, g.endpoint, g.uncached, g.cached, g.cache_write, g.output,
                       g.reasoning, g.cost, g.source, g.flag, g.price_version, g.status,
                       g.latency_ms, g.ttfb_ms, g.created_at,
                       coalesce(g.budget_ids && credits, false)
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
                      v.organization_id, v.gateway_id, v.run_id, v.key_id, v.attempt,
                      v.request_id, v.model, v.requested_model, v.provider, v.endpoint,
                      v.price_version, v.created_at
                 INTO gone;
            EXIT WHEN NOT FOUND;
            INSERT INTO calls (
                organization_id, id, gateway_id, run_id, key_id, attempt, budget_ids, request_id,
                model, requested_model, served_model, provider, endpoint, uncached_input_tokens,
                cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
                cost_source, flag, price_version, status, latency_ms, ttfb_ms, created_at, prepaid)
            VALUES (gone.organization_id, gone.id, gone.gateway_id, gone.run_id, gone.key_id,
                    gone.attempt, gone.budget_ids, gone.request_id, gone.model,
                    gone.requested_model, ended.served_model, gone.provider, gone.endpoint,
                    ended.uncached, ended.cached, ended.cache_write, ended.output,
                    ended.reasoning, ended.cost, ended.source, ended.flag, gone.price_version,
                    ended.status, ended.latency_ms, ended.ttfb_ms, gone.created_at,
                    coalesce(gone.budget_ids && credits, false));
        END IF;
        FOREACH budget IN ARRAY gone.budget_ids LOOP
            pos := array_position(p_budgets, budget);
            IF pos IS NULL OR units[pos] IS NULL THEN
                RAISE EXCEPTION 'a settled reservation has a budget that is not locked';
            END IF;
            reserveds[pos] := reserveds[pos] - CASE units[pos]
                WHEN 'usd' THEN gone.usd WHEN 'tokens' THEN gone.tokens ELSE 1 END;
            spents[pos] := spents[pos] + CASE units[pos]
                WHEN 'usd' THEN gone.cost WHEN 'tokens' THEN gone.used ELSE gone.calls END;
            changed[pos] := true;
            IF scopes[pos] = 'organization' AND spents[pos] >= limits[pos] THEN
                latcheds[pos] := true;
            END IF;
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

    IF cardinality(p_keys) > 0 THEN
        SELECT array_agg(k.organization_id ORDER BY n.ord), array_agg(k.secret_hash ORDER BY n.ord),
               array_agg(k.status = 'active'
                         AND coalesce(k.expires_at > clock_timestamp(), true) ORDER BY n.ord),
               array_agg(k.version ORDER BY n.ord)
          INTO key_organizations, key_hashes, key_good, key_versions
          FROM unnest(p_keys) WITH ORDINALITY AS n (id, ord)
          LEFT JOIN inference_keys k ON k.id = n.id;
    END IF;
    IF cardinality(p_asks) = 1 THEN
        ask := p_asks[1];
        SELECT ARRAY[x.organization_id], ARRAY[x.state], ARRAY[x.attempt],
               ARRAY[x.token_hash], ARRAY[x.require_token],
               ARRAY[x.expires_at <= clock_timestamp()], ARRAY[o.version],
               g.lease_until > clock_timestamp() AND NOT g.dead
          INTO organizations, states, attempts, hashes, need_token, expired, payer_versions, alive
          FROM gateways g LEFT JOIN runs x ON x.id = ask.run
          LEFT JOIN organizations o
            ON o.id = coalesce(x.organization_id, key_organizations[ask.key_at])
         WHERE g.id = p_gateway;
    ELSIF cardinality(p_asks) > 1 THEN
        SELECT array_agg(s.organization_id), array_agg(s.state),
               array_agg(s.attempt), array_agg(s.token_hash), array_agg(s.require_token),
               array_agg(s.expired), array_agg(s.payer_version),
               (SELECT g.lease_until > clock_timestamp() AND NOT g.dead
                  FROM gateways g WHERE g.id = p_gateway)
          INTO organizations, states, attempts, hashes, need_token, expired, payer_versions, alive
          FROM (SELECT x.*, x.expires_at <= clock_timestamp() AS expired,
                       o.version AS payer_version
                  FROM unnest(p_asks) WITH ORDINALITY AS a (
                           ask_id, run, token_hash, key_at, key_hash, of_payer, of_key, behind,
                           positions, budget_ids, usd, tokens, request_id, model,
                           requested_model, provider, endpoint, price_version, input_bound,
                           output_bound, ord)
                  LEFT JOIN runs x ON x.id = a.run
                  LEFT JOIN organizations o
                    ON o.id = coalesce(x.organization_id, key_organizations[a.key_at])
                 ORDER BY a.ord) s;
    END IF;
    FOREACH ask IN ARRAY p_asks LOOP
        nth := nth + 1;
        IF nth > 1 THEN
            scope := NULL; unit := NULL; period := NULL; limit_amount := NULL; spent := NULL;
            reserved := NULL; latched := NULL; today := NULL;
            usd_limit := NULL; usd_spent := NULL; usd_reserved := NULL;
        END IF;
        state := states[nth]; attempt := attempts[nth];
        verdict := CASE
            WHEN alive IS NOT TRUE THEN 'lapsed'
            WHEN ask.key_at IS NOT NULL AND (key_good[ask.key_at] IS NOT TRUE
                OR key_hashes[ask.key_at] <> ask.key_hash) THEN 'invalid_key'
            WHEN ask.run IS NULL AND ask.key_at IS NOT NULL THEN NULL
            WHEN state IS NULL OR key_organizations[ask.key_at] <> organizations[nth]
                THEN 'run_not_found'
            WHEN ask.token_hash IS NULL AND need_token[nth] OR ask.token_hash <> hashes[nth]
                THEN 'invalid_key'
            WHEN state IN ('scoring', 'finished', 'failed', 'cancelled') THEN 'run_closed'
            WHEN expired[nth] THEN 'run_expired'
            WHEN state <> 'running' THEN 'run_not_active'
        END;
        IF verdict IS NULL THEN
            account := coalesce(ask.run, p_keys[ask.key_at]);
            refused := NULL; usd_pos := NULL;
            IF payer_versions[nth] <> ask.payer_version
                OR key_versions[ask.key_at] <> ask.key_version THEN
                verdict := 'outdated';
            END IF;
            FOREACH pos IN ARRAY ask.positions LOOP
                EXIT WHEN verdict IS NOT NULL;
                IF own_attempts[pos] <> 0 AND own_attempts[pos] <> attempt THEN
                    verdict := 'outdated';
                    EXIT;
                END IF;
                IF p_shared AND (units[pos] IS NULL
                    OR (periods[pos] = 'month' AND starts[pos] <> this_month)
                    OR (periods[pos] = 'day' AND starts[pos] <> this_day)) THEN
                    verdict := 'window'; today := this_day;
                    EXIT;
                END IF;
                IF units[pos] = 'usd' THEN
                    usd_pos := pos;
                END IF;
                IF refused IS NULL AND (limits[pos] < spents[pos] + reserveds[pos]
                    + (CASE units[pos] WHEN 'usd' THEN ask.usd
                        WHEN 'tokens' THEN ask.tokens ELSE 1 END) OR latcheds[pos]) THEN
                    refused := pos;
                END IF;
            END LOOP;
            IF verdict IS NOT NULL THEN
                usd_pos := NULL;
            ELSIF ask.behind OR account = ANY (blocked) THEN
                verdict := 'behind';
            ELSIF refused IS NULL THEN
                verdict := 'admitted';
                FOREACH pos IN ARRAY ask.positions LOOP
                    reserveds[pos] := reserveds[pos] + CASE units[pos]
                        WHEN 'usd' THEN ask.usd WHEN 'tokens' THEN ask.tokens ELSE 1 END;
                    changed[pos] := true;
                END LOOP;
                attempt := coalesce(attempt, 1);
                IF cardinality(p_asks) > 1 THEN
                    admitted[nth] := true;
                ELSE
                    INSERT INTO reservations (
                        organization_id, id, gateway_id, run_id, key_id, attempt, budget_ids, usd,
                        tokens, request_id, model, requested_model, provider, endpoint,
                        price_version, input_bound, output_bound, created_at)
                    VALUES (coalesce(organizations[1], key_organizations[ask.key_at]), ask.id,
                            p_gateway, ask.run, p_keys[ask.key_at], attempt, ask.budget_ids,
                            ask.usd, ask.tokens, ask.request_id, ask.model, ask.requested_model,
                            ask.provider, ask.endpoint, ask.price_version, ask.input_bound,
                            ask.output_bound, coalesce(now_is, clock_timestamp()));
                END IF;
            ELSE
                verdict := 'budget';
                scope := scopes[refused]; unit := units[refused]; period := periods[refused];
                limit_amount := limits[refused]; spent := spents[refused];
                reserved := reserveds[refused]; latched := latcheds[refused];
                blocked := blocked || account;
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
            organization_id, id, gateway_id, run_id, key_id, attempt, budget_ids, usd, tokens,
            request_id, model, requested_model, provider, endpoint, price_version, input_bound,
            output_bound, created_at)
        SELECT coalesce(organizations[a.ord], key_organizations[a.key_at]), a.id, p_gateway, a.run,
               p_keys[a.key_at], coalesce(attempts[a.ord], 1), a.budget_ids, a.usd, a.tokens,
               a.request_id, a.model, a.requested_model, a.provider, a.endpoint, a.price_version,
               a.input_bound, a.output_bound, coalesce(now_is, clock_timestamp())
          FROM unnest(p_asks) WITH ORDINALITY AS a (
                   id, run, token_hash, key_at, key_hash, of_payer, of_key, behind, positions,
                   budget_ids, usd, tokens, request_id, model, requested_model, provider, endpoint,
                   price_version, input_bound, output_bound, ord)
         WHERE admitted[a.ord];
    END IF;

    IF p_shared THEN
        UPDATE budgets b
           SET spent = spents[n.ord], reserved = reserveds[n.ord], waiting = waitings[n.ord],
               latched = latcheds[n.ord]
          FROM unnest(places) WITH ORDINALITY AS n (place, ord)
         WHERE b.ctid = n.place AND changed[n.ord];
    ELSIF cardinality(p_budgets) = 1 THEN
        UPDATE budgets b SET spent = spents[1], reserved = reserveds[1], waiting = waitings[1]
         WHERE b.ctid = places[1] AND changed[1];
    ELSE
        UPDATE budgets b
           SET spent = spents[n.ord], reserved = reserveds[n.ord], waiting = waitings[n.ord]
          FROM unnest(places) WITH ORDINALITY AS n (place, ord)
         WHERE b.ctid = n.place AND changed[n.ord];
    END IF;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written IS DISTINCT FROM coalesce(cardinality(array_positions(changed, true)), 0) THEN
        RAISE EXCEPTION 'a locked budget is not where it was';
    END IF;
    IF waiters IS NOT NULL THEN
        PERFORM pg_notify('rungate', 'budget:' || d.scope_id)
           FROM (SELECT DISTINCT b.scope_id FROM budgets b WHERE b.id = ANY (waiters)) d;
    END IF;
END
$$;
