-- +goose Up

-- One owner's immutable texts. A staged row has no readers yet: Create makes it ready, or the sweep removes it.
-- A deleting row has none any more: the sweep removes it piece by piece.
CREATE TABLE documents (
  num        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         TEXT   NOT NULL UNIQUE,
  owner      TEXT   NOT NULL,
  state      TEXT   NOT NULL CHECK (state IN ('staged', 'ready', 'deleting')),
  name       TEXT   NOT NULL,
  sha256     TEXT   NOT NULL,
  bytes      BIGINT NOT NULL CHECK (bytes >= 0),
  chars      BIGINT NOT NULL CHECK (chars >= 0),
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX documents_content ON documents (owner, sha256) WHERE state = 'ready';
CREATE INDEX documents_unready ON documents (created_at) WHERE state <> 'ready';

-- The text itself. Part i starts at the last rune boundary at or before i * 262144 bytes, and key is
-- document * 65536 + i, so that the parts of a span are found by arithmetic.
CREATE TABLE document_parts (
  key        BIGINT PRIMARY KEY,
  start_byte BIGINT NOT NULL,
  body       BYTEA  NOT NULL
);
-- Compressing the parts takes longer than writing them.
ALTER TABLE document_parts ALTER COLUMN body SET STORAGE EXTERNAL;

-- The operation's row is the queue entry, the lease and the state. No foreign keys point here from chunks and
-- events: both are written only behind the fence, in the fence's transaction, and the invariants check them.
CREATE TABLE operations (
  num              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id               TEXT    NOT NULL UNIQUE,
  owner            TEXT    NOT NULL,
  document         BIGINT  NOT NULL REFERENCES documents (num),
  name             TEXT    NOT NULL,
  status           TEXT    NOT NULL CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'cancelled')),
  lane             TEXT    NOT NULL CHECK (lane IN ('small', 'large')),
  strategy         TEXT    NOT NULL,
  settings         TEXT    NOT NULL,
  splitter_version TEXT    NOT NULL,
  retry_of         TEXT    NOT NULL,
  bytes_total      BIGINT  NOT NULL,
  bytes_done       BIGINT  NOT NULL DEFAULT 0,
  next_index       BIGINT  NOT NULL DEFAULT 0,
  seq              BIGINT  NOT NULL,
  epoch            BIGINT  NOT NULL DEFAULT 0,
  crash_count      INTEGER NOT NULL DEFAULT 0,
  failures         INTEGER NOT NULL DEFAULT 0,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  worker           TEXT    NOT NULL DEFAULT '',
  lease_until      BIGINT  NOT NULL DEFAULT 0,
  run_after        BIGINT  NOT NULL,
  error_code       TEXT    NOT NULL DEFAULT '',
  error_detail     TEXT    NOT NULL DEFAULT '',
  created_at       BIGINT  NOT NULL,
  started_at       BIGINT  NOT NULL DEFAULT 0,
  finished_at      BIGINT  NOT NULL DEFAULT 0,
  CHECK ((finished_at > 0) = (status IN ('completed', 'failed', 'cancelled'))),
  CHECK ((lease_until > 0) = (status = 'processing')),
  CHECK (bytes_done <= bytes_total)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
-- Claiming looks at due rows only and sweeping at leased ones only: with one OR over both, a claim scans. Few rows are
-- leased at a time, and without lease_until in an index a batch or a renewal touches no index at all (HOT).
CREATE INDEX operations_due ON operations (lane, run_after, num) WHERE status = 'queued';
CREATE INDEX operations_leased ON operations (num) WHERE status = 'processing';
CREATE INDEX operations_live ON operations (owner, num) WHERE finished_at = 0;
CREATE INDEX operations_ended ON operations (finished_at) WHERE finished_at > 0;
CREATE INDEX operations_owner ON operations (owner, num);
CREATE INDEX operations_document ON operations (document, num);

CREATE TABLE operation_events (
  operation BIGINT NOT NULL,
  seq       BIGINT NOT NULL,
  epoch     BIGINT NOT NULL,
  type      TEXT   NOT NULL,
  at        BIGINT NOT NULL,
  data      JSON   NOT NULL,
  PRIMARY KEY (operation, seq)
);

CREATE TABLE chunks (
  operation  BIGINT NOT NULL,
  idx        BIGINT NOT NULL,
  epoch      BIGINT NOT NULL,
  start_byte BIGINT NOT NULL,
  end_byte   BIGINT NOT NULL,
  start_char BIGINT NOT NULL,
  end_char   BIGINT NOT NULL,
  PRIMARY KEY (operation, idx)
);

CREATE TABLE idempotency_keys (
  owner        TEXT   NOT NULL,
  key          TEXT   NOT NULL,
  request_hash TEXT   NOT NULL,
  operation    BIGINT NOT NULL,
  created_at   BIGINT NOT NULL,
  PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_operation ON idempotency_keys (operation);

-- For people and programs that read the database: each chunk with its text.
CREATE VIEW chunk_texts AS
SELECT o.id AS operation_id, o.owner AS owner, c.idx AS idx,
       c.start_byte AS start_byte, c.end_byte AS end_byte, c.start_char AS start_char, c.end_char AS end_char,
       convert_from(substring(
         (SELECT string_agg(p.body, ''::bytea ORDER BY p.key) FROM document_parts p
           WHERE p.key BETWEEN o.document * 65536 + c.start_byte / 262144
                           AND o.document * 65536 + (c.end_byte - 1) / 262144 + 1
             AND p.key < (o.document + 1) * 65536)
         FROM (c.start_byte + 1 - (SELECT q.start_byte FROM document_parts q
                                    WHERE q.key = o.document * 65536 + c.start_byte / 262144))::integer
         FOR (c.end_byte - c.start_byte)::integer), 'UTF8') AS text
  FROM chunks c JOIN operations o ON o.num = c.operation;

-- +goose Down
DROP VIEW chunk_texts;
DROP TABLE idempotency_keys;
DROP TABLE chunks;
DROP TABLE operation_events;
DROP TABLE operations;
DROP TABLE document_parts;
DROP TABLE documents;
