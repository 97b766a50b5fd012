-- A name in clients' certificates may stand for an inference key.

ALTER TABLE inference_keys ADD COLUMN client_identity text CHECK (length(client_identity) <= 512);
COMMENT ON COLUMN inference_keys.client_identity
    IS 'the name in a client certificate that stands for this key, as in san:dns:agent.example';

-- A name stands for one key; that of a revoked key may be given again.
CREATE UNIQUE INDEX inference_keys_by_client_identity ON inference_keys (client_identity)
    WHERE client_identity IS NOT NULL AND status <> 'revoked';
