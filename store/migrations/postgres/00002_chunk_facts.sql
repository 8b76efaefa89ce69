-- +goose Up
-- What the strategy said of a chunk: facts.go has the format. NULL: stored before this was kept.
ALTER TABLE chunks ADD COLUMN facts BIGINT;
ALTER TABLE chunks ADD COLUMN context TEXT;

-- +goose Down
ALTER TABLE chunks DROP COLUMN context;
ALTER TABLE chunks DROP COLUMN facts;
