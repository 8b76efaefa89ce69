-- +goose Up
-- The saved configuration that an operation was submitted with, as JSON (UsedConfiguration in types.go). NULL: none.
ALTER TABLE operations ADD COLUMN configuration TEXT;
-- The id of the trace that its request belonged to. NULL: none.
ALTER TABLE operations ADD COLUMN trace TEXT;
-- The webhook that is told of its end besides those that are told of every operation's. NULL: none.
ALTER TABLE operations ADD COLUMN webhook BIGINT;

-- Whom an owner wants to be told when operations end. The secret has to be known to sign with it. The one before it
-- signs too until former_until. everything: of all the owner's operations, not only of those that name it. events: the
-- types it is told of, each between two spaces.
CREATE TABLE webhooks (
  num          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id           TEXT    NOT NULL UNIQUE,
  owner        TEXT    NOT NULL,
  name         TEXT    NOT NULL,
  url          TEXT    NOT NULL,
  secret       TEXT    NOT NULL,
  former       TEXT    NOT NULL DEFAULT '',
  former_until BIGINT NOT NULL DEFAULT 0,
  events       TEXT    NOT NULL,
  everything   INTEGER NOT NULL,
  created_at   BIGINT NOT NULL
);
CREATE INDEX webhooks_owner ON webhooks (owner, num);

-- The outbox: one row for each webhook that is to be told of an operation's end, made with the terminal event. due_at is
-- when it may be tried next; whoever tries it moves that on, so that it is nobody else's meanwhile, and is fenced by epoch.
CREATE TABLE webhook_deliveries (
  num        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         TEXT    NOT NULL UNIQUE,
  webhook    BIGINT NOT NULL,
  operation  BIGINT NOT NULL,
  owner      TEXT    NOT NULL,
  state      TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
  epoch      BIGINT NOT NULL DEFAULT 0,
  attempts   BIGINT NOT NULL DEFAULT 0,
  due_at     BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL DEFAULT 0,
  status     INTEGER NOT NULL DEFAULT 0,
  error      TEXT    NOT NULL DEFAULT '',
  CHECK ((ended_at > 0) = (state <> 'pending'))
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook, num);
CREATE INDEX webhook_deliveries_operation ON webhook_deliveries (operation);
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_at) WHERE state <> 'pending';

-- +goose Down
DROP TABLE webhook_deliveries;
DROP TABLE webhooks;
ALTER TABLE operations DROP COLUMN webhook;
ALTER TABLE operations DROP COLUMN trace;
ALTER TABLE operations DROP COLUMN configuration;
