-- Who changed what on the control plane, when and from where, with the old and the new values.
--
-- Triggers write it in the transaction that makes the change, so there is no change without its
-- row and no row without its change. A gateway says who acts in the setting rungate.actor: the hex
-- of a JSON object. Whatever is changed past a gateway is booked under the database's user.
-- Admissions and settlements change none of the columns that are watched.

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    organization_id uuid,
    actor_kind text NOT NULL,
    actor_id text,
    actor_name text,
    address text,
    request_id text,
    action text NOT NULL CHECK (action IN ('create', 'change', 'delete')),
    object_kind text NOT NULL,
    object_id text NOT NULL,
    old jsonb,
    new jsonb
);
CREATE INDEX audit_log_by_organization ON audit_log (organization_id, id);
COMMENT ON TABLE audit_log IS 'append-only';
COMMENT ON COLUMN audit_log.old IS 'what changed, as it was; amounts of US dollars are exact text';

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM PUBLIC, CURRENT_USER;

-- A value as it may be shown. What is secret, or hides it, is only said to be there; numbers that
-- may be money become text, which every JSON reader reads exactly.
CREATE FUNCTION audit_shown(p_name text, p_value jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_name ~ '(hash|secret|ciphertext|password|token)' AND jsonb_typeof(p_value) = 'string'
            THEN '"(redacted)"'::jsonb
        WHEN p_name ~ '(_usd|_amount)$' AND jsonb_typeof(p_value) = 'number'
            THEN to_jsonb(trim_scale((p_value #>> '{}')::numeric)::text)
        ELSE p_value
    END
$$;

-- Books a change under whoever is said to act.
CREATE FUNCTION audit_book(
    p_organization uuid, p_operation text, p_kind text, p_id text, p_old jsonb, p_new jsonb
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    said text := nullif(current_setting('rungate.actor', true), '');
    who jsonb := CASE WHEN said IS NULL
        THEN jsonb_build_object('kind', 'database', 'name', session_user)
        ELSE convert_from(decode(said, 'hex'), 'UTF8')::jsonb END;
BEGIN
    INSERT INTO audit_log (organization_id, actor_kind, actor_id, actor_name, address, request_id,
                           action, object_kind, object_id, old, new)
    VALUES (p_organization, who ->> 'kind', who ->> 'id', who ->> 'name', who ->> 'address',
            who ->> 'request_id',
            CASE p_operation WHEN 'INSERT' THEN 'create' WHEN 'UPDATE' THEN 'change'
                ELSE 'delete' END,
            p_kind, p_id, p_old, p_new);
END
$$;

-- Books a change of a row. Arguments: the kind of the object, the column with its id, the one with
-- its organization.
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    whole jsonb := coalesce(becomes, was);
    unseen text[] := ARRAY['organization_id', TG_ARGV[1], 'version', 'created_at', 'updated_at',
                           'fingerprint', 'metadata'];
    old_shown jsonb;
    new_shown jsonb;
BEGIN
    SELECT jsonb_object_agg(v.key, audit_shown(v.key, v.value)) INTO old_shown
      FROM jsonb_each(was) v
     WHERE v.key <> ALL (unseen) AND (v.value <> 'null' OR becomes IS NOT NULL)
       AND becomes -> v.key IS DISTINCT FROM v.value;
    SELECT jsonb_object_agg(v.key, audit_shown(v.key, v.value)) INTO new_shown
      FROM jsonb_each(becomes) v
     WHERE v.key <> ALL (unseen) AND (v.value <> 'null' OR was IS NOT NULL)
       AND was -> v.key IS DISTINCT FROM v.value;
    IF TG_OP <> 'UPDATE' OR new_shown IS NOT NULL THEN
        PERFORM audit_book((whole ->> TG_ARGV[2])::uuid, TG_OP, TG_ARGV[0], whole ->> TG_ARGV[1],
                           old_shown, new_shown);
    END IF;
    RETURN NULL;
END
$$;

-- Books a change of a limit, or the reset of a cost circuit.
CREATE FUNCTION audit_limit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    shown jsonb := jsonb_build_object('scope', NEW.scope, 'unit', NEW.unit, 'window', NEW."window");
    was jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        was := shown || jsonb_build_object('limit', trim_scale(OLD.limit_amount)::text,
                                           'circuit', CASE WHEN OLD.latched THEN 'open' END);
    END IF;
    PERFORM audit_book(NEW.organization_id, TG_OP, 'budget', NEW.scope_id::text,
        jsonb_strip_nulls(was),
        jsonb_strip_nulls(shown || jsonb_build_object(
            'limit', trim_scale(NEW.limit_amount)::text,
            'circuit', CASE WHEN TG_OP = 'UPDATE' AND OLD.latched AND NOT NEW.latched
                THEN 'closed' END)));
    RETURN NULL;
END
$$;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OF name OR DELETE ON organizations
    FOR EACH ROW EXECUTE FUNCTION audit_change('organization', 'id', 'id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON organization_settings
    FOR EACH ROW EXECUTE FUNCTION audit_change('settings', 'organization_id', 'organization_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON organization_members
    FOR EACH ROW EXECUTE FUNCTION audit_change('member', 'user_name', 'organization_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON inference_keys
    FOR EACH ROW EXECUTE FUNCTION audit_change('inference_key', 'id', 'organization_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON orchestrator_keys
    FOR EACH ROW EXECUTE FUNCTION audit_change('orchestrator_key', 'id', 'organization_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON credit_transactions
    FOR EACH ROW EXECUTE FUNCTION audit_change('credit', 'id', 'organization_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON provider_configurations
    FOR EACH ROW EXECUTE FUNCTION audit_change('provider', 'provider', 'organization_id');

-- Runs are registered by the thousand, so theirs is a plain row: what somebody decides about a run,
-- not what it spends or notes. Its terms stand in the run itself, where nothing changes them.
CREATE FUNCTION audit_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said text := nullif(current_setting('rungate.actor', true), '');
    who jsonb;
    was jsonb;
    becomes jsonb;
BEGIN
    IF TG_OP = 'INSERT' THEN
        becomes := jsonb_build_object('state', NEW.state, 'expires_at', NEW.expires_at);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM audit_book(OLD.organization_id, TG_OP, 'run', OLD.id::text,
                           jsonb_build_object('state', OLD.state), NULL);
        RETURN NULL;
    ELSE
        was := jsonb_build_object('state', OLD.state, 'attempt', OLD.attempt, 'cut', OLD.cut,
                                  'expires_at', OLD.expires_at, 'close_reason', OLD.close_reason);
        becomes := jsonb_build_object('state', NEW.state, 'attempt', NEW.attempt, 'cut', NEW.cut,
                                      'expires_at', NEW.expires_at,
                                      'close_reason', NEW.close_reason);
        IF was = becomes AND OLD.token_hash = NEW.token_hash THEN
            RETURN NULL;
        END IF;
        SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, becomes -> o.key)
          INTO was, becomes
          FROM jsonb_each(was) o WHERE becomes -> o.key <> o.value;
        IF OLD.token_hash <> NEW.token_hash THEN
            becomes := coalesce(becomes, '{}') || '{"token_hash": "(redacted)"}';
        END IF;
    END IF;
    who := CASE WHEN said IS NULL
        THEN jsonb_build_object('kind', 'database', 'name', session_user)
        ELSE convert_from(decode(said, 'hex'), 'UTF8')::jsonb END;
    INSERT INTO audit_log (organization_id, actor_kind, actor_id, actor_name, address, request_id,
                           action, object_kind, object_id, old, new)
    VALUES (NEW.organization_id, who ->> 'kind', who ->> 'id', who ->> 'name', who ->> 'address',
            who ->> 'request_id', CASE TG_OP WHEN 'INSERT' THEN 'create' ELSE 'change' END, 'run',
            NEW.id, was, becomes);
    RETURN NULL;
END
$$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON runs
    FOR EACH ROW EXECUTE FUNCTION audit_run();

-- Limits. Of a window it is the template that is changed by somebody; the others follow it. The
-- caps that a run is registered with are not booked one by one: only what becomes of them is.
CREATE TRIGGER audit_new AFTER INSERT ON budgets FOR EACH ROW
    WHEN (NEW.window_start = '-infinity' AND NEW.scope <> 'run')
    EXECUTE FUNCTION audit_limit();
CREATE TRIGGER audit_limit AFTER UPDATE OF limit_amount ON budgets FOR EACH ROW
    WHEN (NEW.window_start = '-infinity' AND OLD.limit_amount <> NEW.limit_amount)
    EXECUTE FUNCTION audit_limit();
CREATE TRIGGER audit_reset AFTER UPDATE OF latched ON budgets FOR EACH ROW
    WHEN (OLD.latched AND NOT NEW.latched)
    EXECUTE FUNCTION audit_limit();

-- Lists of an organization's runs.
CREATE INDEX runs_by_organization ON runs (organization_id, created_at, id);
