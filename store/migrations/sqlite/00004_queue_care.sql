-- +goose Up
-- 1: nobody may see the operation any more. Its rows go piece by piece, its own the last.
ALTER TABLE operations ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX operations_removed ON operations (num) WHERE removed = 1;
-- Owners take turns: the oldest due operation of the next one is found without looking at those of the one before. It
-- has all that admission asks of the queue, too.
CREATE INDEX operations_turns ON operations (lane, owner, run_after, num, bytes_total) WHERE status = 'queued';
-- The dead letters.
CREATE INDEX operations_dead ON operations (owner, num) WHERE status = 'failed' AND error_code IN ('poison', 'attempts_exhausted');
-- Is a text quarantined?
CREATE INDEX operations_poison ON operations (document) WHERE error_code = 'poison';
-- Retention of the kinds that are few; completed ones are found by operations_ended.
CREATE INDEX operations_kept ON operations (status, finished_at) WHERE status IN ('failed', 'cancelled');

-- +goose Down
DROP INDEX operations_kept;
DROP INDEX operations_poison;
DROP INDEX operations_dead;
DROP INDEX operations_turns;
DROP INDEX operations_removed;
ALTER TABLE operations DROP COLUMN removed;
