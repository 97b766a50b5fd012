-- Organizations with keys, budgets, credits, members and configurations of providers.
--
-- A call may fall under budgets of several scopes: its run's, its key's, its organization's and the
-- prepaid credits. Every window of a day or a month is a row of its own. The row that begins at
-- '-infinity' is the window's template: it has the limit, is never spent from, and later windows
-- are opened from it (ledger_open_window).

CREATE TABLE organization_settings (
    organization_id uuid PRIMARY KEY REFERENCES organizations (id),
    eu_only boolean NOT NULL DEFAULT false,
    service_tier text NOT NULL DEFAULT 'default',
    default_cost_limit_usd numeric CHECK (default_cost_limit_usd >= 0),
    default_token_limit bigint CHECK (default_token_limit >= 0),
    default_call_limit integer CHECK (default_call_limit >= 0),
    default_max_concurrency integer CHECK (default_max_concurrency >= 1),
    default_requests_per_minute integer CHECK (default_requests_per_minute >= 1),
    default_max_output_tokens_per_call bigint CHECK (default_max_output_tokens_per_call >= 1),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE organization_settings IS 'absent until somebody configures the organization';
COMMENT ON COLUMN organization_settings.default_cost_limit_usd IS 'US dollars: the cap of a run';

ALTER TABLE organizations ADD COLUMN version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN organizations.version IS 'how often its settings or budgets were changed';

CREATE TABLE organization_members (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    user_name text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'viewer')),
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, user_name)
);
COMMENT ON COLUMN organization_members.password_hash IS 'argon2id, as a PHC string';

CREATE TABLE inference_keys (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    id uuid NOT NULL,
    name text NOT NULL,
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    prefix text NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'revoked')),
    rate_limit_rpm integer CHECK (rate_limit_rpm >= 1),
    max_concurrency integer CHECK (max_concurrency >= 1),
    allowed_models text[],
    allowed_endpoints text[],
    expires_at timestamptz,
    require_run boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    rotated_at timestamptz,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT inference_keys_id_is_taken UNIQUE (id)
);
CREATE UNIQUE INDEX inference_keys_by_secret ON inference_keys (secret_hash);
COMMENT ON COLUMN inference_keys.secret_hash IS 'SHA-256 of the secret, which is not kept';
COMMENT ON COLUMN inference_keys.version IS 'how often the key was changed';

CREATE TABLE orchestrator_keys (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    id uuid NOT NULL,
    name text NOT NULL,
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    prefix text NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX orchestrator_keys_by_secret ON orchestrator_keys (secret_hash);
COMMENT ON COLUMN orchestrator_keys.secret_hash IS 'SHA-256 of the secret, which is not kept';

-- What was put into an organization's prepaid budget, whose limit is their sum. What was taken out
-- of it are its calls.
CREATE TABLE credit_transactions (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('grant', 'top_up')),
    amount_usd numeric NOT NULL CHECK (amount_usd > 0),
    note text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, id)
);
COMMENT ON COLUMN credit_transactions.amount_usd IS 'US dollars, exact';

CREATE TABLE provider_configurations (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    provider text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    base_url text,
    eu_endpoint boolean NOT NULL DEFAULT false,
    key_id text,
    key_ciphertext bytea,
    version bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, provider)
);
COMMENT ON COLUMN provider_configurations.eu_endpoint IS 'the owner attests an endpoint in the EU';
COMMENT ON COLUMN provider_configurations.key_id IS 'which encryption key made the ciphertext';

ALTER DOMAIN budget_scope DROP CONSTRAINT budget_scope_check;
ALTER DOMAIN budget_scope ADD CONSTRAINT budget_scope_check
    CHECK (VALUE IN ('run', 'key', 'organization', 'credits'));
ALTER TABLE budgets ADD COLUMN latched boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN budgets.latched
    IS 'the limit of an organization was reached: nothing is admitted until somebody resets it';

-- A call belongs to its run, to the key it was made with, or to both.
ALTER TABLE reservations ALTER COLUMN run_id DROP NOT NULL, ADD COLUMN key_id uuid;
ALTER TABLE calls ALTER COLUMN run_id DROP NOT NULL, ADD COLUMN key_id uuid;
CREATE INDEX calls_by_key ON calls (key_id, id) WHERE key_id IS NOT NULL;
COMMENT ON COLUMN calls.run_id IS 'null for a call that was made with a key and no run';
COMMENT ON COLUMN calls.key_id IS 'the inference key it was made with, if any';

-- The time that windows go by. Tests replace it.
CREATE FUNCTION ledger_now() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT clock_timestamp()';

-- The row of a budget's window: the first half of the SHA-256 of the template's id and the first
-- day. So whoever opens a window makes the same row.
CREATE FUNCTION ledger_window_id(p_template uuid, p_start timestamptz) RETURNS uuid
LANGUAGE sql STABLE AS $$
    SELECT encode(substr(sha256(convert_to(
        p_template || '/' || to_char(p_start AT TIME ZONE 'UTC', 'YYYY-MM-DD'), 'UTF8'
    )), 1, 16), 'hex')::uuid
$$;

-- Opens the current window of a template, if it is not open yet. Answers its row, and the day in
-- UTC.
--
-- Whoever changes a limit locks the template first, so a window is opened before the change or
-- after it, never beside it. An open circuit stays open over the turn: what is settled on the old
-- window from here on does not matter to the new one.
CREATE FUNCTION ledger_open_window(p_template uuid, OUT row_id uuid, OUT today timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    template budgets%ROWTYPE;
    now_is timestamptz;
    begins timestamptz;
    was_latched boolean;
BEGIN
    SELECT b.* INTO template FROM budgets b WHERE b.id = p_template FOR SHARE;
    now_is := ledger_now();
    row_id := p_template;
    today := date_trunc('day', now_is, 'UTC');
    IF template."window" <> 'lifetime' THEN
        begins := date_trunc(template."window", now_is, 'UTC');
        IF template.scope = 'organization' THEN
            SELECT b.latched INTO was_latched FROM budgets b
             WHERE b.scope_id = template.scope_id AND b.scope = template.scope
               AND b.unit = template.unit AND b."window" = template."window"
               AND b.window_start > '-infinity' AND b.window_start < begins
             ORDER BY b.window_start DESC LIMIT 1 FOR SHARE;
        END IF;
        row_id := ledger_window_id(p_template, begins);
        INSERT INTO budgets (organization_id, id, scope, scope_id, unit, "window", window_start,
                             limit_amount, latched)
        VALUES (template.organization_id, row_id, template.scope,
                template.scope_id, template.unit, template."window", begins,
                template.limit_amount, coalesce(was_latched, template.latched))
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;

-- One call that wants in: as ledger_ask_v2, but the run may be absent, and a key may be named by
-- its position among the batch's.
CREATE TYPE ledger_ask_v3 AS (
    id uuid, run uuid, token_hash bytea, key_at integer, key_hash bytea, behind boolean,
    positions integer[], budget_ids uuid[], usd numeric, tokens bigint, request_id text,
    model text, requested_model text, provider text, endpoint text, price_version text,
    input_bound bigint, output_bound bigint
);

-- Settles p_ends and then decides about p_asks in their order, in one round trip and one commit.
-- p_budgets: the distinct budgets of both, ascending; p_shared: whether any of them is not a run's;
-- p_keys: the distinct keys of the asks. Answers a row with `settled` for each reservation that was
-- moved into calls, then a verdict for each ask and the numbers that it rests on. A rule that
-- refuses is a verdict, never an exception. An ask on the budgets of another attempt than the run's
-- current one is 'outdated': its gateway has to look the run up again. An ask on a window that is
-- over or was never opened is 'window', with the day that it is.
--
-- Which window is the current one is decided behind the locks, and a reservation's time is that of
-- its decision, so a call is always within its windows.
--
-- What a settlement books is summed from the reservations that it deleted, never from its input: a
-- batch that is sent twice counts once. Whoever touches a reservation holds its budgets locked, so
-- reservations need no order of their own.
CREATE FUNCTION ledger_step_v3(
    p_gateway uuid, p_budgets uuid[], p_shared boolean, p_keys uuid[], p_ends ledger_end[],
    p_asks ledger_ask_v3[]
) RETURNS TABLE (
    settled uuid, verdict text, state text, attempt integer,
    scope text, unit text, period text, limit_amount numeric, spent numeric, reserved numeric,
    latched boolean, usd_limit numeric, usd_spent numeric, usd_reserved numeric, today timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
    -- Of the budgets: as they stood, then as what is decided here leaves them.
    units text[]; limits numeric[]; spents numeric[]; reserveds numeric[]; waitings boolean[];
    changed boolean[];
    -- The attempt that a budget is for; 0 for all of them.
    own_attempts integer[];
    -- Null where all budgets are runs'.
    ids uuid[]; scopes text[]; periods text[]; starts timestamptz[]; latcheds boolean[];
    now_is timestamptz;
    this_day timestamptz;
    this_month timestamptz;
    -- Of the asks' runs, one for each ask.
    organizations uuid[]; states text[]; attempts integer[]; hashes bytea[];
    need_token boolean[]; expired boolean[];
    -- Of p_keys.
    key_organizations uuid[]; key_hashes bytea[]; key_good boolean[];
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
    ask ledger_ask_v3;
    budget uuid;
    pos integer;
    usd_pos integer;
    refused integer;
BEGIN
    -- The locks come first. What they protect besides the budgets (state, token, expiry, key) is
    -- read by later statements, whose snapshots are newer than the locks. Ids never change, so the
    -- order of the locks is the order of the rows.
    IF p_shared THEN
        SELECT array_agg(b.id), array_agg(b.unit::text), array_agg(b.limit_amount::numeric),
               array_agg(b.spent::numeric), array_agg(b.reserved::numeric), array_agg(b.waiting),
               array_agg(b.attempt), array_agg(b.scope::text), array_agg(b."window"::text),
               array_agg(b.window_start), array_agg(b.latched)
          INTO ids, units, limits, spents, reserveds, waitings, own_attempts, scopes, periods,
               starts, latcheds
          FROM (SELECT * FROM budgets WHERE id = ANY (p_budgets) ORDER BY id FOR UPDATE) b;
        IF cardinality(ids) IS DISTINCT FROM cardinality(p_budgets) THEN
            -- Windows that are not open leave gaps. What is read again here is locked already.
            SELECT array_agg(b.unit::text ORDER BY n.ord),
                   array_agg(b.limit_amount::numeric ORDER BY n.ord),
                   array_agg(b.spent::numeric ORDER BY n.ord),
                   array_agg(b.reserved::numeric ORDER BY n.ord),
                   array_agg(b.waiting ORDER BY n.ord), array_agg(b.attempt ORDER BY n.ord),
                   array_agg(b.scope::text ORDER BY n.ord),
                   array_agg(b."window"::text ORDER BY n.ord),
                   array_agg(b.window_start ORDER BY n.ord), array_agg(b.latched ORDER BY n.ord)
              INTO units, limits, spents, reserveds, waitings, own_attempts, scopes, periods,
                   starts, latcheds
              FROM unnest(p_budgets) WITH ORDINALITY AS n (id, ord)
              LEFT JOIN budgets b ON b.id = n.id AND b.id = ANY (ids);
        END IF;
        now_is := ledger_now();
        this_day := date_trunc('day', now_is, 'UTC');
        this_month := date_trunc('month', now_is, 'UTC');
    ELSIF cardinality(p_budgets) = 1 THEN
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
                    organization_id, id, gateway_id, run_id, key_id, attempt, budget_ids,
                    request_id, model, requested_model, served_model, provider, endpoint,
                    uncached_input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                    reasoning_tokens, cost_usd, cost_source, flag, price_version, status,
                    latency_ms, ttfb_ms, created_at)
                SELECT g.organization_id, g.id, g.gateway_id, g.run_id, g.key_id, g.attempt,
                       g.budget_ids, g.request_id, g.model, g.requested_model, g.served_model,
                       g.provider, g.endpoint, g.uncached, g.cached, g.cache_write, g.output,
                       g.reasoning, g.cost, g.source, g.flag, g.price_version, g.status,
                       g.latency_ms, g.ttfb_ms, g.created_at
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
                cost_source, flag, price_version, status, latency_ms, ttfb_ms, created_at)
            VALUES (gone.organization_id, gone.id, gone.gateway_id, gone.run_id, gone.key_id,
                    gone.attempt, gone.budget_ids, gone.request_id, gone.model,
                    gone.requested_model, ended.served_model, gone.provider, gone.endpoint,
                    ended.uncached, ended.cached, ended.cache_write, ended.output,
                    ended.reasoning, ended.cost, ended.source, ended.flag, gone.price_version,
                    ended.status, ended.latency_ms, ended.ttfb_ms, gone.created_at);
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
                           ask_id, run, token_hash, key_at, key_hash, behind, positions,
                           budget_ids, usd, tokens, request_id, model, requested_model, provider,
                           endpoint, price_version, input_bound, output_bound, ord)
                  LEFT JOIN runs x ON x.id = o.run
                 ORDER BY o.ord) s;
    END IF;
    IF cardinality(p_keys) > 0 THEN
        SELECT array_agg(k.organization_id ORDER BY n.ord), array_agg(k.secret_hash ORDER BY n.ord),
               array_agg(k.status = 'active'
                         AND coalesce(k.expires_at > clock_timestamp(), true) ORDER BY n.ord)
          INTO key_organizations, key_hashes, key_good
          FROM unnest(p_keys) WITH ORDINALITY AS n (id, ord)
          LEFT JOIN inference_keys k ON k.id = n.id;
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
            FOREACH pos IN ARRAY ask.positions LOOP
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
                   id, run, token_hash, key_at, key_hash, behind, positions, budget_ids, usd,
                   tokens, request_id, model, requested_model, provider, endpoint, price_version,
                   input_bound, output_bound, ord)
         WHERE admitted[a.ord];
    END IF;

    IF p_shared THEN
        UPDATE budgets b
           SET spent = spents[n.ord], reserved = reserveds[n.ord], waiting = waitings[n.ord],
               latched = latcheds[n.ord]
          FROM unnest(p_budgets) WITH ORDINALITY AS n (id, ord)
         WHERE b.id = n.id AND changed[n.ord];
    ELSIF cardinality(p_budgets) = 1 THEN
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
        RETURN QUERY
        SELECT s.settled FROM ledger_step_v3(NULL, all_budgets, true, '{}', ends, '{}') s;
    END IF;
END
$$;
