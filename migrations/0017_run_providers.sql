-- Providers that a run brings keys of its own for. They are written when it is registered, and only
-- sealing them anew changes them.

CREATE TABLE run_providers (
    organization_id uuid NOT NULL,
    run_id uuid NOT NULL REFERENCES runs (id),
    provider text NOT NULL,
    base_url text,
    anywhere boolean NOT NULL,
    eu_endpoint boolean NOT NULL,
    key_id text NOT NULL,
    key_ciphertext bytea NOT NULL,
    PRIMARY KEY (run_id, provider)
);
COMMENT ON COLUMN run_providers.anywhere
    IS 'the operator set the base URL, which may lead into private networks and be plain http';
COMMENT ON COLUMN run_providers.eu_endpoint IS 'whoever registered it attests an endpoint in the EU';
COMMENT ON COLUMN run_providers.key_ciphertext
    IS 'AES-256-GCM: nonce, ciphertext, tag; bound to organization, run, provider and base_url';

ALTER TABLE runs ADD COLUMN own_providers text[];
COMMENT ON COLUMN runs.own_providers IS 'the providers of run_providers; null if there are none';
