package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/sqlite/*.sql
var migrations embed.FS

// Invariants is the SQL file that checks every promise of this package against the rows. Each statement selects the
// violations of one invariant; a sound database gives no row at all. Run it with CheckInvariants.
//
//go:embed invariants.sql
var invariants string

// Config says where the data lives and how the queue behaves.
type Config struct {
	// Path is the SQLite file. Its folder must exist; the file is made when missing.
	Path string
	// PoisonAfter is how many crashes without progress end an operation as failed with the code "poison".
	// 0 means 2.
	PoisonAfter int
	// MaxFailures is how many transient errors without progress end an operation with its last error. 0 means 8.
	MaxFailures int
}

// Store is an open database. Close it when nothing uses it any more.
type Store struct {
	cfg    Config
	reads  *sql.DB
	writes *sql.DB
	writer *writer
	stmts  sync.Map // query text → *sql.Stmt on reads
}

// How the one statement text meets SQLite. Postgres has its own values for these.
const (
	nowMs    = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`
	jsonEach = `json_each` // a JSON array's elements, one a row, column value
)

// dsn puts every setting into the data source name, so that each connection a pool opens has them all.
func dsn(path string, readOnly bool) string {
	q := url.Values{}
	for _, p := range []string{
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "wal_autocheckpoint(0)",
		"journal_size_limit(67108864)", "temp_store(MEMORY)",
	} {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	}
	q.Set("_txlock", "immediate")
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// Open opens the database, creating or migrating it, and starts its writer. Nothing it starts outlives Close. ctx
// bounds the opening alone.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Path == "" {
		return nil, errors.New("store: Config.Path is empty: give the SQLite file's path")
	}
	if cfg.PoisonAfter == 0 {
		cfg.PoisonAfter = 2
	}
	if cfg.MaxFailures == 0 {
		cfg.MaxFailures = 8
	}
	if cfg.PoisonAfter < 1 || cfg.MaxFailures < 1 {
		return nil, fmt.Errorf("store: PoisonAfter %d and MaxFailures %d must be positive", cfg.PoisonAfter, cfg.MaxFailures)
	}
	s := &Store{cfg: cfg}
	var err error
	if s.writes, err = sql.Open("sqlite", dsn(cfg.Path, false)); err != nil {
		return nil, fmt.Errorf("store: open %s: %w", cfg.Path, err)
	}
	s.writes.SetMaxOpenConns(2) // the writer's and the checkpoint's
	s.writes.SetMaxIdleConns(2)
	if err := migrate(ctx, s.writes); err != nil {
		return nil, errors.Join(fmt.Errorf("store: open %s: %w", cfg.Path, err), s.writes.Close())
	}
	if s.reads, err = sql.Open("sqlite", dsn(cfg.Path, true)); err != nil {
		return nil, errors.Join(fmt.Errorf("store: open %s: %w", cfg.Path, err), s.writes.Close())
	}
	s.reads.SetMaxOpenConns(8)
	s.reads.SetMaxIdleConns(8)
	if s.writer, err = startWriter(ctx, s.writes); err != nil {
		return nil, errors.Join(fmt.Errorf("store: open %s: %w", cfg.Path, err), s.reads.Close(), s.writes.Close())
	}
	return s, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Close refuses new work, waits until the writer has committed what it has, and closes the database. Calls in flight
// end with their outcome or ErrClosed. Calling it again does nothing.
func (s *Store) Close() error {
	err := s.writer.close()
	return errors.Join(err, s.reads.Close(), s.writes.Close())
}

// Ping says whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.read(ctx, `SELECT 1`).one(&one); err != nil {
		return fmt.Errorf("store: ping: %w", err)
	}
	return nil
}

// Stats is the queue in numbers.
type Stats struct {
	Queued, Processing int64
	OldestQueued       time.Duration // how long the oldest due operation has been waiting; 0 if none
	CheckpointErrors   int64         // failed checkpoints since Open; each is tried again
}

// Stats counts what has not ended.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	var oldest int64
	err := s.read(ctx, `
SELECT (SELECT count(*) FROM operations WHERE status = 'queued'),
       (SELECT count(*) FROM operations WHERE status = 'processing'),
       COALESCE((SELECT `+nowMs+` - min(run_after) FROM operations WHERE status = 'queued'), 0)`).
		one(&st.Queued, &st.Processing, &oldest)
	if err != nil {
		return Stats{}, fmt.Errorf("store: stats: %w", err)
	}
	st.CheckpointErrors = s.writer.checkpointErrors.Load()
	st.OldestQueued = time.Duration(max(oldest, 0)) * time.Millisecond
	return st, nil
}

// query is one read, prepared once per text.
type query struct {
	ctx  context.Context
	s    *Store
	text string
	args []any
}

func (s *Store) read(ctx context.Context, text string, args ...any) query {
	return query{ctx, s, text, args}
}

func (q query) stmt() (*sql.Stmt, error) {
	if st, ok := q.s.stmts.Load(q.text); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := q.s.reads.PrepareContext(q.ctx, q.text)
	if err != nil {
		return nil, err
	}
	if old, loaded := q.s.stmts.LoadOrStore(q.text, st); loaded {
		return old.(*sql.Stmt), st.Close()
	}
	return st, nil
}

// one scans the only row; no row is sql.ErrNoRows.
func (q query) one(dest ...any) error {
	st, err := q.stmt()
	if err != nil {
		return err
	}
	return st.QueryRowContext(q.ctx, q.args...).Scan(dest...)
}

// each calls row once per row, until it fails.
func (q query) each(row func(scan func(...any) error) error) (err error) {
	st, err := q.stmt()
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(q.ctx, q.args...)
	if err != nil {
		return err
	}
	return eachRow(rows, row)
}

func eachRow(rows *sql.Rows, row func(scan func(...any) error) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// found turns "no row" into ErrNotFound and wraps everything else with the operation.
func found(op string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("store: %s: %w", op, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("store: %s: %w", op, err)
	}
	return nil
}
