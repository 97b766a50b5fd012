-- Who chose the address of a provider's configuration. What an organization's owner sets is a public
-- address, and is looked at again whenever it is connected to; the operator's may lead anywhere.

ALTER TABLE provider_configurations ADD COLUMN anywhere boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN provider_configurations.anywhere
    IS 'the operator set the base URL, which may lead into private networks and be plain http';
COMMENT ON COLUMN provider_configurations.key_ciphertext
    IS 'AES-256-GCM: nonce, ciphertext, tag; bound to organization, provider and base_url';
