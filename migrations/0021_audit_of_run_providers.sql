-- Providers that a run brings keys of its own for are booked as those of organizations are: which,
-- where they are reached, and what is attested of them.
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON run_providers
    FOR EACH ROW EXECUTE FUNCTION audit_change('run_provider', 'run_id', 'organization_id');
