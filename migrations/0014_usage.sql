-- What was used, summed by day, and calls in partitions by month.
--
-- Nothing of this is on the way of a call. Every call that is settled draws a number, `seq`; a job
-- folds the calls up to some number into usage_days, and whoever reads adds those beyond it. So a
-- sum is exact at any time, however late the job is.

-- One by one, since a session that kept numbers in store would use them late.
CREATE SEQUENCE calls_settled AS bigint CACHE 1;

-- Calls of before have none: they are folded below.
ALTER TABLE calls ADD COLUMN seq bigint;
-- The id of the transaction comes first: whoever has drawn a number has one. See ledger_fold.
ALTER TABLE calls ALTER COLUMN seq
    SET DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('calls_settled') END;
COMMENT ON COLUMN calls.seq IS 'in the order of settlement, nearly; null if settled before 0014';

-- Calls lie in the order of their settlement, so a few bytes for each 32 pages find a time or a
-- range of numbers, and to insert a row costs nearly nothing more.
CREATE INDEX calls_by_time ON calls USING brin (created_at, seq)
    WITH (pages_per_range = 32, autosummarize = on);

-- Sums over folded calls that bought something.
CREATE TABLE usage_days (
    organization_id uuid NOT NULL,
    day date NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    key_id uuid NOT NULL,
    of_run boolean NOT NULL,
    calls bigint NOT NULL,
    input_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cost_usd numeric NOT NULL,
    PRIMARY KEY (organization_id, day, model, provider, key_id, of_run)
) WITH (fillfactor = 70);
COMMENT ON COLUMN usage_days.day IS 'of admission, in UTC';
COMMENT ON COLUMN usage_days.key_id IS 'all zeros for calls that were made with no key';
COMMENT ON COLUMN usage_days.of_run IS 'whether the calls were made for runs';
COMMENT ON COLUMN usage_days.cost_usd IS 'US dollars, exact';

-- How far the calls are folded: one row, which only jobs write.
CREATE TABLE usage_mark (
    is_it boolean PRIMARY KEY DEFAULT true CHECK (is_it),
    folded bigint NOT NULL DEFAULT 0,
    drawn bigint NOT NULL DEFAULT 0,
    drawn_before xid8 NOT NULL DEFAULT '0',
    retired_before timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO usage_mark DEFAULT VALUES;
COMMENT ON COLUMN usage_mark.folded IS 'calls up to this number are in usage_days, later ones not';
COMMENT ON COLUMN usage_mark.drawn IS 'numbers up to this one had been drawn at the last look';
COMMENT ON COLUMN usage_mark.drawn_before IS 'by transactions whose ids are less than this one';
COMMENT ON COLUMN usage_mark.retired_before IS 'not all calls of before are kept as rows';

-- What calls of detached partitions add to bills, and to the sums that rows are checked against.
CREATE TABLE retired_days (LIKE usage_days INCLUDING ALL);
CREATE TABLE retired_budgets (
    budget_id uuid PRIMARY KEY,
    spent numeric NOT NULL,
    overrun boolean NOT NULL
);
COMMENT ON COLUMN retired_budgets.spent IS 'in the budget''s unit: US dollars, tokens or calls';
COMMENT ON COLUMN retired_budgets.overrun IS 'whether a provider broke the bound of one of them';
CREATE TABLE retired_runs (
    run_id uuid NOT NULL,
    attempt integer NOT NULL,
    model text NOT NULL,
    cost_source text NOT NULL,
    calls bigint NOT NULL,
    input_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cost_usd numeric NOT NULL,
    PRIMARY KEY (run_id, attempt, model, cost_source)
);
COMMENT ON COLUMN retired_days.cost_usd IS 'US dollars, exact';
COMMENT ON COLUMN retired_runs.cost_usd IS 'US dollars, exact';

INSERT INTO usage_days
SELECT organization_id, (created_at AT TIME ZONE 'UTC')::date, model, provider,
       coalesce(key_id, '00000000-0000-0000-0000-000000000000'), run_id IS NOT NULL, count(*),
       sum(uncached_input_tokens + cached_input_tokens + cache_write_tokens),
       sum(cached_input_tokens), sum(output_tokens), sum(cost_usd)
  FROM calls WHERE cost_source <> 'none'
 GROUP BY 1, 2, 3, 4, 5, 6;

-- Folds at most p_most calls into usage_days, each exactly once. Answers how many numbers it
-- went on, and how many drawn ones are left. Only one session folds at a time; another one, or one
-- that comes when there is nothing to do, changes nothing.
--
-- Why no call is lost and none counts twice: a call is folded if its number is within
-- (folded, drawn], and `folded` moves on in the same commit, so it is enough that every call with
-- such a number can be seen by then. When `drawn` was read, whoever had drawn a number of up to
-- `drawn` had the id of his transaction already (the column's default sees to that), and this
-- function had none yet. So all of those ids are less than its own, `drawn_before`. Nothing is
-- folded before the oldest transaction under way is not older than that: then each of them has
-- ended, and what it committed is seen by the statement that sums.
CREATE FUNCTION ledger_fold(p_most bigint, OUT folded bigint, OUT behind bigint)
LANGUAGE plpgsql AS $$
DECLARE
    mark usage_mark%ROWTYPE;
    known usage_mark%ROWTYPE;
    last bigint := coalesce(pg_sequence_last_value('calls_settled'), 0);
BEGIN
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'ledger_fold must be the first to write in its transaction';
    END IF;
    folded := 0;
    SELECT * INTO mark FROM usage_mark;
    behind := last - mark.folded;
    IF behind <= 0 THEN
        RETURN;
    END IF;
    SELECT * INTO mark FROM usage_mark FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    known := mark;

    IF mark.drawn > mark.folded
        AND pg_snapshot_xmin(pg_current_snapshot()) >= mark.drawn_before THEN
        mark.folded := least(mark.drawn, mark.folded + p_most);
        INSERT INTO usage_days AS u
        SELECT c.organization_id, (c.created_at AT TIME ZONE 'UTC')::date, c.model, c.provider,
               coalesce(c.key_id, '00000000-0000-0000-0000-000000000000'), c.run_id IS NOT NULL,
               count(*),
               sum(c.uncached_input_tokens + c.cached_input_tokens + c.cache_write_tokens),
               sum(c.cached_input_tokens), sum(c.output_tokens), sum(c.cost_usd)
          FROM calls c
         WHERE c.seq > known.folded AND c.seq <= mark.folded AND c.cost_source <> 'none'
         GROUP BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (organization_id, day, model, provider, key_id, of_run) DO UPDATE SET
            calls = u.calls + excluded.calls,
            input_tokens = u.input_tokens + excluded.input_tokens,
            cached_input_tokens = u.cached_input_tokens + excluded.cached_input_tokens,
            output_tokens = u.output_tokens + excluded.output_tokens,
            cost_usd = u.cost_usd + excluded.cost_usd;
        folded := mark.folded - known.folded;
    END IF;
    -- A bound beyond our own id was made by another server, from which this database was copied.
    IF last > mark.drawn AND mark.folded = mark.drawn
        OR mark.drawn_before > pg_current_xact_id() THEN
        mark.drawn := greatest(last, mark.drawn);
        mark.drawn_before := pg_current_xact_id();
    END IF;
    IF mark IS DISTINCT FROM known THEN
        UPDATE usage_mark m SET folded = mark.folded, drawn = mark.drawn,
               drawn_before = mark.drawn_before;
    END IF;
    behind := greatest(last, mark.drawn) - mark.folded;
END
$$;

-- The least id that can be made at a time: the first 48 bits of a UUID v7 are its milliseconds.
CREATE FUNCTION ledger_first_id(p_time timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM p_time) * 1000)::bigint), 12, '0')
        || repeat('0', 20))::uuid
$$;

-- The partitions of calls but the default one, and the ids that they end before.
CREATE VIEW calls_partitions AS
    SELECT c.relname::text AS name,
           substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([0-9a-f-]{36})''\)')::uuid
               AS ends
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'calls'::regclass
       AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT';

-- Makes the partition of a month, unless it was made before. Answers whether it made one.
--
-- To attach a table locks it and the default partition alone, so calls of other months go on being
-- settled. A call of this month that found no partition lies in the default one; it is moved.
CREATE FUNCTION ledger_open_month(p_time timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    month timestamptz := date_trunc('month', p_time, 'UTC');
    month_end timestamptz := date_trunc('month', month + interval '45 days', 'UTC');
    name text := 'calls_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM');
    first_id uuid := ledger_first_id(month);
    end_id uuid := ledger_first_id(month_end);
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rungate'), hashtext('calls_partitions'));
    IF EXISTS (SELECT FROM calls_partitions p WHERE p.ends > first_id AND p.ends <= end_id)
        OR first_id < (SELECT p.ends FROM calls_partitions p ORDER BY p.ends LIMIT 1)
        OR to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE calls INCLUDING ALL)', name);
    LOCK TABLE calls_other IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('INSERT INTO %I SELECT * FROM calls_other WHERE id >= %L AND id < %L',
                   name, first_id, end_id);
    DELETE FROM calls_other WHERE id >= first_id AND id < end_id;
    EXECUTE format('ALTER TABLE calls ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   name, first_id, end_id);
    RETURN true;
END
$$;

-- Detaches the oldest partition if all of its calls are at least p_days days old. Answers what its
-- table is called from now on; null if there is none, or somebody else is at it.
--
-- What its calls add to sums is kept: in usage_days, where they are folded already, and in the
-- tables of what is retired. A call of its time that ends later goes to the default partition.
CREATE FUNCTION ledger_retire(p_days integer) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    cutoff timestamptz := ledger_now() - make_interval(days => p_days);
    oldest record;
    mark usage_mark%ROWTYPE;
    newest timestamptz;
    last bigint;
    kept text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('rungate'), hashtext('calls_partitions')) THEN
        RETURN NULL;
    END IF;
    SELECT p.* INTO oldest FROM calls_partitions p ORDER BY p.ends LIMIT 1;
    -- A call under way would end up beside its partition.
    IF NOT FOUND OR oldest.ends > ledger_first_id(cutoff)
        OR EXISTS (SELECT FROM reservations r WHERE r.id < oldest.ends) THEN
        RETURN NULL;
    END IF;
    SELECT * INTO mark FROM usage_mark FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- From here on nobody adds to it.
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', oldest.name);
    EXECUTE format('SELECT max(created_at), coalesce(max(seq), 0) FROM %I', oldest.name)
       INTO newest, last;
    IF newest >= cutoff OR last > mark.folded THEN
        RETURN NULL;
    END IF;

    EXECUTE format($sums$
        INSERT INTO retired_days AS t
        SELECT organization_id, (created_at AT TIME ZONE 'UTC')::date, model, provider,
               coalesce(key_id, '00000000-0000-0000-0000-000000000000'), run_id IS NOT NULL,
               count(*), sum(uncached_input_tokens + cached_input_tokens + cache_write_tokens),
               sum(cached_input_tokens), sum(output_tokens), sum(cost_usd)
          FROM %I WHERE cost_source <> 'none' GROUP BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (organization_id, day, model, provider, key_id, of_run) DO UPDATE SET
            calls = t.calls + excluded.calls,
            input_tokens = t.input_tokens + excluded.input_tokens,
            cached_input_tokens = t.cached_input_tokens + excluded.cached_input_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens,
            cost_usd = t.cost_usd + excluded.cost_usd
        $sums$, oldest.name);
    EXECUTE format($sums$
        INSERT INTO retired_budgets AS t
        SELECT b.id, sum(CASE b.unit WHEN 'usd' THEN k.cost_usd::numeric
                   WHEN 'tokens' THEN k.uncached_input_tokens + k.cached_input_tokens
                       + k.cache_write_tokens + k.output_tokens
                   ELSE (k.cost_source <> 'none')::int END),
               bool_or(coalesce(k.flag = 'over_reservation', false))
          FROM %I k CROSS JOIN LATERAL unnest(k.budget_ids) AS o (id)
          JOIN budgets b ON b.id = o.id GROUP BY b.id
        ON CONFLICT (budget_id) DO UPDATE SET
            spent = t.spent + excluded.spent, overrun = t.overrun OR excluded.overrun
        $sums$, oldest.name);
    EXECUTE format($sums$
        INSERT INTO retired_runs AS t
        SELECT run_id, attempt, model, cost_source, count(*),
               sum(uncached_input_tokens + cached_input_tokens + cache_write_tokens),
               sum(cached_input_tokens), sum(output_tokens), sum(cost_usd)
          FROM %I WHERE run_id IS NOT NULL AND cost_source <> 'none' GROUP BY 1, 2, 3, 4
        ON CONFLICT (run_id, attempt, model, cost_source) DO UPDATE SET
            calls = t.calls + excluded.calls,
            input_tokens = t.input_tokens + excluded.input_tokens,
            cached_input_tokens = t.cached_input_tokens + excluded.cached_input_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens,
            cost_usd = t.cost_usd + excluded.cost_usd
        $sums$, oldest.name);
    UPDATE usage_mark SET retired_before = greatest(retired_before, newest + interval '1 us');

    -- Last, and with no patience beyond lock_timeout: everybody's settlements wait behind this.
    kept := regexp_replace(oldest.name, '^calls', 'retired_calls');
    EXECUTE format('ALTER TABLE calls DETACH PARTITION %I', oldest.name);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', oldest.name, kept);
    RETURN kept;
END
$$;

-- What there is becomes the partition of all time up to the end of this month.
DO $$
DECLARE
    next_month timestamptz := date_trunc('month', now(), 'UTC') + interval '45 days';
    starts uuid;
    name text := 'calls_until_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM');
BEGIN
    starts := ledger_first_id(date_trunc('month', next_month, 'UTC'));
    ALTER TABLE calls DETACH PARTITION calls_all;
    CREATE TABLE calls_other PARTITION OF calls DEFAULT;
    INSERT INTO calls_other SELECT * FROM calls_all WHERE id >= starts;
    DELETE FROM calls_all WHERE id >= starts;
    EXECUTE format('ALTER TABLE calls_all RENAME TO %I', name);
    EXECUTE format('ALTER TABLE calls ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)',
                   name, starts);
END
$$;
