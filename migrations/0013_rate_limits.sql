-- How fast the calls of a key and of an organization may come. Every gateway enforces these by
-- itself, so nothing is counted here.

ALTER TABLE inference_keys
    ADD COLUMN rate_limit_rps integer CHECK (rate_limit_rps >= 1),
    ADD COLUMN tokens_per_minute integer CHECK (tokens_per_minute >= 1);
COMMENT ON COLUMN inference_keys.rate_limit_rpm IS 'most requests a minute on one gateway';
COMMENT ON COLUMN inference_keys.rate_limit_rps IS 'most requests a second on one gateway';
COMMENT ON COLUMN inference_keys.tokens_per_minute IS 'most tokens a minute on one gateway';

ALTER TABLE organization_settings
    ADD COLUMN rate_limit_rps integer CHECK (rate_limit_rps >= 1),
    ADD COLUMN rate_limit_rpm integer CHECK (rate_limit_rpm >= 1),
    ADD COLUMN tokens_per_minute integer CHECK (tokens_per_minute >= 1),
    ADD COLUMN max_concurrency integer CHECK (max_concurrency >= 1);
COMMENT ON COLUMN organization_settings.rate_limit_rps IS 'most requests a second on one gateway';
COMMENT ON COLUMN organization_settings.rate_limit_rpm IS 'most requests a minute on one gateway';
COMMENT ON COLUMN organization_settings.tokens_per_minute IS 'most tokens a minute on one gateway';
COMMENT ON COLUMN organization_settings.max_concurrency IS 'most calls at once on one gateway';
