package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"chunkstream/secret"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// Invariants is the SQL file that checks every promise of this package against the rows. Each statement selects the
// violations of one invariant; a sound database gives no row at all. Run it with CheckInvariants.
//
//go:embed invariants.sql
var invariants string

// Config says where the data lives, by exactly one of Path and DatabaseURL, and how the queue behaves.
type Config struct {
	// Path is the SQLite file. Its folder must exist; the file is made when missing. One process at a time uses it.
	Path string
	// DatabaseURL is a Postgres database (version 13 or newer, encoding UTF8) as postgres://user:password@host/name,
	// with libpq's parameters; what it leaves out comes from the PG* environment. Any number of processes may use it. How
	// durable a commit is, is the server's setting (fsync, synchronous_commit).
	DatabaseURL secret.Text
	// Connections is the most connections to Postgres at a time. 0 means 20, or pool_max_conns of the URL. A call that
	// gets none within a second fails with ErrUnavailable. SQLite ignores it.
	Connections int
	// PoisonAfter is how many crashes without progress end an operation as failed with the code "poison".
	// 0 means 2.
	PoisonAfter int
	// MaxFailures is how many transient errors without progress end an operation with its last error. 0 means 8.
	MaxFailures int
	// Keep says how long operations stay after their end.
	Keep Keep
}

// Keep is how long operations stay after their end, by how they ended. 0 means for ever.
type Keep struct {
	Completed, Failed, Cancelled time.Duration
	// Documents keeps a document of which the last operation has gone that way. Otherwise it goes too.
	Documents bool
}

// Store is an open database. Close it when nothing uses it any more.
type Store struct {
	cfg Config
	db  backend
}

// Open opens the database, creating or migrating it. Nothing it starts outlives Close. ctx bounds the opening alone.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Path != "" {
		db, err := openSQLite(ctx, sqliteDriver, cfg.Path)
		if err != nil {
			return nil, fmt.Errorf("store: open %s: %w", cfg.Path, err)
		}
		return &Store{cfg: cfg, db: db}, nil
	}
	pool, err := poolConfig(cfg.DatabaseURL.Reveal(), cfg.Connections)
	if err != nil {
		return nil, fmt.Errorf("store: open Postgres: %w", err)
	}
	db, err := openPostgres(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("store: open Postgres: %w", err)
	}
	return &Store{cfg: cfg, db: db}, nil
}

func (cfg Config) withDefaults() (Config, error) {
	if (cfg.Path == "") == cfg.DatabaseURL.Empty() {
		return cfg, errors.New("store: give exactly one of Config.Path, SQLite's file, and Config.DatabaseURL, Postgres")
	}
	if cfg.PoisonAfter == 0 {
		cfg.PoisonAfter = 2
	}
	if cfg.MaxFailures == 0 {
		cfg.MaxFailures = 8
	}
	if cfg.PoisonAfter < 1 || cfg.MaxFailures < 1 || cfg.Connections < 0 ||
		cfg.Keep.Completed < 0 || cfg.Keep.Failed < 0 || cfg.Keep.Cancelled < 0 {
		return cfg, fmt.Errorf("store: PoisonAfter %d and MaxFailures %d must be positive, Connections %d and Keep %+v not negative",
			cfg.PoisonAfter, cfg.MaxFailures, cfg.Connections, cfg.Keep)
	}
	return cfg, nil
}

// Close refuses new work, waits for the transactions that run, and closes the database. Calls in flight end with their
// outcome or ErrClosed. Calling it again does nothing.
func (s *Store) Close() error { return s.db.close() }

// Ping says whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.read(ctx, `SELECT 1`).one(&one); err != nil {
		return fmt.Errorf("store: ping: %w", err)
	}
	return nil
}

// Info says what the store runs on.
type Info struct {
	Engine    string // "sqlite" or "postgres"
	Version   string // the database's own
	Migration int64  // number of the newest migration that has been applied
}

// Info asks the database what it is.
func (s *Store) Info(ctx context.Context) (Info, error) {
	info := Info{Engine: s.db.engine()}
	err := s.read(ctx, `SELECT `+version+`, (SELECT max(version_id) FROM goose_db_version WHERE is_applied)`).
		one(&info.Version, &info.Migration)
	if err != nil {
		return Info{}, fmt.Errorf("store: info: %w", err)
	}
	return info, nil
}

// Stats is the queue in numbers.
type Stats struct {
	Queued, Processing  int64
	OldestQueued        time.Duration // how long the oldest due operation has been waiting; 0 if none
	Poisoned, Exhausted int64         // dead letters, by their code
	Undelivered, Dead   int64         // deliveries to webhooks: pending, and given up within the last week
	CheckpointErrors    int64         // SQLite's failed checkpoints since Open; each is tried again
}

// Stats counts what has not ended.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	var oldest int64
	err := s.read(ctx, `
SELECT (SELECT count(*) FROM operations WHERE status = 'queued'),
       (SELECT count(*) FROM operations WHERE status = 'processing'),
       COALESCE((SELECT `+nowMs+` - min(run_after) FROM operations WHERE status = 'queued'), 0),
       (SELECT count(*) FROM operations o WHERE o.error_code = 'poison' AND o.removed = 0`+dead+`),
       (SELECT count(*) FROM operations o WHERE o.error_code = 'attempts_exhausted' AND o.removed = 0`+dead+`),
       (SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'),
       (SELECT count(*) FROM webhook_deliveries WHERE state <> 'pending' AND state = 'dead')`).
		one(&st.Queued, &st.Processing, &oldest, &st.Poisoned, &st.Exhausted, &st.Undelivered, &st.Dead)
	if err != nil {
		return Stats{}, fmt.Errorf("store: stats: %w", err)
	}
	st.CheckpointErrors = s.db.faults()
	st.OldestQueued = time.Duration(max(oldest, 0)) * time.Millisecond
	return st, nil
}

// Load is what waits in the queue, of everybody and of each owner who has something in it.
type Load struct {
	Queue
	Owners map[string]Queue
}

// Queue is how much is queued and how long the oldest of it that is due has waited.
type Queue struct {
	Operations, Bytes int64
	Oldest            time.Duration
}

// Load counts what is queued, in one pass over an index of it.
func (s *Store) Load(ctx context.Context) (Load, error) {
	l := Load{Owners: map[string]Queue{}}
	err := s.read(ctx, selectLoad).each(func(scan scan) error {
		var owner string
		var q Queue
		var oldest int64
		if err := scan(&owner, &q.Operations, &q.Bytes, &oldest); err != nil {
			return err
		}
		q.Oldest = time.Duration(max(oldest, 0)) * time.Millisecond
		l.Owners[owner] = q
		l.Operations += q.Operations
		l.Bytes += q.Bytes
		l.Oldest = max(l.Oldest, q.Oldest)
		return nil
	})
	if err != nil {
		return Load{}, fmt.Errorf("store: load: %w", err)
	}
	return l, nil
}

const selectLoad = `SELECT owner, count(*), CAST(sum(bytes_total) AS BIGINT), ` + nowMs + ` - min(run_after)
  FROM operations WHERE status = 'queued' GROUP BY owner`

// query is one read outside any transaction.
type query struct {
	ctx  context.Context
	s    *Store
	text string
	args []any
}

func (s *Store) read(ctx context.Context, text string, args ...any) query {
	return query{ctx, s, text, args}
}

// one scans the only row; no row is sql.ErrNoRows.
func (q query) one(dest ...any) error { return q.s.db.readOne(q.ctx, q.text, q.args, dest) }

// each calls row once per row, until it fails.
func (q query) each(row func(scan) error) error { return q.s.db.read(q.ctx, q.text, q.args, row) }

// missing reports whether err says that there is no such row. A text that Postgres cannot store names none.
func missing(err error) bool { return errors.Is(err, sql.ErrNoRows) || errors.Is(err, ErrInvalidText) }

// found turns "no row" into ErrNotFound and wraps everything else with the operation.
func found(op string, err error) error {
	if missing(err) {
		return fmt.Errorf("store: %s: %w", op, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("store: %s: %w", op, err)
	}
	return nil
}
