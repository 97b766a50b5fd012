-- A run may say that its calls go on to another provider of their model when the first has failed.
-- Each attempt has a reservation and a row of its own as it is, so the ledger learns nothing else.

ALTER TABLE runs ADD COLUMN fallback boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN runs.fallback
    IS 'whether a call goes on to the next provider of its model when its own has failed';
