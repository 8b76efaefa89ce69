-- +goose Up

-- One owner's immutable texts. A staged row has no readers yet: Create makes it ready, or the sweep removes it.
-- A deleting row has none any more: the sweep removes it piece by piece.
CREATE TABLE documents (
  num        INTEGER PRIMARY KEY,
  id         TEXT    NOT NULL UNIQUE,
  owner      TEXT    NOT NULL,
  state      TEXT    NOT NULL CHECK (state IN ('staged', 'ready', 'deleting')),
  name       TEXT    NOT NULL,
  sha256     TEXT    NOT NULL,
  bytes      INTEGER NOT NULL CHECK (bytes >= 0),
  chars      INTEGER NOT NULL CHECK (chars >= 0),
  created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX documents_content ON documents (owner, sha256) WHERE state = 'ready';
CREATE INDEX documents_unready ON documents (created_at) WHERE state <> 'ready';

-- The text itself. Part i starts at the last rune boundary at or before i * 262144 bytes, and key is
-- document * 65536 + i, so that the parts of a span are found by arithmetic and written in key order.
CREATE TABLE document_parts (
  key        INTEGER PRIMARY KEY,
  start_byte INTEGER NOT NULL,
  body       BLOB    NOT NULL
);

-- The operation's row is the queue entry, the lease and the state. No foreign keys point here from chunks and
-- events: both are written only behind the fence, in the fence's transaction, and the invariants check them.
CREATE TABLE operations (
  num              INTEGER PRIMARY KEY,
  id               TEXT    NOT NULL UNIQUE,
  owner            TEXT    NOT NULL,
  document         INTEGER NOT NULL REFERENCES documents (num),
  name             TEXT    NOT NULL,
  status           TEXT    NOT NULL CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'cancelled')),
  lane             TEXT    NOT NULL CHECK (lane IN ('small', 'large')),
  strategy         TEXT    NOT NULL,
  settings         TEXT    NOT NULL,
  splitter_version TEXT    NOT NULL,
  retry_of         TEXT    NOT NULL,
  bytes_total      INTEGER NOT NULL,
  bytes_done       INTEGER NOT NULL DEFAULT 0,
  next_index       INTEGER NOT NULL DEFAULT 0,
  seq              INTEGER NOT NULL,
  epoch            INTEGER NOT NULL DEFAULT 0,
  crash_count      INTEGER NOT NULL DEFAULT 0,
  failures         INTEGER NOT NULL DEFAULT 0,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  worker           TEXT    NOT NULL DEFAULT '',
  lease_until      INTEGER NOT NULL DEFAULT 0,
  run_after        INTEGER NOT NULL,
  error_code       TEXT    NOT NULL DEFAULT '',
  error_detail     TEXT    NOT NULL DEFAULT '',
  created_at       INTEGER NOT NULL,
  started_at       INTEGER NOT NULL DEFAULT 0,
  finished_at      INTEGER NOT NULL DEFAULT 0,
  CHECK ((finished_at > 0) = (status IN ('completed', 'failed', 'cancelled'))),
  CHECK ((lease_until > 0) = (status = 'processing')),
  CHECK (bytes_done <= bytes_total)
);
-- Claiming looks at due rows only and sweeping at leased ones only: with one OR over both, a claim scans.
CREATE INDEX operations_due ON operations (lane, run_after, num) WHERE status = 'queued';
CREATE INDEX operations_leased ON operations (lease_until) WHERE status = 'processing';
CREATE INDEX operations_live ON operations (owner, num) WHERE finished_at = 0;
CREATE INDEX operations_ended ON operations (finished_at) WHERE finished_at > 0;
CREATE INDEX operations_owner ON operations (owner, num);
CREATE INDEX operations_document ON operations (document, num);

CREATE TABLE operation_events (
  operation INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  epoch     INTEGER NOT NULL,
  type      TEXT    NOT NULL,
  at        INTEGER NOT NULL,
  data      TEXT    NOT NULL,
  PRIMARY KEY (operation, seq)
) WITHOUT ROWID;

CREATE TABLE chunks (
  operation  INTEGER NOT NULL,
  idx        INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  start_byte INTEGER NOT NULL,
  end_byte   INTEGER NOT NULL,
  start_char INTEGER NOT NULL,
  end_char   INTEGER NOT NULL,
  PRIMARY KEY (operation, idx)
) WITHOUT ROWID;

CREATE TABLE idempotency_keys (
  owner        TEXT    NOT NULL,
  key          TEXT    NOT NULL,
  request_hash TEXT    NOT NULL,
  operation    INTEGER NOT NULL,
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_operation ON idempotency_keys (operation);

-- For people and programs that read the database: each chunk with its text.
CREATE VIEW chunk_texts AS
SELECT o.id AS operation_id, o.owner AS owner, c.idx AS idx,
       c.start_byte AS start_byte, c.end_byte AS end_byte, c.start_char AS start_char, c.end_char AS end_char,
       CAST(substr(
         (SELECT CAST(group_concat(CAST(p.body AS TEXT), '' ORDER BY p.key) AS BLOB) FROM document_parts p
           WHERE p.key BETWEEN o.document * 65536 + c.start_byte / 262144
                           AND o.document * 65536 + (c.end_byte - 1) / 262144 + 1
             AND p.key < (o.document + 1) * 65536),
         c.start_byte + 1 - (SELECT q.start_byte FROM document_parts q
                              WHERE q.key = o.document * 65536 + c.start_byte / 262144),
         c.end_byte - c.start_byte) AS TEXT) AS text
  FROM chunks c JOIN operations o ON o.num = c.operation;

-- +goose Down
DROP VIEW chunk_texts;
DROP TABLE idempotency_keys;
DROP TABLE chunks;
DROP TABLE operation_events;
DROP TABLE operations;
DROP TABLE document_parts;
DROP TABLE documents;
