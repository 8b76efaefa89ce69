-- +goose Up

-- API keys. The key itself is never stored: digest is the SHA-256 of it, in lower-case hex. Times are Unix milliseconds,
-- 0 is never.
CREATE TABLE api_keys (
  num          INTEGER PRIMARY KEY,
  id           TEXT   NOT NULL UNIQUE,
  digest       TEXT   NOT NULL UNIQUE,
  hint         TEXT   NOT NULL,
  owner        TEXT   NOT NULL,
  name         TEXT   NOT NULL,
  scopes       TEXT   NOT NULL,
  created_by   TEXT   NOT NULL,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL DEFAULT 0,
  revoked_at   INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX api_keys_owner ON api_keys (owner, num);

-- Who is refused whatever they show: an owner, or one token of an identity provider by its jti.
CREATE TABLE blocks (
  kind       TEXT   NOT NULL CHECK (kind IN ('owner', 'token')),
  value      TEXT   NOT NULL,
  reason     TEXT   NOT NULL,
  created_by TEXT   NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (kind, value)
);

-- What may be used once, soon, in place of a key: see tickets.go. session is what it was made with.
CREATE TABLE tickets (
  digest     TEXT   PRIMARY KEY,
  owner      TEXT   NOT NULL,
  scopes     TEXT   NOT NULL,
  operation  TEXT   NOT NULL,
  session    TEXT   NOT NULL,
  until      INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
);
CREATE INDEX tickets_age ON tickets (expires_at);

-- What administrators did. Rows are only ever added.
CREATE TABLE audit (
  num     INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  actor   TEXT   NOT NULL,
  action  TEXT   NOT NULL,
  target  TEXT   NOT NULL,
  detail  TEXT   NOT NULL,
  request TEXT   NOT NULL
);

-- Saved settings of one owner, by name.
CREATE TABLE configurations (
  num        INTEGER PRIMARY KEY,
  id         TEXT    NOT NULL UNIQUE,
  owner      TEXT    NOT NULL,
  name       TEXT    NOT NULL,
  strategy   TEXT    NOT NULL,
  settings   TEXT    NOT NULL,
  standard   INTEGER NOT NULL DEFAULT 0,
  version    INTEGER NOT NULL DEFAULT 1,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (owner, name)
);

-- Operations that were submitted together.
CREATE TABLE batches (
  num        INTEGER PRIMARY KEY,
  id         TEXT   NOT NULL UNIQUE,
  owner      TEXT   NOT NULL,
  name       TEXT   NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE INDEX batches_owner ON batches (owner, num);
CREATE TABLE batch_operations (
  batch     INTEGER NOT NULL,
  idx       INTEGER NOT NULL,
  operation INTEGER NOT NULL,
  PRIMARY KEY (batch, idx)
);
CREATE INDEX batch_operations_operation ON batch_operations (operation);

CREATE INDEX documents_owner ON documents (owner, num) WHERE state = 'ready';

-- +goose Down
DROP INDEX documents_owner;
DROP TABLE batch_operations;
DROP TABLE batches;
DROP TABLE configurations;
DROP TABLE audit;
DROP TABLE tickets;
DROP TABLE blocks;
DROP TABLE api_keys;
