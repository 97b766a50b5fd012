-- The service tier of an organization, which was a label, and the tier that each call was served in.

-- Stored texts that are none of the tiers did nothing; now they would stand in the way.
UPDATE organization_settings SET service_tier = 'default'
 WHERE service_tier NOT IN ('default', 'flex', 'priority');
ALTER TABLE organization_settings ADD CONSTRAINT organization_settings_service_tier
    CHECK (service_tier IN ('default', 'flex', 'priority'));
COMMENT ON COLUMN organization_settings.service_tier
    IS 'the tier that its calls ask for, where the provider takes one and the model has its prices';

ALTER TABLE calls ADD COLUMN service_tier text;
COMMENT ON COLUMN calls.service_tier
    IS 'the tier that the provider served; if it said none, the one asked for; null: default';

-- Notes the tier of a call that the same statement has just settled. `calls` is append-only for
-- everybody else: no other transaction ever sees the row without its tier. It is called for the
-- rows of ledger_step only in batches that have a call of another tier than the default one, so
-- that nobody else's batch pays for it, and gateways that know of no tiers go on as they were.
CREATE FUNCTION ledger_note_tier(p_id uuid, p_ids uuid[], p_tiers text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    pos integer := array_position(p_ids, p_id);
BEGIN
    IF p_id IS NOT NULL AND pos IS NOT NULL THEN
        UPDATE calls SET service_tier = p_tiers[pos] WHERE id = p_id;
    END IF;
END
$$;
