package store

import (
	"context"
	"net"
	"testing"
	"time"
)

// What tests need to bring about: lapsed leases, passed backoffs, a held writer.

func (s *Store) write(t testing.TB, text string, args ...any) {
	t.Helper()
	err := s.db.do(context.Background(), func(tx *tx) error {
		_, err := tx.exec(text, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Spoil writes what no method of the package writes.
func (s *Store) Spoil(t testing.TB, text string) { s.write(t, text) }

// Copy makes n queued operations like one, all a little older.
func (s *Store) Copy(t testing.TB, id string, n int) {
	for from := 0; from < n; from += 1000 { // a statement has five seconds, and the machine other work
		s.write(t, `
WITH RECURSIVE n(i) AS (SELECT $3 + 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
INSERT INTO operations (id, owner, document, name, status, lane, strategy, settings, splitter_version, retry_of, bytes_total, seq,
                        run_after, created_at)
SELECT id || '-' || i, owner, document, name, status, lane, strategy, settings, splitter_version, retry_of, bytes_total, seq,
       run_after - 1000, created_at - 1000 FROM operations, n WHERE id = $2`, min(n, from+1000), id, from)
	}
}

// LapseLeases lets every lease run out now.
func (s *Store) LapseLeases(t testing.TB) {
	s.write(t, `UPDATE operations SET lease_until = 1 WHERE status = 'processing'`)
}

// MakeDue ends every backoff.
func (s *Store) MakeDue(t testing.TB) {
	s.write(t, `UPDATE operations SET run_after = 0 WHERE status = 'queued'`)
}

// AgeKeys makes every idempotency key older than its day.
func (s *Store) AgeKeys(t testing.TB) {
	s.write(t, `UPDATE idempotency_keys SET created_at = 1`)
}

// CountRows counts a table's rows.
func (s *Store) CountRows(t testing.TB, table string) int {
	t.Helper()
	var n int
	if err := s.read(context.Background(), `SELECT count(*) FROM `+table).one(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Transactions counts the transactions that the rows of a Postgres table came in.
func (s *Store) Transactions(t testing.TB, table string) int {
	t.Helper()
	var n int
	if err := s.read(context.Background(), `SELECT count(DISTINCT xmin::text) FROM `+table).one(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// ViewTexts reads an operation's chunks from the view.
func (s *Store) ViewTexts(ctx context.Context, id string) ([]string, error) {
	var texts []string
	err := s.read(ctx, `SELECT text FROM chunk_texts WHERE operation_id = $1 ORDER BY idx`, id).
		each(func(scan scan) error {
			var text string
			err := scan(&text)
			texts = append(texts, text)
			return err
		})
	return texts, err
}

// ForgedRun is a worker that holds no lease on the operation.
func (s *Store) ForgedRun(t testing.TB, id string) *Run {
	t.Helper()
	row := operationRow{}
	err := s.read(context.Background(), selectOperation+` WHERE o.id = $1`, id).one(row.dest()...)
	if err != nil {
		t.Fatal(err)
	}
	return &Run{s: s, Operation: row.operation(), num: row.num, document: row.document, epoch: row.op.Attempt + 1, lease: 1000}
}

// ReadThenWrite reads in a transaction, calls between, and writes.
func (s *Store) ReadThenWrite(between func()) error {
	return s.db.do(context.Background(), func(t *tx) error {
		var n int64
		if err := t.one(`SELECT count(*) FROM operations`, nil, &n); err != nil {
			return err
		}
		between()
		_, err := t.exec(`UPDATE operations SET name = 'b' WHERE status = 'queued'`)
		return err
	})
}

// PanicInWriter panics inside a transaction.
func (s *Store) PanicInWriter(ctx context.Context) error {
	return s.db.do(ctx, func(*tx) error { panic("as the test asked") })
}

// HoldWriter keeps every writer there can be busy until the returned function is called.
func (s *Store) HoldWriter(t testing.TB) (release func()) {
	t.Helper()
	n := 1
	if p, ok := s.db.(*postgres); ok {
		n = int(p.pool.Config().MaxConns)
	}
	began, end, done := make(chan struct{}), make(chan struct{}), make(chan error)
	for range n {
		go func() {
			done <- s.db.do(context.Background(), func(*tx) error {
				began <- struct{}{}
				<-end
				return nil
			})
		}()
	}
	for range n {
		<-began
	}
	return func() {
		close(end)
		for range n {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

// Plans gives Postgres's plans of the statements that look for work.
func (s *Store) Plans(t testing.TB) map[string]string {
	t.Helper()
	plans := map[string]string{}
	for name, q := range map[string]query{
		"claim":        s.read(t.Context(), `EXPLAIN `+selectDue, string(Small), "v1", 10),
		"turns":        s.read(t.Context(), `EXPLAIN `+selectTurns, string(Small), "v1", 10, ""),
		"load":         s.read(t.Context(), `EXPLAIN `+selectLoad),
		"over":         s.read(t.Context(), `EXPLAIN `+Keep{time.Hour, time.Hour, time.Hour, false}.over()+` LIMIT 1`),
		"dead letters": s.read(t.Context(), `EXPLAIN `+selectOperation+` WHERE o.owner = $1`+visible+dead+` ORDER BY o.num DESC LIMIT 50`, "alice"),
		"sweep":        s.read(t.Context(), `EXPLAIN `+selectLapsed, sweepRuns),
		"look, sweep":  s.read(t.Context(), `EXPLAIN `+countLapsed),
		"owner's live": s.read(t.Context(), `EXPLAIN `+selectLive, "alice"),
	} {
		err := q.each(func(scan scan) error {
			var line string
			err := scan(&line)
			plans[name] += line + "\n"
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return plans
}

// Clear removes all operations with what hangs on them.
func (s *Store) Clear(t testing.TB) {
	t.Helper()
	for _, table := range []string{"operation_events", "chunks", "idempotency_keys", "webhook_deliveries", "operations"} {
		s.write(t, `DELETE FROM `+table)
	}
}

// Setting gives one of Postgres's settings as a connection of the pool has it.
func (s *Store) Setting(t testing.TB, name string) string {
	t.Helper()
	var value string
	if err := s.read(t.Context(), `SELECT current_setting($1)`, name).one(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// OpenThrough is Open with a driver of SQLite under another name, and for Postgres with another way to connect.
func OpenThrough(ctx context.Context, cfg Config, driver string, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Path != "" {
		db, err := openSQLite(ctx, driver, cfg.Path)
		if err != nil {
			return nil, err
		}
		return &Store{cfg: cfg, db: db}, nil
	}
	pool, err := poolConfig(cfg.DatabaseURL.Reveal(), cfg.Connections)
	if err != nil {
		return nil, err
	}
	pool.ConnConfig.DialFunc = dial
	db, err := openPostgres(ctx, pool)
	if err != nil {
		return nil, err
	}
	return &Store{cfg: cfg, db: db}, nil
}

// RestartLog has SQLite's writer start its log over, and returns when it has tried.
func (s *Store) RestartLog() {
	w := s.db.(*sqlite).writer
	w.restart.Store(true)
	_ = w.do(context.Background(), func(*tx) error { return nil }) // what begins after it sees it done
	_ = w.do(context.Background(), func(*tx) error { return nil })
}

// Checkpoint has SQLite's log copied back, and returns when that was tried.
func (s *Store) Checkpoint() {
	w := s.db.(*sqlite).writer
	before := w.checkpointErrors.Load()
	w.written.Store(checkpointBytes)
	for w.written.Load() >= checkpointBytes && w.checkpointErrors.Load() == before {
		time.Sleep(time.Millisecond)
	}
}

// Together makes one group of transactions that rename a key: the last of them finds none, which undoes that one alone.
// It gives their errors.
func (s *Store) Together(ctx context.Context, keys ...string) []error {
	errs := make([]error, len(keys))
	var jobs []*job
	for _, key := range keys {
		jobs = append(jobs, &job{ctx: ctx, done: make(chan struct{}), sync: true, fn: func(t *tx) error {
			n, err := t.exec(`UPDATE api_keys SET name = name WHERE id = $1`, key)
			if err == nil && n == 0 {
				err = ErrNotFound
			}
			if err != nil {
				return err
			}
			return t.later(`UPDATE api_keys SET hint = hint WHERE id = $1`, key)
		}})
	}
	switch db := s.db.(type) {
	case *sqlite:
		// While the first one runs the others gather.
		began, end := make(chan struct{}), make(chan struct{})
		held := &job{done: make(chan struct{}), fn: func(*tx) error {
			close(began)
			<-end
			return nil
		}}
		db.jobs <- held
		select {
		case <-began:
		case <-held.done: // its transaction could not begin
		}
		for _, j := range jobs {
			db.jobs <- j
		}
		close(end)
	case *postgres:
		db.commit(jobs)
	}
	for i, j := range jobs {
		<-j.done
		errs[i] = j.err
	}
	return errs
}

// Synchronous is SQLite's setting while a durable transaction runs; 2 is FULL, and what Postgres is taken to have.
func (s *Store) Synchronous(t testing.TB) int {
	t.Helper()
	level := 2
	if _, ok := s.db.(*sqlite); !ok {
		return level
	}
	err := s.db.do(context.Background(), func(tx *tx) error { return tx.one(`PRAGMA synchronous`, nil, &level) })
	if err != nil {
		t.Fatal(err)
	}
	return level
}

// ReapDocument removes a piece of the document with the number of a staged text, as a reaper does that has seen that number
// when it was another document's.
func (s *Store) ReapDocument(t testing.TB, staged *Staged) {
	t.Helper()
	err := s.db.do(context.Background(), func(tx *tx) error {
		_, err := tx.reapDocument(staged.num)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
