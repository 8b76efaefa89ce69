-- +goose Up
-- Where a request came from. Empty: not by HTTP, or written by a version that did not keep it.
ALTER TABLE audit ADD COLUMN address TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE audit DROP COLUMN address;
